"""Training: forward, backward and AdamW with LoRA of rank 16 on every linear layer, half of the tokens trained.

Ours against transformers + peft in bf16, with and without gradient checkpointing, each in a process of its own: tokens per
second (all tokens count) and peak resident memory.
"""

from common import options
from common.rounds import finish, in_turn, median, table

GIB = 1 << 30


def compare(settings, agent0, environment, hf, shape):
    """One shape: rows of the table and its part of the report."""
    sequences, length = map(int, shape.split("x"))

    def peft(checkpointing):
        return environment.peer(
            "peft_training", model=hf, sequences=sequences, length=length, steps=settings.steps, checkpointing=checkpointing,
            threads=settings.threads,
        )

    sides = {
        f"ours {dtype}": lambda dtype=dtype: agent0.train(settings.model, sequences, length, dtype) for dtype in settings.dtypes.split(",")
    }
    if "plain" in settings.peers:
        sides["peft bf16"] = lambda: peft(0)
    if "checkpointing" in settings.peers:
        sides["peft bf16, checkpointing"] = lambda: peft(1)
    runs = in_turn(shape, sides, settings.rounds, "tokens_per_s")
    figures = {name: (median(results, "tokens_per_s"), median(results, "peak_rss_bytes")) for name, results in runs.items()}
    ours = max((of for name, of in figures.items() if name.startswith("ours")), default=None)
    nan = float("nan")
    rows = [
        [shape, name, len(runs[name]), rate, memory / GIB, ours[0] / rate if ours else nan, ours[1] / memory if ours else nan]
        for name, (rate, memory) in figures.items()
    ]
    report = {"shape": shape, "runs": runs, "median_tokens_per_s": {name: rate for name, (rate, _) in figures.items()}}
    report["median_peak_rss_bytes"] = {name: memory for name, (_, memory) in figures.items()}
    report["ratio"] = {row[1]: {"tokens_per_s": row[5], "memory": row[6]} for row in rows}
    return rows, report


def main():
    parser = options.engine_parser(__doc__)
    parser.add_argument("--shapes", nargs="+", default=["8x512", "4x1024"], help="sequences x tokens")
    parser.add_argument("--steps", type=int, default=1, help="steps that a peer's process times, after one small step")
    parser.add_argument("--dtypes", default="q8,bf16", help="ours, separated by commas; the fastest makes the ratio")
    parser.add_argument("--peers", nargs="+", choices=["plain", "checkpointing"], default=["plain", "checkpointing"])
    settings = parser.parse_args()
    environment, agent0 = options.environment(settings), options.agent0(settings)
    hf = environment.model("hf", settings.model)
    rows, reports = [], []
    for shape in settings.shapes:
        more, report = compare(settings, agent0, environment, hf, shape)
        rows += more
        reports.append(report)
    print(f"{settings.threads} threads, medians\n")
    table(["shape", "side", "runs", "tokens/s", "peak GiB", "ours is times", "ours needs of its memory"], rows)
    finish({"threads": settings.threads, "training": reports}, settings.out)


main()

"""Sampling: ours against Hugging Face transformers (bf16) and llama.cpp (the same GGUF), at several batch sizes.

All sample every sequence from a prompt of its own; the rate counts new tokens, the time includes reading the prompts.
"""

import json

from common import options
from common.environment import Failed, say
from common.rounds import finish, in_turn, median, table

# Cache and attention that transformers can be tried with, and those that are tried by default: the fastest runs the rounds.
TRANSFORMERS = {
    "dynamic-sdpa": ("dynamic", "sdpa"),
    "dynamic-eager": ("dynamic", "eager"),
    "static-sdpa": ("static", "sdpa"),
    "static-eager": ("static", "eager"),
    "compiled-sdpa": ("compiled", "sdpa"),
}
TRIED = ["dynamic-sdpa", "dynamic-eager", "static-sdpa"]
PILOT_TOKENS = 9


def pilot(settings, names, batch):
    """The fastest of transformers' settings by prompt time + step time of a short run, and all the estimates."""
    if len(names) == 1:
        return names[0], {}
    seconds = {}
    for name in names:
        try:
            result = transformers(settings, name, batch, limit=min(PILOT_TOKENS, settings.new))
        except Failed as reason:
            say(f"batch {batch}, transformers {name}: failed ({reason})")
            continue
        seconds[name] = result["prompt_s"] + (settings.new - 1) * result["step_s"]
        say(f"batch {batch}, transformers {name}: prompt {result['prompt_s']:.2f} s, {result['step_s']:.3f} s a step")
    if not seconds:
        raise SystemExit("transformers ran with none of its settings")
    return min(seconds, key=seconds.get), seconds


def transformers(settings, name, batch, limit=0):
    cache, attention = TRANSFORMERS[name]
    return settings.environment.peer(
        "transformers_sampling", model=settings.hf, batch=batch, prompt=settings.prompt, new=settings.new, limit=limit,
        cache=cache, attention=attention, threads=settings.threads,
    )


def llama_cpp(settings, model, batch):
    return settings.environment.peer(
        "llama_cpp_sampling", model=model, vocab=settings.vocab, batch=batch, prompt=settings.prompt, new=settings.new, threads=settings.threads,
        flash=settings.flash,
    )


def compare(settings, agent0, batch, names):
    """One batch size: rows of the table and its part of the report."""
    sides = {
        f"ours {dtype}": lambda dtype=dtype: agent0.sample(settings.model, batch, settings.prompt, settings.new, dtype)
        for dtype in settings.dtypes.split(",")
    }
    estimates = {}
    if "transformers" in settings.peers:
        best, estimates = pilot(settings, names, batch)
        sides[f"transformers bf16 {best}"] = lambda: transformers(settings, best, batch)
    if "llama.cpp" in settings.peers:
        sides["llama.cpp same GGUF"] = lambda: llama_cpp(settings, settings.model, batch)
        if batch == 1:
            bf16 = settings.environment.model("gguf", settings.model)
            sides["llama.cpp bf16 GGUF"] = lambda: llama_cpp(settings, bf16, batch)
    runs = in_turn(f"batch {batch}", sides, settings.rounds, "tokens_per_s")
    rates = {name: median(results, "tokens_per_s") for name, results in runs.items()}
    ours = max((rate for name, rate in rates.items() if name.startswith("ours")), default=None)
    rows = [[batch, name, len(runs[name]), rate, ours / rate if ours else float("nan")] for name, rate in rates.items()]
    report = {"batch": batch, "estimated_seconds": estimates, "runs": runs, "median_tokens_per_s": rates}
    report["ratio"] = {name: ours / rate for name, rate in rates.items()} if ours else {}
    return rows, report


def main():
    parser = options.engine_parser(__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--prompt", type=int, default=256, help="tokens of each prompt")
    parser.add_argument("--new", type=int, default=256, help="tokens to sample for each sequence")
    parser.add_argument("--dtypes", default="q8,bf16", help="ours, separated by commas; the fastest makes the ratio")
    parser.add_argument("--peers", nargs="+", choices=["transformers", "llama.cpp"], default=["transformers", "llama.cpp"])
    parser.add_argument("--transformers", nargs="+", choices=[*TRANSFORMERS], default=TRIED, metavar="SETTING",
                        help=f"settings that are tried, of {', '.join(TRANSFORMERS)}; with one there is no trial")
    parser.add_argument("--flash", choices=["auto", "on", "off"], default="auto", help="llama.cpp's flash attention")
    settings = parser.parse_args()
    environment, agent0 = options.environment(settings), options.agent0(settings)
    settings.environment = environment
    settings.hf = environment.model("hf", settings.model)
    settings.vocab = json.loads((settings.hf / "config.json").read_text())["vocab_size"]
    rows, reports = [], []
    for batch in settings.batch:
        more, report = compare(settings, agent0, batch, settings.transformers)
        rows += more
        reports.append(report)
    print(f"{settings.prompt} prompt + {settings.new} new tokens, {settings.threads} threads, medians\n")
    table(["batch", "side", "runs", "tokens/s", "ours is times"], rows)
    finish({"prompt": settings.prompt, "new": settings.new, "threads": settings.threads, "sampling": reports}, settings.out)


main()

"""f32 where both sides are held to AVX2, and where both are free: ours against PyTorch (transformers, peft).

PyTorch is held by the variables of its three libraries (ATen, oneDNN, MKL), ours by `--isa avx2`.
"""

from common import options
from common.rounds import finish, in_turn, median, table

HELD = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
SETS = {"avx2": HELD, "free": {}}


def sampling(settings, agent0, environment, hf, name):
    """The sides of sampling on one instruction set."""
    peer = lambda: environment.peer(
        "transformers_sampling", SETS[name], model=hf, dtype="float32", batch=settings.batch, prompt=settings.prompt, new=settings.new,
        cache="static", attention="sdpa", threads=settings.threads,
    )
    ours = lambda: agent0.sample(settings.model, settings.batch, settings.prompt, settings.new, "f32", isa(name))
    return {"ours": ours, "pytorch": peer}


def training(settings, agent0, environment, hf, name):
    """The sides of training on one instruction set."""
    sequences, length = map(int, settings.shape.split("x"))
    peer = lambda: environment.peer(
        "peft_training", SETS[name], model=hf, dtype="float32", sequences=sequences, length=length, threads=settings.threads
    )
    return {"ours": lambda: agent0.train(settings.model, sequences, length, "f32", isa(name)), "pytorch": peer}


def isa(name):
    return None if name == "free" else name


def main():
    parser = options.engine_parser(__doc__)
    parser.add_argument("--sets", nargs="+", choices=[*SETS], default=[*SETS])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--shape", default="4x512", help="of training, sequences x tokens (PyTorch in f32 needs some 5 GB a sequence of 512)")
    settings = parser.parse_args()
    environment, agent0 = options.environment(settings), options.agent0(settings)
    hf = environment.model("hf", settings.model)
    works = {
        f"sampling, batch {settings.batch}, {settings.prompt} + {settings.new}": sampling,
        f"training, {settings.shape}": training,
    }
    rows, reports = [], []
    for name in settings.sets:
        for title, sides in works.items():
            runs = in_turn(f"{name}, {title}", sides(settings, agent0, environment, hf, name), settings.rounds, "tokens_per_s")
            rates = {side: median(results, "tokens_per_s") for side, results in runs.items()}
            ratio = rates["ours"] / rates["pytorch"] if len(rates) == 2 else float("nan")
            rows.append([name, title, *(rates.get(side, float("nan")) for side in ("ours", "pytorch")), ratio])
            reports.append({"instruction_set": name, "work": title, "runs": runs, "median_tokens_per_s": rates, "ratio": ratio})
    print(f"f32, {settings.threads} threads, medians of tokens/s\n")
    table(["instruction set", "work", "ours", "PyTorch", "ours is times"], rows)
    finish({"threads": settings.threads, "instruction_sets": reports}, settings.out)


main()

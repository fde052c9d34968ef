"""Where both sides are held to AVX2, and where both are free: ours, in f32 and in what else is asked for, against PyTorch in f32 (transformers, peft).

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
    ours = lambda dtype: agent0.sample(settings.model, settings.batch, settings.prompt, settings.new, dtype, isa(name))
    return {**in_each(settings, ours), "PyTorch f32": peer}


def training(settings, agent0, environment, hf, name):
    """The sides of training on one instruction set."""
    sequences, length = map(int, settings.shape.split("x"))
    peer = lambda: environment.peer(
        "peft_training", SETS[name], model=hf, dtype="float32", sequences=sequences, length=length, threads=settings.threads
    )
    ours = lambda dtype: agent0.train(settings.model, sequences, length, dtype, isa(name))
    return {**in_each(settings, ours), "PyTorch f32": peer}


def in_each(settings, ours):
    """Our side once for each format of numbers."""
    return {f"ours {dtype}": lambda dtype=dtype: ours(dtype) for dtype in settings.dtypes.split(",")}


def isa(name):
    return None if name == "free" else name


def main():
    parser = options.engine_parser(__doc__)
    parser.add_argument("--sets", nargs="+", choices=[*SETS], default=[*SETS])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--shape", default="4x512", help="of training, sequences x tokens (PyTorch in f32 needs some 5 GB a sequence of 512)")
    parser.add_argument("--dtypes", default="f32", help="ours, separated by commas (default: f32)")
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
            peer = rates.get("PyTorch f32", float("nan"))
            rows += [[name, title, side, rate, rate / peer] for side, rate in rates.items()]
            reports.append({"instruction_set": name, "work": title, "runs": runs, "median_tokens_per_s": rates})
    print(f"{settings.threads} threads, medians of tokens/s\n")
    table(["instruction set", "work", "side", "tokens/s", "of PyTorch"], rows)
    finish({"threads": settings.threads, "instruction_sets": reports}, settings.out)


main()

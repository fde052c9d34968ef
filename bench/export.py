"""Exports held against transformers and PEFT: token ids, chats and log-probabilities of a model and an adapter, ours and theirs.

Nothing is measured. The adapter is that of `--run` (a folder of `agent0 evolve`), else a random one. Ends with exit code 1 when ids
differ, or when f32 log-probabilities are further apart than `--bound`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import options
from common.environment import BENCH, result_of, say
from common.rounds import finish, table

TEXTS = [
    "What is 12 * 13?",
    "Find the smallest positive integer n such that n leaves remainder 3 when divided by 7 and remainder 4 when divided by 9.",
    "Write Python:\n```python\nfor i in range(10):\n\tprint(i ** 2)\r\n```\n",
    "naïve café nai\u0308ve  e\u0301 \u212b ½ 12,345.678 ٣٤",
    "日本語のテスト 🙂👨‍👩‍👧 русский  \n\n  \\boxed{\\frac{1}{2}} <question>x</question> <think>",
    "   leading, trailing   ",
    "",
]


def score_program(given):
    """The example program that scores texts, built when it is not named."""
    if given:
        return given
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "agent0-lm", "--example", "score"], cwd=BENCH.parent, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR") or BENCH.parent / "target") / "release" / "examples" / "score"


def ours(program, texts, *paths):
    """Our ids, chats and log-probabilities, one object a text."""
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    run = subprocess.run([program, *paths], input=lines, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def apart(case, ours, theirs):
    """How far two sides are apart: a row of the table."""
    off = [abs(a - b) for row, other in zip(ours, theirs) for a, b in zip(row["logprobs"], other["logprobs"], strict=True)]
    same = {key: all(row[key] == other[key] for row, other in zip(ours, theirs, strict=True)) for key in ("ids", "chat")}
    return {"case": case, "same_ids": same["ids"], "same_chats": same["chat"], "tokens": len(off), "mean": sum(off) / len(off), "largest": max(off)}


def main():
    parser = options.engine_parser(__doc__)
    parser.add_argument("--run", default=None, help="folder of a run whose executor is exported")
    parser.add_argument("--score", default=None, help="our program that scores (default: the example `score` is built)")
    parser.add_argument("--bound", type=float, default=1e-3, help="most that f32 log-probabilities may be apart")
    settings = parser.parse_args()
    environment, agent0, score = options.environment(settings), options.agent0(settings), score_program(settings.score)

    def export(name, *flags):
        say(f"exporting {name}")
        return result_of([agent0.program, "export", "--json", "--out", folder / name, *flags])

    def theirs(name, adapter=None):
        say(f"transformers reads {name}")
        chosen = {"adapter": folder / adapter} if adapter else {}
        return environment.peer("transformers_export", model=folder / name, texts=texts, threads=settings.threads, **chosen)["rows"]

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        texts = folder / "texts.json"
        texts.write_text(json.dumps(TEXTS))
        export("base", "--merge", "--dtype", "f32", "--model", settings.model)
        if settings.run:
            subject = [settings.run]
        else:
            environment.peer("random_adapter", model=folder / "base", out=folder / "random")
            subject = ["--model", settings.model, "--adapter", folder / "random"]
        kept = export("adapter", *subject)["adapter"]
        export("f32", "--merge", "--dtype", "f32", *subject)
        export("bf16", "--merge", "--dtype", "bf16", *subject)
        say("ours reads model and adapter")
        base, adapted = ours(score, TEXTS, settings.model), ours(score, TEXTS, settings.model, kept)
        reports = [
            apart("adapter against base, ours", adapted, base),
            apart("merged f32, ours", adapted, ours(score, TEXTS, folder / "f32")),
            apart("base f32, transformers", base, theirs("base")),
            apart("merged f32, transformers", adapted, theirs("f32")),
            apart("base f32 + adapter, PEFT", adapted, theirs("base", "adapter")),
            apart("merged bf16, transformers in f32", adapted, theirs("bf16")),
        ]
    table(["case", "same ids", "same chats", "tokens", "mean apart", "largest"], [
        [r["case"], r["same_ids"], r["same_chats"], r["tokens"], f"{r['mean']:.2e}", f"{r['largest']:.2e}"] for r in reports
    ])
    finish({"export": reports}, settings.out)
    close = all(r["largest"] <= settings.bound for r in reports[1:5])
    sys.exit(0 if close and all(r["same_ids"] and r["same_chats"] for r in reports) else 1)


main()

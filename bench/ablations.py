#!/usr/bin/env python3
"""Tells what each part of the method is worth: the ablations that `results.py` ran, held against the preset's executor of the same seed and iteration.

Reads the runs and the scores of one folder. Each row has the tasks that a run kept, the share of problems its executor solves, the difference to the
untrained model asked in the same way (in brackets) and that to the preset's executor, with McNemar's exact test (* p < 0.05, ** p < 0.01). The last columns
leave one kind of problem out, of which an executor solves nearly all or hardly any: `--apart KIND` counts it by itself. Below the seeds of an ablation stands
the mean of their differences to the preset, with its standard error over seeds.

    python3 bench/ablations.py results

Prints a table in Markdown. What has not been run and scored is left out. Needs nothing but Python.
"""

import argparse
import math
import os
import sqlite3
from contextlib import closing
from statistics import fmean, stdev

from gain import answers

TITLES = {
    "seed": "the preset",
    "grpo": "GRPO in place of ADPO",
    "fixed-curriculum": "fixed curriculum",
    "no-repetition": "no repetition penalty",
    "no-uncertainty": "no uncertainty reward",
    "no-tool": "no tool",
}
Answers = dict[tuple[str, int], dict]


def scores(args: argparse.Namespace, name: str, tool: str = "on") -> Answers | None:
    """The answers of an executor to the benchmark; `None` where it has not been scored."""
    folder = os.path.join(args.folder, "scores", name)
    return answers(folder, tool).get(args.bench) if os.path.exists(os.path.join(folder, "results.json")) else None


def kept(args: argparse.Namespace, run: str) -> str:
    """How many of the tasks written in the first iteration were kept."""
    path = os.path.join(args.folder, run, "run.db")
    if not os.path.exists(path):
        return ""
    query = "select sum(fate = 'kept'), count(*) from tasks where iteration = 1 and phase <> 'executor' and fate is not null"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        return "{} of {}".format(*store.execute(query).fetchone())


def accuracy(of: Answers) -> float:
    return 100 * fmean(record["correct"] for record in of.values())


def difference(before: Answers, after: Answers) -> tuple[float, str]:
    """In points, on the questions that both were asked, with stars."""
    pairs = [(before[key]["correct"], after[key]["correct"]) for key in before if key in after]
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    p = min(1.0, 2 * sum(math.comb(gained + lost, i) for i in range(min(gained, lost) + 1)) / 2 ** (gained + lost))
    return 100 * (gained - lost) / len(pairs), "**" if p < 0.01 else "*" if p < 0.05 else ""


def told(points: float, stars: str) -> str:
    return f"{points:+.1f}{stars}"


class Table:
    """The rows, one after another."""

    def __init__(self, args: argparse.Namespace):
        self.args = args

    def apart(self, of: Answers) -> tuple[Answers, Answers]:
        """The kind of problem that is counted by itself, and all others."""
        is_apart = lambda key: key[0].startswith(self.args.apart)
        return {key: of[key] for key in of if is_apart(key)}, {key: of[key] for key in of if not is_apart(key)}

    def head(self, asked: Answers) -> str:
        one, others = map(len, self.apart(asked))
        titles = ["", "seed", "kept", f"{self.args.bench}, {one + others}", "against the preset", f"{self.args.apart}, right of {one}"]
        titles += [f"the other {others}", "against the preset", "programs", "answered"]
        return "| " + " | ".join(titles) + " |\n|" + "---|" * len(titles)

    def row(self, title: str, seed: str, tasks: str, of: Answers, before: Answers | None, preset: Answers | None) -> tuple[float, float] | None:
        """Prints a row, and returns its two differences to the preset."""
        one, others = self.apart(of)
        without_one = lambda answers: self.apart(answers)[1] if answers else None
        cells, differences = [], []
        for these, base, full in [(of, before, preset), (others, without_one(before), without_one(preset))]:
            against = f" ({told(*difference(base, these))})" if base else ""
            cells += [f"{accuracy(these):.1f}{against}", told(*difference(full, these)) if full else ""]
            differences += [difference(full, these)[0]] if full else []
        cells.insert(2, str(sum(record["correct"] for record in one.values())))
        cells += [f"{fmean(len(record['tool_calls']) for record in of.values()):.2f}"]
        cells += [f"{100 * fmean(record['answer'] is not None for record in of.values()):.0f} %"]
        print(f"| {title} | {seed} | {tasks} | " + " | ".join(cells) + " |")
        return tuple(differences) if differences else None

    def mean(self, title: str, differences: list[tuple[float, float]]) -> None:
        """Prints the mean over seeds of the differences to the preset."""
        cells = [f"**{fmean(of):+.1f} ± {stdev(of) / math.sqrt(len(of)):.1f}**" for of in zip(*differences)]
        print(f"| {title} | mean | | | {cells[0]} | | | {cells[1]} | | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the folder that results.py filled")
    parser.add_argument("--bench", default="fresh", help="the benchmark that is looked at (fresh)")
    parser.add_argument("--apart", default="lcm", metavar="KIND", help="problems whose id begins so are counted by themselves (lcm)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="1 2")
    args = parser.parse_args()
    untrained = {tool: scores(args, "base", tool) for tool in ("on", "off")}
    if not untrained["on"]:
        parser.error(f"{args.folder} has no scores of the untrained model on {args.bench}")
    table = Table(args)
    print(table.head(untrained["on"]))
    for tool, title in (("on", "untrained"), ("off", "untrained, no tool")):
        if untrained[tool]:
            table.row(title, "", "", untrained[tool], None, None)
    for name, title in TITLES.items():
        differences = []
        for seed in args.seeds:
            run = f"{name}-{seed}"
            tool, preset = "off" if name == "no-tool" else "on", None if name == "seed" else scores(args, f"seed-{seed}-1")
            if of := scores(args, f"{run}-1", tool):
                differences.append(table.row(title, str(seed), kept(args, run), of, untrained[tool], preset))
        if len(differences) > 1 and all(differences):
            table.mean(title, differences)


if __name__ == "__main__":
    main()

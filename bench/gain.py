#!/usr/bin/env python3
"""Tells what the gain of one evaluation over another consists of: using the tool, giving an answer, or giving the right one.

Reads two folders that `agent0 eval` wrote, and takes the questions that both were asked with the tool. An answer either ran a program or did not;
with s the share of each kind, a the share of it that ends in an answer and c the share of those that is right, accuracy is the sum of s a c over
both kinds. The gain is divided among the three by exchanging one after the other, averaged over all orders (Shapley values):

  tool use  more or fewer answers run a program
  format    more or fewer of a kind end in an answer
  right     more or fewer of the answers given are right

Prints a table in Markdown for each benchmark. Nothing is tested for significance: `agent0 eval --compare` does that.

    python3 bench/gain.py evals/BASE runs/RUN/evals/executor-03-0009

Needs nothing but Python.
"""

import argparse
import itertools
import json
import os
from statistics import fmean

KINDS = {True: "with a program", False: "without"}


def answers(folder: str, tool: str = "on") -> dict[str, dict[tuple[str, int], dict]]:
    """All answers with the tool (or without: `off`), by benchmark, question and number."""
    with open(os.path.join(folder, "results.json"), encoding="utf-8") as file:
        scores = [score for score in json.load(file)["results"] if score["tool"] == tool]
    found = {}
    for score in scores:
        asked = {question for question, _ in score["questions"]}
        with open(os.path.join(folder, score["records"]), encoding="utf-8") as lines:
            records = [record for record in map(json.loads, lines) if record["id"] in asked]
        found[score["bench"]] = {(record["id"], record["sample"]): record for record in records}
    return found


def shares(records: list[dict]) -> dict[bool, tuple[float, float | None, float | None]]:
    """For answers with a program and without: their share, that of them which end in an answer, that of those which is right."""
    mean = lambda values: fmean(values) if values else None
    parts = {}
    for kind in KINDS:
        of = [record for record in records if bool(record["tool_calls"]) == kind]
        given = [record for record in of if record["answer"] is not None]
        parts[kind] = (len(of) / len(records), mean([record["answer"] is not None for record in of]), mean([record["correct"] for record in given]))
    return parts


def divide(before: dict, after: dict) -> list[float]:
    """The gain that each of the three has a part in. What one side has no case of is taken from the other."""
    either = lambda of, other, kind, part: next((share for share in (of[kind][part], other[kind][part]) if share is not None), 0.0)
    sides = [[[either(of, other, kind, part) for part in range(3)] for kind in KINDS] for of, other in ((before, after), (after, before))]
    accuracy = lambda taken: sum(sides[taken[0]][kind][0] * sides[taken[1]][kind][1] * sides[taken[2]][kind][2] for kind in range(2))
    parts, orders = [0.0] * 3, list(itertools.permutations(range(3)))
    for order in orders:
        taken = [0, 0, 0]
        for part in order:
            start = accuracy(taken)
            taken[part] = 1
            parts[part] += (accuracy(taken) - start) / len(orders)
    return parts


def row(name: str, records: list[dict]) -> str:
    parts = shares(records)
    per_cent = lambda share: "–" if share is None else f"{100 * share:.1f} %"
    cells = [per_cent(fmean(record["correct"] for record in records)), per_cent(parts[True][0])]
    cells += [per_cent(parts[kind][part]) for kind in KINDS for part in (1, 2)]
    failed = [any(not call["ok"] for call in record["tool_calls"]) for record in records if record["tool_calls"]]
    cells += [per_cent(fmean(failed) if failed else None), f"{fmean(record['tokens'] for record in records):.0f}"]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="the folder of results that the other is held against")
    parser.add_argument("after", help="the other folder")
    args = parser.parse_args()
    before, after = answers(args.before), answers(args.after)
    for bench in (bench for bench in before if bench in after):
        common = [key for key in before[bench] if key in after[bench]]
        if not common:
            continue
        sides = [[side[bench][key] for key in common] for side in (before, after)]
        print(f"**{bench}**, {len(common)} answers each\n")
        titles = [f"{title}, {kind}" for kind in KINDS.values() for title in ("answered", "of those right")]
        print("| | right | with a program | " + " | ".join(titles) + " | a program fails | tokens |\n|" + "---|" * 9)
        print(row("before", sides[0]) + "\n" + row("after", sides[1]))
        parts = divide(*map(shares, sides))
        told = ", ".join(f"{name} {100 * part:+.1f}" for name, part in zip(("tool use", "format", "right"), parts))
        print(f"\nThe gain of {100 * sum(parts):+.1f} points: {told}.\n")


if __name__ == "__main__":
    main()

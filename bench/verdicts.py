#!/usr/bin/env python3
"""Holds the verdicts of an evaluation against math-verify's own.

Reads files of answers that `agent0 eval` kept (JSON Lines with `gold`, `answer`, `correct`) and asks math-verify about each answer in its box,
on its own, in both directions. Prints how many verdicts agree, and every one that does not. Multiple choice and BBEH have rules of their own and
are left out.

    python3 bench/verdicts.py evals/MODEL/*.jsonl

Needs math-verify (`pip install math-verify==0.9.0`); the interpreter that `agent0` keeps in its cache has it.
"""

import json
import os
import sys
from collections import Counter

from math_verify import parse, verify

OTHER_RULES = ("supergpqa", "mmlu_pro", "bbeh")


def same(gold: str, answer: str) -> bool:
    """math-verify's verdict, with the gold answer on either side."""
    gold, answer = (parse(f"\\boxed{{{text}}}") for text in (gold, answer))
    return verify(gold, answer) or verify(answer, gold)


def main() -> None:
    agreed, all_of, differing = Counter(), Counter(), []
    for path in sys.argv[1:]:
        bench = os.path.basename(path).split("-")[0]
        if bench in OTHER_RULES:
            continue
        with open(path, encoding="utf-8") as lines:
            for record in map(json.loads, lines):
                if record["answer"] is None:
                    continue
                all_of[bench] += 1
                if same(record["gold"], record["answer"]) == record["correct"]:
                    agreed[bench] += 1
                else:
                    differing.append((bench, record))
    for bench, count in sorted(all_of.items()):
        print(f"{bench}: {agreed[bench]} of {count} verdicts agree")
    for bench, record in differing:
        ours = "right" if record["correct"] else "wrong"
        print(f"{record['id']}: ours {ours}; gold {record['gold']!r}, answer {record['answer']!r}")


if __name__ == "__main__":
    main()

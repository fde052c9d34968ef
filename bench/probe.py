#!/usr/bin/env python3
"""Writes fresh problems with known answers, for an evaluation that no choice can have been made on.

Arithmetic, algebra and number theory from reasoning-gym: generators whose answer is one number, that ask for no form of their own, and whose
question is not already an answer by value (as a fraction to simplify is). The seed decides the problems; rows are {id, question, answer, subject}.

    python3 bench/probe.py --seed 7 --each 25 --out probe.jsonl
    agent0 eval --data probe.jsonl

Needs reasoning-gym (`pip install reasoning-gym==0.1.25`).
"""

import argparse
import json

import reasoning_gym

GENERATORS = {
    "arithmetic": ["gsm_symbolic", "leg_counting", "chain_sum", "products"],
    "algebra": ["simple_equations"],
    "number_theory": ["gcd", "lcm", "count_primes"],
}


def problems(seed: int, each: int):
    """`each` problems of every generator, no question twice."""
    seen = set()
    for subject, generators in GENERATORS.items():
        for generator in generators:
            taken = 0
            # More than are wanted, for those that come twice.
            for index, row in enumerate(reasoning_gym.create_dataset(generator, size=4 * each, seed=seed)):
                if taken == each:
                    break
                question = row["question"].strip()
                if question not in seen:
                    seen.add(question)
                    taken += 1
                    yield {"id": f"{generator}-{seed}-{index}", "question": question, "answer": str(row["answer"]), "subject": subject}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True, help="decides the problems")
    parser.add_argument("--each", type=int, default=25, help="problems of each generator (25)")
    parser.add_argument("--out", required=True, help="the file to write")
    args = parser.parse_args()
    with open(args.out, "w", encoding="utf-8") as out:
        for problem in problems(args.seed, args.each):
            out.write(json.dumps(problem, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

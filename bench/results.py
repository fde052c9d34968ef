#!/usr/bin/env python3
"""Repeats what docs/results.md reports: runs of the `laptop` preset from three seeds, its ablations, and the scores of their executors.

Each run is one `agent0 evolve`, each score one `agent0 eval`: greedy, with the tool unless the run had none, on questions that nothing was chosen by
(GSM8K without the 160 rows of development, and problems made by `probe.py` with a seed of their own). Other benchmarks are asked before the runs and
after their last iteration. At the end it writes the tables of the runs and of the ablations (`runs.md`, `ablations.md`; also .json and .svg).
Everything lies in one folder; killed, the same command goes on, and what is there is not done again.

    python3 bench/results.py results --fresh fresh.jsonl                       # everything, about 12 hours on two cores with AVX-512
    python3 bench/results.py results --fresh fresh.jsonl --only seed-1         # one run and its scores
    python3 bench/results.py results --fresh fresh.jsonl --dry                 # only say what would be run

Benchmarks are downloaded, unless `--data BENCHMARK=FILE` names a file. Needs nothing but Python and `agent0`.
"""

import argparse
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field

# What `agent0 eval --tool off` asks, too.
WITHOUT_TOOL = [
    "rollout.max_turns=0",
    'prompts.executor_system=""',
    'prompts.executor_user="{question}\\n\\nReason step by step. End with the final answer in \\\\boxed{}."',
]
# What an ablation sets. Without curriculum training the frontier writes all the tasks that the curriculum phase would have.
ABLATIONS = {
    "no-tool": WITHOUT_TOOL,
    "no-repetition": ["curriculum.reward.lambda_rep=0"],
    "no-uncertainty": ["curriculum.reward.lambda_unc=0"],
    "grpo": ["executor.objective=grpo"],
    "fixed-curriculum": ["curriculum.steps=0", "frontier.pool=240", "frontier.max_pool=280"],
}
# Questions of the other benchmarks: few, for the sake of time.
OTHERS = {"minerva": 80, "olympiadbench": 80, "amc23": 40, "aime24": 30, "mmlu_pro": 80, "supergpqa": 80, "bbeh": 40}
HELD_OUT = ["--skip", "160", "--limit", "500"]
# What the average over mathematics counts, each the same.
MATHEMATICS = ["gsm8k", "fresh:arithmetic", "fresh:algebra", "fresh:number_theory"]
ANSWERS = ["--preset", "greedy", "--max-tokens", "1024", "--max-turns", "3"]


@dataclass
class Run:
    """One run of the program. An ablation is one of `iterations` iterations; a run without settings has the preset's number, and may have gone on since."""

    name: str
    seed: int
    iterations: int
    settings: list[str] = field(default_factory=list)

    @property
    def tool(self) -> str:
        return "off" if self.settings == WITHOUT_TOOL else "on"


RUNS = [Run(f"seed-{seed}", seed, 3) for seed in (1, 2, 3)]
RUNS += [Run(f"{name}-{seed}", seed, 1, settings) for seed in (1, 2) for name, settings in ABLATIONS.items()]


class Plan:
    """The commands, in order."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.files = dict(pair.split("=", 1) for pair in args.data)

    def run(self, run: Run) -> None:
        shorter = [f"iterations={run.iterations}"] if run.settings else []
        settings = [f"seed={run.seed}", *shorter, *run.settings]
        sets = [part for setting in settings for part in ("--set", setting)]
        self.call(["evolve", "--preset", "laptop", "--name", run.name, "--runs", self.args.folder, *sets])

    def held_out(self, run: Run, iteration: int) -> None:
        self.score(run, iteration, self.source("gsm8k") + HELD_OUT)
        self.score(run, iteration, ["--data", f"fresh={self.args.fresh}"])

    def others(self, run: Run, iteration: int) -> None:
        for bench, limit in OTHERS.items():
            self.score(run, iteration, self.source(bench) + ["--limit", str(limit)])

    def score(self, run: Run, iteration: int, questions: list[str]) -> None:
        subject = ["eval", run.name, "--runs", self.args.folder, "--iteration", str(iteration)]
        self.call([*subject, *questions, "--tool", run.tool, *ANSWERS, "--out", self.scores(run, iteration)])

    def compare(self, name: str, runs: list[Run]) -> None:
        """Writes the table of these runs, each iteration against the base model, as `name.md`, `.json` and `.svg`."""
        scores = dict.fromkeys(self.scores(run, iteration) for run in runs for iteration in range(run.iterations + 1))
        saved = [part for form in ("md", "json", "svg") for part in ("--save", os.path.join(self.args.folder, f"{name}.{form}"))]
        if runs:
            self.call(["eval", "--compare", *scores, "--by-subject", "--average", ",".join(MATHEMATICS), *saved])

    def scores(self, run: Run, iteration: int) -> str:
        """The folder of an iteration's scores. The base model is the same in all runs: its answers are in one place, and given once."""
        return os.path.join(self.args.folder, "scores", f"{run.name}-{iteration}" if iteration else "base")

    def source(self, bench: str) -> list[str]:
        return ["--data", f"{bench}={self.files[bench]}"] if bench in self.files else ["--bench", bench]

    def call(self, arguments: list[str]) -> None:
        command = [self.args.agent0, *arguments]
        print("$", shlex.join(command), flush=True)
        if not self.args.dry and (status := subprocess.run(command, check=False).returncode):
            sys.exit(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="where runs and scores are kept")
    parser.add_argument("--fresh", required=True, help="problems that bench/probe.py wrote")
    parser.add_argument("--data", action="append", default=[], metavar="BENCHMARK=FILE", help="a file in place of a benchmark's download")
    parser.add_argument("--only", nargs="+", choices=[run.name for run in RUNS], help="these runs alone")
    parser.add_argument("--agent0", default="target/release/agent0", help="the program")
    parser.add_argument("--dry", action="store_true", help="print the commands only")
    args = parser.parse_args()
    plan = Plan(args)
    runs = [run for run in RUNS if not args.only or run.name in args.only]
    for run in runs:
        plan.run(run)
        for iteration in range(run.iterations + 1):
            plan.held_out(run, iteration)
            if not run.settings and iteration in (0, run.iterations):
                plan.others(run, iteration)
    plan.compare("runs", [run for run in runs if not run.settings])
    plan.compare("ablations", [run for run in runs if run.settings])


if __name__ == "__main__":
    main()

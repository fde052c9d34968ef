"""Clustering of tasks by BLEU: ours against nltk + scikit-learn on the same texts, with the labels compared.

Both costs grow with the pairs, so seconds per pair are the figure; the larger sizes run on our side alone.
"""

import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

from common import options
from common.environment import BENCH, Failed
from common.rounds import finish, in_turn, median, table

OURS, PEER = "ours", "nltk + scikit-learn"
SUBJECTS = ["train", "farmer", "number", "sequence", "triangle", "box of marbles", "polynomial", "clock", "committee", "graph"]
FORMS = [
    "A {s} has {a} parts and loses {b} of them every {c} days . How many are left after {d} days ?",
    "Let n be the smallest {s} such that n leaves remainder {a} when divided by {b} . Find n modulo {c} .",
    "In how many ways can {a} people share {b} items of a {s} if each takes at least {c} ? Give the answer modulo {d} .",
    "The sides of a {s} are {a} , {b} and {c} . What is its area , rounded to {d} digits ?",
    "Find the sum of the first {a} terms of a {s} that starts at {b} and grows by {c} .",
]


def tasks(n):
    """Texts like proposed tasks: some nearly the same, most not. The same ones every time."""
    draw = random.Random(n)
    number = lambda: draw.randint(2, 60)
    tails = ["", " Explain each step .", " Use a program to check .", " The answer is an integer ."]
    return [
        draw.choice(FORMS).format(s=draw.choice(SUBJECTS), a=number(), b=number(), c=number(), d=number()) + draw.choice(tails)
        for _ in range(n)
    ]


def partition(labels):
    """Labels numbered by first appearance: clusters have no names."""
    names = {}
    return [names.setdefault(label, len(names)) for label in labels]


def ours(program, texts):
    """Runs our program on the file of texts; its peak of resident memory comes with the result."""
    with open(texts) as file:
        process = subprocess.Popen([program], stdin=file, stdout=subprocess.PIPE, text=True)
        result = json.loads(process.stdout.read() or "{}")
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0 or "labels" not in result:
        raise Failed(f"{program} ended with status {status}")
    return {**result, "peak_rss_bytes": usage.ru_maxrss * 1024}


def cluster_program(given):
    """The example program that clusters standard input, built when it is not named."""
    if given:
        return given
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "agent0-evolve", "--example", "cluster"], cwd=BENCH.parent, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR") or BENCH.parent / "target") / "release" / "examples" / "cluster"


def compare(settings, environment, program, n, folder):
    """One size: a row of the table and its part of the report."""
    texts = Path(folder) / f"{n}.jsonl"
    texts.write_text("".join(json.dumps(text) + "\n" for text in tasks(n)))
    sides = {OURS: lambda: ours(program, texts)}
    if n in settings.both:
        sides[PEER] = lambda: environment.peer("nltk_clustering", texts=texts)
    runs = in_turn(f"{n} texts", sides, settings.rounds, "seconds")
    if OURS not in runs:
        raise SystemExit("our program gave no result")
    pairs = n * (n - 1) / 2
    each = {side: median(results, "seconds") / pairs for side, results in runs.items()}
    found = [partition(result["labels"]) for results in runs.values() for result in results]
    report = {"texts": n, "seconds_per_pair": each, "clusters": max(found[0]) + 1, "median_s": {side: s * pairs for side, s in each.items()}}
    report["peak_rss_bytes"] = max(result["peak_rss_bytes"] for result in runs[OURS])
    if len(each) == 2:
        report["ratio"] = each[PEER] / each[OURS]
        report["labels_identical"] = all(labels == found[0] for labels in found)
    return report


def main():
    parser = options.parser(__doc__)
    parser.add_argument("--both", type=int, nargs="+", default=[256, 512], help="numbers of texts for both sides")
    parser.add_argument("--alone", type=int, nargs="*", default=[2048, 8192], help="numbers of texts for ours alone")
    parser.add_argument("--cluster", default=None, help="our program (default: the example `cluster` is built)")
    settings = parser.parse_args()
    environment, program = options.environment(settings), cluster_program(settings.cluster)
    with tempfile.TemporaryDirectory() as folder:
        reports = [compare(settings, environment, program, n, folder) for n in [*settings.both, *settings.alone]]
    scale(reports)
    print("Medians. (scaled): the peer did not run; its time per pair at the largest size that it ran is taken.\n")
    table(["texts", "clusters", "ours s", "ours GiB", "ours us/pair", "peer us/pair", "ours is times", "identical labels"], map(row, reports))
    finish({"clustering": reports}, settings.out)


def scale(reports):
    """Where only ours ran, the ratio to the peer's time per pair at its largest size."""
    measured = [report["seconds_per_pair"][PEER] for report in reports if PEER in report["seconds_per_pair"]]
    for report in reports:
        if "ratio" not in report and measured:
            report["ratio_scaled"] = measured[-1] / report["seconds_per_pair"][OURS]


def row(report):
    each = report["seconds_per_pair"]
    ratio = f"{report['ratio']:.0f}" if "ratio" in report else f"{report.get('ratio_scaled', float('nan')):.0f} (scaled)"
    return [
        report["texts"], report["clusters"], f"{report['median_s'][OURS]:.4f}", report["peak_rss_bytes"] / (1 << 30), f"{each[OURS] * 1e6:.4f}",
        f"{each[PEER] * 1e6:.1f}" if PEER in each else "", ratio, report.get("labels_identical", ""),
    ]


main()

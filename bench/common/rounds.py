"""Runs the sides in turn, round after round, and puts medians and ratios into a table and JSON."""

import json
import statistics
import sys
import time
from pathlib import Path

from .environment import Failed, say


def in_turn(title, sides, rounds, value):
    """Every side once a round. `sides`: name -> function that runs it and returns a dict; `value`: the figure to show.

    A side that fails is left out from then on. Ctrl-C ends the rounds: what was measured so far counts.
    Returns name -> list of dicts, for the sides that ran.
    """
    runs = {name: [] for name in sides}
    failed = set()
    try:
        for number in range(1, rounds + 1):
            for name, run in sides.items():
                if name in failed:
                    continue
                began = time.monotonic()
                try:
                    result = run()
                except Failed as reason:
                    failed.add(name)
                    say(f"{title}, round {number}, {name}: failed ({reason})")
                    continue
                runs[name].append(result)
                say(f"{title}, round {number}, {name}: {value} {result[value]:.4g} ({time.monotonic() - began:.0f} s in all)")
    except KeyboardInterrupt:
        say(f"{title}: stopped")
    return {name: results for name, results in runs.items() if results}


def median(results, key):
    """Median over the runs of a side."""
    return statistics.median(result[key] for result in results)


def table(header, rows):
    """Prints rows of cells as a Markdown table; numbers get two decimals."""
    text = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in text) for column in range(len(header))]
    line = lambda row: "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
    print("\n".join([line(text[0]), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, text[1:])]))


def finish(report, out):
    """The last line of standard output is the whole result as JSON; `out` gets it too."""
    line = json.dumps(report)
    print(line)
    sys.stdout.flush()
    if out:
        Path(out).write_text(line + "\n")

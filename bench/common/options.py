"""The options that the comparisons have in common."""

import argparse
import os
from pathlib import Path

from .environment import Environment
from .ours import Agent0


def parser(description):
    """Options of every comparison."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    options.add_argument("--env", default=cache / "agent0-bench", help="folder of the throw-away environment")
    options.add_argument("--rounds", type=int, default=3, help="times that each side runs, in turn")
    options.add_argument("--out", default=None, help="write the JSON to this file too")
    return options


def engine_parser(description):
    """Options of the comparisons that run a model."""
    options = parser(description)
    options.add_argument("--agent0", default=None, help="the agent0 program (default: the release build of this checkout)")
    options.add_argument("--model", default=None, help="a GGUF file (default: the default model, fetched when it is not there)")
    options.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each side")
    return options


def environment(settings):
    """The peers, installed."""
    environment = Environment(settings.env)
    environment.prepare()
    return environment


def agent0(settings):
    """Our program. Settles which model is used."""
    agent0 = Agent0(settings.agent0, settings.threads)
    settings.model = settings.model or agent0.default_model()
    return agent0

"""The throw-away environment that holds the peers, and the programs that run in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
REQUIREMENTS = BENCH / "requirements.txt"


class Failed(Exception):
    """A program ended without a result. Carries what it said last."""


class Environment:
    """A virtual environment with the packages of requirements.txt, and a folder for converted models."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.python = self.folder / "venv" / "bin" / "python"

    def prepare(self):
        """Installs the peers, unless these very versions are there."""
        stamp, wanted = self.folder / "installed.txt", REQUIREMENTS.read_text()
        if self.python.exists() and stamp.exists() and stamp.read_text() == wanted:
            return
        say(f"installing the peers into {self.folder} (several GB, some minutes)")
        subprocess.run([sys.executable, "-m", "venv", self.folder / "venv"], check=True)
        subprocess.run([self.python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
        stamp.write_text(wanted)

    def model(self, kind, gguf):
        """The GGUF's weights as bf16 for a peer: `hf` is a Hugging Face folder, `gguf` a GGUF file. Made once."""
        out = self.folder / "models" / f"{Path(gguf).stem}-bf16{'.gguf' if kind == 'gguf' else ''}"
        if not out.exists():
            say(f"converting {gguf} to {out}")
            out.parent.mkdir(parents=True, exist_ok=True)
            self.peer("convert", kind=kind, model=gguf, out=out)
        return out

    def peer(self, program, variables=None, **options):
        """Runs peers/PROGRAM.py with `--name value` options; its last line of output is the result."""
        command = [self.python, BENCH / "peers" / f"{program}.py"]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        return result_of(command, variables)


def result_of(command, variables=None):
    """Runs a program whose last line of standard output is one JSON object, and returns that."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false", **(variables or {})}
    run = subprocess.run([str(part) for part in command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [line for line in run.stdout.splitlines() if line.strip()]
    if run.returncode != 0 or not lines:
        ended = f"killed by signal {-run.returncode}" if run.returncode < 0 else f"exit code {run.returncode}"
        last = " | ".join((run.stderr or run.stdout).strip().splitlines()[-3:])
        raise Failed(f"{ended}: {last[-600:]}")
    try:
        return json.loads(lines[-1])
    except json.JSONDecodeError as error:
        raise Failed(f"no JSON in the last line: {lines[-1][:200]}") from error


def say(line):
    """Progress goes to standard error: standard output is the result."""
    print(line, file=sys.stderr, flush=True)

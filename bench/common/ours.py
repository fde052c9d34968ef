"""Our side: the `agent0` program."""

import os
import subprocess
from pathlib import Path

from .environment import BENCH, result_of

DEFAULT_MODEL = "qwen2.5-coder-0.5b-instruct"


class Agent0:
    """The program, with the number of threads that it may use."""

    def __init__(self, program, threads):
        target = Path(os.environ.get("CARGO_TARGET_DIR") or BENCH.parent / "target")
        self.program = Path(program) if program else target / "release" / "agent0"
        self.threads = threads
        if not self.program.exists():
            raise SystemExit(f"{self.program} is not there: run `cargo build --release`, or name it with --agent0")

    def default_model(self):
        """Path of the default model, which is fetched when it is not in the cache."""
        run = subprocess.run([self.program, "model", "fetch", DEFAULT_MODEL], check=True, stdout=subprocess.PIPE, text=True)
        return run.stdout.strip().splitlines()[-1]

    def sample(self, model, batch, prompt, new, dtype=None, isa=None):
        """Tokens per second of one batch; `share_of_roofline` comes with it."""
        flags = ["--only", "sample", "--base", "--batch", batch, "--prompt", prompt, "--new", new]
        return self._engine(model, flags, dtype, isa)["sample"][0]

    def train(self, model, sequences, length, dtype=None, isa=None):
        """Tokens per second of one training step, and the peak of memory."""
        return self._engine(model, ["--only", "train", "--train", f"{sequences}x{length}"], dtype, isa)["train"][0]

    def _engine(self, model, flags, dtype, isa):
        command = [self.program, "bench", "engine", "--json", "--model", model, "--threads", self.threads, *flags]
        command += ["--dtype", dtype] if dtype else []
        command += ["--isa", isa] if isa else []
        return result_of(command)

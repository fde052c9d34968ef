"""Trajectories, many at once: sample, run the tool, append what it printed, go on (docs/architecture.md; agent0-rl does the same)."""

import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer

from trials.answers import boxed
from trials.model import Lora, Sampler
from trials.tool import Tool

FENCE = re.compile(rb"[ \t]*(`{3,})([^`\n]*)$")
# What a stretch may be stopped by: boxes alone without a tool; invented outputs too when all calls are used; programs too before that.
BOXES, OUTPUTS, PROGRAMS = range(3)


def scan(text: bytes, watch: int):
    """What ends the stretch, first: `("program", end, code)`, `("output", start, inside a block)` or `("boxed", end, answer)`."""
    block, first_box, start = None, None, 0
    for line in text.split(b"\n"):
        fence = FENCE.match(line)
        if block and not (fence and len(fence[1]) >= block.backticks):
            block.code += line + b"\n"
        elif block:
            if block.python and watch == PROGRAMS:
                return "program", start + fence.start(1) + block.backticks, block.code.decode("utf-8", "replace")
            if block.python and watch == OUTPUTS and fence[2].strip() == b"output":
                return "output", start + fence.start(1), True
            block = None if not fence[2].strip() else block
        elif fence:
            first_box, info = None, fence[2].split()
            if watch and info[:1] == [b"output"]:
                return "output", start + fence.start(1), False
            block = Block(len(fence[1]), info[:1] in ([b"python"], [b"py"], [b"python3"]))
        else:
            first_box = start if first_box is None and b"\\boxed" in line else first_box
            if first_box is not None:
                for end in (m.end() for m in re.finditer(b"}", text[start : start + len(line)])):
                    if answer := boxed(text[first_box : start + end].decode("utf-8", "replace")):
                        return "boxed", start + end, answer
        start += len(line) + 1
    return None


@dataclass
class Block:
    backticks: int
    python: bool
    code: bytes = b""


class Codec:
    """Text to ids and back, and the chat format."""

    def __init__(self, path: str):
        self.tokenizer = Tokenizer.from_file(path)
        # Byte-level BPE writes bytes as printable characters.
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in plain]
        byte_of = {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}
        self.bytes = {}
        for token, number in self.tokenizer.get_vocab(with_added_tokens=True).items():
            known = all(character in byte_of for character in token)
            self.bytes[number] = bytes(byte_of[character] for character in token) if known else token.encode()
        self.ends = {self.tokenizer.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")}

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return b"".join(self.bytes.get(number, b"") for number in ids).decode("utf-8", "replace")

    def chat(self, system: str, user: str) -> list[int]:
        system = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
        return self.encode(f"{system}<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n")


@dataclass
class Limits:
    temperature: float
    tokens: int
    calls: int = 0
    output_tokens: int = 256


@dataclass
class Trajectory:
    ids: list[int]
    prompt: int
    mask: list[int]
    answer: str | None = None
    calls: int = 0
    sampled: int = 0
    dropped: int = 0
    over: bool = False
    # What the sampler is to be fed next, from which position.
    pending: list[int] = field(default_factory=list)
    position: int = 0
    stretch: list[int] = field(default_factory=list)
    text: bytes = b""
    ends: list[int] = field(default_factory=list)  # of each token of the stretch, in bytes
    waiting: Future | None = None

    @property
    def spent(self) -> int:
        return self.sampled + self.dropped + len(self.stretch)

    def feed(self, new: list[int]) -> None:
        """Appends tokens that the sampler has not seen."""
        self.position, self.pending = len(self.ids) - 1, [self.ids[-1], *new]
        self.ids += new
        self.mask += [0] * len(new)

    def keep(self, tokens: int) -> None:
        """Ends the stretch after so many of its tokens; the others count as dropped."""
        self.ids += self.stretch[:tokens]
        self.mask += [1] * tokens
        self.sampled += tokens
        self.dropped += len(self.stretch) - tokens
        self.stretch, self.text, self.ends = [], b"", []


class Roller:
    """Brings prompts to their ends with one adapter, as many at once as the sampler has slots."""

    def __init__(self, codec: Codec, sampler: Sampler, tool: Tool, threads: int):
        self.codec, self.sampler, self.tool, self.pool = codec, sampler, tool, ThreadPoolExecutor(threads)
        self.tokens = 0

    def run(self, lora: Lora, prompts: list[list[int]], limits: Limits, plain: bool = False) -> list[Trajectory]:
        """`plain`: boxes and programs are just text."""
        sampler = self.sampler
        sampler.load(lora)
        sampler.temperature.fill_(limits.temperature)
        trajectories = [Trajectory(list(prompt), len(prompt), [0] * len(prompt)) for prompt in prompts]
        queue, slots = trajectories[::-1], [None] * sampler.slots
        while queue or any(slots):
            self.fill(queue, slots)
            self.collect(slots, limits)
            going = [(slot, t) for slot, t in enumerate(slots) if t and not t.waiting and not t.over]
            forced, position = np.full((sampler.chunk, sampler.slots), -1), np.zeros(sampler.slots, dtype=np.int64)
            forced[0] = 0
            for slot, t in going:
                fed = t.pending[: sampler.chunk]
                forced[: len(fed), slot], position[slot] = fed, t.position
            if going:
                sampled = sampler.replay(forced, position, int(position.max()) + sampler.chunk + 1)
            for slot, t in going:
                if len(t.pending) > sampler.chunk:
                    t.pending, t.position = t.pending[sampler.chunk :], t.position + sampler.chunk
                else:
                    self.take(t, sampled[len(t.pending) - 1 :, slot].tolist(), limits, plain)
            slots[:] = [t if t and not t.over else None for t in slots]
        self.tokens += sum(t.sampled + t.dropped for t in trajectories)
        return trajectories

    def fill(self, queue: list[Trajectory], slots: list) -> None:
        """Gives free slots to prompts, many at a time."""
        free = [slot for slot, t in enumerate(slots) if t is None]
        if not queue or (len(free) < min(48, len(queue)) and len(free) < len(slots)):
            return
        free = free[: len(queue)]
        for slot in free:
            slots[slot] = t = queue.pop()
            t.feed([])
        self.sampler.prefill(free, [slots[slot].ids[:-1] for slot in free])

    def collect(self, slots: list, limits: Limits) -> None:
        """Appends what finished programs printed; waits for one where nobody can go on without."""
        waiting = [t for t in slots if t and t.waiting]
        stuck = waiting and not any(t and not t.waiting and not t.over for t in slots)
        for t in waiting:
            if stuck or t.waiting.done():
                output, t.waiting = t.waiting.result(), None
                ids = self.codec.encode(output)
                if len(ids) > limits.output_tokens:
                    half = limits.output_tokens // 2
                    output = f"{self.codec.decode(ids[:half])}\n[...]\n{self.codec.decode(ids[-half:])}"
                self.environment(t, f"```output\n{output}\n```\n")

    def take(self, t: Trajectory, new: list[int], limits: Limits, plain: bool) -> None:
        """What was sampled, up to what stops it."""
        watch = BOXES if limits.calls == 0 else PROGRAMS if t.calls < limits.calls else OUTPUTS
        ended, before = False, len(t.text)
        for token in new[: limits.tokens - t.spent]:
            ended = token in self.codec.ends
            t.stretch.append(token)
            t.text += b"" if ended else self.codec.bytes.get(token, b"")
            t.ends.append(len(t.text))
            if ended:
                break
        # Reading a stretch again is dear, and nothing ends but with one of these.
        fresh = t.text[before:]
        found = None if plain or not any(mark in fresh for mark in b"}`\n") else scan(t.text, watch)
        if found is None:
            full = t.spent >= limits.tokens or len(t.ids) + len(t.stretch) + self.sampler.chunk + 2 >= self.sampler.length
            if ended or full:
                t.keep(len(t.stretch))
                t.over = True
            else:
                t.position, t.pending = len(t.ids) + len(t.stretch) - 1, [t.stretch[-1]]
            return
        kind, at, what = found
        through = sum(end < at for end in t.ends) + 1
        if kind == "output":
            t.keep(sum(end <= at for end in t.ends))
            why = "no python block was closed before this" if watch == PROGRAMS else f"all {limits.calls} tool calls are used"
            self.environment(t, ("```\n" if what else "") + f"```output\n[not run: {why}]\n```\n")
        else:
            t.stretch, t.ends = t.stretch[:through], t.ends[:through]
            t.keep(through)
            if kind == "boxed":
                t.answer, t.over = what, True
            elif t.spent < limits.tokens:
                t.calls += 1
                t.waiting = self.pool.submit(self.tool, what)
        t.over = t.over or t.spent >= limits.tokens

    def environment(self, t: Trajectory, text: str) -> None:
        ids = self.codec.encode(("" if self.codec.bytes[t.ids[-1]].endswith(b"\n") else "\n") + text)
        if len(t.ids) + len(ids) + 2 * self.sampler.chunk >= self.sampler.length:
            t.over = True
        else:
            t.feed(ids)

# Grades pairs of answers with math-verify, one line of output per pair as it goes. Runs inside the sandbox, for one batch.
# The Rust side puts `PAIRS` (JSON text) and `LIMIT_S` (CPU seconds per pair) in front of it.
import json
import logging
import signal

from math_verify import parse, verify

logging.disable(logging.CRITICAL)


class OutOfTime(BaseException):
    """Not an Exception, so that no `except Exception` on the way swallows it."""


def out_of_time(*_):
    raise OutOfTime


# CPU time, not wall-clock time: a busy machine must not change a verdict.
signal.signal(signal.SIGPROF, out_of_time)


def clock(seconds):
    # Goes on ticking, in case a bare `except:` does swallow the first one.
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.1 if seconds else 0)


PARSED = {}


def parsed(text):
    if text not in PARSED:
        PARSED[text] = parse("\\boxed{" + text.replace("%", "\\%") + "}", parsing_timeout=None)
    return PARSED[text]


def same(a, b):
    a, b = parsed(a), parsed(b)
    return verify(a, b, timeout_seconds=None) or verify(b, a, timeout_seconds=None)


def verdict(a, b):
    try:
        try:
            clock(LIMIT_S)
            return "same" if same(a, b) else "different"
        finally:
            clock(0)
    except (OutOfTime, MemoryError, RecursionError):
        return "none"


print("ready", flush=True)
for number, (a, b) in enumerate(json.loads(PAIRS)):
    print("verdict", number, verdict(a, b), flush=True)

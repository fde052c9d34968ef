# math-verify as one side of a conversation: a line with two answers (a JSON list) in, a line with the verdict on them out.
# Runs inside the sandbox, which ends it when an answer takes too much CPU time.
import json
import logging
import sys
from functools import lru_cache

from math_verify import parse, verify
from sympy import Basic, I

logging.disable(logging.CRITICAL)


@lru_cache(maxsize=1024)
def parsed(text):
    return parse("\\boxed{" + text + "}", parsing_timeout=None)


def either_way(a, b):
    return verify(a, b, timeout_seconds=None) or verify(b, a, timeout_seconds=None)


def imaginary(answer):
    """The answer with i as the imaginary unit; math-verify reads a variable."""
    return [part.subs({s: I for s in part.free_symbols if s.name == "i"}) if isinstance(part, Basic) else part for part in answer]


def same(a, b):
    a, b = parsed(a), parsed(b)
    if either_way(a, b):
        return True
    if not any(isinstance(part, Basic) and any(s.name == "i" for s in part.free_symbols) for part in a + b):
        return False
    return either_way(imaginary(a), imaginary(b))


sys.stdin.readline()
print("ready", flush=True)
for line in sys.stdin:
    print("same" if same(*json.loads(line)) else "different", flush=True)

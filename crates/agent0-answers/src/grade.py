# math-verify as one side of a conversation: a line with two answers (a JSON list) in, a line with the verdict on them out.
# Runs inside the sandbox, which ends it when an answer takes too much CPU time.
import json
import logging
import sys
from functools import lru_cache

from math_verify import parse, verify
from math_verify.grader import is_assignment_relation, is_equation
from sympy import Basic, Expr, I

logging.disable(logging.CRITICAL)


@lru_cache(maxsize=1024)
def parsed(text):
    # Without "first_match" an answer that cannot be read would be judged by the last number in it.
    return parse("\\boxed{" + text + "}", extraction_mode="first_match", parsing_timeout=None)


def either_way(a, b):
    return verify(a, b, timeout_seconds=None) or verify(b, a, timeout_seconds=None)


def imaginary(answer):
    """The answer with i as the imaginary unit; math-verify reads a variable."""
    return [part.subs({s: I for s in part.free_symbols if s.name == "i"}) if isinstance(part, Basic) else part for part in answer]


def is_condition(answer):
    """Whether it is an equation in unknowns, and not one that says what something is, such as x = 5."""
    part = answer[0] if answer else None
    return is_equation(part) and not is_assignment_relation(part) and bool(part.free_symbols)


def is_expression(answer):
    return bool(answer) and isinstance(answer[0], Expr)


def same(a, b):
    a, b = parsed(a), parsed(b)
    # math-verify takes an equation for its right side where the other is an expression; 3x - 4y + 7 = 0 is not 0.
    if is_condition(a) and is_expression(b) or is_condition(b) and is_expression(a):
        return False
    if either_way(a, b):
        return True
    if not any(isinstance(part, Basic) and any(s.name == "i" for s in part.free_symbols) for part in a + b):
        return False
    return either_way(imaginary(a), imaginary(b))


sys.stdin.readline()
print("ready", flush=True)
for line in sys.stdin:
    print("same" if same(*json.loads(line)) else "different", flush=True)

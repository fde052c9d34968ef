# math-verify on answers as they are written: a line with two answers in, the verdict out; a line with one answer in, equal forms of
# it made with sympy out.
import json
import logging
import re
import sys
from functools import lru_cache

import sympy
from math_verify import parse, verify

logging.disable(logging.CRITICAL)


@lru_cache(maxsize=512)
def parsed(text):
    return parse("\\boxed{" + text + "}", parsing_timeout=None)


def same(a, b):
    a, b = parsed(a), parsed(b)
    return bool(verify(a, b, timeout_seconds=None) or verify(b, a, timeout_seconds=None))


def forms(text):
    found = []
    if "\\text" in text or re.search(r"(?<![\\a-z])[a-zA-Z]{4}", text):
        return found  # words
    expression = next(iter(parsed(text)), None)
    if not isinstance(expression, sympy.Expr) or expression.has(sympy.I, sympy.oo, sympy.UnevaluatedExpr):
        return found
    for way in (sympy.expand, sympy.factor, sympy.together, sympy.apart, sympy.simplify, sympy.nsimplify):
        try:
            form = sympy.latex(way(expression.doit()), ln_notation=True)
        except Exception:
            continue
        if form not in found:
            found.append(form)
    return found


for line in sys.stdin:
    answers = json.loads(line)
    print(json.dumps(same(*answers) if len(answers) == 2 else forms(*answers)), flush=True)

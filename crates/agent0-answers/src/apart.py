# Telling expressions apart by their values, before algebra is tried on their difference.
#
# Two expressions that differ at one point where both have a value are not the same by any rewriting. So math-verify would come to the
# same verdict, after a simplification that takes up to seconds.
from functools import lru_cache
from zlib import crc32

from math_verify import grader
from sympy import Abs, Add, Expr, FiniteSet, Mul, Number, NumberSymbol, Pow, Rational, Symbol, Tuple, UnevaluatedExpr
from sympy import binomial, ceiling, cos, exp, factorial, floor, log, preorder_traversal
from sympy.core.function import AppliedUndef
from sympy.core.numbers import ImaginaryUnit
from sympy.functions.elementary.hyperbolic import HyperbolicFunction
from sympy.functions.elementary.trigonometric import InverseTrigonometricFunction, TrigonometricFunction

# What has a value where its parts have one, and costs little. No sums, limits, integrals, derivatives.
PARTS = (
    *(Add, Mul, Pow, Number, NumberSymbol, ImaginaryUnit, Symbol, UnevaluatedExpr, AppliedUndef),
    *(exp, log, TrigonometricFunction, InverseTrigonometricFunction, HyperbolicFunction, Abs, floor, ceiling, factorial, binomial),
)
CLEAR = 1e-6  # of the larger of the two, and at least this much: far above the noise of floats and what math-verify rounds
LARGEST = 1e300


def coordinate(name):
    """A number between 1 and 2 that belongs to a name."""
    return 1 + Rational(crc32(name.encode()), 1 << 32)


def is_closed(part):
    return isinstance(part, (AppliedUndef, UnevaluatedExpr))


def opened(part):
    """What stands for a part that has no value of its own: any function for an unknown one, as what holds for all holds for it too."""
    if isinstance(part, UnevaluatedExpr):
        return part.args[0]
    name = part.func.__name__
    return cos(sum(coordinate(name + str(i)) * argument for i, argument in enumerate(part.args)))


@lru_cache(maxsize=4096)
def value(expression):
    """The value at the point that the names of the variables make; None where there is none to rely on."""
    if not isinstance(expression, Expr) or not all(isinstance(part, PARTS) for part in preorder_traversal(expression)):
        return None
    try:
        expression = expression.replace(is_closed, opened)
        point = {symbol: coordinate(str(symbol.assumptions0) + symbol.name) for symbol in expression.free_symbols}
        found = complex(expression.evalf(15, subs=point))
    except Exception:
        return None
    return found if abs(found) < LARGEST else None


def far(x, y):
    return x is not None and y is not None and abs(x - y) > CLEAR * max(abs(x), abs(y), 1)


def one_is_missing(some, others):
    """Whether one of the first is clearly none of the others."""
    others = [value(other) for other in others]
    return any(all(far(value(one), other) for other in others) for one in some)


def symbolic_eq(a, b):
    return not far(value(a), value(b)) and algebra(a, b)


def compare_sets(gold, pred, *precision):
    sets = [side if isinstance(side, (grader.Set, Tuple)) else FiniteSet(side) for side in (gold, pred)]
    if all(isinstance(side, FiniteSet) for side in sets) and one_is_missing(*(side.args for side in sets)):
        # They are not equal as sets; math-verify goes on from here.
        return grader.sympy_deep_compare_set_and_tuple(*sets, *precision)
    return sets_by_algebra(gold, pred, *precision)


@lru_cache(maxsize=256)
def solutions(relation, symbols):
    return all_solutions(relation, set(symbols))


def solve(relation, symbols):
    """Solves each equation once, not for each pair and direction."""
    return solutions(relation, frozenset(symbols))


all_solutions, grader.solve = grader.solve, solve
algebra, grader.sympy_symbolic_eq = grader.sympy_symbolic_eq, symbolic_eq
sets_by_algebra, grader.sympy_compare_sets = grader.sympy_compare_sets, compare_sets

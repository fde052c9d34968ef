# Imports the preloaded modules and uses them once, so that what they load or compute at first use is done before the fork of a call.
# Before that it puts a seeded generator in the place of the system's random numbers: programs that draw them are repeatable, and so are
# modules that do so when they are loaded, as sympy. Part of the zygote; `stub.py` follows in the same program.
import sys

sys.path[:] = [place for place in sys.path if place]  # `-c` puts the current folder first

import os, random

CHANCE = random.Random(0)


def replace_system_random():
    seed_with = random.Random.seed

    def seed(self, a=None, version=2):
        seed_with(self, CHANCE.getrandbits(256) if a is None else a, version)

    random.Random.seed = seed
    random.seed = random._inst.seed
    os.urandom = random._urandom = CHANCE.randbytes  # `secrets`, `uuid` and numpy's `default_rng` draw from it


def seed_generators(seed):
    CHANCE.seed("chance %d" % seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed & 0xFFFFFFFF)
    if "sympy" in sys.modules:
        sys.modules["sympy"].core.random.seed(seed)


MATHS = [
    r"\frac{1}{2}", "0.5", r"\sqrt{2}+1", "x^2+2x+1", "(x+1)^2", "(1,2)", r"\{1,2\}", "[0,1)", r"3\pi", "2^{10}",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\sin^2 x", r"\log_2 8", "x=5", r"-\frac{7}{3}", r"\binom{5}{2}", "5!", r"10\%",
    "x>3", "y=2x+1", "a_1+b", r"\frac{\sqrt{3}}{2}", "e^{x}", r"\infty", r"\text{yes}", "1,000", r"\ln 2", "|x|", "3x^2y",
    r"\left(1,\frac{2}{3}\right)", r"(-\infty,2]\cup[3,\infty)",
]


def warm_numpy():
    import numpy as np
    import numpy.fft, numpy.linalg, numpy.polynomial, numpy.random  # loaded lazily otherwise

    np.random.seed(1)
    np.linalg.det(np.eye(2))
    np.array([1.5]).sum()
    str(np.arange(3))


def warm_sympy():
    import sympy as sp

    x, y = sp.symbols("x y")
    sp.solve(x**2 - 2, x)
    sp.solve([x + y - 1, x - y], [x, y])
    sp.integrate(sp.sin(x) ** 2, x)
    sp.diff(x * sp.exp(x), x)
    sp.simplify(sp.sin(x) ** 2 + sp.cos(x) ** 2)
    sp.factor(x**4 - 1)
    sp.limit(sp.sin(x) / x, x, 0)
    sp.Sum(x, (x, 1, 10)).doit()
    sp.nsolve(x**2 - 2, 1)
    sp.N(sp.pi, 30)
    sp.Matrix([[1, 2], [3, 4]]).det()
    sp.factorint(360)
    sp.isprime(97)
    sp.sympify("1/3+x")
    sp.latex(x**2)
    n = sp.symbols("n", integer=True)
    sp.integrate(x * sp.exp(x), x)
    sp.integrate(1 / (x**2 + 1), (x, 0, sp.oo))
    sp.summation(n**2, (n, 1, x))
    sp.series(sp.exp(x), x, 0, 4)
    sp.apart(1 / (x**2 - 1), x)
    sp.solve(sp.Eq(3**x, 9), x)
    sp.solve([x**2 + y**2 - 5, x - y - 1], [x, y])
    sp.solve(x**2 < 4, x)
    sp.Poly(x**3 - x - 1, x).nroots()
    sp.Matrix([[1, 2], [2, 1]]).eigenvals()
    sp.trigsimp(sp.sin(x) * sp.cos(x))
    sp.nsimplify(0.25, rational=True)
    sp.Point(0, 0).distance(sp.Point(1, 1))


def warm_math_verify():
    import logging

    logging.disable(logging.CRITICAL)
    from math_verify import parse, verify

    answers = [parse("\\boxed{" + text + "}", parsing_timeout=None) for text in MATHS]
    for answer in answers:
        for other in answers[:6]:
            verify(answer, other, timeout_seconds=None)


WARM = {"numpy": warm_numpy, "sympy": warm_sympy, "math_verify": warm_math_verify}


def preload(names):
    replace_system_random()
    for name in names:
        __import__(name)
        if name in WARM:
            WARM[name]()



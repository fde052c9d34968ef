"""Answers as numbers: what is in a box, whether two say the same, what most say. Coarser than the program's grader (docs/answers.md)."""

import re
from fractions import Fraction


def boxed(text: str) -> str | None:
    """Content of the last balanced box that has any."""
    for match in reversed(list(re.finditer(r"\\boxed\s*\{", text))):
        depth = 1
        for at in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                if content := text[match.end() : at].strip():
                    return content
                break
    return None


def number(answer: str) -> Fraction | None:
    text = re.sub(r"\\[$!,;]|\\(left|right)", "", answer.strip().strip("$"))
    text = re.sub(r"\\[dt]frac", r"\\frac", text)
    text = re.sub(r"\\(text|mathrm|mbox)\s*\{[^{}]*\}", "", text).strip().rstrip(".").strip("$ ")
    text = text.replace("\\%", "%").rstrip("%").strip()
    text = re.sub(r"(?<=\d),(?=\d{3}(\D|$))", "", text)
    try:
        if match := re.fullmatch(r"(-?)\\frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(-?\d+)\s*\}", text):
            return Fraction(int(match[2]), int(match[3])) * (-1 if match[1] else 1)
        if match := re.fullmatch(r"(-?\d+)\s*/\s*(-?\d+)", text):
            return Fraction(int(match[1]), int(match[2]))
        if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d{1,2})?", text, re.IGNORECASE):
            return Fraction(text)
    except ZeroDivisionError:
        pass
    return None


def same(a: str | None, b: str | None) -> bool:
    if a is None or b is None:
        return False
    x, y = number(bare(a)), number(bare(b))
    if x is None or y is None:
        return x is y and re.sub(r"\s", "", a) == re.sub(r"\s", "", b)
    return x == y or rounds_to(x, y, b) or rounds_to(y, x, a)


def bare(answer: str) -> str:
    """Without `x =` before it or words after it."""
    answer = re.sub(r"^\$?\s*[a-zA-Z]\s*=\s*", "", answer.strip())
    return re.sub(r"(?<=\d)\s+[a-zA-Z][a-zA-Z ]*$", "", answer)


def rounds_to(exact: Fraction, value: Fraction, written: str) -> bool:
    """Whether `written` is `exact`, rounded to two decimals or more."""
    decimals = re.search(r"\.(\d{2,})", written)
    return decimals is not None and abs(exact - value) <= Fraction(1, 2 * 10 ** len(decimals[1]))


def vote(answers: list[str | None]) -> tuple[str | None, float]:
    """What most say, and their share of all; ties go to the earliest."""
    clusters: list[list] = []
    for answer in filter(None, answers):
        for cluster in clusters:
            if same(answer, cluster[0]):
                cluster[1] += 1
                break
        else:
            clusters.append([answer, 1])
    label, votes = max(clusters, key=lambda cluster: cluster[1], default=(None, 0))
    return label, votes / len(answers)

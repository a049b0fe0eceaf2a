"""The equation of an Einsum, written out: one letter an axis, also for an ellipsis and for what is implied."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence

DOTS = "..."


def written_out(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each input and those of the output, for inputs of these ranks.

    What an ellipsis stands for is aligned from the right, as in broadcasting, and gets letters that the equation does
    not have. Without a right-hand side, the output has the ellipsis and, in alphabetical order, every letter that
    occurs once. Letters may occur twice in an input (a diagonal), not in the output.

    Raises ValueError, whose text completes "its equation ...", for one that does not fit.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"is for {len(terms)} inputs, and it has {len(ranks)}")
    if not all(letter in string.ascii_letters for term in (*terms, right) for letter in term.replace(DOTS, "", 1)):
        raise ValueError("has other signs than letters")
    hidden = [rank - len(term.replace(DOTS, "")) for term, rank in zip(terms, ranks, strict=True)]
    if any(count < 0 or (count and DOTS not in term) for term, count in zip(terms, hidden, strict=True)):
        raise ValueError("does not fit the ranks of its inputs")
    free = [letter for letter in string.ascii_letters if letter not in equation]
    if len(free) < max(hidden):
        raise ValueError("has no letter left for its ellipsis")
    dots = "".join(free[: max(hidden)])
    filled = [term.replace(DOTS, dots[len(dots) - count :]) for term, count in zip(terms, hidden, strict=True)]
    if not arrow:
        counts = Counter(left.replace(DOTS, "").replace(",", ""))
        right = DOTS + "".join(sorted(letter for letter, count in counts.items() if count == 1))
    elif dots and DOTS not in right:
        raise ValueError("leaves out its ellipsis on the right, which no runtime takes")
    result = right.replace(DOTS, dots)
    if len(set(result)) < len(result) or not set(result) <= set("".join(filled)):
        raise ValueError("gives an index twice, or one that no input has")
    return filled, result

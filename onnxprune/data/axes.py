"""Which axis of every input counts samples, as far as the declared shapes say.

Mostly it is the first one. The state of a recurrent network has its layers there and its samples on the second axis,
which has the symbol that the first axis of the signal has: (b, n) and (2, b, 128). A symbol that is called so (batch)
says it by itself: (time, batch, features).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Dims = tuple[int | str | None, ...]
_BATCH = re.compile(r"b|bs|.*batch.*", re.IGNORECASE | re.DOTALL)  # not n: it counts values of a signal, or nodes, too


def named_batch(size: int | str | None) -> bool:
    """Whether a symbol is called what exporters call the number of samples."""
    return isinstance(size, str) and _BATCH.fullmatch(size) is not None


def batch_symbol(shapes: Sequence[Dims]) -> str | None:
    """The symbol that counts samples: one that is called so, on the first or second axis, or else one that is on the
    first axis of an input; in either case elsewhere only behind fixed axes. The one that most inputs have. None if
    there is no such symbol.
    """
    symbols = dict.fromkeys(size for shape in shapes for size in shape if isinstance(size, str))
    fitting = [symbol for symbol in symbols if _may_count(symbol, shapes)]
    return max(fitting, key=lambda s: (named_batch(s), sum(s in shape for shape in shapes)), default=None)


def _may_count(symbol: str, shapes: Sequence[Dims]) -> bool:
    owners = [shape for shape in shapes if symbol in shape]
    before = [shape[: shape.index(symbol)] for shape in owners]
    if any(shape.count(symbol) > 1 for shape in owners) or any(named_batch(d) for dims in before for d in dims):
        return False
    behind = all(isinstance(size, int) for dims in before for size in dims)
    if named_batch(symbol):
        return behind or all(len(dims) < 2 for dims in before)
    return behind and not all(before)


def sample_axes(shapes: Sequence[Dims]) -> list[int]:
    """Per input the axis that counts samples: that of the `batch_symbol`, or the first."""
    symbol = batch_symbol(shapes)
    return [shape.index(symbol) if symbol is not None and symbol in shape else 0 for shape in shapes]

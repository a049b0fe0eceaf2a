"""What a network will be in the file that is written: its layers may compute with integers there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnxprune.model.load import Model


@dataclass(frozen=True)
class Form:
    """`written`: from a network (the original, or one cut from it) to what its file would have. `integers`: names of
    weights whose layers multiply bytes there."""

    written: Callable[[Model], Model]
    integers: frozenset[str]

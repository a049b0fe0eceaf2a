"""What rules work with later: what survives, a node under the knife, and the masked counterpart of a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxprune.model.graph import Node
from onnxprune.trace.ops.atoms import IntArray, Labels


class Kept(Protocol):
    """What survives, as rules see it when the cut is made."""

    def mask(self, labels: IntArray) -> NDArray[np.bool_]: ...

    def count(self, labels: Labels, size: int) -> int:
        """Indices left of an axis of `size`."""


class Edit(Kept, Protocol):
    """A node under the knife: a rule's `rewrite` changes attributes and literal inputs through this."""

    proto: NodeProto

    def set_attribute(self, name: str, value: Any) -> None: ...

    def set_input(self, slot: int, value: NDArray[Any]) -> None: ...


class Reference(Protocol):
    """Builds the masked counterpart of one node in the reference model (see reference.py)."""

    node: Node

    def mask(self, labels: IntArray, rank: int, axis: int) -> str:
        """Name of a 0/1 tensor of the data type of the first input, shaped to broadcast along `axis`."""

    def add(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str: ...

    def constant(self, value: NDArray[Any]) -> str: ...

    def number(self, value: float) -> str: ...

    def finish(self, name: str, output: int = 0) -> None:
        """Let `name` be the node's output."""

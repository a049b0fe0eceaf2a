"""What is asked of quantised weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxprune.errors import UsageError

INT4, INT8, FP16, FLOAT = "int4", "int8", "fp16", "float"
KINDS = (INT4, INT8, FP16)
OTHERS = (INT8, FP16, FLOAT)
MOMENTS, NEAREST = "moments", "nearest"
BLOCKS = (16, 32, 64, 128, 256)
"""Sizes of blocks that MatMulNBits reads."""


@dataclass(frozen=True)
class WeightRequest:
    """`kind`: what weights become. `int4` is for matrix products; `others` is what other layers get then.

    block: inputs of an output that share a scale, of int4. symmetric: int4 without zero points. accuracy_level: what
    MatMulNBits may compute in: 4 int8 (the fastest), 1 float32. rounding: "moments" where there are samples, "nearest"
    anyway. least: weights with fewer numbers stay. kept: label of a node -> why it stays float.
    """

    kind: str = INT4
    block: int = 32
    symmetric: bool = False
    accuracy_level: int = 4
    others: str = INT8
    rounding: str = MOMENTS
    least: int = 1024
    kept: Mapping[str, str] = field(default_factory=dict)


def check_request(request: WeightRequest) -> None:
    """Raises UsageError for values that there are not."""
    for name, value, known in (
        ("kind of weights", request.kind, KINDS),
        ("kind of other weights", request.others, OTHERS),
        ("size of blocks", request.block, BLOCKS),
        ("rounding", request.rounding, (MOMENTS, NEAREST)),
        ("accuracy level", request.accuracy_level, (0, 1, 2, 3, 4)),
    ):
        if value not in known:
            raise UsageError(f"there is no {name} {value!r}", hint=f"One of {', '.join(map(str, known))}.")

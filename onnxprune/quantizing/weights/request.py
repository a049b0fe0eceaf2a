"""What is asked of small weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxprune.errors import UsageError

INT4, INT8_BLOCKS, INT8, FP16, DYNAMIC, FLOAT = "int4", "int8-blocks", "int8", "fp16", "dynamic", "float"
KINDS = (INT4, INT8_BLOCKS, INT8, FP16, DYNAMIC)
"""What weights may become. `int4` and `int8-blocks`: MatMulNBits; `int8` and `fp16`: stored so, and float again when
the file is loaded; `dynamic`: int8, and so are the inputs of the layer, on a grid that is found in every run."""
OTHERS = (INT8, FP16, FLOAT)
MOMENTS, NEAREST = "moments", "nearest"
BLOCKS = (16, 32, 64, 128, 256)
"""Sizes of blocks that MatMulNBits reads."""


@dataclass(frozen=True)
class WeightRequest:
    """`kind`: what weights become. `others`: what layers get that cannot have it (convolutions and tables of
    `int4`, `int8-blocks` and `dynamic`). `chosen`: label of a node -> the kind of its weights, or "float".

    block: inputs of an output that share a scale, of blocks. symmetric: blocks without zero points. accuracy_level:
    what MatMulNBits may compute in: 4 int8 (the fastest), 1 float32. bits: how many of int8 are used: 7 for `dynamic`
    on processors whose sums of products saturate. rounding: "moments" where there are samples, "nearest" anyway. least:
    weights with fewer numbers stay. kept: label of a node -> why it stays float.
    """

    kind: str = INT4
    block: int = 32
    symmetric: bool = False
    accuracy_level: int = 4
    others: str = INT8
    bits: int = 8
    rounding: str = MOMENTS
    least: int = 256
    kept: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)


def check_request(request: WeightRequest) -> None:
    """Raises UsageError for values that there are not."""
    for name, values, known in (
        ("kind of weights", (request.kind,), KINDS),
        ("kind of other weights", (request.others,), OTHERS),
        ("kind of weights", tuple(request.chosen.values()), (*KINDS, FLOAT)),
        ("size of blocks", (request.block,), BLOCKS),
        ("number of bits", (request.bits,), (7, 8)),
        ("rounding", (request.rounding,), (MOMENTS, NEAREST)),
        ("accuracy level", (request.accuracy_level,), (0, 1, 2, 3, 4)),
    ):
        for value in values:
            if value not in known:
                raise UsageError(f"there is no {name} {value!r}", hint=f"One of {', '.join(map(str, known))}.")

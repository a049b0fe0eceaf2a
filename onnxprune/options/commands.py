"""All commands, and what each of them may be given."""

from __future__ import annotations

from onnxprune.options.compressing import CompressOptions
from onnxprune.options.declare import Options, of_file
from onnxprune.options.others import (
    BenchOptions,
    CheckOptions,
    DiffOptions,
    EnvOptions,
    InspectOptions,
    PackOptions,
    UnpackOptions,
    VerifyOptions,
)
from onnxprune.options.quantizing import QuantizeOptions
from onnxprune.options.shrinking import ShrinkOptions, SparsifyOptions, SweepOptions

COMMANDS: tuple[type[Options], ...] = (
    CompressOptions,
    ShrinkOptions,
    QuantizeOptions,
    SparsifyOptions,
    InspectOptions,
    BenchOptions,
    CheckOptions,
    SweepOptions,
    PackOptions,
    UnpackOptions,
    VerifyOptions,
    DiffOptions,
    EnvOptions,
)
"""In the order of the help."""


def known_keys() -> dict[str, list[str]]:
    """Command -> the keys of its table in a configuration, with `_`."""
    known = {one.NAME: [*(entry.name for entry in of_file(one)), *one.TABLES] for one in COMMANDS}
    return {**known, "completion": []}

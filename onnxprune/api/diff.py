"""The function of the API that compares two files: `diff`. Nothing here prints."""

from __future__ import annotations

from pathlib import Path

from onnxprune.measure.differences import difference
from onnxprune.measure.summaries import summary_of
from onnxprune.model.load import Model
from onnxprune.model.sources import opened
from onnxprune.options.positionals import positional
from onnxprune.results import Difference


def diff(a: str | Path | Model, b: str | Path | Model) -> Difference:
    """What distinguishes two models. Values are compared piece by piece, so the models may be large.

    Args:
        a: A path, or a model in memory.
        b: Another one.

    Returns:
        What is different of the signature, the metadata, the nodes (by name, or first output) and the initializers (by
        name).

    Raises:
        UsageError: There is no such file.
        ModelError: One of them is no valid model.
    """
    first, second = (opened(positional(name, diff.__annotations__[name], one)) for name, one in (("a", a), ("b", b)))
    return difference(first, second, summary_of(first, None), summary_of(second, None))

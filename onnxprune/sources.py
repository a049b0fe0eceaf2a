"""What the functions of the API take: a model by path or in memory, and where its result goes."""

from __future__ import annotations

from pathlib import Path

from onnxprune.errors import UsageError
from onnxprune.model.load import Model, load


def opened(model: str | Path | Model) -> Model:
    """The model, read if it is a path."""
    return model if isinstance(model, Model) else load(model)


def beside(model: Path, suffix: str) -> Path:
    """Where a result goes by default: beside the model, as NAME and the suffix."""
    return model.with_name(f"{model.stem}{suffix}")


def destination(source: Model, out: str | Path | None, suffix: str, dry_run: bool) -> Path | None:
    """The file to write; None for a dry run of a model without a path. Raises UsageError."""
    if out is not None:
        return Path(out)
    if source.path is not None:
        return beside(source.path, suffix)
    if dry_run:
        return None
    raise UsageError("a model that was not read from a file needs an output path")

"""What the functions of the API take: a model by path or in memory, and where its result goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.errors import UsageError
from onnxprune.model.load import Model, load
from onnxprune.model.save import Staged, check_output

NAMELESS = Path("model.onnx")


@dataclass(frozen=True)
class Place:
    """Where a result goes, absolute: user code may change the working directory before it is written. `protected` files
    are never replaced.
    """

    target: Path
    protected: tuple[Path, ...]
    force: bool
    external_data: Any

    def staged(self, model: Model) -> Staged:
        """`model` in a file beside the target."""
        return Staged(model, self.target, external_data=self.external_data, force=self.force, inputs=self.protected)


def opened(model: str | Path | Model) -> Model:
    """The model, read if it is a path."""
    return model if isinstance(model, Model) else load(model)


def beside(model: Path, suffix: str) -> Path:
    """Where a result goes by default: beside the model, as NAME and the suffix."""
    return model.with_name(f"{model.stem}{suffix}")


def destination(
    source: Model,
    out: str | Path | None,
    suffix: str,
    protected: tuple[Path, ...],
    *,
    force: bool,
    external_data: Any,
    dry_run: bool,
) -> Place:
    """The place of a result: `out`, or beside the model. Raises UsageError for a model without a path, and OutputError
    for a file that must stay; in a dry run neither, as nothing is written.
    """
    if out is not None:
        target = Path(out).absolute()
    elif source.path is not None:
        target = beside(source.path, suffix)
    elif dry_run:
        target = NAMELESS
    else:
        raise UsageError("a model that was not read from a file needs an output path")
    if not dry_run:
        check_output(target, force=force, inputs=protected)
    return Place(target, protected, force, external_data)

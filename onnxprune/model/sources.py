"""What the functions of the API take: a model by path or in memory, and where its result goes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from onnxprune.errors import UsageError
from onnxprune.model.load import Model, load
from onnxprune.model.save import Staged, check_output

NAMELESS = Path("model.onnx")


class Beside(Enum):
    """Where a result goes if nothing else is said: beside the model, under its name and a suffix."""

    BESIDE = "beside the model"

    def __repr__(self) -> str:
        return self.name


BESIDE = Beside.BESIDE


@dataclass(frozen=True)
class Place:
    """Where a result goes, absolute: user code may change the working directory before it is written. `protected` files
    are never replaced. `in_memory`: the target is in a folder of ours, and goes with it.
    """

    target: Path
    protected: tuple[Path, ...]
    force: bool
    external_data: Any
    in_memory: bool = False

    def labelled(self, model: Model) -> Model:
        """`model` under the name that its file would have: it is in memory, and no longer that which it came from."""
        return replace(model.outlined(), label=self.target.name)

    def staged(self, model: Model) -> Staged:
        """`model` in a file beside the target."""
        return Staged(model, self.target, external_data=self.external_data, force=self.force, inputs=self.protected)


def opened(model: str | Path | Model) -> Model:
    """The model, read if it is a path."""
    return model if isinstance(model, Model) else load(model)


def beside(model: Path, suffix: str) -> Path:
    """Where a result goes by default: beside the model, as NAME and the suffix."""
    return model.with_name(f"{model.stem}{suffix}")


@contextmanager
def destination(
    source: Model,
    out: str | Path | Beside | None,
    suffix: str,
    protected: tuple[Path, ...],
    *,
    force: bool,
    external_data: Any,
    dry_run: bool,
) -> Iterator[Place]:
    """The place of a result: `out`, beside the model, or for None a folder that is there until this ends.

    Raises UsageError for a model without a path, and OutputError for a file that must stay; in a dry run neither, as
    nothing is written.
    """
    if out is None:
        known = source.path if source.label is None else Path(source.label)
        name = beside(known or NAMELESS, suffix).name
        with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
            yield Place(Path(folder) / name, protected, force, external_data, in_memory=True)
        return
    if out is not BESIDE:
        target = Path(out).absolute()
    elif source.path is not None:
        target = beside(source.path, suffix)
    elif dry_run:
        target = NAMELESS
    else:
        raise UsageError(
            "a model that was not read from a file needs an output path",
            hint="Give out, or out=None for a result in memory.",
        )
    if not dry_run:
        check_output(target, force=force, inputs=protected)
    yield Place(target, protected, force, external_data)

"""A bar on stderr, for how far a long run is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from onnxprune.results import Progress, ProgressCallback

SAYING = {
    "load": "reading the model",
    "trace": "tracing",
    "capture": "running the samples",
    "plan": "planning",
    "cut": "cutting",
    "choose": "timing layers",
    "mask": "choosing weights",
    "rewrite": "storing weights",
    "repair": "repairing layer by layer",
    "rebuild": "adjusting all weights together",
    "verify": "verifying",
    "measure": "comparing with the original",
    "pack": "packing",
    "unpack": "unpacking",
    "write": "writing",
    "bench": "measuring",
    "check": "checking",
    "sweep": "sweeping",
}
"""Stage -> what is being done."""


def said(step: Progress) -> str:
    """What is being done, in words."""
    return SAYING.get(step.stage, step.stage)


@contextlib.contextmanager
def bar() -> Iterator[ProgressCallback]:
    """A callback that draws: in a terminal or a notebook; elsewhere nothing is shown."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("starting", total=None)

        def draw(step: Progress) -> None:
            text = f"{said(step)}: {step.message}" if step.message else said(step)
            shown.update(task, description=text, completed=step.done, total=step.total)

        yield draw

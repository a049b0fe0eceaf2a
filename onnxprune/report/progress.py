"""A bar on stderr, for how far a long run is, under the stages that are done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnxprune.report.stages import Stages
from onnxprune.results import Progress, ProgressCallback

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

TEXTS = 72
"""Columns of a terminal that are not for the bar itself."""


@contextlib.contextmanager
def bar(*, lines: bool = False) -> Iterator[ProgressCallback]:
    """A callback that draws: in a terminal or a notebook; elsewhere nothing is shown.

    `lines`: what is done stays above the bar, stage by stage. The bar is gone at the end.
    """
    stages = Stages()
    with _bar() as shown:
        task = shown.add_task("starting", total=None, message="")

        def line(text: str | None) -> None:
            if lines and text is not None:
                shown.console.print(text, markup=False, highlight=False, style="dim")

        def draw(step: Progress) -> None:
            nonlocal task
            ended = stages.hear(step, time.monotonic())
            line(ended)
            running = stages.running
            if running is None or step.fact:
                return
            if step.total is None and not step.message:  # a new task: rates and times of another stage are none of it
                shown.remove_task(task)
                task = shown.add_task(running.what, total=None, message="")
            elif step.total is None:
                shown.update(task, message=running.message)
            else:
                shown.update(task, message=running.message, completed=step.done, total=step.total)

        yield draw
        line(stages.end(time.monotonic()))


def _bar() -> Bar:
    """With the rate, how long it takes yet, and how it stands."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        ProgressColumn,
        Task,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """How many steps a second."""

        def render(self, task: Task) -> Text:
            rate = task.speed
            text = "" if not rate else f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each"
            return Text(text, style="progress.data.speed")

    console = Console(stderr=True)
    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=min(max(console.width - TEXTS, 8), 40)),
        TaskProgressColumn(),
        RateColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[message]}", markup=False),
        console=console,
        transient=True,
    )

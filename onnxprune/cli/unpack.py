"""`onnxprune unpack`: the model that a packed file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxprune.cli.options import Command, FilePath, arguments, declared
from onnxprune.cli.run import Run
from onnxprune.options.others import UnpackOptions


@click.command("unpack", cls=Command, short_help="Give back a packed model.")
@click.argument("file", metavar="FILE", type=FilePath())
@declared(UnpackOptions)
@click.pass_context
def command(ctx: click.Context, /, file: Path, output: Path | None, **given: Any) -> None:
    """Write the model that FILE, made by `pack`, holds; checksums are verified before anything is written.

    Data files keep the names that they had when they were packed, and go into OUT's folder.
    """
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import pack as text
    from onnxprune.report.pack_document import unpack as document

    run = ctx.ensure_object(Run)
    with progress(run) as callback:
        result = onnxprune.unpack(file, output, progress=callback, **arguments(UnpackOptions, ctx.params))
    run.show(lambda: text.outcome(result) if run.quiet else text.unpack_report(result), lambda: document(result))

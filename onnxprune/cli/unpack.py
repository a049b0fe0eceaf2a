"""`onnxprune unpack`: the model that a packed file holds."""

from __future__ import annotations

from pathlib import Path

import click

from onnxprune.cli.options import Command, FilePath, output_format, output_option
from onnxprune.cli.run import Run


@click.command("unpack", cls=Command, short_help="Give back a packed model.")
@click.argument("file", metavar="FILE", type=FilePath())
@output_option("The file to write.  [default: FILE's stem + .unpacked.onnx, beside FILE]")
@click.option(
    "--max-size",
    metavar="SIZE",
    show_default="1000 times FILE, at least 67 MB",
    help="Refuse a file that unpacks to more than this.",
)
@click.option("--force", is_flag=True, help="Replace outputs that exist.")
@output_format
@click.pass_context
def command(
    ctx: click.Context, /, file: Path, output: Path | None, max_size: str | None, force: bool, format_: str
) -> None:
    """Write the model that FILE, made by `pack`, holds; checksums are verified before anything is written.

    Data files keep the names that they had when they were packed, and go into OUT's folder.
    """
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import pack as text
    from onnxprune.report.pack_document import unpack as document

    run = ctx.ensure_object(Run)
    with progress(run) as callback:
        result = onnxprune.unpack(file, output, max_size=max_size, force=force, progress=callback)
    run.show(lambda: text.outcome(result) if run.quiet else text.unpack_report(result), lambda: document(result))

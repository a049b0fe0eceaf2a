"""`onnxprune inspect`: what can be removed, and why the rest stays."""

from __future__ import annotations

from pathlib import Path

import click

from onnxprune.cli.options import Command, FilePath, model_argument, output_format, units_option
from onnxprune.cli.run import Run


@click.command("inspect", cls=Command, short_help="Show what can be removed, and why the rest stays.")
@model_argument("model")
@click.option("--groups", is_flag=True, help="All groups, with their layers.")
@click.option("--layers", is_flag=True, help="Cost and group of every layer.")
@click.option("--why", metavar="NODE", help="Explain one node: what can go there, or why it stays.")
@click.option("--report", metavar="FILE", type=FilePath(), help="Write a page with all of it (HTML).")
@click.option("--force", is_flag=True, help="Replace a report that exists.")
@units_option
@output_format
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: Path,
    groups: bool,
    layers: bool,
    why: str | None,
    report: Path | None,
    force: bool,
    units: str,
    format_: str,
) -> None:
    """Show what can be removed from MODEL, what stays and why, and what layers cost."""
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import documents
    from onnxprune.report import inspect as text

    run = ctx.ensure_object(Run)
    if groups + layers + (why is not None) > 1:
        raise click.UsageError("--groups, --layers and --why exclude each other.", ctx)
    if why is not None:
        if report is not None:
            raise click.UsageError("--report has no effect with --why, which explains one node.", ctx)
        node = why
        with progress(run):
            found = onnxprune.why(model, node, units=units)
        sentences = tuple(map(text.why_sentence, found))
        run.show(lambda: text.why_report(node, found), lambda: documents.why(node, found, sentences))
        return
    with progress(run) as callback:
        result = onnxprune.inspect(model, units=units, report=report, force=force, progress=callback)
    view = text.groups_report if groups else text.layers_report if layers else text.report
    run.show(lambda: view(result), lambda: documents.inspect(result, groups=not layers, layers=not groups))

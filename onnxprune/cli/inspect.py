"""`onnxprune inspect`: what can be removed, and why the rest stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxprune.cli.options import Command, arguments, declared, model_argument
from onnxprune.cli.run import Run
from onnxprune.options.others import InspectOptions, WhyOptions


@click.command("inspect", cls=Command, short_help="Show what can be removed, and why the rest stays.")
@model_argument("model")
@declared(InspectOptions)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: Path,
    groups: bool,
    layers: bool,
    why: str | None,
    report: Path | None,
    quantization: bool,
    **given: Any,
) -> None:
    """Show what can be removed from MODEL, what stays and why, and what layers cost."""
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import documents
    from onnxprune.report import inspect as text

    run = ctx.ensure_object(Run)
    if groups + layers + (why is not None) > 1:
        raise click.UsageError("--groups, --layers and --why exclude each other.", ctx)
    if quantization and (groups or layers or why is not None):
        raise click.UsageError("--quantization excludes --groups, --layers and --why.", ctx)
    if why is not None:
        if report is not None:
            raise click.UsageError("--report has no effect with --why, which explains one node.", ctx)
        node = why
        with progress(run):
            found = onnxprune.why(model, node, **arguments(WhyOptions, ctx.params))
        sentences = tuple(map(text.why_sentence, found))
        run.show(lambda: text.why_report(node, found), lambda: documents.why(node, found, sentences))
        return
    with progress(run) as callback:
        result = onnxprune.inspect(model, progress=callback, **arguments(InspectOptions, ctx.params))
    if quantization:
        run.show(lambda: text.quantization_report(result), lambda: documents.inspect(result))
        return
    view = text.groups_report if groups else text.layers_report if layers else text.report
    run.show(lambda: view(result), lambda: documents.inspect(result, groups=not layers, layers=not groups))

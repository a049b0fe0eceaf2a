"""`onnxprune inspect`: what can be removed, and why the rest stays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from onnxprune.cli.options import Command, FilePath, arguments, declared
from onnxprune.cli.run import Run
from onnxprune.options.others import InspectOptions, WhyOptions


@click.command("inspect", cls=Command, short_help="Show what can be removed, and why the rest stays.")
@click.argument("models", metavar="MODEL [MODEL ...]", nargs=-1, required=True, type=FilePath())
@declared(InspectOptions)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    models: tuple[Path, ...],
    groups: bool,
    layers: bool,
    why: str | None,
    report: Path | None,
    quantization: bool,
    **given: Any,
) -> None:
    """Show what can be removed from MODEL, what stays and why, and what layers cost.

    Of several files, or of all in a folder: one table of what each could lose, and why not more. One that cannot be
    read is a row with the error, and the exit code is that of the first such error.
    """
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import documents
    from onnxprune.report import inspect as text

    run = ctx.ensure_object(Run)
    if groups + layers + (why is not None) > 1:
        raise click.UsageError("--groups, --layers and --why exclude each other.", ctx)
    if quantization and (groups or layers or why is not None):
        raise click.UsageError("--quantization excludes --groups, --layers and --why.", ctx)
    if len(models) > 1 or models[0].is_dir():
        _require_plain(ctx, {**given, "groups": groups, "layers": layers, "why": why, "report": report})
        _several(run, models, given["units"])
        return
    (model,) = models
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


def _require_plain(ctx: click.Context, given: Mapping[str, Any]) -> None:
    """Raise a UsageError for options that are about one model."""
    flags = ("groups", "layers", "why", "report", "data")
    named = [f"--{name}" for name in flags if given.get(name) not in (None, False, ())]
    if ctx.params["quantization"]:
        named.append("--quantization")
    if named:
        raise click.UsageError(f"{named[0]} is about one model, and this is a table of several.", ctx)


def _several(run: Run, models: tuple[Path, ...], units: str) -> None:
    """One table of all models."""
    from onnxprune.api.survey import files_in, survey
    from onnxprune.report import survey as text

    found = survey(files_in(models), units)
    run.show(lambda: text.report(found), lambda: text.survey(found))
    if found.exit_code:
        raise click.exceptions.Exit(found.exit_code)

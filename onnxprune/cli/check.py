"""`onnxprune check`: budgets for models, as a step of continuous integration."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.options import Command, DataSource, FilePath, combined, output_format
from onnxprune.cli.run import Run
from onnxprune.errors import OutputError

if TYPE_CHECKING:
    from onnxprune.checking.results import CheckResult

KINDS = ("size", "params", "macs", "latency", "agreement", "error", "metric", "drop")


def _text(name: str, metavar: str, help_: str) -> Any:
    return click.option(name, metavar=metavar, help=help_)


class CheckCommand(Command):
    """In a file, budgets are in entries of their own, with paths relative to it; no option is their default."""

    tables = ("models",)
    line_only = frozenset(
        {"max_size", "max_params", "max_macs", "max_latency_ratio", "min_agreement", "max_error", "min_metric"}
        | {"data", "preprocess"}
    )


budgets = combined(
    (
        _text("--max-size", "BYTES", "Largest file (10MB), or share of the baseline (50%)."),
        _text("--max-params", "N", "Most parameters (2M), or a share of the baseline's."),
        _text("--max-macs", "N", "Most multiply-accumulates (300M), or a share of the baseline's."),
        _text("--max-latency-ratio", "RATIO", "Largest time by that of the baseline; judged by its 95 % interval."),
        _text("--min-agreement", "SHARE", "Least agreement with the baseline on --data (0.98)."),
        _text("--max-error", "SHARE", "Largest relative error of the outputs against the baseline on --data (5%)."),
        click.option("--min-metric", metavar="X", type=float, help="Least value of --metric."),
        click.option("--max-drop", metavar="X", type=float, help="Most that --metric may fall below the baseline's."),
    )
)
given = combined(
    (
        click.option("--baseline", metavar="FILE", type=FilePath(), help="The model to compare with: the original."),
        click.option(
            "--data",
            metavar="SOURCE",
            multiple=True,
            type=DataSource(),
            help="What to feed: a .npz, x=a.npy (one per input), a folder, file.py:function, or random.",
        ),
        click.option("--preprocess", metavar="STEPS", help="How images become inputs, as for shrink."),
        click.option(
            "--metric",
            metavar="FILE.py:FUNCTION",
            help="Your measure of a model's quality: gets its path, returns a number, higher is better.",
        ),
    )
)
how = combined(
    (
        click.option(
            "--only",
            metavar="KIND",
            multiple=True,
            type=click.Choice(KINDS),
            help=f"Check only budgets of this kind: {', '.join(KINDS)}. Repeatable.",
        ),
        click.option("--strict", is_flag=True, help="What cannot be decided fails, too (noise, unknown sizes)."),
        click.option(
            "--threads", metavar="N", type=click.IntRange(min=1), show_default="all cores", help="Of the runtime."
        ),
        click.option("--batch", metavar="N", type=click.IntRange(min=1), help="Samples per inference, for latency."),
        click.option(
            "--seconds", metavar="S", type=float, show_default="5", help="How long to time a model and its baseline."
        ),
        click.option("--runs", metavar="N", type=click.IntRange(min=1), help="Time N rounds instead of --seconds."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of inputs and order."),
        click.option("--junit", metavar="FILE", type=FilePath(), help="Write the verdicts as JUnit XML."),
        click.option("--force", is_flag=True, help="Replace a file that exists."),
    )
)


@click.command("check", cls=CheckCommand, short_help="Hold models against their budgets: the step for CI.")
@click.argument("models", metavar="[MODEL ...]", nargs=-1, type=FilePath())
@budgets
@given
@how
@output_format
@click.pass_context
def command(
    ctx: click.Context,
    /,
    models: tuple[Path, ...],
    junit: Path | None,
    force: bool,
    format_: str,
    **options: Any,
) -> None:
    """Check models against budgets: size, parameters, MACs, latency, agreement, a metric of yours.

    Without MODEL, all that [[tool.onnxprune.check.models]] of pyproject.toml (or [[check.models]] of onnxprune.toml)
    lists: path = "model.onnx", max-size = "10MB", ... as the options. Budgets given here are for every MODEL. Exit code
    1 if a budget is missed. On GitHub, findings become annotations and the report a job summary.
    """
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.model.outputs import check_target, write_text
    from onnxprune.report.check import check_report, verdicts
    from onnxprune.report.check_document import check as document
    from onnxprune.report.junit import junit as xml

    run = ctx.ensure_object(Run)
    options["data"] = options["data"] or None
    protected = [*models, *([] if options["baseline"] is None else [options["baseline"]])]
    if junit is not None:
        check_target(junit, force=force, inputs=protected)
        junit = junit.absolute()  # before code of the user runs
    with progress(run) as callback:
        result = onnxprune.check(*models, progress=callback, **options)
    protected += [model.path for model in result.models]
    protected += [Path(model.baseline) for model in result.models if model.baseline is not None]
    run.show(lambda: verdicts(result) if run.quiet else check_report(result), lambda: document(result))
    if junit is not None:
        write_text(junit, xml(result), force=force, inputs=protected)
    _tell_github(result)
    failure = result.failure()
    if failure is not None:
        raise failure


def _tell_github(result: CheckResult) -> None:
    """Annotations on stderr, which the runner reads as well as stdout; the report into the summary of the job."""
    from onnxprune.report.github import commands, summary

    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in commands(result, os.environ.get("GITHUB_WORKSPACE")):
            click.echo(line, err=True)
    sys.stderr.flush()
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if target:
        try:
            with open(target, "a", encoding="utf-8", newline="\n") as file:
                file.write(summary(result))
        except OSError as error:
            raise OutputError(
                f"cannot write the job summary {target!r}: {error.strerror or error}",
                hint="GITHUB_STEP_SUMMARY names it; unset it if there is none.",
            ) from error

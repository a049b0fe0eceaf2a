"""`onnxprune check`: budgets for models, as a step of continuous integration.

In a file, budgets are in entries of their own, with paths relative to it; no option is their default.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.options import Command, FilePath, arguments, declared
from onnxprune.cli.run import Run
from onnxprune.errors import OutputError
from onnxprune.options.others import CheckOptions

if TYPE_CHECKING:
    from onnxprune.checking.results import CheckResult


@click.command("check", cls=Command, short_help="Hold models against their budgets: the step for CI.")
@click.argument("models", metavar="[MODEL ...]", nargs=-1, type=FilePath())
@declared(CheckOptions)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    models: tuple[Path, ...],
    junit: Path | None,
    force: bool,
    **given: Any,
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
    options = arguments(CheckOptions, ctx.params)
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

"""`onnxprune bench`: how fast models are, and whether one is faster than another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxprune.cli.options import Command, FilePath, arguments, declared
from onnxprune.cli.run import Run
from onnxprune.options.others import BenchOptions


@click.command("bench", cls=Command, short_help="Time models, run in turn, with intervals.")
@click.argument("models", metavar="MODEL [MODEL ...]", nargs=-1, required=True, type=FilePath())
@declared(BenchOptions)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    models: tuple[Path, ...],
    export_json: Path | None,
    export_markdown: Path | None,
    force: bool,
    **given: Any,
) -> None:
    """Latency of models in ONNX Runtime. All run in turn, in random order; each is compared with the first.

    Verdicts are faster, same or slower, by the 95 % interval of the ratio of neighbouring runs. Load time, first run
    and peak memory are those of processes of their own.
    """
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.model.outputs import check_target, write_text
    from onnxprune.report import documents, render
    from onnxprune.report.bench import bench_report, verdicts
    from onnxprune.report.bench_document import bench as document
    from onnxprune.report.html.write import open_report

    run = ctx.ensure_object(Run)
    options = arguments(BenchOptions, ctx.params)
    baseline = options["baseline"]
    protected = (*models, *([] if baseline is None else [baseline]))
    for path in (export_json, export_markdown):
        if path is not None:
            check_target(path, force=force, inputs=protected)
    # absolute before code of the user runs
    export_json, export_markdown = (None if p is None else p.absolute() for p in (export_json, export_markdown))
    protected = tuple(path.absolute() for path in protected)
    exported = [path for path in (export_json, export_markdown) if path is not None]
    open_report(options["report"], force=force, outputs=exported)
    with progress(run) as callback:
        result = onnxprune.bench(*models, progress=callback, **options)
    if export_json is not None:
        write_text(export_json, documents.dumps(document(result)), force=force, inputs=protected)
    if export_markdown is not None:
        write_text(export_markdown, render.markdown(bench_report(result)), force=force, inputs=protected)
    run.show(lambda: verdicts(result) if run.quiet else bench_report(result), lambda: document(result))
    failure = result.failure()
    if failure is not None:
        raise failure

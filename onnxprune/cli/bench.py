"""`onnxprune bench`: how fast models are, and whether one is faster than another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxprune.cli.options import Command, DataSource, FilePath, combined, output_format
from onnxprune.cli.run import Run

how = combined(
    (
        click.option(
            "--threads", metavar="N,..", show_default="all cores", help="Threads of the runtime; several: 1,2."
        ),
        click.option("--batch", metavar="N,..", show_default="1", help="Samples per inference; several: 1,8,32."),
        click.option(
            "--provider",
            metavar="NAME",
            multiple=True,
            show_default="cpu",
            help="Execution provider, as env lists them: cpu, cuda, ...; all for every one installed. Repeatable.",
        ),
        click.option(
            "--shape",
            metavar="NAME=SIZES",
            multiple=True,
            help="Shape of an input (x=1x3x224x224), or a symbolic size (sequence=64). Repeatable.",
        ),
        click.option(
            "--data",
            metavar="SOURCE",
            multiple=True,
            type=DataSource(),
            show_default="seeded noise",
            help="What to feed: a .npz, x=a.npy (one per input), a folder, file.py:function, or random.",
        ),
        click.option("--preprocess", metavar="STEPS", help="How images become inputs, as for shrink."),
        click.option(
            "--seconds",
            metavar="S",
            type=float,
            show_default="5",
            help="How long to time the models in every setting (combination of threads, batch, provider).",
        ),
        click.option("--runs", metavar="N", type=click.IntRange(min=1), help="Time N rounds instead of --seconds."),
        click.option(
            "--profile", is_flag=True, help="Also show where the time goes, and which layers got slower, and why."
        ),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of inputs and order."),
    )
)
judging = combined(
    (
        click.option(
            "--baseline",
            metavar="FILE",
            type=FilePath(),
            show_default="the first MODEL",
            help="What to compare with: a model (measured in turn with the others), or the JSON of an earlier bench.",
        ),
        click.option(
            "--fail-above",
            metavar="SHARE",
            help="Exit code 1 if a model is slower than the reference by more than 5% with its whole interval.",
        ),
        click.option("--export-json", metavar="FILE", type=FilePath(), help="Write the result as JSON."),
        click.option("--export-markdown", metavar="FILE", type=FilePath(), help="Write the report as Markdown."),
        click.option("--report", metavar="FILE", type=FilePath(), help="Write a page with plots (HTML)."),
        click.option("--force", is_flag=True, help="Replace files that exist."),
    )
)


@click.command("bench", cls=Command, short_help="Time models, run in turn, with intervals.")
@click.argument("models", metavar="MODEL [MODEL ...]", nargs=-1, required=True, type=FilePath())
@how
@judging
@output_format
@click.pass_context
def command(
    ctx: click.Context,
    /,
    models: tuple[Path, ...],
    export_json: Path | None,
    export_markdown: Path | None,
    force: bool,
    format_: str,
    **options: Any,
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
    baseline = options["baseline"]
    protected = (*models, *([] if baseline is None else [baseline]))
    for path in (export_json, export_markdown):
        if path is not None:
            check_target(path, force=force, inputs=protected)
    options["data"] = options["data"] or None
    # absolute before code of the user runs
    export_json, export_markdown = (None if p is None else p.absolute() for p in (export_json, export_markdown))
    protected = tuple(path.absolute() for path in protected)
    exported = [path for path in (export_json, export_markdown) if path is not None]
    open_report(options["report"], force=force, outputs=exported)
    with progress(run) as callback:
        result = onnxprune.bench(*models, force=force, progress=callback, **options)
    if export_json is not None:
        write_text(export_json, documents.dumps(document(result)), force=force, inputs=protected)
    if export_markdown is not None:
        write_text(export_markdown, render.markdown(bench_report(result)), force=force, inputs=protected)
    run.show(lambda: verdicts(result) if run.quiet else bench_report(result), lambda: document(result))
    failure = result.failure()
    if failure is not None:
        raise failure

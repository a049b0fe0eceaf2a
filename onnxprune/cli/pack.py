"""`onnxprune pack`: a model in as few bytes as its weights allow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.options import (
    Command,
    DataSource,
    combined,
    metric_option,
    model_argument,
    output_format,
    output_option,
    samples_option,
)
from onnxprune.cli.run import Run

if TYPE_CHECKING:
    from onnxprune.report.blocks import Report

WEIGHTS = ("shared", "int8", "exact")
CLUSTERS = ("exact", "linear")
"""As in onnxprune.packing.recipe, whose import would take longer than --help may."""

how = combined(
    (
        click.option(
            "--weights",
            type=click.Choice(WEIGHTS),
            default="shared",
            show_default=True,
            help="Each weight by its nearest shared value (k-means), as int8 with a scale per channel, or lossless.",
        ),
        click.option(
            "--bits",
            metavar="N|N/N",
            show_default="8/5",
            help="Of a codebook, 1 to 8: for all weights, or for convolutions / all others.",
        ),
        click.option(
            "--max-error",
            metavar="SHARE",
            help="Instead of --bits: the fewest with which no weight tensor is off by more than this (1%), relative to "
            "its norm; what cannot be that near is stored as it is.",
        ),
        click.option(
            "--clusters",
            type=click.Choice(CLUSTERS),
            show_default="exact",
            help="Codebooks of the least squared error, or Lloyd's from equal distances, as in Deep Compression.",
        ),
        click.option(
            "--exclude",
            metavar="PATTERN",
            multiple=True,
            help="Layers that keep their weights: a name, a glob, or type:Conv. Repeatable.",
        ),
    )
)
quality = combined(
    (
        click.option(
            "--data",
            metavar="SOURCE",
            multiple=True,
            type=DataSource(),
            help="Samples on which the unpacked model is compared with MODEL: as for shrink.",
        ),
        click.option("--preprocess", metavar="STEPS", help="How images become inputs, as for shrink."),
        samples_option,
        metric_option,
        click.option("--max-drop", metavar="D", type=float, help="How far the metric may fall, in its unit."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draw."),
        click.option(
            "--threads",
            metavar="N",
            type=click.IntRange(min=0),
            default=0,
            show_default="all cores",
            help="Threads that ONNX Runtime may use for the comparison.",
        ),
    )
)


@click.command("pack", cls=Command, short_help="Store a model in a fraction of its bytes.")
@model_argument("model")
@output_option("The file to write.  [default: MODEL's stem + .onnxpack, beside MODEL]")
@how
@quality
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@output_format
@click.pass_context
def command(ctx: click.Context, /, model: Path, output: Path | None, format_: str, **options: Any) -> None:
    """Store MODEL for transport or rest: shared weights, gaps for zeros, entropy coding. `unpack` gives a model back.

    Weights of convolutions, matrix products and embeddings are approximated; everything else stays as it is, to the
    byte. With --weights exact the files that come back are identical.
    """
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import pack as text
    from onnxprune.report.pack_document import pack as document

    run = ctx.ensure_object(Run)
    options["data"] = options["data"] or None
    with progress(run) as callback:
        result = onnxprune.pack(model, output, progress=callback, **options)

    def report() -> Report:
        return text.outcome(result) if run.quiet else text.pack_report(result, tensors=run.verbosity > 0)

    run.show(report, lambda: document(result))

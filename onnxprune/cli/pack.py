"""`onnxprune pack`: a model in as few bytes as its weights allow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.options import Command, arguments, declared, model_argument
from onnxprune.cli.run import Run
from onnxprune.options.others import PackOptions

if TYPE_CHECKING:
    from onnxprune.report.blocks import Report


@click.command("pack", cls=Command, short_help="Store a model in a fraction of its bytes.")
@model_argument("model")
@declared(PackOptions)
@click.pass_context
def command(ctx: click.Context, /, model: Path, output: Path | None, **given: Any) -> None:
    """Store MODEL for transport or rest: shared weights, gaps for zeros, entropy coding. `unpack` gives a model back.

    Weights of convolutions, matrix products and embeddings are approximated; everything else stays as it is, to the
    byte. With --weights exact the files that come back are identical.
    """
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import pack as text
    from onnxprune.report.pack_document import pack as document

    run = ctx.ensure_object(Run)
    with progress(run) as callback:
        result = onnxprune.pack(model, output, progress=callback, **arguments(PackOptions, ctx.params))

    def report() -> Report:
        return text.outcome(result) if run.quiet else text.pack_report(result, tensors=run.verbosity > 0)

    run.show(report, lambda: document(result))

"""Options of sparsity, which `sparsify` and `shrink` share."""

from __future__ import annotations

import click

from onnxprune.cli.options import combined, ratio

METHODS = {
    "magnitude": "The smallest absolute weights leave.",
    "net-trim": "The least sum of absolute weights that gives the same behind the activation (convex, by ADMM).",
    "obs": "What the output loses if a weight leaves and all others follow (OBS): the cheapest leave.",
    "wanda": "Weights times the norm of their inputs, |W_ij| |x_j|: the smallest of every output leave.",
}
"""What --help lists; a test keeps it equal to the registry, whose import would take longer than --help may."""
EMITS = ("operators", "dense-zeros", "sparse-initializers")


def _complete_method(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in METHODS if name.startswith(incomplete)]


sparse_options = combined(
    (
        click.option(
            "--sparsity",
            metavar="SHARE",
            type=ratio,
            help="Share of the weights of a layer that becomes zero, 0.8 or 80%. N:M patterns say it themselves.",
        ),
        click.option(
            "--pattern",
            metavar="PATTERN",
            show_default="4x1",
            help="What leaves together: unstructured (single weights), 4x1, 2x1, 8x1 (so many output channels of one "
            "input), RxC, 2:4 or N:M (N of M inputs stay), or auto: for each layer what is fastest here, measured.",
        ),
        click.option(
            "--method",
            metavar="NAME",
            show_default="obs with --data, otherwise magnitude",
            shell_complete=_complete_method,
            help=f"How the weights that leave are chosen: {', '.join(METHODS)}.",
        ),
        click.option(
            "--emit",
            type=click.Choice(EMITS),
            default="operators",
            show_default=True,
            help="How the zeros are in the file: skipped by onnxprune's operators (any runtime runs it; with the "
            "library, fast); as zeros for other runtimes; or as sparse initializers, which only save space.",
        ),
        click.option("--lock", is_flag=True, help="Weights that are zero already stay zero, and count."),
        click.option(
            "--max-error",
            metavar="E",
            type=float,
            help="Layers whose output would be further off stay dense: mean squared error on held-out samples, as a "
            "share of its variance. Needs --data.",
        ),
    )
)

"""A proof that could not have failed is none: what is refused then, and with which words."""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.errors import VerificationError
from onnxprune.results.proof import unproven_words
from onnxprune.trace.groups import Trace


class Unproven(VerificationError):
    """Nothing contradicts the result, but with a wrong plan nothing would have either."""


def require_told(untold: Sequence[str], trace: Trace, *, allowed: bool, with_samples: bool) -> None:
    """Raise Unproven for parts of a plan that were not told apart, unless that is `allowed`."""
    if untold and not allowed:
        name = untold[0].partition("#")[0]  # of a layer that makes several groups
        layers = {node.label for node in trace.graph.nodes}
        ways = ["other samples, on which it matters" if with_samples else "samples on which it matters: --data"]
        ways += [f"leave it whole: --exclude {name!r}"] if name in layers else []
        hint = f"Give {', or '.join(ways)}, or write it all the same: --allow-unproven."
        raise Unproven(unproven_words(untold), hint=hint)

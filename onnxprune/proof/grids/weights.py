"""Proof of a file whose weights are stored in fewer bits: it computes what a float model with these weights does.

Where activations are rounded as well, in every run anew (`accuracy_level` 4 of MatMulNBits, DynamicQuantizeLinear),
both are compared without that: the last bit of a sum would decide. How far the file is from the original is measured,
not proven.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx

from onnxprune.model.load import Model, load
from onnxprune.model.save import write
from onnxprune.proof.dynamic import without_rounding
from onnxprune.proof.grids.recurrent import with_plain_recurrence
from onnxprune.proof.judge import Proof
from onnxprune.proof.scratch import Feed, scratch
from onnxprune.proof.signature import same_ends
from onnxprune.proof.twin import Twin, prove_twin
from onnxprune.trace.groups import Trace

REFERENCE = "the float model with the same weights"
EXACT = 1
"""Of `accuracy_level`: activations stay float32."""


def prove_weights(
    trace: Trace,
    twin: Model,
    weights: Collection[str],
    candidate: Path,
    *,
    samples: Feed | None = None,
    seed: int = 0,
    threads: int = 0,
) -> Proof:
    """`trace`: of the original; `weights`: initializers of the twin that the file stores in fewer bits.

    Raises VerificationError, ModelError.
    """
    found = load(candidate).inlined()
    same_ends(trace.graph.model.proto, found.proto)
    with scratch() as here:
        exact = here / "exact.onnx"
        write(without_rounding(with_plain_recurrence(_exact(found))), exact, external_data="always")
        reference = without_rounding(with_plain_recurrence(_exact(twin)))
        asked = Twin(trace, tuple(weights), reference, tuple(weights), exact, REFERENCE)
        return prove_twin(asked, samples=samples, seed=seed, threads=threads)


def _exact(model: Model) -> Model:
    """The file without the rounding of activations in blocks."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for node in proto.graph.node:
        if node.op_type == "MatMulNBits":
            for attribute in node.attribute:
                if attribute.name == "accuracy_level":
                    attribute.i = EXACT
    return model.replace(proto, model.tensors)

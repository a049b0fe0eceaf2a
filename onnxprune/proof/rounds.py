"""From comparisons to a proof: what is not told apart on usual inputs is looked at more closely, round by round.

Each round compares the same two networks on more inputs, or more values, or with other decisions, and runs wrong plans
of what is still untold. What no round tells apart is unproven.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from onnxprune.errors import ModelError, VerificationError
from onnxprune.model.tensors import FLOATS
from onnxprune.proof.attempts import Inputs
from onnxprune.proof.effect import without_effect
from onnxprune.proof.inputs import Case
from onnxprune.proof.inside import elements, everything, read_values, readers_of
from onnxprune.proof.judge import Differs, Nothing, Proof
from onnxprune.proof.pair import Asked, Pair
from onnxprune.proof.tolerance import QUANTISERS
from onnxprune.proof.unrounded import AlwaysRounds
from onnxprune.proof.wrong import bundles
from onnxprune.trace.groups import Trace

FUSED = "equal without the runtime's graph optimisations only; with them, "
ROUNDED = "equal without the rounding of quantisers only; with it, "
INSIDE = "the outputs show too little of some parts: the network was compared inside as well"
INNER_VALUES = 6
CASES = 8  # about as many inputs as a round has that looks everywhere
SATURATING = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Tanh", "Clip", "Relu", "Softsign", "Erf"})
LAYOUT = frozenset({"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Cast"})
CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"})


def established(pair: Pair, inputs: Inputs, usable: Callable[[str], bool]) -> Proof:
    """The proof, as far as it can be told. `usable`: whether both networks have a value. Raises VerificationError,
    ModelError.
    """
    trace = pair.trace
    extra = tuple(key for key in pair.jumps.before if usable(key))

    proof = _attempt(pair, inputs, Asked(extra, bundles(trace, pair.parts)))
    outputs = [value.name for value in trace.graph.model.proto.graph.output]
    ends = dict.fromkeys(key for name in proof.unseen for key in leading_to(trace, name))
    if proof.untold:
        ends.update(dict.fromkeys(key for name in outputs for key in before_activation(trace, name)))
    more = tuple(key for key in ends if usable(key) and key not in extra)
    asked = Asked((*extra, *more), everywhere=True, strong=True, telling=bool(proof.untold))
    if more or proof.untold:
        proof = proof.joined(_attempt(pair, inputs, _with(asked, trace, proof)))
    if proof.untold and pair.roundable and any(node.op_type in QUANTISERS for node in trace.graph.nodes):
        proof = _closer(pair, inputs, replace(asked, rounded=False), proof)
    proof = _without_dead(proof, pair)
    if proof.untold:
        proof = _inside(pair, proof, inputs, lambda key: usable(key) and key not in pair.jumps.behind)
    if pair.decided and (proof.untold or proof.empty):  # other decisions may give rows where there were none
        proof = _closer(pair, inputs, replace(asked, at_random=True), proof)
    notes = [f"output {name!r} was empty on every input: nothing of it could be compared" for name in proof.empty]
    return replace(proof, notes=(*proof.notes, *notes))


def _inside(pair: Pair, proof: Proof, inputs: Inputs, usable: Callable[[str], bool]) -> Proof:
    """Compared from value to value, and with wrong plans of what is untold where it is read: what is there, and where
    that tells nothing (units that are off on all inputs) with random values in its place. Raises Differs.
    """
    trace = pair.trace
    near = readers_of(trace, pair.keep, proof.untold, usable)
    if not near:
        return proof
    read = read_values(trace, pair.keep, proof.untold)
    given = replace(pair, jumps=replace(pair.jumps, decided={**pair.jumps.decided, **read}))
    rounds = [(pair, Asked(tuple(everything(trace, usable, CASES))))]
    rounds += [(pair, Asked(tuple(near), everywhere=True, strong=True))]
    rounds += [(given, Asked(tuple(near), everywhere=True, strong=True, at_random=True))] if read else []
    for of, asked in rounds:
        if not proof.untold:
            break
        wrong = bundles(trace, proof.untold, CASES, elements(trace, near)) if asked.everywhere else ()
        try:
            proof = proof.joined(_attempt(of, inputs, replace(asked, bundles=wrong)))
        except (AlwaysRounds, ModelError, VerificationError) as problem:
            if _contradicts(problem):
                raise
            return proof
    return replace(proof, notes=(*proof.notes, INSIDE))


def _contradicts(problem: Exception) -> bool:
    """Whether a comparison failed, and not only could not be made; what overflows in one network alone does not."""
    if isinstance(problem, Differs):
        return math.isfinite(problem.difference)
    return isinstance(problem, VerificationError) and not isinstance(problem, Nothing)


def _attempt(pair: Pair, inputs: Inputs, asked: Asked) -> Proof:
    return inputs.run(lambda feeds: _tolerant(pair, feeds, asked), telling=asked.telling)


def _with(asked: Asked, trace: Trace, proof: Proof) -> Asked:
    return replace(asked, bundles=bundles(trace, proof.untold, CASES))


def _closer(pair: Pair, inputs: Inputs, asked: Asked, proof: Proof) -> Proof:
    """With a comparison that may tell more. Raises VerificationError if it contradicts."""
    try:
        return proof.joined(_attempt(pair, inputs, _with(asked, pair.trace, proof)))
    except (AlwaysRounds, ModelError, VerificationError) as problem:  # no such comparison: it tells nothing
        if asked.rounded and _contradicts(problem):
            raise
        return proof


def _without_dead(proof: Proof, pair: Pair) -> Proof:
    """What has no effect on any input, by the weights that read it, needs no telling apart."""
    dead = without_effect(pair.trace, proof.untold)
    return replace(proof, untold=tuple(name for name in proof.untold if name not in dead))


def _tolerant(pair: Pair, feeds: Sequence[Case], asked: Asked) -> Proof:
    """Compare as users run models; where the runtime's fusions round too differently, without them; where quantisers
    do, without their rounding.
    """
    if not asked.rounded:
        return pair.compared(feeds, asked, optimise=False)
    try:
        return pair.compared(feeds, asked, optimise=True)
    except Differs as difference:
        fused = difference
    try:
        proof = pair.compared(feeds, asked, optimise=False)
        return replace(proof, notes=(*proof.notes, f"{FUSED}{fused.message}"))
    except Differs as difference:
        if not pair.roundable:
            raise
        try:
            proof = pair.compared(feeds, replace(asked, rounded=False), optimise=False)
        except (AlwaysRounds, ModelError, VerificationError):
            raise difference from None
        return replace(proof, notes=(*proof.notes, f"{ROUNDED}{difference.message}"))


def before_activation(trace: Trace, key: str) -> list[str]:
    """What enters the last activations of an output: these may be saturated, and then show nothing."""
    graph, found, waiting = trace.graph, dict[str, None](), [key]
    while waiting and len(found) < INNER_VALUES:
        node = graph.nodes[graph.producer[waiting[0]]] if waiting[0] in graph.producer else None
        waiting.pop(0)
        if node is None or node.scope or node.op_type not in SATURATING | LAYOUT or not node.inputs[0]:
            continue
        first = node.inputs[0]
        if first in graph.producer and first not in graph.constants and trace.facts.dtypes.get(first) in FLOATS:
            found.update({first: None} if node.op_type in SATURATING else {})
            waiting.append(first)
    return list(found)


def leading_to(trace: Trace, key: str) -> list[str]:
    """The values (top level) from which an output comes, back to what the nearest layers give."""
    graph, found, waiting = trace.graph, dict[str, None](), [key]
    while waiting and len(found) < INNER_VALUES:
        node = graph.nodes[graph.producer[waiting[0]]] if waiting[0] in graph.producer else None
        waiting.pop(0)
        if node is None or node.scope or node.op_type in CONTRACTIONS:
            continue
        fresh = [k for k in node.inputs if k in graph.producer and k not in graph.constants and k not in found]
        fresh = [k for k in fresh if graph.nodes[graph.producer[k]].scope == 0 and trace.facts.dtypes.get(k) in FLOATS]
        found.update(dict.fromkeys(fresh))
        waiting += fresh
    return list(found)

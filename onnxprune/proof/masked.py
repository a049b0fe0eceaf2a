"""Masked equivalence: the cut model must compute what the masked original computes; and the proof must be able to fail.

Compared are all outputs. Where outputs lie behind discontinuous operators (sorting, rounding, comparisons), a
difference in the last bit may change them at will, so the values before the first such operator are compared as well.
Where a quantised network rounds so that single steps become many, both are compared once more without that rounding.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.capture.operators import missing
from onnxprune.errors import ModelError, OutputError, VerificationError
from onnxprune.model.load import load
from onnxprune.model.save import write
from onnxprune.model.statics import free_sizes
from onnxprune.model.tensors import FLOATS
from onnxprune.proof.checker import file_of, require
from onnxprune.proof.discontinuous import before_discontinuities, behind_discontinuities
from onnxprune.proof.inputs import SAMPLES, Case, cases, literal_batches
from onnxprune.proof.judge import Differs, Proof, SamplesFail, Unloadable, judge
from onnxprune.proof.signature import check_shapes, same_signature
from onnxprune.proof.tasks import run_tasks
from onnxprune.proof.unrounded import AlwaysRounds, unrounded
from onnxprune.reference import add_outputs, build_reference
from onnxprune.trace.groups import Trace

__all__ = ["Proof", "check_runs", "check_shapes", "mutated", "prove"]

Bools = NDArray[np.bool_]
Feed = Mapping[str, NDArray[Any]]
INNER_VALUES = 6
CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"})
LARGE_BYTES = 256 << 20
FUSED = "equal without the runtime's graph optimisations only; with them, "
ROUNDED = "equal without the rounding of quantisers only; with it, "


def prove(
    trace: Trace, keep: Bools, candidate: Path, *, samples: Feed | None = None, seed: int = 0, threads: int = 0
) -> Proof:
    """Compare the model at `candidate` with the masked original on random inputs, and on `samples` if there are any.

    Raises VerificationError, ModelError.
    """
    same_signature(trace.graph.model.proto, candidate)
    lost = trace.lost_values(keep)
    extra = [key for key in before_discontinuities(trace) if key not in lost]
    proof = _attempt(trace, keep, candidate, extra, samples, seed, threads)
    more = [key for name in proof.unseen for key in leading_to(trace, name) if key not in lost]
    if not proof.sensitive and not keep.all():  # outputs that are constant by themselves prove nothing: look inside
        more += _inner_values(trace, lost)
    if more:
        proof = _attempt(trace, keep, candidate, list(dict.fromkeys([*extra, *more])), samples, seed, threads)
    note = missing("the model", trace.graph.model.proto)
    return replace(proof, notes=(*proof.notes, note)) if note else proof


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder. Raises OutputError if it cannot be written to."""
    try:
        with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
            yield Path(folder)
    except OSError as error:
        raise OutputError(
            f"the proof cannot use the temporary folder {tempfile.gettempdir()!r}: {error.strerror or error}",
            hint="Set TMPDIR to a folder with room for twice the model.",
        ) from error


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


def _inner_values(trace: Trace, lost: Container[str]) -> list[str]:
    """Some values (top level) that contractions read late in the network, where all earlier cuts show."""
    keys: dict[str, None] = {}
    for closing in reversed(trace.closings):
        node = trace.graph.nodes[closing.node]
        key = node.inputs[closing.slot]
        if node.scope == 0 and key in trace.graph.producer and key not in trace.graph.constants and key not in lost:
            keys[key] = None
    return list(keys)[:INNER_VALUES]


def on_cases(trace: Trace, seed: int, samples: Feed | None, run: Callable[[Sequence[Case]], Proof]) -> Proof:
    """A proof on the default sizes and on samples; where the original does not run with these sizes, on larger or
    hard-coded ones; where it runs with none, on samples alone.
    """
    given = () if samples is None else (Case(SAMPLES, dict(samples), False),)
    attempts: list[dict[str, Any]] = [{}, {"larger": True}, *({"batch": n} for n in literal_batches(trace.graph))]
    free = free_sizes(trace.graph.model, trace.facts)
    first: ModelError | None = None
    for options in attempts:
        try:
            return run([*cases(trace.graph, trace.facts, seed, **options), *given])
        except ModelError as error:
            if isinstance(error, (Unloadable, SamplesFail)):
                raise
            first = first or error
            if not free and all(None not in s for s in trace.facts.shapes.values()):
                break
    assert first is not None
    if given:
        return run(given)
    raise ModelError(first.message, hint="Where it takes other sizes or values, say which: --data with samples.")


def tolerant(run: Callable[[bool], Proof]) -> Proof:
    """Compare as users run models (True); where the runtime's fusions round too differently, without them (False)."""
    try:
        return run(True)
    except Differs as difference:
        proof = run(False)
        return replace(proof, notes=(*proof.notes, f"{FUSED}{difference.message}"))


def _attempt(
    trace: Trace, keep: Bools, candidate: Path, extra: list[str], samples: Feed | None, seed: int, threads: int
) -> Proof:
    def once(feeds: Sequence[Case], optimise: bool, rounded: bool = True) -> Proof:
        return _run_once(trace, keep, candidate, extra, feeds, threads, optimise=optimise, rounded=rounded)

    def run(feeds: Sequence[Case]) -> Proof:
        try:
            return tolerant(lambda optimise: once(feeds, optimise))
        except Differs as difference:
            try:
                proof = once(feeds, optimise=False, rounded=False)
            except (AlwaysRounds, ModelError, VerificationError):
                raise difference from None
            return replace(proof, notes=(*proof.notes, f"{ROUNDED}{difference.message}"))

    return on_cases(trace, seed, samples, run)


def _run_once(
    trace: Trace,
    keep: Bools,
    candidate: Path,
    extra: list[str],
    feeds: Sequence[Case],
    threads: int,
    *,
    optimise: bool,
    rounded: bool,
) -> Proof:
    """Raises AlwaysRounds if it is to be not `rounded` and cannot be."""
    with scratch() as here:
        reference = build_reference(trace, extra)
        original = reference.model if rounded else unrounded(reference.model, trace.facts)
        # weights in a file of their own are mapped by the runtime, not copied into its protobuf first
        write(original, here / "reference.onnx", external_data="always")
        compared = candidate
        if extra:
            compared = with_outputs(trace, candidate, extra, here / "candidate.onnx")
        if not rounded:
            smooth = unrounded(load(compared), trace.facts)
            compared = here / "unrounded.onnx"
            write(smooth, compared, external_data="always")
        masks = [save(here / "keep.npz", reference.feed(keep))] * len(feeds)
        masks.append(save(here / "mutated.npz", reference.feed(mutated(trace, keep))))
        files = [save(here / f"feed{k}.npz", case.feed) for k, case in enumerate(feeds)]
        tasks: list[dict[str, Any]] = [
            {
                "name": "original",
                "model": str(here / "reference.onnx"),
                "feeds": [*files, files[0]],
                "masks": masks,
                "check": str(file_of(trace.graph.model, here / "original.onnx")),
                "frugal": trace.graph.model.size_bytes > LARGE_BYTES,
            },
            {"name": "candidate", "model": str(compared), "feeds": files, "check": str(candidate)},
        ]
        for task in tasks:
            task["out"], task["optimise"] = str(here / str(task["name"])), optimise
        trace.graph.model.release_pages()
        masked, result = run_tasks(here, tasks, threads)
        behind = behind_discontinuities(trace) if extra else set()
        return judge(trace, keep, feeds, masked, result, behind, rounded=rounded)


def check_runs(
    trace: Trace,
    candidate: Path,
    *,
    refused: Collection[str],
    samples: Feed | None = None,
    seed: int = 0,
    threads: int = 0,
) -> None:
    """A repaired model must load and run: on samples, if there are any; otherwise with the default sizes, or where it
    does not take them, with larger ones. Only the checks in `refused`, which refuse the original, may refuse it.
    """
    first = cases(trace.graph, trace.facts, seed)[0].feed if samples is None else samples
    result = _run_alone(candidate, first, threads)
    require("the repaired model", result["refused"], dict.fromkeys(refused, ""))
    failure = _failure(result)
    if failure and samples is None:
        larger = cases(trace.graph, trace.facts, seed, larger=True)[0].feed
        failure = _failure(_run_alone(candidate, larger, threads)) and failure
    if failure:
        raise VerificationError(f"ONNX Runtime cannot run the repaired model: {failure}")


def _run_alone(candidate: Path, feed: Feed, threads: int) -> dict[str, Any]:
    with scratch() as here:
        feeds = [save(here / "feed.npz", feed)]
        task = {"name": "repaired", "model": str(candidate), "feeds": feeds, "check": str(candidate)}
        return run_tasks(here, [{**task, "out": str(here / "out")}], threads)[0]


def _failure(result: dict[str, Any]) -> str | None:
    failure: str | None = result.get("load") or result["cases"][0].get("error")
    return failure


def mutated(trace: Trace, keep: Bools) -> Bools:
    """A wrong plan: in every group that lost something, one index that went and one that stayed change places; and one
    residual branch is back.
    """
    wrong: Bools = np.array(keep)
    for group in trace.prunable:
        alive = keep[group.units]
        if alive.all() or not alive.any():
            continue
        gone = int(np.flatnonzero(~alive)[0])
        same = np.ones(group.size, bool) if group.blocks is None else group.blocks == group.blocks[gone]
        candidates = np.flatnonzero(alive & same)
        if candidates.size:
            wrong[group.units[gone]] = True
            wrong[group.units[candidates[0]]] = False
    left = [(unit, branch) for unit, branch in trace.removable_branches if not keep[unit]]
    inner = {index for _, branch in left for index in branch.nodes}
    outer = [unit for unit, branch in left if branch.add not in inner]  # one inside of another would change nothing
    wrong[outer[:1]] = True
    return wrong


def with_outputs(trace: Trace, candidate: Path, names: Sequence[str], target: Path) -> Path:
    """The model at `candidate` with more outputs, written to `target`."""
    model = load(candidate)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    add_outputs(proto, trace, names)
    write(model.replace(proto, model.tensors), target)
    return target


def save(path: Path, arrays: Feed) -> str:
    buffer = io.BytesIO()  # a full disk then fails in one write, not in the middle of an archive
    texts = {name: array.astype(str) if array.dtype == object else array for name, array in arrays.items()}
    np.savez(buffer, **texts)  # type: ignore[arg-type]
    path.write_bytes(buffer.getbuffer())
    return str(path)

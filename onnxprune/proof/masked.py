"""Masked equivalence: the cut model must compute what the masked original computes; and the proof must be able to fail.

Compared are all outputs. Where outputs lie behind discontinuous operators (sorting, rounding, comparisons), a
difference in the last bit may change them at will, so the values before the first such operator are compared as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.errors import ModelError, VerificationError
from onnxprune.model.infer import infer
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.save import write
from onnxprune.trace.groups import Trace
from onnxprune.proof.inputs import Case, cases
from onnxprune.proof.reference import add_outputs, build_reference
from onnxprune.proof.tolerance import Tolerance, tolerance

Bools = NDArray[np.bool_]
TIMEOUT_S = 1800
INNER_VALUES = 6
DISCONTINUOUS = frozenset(
    """TopK NonMaxSuppression ArgMax ArgMin NonZero Round Floor Ceil Sign Greater GreaterOrEqual Less LessOrEqual Equal
    Hardmax Unique Multinomial Bernoulli RandomNormal RandomUniform RandomNormalLike RandomUniformLike""".split()
)


@dataclass(frozen=True)
class Comparison:
    """One value on one case: `difference` is max |a-b| relative to max |a|; `mutated` the same for a wrong plan."""

    case: str
    output: str
    elements: int
    difference: float
    absolute: float
    mutated: float | None


@dataclass(frozen=True)
class Proof:
    """What was shown. `sensitive`: a deliberately wrong plan was told apart from the right one."""

    comparisons: tuple[Comparison, ...]
    cases: tuple[str, ...]
    skipped: tuple[str, ...]
    tolerance: Tolerance
    sensitive: bool
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> float:
        return max((c.difference for c in self.comparisons), default=0.0)

    @property
    def worst_absolute(self) -> float:
        return max((c.absolute for c in self.comparisons), default=0.0)


def prove(trace: Trace, keep: Bools, candidate: Path, *, seed: int = 0, threads: int = 0) -> Proof:
    """Compare the model at `candidate` with the masked original. Raises VerificationError, ModelError."""
    _same_signature(trace.graph.model.proto, candidate)
    extra = before_discontinuities(trace)
    proof = _attempt(trace, keep, candidate, extra, seed, threads)
    if not proof.sensitive and not keep.all():  # outputs that are constant by themselves prove nothing: look inside
        proof = _attempt(trace, keep, candidate, [*extra, *_inner_values(trace)], seed, threads)
    return proof


def _inner_values(trace: Trace) -> list[str]:
    """Some values (top level) that contractions read late in the network, where all earlier cuts show."""
    keys: dict[str, None] = {}
    for closing in reversed(trace.closings):
        node = trace.graph.nodes[closing.node]
        key = node.inputs[closing.slot]
        if node.scope == 0 and key in trace.graph.producer and key not in trace.graph.constants:
            keys[key] = None
    return list(keys)[:INNER_VALUES]


def _attempt(trace: Trace, keep: Bools, candidate: Path, extra: list[str], seed: int, threads: int) -> Proof:
    feeds = cases(trace.graph, trace.facts, seed)
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        here = Path(folder)
        reference = build_reference(trace, extra)
        write(reference.model, here / "reference.onnx")
        compared = candidate
        if extra:
            compared = _with_outputs(trace, candidate, extra, here / "candidate.onnx")
        masks = [_save(here / "keep.npz", reference.feed(keep))] * len(feeds)
        masks.append(_save(here / "mutated.npz", reference.feed(mutated(trace, keep))))
        files = [_save(here / f"feed{k}.npz", case.feed) for k, case in enumerate(feeds)]
        tasks = [
            {"name": "original", "model": str(here / "reference.onnx"), "feeds": [*files, files[0]], "masks": masks},
            {"name": "candidate", "model": str(compared), "feeds": files, "check": str(candidate)},
        ]
        for task in tasks:
            task["out"] = str(here / str(task["name"]))
        original, result = run_tasks(here, tasks, threads)
        return _judge(trace, keep, feeds, original, result, extra)


def check_runs(trace: Trace, candidate: Path, *, seed: int = 0, threads: int = 0) -> None:
    """A repaired model must load and run, with finite outputs where its inputs are ordinary numbers."""
    feeds = cases(trace.graph, trace.facts, seed)[:1]
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        here = Path(folder)
        file = _save(here / "feed.npz", feeds[0].feed)
        task = {"name": "repaired", "model": str(candidate), "feeds": [file], "check": str(candidate)}
        result = run_tasks(here, [{**task, "out": str(here / "out")}], threads)[0]
        failure = result.get("load") or result["cases"][0].get("error")
        if failure:
            raise VerificationError(f"ONNX Runtime cannot run the repaired model: {failure}")


def run_tasks(folder: Path, tasks: Sequence[dict[str, Any]], threads: int = 0) -> list[dict[str, Any]]:
    """Run models in a subprocess; see worker.py. A crash raises VerificationError."""
    job = folder / "job.json"
    job.write_text(json.dumps({"tasks": list(tasks), "threads": threads}))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxprune.proof.worker", str(job)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    try:
        _, errors = process.communicate(timeout=TIMEOUT_S)
    except BaseException as error:
        with contextlib.suppress(OSError):
            process.kill()
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise VerificationError(f"the models did not run within {TIMEOUT_S} s") from error
        raise
    if process.returncode:
        raise VerificationError(
            f"ONNX Runtime ended with {_status(process.returncode)} while the models ran: "
            + errors.decode(errors="replace").strip()[-500:]
        )
    runs: list[dict[str, Any]] = json.loads(job.with_suffix(".result").read_text())["runs"]
    return runs


def _status(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def before_discontinuities(trace: Trace) -> list[str]:
    """Floating-point values (top level) that enter the first discontinuous operators."""
    tainted: set[str] = set()
    found: dict[str, None] = {}
    for node in trace.graph.nodes:
        if node.outputs and all(k in trace.facts.values for k in node.outputs if k):
            continue
        jumps = node.op_type in DISCONTINUOUS or (
            node.op_type == "Cast"
            and _is_float(trace, node.inputs[0])
            and not _is_float(trace, node.outputs[0])
        )
        inputs = [k for k in node.inputs if k]
        if jumps:
            for key in inputs:
                computed = key in trace.graph.producer and key not in trace.graph.constants
                if computed and node.scope == 0 and key not in tainted and _is_float(trace, key):
                    found[key] = None
        if jumps or any(k in tainted for k in inputs):
            tainted.update(k for k in node.outputs if k)
    return [k for k in found if "@" not in k]


def _is_float(trace: Trace, key: str) -> bool:
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    return trace.facts.dtypes.get(key) in kinds


def behind_discontinuities(trace: Trace) -> set[str]:
    """Outputs that depend on a discontinuous operator."""
    tainted: set[str] = set()
    for node in trace.graph.nodes:
        if node.outputs and all(k in trace.facts.values for k in node.outputs if k):
            continue
        if node.op_type in DISCONTINUOUS or any(k in tainted for k in node.inputs):
            tainted.update(k for k in node.outputs if k)
    return {o.name for o in trace.graph.model.proto.graph.output} & tainted


def mutated(trace: Trace, keep: Bools) -> Bools:
    """A wrong plan: in every group that lost something, one index that went and one that stayed change places."""
    wrong = keep.copy()
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
    return wrong


def _with_outputs(trace: Trace, candidate: Path, names: Sequence[str], target: Path) -> Path:
    from onnxprune.model.load import load

    model = load(candidate)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    add_outputs(proto, trace, names)
    write(model.replace(proto, model.tensors), target)
    return target


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> str:
    with open(path, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return str(path)


def _same_signature(original: onnx.ModelProto, candidate: Path) -> None:
    from onnxprune.model.load import load

    found = load(candidate).proto
    constants = {t.name for t in original.graph.initializer}
    for kind, before, after in (
        ("inputs", original.graph.input, found.graph.input),
        ("outputs", original.graph.output, found.graph.output),
    ):
        a = [v.SerializeToString(deterministic=True) for v in before if v.name not in constants]
        b = [v.SerializeToString(deterministic=True) for v in after if v.name not in constants]
        if a != b:
            raise VerificationError(f"the {kind} of the result are not those of the original")
    if list(original.opset_import) != list(found.opset_import) or list(original.functions) != list(found.functions):
        raise VerificationError("the operator sets or functions of the result are not those of the original")


def check_shapes(trace: Trace, model: Model, planned: dict[str, Any]) -> None:
    """The shapes inferred for the cut model must be those that the plan promises."""
    after = infer(build(model), trace.facts.symbols)
    for key, expected in planned.items():
        shape = after.shapes.get(key)
        if shape is None or key in trace.graph.constants or key in trace.facts.values:
            continue
        if len(shape) != len(expected) or any(
            a is not None and b is not None and a != b for a, b in zip(shape, expected, strict=True)
        ):
            raise VerificationError(f"value {key!r} has shape {list(shape)} after the cut, {list(expected)} was planned")


def _judge(
    trace: Trace,
    keep: Bools,
    feeds: Sequence[Case],
    original: dict[str, Any],
    result: dict[str, Any],
    extra: Sequence[str],
) -> Proof:
    if "load" in original:
        raise ModelError(
            f"ONNX Runtime cannot run the original (with masks): {original['load']}",
            hint="A model that does not run cannot be proven; --no-verify does not exist.",
        )
    if "load" in result:
        raise VerificationError(f"ONNX Runtime cannot load the result: {result['load']}")
    allowed = tolerance(trace)
    behind = behind_discontinuities(trace) if extra else set()
    comparisons: list[Comparison] = []
    done, skipped = [], []
    wrong = original["cases"][len(feeds)]
    for number, case in enumerate(feeds):
        a, b = original["cases"][number], result["cases"][number]
        if "error" in a:
            if not case.optional:
                raise ModelError(f"ONNX Runtime cannot run the original on random inputs ({case.name}): {a['error']}")
            skipped.append(case.name)
            continue
        if "error" in b:
            raise VerificationError(f"the result does not run where the original does ({case.name}): {b['error']}")
        done.append(case.name)
        found = _compare(trace, keep, case.name, a, b, wrong if number == 0 else None, behind)
        comparisons.extend(found)
        for item in found:
            if not item.difference <= allowed.relative:
                raise VerificationError(
                    f"output {item.output!r} differs by {item.difference:.3g} of its largest value from the original "
                    f"without the removed channels ({case.name}); {allowed.relative:.1g} is allowed"
                )
    sensitive = any(c.mutated is not None and not c.mutated <= allowed.relative for c in comparisons)
    if not any(c.elements for c in comparisons):
        raise VerificationError("nothing could be compared: the outputs are empty or not finite")
    notes = () if "checker" not in result else (f"onnx.checker: {result['checker'].splitlines()[0]}",)
    return Proof(tuple(comparisons), tuple(done), tuple(skipped), allowed, sensitive, notes)


def _compare(
    trace: Trace,
    keep: Bools,
    case: str, a: dict[str, Any],
    b: dict[str, Any],
    wrong: dict[str, Any] | None,
    behind: set[str],
) -> list[Comparison]:
    result = []
    for position, (name, path) in enumerate(zip(a["names"], a["files"], strict=True)):
        other = b["files"][b["names"].index(name)]
        if not path or not other or name in behind:
            continue
        x, y = _kept(trace, keep, name, np.load(path, allow_pickle=False)), np.load(other, allow_pickle=False)
        if x.shape != y.shape or x.dtype != y.dtype:
            raise VerificationError(f"output {name!r} is {y.dtype} {y.shape}, the original's is {x.dtype} {x.shape}")
        relative, absolute, count = _difference(x, y)
        mutated_difference = None
        if wrong is not None and "error" not in wrong:
            z = _kept(trace, keep, name, np.load(wrong["files"][position], allow_pickle=False))
            mutated_difference = _difference(z, y)[0] if z.shape == y.shape else np.inf
        result.append(Comparison(case, name, count, relative, absolute, mutated_difference))
    return result


def _kept(trace: Trace, keep: Bools, key: str, value: NDArray[Any]) -> NDArray[Any]:
    """The part of an inner value that the cut model has."""
    for axis, labels in enumerate(trace.axes(key)):
        if labels is not None and value.ndim > axis and value.shape[axis] == labels.size:
            value = np.compress(keep[labels], value, axis=axis)
    return value


def _difference(x: NDArray[Any], y: NDArray[Any]) -> tuple[float, float, int]:
    """(max |x-y| / max |x|, max |x-y|, finite elements); infinities and NaN must be at the same places."""
    if x.size == 0:
        return 0.0, 0.0, 0
    x, y = x.astype(np.float64), y.astype(np.float64)
    finite = np.isfinite(x)
    if not np.array_equal(finite, np.isfinite(y)):
        return np.inf, np.inf, int(finite.sum())
    if not finite.any():
        return 0.0, 0.0, 0
    absolute = float(np.abs(x[finite] - y[finite]).max())
    scale = float(np.abs(x[finite]).max())
    return (absolute / scale if scale else (0.0 if absolute == 0 else np.inf)), absolute, int(finite.sum())

"""Proof that the kernels of a quantised file compute what its original does on the same grids.

The file is run as it is, with all integers q_k as outputs besides. The reference is the prepared original with the
file's weights, computed with floats; what rounds in the file is cut open there: a value x_k is computed from the q_i
that the *file* has before it, and compared as integers,

    d_k = | round(x_k / s_k) + z_k - q_k |,

so that a difference of one step does not become many behind it. One step is what the order of sums and ties explain.
More is a wrong scale, a wrong zero point, or sums that saturate on processors without VNNI.

Of a file with operators on integers the grids and the nodes are read from the same file with quantisers, which gives
the same outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.errors import ModelError, VerificationError
from onnxprune.model.graph import build
from onnxprune.model.grids import Grid
from onnxprune.model.load import Model, load
from onnxprune.model.names import fresh_prefix, taken
from onnxprune.model.save import write_scratch
from onnxprune.proof.attempts import Inputs
from onnxprune.proof.grids.outputs import Outputs
from onnxprune.proof.grids.same import same_network
from onnxprune.proof.grids.stored import Stored, require_bias_scales, require_planned, stored
from onnxprune.proof.inputs import SAMPLES, Case
from onnxprune.proof.onnx_checks import file_of, require
from onnxprune.proof.scratch import Feed, read, save, scratch
from onnxprune.proof.signature import same_ends
from onnxprune.proof.tasks import run_tasks
from onnxprune.results.plan import QuantizationPlan
from onnxprune.trace.groups import Trace

ALLOWED = 1
WRONG = 1.25
"""By how much a scale must be wrong to be noticed."""
EXTREME = 16.0
MOST = 10**8
"""Integers that are compared, if one input makes no more."""


@dataclass(frozen=True)
class GridProof:
    """What was compared: `values` on grids, `integers` in them, of which `differing` are another one than the reference
    says, by `most` steps at most. `untold`: values whose scale could be wrong without anybody noticing. `moved`: by
    weight, how far it is from the original's at most, in steps. `cases`: on which inputs. `outputs`: of a file with
    operators on integers, compared with the same file with quantisers.
    """

    values: int
    integers: int
    differing: int
    most: int
    cases: tuple[str, ...]
    untold: tuple[str, ...]
    moved: Mapping[str, float]
    refused: tuple[str, ...] = ()
    outputs: Outputs | None = None


def prove_grids(
    trace: Trace,
    prepared: Model,
    candidate: Path,
    plan: QuantizationPlan,
    *,
    quantisers: Model | None = None,
    samples: Feed | None = None,
    seed: int = 0,
    threads: int = 0,
) -> GridProof:
    """`trace`: of the original; `prepared`: it in the form whose layers are quantised; `candidate`: the file;
    `quantisers`: it with quantisers in the place of operators on integers, if it has such, and all its integers.

    Raises VerificationError, with the value or the node and what was found there.
    """
    result = load(candidate).inlined()
    same_ends(trace.graph.model.proto, result.proto)
    graph, before = build(quantisers or result), build(prepared)
    found = stored(graph)
    require_planned(found, plan)
    same = same_network(before, graph, found, plan)
    require_bias_scales(graph, found)
    if not found.values:
        raise VerificationError("no value of the file is rounded to integers")
    reference = _reference(prepared.replace(_copy(prepared), {**prepared.tensors, **same.tensors}), found)
    with scratch() as here:
        run = _Run(here, trace, candidate, result, quantisers, reference, found, threads)
        tally = Inputs(trace, seed, samples).run(run.on)
    return GridProof(
        len(found.values),
        tally.integers,
        tally.differing,
        tally.most,
        tuple(tally.cases),
        tuple(key for key in found.values if key not in tally.told),
        same.moved,
        tally.refused,
        None if quantisers is None else tally.outputs,
    )


@dataclass
class _Tally:
    integers: int
    differing: int
    most: int
    cases: list[str]
    told: set[str]
    refused: tuple[str, ...]
    outputs: Outputs


@dataclass(frozen=True)
class _Cut:
    """The reference, cut open: by value, the input for what readers read, and the output that is to be rounded."""

    model: Model
    given: Mapping[str, str]
    made: Mapping[str, str]


@dataclass(frozen=True)
class _Run:
    here: Path
    trace: Trace
    candidate: Path
    result: Model
    quantisers: Model | None
    cut: _Cut
    found: Stored
    threads: int

    def on(self, cases: Sequence[Case]) -> _Tally:
        """Raises ModelError if the file does not run on them."""
        cases = self._some(cases)
        feeds = [save(self.here / f"feed{k}", case.feed) for k, case in enumerate(cases)]
        before, *others = self._runs(feeds)
        tally = _Tally(0, 0, 0, [], set(), tuple(before["refused"]), Outputs())
        again, wanted = [], []
        for k, case in enumerate(cases):
            if "error" in before["cases"][k]:
                continue
            results = [one["cases"][k] for one in others]
            for one in results:
                if "error" in one:
                    raise VerificationError(f"the result does not run on {case.words}: {one['error']}")
            plain, values, *spelled = map(_arrays, results)
            Outputs().add(plain, values, case, "depends on which values are looked at")
            for one in spelled:
                tally.outputs.add(plain, one, case, "is not what the same file with quantisers gives")
            integers = {value: values[key] for value, key in self.found.integers.items()}
            opened = {self.cut.given[v]: self.found.values[v].values(q) for v, q in integers.items()}
            again.append(save(self.here / f"again{k}", {**case.feed, **opened}))
            wanted.append((case, integers))
        if not again:
            raise ModelError(before["cases"][0]["error"])
        path = self.here / "reference.onnx"
        write_scratch(self.cut.model, path)
        reference = run_tasks(self.here, [self._task("reference", path, again)], self.threads)[0]
        if "load" in reference:
            raise ModelError(f"ONNX Runtime does not load the reference: {reference['load']}")
        for outcome, (case, integers) in zip(reference["cases"], wanted, strict=True):
            if "error" in outcome:
                raise VerificationError(f"the reference does not run on {case.words}: {outcome['error']}")
            self._compare(case, _arrays(outcome), integers, tally)
        return tally

    def _runs(self, feeds: Sequence[str]) -> list[dict[str, Any]]:
        """Of the original, of the file as it is, with its integers as outputs, and with quantisers."""
        shown, spelled = self.here / "shown.onnx", self.here / "quantisers.onnx"
        write_scratch(_showing(self.result, self.found), shown)
        original = file_of(self.trace.graph.model, self.here / "original.onnx")
        tasks = [
            self._task("original", original, feeds, str(original)),
            self._task("plain", self.candidate, feeds, str(self.candidate)),
            self._task("shown", shown, feeds),
        ]
        if self.quantisers is not None:
            write_scratch(self.quantisers, spelled)
            tasks.append(self._task("quantisers", spelled, feeds))
        runs = run_tasks(self.here, tasks, self.threads)
        for one in runs:
            if "load" in one:
                raise ModelError(f"ONNX Runtime does not load the {one['name']} model: {one['load']}")
        require("the result", runs[1]["refused"], runs[0]["refused"])
        return runs

    def _some(self, cases: Sequence[Case]) -> list[Case]:
        """Samples first, then random inputs, both also far too large; as many as MOST allows, but one."""
        first = [case for case in cases if case.name == SAMPLES]
        others = [case for case in cases if case.name != SAMPLES]
        ordered = [*first, *others[:1], *map(_extreme, (first or others)[:1]), *others[1:]]
        shapes = self.trace.facts.shapes
        each = sum(math.prod(size or 1 for size in shapes.get(value, ())) for value in self.found.values)
        usual = sum(math.prod(shape) for shape in self.trace.facts.inputs.values())
        chosen: list[Case] = []
        left = float(MOST)
        for case in ordered:
            left -= each * sum(array.size for array in case.feed.values()) / max(usual, 1)
            if chosen and left < 0:
                break
            chosen.append(case)
        return chosen

    def _task(self, name: str, path: Path, feeds: Sequence[str], check: str = "") -> dict[str, Any]:
        out = str(self.here / f"{name}.out")
        return {"name": name, "model": str(path), "feeds": list(feeds), "out": out, "check": check, "precise": False}

    def _compare(
        self, case: Case, floats: Mapping[str, NDArray[Any]], integers: Mapping[str, NDArray[Any]], tally: _Tally
    ) -> None:
        for value, grid in self.found.values.items():
            x = floats[self.cut.made[value]] if value in self.cut.made else np.asarray(case.feed[value])
            q = integers[value].astype(np.int64)
            away = np.abs(grid.integers(x).astype(np.int64) - q)
            most = int(away.max(initial=0))
            if most > ALLOWED:
                raise VerificationError(
                    f"value {value!r} is up to {most} steps from what the original gives on its grid, on {case.words}",
                    hint="Sums of bytes may saturate on this processor: --device says for which one to quantise.",
                )
            tally.integers += q.size
            tally.differing += int(np.count_nonzero(away))
            tally.most = max(tally.most, most)
            wrong = Grid(grid.dtype, np.float32(grid.scale * WRONG), grid.zero_point)
            if np.abs(wrong.integers(x).astype(np.int64) - q).max(initial=0) > ALLOWED:
                tally.told.add(value)
        tally.cases.append(case.words)


def _extreme(case: Case) -> Case:
    """Values far outside of what grids cover: everything is clipped, and sums are as large as they can be."""
    feed = {
        name: array * array.dtype.type(EXTREME) if array.dtype == np.float32 else array
        for name, array in case.feed.items()
    }
    return Case(f"{case.name}, {EXTREME:.0f} times as large", feed, True)


def _arrays(outcome: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    pairs = zip(outcome["names"], outcome["places"], strict=True)
    return {name: read(place) for name, place in pairs if place is not None}


def _copy(model: Model) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    return proto


def _showing(model: Model, found: Stored) -> Model:
    """With all integers as outputs as well."""
    proto = _copy(model)
    for value, key in found.integers.items():
        proto.graph.output.append(helper.make_tensor_value_info(key, found.values[value].dtype, None))
    return model.replace(proto, model.tensors)


def _reference(model: Model, found: Stored) -> _Cut:
    """The prepared original in which every value on a grid is an input for its readers, and an output for itself."""
    proto = model.proto
    prefix = fresh_prefix("onnxprune.grid.", taken(proto, model.tensors))
    given = {value: f"{prefix}{value}" for value in found.values}
    inputs = {value.name for value in proto.graph.input}
    made = {value: value for value in found.values if value not in inputs}
    _rename_reads(proto.graph, given)
    for name in given.values():
        proto.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    there = {value.name for value in proto.graph.output}
    for value in made:
        if value not in there:
            proto.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
    return _Cut(model, given, made)


def _rename_reads(graph: onnx.GraphProto, given: Mapping[str, str]) -> None:
    """Names of values are unique: bodies may not hide those of outer graphs."""
    for node in graph.node:
        for slot, key in enumerate(node.input):
            if key in given:
                node.input[slot] = given[key]
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                _rename_reads(body, given)

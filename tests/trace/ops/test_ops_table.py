"""The table of operators is tested as a whole, and the oracle itself can fail."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.cut import cut
from onnxprune.errors import VerificationError
from onnxprune.model.load import load
from onnxprune.proof.masked import mutated
from onnxprune.shrinking.publish import prove_in_memory
from onnxprune.trace import trace_model
from onnxprune.trace.ops.context import Op
from onnxprune.trace.ops.registry import operators, rule
from tests import oracle
from tests.builders import Net
from tests.oracle import Case

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("test_ops_*.py") if path.stem != Path(__file__).stem)


def _cases() -> Iterator[Case]:
    for name in NAMES:
        yield from importlib.import_module(name).CASES


def _used(graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _used(attribute.g)


def test_every_operator_with_a_rule_is_in_some_case() -> None:
    used = {(domain, name) for n in NAMES for domain, name in getattr(importlib.import_module(n), "ALSO", [])}
    for case in _cases():
        used.update(_used(case.build().model().graph))
    assert {(domain, name) for domain, name, _ in operators()} - used == set()


def test_every_rules_file_has_a_module_of_cases() -> None:
    package = FOLDER.parents[2] / "onnxprune" / "trace" / "ops"
    files = {p.stem for p in package.glob("*.py") if "@rule" in p.read_text() and p.stem != "registry"}
    assert files == {name.removeprefix("test_ops_") for name in NAMES}


def test_names_of_cases_are_unique() -> None:
    for name in NAMES:
        ids = [c.id for c in importlib.import_module(name).CASES]
        assert len(ids) == len(set(ids)), sorted({i for i in ids if ids.count(i) > 1})


def test_a_second_rule_for_an_operator_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"ai\.onnx:Relu has a rule already"):
        rule("Relu")(lambda op: None)


# ---- the oracle can fail ---------------------------------------------------------------------------------------
def _small() -> onnx.ModelProto:
    net = Net()
    net.head(net.relu(net.stem()))
    return net.model()


def test_the_oracle_wants_the_exact_groups() -> None:
    for wrong in ({}, {"a": 7}, {"a": 8, "b": 1}):
        with pytest.raises(AssertionError, match="removable"):
            oracle.check(_small(), expect_removable=wrong)


def test_the_oracle_wants_the_reason() -> None:
    with pytest.raises(AssertionError, match="is not pinned because of"):
        oracle.check(_small(), expect_pinned={"z": "it is a Tuesday"})
    with pytest.raises(AssertionError, match="but free"):
        oracle.check(_small(), expect_pinned={"nobody": ""})


def test_the_oracle_notices_a_wrong_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting other indices than the plan says."""

    def wrong(trace: object, keep: np.ndarray) -> object:
        return cut(trace, keep[::-1].copy() if not keep.all() else keep)  # type: ignore[arg-type]

    monkeypatch.setattr(oracle, "cut", wrong)
    with pytest.raises((AssertionError, Exception), match=r"differs by|was planned|dimension"):
        oracle.check(_small())


def test_the_oracle_notices_outputs_that_show_nothing() -> None:
    net = Net()
    net.output(net.op("Mul", net.conv(net.relu(net.stem()), 4, name="z"), net.number(0)))
    with pytest.raises(AssertionError, match="constant"):
        oracle.check(net.model())


def test_a_rule_that_forgets_a_tie_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relu as if it reversed its channels: the reference masks other channels than the cut removes."""
    from onnxprune.trace.ops import registry

    def reverse(op: Op) -> None:
        axes = op.axes(0)
        op.set(0, [None if a is None else a[::-1].copy() for a in axes])

    monkeypatch.setitem(registry._RULES, ("", "Relu"), reverse)
    with pytest.raises(AssertionError, match="differs by"):
        oracle.check(_small())


# ---- the proof of shrink, in a process of its own --------------------------------------------------------------
PROVEN = [
    "grouped_conv-2",
    "channel_shuffle",
    "positions-shape-opset17",
    "layer-LSTM-bidirectional-bias-opset17",
    "group_normalization-2-opset21",
    "loop-opset17",
    "scan",
]


@pytest.mark.parametrize("name", PROVEN)
def test_the_proof_agrees(name: str) -> None:
    """What the oracle accepts, `prove` accepts, and tells a wrong plan apart."""
    model = next(c for c in _cases() if c.id == name).build().model()
    trace = trace_model(load(model))
    keep, smaller, _ = oracle.remove(trace, 0)
    proof = prove_in_memory(trace, keep, smaller, threads=1)
    assert proof.sensitive and proof.worst <= proof.tolerance.relative


def test_the_proof_refuses_a_wrong_cut() -> None:
    trace = trace_model(load(_small()))
    keep, smaller, _ = oracle.remove(trace, 0)
    with pytest.raises(VerificationError, match="differs by"):
        prove_in_memory(trace, mutated(trace, keep), smaller, threads=1)


def test_tracing_is_the_same_each_time() -> None:
    model = load(_small())
    first, second = trace_model(model), trace_model(model)
    assert [(g.name, g.units.tolist()) for g in first.groups] == [(g.name, g.units.tolist()) for g in second.groups]

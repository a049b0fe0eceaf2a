"""Results at a prompt: one line that says what a person wants, however much there is in them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import onnxprune
from onnxprune.results.shown import OneLine

DIGITS = Path(__file__).parents[2] / "models" / "digits.onnx"
CALIB = DIGITS.with_name("digits_calib.npz")
TYPES = [getattr(onnxprune, name) for name in onnxprune.__all__]
WIDEST = 400


def lines(value: object) -> list[str]:
    """Of a value and of all values in it."""
    found = []
    if dataclasses.is_dataclass(value):
        found.append(repr(value))
        for item in dataclasses.fields(value):
            found += lines(getattr(value, item.name))
    elif isinstance(value, tuple):
        found += [line for item in value for line in lines(item)]
    return found


def test_what_runs_give_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    how = {"data": CALIB, "samples": 60, "repair": "least-squares"}
    result = onnxprune.shrink(DIGITS, "digits.pruned.onnx", ratio=0.2, **how)
    less = f"{(1 - result.after.macs / result.before.macs) * 100:.0f} % less work"
    share = f"agreement {result.fidelity.agreement * 100:.3g} %"
    assert repr(result) == f"ShrinkResult(digits.onnx: {less}, {share}; written digits.pruned.onnx)"
    assert result.left is result.after
    faster = dataclasses.replace(result.timing or _timing(), verdict="faster", speedup=1.274)
    assert f"{less}, 1.27x faster, {share};" in repr(dataclasses.replace(result, timing=faster))
    dry = onnxprune.shrink(DIGITS, ratio=0.2, dry_run=True)
    assert repr(dry).endswith("% less work; not written)") and dry.left is dry.planned
    none = onnxprune.shrink(DIGITS, "none.onnx", ratio=0.0001)
    assert (
        repr(none) == "ShrinkResult(digits.onnx: nothing left it, and nothing was written)" and none.left is none.before
    )
    sparse = onnxprune.sparsify(DIGITS, "s.onnx", sparsity=0.5)
    assert repr(sparse).startswith("SparsifyResult(digits.onnx: ") and repr(sparse).endswith("; written s.onnx)")
    checked = onnxprune.verify(DIGITS, "s.onnx")
    assert repr(checked) == f"VerifyResult(s.onnx from digits.onnx: proven, plan {sparse.plan.digest})"
    assert checked.sparse is not None and checked.proofs == (checked.sparse_proof,) == (checked.sparse.proof,)
    assert repr(result.plan).startswith(f"Plan({result.plan.digest}: {result.plan.removed_count} channels leave")
    packed = onnxprune.pack(DIGITS, "d.pack", weights="exact")
    assert "nothing is lost; written d.pack)" in repr(packed)
    for one in (result, dry, none, sparse, checked, packed, onnxprune.diff(DIGITS, "s.onnx")):
        assert all(len(line) < WIDEST and line.isprintable() for line in lines(one)), lines(one)


def test_what_looks_give_back() -> None:
    found = onnxprune.inspect(DIGITS)
    assert repr(found) == "Inspection(digits.onnx: 10 groups, 624 channels can be removed)"
    assert "2 residual blocks, 1 can be removed" in repr(onnxprune.inspect(DIGITS, units="blocks"))
    assert repr(onnxprune.diff(DIGITS, DIGITS)) == "Difference(digits.onnx, digits.onnx: no difference)"
    timed = onnxprune.bench(DIGITS, DIGITS, runs=8, profile=True)
    failed = onnxprune.check(DIGITS, max_size="10kB")
    assert repr(failed) == "CheckResult(failed: 1 budget of 1 model, 1 missed)"
    loaded = onnxprune.load(DIGITS)
    assert repr(loaded) == "Model('digits.onnx': 42 nodes, 62 initializers)"
    for one in (found, timed, failed, loaded, onnxprune.environment()):
        assert all(len(line) < WIDEST and line.isprintable() for line in lines(one) or [repr(one)])


def _timing() -> onnxprune.TimingSummary:
    return onnxprune.TimingSummary("same", 1.0, 0.9, 1.1, 1e-3, 1e-3, 1, 1, 9)


@pytest.mark.parametrize(
    "kind", [kind for kind in TYPES if dataclasses.is_dataclass(kind)], ids=lambda kind: kind.__name__
)
def test_types_say_in_google_style_what_their_fields_are(kind: type) -> None:
    """Each field with a line of its own; and no repr of theirs can be longer than its fields are."""
    doc = (kind.__doc__ or "").split("Attributes:")
    assert len(doc) == 2, kind
    for item in dataclasses.fields(kind):
        assert f"        {item.name}: " in doc[1], f"{kind.__name__}.{item.name}"
    many = [item for item in dataclasses.fields(kind) if "tuple" in str(item.type) or "dict" in str(item.type)]
    assert not many or issubclass(kind, OneLine) or kind.__name__ in ("InputUsed", "Model")

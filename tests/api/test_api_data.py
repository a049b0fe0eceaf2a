"""`onnxprune.shrink` from Python with samples: every form of data, and what it tells while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxprune
from onnxprune.capture.samples import bytes_per_sample, files_of, open_samples
from onnxprune.data import open_data
from onnxprune.errors import DataError, UsageError
from onnxprune.results import Progress
from onnxprune.trace import trace_model
from tests.small import small_network

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits.onnx"


def images(count: int = 60) -> NDArray[np.float32]:
    with np.load(ROOT / "models" / "digits_calib.npz") as file:
        return np.asarray(file["image"][:count])


def test_every_form_of_the_same_data_gives_the_same_file(tmp_path: Path) -> None:
    small = small_network(tmp_path / "small.onnx")
    np.savez(tmp_path / "x.npz", image=images())
    np.save(tmp_path / "x.npy", images())
    forms: list[Any] = [
        {"image": images()},
        str(tmp_path / "x.npz"),
        tmp_path / "x.npy",
        [f"image={tmp_path / 'x.npy'}"],
        lambda: {"image": images()},
        open_data({"image": images()}, onnxprune.load(small)),
    ]
    files = []
    for number, data in enumerate(forms):
        out = tmp_path / f"{number}.onnx"
        result = onnxprune.shrink(small, out, data=data, ratio=0.2, repair="least-squares")
        assert result.repair is not None and result.repair.method == "least squares"
        assert result.calibration is not None and result.calibration.samples == 60
        files.append(out.read_bytes())
    assert len(set(files)) == 1


def test_the_result_tells_what_was_refitted(tmp_path: Path) -> None:
    small = small_network(tmp_path / "small.onnx")
    result = onnxprune.shrink(small, tmp_path / "x.onnx", data={"image": images()}, target="macs=60%")
    assert result.repair is not None and result.repair.method == "least squares and reconstruction"
    rebuilt = result.repair.reconstruction
    assert rebuilt is not None and rebuilt.steps > 0 and rebuilt.reason is None
    assert 0 < rebuilt.error_after <= rebuilt.error_before < 1
    assert result.target is not None and result.after is not None
    assert result.after.macs == result.target.planned <= result.target.limit == 0.6 * result.before.macs
    worst = result.repair.worst
    assert worst is not None and worst.error_after == max(layer.error_after for layer in result.repair.layers)
    assert result.repair.corrected_layers == len(result.repair.layers) - len(result.repair.kept)
    assert onnxprune.verify(small, tmp_path / "x.onnx").plan_digest == result.plan.digest


def test_progress_counts(tmp_path: Path) -> None:
    """Capture and repair are long: they say how far they are, and stages follow each other."""
    steps: list[Progress] = []
    small = small_network(tmp_path / "small.onnx")
    options = {"ratio": 0.2, "multiple_of": 1}
    onnxprune.shrink(small, tmp_path / "x.onnx", data={"image": images()}, **options, progress=steps.append)
    order = list(dict.fromkeys(step.stage for step in steps))
    assert order == ["load", "trace", "capture", "plan", "cut", "write", "verify", "repair", "rebuild", "measure"]
    for stage in ("capture", "plan", "repair", "rebuild"):
        counted = [step for step in steps if step.stage == stage and step.total]
        assert [step.done for step in counted] == list(range(1, len(counted) + 1)) and len(counted) > 3
        assert counted[-1].done == counted[-1].total


def test_data_for_another_model(tmp_path: Path) -> None:
    data = open_data({"image": images()}, onnxprune.load(DIGITS))
    with pytest.raises(UsageError, match="prepared already"):
        onnxprune.shrink(DIGITS, tmp_path / "x.onnx", data=data, preprocess="scale=1/255")
    with pytest.raises(DataError, match="'label' is not an input"):
        onnxprune.shrink(DIGITS, tmp_path / "x.onnx", data={"image": images(), "label": np.zeros(60)})
    with pytest.raises(DataError, match="another model"):
        onnxprune.shrink(_other(tmp_path), tmp_path / "x.onnx", data=data)
    assert {path.name for path in tmp_path.iterdir()} == {"other.onnx"}


def _other(folder: Path) -> Path:
    """The same network, its input under another name."""
    model = onnxprune.load(DIGITS).complete_proto()
    model.graph.input[0].name = "picture"
    for node in model.graph.node:
        node.input[:] = ["picture" if name == "image" else name for name in node.input]
    (folder / "other.onnx").write_bytes(model.SerializeToString())
    return folder / "other.onnx"


def test_contradictions(tmp_path: Path) -> None:
    out = tmp_path / "x.onnx"
    plan = onnxprune.shrink(DIGITS, dry_run=True).plan
    for options in (
        {"ratio": 0.5, "target": "macs=50%"},
        {"criterion": "obs"},
        {"repair": "least-squares"},
        {"repair": "reconstruct"},
        {"repair": "nonsense"},
        {"samples": 3},
        {"plan": plan, "target": "macs=50%"},
        {"plan": plan, "ratio": 0.5},
    ):
        with pytest.raises(UsageError):
            onnxprune.shrink(DIGITS, out, **options)  # type: ignore[arg-type]
    assert not out.exists()


def test_defaults_follow_the_data() -> None:
    with_data = onnxprune.shrink(DIGITS, dry_run=True, data={"image": images()}, ratio=0.2).plan.options
    assert (with_data["criterion"], with_data["repair"], with_data["scope"]) == ("obs", "reconstruct", "local")
    target = onnxprune.shrink(DIGITS, dry_run=True, data={"image": images()}, target="macs=80%").plan.options
    assert (target["ratio"], target["target"], target["scope"]) == (None, "macs=80%", "global")
    without = onnxprune.shrink(DIGITS, dry_run=True).plan.options
    assert (without["criterion"], without["repair"], without["ratio"]) == ("l1", "merge", 0.5)
    assert without["samples"] is None


# ---- samples: held out, and within memory --------------------------------------------------------------------------
@pytest.mark.parametrize(("count", "held_out"), [(1, 1), (2, 1), (5, 1), (60, 12)])
def test_a_fifth_is_held_out(count: int, held_out: int) -> None:
    found = open_samples({"image": images(count)}, trace_model(onnxprune.load(DIGITS)))
    assert found.count == count and found.held_out_samples == held_out
    sizes = [len(batch["image"]) for batch in found.batches]
    assert sum(sizes[-found.held_out :]) == held_out
    assert sum(sizes[: -found.held_out]) == max(count - held_out, 1)
    if count > 1:
        rows = np.concatenate([batch["image"] for batch in found.batches]).reshape(count, -1)
        assert len(np.unique(rows, axis=0)) == len(np.unique(images(count).reshape(count, -1), axis=0)), "each once"
    else:
        assert any("only one sample" in note for note in found.notes)


def test_memory_bounds_the_samples() -> None:
    """By what is alive at once: in the digits network, 2 x 3 values of 48 x 8 x 8 floats and more."""
    trace = trace_model(onnxprune.load(DIGITS))
    each = bytes_per_sample(trace, {"image": (1, 1, 8, 8)})
    assert 6 * 48 * 64 * 4 < each < 20 * 48 * 64 * 4
    everything = open_samples({"image": images(40)}, trace)
    assert everything.count == 40 and not everything.notes
    limit = everything.memory_bytes - 30 * each
    found = open_samples({"image": images(40)}, trace, max_memory=limit)
    assert found.count == 10 and found.memory_bytes == limit and found.held_out_samples == 2 and found.notes
    assert everything.more is None and found.more is not None and found.more.fit.samples == 32 - 8
    assert found.more.judge is not None and found.more.judge.samples == 8 - 2
    seen = np.concatenate([*(batch["image"] for batch in found.batches), found.more.fit.batch(0, 24)["image"]])
    held_out = np.concatenate([batch["image"] for batch in everything.batches[-everything.held_out :]])
    assert not (seen[10:, None] == held_out[None]).all((2, 3, 4)).any(), "what would judge is not fitted"
    other = open_samples({"image": images(40)}, trace, max_memory=limit, seed=1)
    assert other.batches[0]["image"].tolist() != found.batches[0]["image"].tolist(), "the seed draws who is left out"
    with pytest.raises(UsageError, match="too little"):
        open_samples({"image": images(40)}, trace, max_memory=limit - 9 * each)


def test_files_of_data_are_inputs(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, images(2))
    for data in (str(path), path, [f"image={path}"], f"{path}:f"):
        assert path in files_of(data)
        with pytest.raises(onnxprune.OnnxPruneError):
            onnxprune.shrink(DIGITS, path, data=data, force=True)
    assert files_of({"image": images(2)}) == files_of(None) == files_of("random") == ()


def test_a_search_measures_what_is_written(tmp_path: Path) -> None:
    """The same seed in the trials and in the result: the same samples in the same order, the same weights."""
    seen: list[dict[str, bytes]] = []

    def metric(path: str) -> float:
        seen.append({name: tensor.array().tobytes() for name, tensor in onnxprune.load(path).tensors.items()})
        return 1.0

    out = tmp_path / "x.onnx"
    data = {"image": images(30)}
    small = small_network(tmp_path / "small.onnx")
    result = onnxprune.shrink(small, out, data=data, metric=metric, max_drop=0.5, min_keep="75%", seed=1, multiple_of=1)
    assert result.metric is not None and len(result.metric.trials) == 1
    assert result.repair is not None and result.repair.reconstruction is not None
    assert result.repair.reconstruction.steps > 0
    metric(str(out))
    assert len(seen) >= 3 and all(weights == seen[-1] for weights in seen[1:])

"""Zeros as a lever: what they give alone and behind a cut, and what is shown of the file. Targets are bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnxprune
from onnxprune import native
from onnxprune.compressing import build, stage, zeros
from onnxprune.compressing.candidates import Candidate
from onnxprune.compressing.stage import Found, finished
from onnxprune.compressing.task import Task
from onnxprune.compressing.zeros import least
from onnxprune.errors import OnnxPruneError, UsageError, VerificationError
from onnxprune.native.marks import DOMAIN
from onnxprune.report import compress as report
from onnxprune.report.compress_document import compress as document
from onnxprune.report.html.made import made_page
from onnxprune.report.render import plain
from onnxprune.results import CompressResult
from tests.builders import Net
from tests.small import small_network

Array = np.ndarray
CALIBRATION = Path(__file__).parents[2] / "models" / "digits_calib.npz"
WITHOUT = ["int8", "channels", "blocks"]


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """Repairs of a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "THOROUGH", 0.1)
        patch.setattr(build, "BRIEF", 0.1)
        yield


@pytest.fixture(scope="module")
def samples() -> dict[str, Array]:
    with np.load(CALIBRATION) as found:
        return {key: found[key][:64] for key in found.files}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_network(tmp_path_factory.mktemp("zeros") / "small.onnx")


@pytest.fixture(scope="module")
def thin(network: Path, samples: dict[str, Array]) -> tuple[CompressResult, Path]:
    """By zeros alone."""
    out = network.with_name("thin.onnx")
    return onnxprune.compress(network, out, data=samples, target="size=70%", without=WITHOUT, sparse=True), out


def test_zeros_alone_come_down_to_a_size(network: Path, thin: tuple[CompressResult, Path]) -> None:
    result, out = thin
    assert result.taken is not None and result.taken.levers == ("zeros",) and result.taken.repaired == "fully"
    assert result.taken.cost <= 0.7 and out.stat().st_size <= 0.7 * network.stat().st_size
    assert result.plan.sparsity is not None and not result.plan.removed_count
    assert result.sparsity is not None and result.sparsity.proof is not None and result.sparsity.proof.sensitive
    assert {node.domain for node in onnx.load(out).graph.node} == {"", DOMAIN}


def test_no_more_weights_are_zero_than_have_to(thin: tuple[CompressResult, Path]) -> None:
    """The least of the shares that are small enough."""
    result, _ = thin
    assert result.sparsity is not None and result.sparsity.asked < 0.9


def test_it_is_verified_from_the_file(network: Path, thin: tuple[CompressResult, Path]) -> None:
    found = onnxprune.verify(network, thin[1])
    assert found.failure() is None and found.sparse is not None
    assert found.sparse.nonzero < found.sparse.size and found.plan_digest == thin[0].plan.digest


def test_other_weights_than_the_plan_keeps_are_refused(
    network: Path, thin: tuple[CompressResult, Path], tmp_path: Path
) -> None:
    plan = thin[0].plan.sparsity
    assert plan is not None
    fewer = onnx.load(thin[1])
    entry = next(one for one in fewer.metadata_props if one.key == "onnxprune.plan")
    kept = plan.weights[0].kept
    assert f'"kept": {kept}' in entry.value
    entry.value = entry.value.replace(f'"kept": {kept}', f'"kept": {kept - 1}')
    onnx.save(fewer, tmp_path / "fewer.onnx")
    with pytest.raises(VerificationError, match="not zero"):
        onnxprune.verify(network, tmp_path / "fewer.onnx")
    short = onnx.load(thin[1])
    node = next(one for one in short.graph.node if one.domain == DOMAIN)
    values = next(one for one in short.graph.initializer if one.name == node.input[1])
    values.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(values)[:-1], values.name))
    onnx.save(short, tmp_path / "short.onnx")
    with pytest.raises(OnnxPruneError):
        onnxprune.verify(network, tmp_path / "short.onnx")


def test_report_document_and_page_have_the_zeros(thin: tuple[CompressResult, Path]) -> None:
    result, _ = thin
    text = plain(report.report(result, layers=True))
    assert "masked" in text and "zeros" in text and "equal to the dense model with these zeros" in text
    assert "--pattern" not in text  # which compress does not have
    found = document(result)
    assert found["sparsity"]["proof"] is not None and found["points"][-1]["levers"] == ["zeros"]
    page = made_page(result, onnxprune.environment(), [], bench=None)
    assert "Sparse layers" in page and "<td>zeros" in page


def test_zeros_behind_a_cut_are_proven_twice(
    network: Path, samples: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether these lose least does not matter here: they are taken."""

    def both(task: Task, tried: list[Candidate], limit: float, found: Found) -> Candidate:
        return finished(task, next(one for one in tried if one.zeros and one.choice), limit, found)

    monkeypatch.setattr(stage, "first_within", both)
    monkeypatch.setattr(stage, "CLOSE", 1e9)
    out = network.with_name("both.onnx")
    result = onnxprune.compress(network, out, data=samples, target="size=45%", without=["int8", "blocks"], sparse=True)
    assert result.taken is not None and result.taken.levers == ("channels", "zeros")
    assert out.stat().st_size <= 0.45 * network.stat().st_size
    assert result.plan.removed_count and result.plan.sparsity is not None
    assert result.proof is not None and result.proof.sensitive
    assert result.sparsity is not None and result.sparsity.proof is not None
    found = onnxprune.verify(network, out)
    assert found.failure() is None and found.proof is not None and found.sparse is not None


def test_bounds_hold(network: Path, samples: dict[str, Array]) -> None:
    out = network.with_name("no.onnx")
    with pytest.raises(OnnxPruneError, match="max_error"):
        onnxprune.compress(network, out, data=samples, target="size=70%", without=WITHOUT, sparse=True, max_error=1e-6)
    assert not out.exists()


def test_without_the_option_there_are_none(network: Path, samples: dict[str, Array]) -> None:
    with pytest.raises(UsageError, match="leaves no lever"):
        onnxprune.compress(network, None, data=samples, target="size=70%", without=WITHOUT)
    with pytest.raises(UsageError, match="no effect without"):
        onnxprune.compress(network, None, data=samples, target="size=70%", without=["zeros"])
    result = onnxprune.compress(
        network, None, data=samples, target="size=60%", without=["zeros", "int8", "blocks"], sparse=True
    )
    assert ("zeros", "--without zeros") in result.without and result.sparsity is None
    assert "sparse" in result.plan.options


def test_a_share_out_of_reach_is_said(network: Path, samples: dict[str, Array]) -> None:
    with pytest.raises(UsageError, match=r"with 90 % zeros .* of the cost would be left"):
        onnxprune.compress(network, None, data=samples, target="size=5%", without=WITHOUT, sparse=True)


def test_time_is_that_of_layers_and_blocks_which_are_fastest_here(
    samples: dict[str, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether zeros make this network faster hangs on the machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(zeros, "SHARES", (0.9,))
    net = Net(seed=0)
    h = net.input(1, 8, 8, name="image")
    for number in range(2):
        h = net.relu(net.conv(h, 96, name=f"c{number}", kernel=3, pads=[1] * 4))
    net.output(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", h)), 10, name="z"))
    onnx.save(net.model(), tmp_path / "wide.onnx")
    out = tmp_path / "thin.onnx"
    options = {"data": samples, "target": "latency=95%", "without": WITHOUT, "sparse": True, "threads": 1}
    try:
        result = onnxprune.compress(tmp_path / "wide.onnx", out, **options)  # type: ignore[arg-type]
    except UsageError as problem:
        assert "of the cost" in problem.message and not out.exists()
    else:
        assert result.sparsity is not None and result.sparsity.pattern == "auto" and result.sparsity.asked == 0.9
        assert onnxprune.verify(tmp_path / "wide.onnx", out).failure() is None


def test_without_the_library_time_has_no_zeros(
    network: Path, samples: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "problem", lambda: "no compiler")
    with pytest.raises(UsageError, match="missing here: no compiler"):
        onnxprune.compress(network, None, data=samples, target="latency=50%", without=WITHOUT, sparse=True)


def test_the_least_share_is_found_by_halving() -> None:
    asked: list[float] = []

    def cost(share: float) -> float:
        asked.append(share)
        return 1 - share

    assert least(cost, 0.31, (0.5, 0.6, 0.7, 0.8)) == 0.7
    assert len(asked) <= 3
    assert least(cost, 0.1, (0.5, 0.6, 0.7, 0.8)) is None

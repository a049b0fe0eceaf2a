"""One budget for every lever: what is taken, proven and refused. Targets are bytes, which do not hang on time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnxprune
from onnxprune.compressing import build
from onnxprune.errors import GateError, UsageError, VerificationError
from onnxprune.results import CompressResult
from tests.small import small_network

Array = np.ndarray
CALIBRATION = Path(__file__).parents[2] / "models" / "digits_calib.npz"


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """Repairs of a few steps: what is taken, proven and refused does not hang on how good they are."""
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
    return small_network(tmp_path_factory.mktemp("compress") / "small.onnx")


@pytest.fixture(scope="module")
def cut(network: Path, samples: dict[str, Array]) -> tuple[CompressResult, Path]:
    """Smaller than integers alone make it."""
    out = network.with_name("cut.onnx")
    return onnxprune.compress(network, out, data=samples, target="size=35%"), out


def test_integers_alone_are_taken_where_they_are_enough(network: Path, samples: dict[str, Array]) -> None:
    result = onnxprune.compress(network, network.with_name("alone.onnx"), data=samples, target="size=90%")
    assert result.taken is not None and result.taken.levers == ("int8",)
    assert result.plan.removed_count == 0 and result.plan.quantization is not None
    assert result.proof is None and result.quantization is not None and result.quantization.proof is not None
    assert {point.levers for point in result.points} == {(), ("int8",)}  # nothing else was tried


def test_a_cut_in_integers_is_proven_twice(network: Path, cut: tuple[CompressResult, Path]) -> None:
    result, out = cut
    assert result.taken is not None and result.taken.repaired == "fully" and "int8" in result.taken.levers
    assert result.plan.removed_count and result.plan.quantization is not None
    assert result.proof is not None and result.proof.sensitive
    assert result.quantization is not None and result.quantization.proof is not None
    assert result.quantization.proof.most_steps <= 1
    assert out.stat().st_size <= 0.35 * network.stat().st_size
    assert len({point.levers for point in result.points}) >= 4  # the original, integers, channels, blocks
    costs = [point.cost for point in result.points]
    assert costs == sorted(costs, reverse=True)


def test_the_least_error_within_the_target_is_taken(cut: tuple[CompressResult, Path]) -> None:
    result, _ = cut
    taken = result.taken
    assert taken is not None and taken.cost <= 0.35
    rivals = [one for one in result.points if one.cost <= 0.35 and one.repaired == "briefly"]
    chosen = min(rivals, key=lambda one: one.error)
    assert set(chosen.levers) >= set(taken.levers)


def test_it_is_verified_from_the_file(network: Path, cut: tuple[CompressResult, Path]) -> None:
    result, out = cut
    found = onnxprune.verify(network, out)
    assert found.failure() is None
    assert found.proof is not None and found.proof.sensitive
    assert found.grids is not None and found.grids.most_steps <= 1
    assert found.refitted and found.plan_digest == result.plan.digest


def test_a_wrong_scale_is_refused(network: Path, cut: tuple[CompressResult, Path], tmp_path: Path) -> None:
    proto = onnx.load(cut[1])
    quantiser = next(node for node in proto.graph.node if node.op_type == "QuantizeLinear")
    scale = next(one for one in proto.graph.initializer if one.name == quantiser.input[1])
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.5), scale.name))
    onnx.save(proto, tmp_path / "wrong.onnx")
    with pytest.raises(VerificationError):
        onnxprune.verify(network, tmp_path / "wrong.onnx")


def test_another_channel_in_the_plan_is_refused(
    network: Path, cut: tuple[CompressResult, Path], tmp_path: Path
) -> None:
    """Weights were refitted, so which channels stay shows in the widths that a plan gives, and in its groups."""
    proto = onnx.load(cut[1])
    entry = next(one for one in proto.metadata_props if one.key.startswith("onnxprune") and "removed" in one.value)
    plan = cut[0].plan
    if plan.groups:
        first = ", ".join(map(str, plan.groups[0].removed))
        assert first in entry.value
        entry.value = entry.value.replace(f"[{first}]", f"[{', '.join(map(str, plan.groups[0].removed[1:]))}]")
    else:
        entry.value = entry.value.replace(plan.blocks[0], "no such block")
    onnx.save(proto, tmp_path / "wrong.onnx")
    with pytest.raises(onnxprune.OnnxPruneError):
        onnxprune.verify(network, tmp_path / "wrong.onnx")


def test_blocks_and_channels_leave_together(network: Path, samples: dict[str, Array]) -> None:
    """The last resort of a very small target."""
    out = network.with_name("both.onnx")
    result = onnxprune.compress(network, out, data=samples, target="size=30%", without=["int8"])
    assert result.quantization is None and result.plan.quantization is None
    assert out.stat().st_size <= 0.3 * network.stat().st_size
    assert ("int8", "--without int8") in result.without
    assert onnxprune.verify(network, out).failure() is None


def test_a_lever_may_be_left_out(network: Path, samples: dict[str, Array]) -> None:
    out = network.with_name("blocks.onnx")
    result = onnxprune.compress(network, out, data=samples, target="size=35%", without=["channels"])
    assert result.plan.units == "blocks" and result.plan.blocks and not result.plan.groups
    assert any(lever.startswith("channels") for lever, _ in result.without)


def test_what_is_excluded_stays(network: Path, samples: dict[str, Array]) -> None:
    result = onnxprune.compress(
        network, network.with_name("but.onnx"), data=samples, target="size=60%", exclude=["type:Gemm"]
    )
    assert result.quantization is not None
    stays = [layer for layer in result.quantization.all_layers if layer.operator == "Gemm"]
    assert stays and all(layer.reason == "excluded" for layer in stays)


def test_in_memory_and_dry(network: Path, samples: dict[str, Array]) -> None:
    result = onnxprune.compress(network, None, data=samples, target="size=60%")
    assert result.model is not None and not result.written
    dry = onnxprune.compress(network, network.with_name("no.onnx"), data=samples, target="size=60%", dry_run=True)
    assert dry.planned is not None and dry.after is None and not network.with_name("no.onnx").exists()


def test_nothing_changes_where_the_target_is_met(network: Path, samples: dict[str, Array]) -> None:
    result = onnxprune.compress(network, network.with_name("no.onnx"), data=samples, target="size=100%")
    assert result.taken is None and not result.written and result.plan.removed_count == 0
    assert not network.with_name("no.onnx").exists()


def test_a_target_out_of_reach_says_what_each_lever_does(network: Path, samples: dict[str, Array]) -> None:
    out = network.with_name("no.onnx")
    with pytest.raises(UsageError, match=r"no lever leaves 1 %.*channels"):
        onnxprune.compress(network, out, data=samples, target="size=1%")
    assert not out.exists()


def test_bounds_alone_say_how_far(network: Path, samples: dict[str, Array]) -> None:
    out = network.with_name("bounds.onnx")
    result = onnxprune.compress(network, out, data=samples, max_error=0.2)
    assert result.target is None
    if result.written:  # whatever is fastest here
        assert result.fidelity is not None and result.fidelity.worst_error is not None
        assert result.fidelity.worst_error <= 0.2


def test_a_bound_that_the_target_breaks_is_an_error(network: Path, samples: dict[str, Array]) -> None:
    out = network.with_name("no.onnx")
    with pytest.raises(GateError, match="max_error"):
        onnxprune.compress(network, out, data=samples, target="size=50%", max_error=1e-6)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "size=50%"}, "there are none"),
        ({"data": "random"}, "nothing says how far"),
        ({"data": "random", "target": "macs=50%"}, "are neither"),
        ({"data": "random", "target": "size=50%", "without": ["channels", "blocks", "int8"]}, "leaves no lever"),
    ],
)
def test_requests_that_make_no_sense(network: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        onnxprune.compress(network, None, **options)  # type: ignore[arg-type]

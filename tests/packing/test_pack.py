"""Packing models: what is no weight is the same to the byte; parts, memory and wrong options."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from pack_models import matmul, model_of, network, round_trip, saved, value

from onnxprune import pack, unpack
from onnxprune.errors import UsageError

DTYPES = [np.float32, np.float16, np.float64, np.int8, np.uint8, np.int16, np.int32, np.int64, np.bool_]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.lists(
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 40), max_size=3), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["shared", "int8", "exact"]),
    st.integers(0, 99),
)
def test_all_tensors_that_are_no_weights_come_back(
    tmp_path: Path, kinds: list[tuple[type, list[int], bool]], weights: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    found = []
    for number, (dtype, shape, raw) in enumerate(kinds):
        array = (rng.standard_normal(shape) * 50).astype(dtype)
        made = numpy_helper.from_array(np.asarray(array), f"t{number}")
        if not raw:
            made = helper.make_tensor(f"t{number}", made.data_type, shape, array.ravel())
        found.append(made)
    path = saved(tmp_path, model_of([helper.make_node("Relu", ["x"], ["y"])], [value("x", [1])], *found))
    result, out = round_trip(path, weights=weights)
    assert out.read_bytes() == path.read_bytes() and result.lossless


def test_lossless_is_byte_identical_and_smaller(tmp_path: Path) -> None:
    path = saved(tmp_path, network(channels=64, hidden=200))
    result, out = round_trip(path, weights="exact")
    assert out.read_bytes() == path.read_bytes()
    assert result.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == result.unpacked_sha256
    assert result.packed_bytes < 0.9 * result.size_bytes
    assert {t.how for t in result.tensors} == {"exact"}


def test_only_the_payload_of_weights_changes(tmp_path: Path) -> None:
    path = saved(tmp_path, network(hidden=100))
    result, out = round_trip(path)
    before, after = onnx.load(path), onnx.load(out)
    changed = {"conv.weight", "fc.weight"}
    assert {t.name for t in result.tensors if t.how == "shared"} == changed
    for a, b in zip(before.graph.initializer, after.graph.initializer, strict=True):
        assert (a == b) == (a.name not in changed)
        a.raw_data = b.raw_data = b""
    assert before == after
    assert out.stat().st_size == path.stat().st_size
    reasons = {t.name: t.reason for t in result.tensors if t.how == "exact"}
    assert reasons == {"table": "Add reads it, at input 1"}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_zeros_of_what_is_stored_as_it_is(tmp_path: Path, dtype: type) -> None:
    """Blocks of zeros in any tensor; a negative zero stays negative."""
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((256, 300)) * 40).astype(dtype)
    weight[np.repeat(rng.random((64, 300)) > 0.1, 4, axis=0)] = 0
    if dtype != np.int8:
        weight[3, :20] = -0.0
    array = numpy_helper.from_array(weight, "t")
    path = saved(tmp_path, model_of([helper.make_node("Relu", ["x"], ["y"])], [value("x", [1])], array))
    result, out = round_trip(path)
    assert out.read_bytes() == path.read_bytes() and result.parts["gaps"] > 0
    assert result.packed_bytes < 0.105 * weight.nbytes + weight.size / 8 / 4 + 600


def test_a_weight_of_several_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of whole rows, and of rows longer than a part, give what one part gives."""
    rng = np.random.default_rng(0)
    for shape in ((50, 30), (3, 700)):
        weight = (rng.standard_normal(shape) * (rng.random(shape) < 0.4)).astype(np.float32)
        path = saved(tmp_path, matmul(weight))
        for weights in ("shared", "int8"):
            whole, out = round_trip(path, weights=weights)
            expected = out.read_bytes()
            with monkeypatch.context() as patch:
                patch.setattr("onnxprune.packing.source.PART", 300)
                parted, out = round_trip(path, weights=weights)
            assert out.read_bytes() == expected and parted.unpacked_sha256 == whole.unpacked_sha256


def test_same_bytes_for_any_hash_seed(tmp_path: Path) -> None:
    path = saved(tmp_path, network(channels=32))
    code = "import sys, onnxprune; onnxprune.pack(sys.argv[1], sys.argv[2])"
    found = []
    for seed in ("0", "1"):
        out = tmp_path / f"{seed}.onnxpack"
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, path, out], check=True, env=environment)
        found.append(out.read_bytes())
    assert found[0] == found[1]


def test_memory_does_not_grow_with_a_tensor(tmp_path: Path) -> None:
    """48 MB in one tensor, less than that in memory, for packing and unpacking."""
    count, rng = 12, np.random.default_rng(0)
    with open(tmp_path / "w.bin", "wb") as file:
        for _ in range(count):
            file.write(rng.standard_normal((1000, 1000)).astype(np.float32).tobytes())
    proto = matmul(np.zeros((1, 1000), np.float32))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.dims[:] = [1000 * count, 1000]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    path = saved(tmp_path, proto)
    tracemalloc.start()
    result = pack(path, bits=4)
    packed = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    (tmp_path / "out").mkdir()
    unpack(result.written[0], tmp_path / "out" / "m.onnx")
    unpacked = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert packed < 48e6 and unpacked < 24e6, (packed, unpacked)
    assert result.packed_bytes < 0.13 * result.size_bytes


def test_wrong_options(tmp_path: Path) -> None:
    path = saved(tmp_path, network())
    for options, said in (
        ({"weights": "float8"}, "weights= is shared, int8 or exact, found 'float8'"),
        ({"bits": "9"}, "1 to 8"),
        ({"bits": "8/5/4"}, "1 to 8"),
        ({"bits": 4, "max_error": 0.1}, "exclude each other"),
        ({"bits": 4, "weights": "int8"}, "no effect"),
        ({"clusters": "linear", "weights": "exact"}, "no effect"),
        ({"max_error": 0.1, "weights": "exact"}, "no effect"),
        ({"max_error": "1.5"}, "less than 1"),
        ({"clusters": "random"}, "clusters= is exact or linear, found 'random'"),
        ({"samples": 4}, "without data="),
        ({"exclude": ["nothing*"]}, "matches no node"),
        ({"max_drop": 0.1}, "needs metric="),
    ):
        with pytest.raises(UsageError, match=said):
            pack(path, **options)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == ["m.onnx"]

"""Lazy tensors: every element type, every storage, and sizes that lie."""

from __future__ import annotations

import copy

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxprune.errors import ModelError
from onnxprune.model import LazyTensor, load
from onnxprune.model.tensors import known_dtype
from tests.model.builders import small_model, tensor_model

NUMERIC = [dtype for dtype in TensorProto.DataType.values() if known_dtype(dtype) and dtype != TensorProto.STRING]
SHAPES: list[tuple[int, ...]] = [(), (1,), (3,), (2, 3), (0,), (2, 0, 3), (5, 1, 3)]


def values(dtype: int, shape: tuple[int, ...]) -> np.ndarray:
    return (np.arange(np.prod(shape, dtype=int)) % 2).reshape(shape).astype(helper.tensor_dtype_to_np_dtype(dtype))


@pytest.mark.parametrize("dtype", NUMERIC, ids=TensorProto.DataType.Name)
def test_every_type_and_shape_raw_and_typed(dtype: int) -> None:
    for shape in SHAPES:
        array = values(dtype, shape)
        raw = numpy_helper.from_array(array, "t")
        assert raw.data_type == dtype
        tensor = load(tensor_model(raw)).tensors["t"]
        assert (tensor.dtype, tensor.shape, tensor.nbytes) == (dtype, shape, len(raw.raw_data))
        assert bytes(tensor.payload()) == raw.raw_data
        assert tensor.array().dtype == array.dtype and not tensor.array().flags.writeable
        assert tensor.array().tobytes() == array.tobytes()
        assert tensor.to_proto() == raw
        made = LazyTensor.from_array("t", array)
        assert made.to_proto() == raw
        assert made.array().tobytes() == array.tobytes()
        if dtype not in _NO_TYPED_FORM:
            typed = helper.make_tensor("t", dtype, shape, array.reshape(-1).tolist())
            tensor = load(tensor_model(typed)).tensors["t"]
            assert tensor.array().tobytes() == array.tobytes()
            assert bytes(tensor.payload()) == raw.raw_data and tensor.to_proto() == typed


_NO_TYPED_FORM = {getattr(TensorProto, name, -1) for name in ("FLOAT6E2M3", "FLOAT6E3M2")}


def test_strings() -> None:
    proto = helper.make_tensor("s", TensorProto.STRING, [2], [b"a", "ü".encode()])
    tensor = load(tensor_model(proto)).tensors["s"]
    assert tensor.nbytes == 3
    assert tensor.to_proto() == proto and tensor.array().shape == (2,)
    with pytest.raises(ModelError, match="strings"):
        tensor.payload()
    made = LazyTensor.from_array("s", np.array(["a", "ü"], object))
    assert made.to_proto() == proto
    with pytest.raises(ModelError, match="holds 1 values"):
        load(tensor_model(TensorProto(name="s", data_type=8, dims=[2], string_data=[b"a"])))
    with pytest.raises(ModelError, match="strings"):
        load(tensor_model(TensorProto(name="s", data_type=8, dims=[1], raw_data=b"a")))


def test_special_values_keep_their_bits() -> None:
    bits = np.array([0x7FC00001, 0xFFC00000, 0x7F800000, 0xFF800000, 1, 0x80000000], np.uint32)
    model = load(tensor_model(numpy_helper.from_array(bits.view(np.float32), "t")))
    np.testing.assert_array_equal(model.tensors["t"].array().view(np.uint32), bits)


def test_from_array_converts_to_the_wanted_type() -> None:
    array = np.array([1.0, 2.5], np.float32)
    tensor = LazyTensor.from_array("t", array, TensorProto.BFLOAT16)
    assert tensor.array().dtype == ml_dtypes.bfloat16 and tensor.nbytes == 4
    view = LazyTensor.from_array("t", np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2])
    np.testing.assert_array_equal(view.array(), [[0, 2], [4, 6], [8, 10]])
    big = LazyTensor.from_array("t", np.array([1, 2], ">i4"))
    assert bytes(big.payload()) == b"\1\0\0\0\2\0\0\0"


def test_with_array_and_renamed_keep_the_notes() -> None:
    proto = numpy_helper.from_array(np.ones((3, 4), np.float16), "t")
    proto.doc_string = "doc"
    proto.metadata_props.add(key="k", value="v")
    tensor = load(tensor_model(proto)).tensors["t"]
    cut = tensor.with_array(np.zeros((2, 4))).to_proto()
    assert cut.doc_string == "doc" and cut.metadata_props[0].value == "v"
    assert list(cut.dims) == [2, 4] and cut.data_type == TensorProto.FLOAT16 and len(cut.raw_data) == 16
    assert tensor.renamed("u").to_proto().name == "u" and tensor.name == "t"
    assert copy.deepcopy(tensor) is tensor


def test_replace_keeps_the_notes_and_follows_the_tensors() -> None:
    proto = small_model()
    proto.graph.initializer[0].doc_string = "doc"
    model = load(proto)
    skeleton = copy.deepcopy(model.proto)
    tensors = {
        "w": LazyTensor.from_array("w", np.ones((3, 2), np.float32)),
        "n": LazyTensor.from_array("n", np.ones(2)),
    }
    cut = model.replace(skeleton, tensors)
    entry = cut.complete_proto().graph.initializer[0]
    assert entry.doc_string == "doc" and list(entry.dims) == [3, 2]
    assert [item.name for item in cut.proto.graph.initializer] == ["w", "n"]
    assert cut.sha256 != model.sha256 and cut.size_bytes == cut.complete_proto().ByteSize()
    assert list(model.proto.graph.initializer[0].dims) == [3, 4]


def bad(**fields: object) -> TensorProto:
    return TensorProto(name="t", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (bad(data_type=1, dims=[2], raw_data=b"\0" * 7), "holds 7 bytes, but FLOAT [2] needs 8"),
        (bad(data_type=1, dims=[2], raw_data=b"\0" * 12), "holds 12 bytes"),
        (bad(data_type=1, dims=[2]), "holds 0 values"),
        (bad(data_type=1, dims=[2], float_data=[1, 2, 3]), "holds 3 values"),
        (bad(data_type=7, dims=[2], int64_data=[-1]), "holds 1 values"),
        (bad(data_type=1, dims=[1], int32_data=[1]), "in int32_data, not in float_data"),
        (bad(data_type=1, dims=[1], raw_data=b"\0" * 4, float_data=[1]), "both raw_data and float_data"),
        (bad(data_type=1, dims=[-1], raw_data=b""), "negative dimension"),
        (bad(data_type=1, dims=[1 << 62, 1 << 62], raw_data=b""), "overflow"),
        (bad(data_type=1, dims=[1 << 32, 1 << 32], raw_data=b""), "overflow"),
        (bad(data_type=1, dims=[0, 1 << 62, 1 << 62], raw_data=b""), "overflow"),
        (bad(data_type=1, dims=[1 << 40], raw_data=b"1234"), "holds 4 bytes"),
        (bad(data_type=0, dims=[1], raw_data=b"1234"), "unknown element"),
        (bad(data_type=999, dims=[1], raw_data=b"1234"), "unknown element type 999"),
        (bad(data_type=1, dims=[1] * 65, raw_data=b"1234"), "65 dimensions"),
        (bad(data_type=1, dims=[1], raw_data=b"1234", segment=TensorProto.Segment(begin=0, end=1)), "segments"),
        (bad(data_type=22, dims=[3], raw_data=b"1"), "needs 2"),
    ],
    ids=range(17),
)
def test_sizes_that_lie(tensor: TensorProto, message: str) -> None:
    proto = tensor_model(tensor)
    with pytest.raises(ModelError) as caught:
        load(proto)
    assert "'t'" in str(caught.value) and message in str(caught.value)
    # The same tensor inside a Constant.
    constant = tensor_model()
    constant.graph.node.append(helper.make_node("Constant", [], ["z"], value=tensor))
    with pytest.raises(ModelError) as caught:
        load(constant)
    assert message in str(caught.value).replace("holds 0 bytes", "holds 0 values")


def test_arrays_are_views_of_the_file() -> None:
    content = small_model().SerializeToString()
    model = load(content)
    assert not model.tensors["w"].array().flags.owndata
    assert len(model.proto.SerializeToString()) < len(content)
    assert not model.proto.graph.initializer[0].raw_data

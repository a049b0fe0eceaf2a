"""What the hostile tests share: a small CNN, graphs of given nodes, and a look at a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnxprune import shrink
from onnxprune.model.load import Model, load
from onnxprune.results import ShrinkResult

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits.onnx"
Array = NDArray[Any]


def info(name: str, shape: Sequence[int | str | None] | None, dtype: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    tensors: dict[str, Array] | None = None,
    *,
    opset: int = 21,
    ir_version: int = 10,
    domains: Sequence[str] = (),
) -> ModelProto:
    constants = [numpy_helper.from_array(np.asarray(v), k) for k, v in (tensors or {}).items()]
    graph = helper.make_graph(list(nodes), "hostile", list(inputs), list(outputs), constants)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


def weights(*shape: int, seed: int = 0) -> Array:
    scale = 1 / np.sqrt(max(int(np.prod(shape[1:])), 1))
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * scale, np.float32)


def cnn(channels: int = 8) -> ModelProto:
    """x -> Conv -> Relu -> Conv -> y on 6 x 6 images; the layers are called first and last."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["h"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["h"], ["a"], name="act"),
        helper.make_node("Conv", ["a", "w2"], ["y"], name="last"),
    ]
    tensors = {"w1": weights(channels, 3, 3, 3), "b1": weights(channels), "w2": weights(4, channels, 1, 1, seed=1)}
    return model_of(nodes, [info("x", ["N", 3, 6, 6])], [info("y", ["N", 4, 6, 6])], tensors)


def mlp(nodes: Sequence[NodeProto], width: int = 8, **tensors: Array) -> ModelProto:
    """x (N, 4) -> MatMul "up" -> `nodes`, which make b of a -> MatMul "down" -> y (N, 3)."""
    every = [
        helper.make_node("MatMul", ["x", "up.w"], ["a"], name="up"),
        *nodes,
        helper.make_node("MatMul", ["b", "down.w"], ["y"], name="down"),
    ]
    constants = {"up.w": weights(4, width), "down.w": weights(width, 3, seed=1), **tensors}
    return model_of(every, [info("x", ["N", 4])], [info("y", ["N", 3])], constants)


def save(folder: Path, proto: ModelProto, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def shrunk(folder: Path, proto: ModelProto, **options: Any) -> tuple[ShrinkResult, Model]:
    """Shrink through files, proof included, something removed; the result read again."""
    options = {"threads": 1, "multiple_of": 1, **options}  # these networks are narrower than any step of a kernel
    result = shrink(save(folder, proto), folder / "small.onnx", force=True, **options)
    assert result.proof is not None and result.proof.compared_elements > 0
    return result, load(folder / "small.onnx")


def pins(folder: Path, proto: ModelProto) -> str:
    """All reasons that `inspect` gives, in one text."""
    from onnxprune import inspect

    return "\n".join(f"{g.name}: {g.pinned}" for g in inspect(save(folder, proto)).groups if g.pinned)


def run(model: ModelProto | Model | Path, feed: dict[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if isinstance(model, Path):
        source: str | bytes = str(model)
    else:
        source = (model if isinstance(model, ModelProto) else model.complete_proto()).SerializeToString()
    return list(onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"]).run(None, feed))


def listing(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, hidden and nested too: to show that nothing was changed or left behind."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}

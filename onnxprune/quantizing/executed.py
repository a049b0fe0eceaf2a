"""What ONNX Runtime makes of a quantised file: whether layers run on integers is seen in its optimised graph alone."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import onnx

from onnxprune.errors import ModelError
from onnxprune.model.graph import Graph
from onnxprune.results.quantization import Executed

FLOAT_KERNELS = frozenset({"Conv", "FusedConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm"})
KERNELS = frozenset({"QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"})


def executed(path: Path, graph: Graph, layers: Collection[int]) -> Executed:
    """`graph` is that of the network before it was quantised, `layers` of its nodes are in integers in the file.

    Raises ModelError if the runtime does not load it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        optimised = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(optimised)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it raises many types
            said = str(error).partition("failed:")[2] or str(error)
            raise ModelError(
                f"ONNX Runtime does not load the quantised model: {said.strip().splitlines()[0]}",
                hint="Does it load the original? onnxprune bench MODEL says.",
            ) from error
        proto = onnx.load(optimised, load_external_data=False)
    kernels = Counter(node.op_type for node in proto.graph.node)
    left = {
        _plain(name) for node in proto.graph.node if node.op_type in FLOAT_KERNELS for name in (node.name, *node.output)
    }
    floats = []
    for index in layers:
        node = graph.nodes[index]
        if node.label in left or node.outputs[0] in left:
            floats.append(node.label)
    return Executed(dict(sorted(kernels.items())), sum(kernels[name] for name in KERNELS), tuple(floats))


def _plain(name: str) -> str:
    """Without what the runtime appends where it changes layouts."""
    return name.removesuffix("_nchwc")

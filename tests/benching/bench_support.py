"""Small networks for the tests of bench, and a quick way to measure them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxprune.benching.bench import request, run
from onnxprune.benching.results import BenchResult
from onnxprune.options.others import BenchOptions
from onnxprune.results.system import environment

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "models" / "digits.onnx"
DEFAULTS: dict[str, Any] = {
    "threads": 1,
    "batch": None,
    "provider": (),
    "shape": (),
    "data": None,
    "preprocess": None,
    "seconds": None,
    "runs": 6,
    "profile": False,
    "baseline": None,
    "fail_above": None,
    "seed": 0,
}


def quick(*models: Path, **options: Any) -> BenchResult:
    """`onnxprune.bench` with few rounds, and one process instead of three for load time and memory."""
    if "seconds" in options:
        options.setdefault("runs", None)
    machine = environment()
    return run(replace(request(models, machine, BenchOptions(**{**DEFAULTS, **options})), probes=1), machine, None)


def convolutions(
    path: Path, *widths: int, size: int | str = 16, batch: int | str = "N", external: bool = False
) -> Path:
    """Convolutions of 3 x 3 with these numbers of output channels, each with a Relu, on 3 input channels."""
    rng = np.random.default_rng(0)
    nodes, weights, value, inputs = [], [], "x", 3
    for k, width in enumerate(widths):
        weight = rng.standard_normal((width, inputs, 3, 3)).astype(np.float32) / 30
        weights.append(numpy_helper.from_array(weight, f"w{k}"))
        nodes.append(helper.make_node("Conv", [value, f"w{k}"], [f"c{k}"], pads=[1] * 4, name=f"conv{k}"))
        value, inputs = ("y" if k == len(widths) - 1 else f"r{k}"), width
        nodes.append(helper.make_node("Relu", [f"c{k}"], [value], name=f"relu{k}"))
    return save(path, nodes, weights, [batch, 3, size, size], external=external)


def save(
    path: Path, nodes: list[Any], weights: list[Any], shape: list[Any], *, domain: str = "", external: bool = False
) -> Path:
    """A model x -> y of one input."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}.data", size_threshold=0)
    return path


def unknown(path: Path) -> Path:
    """A valid file that ONNX Runtime refuses: it has no such operator."""
    return save(path, [helper.make_node("Nonsense", ["x"], ["y"], domain="acme")], [], ["N", 4], domain="acme")

"""A tiny detector, its samples and its metric, for docs/tutorials/detector.md: where is the cross, where is the ring?

usage: python examples/detector.py      writes detector.onnx

Its first layers are random, and only the last one is fitted: enough for a task like this one.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
from onnx import numpy_helper

CROSS = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]])
RING = np.array([[0, 1, 1, 1, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [0, 1, 1, 1, 0]])
GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
detector (float[N,1,32,32] image) => (float[N,2,8,8] heat)
{
    a = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
    b = Relu (a)
    c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (b, w2, b2)
    d = Relu (c)
    e = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (d, w3, b3)
    f = Relu (e)
    heat = Conv (f, w4, b4)
}
"""


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 1, 32, 32), and the cells (count, 2) of 8 x 8 in which the cross and the ring are."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.2, (count, 1, 32, 32)).astype(np.float32)
    cells = np.stack([rng.permutation(64)[:2] for _ in range(count)])
    for image, pair in zip(images, cells, strict=True):
        for shape, cell in zip((CROSS, RING), pair, strict=True):
            row, column = np.clip(np.array(divmod(cell, 8)) * 4 - 1 + rng.integers(0, 2, 2), 0, 27)
            image[0, row : row + 5, column : column + 5] += shape
    return images, cells


def samples() -> dict[str, np.ndarray]:
    """What `--data examples/detector.py:samples` takes: images, without the cells."""
    return {"image": drawn(400, seed=1)[0]}


def found(path: str) -> float:
    """What `--metric examples/detector.py:found` calls: percent of crosses and rings whose cell has the most heat."""
    images, cells = drawn(500, seed=2)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (heat,) = session.run(None, {"image": images})
    return float(np.mean(heat.reshape(500, 2, 64).argmax(axis=2) == cells) * 100)


def main() -> None:
    rng = np.random.default_rng(0)
    weights = {}
    for layer, (outputs, inputs) in enumerate([(32, 1), (64, 32), (128, 64)], start=1):
        weights[f"w{layer}"] = rng.normal(0, np.sqrt(2 / (9 * inputs)), (outputs, inputs, 3, 3))
        weights[f"b{layer}"] = rng.normal(0, 0.1, outputs)
    images, cells = drawn(1500, seed=0)
    features = run({**weights, "w4": np.eye(128)[:, :, None, None], "b4": np.zeros(128)}, images)
    rows = np.concatenate([features.transpose(0, 2, 3, 1).reshape(-1, 128), np.ones((1500 * 64, 1))], axis=1)
    wanted = np.zeros((1500, 2, 64))
    wanted[np.arange(1500)[:, None], np.arange(2), cells] = 1
    fitted = np.linalg.solve(rows.T @ rows + np.eye(129), rows.T @ wanted.transpose(0, 2, 1).reshape(-1, 2))
    onnx.save(model({**weights, "w4": fitted[:-1].T[:, :, None, None], "b4": fitted[-1]}), "detector.onnx")
    print(f"detector.onnx finds {found('detector.onnx'):.1f} % of what is there")


def model(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(GRAPH)
    proto.graph.initializer.extend(numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items())
    return proto


def run(weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    proto = model(weights)
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(weights["b4"])
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": images})[0])


if __name__ == "__main__":
    main()

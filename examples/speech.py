"""A tiny network for sound, its samples and its metric, for docs/tutorials/speech.md: which of four calls is it?

usage: python examples/speech.py      writes speech.onnx

A call rises, falls, stays high or stays low; it lasts half a second at 4 kHz, in noise. Convolutions and GRU are
random, and only the last layer is fitted: enough for a task like this one.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
from onnx import numpy_helper

RATE, LENGTH, HIDDEN = 4000, 2000, 96
CALLS = np.array([(400, 900), (900, 400), (900, 900), (400, 400)])
GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
speech (float[N,1,T] wave) => (float[N,calls] scores)
{
    a = Conv <strides = [8]> (wave, w1, b1)
    b = Relu (a)
    c = Conv <strides = [4]> (b, w2, b2)
    d = Relu (c)
    e = Transpose <perm = [2, 0, 1]> (d)
    steps, last = GRU <hidden_size = 96> (e, w3, r3, b3)
    first = Squeeze (last, axis0)
    scores = Gemm (first, w4, b4)
}
"""


def heard(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Waves (count, 1, LENGTH), and which call (count,) each is."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, len(CALLS), count)
    begin, end = (CALLS[which] * rng.uniform(0.9, 1.1, (count, 2))).T[:, :, None]
    time = np.linspace(0, 1, LENGTH)
    phase = 2 * np.pi * (begin * time + (end - begin) * time**2 / 2) * LENGTH / RATE
    waves = np.sin(phase + rng.uniform(0, 2 * np.pi, (count, 1))) + rng.normal(0, 0.3, (count, LENGTH))
    return waves[:, None].astype(np.float32), which


def samples() -> dict[str, np.ndarray]:
    """What `--data examples/speech.py:samples` takes: waves, without the calls."""
    return {"wave": heard(300, seed=1)[0]}


def right(path: str) -> float:
    """What `--metric examples/speech.py:right` calls: percent of the calls that are told."""
    waves, which = heard(500, seed=2)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"wave": waves})
    return float(np.mean(scores.argmax(axis=1) == which) * 100)


def main() -> None:
    rng = np.random.default_rng(0)
    shapes = {"w1": (32, 1, 25), "w2": (64, 32, 9), "w3": (1, 3 * HIDDEN, 64), "r3": (1, 3 * HIDDEN, HIDDEN)}
    weights = {name: rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape) for name, shape in shapes.items()}
    weights |= {
        "w3": rng.normal(0, 4 * 64**-0.5, shapes["w3"]),
        "r3": rng.normal(0, HIDDEN**-0.5, shapes["r3"]),
        "b3": np.repeat([2.0, 0.0], [HIDDEN, 5 * HIDDEN])[None],  # states that change slowly remember longer
        "b1": np.zeros(32),
        "b2": np.zeros(64),
    }
    waves, which = heard(3000, seed=0)
    states = run({**weights, "w4": np.eye(HIDDEN), "b4": np.zeros(HIDDEN)}, waves)
    rows = np.concatenate([states, np.ones((len(states), 1))], axis=1)
    fitted = np.linalg.solve(rows.T @ rows + 0.1 * np.eye(HIDDEN + 1), rows.T @ np.eye(len(CALLS))[which])
    onnx.save(model({**weights, "w4": fitted[:-1], "b4": fitted[-1]}), "speech.onnx")
    print(f"speech.onnx tells {right('speech.onnx'):.1f} % of the calls")


def model(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(GRAPH)
    arrays = {"axis0": np.array([0]), **{name: w.astype(np.float32) for name, w in weights.items()}}
    proto.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in arrays.items())
    return proto


def run(weights: dict[str, np.ndarray], waves: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model(weights).SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"wave": waves})[0])


if __name__ == "__main__":
    main()

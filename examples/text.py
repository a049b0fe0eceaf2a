"""A tiny network for text, its samples and its metric, for docs/tutorials/text.md: which of four topics is it about?

usage: python examples/text.py      writes text.onnx

A word is a number; sentences have 5 to 20 words, filled up with zeros, and `mask` says which are words. Attention and
MLP are random, and only the last layer is fitted: enough for a task like this one.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
from onnx import numpy_helper

WORDS, WIDTH, INNER, TOPICS, LONGEST = 400, 64, 256, 4, 20
GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
text (int64[N,T] ids, float[N,T] mask) => (float[N,topics] scores)
{
    x = Gather (table, ids)
    q0 = MatMul (x, wq)
    k0 = MatMul (x, wk)
    v0 = MatMul (x, wv)
    q1 = Reshape (q0, split)
    k1 = Reshape (k0, split)
    v1 = Reshape (v0, split)
    q = Transpose <perm = [0, 2, 1, 3]> (q1)
    k = Transpose <perm = [0, 2, 3, 1]> (k1)
    v = Transpose <perm = [0, 2, 1, 3]> (v1)
    like = MatMul (q, k)
    mask2 = Unsqueeze (mask, axes12)
    absent = Sub (one, mask2)
    far = Mul (absent, minus)
    likely = Add (like, far)
    share = Softmax <axis = -1> (likely)
    seen0 = MatMul (share, v)
    seen1 = Transpose <perm = [0, 2, 1, 3]> (seen0)
    seen = Reshape (seen1, merge)
    out = MatMul (seen, wo)
    y = Add (x, out)
    inner0 = MatMul (y, w1)
    inner1 = Add (inner0, b1)
    inner = Relu (inner1)
    more = MatMul (inner, w2)
    z = Add (y, more)
    mask1 = Unsqueeze (mask, axes2)
    words = Mul (z, mask1)
    sum = ReduceSum <keepdims = 0> (words, axes1)
    count = ReduceSum <keepdims = 1> (mask, axes1)
    mean = Div (sum, count)
    scores = Gemm (mean, w3, b3)
}
"""
CONSTANTS = {
    "split": np.array([0, 0, 4, WIDTH // 4]),
    "merge": np.array([0, 0, WIDTH]),
    "axes1": np.array([1]),
    "axes2": np.array([2]),
    "axes12": np.array([1, 2]),
    "one": np.float32(1),
    "minus": np.float32(-1e4),
}


def written(count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Sentences as the model takes them, and the topic (count,) of each: half of its words are of its topic."""
    rng = np.random.default_rng(seed)
    topics = rng.integers(0, TOPICS, count)
    own = 101 + topics[:, None] * 25 + rng.integers(0, 25, (count, LONGEST))
    ids = np.where(rng.random((count, LONGEST)) < 0.5, own, rng.integers(1, WORDS, (count, LONGEST)))
    mask = np.arange(LONGEST) < rng.integers(5, LONGEST + 1, (count, 1))
    return {"ids": np.where(mask, ids, 0), "mask": mask.astype(np.float32)}, topics


def samples() -> dict[str, np.ndarray]:
    """What `--data examples/text.py:samples` takes: both inputs, without the topics."""
    return written(400, seed=1)[0]


def right(path: str) -> float:
    """What `--metric examples/text.py:right` calls: percent of sentences whose topic is told."""
    sentences, topics = written(1000, seed=2)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, sentences)
    return float(np.mean(scores.argmax(axis=1) == topics) * 100)


def main() -> None:
    rng = np.random.default_rng(0)
    shapes = {
        "table": (WORDS, WIDTH),
        **dict.fromkeys(("wq", "wk", "wv", "wo"), (WIDTH, WIDTH)),
        "w1": (WIDTH, INNER),
        "w2": (INNER, WIDTH),
    }
    weights = {name: rng.normal(0, shape[0] ** -0.5, shape) for name, shape in shapes.items()}
    weights |= {"table": rng.normal(0, 1, (WORDS, WIDTH)), "b1": np.zeros(INNER)}
    sentences, topics = written(4000, seed=0)
    means = run({**weights, "w3": np.eye(WIDTH), "b3": np.zeros(WIDTH)}, sentences)
    rows = np.concatenate([means, np.ones((len(means), 1))], axis=1)
    fitted = np.linalg.solve(rows.T @ rows + np.eye(WIDTH + 1), rows.T @ np.eye(TOPICS)[topics])
    onnx.save(model({**weights, "w3": fitted[:-1], "b3": fitted[-1]}), "text.onnx")
    print(f"text.onnx tells the topic of {right('text.onnx'):.1f} % of the sentences")


def model(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(GRAPH)
    arrays = {**CONSTANTS, **{name: w.astype(np.float32) for name, w in weights.items()}}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items())
    return proto


def run(weights: dict[str, np.ndarray], sentences: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model(weights).SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, sentences)[0])


if __name__ == "__main__":
    main()

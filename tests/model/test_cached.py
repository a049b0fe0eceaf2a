"""Decoders with a cache of keys and values: the lengths that their operators take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import onnxprune
from onnxprune.model.cached import Cache
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from onnxprune.proof.inputs import cases
from tests.builders import Net, ints

WIDTH, HEADS, PAIRS, HEAD = 32, 4, 2, 16


def decoder(*, rows: int | None, mask: bool = False, packed: bool = False) -> Net:
    """A layer with a cache and `rows` places of rotary embedding; lengths are given, or counted from a `mask`."""
    net = Net(17, seed=1, batch="b")
    x = net.declare("x", ["b", "s", WIDTH])
    past = [net.declare(name, ["b", PAIRS, "p", HEAD]) for name in ("keys", "values")]
    if mask:
        tokens = net.declare("mask", ["b", "t"], np.int64)
        count = net.op("Sub", net.op("ReduceSum", tokens, ints(1), keepdims=0), np.array(1))
        lengths = [count, net.op("Gather", net.op("Shape", tokens), np.array(1))]
        lengths = [net.op("Cast", length, to=6) for length in lengths]
    else:
        lengths = [net.declare("last", ["b"], np.int32), net.declare("total", [], np.int32)]
    h = net.op("SimplifiedLayerNormalization", x, np.ones(WIDTH, np.float32))
    widths = [(HEADS + 2 * PAIRS) * HEAD] if packed else [HEADS * HEAD, PAIRS * HEAD, PAIRS * HEAD]
    made: list[str | None] = [net.op("MatMul", h, net.normal(WIDTH, width)) for width in widths]
    angles = np.arange(rows or 0, dtype=np.float32)[:, None] / 10 ** np.arange(HEAD // 2, dtype=np.float32)
    waves = [] if rows is None else [np.cos(angles), np.sin(angles)]
    heads = {"num_heads": HEADS, "kv_num_heads": PAIRS, "do_rotary": int(rows is not None)}
    made += [None] * (3 - len(made))
    found = net.many("GroupQueryAttention", 3, *made, *past, *lengths, *waves, domain="com.microsoft", **heads)
    h = net.add(x, net.op("MatMul", found[0], net.normal(HEADS * HEAD, WIDTH)))
    h = net.relu(net.op("MatMul", h, net.normal(WIDTH, 48), name="up"))
    net.output(net.op("MatMul", h, net.normal(48, 20), name="down"), rank=3)
    net.output(*found[1:], rank=4)
    return net


@pytest.mark.parametrize("rows", [None, 64, 300, 4096])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_lengths_that_the_operator_takes(rows: int | None, mask: bool, packed: bool) -> None:
    proto = decoder(rows=rows, mask=mask, packed=packed).model()
    graph = build(load(proto))
    facts = infer(graph)
    assert not facts.refused and facts.shapes[graph.nodes[-1].inputs[0]] == (*facts.inputs["x"][:2], 48)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for case in cases(graph, facts):
        if not case.optional:
            session.run(None, case.feed)  # refuses lengths that contradict its shapes


@pytest.mark.parametrize(
    ("now", "before", "rows", "total"),
    [
        (6, 4, None, 10),  # what came before, and these
        (1, 0, None, 1),
        (6, 4, 10, 10),
        (6, 20, 16, 16),  # a cache with room for more
        (6, 4, 9, None),
        (20, 4, 16, None),
    ],
)
def test_tokens_now_and_before(now: int, before: int, rows: int | None, total: int | None) -> None:
    cache = Cache(now, before, rows)
    assert cache.total == total and (total is None or cache.takes(total))
    assert not cache.takes(now - 1) and not cache.takes(now + before + 1)


def test_what_runs_on_a_cache_is_proven(tmp_path: Path) -> None:
    result = onnxprune.sparsify(load(decoder(rows=64).model()), tmp_path / "o.onnx", sparsity=0.5)
    proof = result.sparsity.proof
    assert proof is not None and "seed 0" in proof.cases

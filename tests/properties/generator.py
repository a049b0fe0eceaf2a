"""Random valid networks: 3 to 12 steps, channels 1 to 12, all forms in which channels meet, split, move and end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto

from tests.properties.net import Net, Value
from tests.properties.steps_image import IMAGE_STEPS
from tests.properties.steps_other import SEQUENCE_STEPS, VECTOR_STEPS

Step = Callable[[Net, Value], "Value | None"]
STEPS: dict[int, dict[str, Step]] = {3: IMAGE_STEPS, 2: SEQUENCE_STEPS, 1: VECTOR_STEPS}
FIRST = {3: ("convolution", "grouped", "transposed"), 2: ("matmul", "heads"), 1: ("gemm", "gemm_columns")}


def build(seed: int, rank: int, steps: list[int], batch: int | str = "N", outputs: int = 1) -> tuple[ModelProto, Net]:
    """The network of these numbers: `steps` choose among the steps that the current value's rank offers."""
    net = Net(np.random.default_rng(seed), batch)
    value = start(net, rank)
    value = _step(net, value, FIRST[rank][steps[0] % len(FIRST[rank])]) or value
    for number in steps:
        table = list(STEPS[len(value.shape)])
        for offset in range(len(table)):
            found = _step(net, value, table[(number + offset) % len(table)])
            if found is not None:
                value = found
                break
    results = [finish(net, value)]
    inner = [v for v in net.values if v not in net.inputs and v not in results]
    if outputs > 1 and inner:
        results.append(finish(net, inner[int(net.rng.integers(len(inner)))]))
    return net.model(results), net


def _step(net: Net, value: Value, name: str) -> Value | None:
    found = STEPS[len(value.shape)][name](net, value)
    if found is not None:
        net.used.append(name)
    return found


def start(net: Net, rank: int) -> Value:
    """The input: an image, a sequence or a vector."""
    if rank == 3:
        return net.input(int(net.rng.integers(1, 4)), 4, 4)
    return net.input(3, int(net.rng.integers(2, 7))) if rank == 2 else net.input(int(net.rng.integers(2, 9)))


def finish(net: Net, value: Value) -> Value:
    """A last layer, so that what comes before may shrink (the graph's outputs may not)."""
    if len(value.shape) == 3 and net.rng.random() < 0.5:
        value = net.node("GlobalAveragePool", [value.name], (value.shape[0], 1, 1))
    if len(value.shape) == 3:
        value = net.node("Flatten", [value.name], (int(np.prod(value.shape)),), axis=1)
    weight = net.weight(value.shape[-1], 3, fan_in=value.shape[-1])
    return net.node("MatMul", [value.name, weight], (*value.shape[:-1], 3))


def networks(outputs: int = 2) -> st.SearchStrategy[tuple[ModelProto, Net]]:
    """Hypothesis strategy; failing examples shrink to few steps."""
    return st.builds(
        build,
        st.integers(0, 2**16),
        st.sampled_from([3, 3, 3, 2, 1]),
        st.lists(st.integers(0, 63), min_size=2, max_size=8),
        st.sampled_from(["N", "N", 2]),
        st.integers(1, outputs),
    )

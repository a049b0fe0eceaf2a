"""Files that lie about their weights are refused when they are loaded; nothing is read that is not theirs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from tests.sparse.layers import GRID
from tests.sparse.quantized import QUANTIZED
from tests.sparse.sessions import needs_library, pair, quantized_pair, session

RUNTIME_ERRORS = (ort.Fail, ort.InvalidArgument, ort.RuntimeException, ort.NotImplemented, ort.InvalidGraph)

pytestmark = needs_library


def lie(name: str, change: Callable[[ModelProto], None]) -> ModelProto:
    model = ModelProto()
    model.CopyFrom(pair(GRID[name])[0])
    change(model)
    return model


def tensor(model: ModelProto, ending: str) -> TensorProto:
    return next(entry for entry in model.graph.initializer if entry.name.endswith(ending))


def put(ending: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[ModelProto], None]:
    def run(model: ModelProto) -> None:
        entry = tensor(model, ending)
        entry.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(entry).copy()), entry.name))

    return run


def attribute(name: str, value: object) -> Callable[[ModelProto], None]:
    def run(model: ModelProto) -> None:
        node: NodeProto = next(node for node in model.graph.node if node.domain == "onnxprune")
        kept = [entry for entry in node.attribute if entry.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return run


def first_gap(value: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda gaps: np.concatenate([np.array([value], np.uint8), gaps[1:]])


HUGE = 1 << 40
LIES = {
    "gap of nothing": ("three", put("_gaps", first_gap(0)), "a gap of 0"),
    "past the end": ("three", put("_gaps", lambda g: np.full_like(g, 255)), "outside of the weight"),
    "too few values": ("three", put("_values", lambda v: v[:-1]), "values and gaps disagree"),
    "too many gaps": ("three", put("_gaps", lambda g: np.append(g, np.uint8(1))), "values and gaps disagree"),
    "no values": ("three", put("_values", lambda v: v[:0]), "values and gaps disagree"),
    "short bias": ("three", put("_bias", lambda b: b[:-1]), "bias must have"),
    "bias of two axes": ("three", put("_bias", lambda b: b.reshape(1, -1)), "bias must have"),
    "gaps of two axes": ("three", put("_gaps", lambda g: g.reshape(1, -1)), "one row of bytes"),
    "block of three": ("three", attribute("block", 3), "blocks of 1, 2, 4 or 8"),
    "negative block": ("three", attribute("block", -4), "blocks of 1, 2, 4 or 8"),
    "other block": ("three", attribute("block", 8), "values and gaps disagree"),
    "huge rows": ("three", attribute("weight_shape", [HUGE, 16, 3, 3]), "bad weight_shape"),
    "huge depth": ("three", attribute("weight_shape", [16, 1 << 23, 1 << 12, 1 << 12]), "too large"),
    "overflow": ("three", attribute("weight_shape", [1 << 24, 1 << 24, 1 << 24, 1 << 24]), "too large"),
    "no kernel": ("three", attribute("weight_shape", [16, 16]), "weight_shape must have"),
    "zero rows": ("three", attribute("weight_shape", [0, 16, 3, 3]), "bad weight_shape"),
    "zero stride": ("three", attribute("strides", [0, 1]), "bad stride"),
    "negative dilation": ("three", attribute("dilations", [1, -1]), "bad dilation"),
    "negative pads": ("three", attribute("pads", [0, 0, -1, 0]), "bad pads"),
    "huge pads": ("three", attribute("pads", [0, 0, HUGE, 0]), "bad pads"),
    "few pads": ("three", attribute("pads", [1, 1]), "do not fit weight_shape"),
    "no group": ("three", attribute("group", 0), "bad group"),
    "uneven group": ("three", attribute("group", 5), "bad group"),
    "block over groups": ("groups", attribute("group", 32), "reaches into another group"),
    "matrix of three": ("tokens", attribute("weight_shape", [96, 64, 1]), "must have 2 sizes"),
    "matrix too small": ("tokens", attribute("weight_shape", [96, 1]), "outside of the weight"),
    "negative matrix": ("tokens", attribute("weight_shape", [96, -64]), "bad shape"),
    "huge matrix": ("tokens", attribute("weight_shape", [96, HUGE]), "bad shape"),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_are_refused_at_load(name: str) -> None:
    case, change, message = LIES[name]
    with pytest.raises(RUNTIME_ERRORS, match=message):
        session(lie(case, change), library=True)


INTEGER_LIES = {
    "gap of nothing": ("three", put("_gaps", first_gap(0)), "a gap of 0"),
    "past the end": ("tokens", put("_gaps", lambda g: np.full_like(g, 255)), "outside of the weight"),
    "too few values": ("three", put("_values", lambda v: v[:-1]), "values and gaps disagree"),
    "short bias": ("three", put("_bias", lambda b: b[:-1]), "bias must have"),
    "short scale": ("tokens", put("_scale", lambda s: s[:-1]), "scale must have"),
    "block of eight": ("three", attribute("block", 8), "1, 2 or 4 rows"),
    "sums that overflow": ("tokens", attribute("weight_shape", [96, 1 << 20]), "bad shape"),
    "huge matrix": ("tokens", attribute("weight_shape", [96, (1 << 63) - 1]), "bad shape"),
    "no channels": ("three", attribute("weight_shape", [24, 0, 3, 3]), "bad weight_shape"),
    "groups": ("three", attribute("group", 2), "no groups of integers"),
    "scale of zero": ("three", put("ys", lambda s: s * 0), "bad scale"),
    "scale that is no number": ("three", put("xs", lambda s: s * np.nan), "bad scale"),
    "two zero points": ("three", put("xz", lambda z: np.array([z, z])), "zero point"),
}


@pytest.mark.parametrize("name", INTEGER_LIES)
def test_lies_about_integers_are_refused_at_load(name: str) -> None:
    case, change, message = INTEGER_LIES[name]
    model = ModelProto()
    model.CopyFrom(quantized_pair(QUANTIZED[case])[0])
    change(model)
    with pytest.raises(RUNTIME_ERRORS, match=message):
        session(model, library=True)


def test_weights_that_are_computed_are_refused() -> None:
    def become_input(model: ModelProto) -> None:
        entry = tensor(model, "_gaps")
        model.graph.input.append(helper.make_tensor_value_info(entry.name, TensorProto.UINT8, list(entry.dims)))
        model.graph.initializer.remove(entry)

    with pytest.raises(RUNTIME_ERRORS, match="must be an initializer"):
        session(lie("three", become_input), library=True)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("three", (1, 15, 28, 28), "number of input channels"),
        ("three", (1, 16, 28), "wrong rank"),
        ("stem", (1, 3, 0, 35), "smaller than the kernel"),
        ("tokens", (1, 128, 63), "last axis"),
        ("three strided", (2, 32, 15, 14), "another shape"),
    ],
)
def test_inputs_of_other_shapes_are_an_error_of_the_run(name: str, shape: tuple[int, ...], message: str) -> None:
    model = lie(name, lambda model: None)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.ClearField("shape")
    feed = GRID[name].feed()
    feed["x"] = np.zeros(shape, np.float32)
    if name == "three strided":
        feed["z"] = feed["z"][..., :-1]
    with pytest.raises(RUNTIME_ERRORS, match=message):
        session(model, library=True).run(None, feed)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_changed_bytes_give_a_result_or_an_error(data: st.DataObject) -> None:
    """Random gaps, shapes and attributes: whatever loads also runs. Of use with AddressSanitizer (make asan)."""
    name = data.draw(st.sampled_from(["three", "uneven blocks", "groups", "incomplete block", "odd", "one axis"]))
    model = lie(name, lambda model: None)
    small = st.integers(-1, 9)
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(st.sampled_from(["gaps", "weight_shape", "block", "strides", "pads", "dilations", "group"]))
        known = {entry.name: helper.get_attribute_value(entry) for entry in model.graph.node[0].attribute}
        if kind == "gaps":
            count = data.draw(st.integers(1, 4))
            places = [data.draw(st.integers(0, 9)) for _ in range(count)]
            values = [data.draw(st.integers(0, 255)) for _ in range(count)]

            def change(gaps: np.ndarray, places: list[int] = places, values: list[int] = values) -> np.ndarray:
                gaps[[place % len(gaps) for place in places]] = values
                return gaps

            put("_gaps", change)(model)
        elif isinstance(known.get(kind), list):
            values = list(known[kind])
            values[data.draw(st.integers(0, len(values) - 1))] = data.draw(small)
            attribute(kind, values)(model)
        elif kind in known:
            attribute(kind, data.draw(small))(model)
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        session(model, library=True, threads=2).run(None, GRID[name].feed())
    except RUNTIME_ERRORS as error:
        assert str(error)

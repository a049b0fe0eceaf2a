"""What the functions are called with: unknown names, wrong types and wrong values are said before anything is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxprune
from onnxprune.errors import UsageError
from onnxprune.options.checked import checked
from onnxprune.options.declare import Entry, declared
from onnxprune.options.others import BenchOptions
from onnxprune.options.shrinking import ShrinkOptions


def entry(name: str, options: Any = ShrinkOptions) -> Entry:
    return next(one for one in declared(options) if one.name == name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scope": "x"}, "--scope is local or global, found 'x'"),
        ({"repair": "scale"}, "--repair is auto, none, bias, merge, scale-shift, least-squares or reconstruct, found"),
        ({"emit": 3}, "--emit is operators, dense-zeros or sparse-initializers, found 3"),
        ({"ratio": "half"}, "--ratio is a number, found 'half'"),
        ({"ratio": True}, "--ratio is a number, found True"),
        ({"target": 0.5}, "--target is a text, found 0.5"),
        ({"samples": 2.5}, "--samples is a whole number, found 2.5"),
        ({"samples": 0}, "--samples must be at least 1, not 0"),
        ({"seed": -1}, "--seed must be at least 0, not -1"),
        ({"multiple_of": "x"}, "--multiple-of is a whole number or auto, found 'x'"),
        ({"multiple_of": 0}, "--multiple-of must be at least 1, not 0"),
        ({"include": [3]}, "--include is a list of texts, found (3,)"),
        ({"force": "yes"}, "--force is True or False, found 'yes'"),
        ({"report": 3}, "--report is a text or a path, found 3"),
        ({"metric": 3}, "--metric is a text or a function, found 3"),
        ({"progress": 3}, "--progress is a function or True or False, found 3"),
        ({"plan": "plan.json"}, "--plan is a Plan, found 'plan.json'"),
    ],
)
def test_wrong_values(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        onnxprune.shrink("there is no such file", **given)
    assert caught.value.message.startswith(message)


def test_a_near_name_is_proposed() -> None:
    with pytest.raises(UsageError) as caught:
        onnxprune.shrink("m.onnx", repair="least-square")
    assert caught.value.hint == "Did you mean 'least-squares'?"


def test_unknown_names_are_errors_of_python() -> None:
    with pytest.raises(
        TypeError, match=r"^shrink\(\) got an unexpected keyword argument 'ratoi'. Did you mean 'ratio'"
    ):
        onnxprune.shrink("m.onnx", ratoi=0.5)
    for call in (
        lambda: onnxprune.shrink(),
        lambda: onnxprune.shrink("a", "b", "c"),
        lambda: onnxprune.unpack(out="b"),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(TypeError, match="save_plan"):
        onnxprune.shrink("m.onnx", save_plan="p.json")  # of the command line alone


def test_values_become_plain() -> None:
    assert checked(entry("seed"), np.int64(3)) == 3 and type(checked(entry("seed"), np.int64(3))) is int
    assert type(checked(entry("ratio"), np.float32(0.5))) is float and checked(entry("ratio"), 0) == 0
    assert checked(entry("lock"), np.True_) is True
    assert checked(entry("include"), "stem*") == ("stem*",) == checked(entry("include"), ["stem*"])
    assert checked(entry("include"), (name for name in "ab")) == ("a", "b")
    assert checked(entry("report"), Path("r.html")) == Path("r.html")
    assert checked(entry("threads", BenchOptions), [1, np.int32(2)]) == (1, 2)
    assert checked(entry("shape", BenchOptions), {"x": 3}) == {"x": 3}
    assert checked(entry("data"), {"x": 1}) == {"x": 1}


def test_what_is_wrong_is_said_for_every_function() -> None:
    for function, arguments in (
        (onnxprune.sparsify, {"repair": "merge"}),
        (onnxprune.sweep, {"units": "rows"}),
        (onnxprune.bench, {"runs": 0}),
        (onnxprune.check, {"only": ["weight"]}),
        (onnxprune.pack, {"weights": "half"}),
        (onnxprune.unpack, {"force": 1}),
        (onnxprune.verify, {"threads": -1}),
        (onnxprune.inspect, {"units": "rows"}),
    ):
        needed = ("m.onnx", "n.onnx") if function is onnxprune.verify else ("m.onnx",)
        with pytest.raises(UsageError, match=f"--{next(iter(arguments))}"):
            function(*needed, **arguments)
    with pytest.raises(UsageError, match="--units"):
        onnxprune.why("m.onnx", "node", units="rows")

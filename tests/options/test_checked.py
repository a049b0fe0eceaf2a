"""What the functions are called with: unknown names, wrong types and wrong values are said before anything is done."""

from __future__ import annotations

import re
from fractions import Fraction
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

DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits.onnx"


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
        ({"seed": int}, "--seed is a whole number, found <class 'int'>"),
        ({"seed": np.array(3)}, "--seed is a whole number, found array(3)"),
        ({"samples": np.array([1, 2])}, "--samples is a whole number, found array([1, 2])"),
        ({"ratio": float}, "--ratio is a number, found <class 'float'>"),
        ({"ratio": np.array(0.5)}, "--ratio is a number, found array(0.5)"),
        ({"ratio": 10**400}, "--ratio is a number, found 1000"),
        ({"include": np.array("a")}, "--include is a list of texts, found array('a'"),
        ({"criterion": b"l1"}, "--criterion is a text, found b'l1'"),
        (
            {"data": True},
            "--data is a path, texts, a mapping of arrays, an array, a function or a Calibration, found True",
        ),
        ({"data": 0}, "--data is a path, texts"),
        ({"data": 1.5}, "--data is a path, texts"),
        ({"data": object()}, "--data is a path, texts"),
        ({"data": b"x"}, "--data is a path, texts"),
        ({"data": ("a", 1)}, "--data is a path, texts"),
        ({"data": []}, "--data is a path, texts"),
        ({"report": "\0"}, "--report holds a NUL character, which no path and no name has: '\\x00'"),
        ({"report": Path("a\0b")}, "--report holds a NUL character"),
        ({"data": "\0"}, "--data holds a NUL character"),
        ({"threads": 3_000_000_000}, "--threads must be at most 1024, not 3000000000"),
        ({"max_memory": "lots"}, "--max-memory is not a size: 'lots'"),
        ({"max_memory": 0}, "--max-memory must be more than nothing, found 0"),
    ],
)
def test_wrong_values(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        onnxprune.shrink("there is no such file", **given)
    assert caught.value.message.startswith(message)
    flag, _, rest = message.partition(" ")
    assert str(caught.value).startswith(f"{flag[2:].replace('-', '_')}= {rest}"), "as Python names it"


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
        with pytest.raises(UsageError, match=f"^{next(iter(arguments))}="):
            function(*needed, **arguments)
    with pytest.raises(UsageError, match="units="):
        onnxprune.why("m.onnx", "node", units="rows")


@pytest.mark.parametrize("wrong", [None, 3, True, [], int, np.array("m.onnx")])
def test_what_is_given_by_position(wrong: Any) -> None:
    model = re.escape("is a path or a Model of load, found ")
    for call, name in (
        (onnxprune.shrink, "model"),
        (onnxprune.sparsify, "model"),
        (onnxprune.sweep, "model"),
        (onnxprune.pack, "model"),
        (onnxprune.inspect, "model"),
        (onnxprune.bench, "models"),
        (lambda one: onnxprune.why(one, "node"), "model"),
        (lambda one: onnxprune.verify(one, "m.onnx"), "original"),
        (lambda one: onnxprune.verify("m.onnx", one), "pruned"),
        (lambda one: onnxprune.diff(one, "m.onnx"), "a"),
    ):
        with pytest.raises(UsageError, match=f"^{name} {model}"):
            call(wrong)
    for call, name in ((onnxprune.check, "models"), (onnxprune.unpack, "file")):
        with pytest.raises(UsageError, match=f"^{name} is a path, found "):
            call(wrong)
    with pytest.raises(UsageError, match=r"^node is a text, found"):
        onnxprune.why("m.onnx", wrong)
    if wrong is not None:
        for function in (onnxprune.shrink, onnxprune.sparsify, onnxprune.sweep, onnxprune.pack, onnxprune.unpack):
            with pytest.raises(UsageError, match=r"^out is a path or None, found"):
                function("m.onnx", wrong)
    with pytest.raises(UsageError, match="a model is a path, bytes or a ModelProto, found"):
        onnxprune.load(wrong)
    with pytest.raises(UsageError, match="model is a Model of load, found"):
        onnxprune.write(wrong, "m.onnx")


def test_no_path_has_nul() -> None:
    for call in (onnxprune.check, onnxprune.shrink, onnxprune.unpack, onnxprune.bench):
        with pytest.raises(UsageError, match="holds a NUL character"):
            call("\0")
    with pytest.raises(UsageError, match="out holds a NUL character"):
        onnxprune.shrink("m.onnx", "a\0")


def test_more_threads_than_there_can_be() -> None:
    for function in (onnxprune.shrink, onnxprune.sparsify, onnxprune.sweep, onnxprune.check, onnxprune.pack):
        with pytest.raises(UsageError, match="threads= must be at most 1024, not 3000000000"):
            function("m.onnx", threads=3_000_000_000)
    with pytest.raises(UsageError, match="threads= must be at most 1024"):
        onnxprune.verify("m.onnx", "n.onnx", threads=3_000_000_000)
    for threads in (3_000_000_000, "1,3000000000", [1, 3_000_000_000]):
        with pytest.raises(UsageError, match="threads= takes numbers up to 1024, found 3000000000"):
            onnxprune.bench(DIGITS, threads=threads)


def test_a_text_of_numpy_is_a_text() -> None:
    for name, text in (("data", "calib.npz"), ("report", "r.html"), ("scope", "local")):
        found = checked(entry(name), np.str_(text))
        assert type(found) is str and found == text
    assert onnxprune.shrink(DIGITS, None, dry_run=True, data=np.str_(DIGITS.with_name("digits_calib.npz"))).calibration


def test_numbers_that_are_no_float_of_python() -> None:
    assert checked(entry("ratio"), Fraction(1, 2)) == 0.5 and checked(entry("include"), np.array(["a"])) == ("a",)

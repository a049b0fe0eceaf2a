"""What users write as budgets, and what they are told if it is wrong or has no effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxprune.checking.budgets import KEYS, Budget, Limit, only
from onnxprune.checking.entries import budgets
from onnxprune.errors import UsageError
from onnxprune.options.config import Config, read


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(text: str, *models: str, **values: Any) -> list[Budget]:
    Path("onnxprune.toml").write_text(text)
    return budgets(models, values, read())


def given(**values: Any) -> Budget:
    (found,) = budgets(["m.onnx"], values, Config())
    return found


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("max_size", "10MB", Limit("size", 10_000_000)),
        ("max_size", "1.5KiB", Limit("size", 1536)),
        ("max_size", 800, Limit("size", 800)),
        ("max_params", "2M", Limit("params", 2_000_000)),
        ("max_params", 2e6, Limit("params", 2_000_000)),
        ("max_macs", "1.2 GMACs", Limit("macs", 1_200_000_000)),
        ("min_metric", -0.5, Limit("metric", -0.5)),
    ],
)
def test_amounts(key: str, value: Any, limit: Limit) -> None:
    assert given(**{key: value}).limits == (limit,)


def test_shares_of_a_baseline() -> None:
    found = given(max_size="50%", max_macs="110 %", max_latency_ratio="60%", baseline="b.onnx")
    assert found.limits == (Limit("size", 0.5, True), Limit("macs", 1.1, True), Limit("latency", 0.6))
    assert found.baseline == Path("b.onnx")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "there is no budget for 'm.onnx'"),
        ({"max_size": "10 apples"}, "max_size = '10 apples': not a size"),
        ({"max_size": True}, "max_size = True is neither a number nor a text"),
        ({"max_size": "-5%", "baseline": "b"}, "max_size = '-5%': it must be a share above 0"),
        ({"max_macs": "50%"}, "the budget for macs needs a baseline"),
        ({"max_latency_ratio": 0.5}, "the budget for latency needs a baseline"),
        ({"max_latency_ratio": 0, "baseline": "b"}, "it must be a ratio above 0"),
        ({"max_latency_ratio": float("nan"), "baseline": "b"}, "not a share"),
        ({"min_agreement": 1.5, "baseline": "b", "data": "d.npz"}, "it must be a share from 0 to 1"),
        ({"min_agreement": 0.9, "baseline": "b"}, "the budget for agreement needs data"),
        ({"min_metric": "high"}, "min_metric = 'high': not a number"),
        ({"max_drop": -1, "baseline": "b"}, "it must be a number from 0 on"),
        ({"max_size": 1, "baseline": "b"}, "the baseline has no effect"),
        ({"max_size": 1, "data": "d.npz"}, "the data has no effect"),
        ({"max_size": 1, "preprocess": "imagenet"}, "preprocess needs data"),
        ({"baseline": "b"}, "m.onnx has no budget"),
    ],
)
def test_what_is_wrong(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        given(**values)
    assert message in str(error.value)


def test_entries_of_a_file(here: Path) -> None:
    first, second = listed(
        "[[check.models]]\npath = 'a.onnx'\nmax-size = '1MB'\n"
        "[[check.models]]\npath = 'b.onnx'\nmin_agreement = 0.9\nbaseline = 'a.onnx'\ndata = ['x=x.npy', 'y=y.npy']\n"
    )
    assert (first.name, first.path, first.limits) == ("a.onnx", Path("a.onnx"), (Limit("size", 1_000_000),))
    assert second.baseline == Path("a.onnx") and second.data == ["x=x.npy", "y=y.npy"]


def test_paths_are_relative_to_the_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("onnxprune.toml").write_text(
        "[[check.models]]\npath = 'm/a.onnx'\nmax-error = 0.1\nbaseline = 'b.onnx'\ndata = ['x=x.npy', 'random']\n"
    )
    (here / "sub").mkdir()
    monkeypatch.chdir(here / "sub")
    (found,) = budgets([], {}, read())
    assert (found.name, found.path, found.baseline) == ("m/a.onnx", here / "m" / "a.onnx", here / "b.onnx")
    assert found.data == [f"x={here / 'x.npy'}", "random"]


def test_a_call_wins_over_the_entry_of_its_model() -> None:
    text = (
        "[[check.models]]\npath = 'a.onnx'\nmax-size = 1\nmax-params = 2\n[[check.models]]\npath = 'b.onnx'\nmax-size=3"
    )
    (found,) = listed(text, "./a.onnx", max_size="7")
    assert found.limits == (Limit("size", 7), Limit("params", 2)) and found.name == "a.onnx"
    (alone,) = listed(text, "b.onnx")
    assert alone.limits == (Limit("size", 3),)
    with pytest.raises(UsageError, match=r"no budget for 'c.onnx'; .* has a.onnx, b.onnx"):
        listed(text, "c.onnx")
    with pytest.raises(UsageError, match="max_size= is for the MODELs of the same call"):
        listed(text, max_size=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is nothing to check"),
        ("[check]\nmodels = 3", "is not a list of tables"),
        ("[check.models]\npath = 'a'", "is not a list of tables"),
        ("[[check.models]]\nmax-size = 1", "[check.models] 1 has no path"),
        ("[[check.models]]\npath = ''\nmax-size = 1", "path = '' is not a text"),
        ("[[check.models]]\npath = 3\nmax-size = 1", "path = 3 is not a text"),
        ("[[check.models]]\npath = 'a'\nmax-szie = 1", "Did you mean 'max-size'?"),
        ("[[check.models]]\npath = 'a'\nmetric = 'score.py:f'\nmin-metric = 1", "unknown key 'metric'"),
        ("[[check.models]]\npath = 'a'\nmax-size = 1\nmax_size = 2", "has a key twice"),
        ("[[check.models]]\npath = 'a'\nmax-size = [1]", "neither a number nor a text"),
        ("[[check.models]]\npath = 'a'\nmax-size = 'x'", "[check.models] 1: max-size = 'x': not a size"),
        ("[[check.models]]\npath = 'a'", "[check.models] 1 has no budget"),
        ("[[check.models]]\npath = 'a'\nmax-size = 1\n[[check.models]]\npath = './a'\nmax-size = 1", "same file as"),
        ("[[check.models]]\npath='a'\nmax-error=1\nbaseline='b'\ndata='d.py:f'", "'d.py:f' names code"),
        ("[[check.models]]\npath='a'\nmax-error=1\nbaseline='b'\ndata=[]", "is not a text or a list of texts"),
    ],
)
def test_malformed_entries(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        listed(text)
    assert message in str(error.value)


def test_only_some_kinds() -> None:
    found = [given(max_size=1, max_params=2), given(max_params=3)]
    assert [one.limits for one in only(found, ["size"])] == [(Limit("size", 1),)]
    assert only(found, []) == found
    with pytest.raises(UsageError, match="only='weight' is not a kind"):
        only(found, ["weight"])


def test_the_command_the_function_and_the_file_have_the_same_budgets() -> None:
    import inspect

    import onnxprune
    from onnxprune.cli.check import command
    from onnxprune.cli.options import _configurable

    options = {parameter.name for parameter in command.params}
    arguments = set(inspect.signature(onnxprune.check).parameters)
    assert set(KEYS) <= options and set(KEYS) <= arguments
    assert options - {"junit", "force", "format_"} == arguments - {"progress"}
    assert not set(_configurable(command)) & {*KEYS, "metric", "junit", "force"}, "these are in entries, or in no file"

"""The list of criteria, and its errors."""

from __future__ import annotations

import numpy as np
import pytest

from onnxprune.choose.score import FloatArray, Layer, Needs, criteria, criterion, get, layer_seed, registry
from onnxprune.errors import UsageError


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))


def test_the_list_is_stable_and_says_what_each_one_is() -> None:
    assert [entry.name for entry in criteria()] == [
        "bn-scale",
        "filter-sketch",
        "geometric-median",
        "l1",
        "l2",
        "random",
        "similarity",
    ]
    for entry in criteria():
        assert entry.needs is Needs.WEIGHTS
        assert entry.doc.endswith(".")
        assert len(entry.source) > 15


def test_what_needs_more_comes_later() -> None:
    @criterion("a-data-one", needs=Needs.DATA, source="a paper")
    def by_data(layer: Layer) -> FloatArray:
        """One line.

        Not this one.
        """
        return np.zeros(len(layer.filters))

    assert [entry.name for entry in criteria()][-1] == "a-data-one"
    assert get("a-data-one").doc == "One line."
    assert get("a-data-one").function is by_data
    assert by_data(Layer("x", np.ones((2, 1)))).tolist() == [0.0, 0.0]


def test_a_duplicate_is_an_error() -> None:
    with pytest.raises(ValueError, match="'l1' is registered twice"):
        criterion("l1", needs=Needs.WEIGHTS, source="me")(get("l2").function)


def test_a_criterion_without_docstring_is_an_error() -> None:
    def silent(layer: Layer) -> FloatArray:
        return np.zeros(len(layer.filters))

    with pytest.raises(ValueError, match="no docstring"):
        criterion("silent", needs=Needs.WEIGHTS, source="me")(silent)


def test_a_criterion_that_gives_the_wrong_shape_is_our_bug() -> None:
    @criterion("wrong", needs=Needs.WEIGHTS, source="me")
    def wrong(layer: Layer) -> FloatArray:
        """Wrong."""
        return np.zeros(len(layer.filters) + 1)

    with pytest.raises(ValueError, match="'wrong' gave"):
        get("wrong")(Layer("x", np.ones((2, 3))))


@pytest.mark.parametrize(
    ("typed", "meant"), [("geometric_median", "geometric-median"), ("L1", "l1"), ("randon", "random")]
)
def test_an_unknown_name_gets_a_guess_and_the_list(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=rf"did you mean {meant}\?") as caught:
        get(typed)
    assert "known: bn-scale, filter-sketch" in str(caught.value)


def test_a_name_like_no_other_gets_the_list_only() -> None:
    with pytest.raises(UsageError, match="unknown criterion 'qqqqqq'") as caught:
        get("qqqqqq")
    assert "did you mean" not in str(caught.value)


def test_layers_are_checked() -> None:
    with pytest.raises(ValueError, match=r"must be \(n, features\)"):
        Layer("x", np.ones(3))
    with pytest.raises(ValueError, match="there are 2 filters"):
        Layer("x", np.ones((2, 3)), scale=np.ones(3))


def test_layer_seeds_differ_by_run_and_name_and_never_change() -> None:
    assert layer_seed(0, "conv1") == layer_seed(0, "conv1") == 883957532632426625
    assert len({layer_seed(run, name) for run in range(3) for name in ("a", "b")}) == 6
    np.random.default_rng(layer_seed(2**40, "x"))

"""Outputs of two files that compute the same, but for ties."""

from __future__ import annotations

import numpy as np
import pytest

from onnxprune.errors import VerificationError
from onnxprune.proof.grids.outputs import Outputs, apart
from onnxprune.proof.inputs import Case

CASE = Case("samples", {}, False)
X = np.random.default_rng(0).standard_normal((4, 25)).astype(np.float32)


def test_what_differs_is_counted() -> None:
    other = X.copy()
    other[1, :3] += np.float32(0.01)
    found = Outputs()
    found.add({"y": X, "n": np.arange(3)}, {"y": other, "n": np.arange(3)}, CASE, "differs")
    assert (found.numbers, found.differing) == (103, 3)
    assert found.farthest == pytest.approx(0.01 * np.sqrt(0.03) / np.sqrt(np.mean(X**2)), rel=1e-3)


def test_nothing_is_equal_to_nothing() -> None:
    x = np.where(X > 1, np.nan, X).astype(np.float32)
    found = Outputs()
    found.add({"y": x}, {"y": x.copy()}, CASE, "differs")
    assert not found.differing


@pytest.mark.parametrize(
    "other", [1.2 * X, X[:, :-1], -X, np.full_like(X, np.nan)], ids=["far", "shape", "sign", "nan"]
)
def test_what_is_far_is_refused(other: np.ndarray) -> None:
    with pytest.raises(VerificationError, match="output 'y' is another, on the samples"):
        Outputs().add({"y": X}, {"y": other.astype(np.float32)}, CASE, "is another")


def test_zeros_are_equal_to_zeros_alone() -> None:
    assert apart(0 * X, 0 * X) == 0.0
    assert apart(0 * X, X) == np.inf

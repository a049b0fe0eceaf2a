"""Equations of Einsum, written out."""

from __future__ import annotations

import numpy as np
import pytest

from onnxprune.model.einsum import written_out


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ba", [(2, 3)]),
        (" ...i, ij -> ...j ", [(2, 5, 3), (3, 4)]),
        ("...i,ij", [(2, 5, 3), (3, 4)]),
        ("b...i,...ij->b...j", [(2, 5, 3), (5, 3, 4)]),
        ("...ij,...jk->...ik", [(6, 2, 3), (5, 6, 3, 4)]),
        ("a...,a...->a", [(2,), (2,)]),
        ("...ii->...i", [(2, 3, 3)]),
        ("ii", [(3, 3)]),
        ("i->", [(3,)]),
        ("Ab,aB->AB", [(2, 3), (4, 5)]),
    ],
)
def test_numpy_reads_the_same(equation: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [np.random.default_rng(k).standard_normal(shape) for k, shape in enumerate(shapes)]
    terms, right = written_out(equation, [array.ndim for array in arrays])
    assert [len(term) for term in terms] == [array.ndim for array in arrays]
    found, expected = np.einsum(f"{','.join(terms)}->{right}", *arrays), np.einsum(equation, *arrays)
    np.testing.assert_allclose(found, expected)
    assert found.shape == expected.shape


@pytest.mark.parametrize(
    ("equation", "ranks", "reason"),
    [
        ("bi,ij->bj", [3, 2], "does not fit the ranks of its inputs"),
        ("...bij,ij->bj", [2, 2], "does not fit the ranks of its inputs"),
        ("bsi->bs", [3, 2], "is for 1 inputs, and it has 2"),
        ("bs1,1j->bsj", [3, 2], "has other signs than letters"),
        ("....i->i", [3], "has other signs than letters"),
        ("...i,ij->j", [3, 2], "leaves out its ellipsis on the right, which no runtime takes"),
        ("bsi,ij->bsjj", [3, 2], "gives an index twice, or one that no input has"),
        ("bsi->bsk", [3], "gives an index twice, or one that no input has"),
        ("", [], "is for 1 inputs, and it has 0"),
    ],
)
def test_what_does_not_fit_says_why(equation: str, ranks: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        written_out(equation, ranks)

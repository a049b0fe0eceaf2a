"""Gemm and MatMul against finite differences: every form of transposition, broadcasting and vectors."""

from __future__ import annotations

import pytest
from grad_support import N, check, draw, reverse


@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("opset", [7, 11, 17])
def test_gemm(trans_a: int, trans_b: int, opset: int) -> None:
    feeds = {"a": draw(0, *((3, 2) if trans_a else (2, 3))), "b": draw(1, *((4, 3) if trans_b else (3, 4)))}
    feeds["c"] = draw(2, 4)
    nodes = [N("Gemm", ["a", "b", "c"], ["y"], transA=trans_a, transB=trans_b, alpha=0.5, beta=2.0)]
    check(nodes, feeds, ["a", "b", "c"], opset=opset)


@pytest.mark.parametrize("bias", [(1,), (4,), (2, 1), (1, 4), (2, 4), ()])
def test_gemm_bias(bias: tuple[int, ...]) -> None:
    feeds = {"a": draw(0, 2, 3), "b": draw(1, 3, 4), "c": draw(2, *bias)}
    check([N("Gemm", ["a", "b", "c"], ["y"])], feeds, ["a", "b", "c"])


def test_gemm_without_bias() -> None:
    check([N("Gemm", ["a", "b"], ["y"])], {"a": draw(0, 2, 3), "b": draw(1, 3, 4)}, ["a", "b"])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3), (3, 4)),
        ((2, 2, 3), (3, 4)),
        ((2, 3, 2, 3), (3, 2)),
        ((2, 2, 3), (2, 3, 4)),
        ((2, 3), (2, 3, 4)),
        ((2, 1, 2, 3), (1, 2, 3, 2)),
        ((1, 2, 3), (4, 3, 2)),
        ((3,), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((2, 2, 3), (3,)),
        ((3,), (2, 3, 4)),
    ],
)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    check([N("MatMul", ["a", "b"], ["y"])], {"a": draw(0, *a), "b": draw(1, *b)}, ["a", "b"])


@pytest.mark.parametrize(
    ("equation", "a", "b"),
    [
        ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
        ("bhqd, bhkd -> bhqk", (1, 2, 2, 3), (1, 2, 3, 3)),
        ("nc,c->n", (2, 3), (3,)),
        ("...ij,jk->...ik", (2, 2), (2, 2)),
        ("...ij,...jk->...ik", (2, 2, 3), (2, 3, 2)),
        ("b...,b...->b...", (2, 2, 3), (2, 2, 3)),
        ("ij,jk", (2, 2), (2, 2)),
    ],
)
def test_einsum(equation: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    check([N("Einsum", ["a", "b"], ["y"], equation=equation)], {"a": draw(0, *a), "b": draw(1, *b)}, ["a", "b"])


@pytest.mark.parametrize("equation", ["ij,jk->i", "ii,jk->jk", "ii,jk", "jj,jk->k"])
def test_einsum_without_a_rule(equation: str) -> None:
    feeds = {"a": draw(0, 2, 2), "b": draw(1, 2, 2)}
    found, _, _ = reverse([N("Einsum", ["a", "b"], ["y"], equation=equation)], feeds, {}, ["b"], 17)
    assert "equation" in found.frozen["b"]

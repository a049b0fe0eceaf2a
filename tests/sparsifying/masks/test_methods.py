"""Each mask method against what it means, written out by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxprune.errors import UsageError
from onnxprune.repair.rectified import Clipping
from onnxprune.sparsifying.masks import METHODS, NEED_DATA, get
from onnxprune.sparsifying.masks import obs as surgeon
from onnxprune.sparsifying.masks.net_trim import relaxed
from onnxprune.sparsifying.masks.problem import Choice, Problem
from onnxprune.sparsifying.masks.quadratic import Quadratic, aimed
from onnxprune.sparsifying.masks.refit import error, judged, refitted
from onnxprune.sparsifying.masks.registry import mask_method
from tests.sparsifying.masks.problems import PATTERNS, blocks, fulfils, problem

FloatArray = NDArray[np.float64]


def value(quadratic: Quadratic, weight: FloatArray) -> float:
    """w'Hw - 2 w'r, summed over outputs."""
    part = weight[:, : len(quadratic.hessian)]
    return float(np.einsum("ni,ij,nj->", part, quadratic.hessian, part) - 2 * (part * quadratic.right).sum())


def least(quadratic: Quadratic, keep: NDArray[np.bool_]) -> FloatArray:
    """Least squares of every output by itself."""
    result = quadratic.start.copy()
    result[:, :-1][~keep] = 0.0
    for row, stays in enumerate(keep):
        support = np.flatnonzero(np.append(stays, True)[: len(quadratic.hessian)])
        result[row, support] = np.linalg.solve(
            quadratic.hessian[np.ix_(support, support)], quadratic.right[row, support]
        )
    return result


def test_methods_by_name() -> None:
    assert list(METHODS) == ["magnitude", "net-trim", "obs", "wanda"] and all(METHODS.values())
    assert set(METHODS) - NEED_DATA == {"magnitude"}
    with pytest.raises(UsageError, match=r"(?s)did you mean wanda\?.*known: magnitude, net-trim, obs, wanda"):
        get("wamda")


@pytest.mark.parametrize("name", list(METHODS))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_method_fulfils_every_pattern(name: str, pattern: str) -> None:
    asked = problem(6, 7, 3, pattern)
    share = asked.layout.pattern.share or 0.6
    first, second = get(name)(asked, share), get(name)(asked, share)
    assert fulfils(asked.layout, first.keep) and np.array_equal(first.keep, second.keep)
    if not asked.layout.pattern.of:
        slack = asked.layout.pattern.size * (len(asked.layout.row_starts) if name == "wanda" else 1) / 2
        assert abs((~first.keep).sum() - share * first.keep.size) <= slack
    if first.weight is not None:
        assert not first.weight[:, :-1][~first.keep].any()


def test_magnitude_and_wanda() -> None:
    asked = problem(5, 8)
    assert asked.evidence is not None and asked.evidence.rows is not None
    sizes = np.abs(asked.weight[:, :-1])
    keep = get("magnitude")(asked, 0.5).keep
    assert keep.sum() == 20 and sizes[keep].min() > sizes[~keep].max()
    norms = np.linalg.norm(asked.evidence.rows.x[:, :-1], axis=0)
    keep = get("wanda")(asked, 0.5).keep
    for row, stays in zip(sizes * norms, keep, strict=True):
        assert stays.sum() == 4 and row[stays].min() > row[~stays].max(), "of every output the same number"


@pytest.mark.parametrize("biased", [True, False])
def test_the_least_squares_of_a_mask(biased: bool) -> None:
    asked = problem(4, 6, biased=biased)
    keep = np.random.default_rng(1).random((4, 6)) < 0.5
    keep[2] = False
    quadratic = Quadratic.of(asked, 1e-2)
    found = quadratic.fitted(keep)
    np.testing.assert_allclose(found, least(quadratic, keep), rtol=1e-8, atol=1e-10)
    assert biased or np.array_equal(found[:, -1], asked.weight[:, -1]), "a bias that is not there stays so"


@pytest.mark.parametrize("pattern", ["unstructured", "2x1", "1x3", "3x2"])
@pytest.mark.parametrize("biased", [True, False])
def test_what_a_block_costs_if_all_others_follow(pattern: str, biased: bool) -> None:
    asked = problem(5, 6, pattern=pattern, biased=biased)
    quadratic, layout = Quadratic.of(asked, 1e-2), asked.layout
    keep = asked.allowed.copy()
    for rows, columns in blocks(layout)[:2]:
        keep[rows, columns] = False
    costs = layout.sums(surgeon.losses(quadratic, layout, keep)).ravel()
    before = value(quadratic, least(quadratic, keep))
    for cost, (rows, columns) in list(zip(costs, blocks(layout), strict=True))[2:]:
        without = keep.copy()
        without[rows, columns] = False
        assert cost == pytest.approx(value(quadratic, least(quadratic, without)) - before, rel=1e-6)


def test_one_weight_a_round_is_greedy_surgery() -> None:
    asked = problem(3, 5)
    quadratic, keep = Quadratic.of(asked, 1e-2), np.ones((3, 5), bool)
    for _ in range(8):
        costs = {}
        for row, column in zip(*np.nonzero(keep), strict=True):
            without = keep.copy()
            without[row, column] = False
            costs[row, column] = value(quadratic, least(quadratic, without))
        keep[min(costs, key=lambda place: costs[place])] = False
    found = surgeon.in_rounds(quadratic, asked.layout, 8 / 15, asked.allowed, 8)
    assert np.array_equal(found.keep, keep)
    np.testing.assert_allclose(found.weight, least(quadratic, keep), rtol=1e-7, atol=1e-9)


def test_obs_is_near_the_best_mask_of_all() -> None:
    asked = problem(1, 8, seed=2)
    quadratic = Quadratic.of(asked, 1e-2)
    masks = [np.isin(np.arange(8), c)[None] for c in itertools.combinations(range(8), 4)]
    best = min(value(quadratic, least(quadratic, mask)) for mask in masks)
    full = value(quadratic, least(quadratic, asked.allowed))
    choice = get("obs")(asked, 0.5)
    assert choice.weight is not None
    naive = value(quadratic, least(quadratic, get("magnitude")(asked, 0.5).keep))
    found = value(quadratic, choice.weight)
    assert best - full <= (found - full) * (1 + 1e-9) <= 1.2 * (best - full) < naive - full


@pytest.mark.parametrize("pattern", ["unstructured", "2x1", "2:4", "1x4"])
def test_a_sweep_settles_column_by_column(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surgeon, "CHUNK", 4)
    asked = problem(4, 12, pattern=pattern)
    quadratic = Quadratic.of(asked, 1e-2)
    found = surgeon.swept(quadratic, asked.layout, 0.5, asked.allowed)
    assert found.weight is not None and fulfils(asked.layout, found.keep)
    weight, inverse = least(quadratic, asked.allowed), np.linalg.inv(quadratic.hessian)
    for column in range(12):  # by hand: what leaves moves the columns behind it, then its row of the inverse is gone
        moved = np.where(found.keep[:, column], 0.0, weight[:, column]) / inverse[0, 0]
        weight[:, column:] -= moved[:, None] * inverse[0]
        inverse = inverse[1:, 1:] - np.outer(inverse[1:, 0], inverse[0, 1:]) / inverse[0, 0]
    np.testing.assert_allclose(found.weight, weight, rtol=1e-6, atol=1e-8)
    for start in range(0, 12, 4):
        if not asked.layout.pattern.of:
            assert found.keep[:, start : start + 4].sum() == 8, "every chunk loses the same share"


def test_large_layers_are_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = problem(4, 12)
    by_rounds = get("obs")(asked, 0.5)
    assert surgeon.rounds(asked) == surgeon.ROUNDS
    monkeypatch.setattr(surgeon, "BUDGET", 0.0)
    assert surgeon.rounds(asked) == 0
    by_sweep, quadratic = get("obs")(asked, 0.5), Quadratic.of(asked, 1e-2)
    assert by_rounds.weight is not None and by_sweep.weight is not None
    assert value(quadratic, by_rounds.weight) <= value(quadratic, by_sweep.weight)
    assert error(asked, refitted(asked, by_sweep)) <= error(asked, by_sweep.weight)


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    asked = problem(4, 6)
    assert asked.evidence is not None
    dead = asked.evidence.fit
    dead.gram[:3], dead.gram[:, :3], dead.cross[:3] = 0.0, 0.0, 0.0
    for name in METHODS:
        choice = get(name)(asked, 0.5)
        assert choice.keep.sum() == 12 and np.isfinite(refitted(asked, choice)).all()
    assert not get("obs")(asked, 0.5).keep[:, :3].any(), "they cost nothing"


@pytest.mark.parametrize("name", list(METHODS))
def test_a_layer_that_gets_nothing_is_masked_all_the_same(name: str) -> None:
    asked = problem(4, 6)
    assert asked.evidence is not None
    for moments in (asked.evidence.fit, asked.evidence.held_out):
        moments.gram[:-1], moments.gram[:, :-1], moments.cross[:-1] = 0.0, 0.0, 0.0
    choice = get(name)(asked, 0.5)
    assert choice.keep.sum() == 12 and np.isfinite(refitted(asked, choice)).all()


def test_net_trim_solves_the_lasso() -> None:
    """Where W is not zero the gradient of the error is -lambda sign(W), elsewhere at most lambda."""
    asked = problem(3, 8)
    keep, weight, quadratic = relaxed(asked, 0.5, turns=1, iterations=800)
    gradient = (weight @ quadratic.hessian - quadratic.right)[:, :-1]
    price = np.abs(gradient[keep]).mean()
    np.testing.assert_allclose(gradient[keep], -price * np.sign(weight[:, :-1][keep]), rtol=1e-3)
    assert np.abs(gradient[~keep]).max() <= price * (1 + 1e-3)
    assert keep.sum() == 12
    np.testing.assert_allclose((weight @ quadratic.hessian - quadratic.right)[:, -1], 0.0, atol=1e-8)


def test_net_trim_looks_behind_the_activation() -> None:
    relu = Clipping(0.0, np.inf)
    asked = problem(6, 10, clipping=relu, seed=3)
    assert asked.evidence is not None and asked.evidence.rows is not None
    rows, start = asked.evidence.rows, asked.weight + 0.3
    nearest = aimed(Quadratic.of(asked, 0.0), asked.evidence, start)
    prediction = rows.x @ start.T.astype(np.float32)
    goal = np.where(rows.t <= 0, np.minimum(prediction, 0), rows.t)
    np.testing.assert_allclose(nearest.right * len(goal), goal.T @ rows.x, rtol=1e-4, atol=0.05)
    choice = get("net-trim")(asked, 0.6)
    blind = get("net-trim")(replace(asked, evidence=replace(asked.evidence, clipping=None)), 0.6)
    assert choice.weight is not None and blind.weight is not None
    assert judged(asked, choice.weight) < judged(asked, blind.weight)


def test_a_refit_is_never_worse_on_held_out_samples() -> None:
    asked = problem(6, 10, positions=8)  # fewer than weights: nothing can be learnt of them
    choice = get("magnitude")(asked, 0.5)
    bare = np.where(np.pad(choice.keep, ((0, 0), (0, 1)), constant_values=True), asked.weight, 0.0)
    found = refitted(asked, choice)
    assert error(asked, found) <= error(asked, bare)
    assert not found[:, :-1][~choice.keep].any()


def test_a_method_that_breaks_its_word_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Problem = problem(2, 3)
    wrong = replace(get("magnitude"), function=lambda p, s: replace(get("magnitude")(p, s), weight=p.weight))
    with pytest.raises(ValueError, match="gave weights that its mask removes"):
        wrong(asked, 0.5)


def test_a_method_has_a_name_of_its_own_and_a_docstring() -> None:
    with pytest.raises(ValueError, match="mask method 'obs' is registered twice"):
        mask_method("obs", source="me")(get("obs").function)
    with pytest.raises(ValueError, match="mask method 'silent' has no docstring"):
        mask_method("silent", source="me")(lambda problem, share: Choice(problem.allowed))

"""What holds for every consumer criterion, and the registry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import consumer_of, random_consumer, random_inputs, renumbered
from onnxprune.choose.score.consumers import Consumer, Removal, consumer_criterion, criteria, get
from onnxprune.errors import ModelError, UsageError

NAMES = [entry.name for entry in criteria()]
every = pytest.mark.parametrize("name", NAMES)


def test_the_names() -> None:
    assert NAMES == ["lasso", "obd-output", "obs", "thinet", "wanda"]
    assert all(entry.source and entry.doc for entry in criteria())


@every
@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 12), b=st.integers(1, 4), outputs=st.integers(1, 5), seed=st.integers(0, 999), two=st.booleans()
)
def test_order_errors_and_names_of_units(name: str, n: int, b: int, outputs: int, seed: int, two: bool) -> None:
    consumers = [random_consumer(n, b, outputs, seed, extra=seed % 3, bias=bool(seed % 2))]
    consumers += [random_consumer(n, 1, 2, seed + 1)] if two else []
    removal = get(name)(consumers, n)
    assert sorted(removal.order.tolist()) == list(range(n))
    assert removal.errors[0] == 0 and (np.diff(removal.errors) >= 0).all()
    assert np.argsort(removal.scores()).tolist() == removal.order.tolist()
    permutation = np.random.default_rng(seed).permutation(n)
    other = get(name)([renumbered(c, permutation) for c in consumers], n)
    np.testing.assert_allclose(other.errors, removal.errors, rtol=1e-6, atol=1e-9)
    if name != "lasso":  # several that vanish at one price leave by index
        assert other.order.tolist() == permutation[removal.order].tolist()


@every
def test_inputs_stay_as_they_are_and_runs_repeat(name: str) -> None:
    consumer = random_consumer(8, 3, 4, 0)
    before = [a.copy() for a in (consumer.gram, consumer.cross, consumer.weight, consumer.unit)]
    first, second = get(name)([consumer], 8), get(name)([consumer], 8)
    assert first.order.tobytes() == second.order.tobytes() and first.errors.tobytes() == second.errors.tobytes()
    for old, new in zip(before, (consumer.gram, consumer.cross, consumer.weight, consumer.unit), strict=True):
        np.testing.assert_array_equal(old, new)


@every
def test_dead_units_leave_first_and_for_nothing(name: str) -> None:
    x, unit = random_inputs(7, 2, 0, 1)
    x[:, [2, 3, 10, 11]] = 0.0  # units 1 and 5
    removal = get(name)([consumer_of(x, np.random.default_rng(0).standard_normal((15, 3)), unit)], 7)
    assert removal.order[:2].tolist() == [5, 1]
    assert removal.errors[2] < 1e-12 < removal.errors[3]


@every
def test_units_that_nobody_reads_leave_first(name: str) -> None:
    x, unit = random_inputs(5, 2, 0, 2)
    x[:, 2:4] = 0.0  # a dead unit comes after them
    weight = np.random.default_rng(0).standard_normal((11, 3))
    removal = get(name)([consumer_of(x, weight, [u + 1 if u >= 0 else -1 for u in unit])], 7)
    assert removal.order[:3].tolist() == [6, 0, 2]
    assert removal.errors[:3].tolist() == [0, 0, 0]
    assert get(name)([], 3).order.tolist() == [2, 1, 0]
    assert get(name)([], 0).errors.tolist() == [0]


@every
def test_of_equal_units_the_highest_index_leaves_first(name: str) -> None:
    """Inputs that are independent of each other and equally strong, with equal weights."""
    consumer = Consumer("layer", np.eye(6), np.ones((6, 2)), np.ones((6, 2)), np.arange(6), 12.0)
    assert get(name)([consumer], 6).order.tolist() == [5, 4, 3, 2, 1, 0]


@every
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 999))
def test_blocks_lose_in_turn(name: str, sizes: list[int], seed: int) -> None:
    blocks = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)) * 3, sizes))
    removal = get(name)([random_consumer(len(blocks), 2, 3, seed)], len(blocks), blocks=blocks)
    lost = {int(block): 0 for block in blocks}
    for unit in removal.order:
        open_blocks = [b for b in lost if lost[b] < int((blocks == b).sum())]
        assert lost[int(blocks[unit])] == min(lost[b] for b in open_blocks)
        lost[int(blocks[unit])] += 1


@every
def test_within_the_turn_the_cheapest_leaves(name: str) -> None:
    consumer = random_consumer(10, 2, 3, 3)
    free, halves = get(name)([consumer], 10), get(name)([consumer], 10, blocks=np.arange(10) % 2)
    assert halves.order[0] == free.order[0]
    other = [u for u in free.order if u % 2 != free.order[0] % 2]
    if name in ("lasso", "obd-output", "wanda"):
        assert halves.order[1] == other[0]
        assert [u for u in halves.order if u % 2] == [u for u in free.order if u % 2]


@every
def test_the_power_weighs_the_consumers(name: str) -> None:
    """Errors are relative: a layer in other units of measurement counts the same."""
    if name == "wanda":
        pytest.skip("its scores are sums of absolute weights")
    first, second = random_consumer(8, 2, 3, 4), random_consumer(8, 1, 3, 5)
    scaled = Consumer("scaled", second.gram, second.cross * 100, second.weight * 100, second.unit, second.power * 1e4)
    one, other = get(name)([first, second], 8), get(name)([first, scaled], 8)
    assert one.order.tolist() == other.order.tolist()
    np.testing.assert_allclose(one.errors, other.errors, rtol=1e-6)


@every
def test_layers_without_power_have_no_say(name: str) -> None:
    dead = Consumer("dead", np.zeros((8, 8)), np.zeros((8, 2)), np.ones((8, 2)), np.arange(8), 0.0)
    assert get(name)([dead], 8).errors.tolist() == [0.0] * 9
    live = random_consumer(8, 1, 3, 6)
    assert get(name)([dead, live], 8).order.tolist() == get(name)([live], 8).order.tolist()


@every
def test_a_constant_output_is_measured_by_its_size(name: str) -> None:
    constant = Consumer("constant", np.ones((2, 2)), np.ones((2, 1)), np.full((2, 1), 0.5), np.arange(2), 1e-17)
    assert 0.5 <= get(name)([constant], 2).errors[-1] < 2.0


def test_what_is_not_finite_is_named() -> None:
    consumer = random_consumer(4, 1, 2, 7)
    consumer.gram[1, 1] = np.inf
    with pytest.raises(ModelError, match="the gram of 'layer' holds NaN or infinity"):
        get("obs")([consumer], 4)


def test_wrong_shapes_and_units() -> None:
    consumer = random_consumer(4, 1, 2, 8)
    with pytest.raises(ValueError, match="cross of 'layer'"):
        Consumer("layer", consumer.gram, consumer.cross[:, :1], consumer.weight, consumer.unit, 1.0)
    with pytest.raises(ValueError, match=r"not in -1\.\.2"):
        get("obs")([consumer], 3)
    with pytest.raises(ValueError, match="4 units"):
        get("obs")([consumer], 4, blocks=np.zeros(3, np.int64))


def test_registry() -> None:
    with pytest.raises(UsageError, match="unknown criterion 'obds'") as caught:
        get("obds")
    assert "did you mean obs?" in str(caught.value) and "thinet" in str(caught.value)

    def undocumented(*_: object, **__: object) -> Removal:
        raise AssertionError

    with pytest.raises(ValueError, match="no docstring"):
        consumer_criterion("new", source="")(undocumented)
    with pytest.raises(ValueError, match="registered twice"):
        consumer_criterion("obs", source="")(undocumented)

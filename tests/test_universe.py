"""The experts chosen are those of the plain greedy loop, and no better set lies above the bound."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from routoo_core.errors import ConfigurationError
from routoo_core.universe.chance import coverage_without_luck, estimated_guess_rate
from routoo_core.universe.observed import ObservedScores
from routoo_core.universe.selection import select_universe

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 7))
BINARY = arrays(np.float64, SHAPES, elements=st.sampled_from([0.0, 1.0, np.nan]))
LEVELS = arrays(np.float64, SHAPES, elements=st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0, np.nan]))


def names(scores):
    return tuple(f"e{i}" for i in range(scores.shape[1]))


def coverage(scores, chosen):
    """Eq. 2 as printed; a missing pair is worth nothing."""
    known = np.nan_to_num(scores)
    return known[:, list(chosen)].max(axis=1).mean() if chosen else 0.0


def naive(scores, size, first=(), price=None):
    """Algorithm 1 as printed, equals to the cheaper."""
    chosen, price = list(first), price or {}
    while len(chosen) < size:
        rest = [m for m in range(scores.shape[1]) if m not in chosen]
        values = [(round(coverage(scores, [*chosen, m]), 9), -price.get(m, 0), -m) for m in rest]
        if not values or max(values)[0] <= round(coverage(scores, chosen), 9):
            break
        chosen.append(-max(values)[2])
    return chosen


@settings(max_examples=200, deadline=None)
@given(st.one_of(BINARY, LEVELS), st.integers(1, 4), st.booleans())
def test_the_choice_is_that_of_the_plain_loop_and_its_bound_holds(scores, size, forced):
    first = [scores.shape[1] - 1] if forced else []
    price = {m: float(m % 2) for m in range(scores.shape[1])}
    prices = {f"e{m}": usd for m, usd in price.items()}
    found = select_universe(
        ObservedScores.from_scores(scores, names(scores)), size, [f"e{m}" for m in first], prices
    )
    expected = naive(scores, size, first, price)
    assert found.experts == tuple(f"e{m}" for m in expected)
    assert found.coverage == pytest.approx(
        [coverage(scores, expected[: i + 1]) for i in range(len(expected))]
    )
    assert np.cumsum(found.gains) == pytest.approx(found.coverage)
    without = [
        coverage(scores, expected) - coverage(scores, [m for m in expected if m != e])
        for e in expected
    ]
    assert found.alone == pytest.approx(without)
    sets = [
        c
        for c in combinations(range(scores.shape[1]), min(size, scores.shape[1]))
        if set(first) <= set(c)
    ]
    assert max(coverage(scores, c) for c in sets) <= found.bound + 1e-9
    assert found.pool_coverage == pytest.approx(coverage(scores, range(scores.shape[1])))


def test_it_stops_early_when_nobody_adds_anything():
    scores = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]], dtype=float)
    found = select_universe(ObservedScores.from_scores(scores, ("a", "b", "c")), 3)
    assert found.experts == ("a", "b")
    assert (found.bound, found.gap) == (pytest.approx(2 / 3), 0)


def test_nobody_is_chosen_where_nobody_is_right():
    observed = ObservedScores.from_scores(np.zeros((5, 4)), tuple("abcd"))
    found = select_universe(observed, 2)
    assert (found.experts, found.bound, found.gap) == ((), 0, 0)
    assert coverage_without_luck(observed, found.experts, np.full(5, 0.25)) == ()


def test_equals_go_to_the_cheaper_and_an_expert_without_a_price_comes_last():
    observed = ObservedScores.from_scores(np.ones((4, 3)), ("a", "b", "c"))
    assert select_universe(observed, 1).experts == ("a",)
    assert select_universe(observed, 1, prices={"a": 2.0, "c": 1.0}).experts == ("c",)
    assert select_universe(observed, 1, prices={"c": 9.0}).experts == ("c",)


def test_a_must_have_is_chosen_first_and_what_it_brings_alone_is_told():
    scores = np.array([[1, 1], [0, 1]], dtype=float)
    found = select_universe(ObservedScores.from_scores(scores, ("weak", "strong")), 2, ["weak"])
    assert found.experts == ("weak", "strong")
    assert found.alone == (0, 0.5)


@pytest.mark.parametrize(
    ("size", "must_have", "message"),
    [
        (0, (), "size: 0 is too few"),
        (1, ("a", "b"), "choose at least 2"),
        (2, ("z",), "no outcomes of 'z'"),
        (2, ("a", "a"), "given twice"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(size, must_have, message):
    with pytest.raises(ConfigurationError, match=message):
        select_universe(ObservedScores.from_scores(np.ones((2, 2)), ("a", "b")), size, must_have)


def test_one_expert_is_corrected_for_chance_in_the_usual_way():
    observed = ObservedScores.from_scores(np.repeat([[1.0], [0.0]], [70, 30], axis=0), ("a",))
    assert coverage_without_luck(observed, ["a"], np.full(100, 0.25)) == pytest.approx(
        [(0.7 - 0.25) / 0.75]
    )
    assert coverage_without_luck(observed, ["a"], np.zeros(100)) == pytest.approx([0.7])


def test_guesses_of_many_experts_are_told_from_what_they_know():
    random = np.random.default_rng(0)
    known = random.random(4000) < 0.4
    scores = np.where(known[:, None], 1.0, random.random((4000, 20)) < 0.25)
    observed = ObservedScores.from_scores(scores, names(scores))
    assert select_universe(observed, 20).coverage[-1] > 0.99
    without = coverage_without_luck(observed, names(scores), np.full(4000, 0.25))
    assert without[-1] == pytest.approx(0.4, abs=0.05)
    assert list(without) == sorted(without)
    assert estimated_guess_rate(observed) == pytest.approx(0.25, abs=0.02)


def test_a_guess_rate_is_not_made_up_from_too_little():
    assert (
        estimated_guess_rate(ObservedScores.from_scores(np.ones((9, 3)), ("a", "b", "c"))) is None
    )
    assert (
        estimated_guess_rate(ObservedScores.from_scores(np.full((9, 5), 0.5), tuple("abcde")))
        is None
    )

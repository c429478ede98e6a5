"""The offline assignment stays within the budget and is as good as its certificate says."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import LinearConstraint, milp

from routoo_core.assignment import solver as assignment
from routoo_core.assignment.solver import UNASSIGNED, assign
from routoo_core.errors import ConfigurationError
from routoo_core.selector import Best, Ratio

QUALITY = arrays(
    np.float64, st.tuples(st.integers(1, 7), st.integers(1, 4)), elements=st.floats(0, 1, width=16)
)


def exact(quality, cost, budget, everybody):
    """The optimum by HiGHS: one expert for each prompt, or at most one where the money does not reach."""
    count, experts = quality.shape
    one = np.kron(np.eye(count), np.ones(experts))
    limits = [
        LinearConstraint(one, 1 if everybody else 0, 1),
        LinearConstraint(cost.ravel()[None], -np.inf, budget),
    ]
    found = milp(
        -quality.ravel(), integrality=np.ones(quality.size), bounds=(0, 1), constraints=limits
    )
    assert found.success
    return -found.fun


def usd(most):
    """In steps well above what HiGHS overlooks when it checks that a budget holds (1e-6)."""
    return st.integers(0, most * 1024).map(lambda steps: steps / 1024)


@st.composite
def problems(draw):
    quality = draw(QUALITY)
    shape = quality.shape if draw(st.booleans()) else quality.shape[1:]
    cost = draw(arrays(np.float64, shape, elements=usd(10)))
    return quality, cost, draw(usd(40))


def checked(quality, cost, budget, found):
    """Cost and quality are what they are said to be, and the budget holds."""
    pairs = np.broadcast_to(cost, quality.shape)
    served = np.flatnonzero(found.choices != UNASSIGNED)
    assert found.cost == pytest.approx(pairs[served, found.choices[served]].sum())
    assert found.quality == pytest.approx(quality[served, found.choices[served]].sum())
    assert found.cost <= budget + 1e-9
    return pairs


@settings(max_examples=150, deadline=None)
@given(problems())
def test_the_lp_is_within_one_prompt_of_the_exact_optimum_and_its_bound_above_it(problem):
    quality, cost, budget = problem
    found = assign(quality, cost, budget)
    pairs = checked(quality, cost, budget, found)
    everybody = pairs.min(1).sum() <= budget
    best = exact(quality, pairs, budget, everybody)
    assert found.bound >= best - 1e-6
    assert found.quality >= best - quality.max() - 1e-6
    assert found.quality <= best + 1e-6
    if everybody:
        assert (found.choices != UNASSIGNED).all()


@settings(max_examples=100, deadline=None)
@example(
    (np.array([[1.0, 0.0]] + [[0.0, 0.0]] * 3), np.array([6.0, 5.0]), 20.0), 0.0
)  # serves three, could serve all
@given(problems(), st.sampled_from([0.0, 0.1, 1.0]))
def test_the_papers_greedy_keeps_to_the_budget_and_the_bound(problem, alpha):
    quality, cost, budget = problem
    found = assign(quality, cost, budget, Ratio(alpha))
    checked(quality, cost, budget, found)
    assert found.quality <= found.bound + 1e-9


def test_the_papers_greedy_takes_the_best_that_fits_else_the_next():
    quality = np.array([[0.9, 0.5, 0.1]] * 4)
    found = assign(quality, np.array([10.0, 4.0, 1.0]), 15.5, Best())
    assert found.choices.tolist() == [0, 1, 2, UNASSIGNED]
    assert found.cost == 15
    assert (
        assign(quality, np.array([10.0, 4.0, 1.0]), 0.5, Best()).choices.tolist()
        == [UNASSIGNED] * 4
    )


def test_a_budget_that_pays_for_everything_buys_the_best_of_everything():
    quality = np.random.default_rng(0).random((50, 5))
    found = assign(quality, np.arange(5.0), 1e6)
    np.testing.assert_array_equal(found.choices, quality.argmax(1))
    assert (found.gap, found.lambda_) == (pytest.approx(0, abs=1e-12), 0)


@pytest.mark.parametrize("per_pair", [False, True])
@pytest.mark.parametrize("share", [0.0001, 0.05, 0.5, 2.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_bracketed_on_a_sample_is_solved_exactly(monkeypatch, per_pair, share, dtype):
    monkeypatch.setattr(assignment, "_SAMPLE", 200)
    monkeypatch.setattr(assignment, "_CHUNK", 1000)
    random = np.random.default_rng(1)
    quality = random.random((5000, 8)).astype(dtype)
    cost = (random.lognormal(size=(5000, 8) if per_pair else 8) / 1e3).astype(dtype)
    budget = share * float(np.broadcast_to(cost, quality.shape).max(1).sum())
    found = assign(quality, cost, budget)
    checked(quality, cost, budget, found)
    assert found.gap <= 1 / found.bound + 1e-4
    monkeypatch.setattr(assignment, "_SAMPLE", 10_000)
    whole = assign(quality, cost, budget)
    assert found.quality == pytest.approx(whole.quality, abs=1)
    assert found.bound == pytest.approx(whole.bound, rel=1e-5)


def test_sorted_prompts_do_not_mislead_the_sample(monkeypatch):
    monkeypatch.setattr(assignment, "_SAMPLE", 100)
    quality = np.sort(np.random.default_rng(2).random((4000, 3)), axis=0)
    found = assign(quality, np.array([1.0, 2.0, 9.0]), 12_000)
    checked(quality, np.array([1.0, 2.0, 9.0]), 12_000, found)
    assert found.gap < 1e-3


@pytest.mark.parametrize(
    ("quality", "cost", "budget", "message"),
    [
        (np.ones((2, 3)), np.ones(2), 1, r"cost: shape \(2,\) does not fit quality \(2, 3\)"),
        (np.ones((0, 3)), np.ones(3), 1, "does not fit"),
        (np.full((2, 3), np.nan), np.ones(3), 1, "quality: .* finite"),
        (np.ones((2, 3)), np.array([1, -1, 1.0]), 1, "cost: .* at least 0"),
        (np.ones((2, 3)), np.ones(3), -1, "budget: -1"),
    ],
)
def test_input_that_does_not_fit_is_refused(quality, cost, budget, message):
    with pytest.raises(ConfigurationError, match=message):
        assign(quality, cost, budget)

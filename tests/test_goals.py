"""Goals hold on the running average: nearly the best for less, or a share saved, and never above the budget."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_core import Budget, Pool, RoutedRequest, Usage
from routoo_core.budget.goals import MatchBest, Save
from routoo_core.config import build_router, make_policy
from routoo_core.errors import BudgetExceeded, ConfigurationError
from routoo_core.selector import as_policy
from routoo_core.testing import FakePredictor

NAMES = ("cheap", "middle", "dear")
PRICES = {"cheap": 1, "middle": 5, "dear": 20}
CALLS = 600


def qualities(seed, count=CALLS):
    """Predicted qualities, calls × experts; the dearer one is better, but not always."""
    random = np.random.default_rng(seed)
    ease = random.random((count, 1))
    strength = np.array([0.5, 0.7, 0.8])
    return np.clip(ease * 0.5 + strength / 2 + random.normal(0, 0.1, (count, 3)), 0, 1)


def served(endpoint, policy, quality, limit=None):
    """The expert of each call, and what was spent, USD."""
    experts = []
    for name in NAMES:
        price = {"input_usd_per_1m": PRICES[name], "output_usd_per_1m": PRICES[name]}
        experts.append(endpoint.expert(name, expected_output_tokens=100, **price))
    rows = {str(row): values for row, values in enumerate(quality)}
    predicted = {}
    for column, name in enumerate(NAMES):
        predicted[name] = lambda text, column=column: rows[text][column]
    budget = Budget(limit=limit, period="run", expected_calls=len(quality))
    router = build_router(
        Pool(experts), router=FakePredictor(predicted), policy=policy, budget=budget
    )
    chosen = []
    for text in rows:
        request = RoutedRequest.from_text(text, max_tokens=100)
        try:
            with next(iter(router.attempts(request))) as attempt:
                attempt.settle(Usage(100, 100))
                chosen.append(NAMES.index(attempt.expert.name))
        except BudgetExceeded:
            chosen.append(None)
    return chosen, router.ledger.state(router.budget).spent / 1e9


def cost_of(columns):
    return sum(PRICES[NAMES[column]] * 200 / 1e6 for column in columns)


@pytest.mark.parametrize("share", [0.9, 0.95, 0.98, 1.0])
def test_match_best_reaches_its_share_of_the_best_for_less(endpoint, share):
    quality = qualities(1)
    chosen, spent = served(endpoint, MatchBest(share), quality)
    reached = quality[np.arange(CALLS), chosen].sum()
    best = quality.max(axis=1).sum()
    assert share <= reached / best
    assert reached / best <= share + 0.02  # no money is spent on more
    if share < 0.99:
        assert spent < 0.9 * cost_of(quality.argmax(axis=1))


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_save_saves_its_share_and_keeps_the_most_quality(endpoint, share):
    quality = qualities(2)
    chosen, spent = served(endpoint, Save(share), quality)
    dearest = cost_of(quality.argmax(axis=1))
    assert spent == pytest.approx((1 - share) * dearest, rel=0.03)
    reached = quality[np.arange(CALLS), chosen].sum()
    random = np.random.default_rng(0)
    at_random = [random.choice(3, CALLS) for _ in range(20)]
    assert reached > max(quality[np.arange(CALLS), choice].sum() for choice in at_random)


def test_a_goal_holds_where_easy_calls_come_before_hard_ones(endpoint):
    quality = qualities(3)
    quality = quality[np.argsort(-quality.mean(axis=1))]
    chosen, _ = served(endpoint, MatchBest(0.95), quality)
    running = np.cumsum(quality[np.arange(CALLS), chosen]) / np.cumsum(quality.max(axis=1))
    assert running[100:].min() > 0.94


def test_the_budget_comes_before_the_goal(endpoint):
    quality = qualities(4)
    best = cost_of(quality.argmax(axis=1))
    limit = round(0.3 * best, 6)
    chosen, spent = served(endpoint, MatchBest(1.0), quality, limit=str(limit))
    assert spent <= limit
    assert None not in chosen[: CALLS * 9 // 10]  # it was paced, not spent on the first calls
    assert spent > 0.9 * limit


@given(st.floats(0.5, 1.0), st.integers(0, 50))
def test_a_goal_asks_for_no_more_than_the_best_and_no_less_than_the_cheapest(share, seed):
    quality = qualities(seed, 30)
    means = np.stack([np.linspace(2.0, 1.0, 301), np.linspace(0.9, 0.6, 301)])
    assert np.isfinite(MatchBest(share).goal_lambda(means, surplus=float(quality.mean() - 0.5)))
    assert MatchBest(share).goal_lambda(means, surplus=-1.0) == 0.0  # far behind: only the best
    assert Save(share - 0.5).goal_lambda(means, surplus=-9.0) > 0


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"name": "match_best", "quality": 1.5}, "quality: 1.5"),
        ({"name": "match_best", "quality": 0}, "quality: 0"),
        ({"name": "save", "share": 1}, "share: 1"),
        ({"name": "save"}, "share"),
        ({"name": "save", "share": "much"}, "share"),
        ({"name": "match_best", "floor": 0.9}, "floor"),
    ],
)
def test_a_wrong_goal_is_named(table, words):
    with pytest.raises(ConfigurationError, match=words):
        make_policy(table)


def test_a_goal_is_written_down_pickled_and_described():
    policy = as_policy(make_policy({"name": "match_best", "quality": 0.97}))
    assert policy.parameters() == {"quality": 0.97}
    copy = pickle.loads(pickle.dumps(policy))
    assert (type(copy), copy.quality) == (MatchBest, 0.97)
    assert repr(policy) == "MatchBest(quality=0.97)"
    assert repr(Save(0.4)) == "Save(share=0.4)"

"""Policies rank experts by predicted quality and cost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from routoo_core import Expert
from routoo_core.candidates import Candidate
from routoo_core.errors import ConfigurationError
from routoo_core.selector import (
    Best,
    Cheapest,
    Decision,
    Lagrangian,
    QualityFloor,
    Ratio,
    Stickiness,
    describe_policy,
    rank,
)

POLICIES = [
    Ratio(0.0),
    Ratio(0.1),
    Ratio(1.0),
    Lagrangian(0.0),
    Lagrangian(50.0),
    QualityFloor(0.5),
    Best(),
    Cheapest(),
]


def candidate(name, quality, usd):
    expert = Expert(name=name, model=name, input_usd_per_1m=1, output_usd_per_1m=1)
    return Candidate(expert, quality, int(usd * 1e9), int(usd * 2e9))


POOL = [
    candidate("cheap", 0.5, 0.001),
    candidate("middle", 0.8, 0.004),
    candidate("dear", 0.9, 0.02),
]


def names(policy, pool=POOL):
    return [c.expert.name for c in rank(policy, pool)]


def test_best_ignores_cost_and_cheapest_ignores_quality():
    assert names(Best()) == ["dear", "middle", "cheap"]
    assert names(Cheapest()) == ["cheap", "middle", "dear"]


def test_the_papers_ratio_turns_to_the_cheap_as_alpha_grows():
    assert names(Ratio(0.0))[0] == "dear"
    assert names(Ratio(0.1))[0] == "middle"
    assert names(Ratio(1.0))[0] == "cheap"


def test_lambda_is_the_price_of_a_dollar_in_quality():
    assert names(Lagrangian(0))[0] == "dear"
    assert (
        names(Lagrangian(20))[0] == "middle"
    )  # 0.1 more quality for 0.016 USD is worth it only below λ = 6.25
    assert names(Lagrangian(1000))[0] == "cheap"


def test_a_quality_floor_takes_the_cheapest_that_is_good_enough_else_the_best():
    assert names(QualityFloor(0.7)) == ["middle", "dear", "cheap"]
    assert names(QualityFloor(0.95))[0] == "dear"


def test_a_plain_callable_is_a_policy():
    assert names(lambda quality, cost: quality * 0 - abs(cost - 0.004))[0] == "middle"
    assert describe_policy(lambda quality, cost: quality).name == "<lambda>"


def test_a_policy_that_returns_nonsense_is_refused():
    with pytest.raises(ConfigurationError, match="3 finite numbers"):
        rank(lambda quality, cost: quality[:1], POOL)
    with pytest.raises(ConfigurationError, match="3 finite numbers"):
        rank(lambda quality, cost: quality * np.nan, POOL)


@pytest.mark.parametrize(
    "make", [lambda: Ratio(-1), lambda: Lagrangian(float("nan")), lambda: QualityFloor(2)]
)
def test_a_parameter_out_of_range_is_refused(make):
    with pytest.raises(ConfigurationError, match="alpha|lambda|floor"):
        make()


def test_a_free_expert_wins_the_ratio_and_is_no_error():
    assert names(Ratio(1.0), [*POOL, candidate("free", 0.1, 0.0)])[0] == "free"


qualities = arrays(np.float64, 6, elements=st.floats(0, 1))
costs = arrays(np.float64, 6, elements=st.floats(1e-6, 1))


@given(qualities, costs, st.sampled_from(POLICIES), st.integers(0, 5), st.floats(0.1, 0.9))
def test_becoming_cheaper_never_lowers_an_experts_place(quality, cost, policy, which, share):
    def place(at):
        return list(np.argsort(-policy(quality, at), kind="stable")).index(which)

    cheaper = cost.copy()
    cheaper[which] *= share
    assert policy(quality, cheaper)[which] >= policy(quality, cost)[which] - 1e-12
    if isinstance(policy, Ratio | Lagrangian):
        assert place(cheaper) <= place(cost)


@given(qualities, costs, st.floats(0, 1000), st.floats(0, 1000))
def test_a_higher_lambda_never_buys_a_dearer_expert(quality, cost, one, other):
    low, high = sorted((one, other))
    chosen = [cost[np.argmax(Lagrangian(price)(quality, cost))] for price in (low, high)]
    if low < high:
        assert chosen[1] <= chosen[0] + 1e-9


def test_a_decision_explains_itself_and_records_no_prompt():
    decision = Decision(
        rank(Lagrangian(20), POOL), describe_policy(Lagrangian(20)), 20.0, "fingerprint", 12.0
    )
    assert decision.explain() == (
        "middle: predicted quality 0.80 for $0.004000 (policy lagrangian; λ 20: 0.01 more quality may cost $0.000500); "
        "next dear: 0.90 for $0.020000"
    )
    assert decision.record().to_dict()["policy"] == {"name": "lagrangian"}
    assert decision.record().to_dict()["lambda"] == 20
    assert decision.record().to_dict()["candidates"][0]["expected_usd"] == "0.004000000"


@given(
    st.sampled_from(POLICIES), st.lists(st.floats(0, 1), min_size=2, max_size=5), st.integers(0, 4)
)
def test_an_open_tool_call_comes_first_and_leaves_the_others_in_order(policy, qualities, at):
    pool = [candidate(str(i), quality, 0.001 * (i + 1)) for i, quality in enumerate(qualities)]
    loyal = str(at % len(pool))
    ranked = [c.expert.name for c in rank(policy, pool, stickiness=Stickiness(loyal, float("inf")))]
    assert ranked == [loyal, *(name for name in names(policy, pool) if name != loyal)]


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=5),
    st.integers(0, 4),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_larger_margin_never_lets_go_of_an_expert_that_a_smaller_one_kept(
    qualities, at, one, other
):
    pool = [candidate(str(i), quality, 0.001) for i, quality in enumerate(qualities)]
    loyal, small, large = str(at % len(pool)), min(one, other), max(one, other)
    kept = [
        rank(Best(), pool, stickiness=Stickiness(loyal, margin))[0].expert.name == loyal
        for margin in (small, large)
    ]
    assert kept[1] >= kept[0]


def test_loyalty_to_an_expert_that_is_no_candidate_changes_nothing():
    assert [c.expert.name for c in rank(Best(), POOL, stickiness=Stickiness("gone", 1.0))] == names(
        Best()
    )

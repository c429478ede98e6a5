"""What routing saves against one expert for everything, with an interval that holds the truth."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from routoo_core import Pool, RoutedRequest
from routoo_core.config import build_router
from routoo_core.monitoring.expert_costs import CostEstimate, CostForecasts
from routoo_core.monitoring.goals import goal_progress
from routoo_core.monitoring.routed_calls import RoutedCall
from routoo_core.monitoring.savings import SavingsEstimator
from routoo_core.record import PolicyRecord
from routoo_core.request import Turn
from routoo_core.testing import FakePredictor

TIME = datetime(2026, 1, 5, tzinfo=UTC)
EXPECTED = {"dear": 0.010, "cheap": 0.001}


def call(expert="dear", paid=None, quality=0.8, **changes):
    """A live call that one expert answered."""
    usd = EXPECTED[expert] if paid is None else paid
    made = RoutedCall(
        time=TIME,
        shadow=False,
        choice=expert,
        answered_by=expert,
        predicted=quality,
        spent=usd,
        routed=usd,
        feedback=None,
        expected_usd=EXPECTED,
        continued_usd=EXPECTED,
        qualities={"dear": quality, "cheap": quality / 2},
        answer_usd=usd,
    )
    return replace(made, **changes)


def savings(calls, **settings):
    return SavingsEstimator("dear", calls, **settings).savings(calls)


def stream(random, count, share_of_dear):
    """Calls whose answers are longer than expected, the more so the harder the prompt; and what the dear one saves."""
    calls = []
    cost_of_dear = 0.0
    for _ in range(count):
        quality = random.uniform(0.3, 1.0)
        length = (1.6 - 0.5 * quality) * random.lognormal(0, 0.5)
        paid = {"dear": 0.010 * length, "cheap": 0.001 * length * random.lognormal(0, 0.2)}
        expert = "dear" if share_of_dear(quality, random) else "cheap"
        calls.append(call(expert, paid[expert], quality))
        cost_of_dear += paid["dear"]
    truth = cost_of_dear - sum(made.routed for made in calls)
    return calls, truth


STREAMS = {
    "half": lambda quality, random: random.random() < 0.5,
    "floor": lambda quality, random: quality < 0.6,
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_interval_holds_the_truth(name):
    hits = 0
    for seed in range(200):
        calls, truth = stream(np.random.default_rng(seed), 200, STREAMS[name])
        result = savings(calls)
        hits += result.low <= truth <= result.high
    assert hits >= 0.9 * 200


def test_nothing_is_saved_where_the_baseline_answered_everything():
    calls = [call("dear", paid) for paid in (0.002, 0.03, 0.007)]
    result = savings(calls)
    assert result.saved == pytest.approx(0)
    assert result.percent() == "0%"
    assert "dear answered all of them, so nothing is saved" in result.describe()


def test_tries_that_failed_are_a_loss_although_the_baseline_answered_everything():
    calls = [call("dear", routed=0.013, spent=0.013) for _ in range(30)]
    result = savings(calls)
    assert not result.has_no_difference
    assert result.percent() == "-30%"
    assert result.describe() == (
        "Routed, 30 calls cost $0.3900. dear answered all of them; its answers alone cost $0.3000 of that. "
        "Routing loses $0.0900, -30%."
    )


def test_a_prediction_that_costs_next_to_nothing_makes_no_difference():
    result = savings([call("dear", predict_s=0.05) for _ in range(30)])
    assert result.saved < 0
    assert result.percent() == "0%"
    assert "nothing is saved" in result.describe()


def test_of_no_calls_nothing_is_said_to_be_saved_or_lost():
    result = SavingsEstimator("dear", [call("dear")]).savings([])
    assert not result.has_no_difference
    assert result.describe() == "No call was routed."
    assert result.percent() == "cannot tell"


def test_what_cannot_be_told_is_said_to_be_so():
    calls = [call("cheap", 0.008) for _ in range(5)]  # about what the dear one was expected to cost
    result = savings(calls)
    assert not result.is_clear
    assert result.percent() == "cannot tell"
    assert "Whether that saves anything cannot be told" in result.describe()


def test_tries_that_failed_and_the_machine_that_predicts_are_taken_off():
    failed_first = [call("dear", routed=0.013, spent=0.013) for _ in range(30)]
    assert savings(failed_first).saved == pytest.approx(30 * -0.003)
    slow = [call("dear", predict_s=36.0) for _ in range(10)]
    assert savings(slow, usd_per_hour=0.5).saved == pytest.approx(-0.05)


def test_the_baseline_would_have_kept_its_prompt_cache():
    cached = {**EXPECTED, "dear": 0.004}
    answered = [call("dear") for _ in range(30)]
    later_turns = [call("cheap", continued_usd=cached) for _ in range(10)]
    result = savings(answered + later_turns)
    assert result.baseline_usd == pytest.approx(30 * 0.010 + 10 * 0.004, rel=1e-6)


def test_a_reply_from_a_cache_saves_nothing_against_the_baseline():
    cached = call("cheap", 0.0, is_cached=True, answer_usd=None)
    assert savings([call("dear"), cached]).saved == pytest.approx(0)


def test_a_call_that_the_baseline_could_not_serve_saves_nothing():
    alone = call("cheap", expected_usd={"cheap": 0.001}, qualities={"cheap": 0.5})
    assert savings([call("dear"), alone]).saved == pytest.approx(0)


def test_shadow_calls_are_corrected_as_the_baseline_is():
    """Both experts cost twice what is expected, and the router would have sent everything to the cheap one."""
    live = []
    for _ in range(30):
        live.append(call("dear", 0.020))
        live.append(call("cheap", 0.002))
    shadow = [call("dear", 0.020, shadow=True, choice="cheap", routed=0.001) for _ in range(10)]
    estimator = SavingsEstimator("dear", live + shadow)
    assert estimator.cost_with_routing(shadow).usd == pytest.approx(10 * 0.002, rel=1e-6)
    assert estimator.savings(shadow).saved == pytest.approx(10 * 0.018, rel=1e-6)


def shadow_calls(choice, count):
    """Calls of which it is not known what they really cost."""
    changes = {"shadow": True, "choice": choice, "answered_by": None, "answer_usd": None}
    return [call(routed=EXPECTED[choice], **changes) for _ in range(count)]


def test_a_forecast_that_holds_with_routing_and_without_makes_no_difference():
    calls = shadow_calls("dear", 30)
    result = savings(calls)
    assert (result.low, result.high) == (pytest.approx(0), pytest.approx(0))
    assert result.baseline_low < result.baseline_usd < result.baseline_high
    assert "nothing is saved" in result.describe()

    few = shadow_calls("cheap", 3)
    alone = savings(few)
    among_others = SavingsEstimator("dear", calls + few).savings(calls + few)
    assert among_others.low == pytest.approx(alone.low)
    assert among_others.high == pytest.approx(alone.high)
    assert among_others.saved == pytest.approx(alone.saved)


def test_the_share_saved_allows_for_calls_that_cost_the_same_either_way():
    result = savings(shadow_calls("dear", 30) + shadow_calls("cheap", 30))
    assert result.is_clear
    low, high = result.share_interval
    assert 0 < low < result.saved / result.baseline_usd < high < 1
    fixed = result.spent + result.routing
    assert low < result.low / (result.low + fixed)
    assert high > result.high / (result.high + fixed)


def test_the_baseline_is_said_to_have_cost_what_its_own_interval_holds():
    calls = shadow_calls("dear", 10)
    result = SavingsEstimator("cheap", calls).savings(calls)
    assert (
        result.low < -result.spent
    )  # what the choice would have cost is less sure than the baseline's cost
    assert 0 < result.baseline_low < result.baseline_usd < result.baseline_high
    interval = f"(${result.baseline_low:.4f} to ${result.baseline_high:.4f})"
    assert f"about $0.0100 {interval}" in result.describe()


def test_a_record_says_what_a_conversation_would_cost_had_it_stayed(endpoint):
    """The expert of the last turn has the prompt cached; of the other it is said what that would have saved."""
    pool = Pool(
        [
            endpoint.expert("cheap", cached_usd_per_1m="0.01", context_window=32_000),
            endpoint.expert("dear", cached_usd_per_1m="0.01", context_window=32_000),
        ]
    )
    router = build_router(pool, router=FakePredictor({"cheap": 0.4, "dear": 0.9}))
    request = RoutedRequest("word", 3000, 12_000, max_tokens=20)
    for candidate in router.decide(request).record().candidates:
        assert candidate.continued_usd is None
    later = replace(request, previous=Turn("cheap", open_tool_call=False, tokens=2500))
    of_expert = {made.expert: made for made in router.decide(later).record().candidates}
    assert of_expert["cheap"].continued_usd is None
    assert float(of_expert["dear"].continued_usd) < float(of_expert["dear"].expected_usd)


@pytest.mark.parametrize("graded", [False, True])
def test_progress_towards_match_best(graded):
    policy = PolicyRecord("match_best", {"quality": 0.9})
    calls = []
    for number in range(40):
        expert = "cheap" if number % 4 == 0 else "dear"
        feedback = 0.7 if graded else None
        calls.append(call(expert, quality=0.8, policy=policy, feedback=feedback))
    [progress] = goal_progress(calls, CostForecasts(calls))
    assert (progress.policy, progress.target, progress.calls) == ("match_best", 0.9, 40)
    assert progress.reached == pytest.approx((30 + 10 * 0.5) / 40)
    assert "Goal: 90.0% of the best's quality. Reached by prediction: 87.5%" in progress.describe()
    if graded:
        assert progress.observed == pytest.approx(0.7 / 0.8)
        assert "By feedback on 40: 87.5%" in progress.describe()
    else:
        assert progress.observed is None


def test_progress_towards_a_share_saved():
    policy = PolicyRecord("save", {"share": 0.4})
    calls = []
    for number in range(60):
        expert = "cheap" if number % 2 else "dear"
        calls.append(call(expert, policy=policy))
    calls.append(call("dear"))  # made under no goal
    [progress] = goal_progress(calls, CostForecasts(calls))
    assert progress.reached == pytest.approx(0.45)
    assert progress.interval is not None
    assert "Saved: 45.0%" in progress.describe()


def test_what_was_saved_is_said_without_an_interval_where_the_best_may_have_cost_nothing():
    answers = [call("dear", paid) for paid in [0.001] * 24 + [2.0]]
    policy = PolicyRecord("save", {"share": 0.4})
    under_goal = [call("cheap", policy=policy) for _ in range(3)]
    forecasts = CostForecasts(answers + under_goal)
    assert forecasts.estimate(under_goal, lambda _: "dear").low == 0
    [progress] = goal_progress(answers + under_goal, forecasts)
    assert progress.reached is not None
    assert progress.reached > 0.9
    assert progress.interval is None


def test_experts_judged_by_the_ratio_of_all_may_be_wrong_together():
    calls = []
    for number in range(40):
        calls.append(call("dear" if number % 2 else "cheap", shadow=True, answered_by=None))
    forecasts = CostForecasts(calls)
    together = forecasts.estimate(calls, lambda made: made.choice)
    dear = forecasts.estimate([made for made in calls if made.choice == "dear"], lambda _: "dear")
    cheap = forecasts.estimate(
        [made for made in calls if made.choice == "cheap"], lambda _: "cheap"
    )
    assert together.low == pytest.approx(dear.low + cheap.low)
    assert together.high == pytest.approx(dear.high + cheap.high)


def test_experts_of_answers_of_their_own_are_wrong_independently():
    pooled = CostEstimate(10.0, 8.0, 14.0, is_pooled=True)
    own = CostEstimate(10.0, 7.0, 13.0)
    assert CostEstimate.total([own, own]).low == pytest.approx(20 - 18**0.5)
    assert CostEstimate.total([pooled, pooled, own]).low == pytest.approx(30 - 5)
    assert CostEstimate.total([pooled, pooled, own]).high == pytest.approx(30 + 73**0.5)

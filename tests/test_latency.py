"""Slow experts lose by it, as far as the configuration says, and the record shows how slow they were."""

import pytest

from routoo_core import Expert, RoutedRequest, Usage
from routoo_core.candidates import Candidate
from routoo_core.errors import ConfigurationError
from routoo_core.latency import Latencies, LatencyRule
from routoo_core.selector import Best, rank


def candidate(name, quality, latency):
    return Candidate(
        Expert(name=name, model=name, input_usd_per_1m=1, output_usd_per_1m=1),
        quality,
        10,
        20,
        latency,
    )


FAST, SLOW, NEW = (
    candidate("fast", 0.6, 1.0),
    candidate("slow", 0.8, 9.0),
    candidate("new", 0.5, None),
)


def names(rule):
    return [c.expert.name for c in rank(Best(), [FAST, SLOW, NEW], rule)]


def test_without_a_rule_latency_changes_nothing():
    assert names(None) == names(LatencyRule()) == ["slow", "fast", "new"]


def test_an_expert_over_the_cap_is_tried_after_all_others():
    assert names(LatencyRule(max_s=5)) == ["fast", "new", "slow"]
    assert names(LatencyRule(max_s=0.5)) == [
        "new",
        "slow",
        "fast",
    ]  # one not measured yet is given a chance


def test_a_second_costs_what_the_rule_says():
    assert names(LatencyRule(quality_per_s=0.02)) == [
        "slow",
        "fast",
        "new",
    ]  # 0.8 - 0.18 against 0.6 - 0.02
    assert names(LatencyRule(quality_per_s=0.03)) == ["fast", "slow", "new"]


def test_the_mean_follows_the_latest_replies():
    seen = Latencies()
    assert seen.of("a") is None
    seen.observe("a", 10.0)
    assert seen.of("a") == 10
    for _ in range(30):
        seen.observe("a", 1.0)
    assert 1 < seen.of("a") < 1.1


def test_replies_are_measured_failures_are_not_and_the_next_decision_knows(make_router):
    router, request = (
        make_router(latency=LatencyRule(max_s=5)),
        RoutedRequest.from_text("hello", max_tokens=16),
    )
    for attempt in router.attempts(request):
        with attempt:
            if attempt.expert.name == "dear":
                raise ConnectionError
            attempt.settle(Usage(5, 5))
    assert router.latencies.of("dear") is None
    assert router.latencies.of("cheap") < 5
    router.latencies.observe("dear", 60.0)
    decision = router.decide(request)
    assert [c.expert.name for c in decision.candidates] == ["cheap", "dear"]
    assert decision.record().to_dict()["candidates"][1]["latency_s"] == 60
    assert decision.record().to_dict()["candidates"][0]["latency_s"] == pytest.approx(
        router.latencies.of("cheap"), abs=1e-3
    )


@pytest.mark.parametrize("wrong", [{"max_s": 0}, {"price": -1}, {"max_seconds": 3}])
def test_a_wrong_rule_is_refused(wrong):
    with pytest.raises(ConfigurationError):
        LatencyRule(**wrong)

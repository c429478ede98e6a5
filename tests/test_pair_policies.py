"""Two policies about particular experts: the win rate of a pair, and the guard of a default."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from routoo_core import Budget, RoutedRequest
from routoo_core.config import build_router
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Pool
from routoo_core.guarded import FEWEST_PROMPTS, Guarded, fit_leads, z_for_many
from routoo_core.policies import make_policy, policy_table
from routoo_core.selector import Lagrangian, as_policy, describe_policy
from routoo_core.testing import FakePredictor
from routoo_core.win_rate import PairRule, RouterName, WinRate, read_router_name
from routoo_integrations.cli import app
from routoo_integrations.gateway.problems import CallRefused
from routoo_integrations.gateway.steering import read_steering

HELLO = RoutedRequest.from_messages([{"role": "user", "content": "hello"}])


def pool_of(endpoint, *names):
    settings = {"max_output_tokens": 256, "context_window": 2048}
    experts = []
    for price, name in enumerate(names, start=1):
        prices = {"input_usd_per_1m": price, "output_usd_per_1m": price}
        experts.append(endpoint.expert(name, **prices, **settings))
    return Pool(experts)


def ranking(endpoint, quality, policy, **options):
    router = build_router(
        pool_of(endpoint, *quality),
        router=FakePredictor(quality),
        budget=Budget(),
        policy=policy,
        **options,
    )
    return [candidate.expert.name for candidate in router.decide(HELLO).candidates]


# Win rate


@pytest.mark.parametrize(("threshold", "strong_leads"), [(0.6, True), (0.64, True), (0.7, False)])
def test_the_strong_expert_answers_from_the_threshold_on(threshold, strong_leads):
    quality = np.array([[0.4, 0.7]])  # a win rate of 0.65
    preference = PairRule(threshold, strong=1, weak=0)(quality, np.ones((1, 2)))
    assert (preference.argmax(axis=1) == 1).tolist() == [strong_leads]


def test_the_win_rate_is_wins_and_half_the_ties():
    random = np.random.default_rng(0)
    strong = random.random(200_000) < 0.8
    weak = random.random(200_000) < 0.5
    observed = (strong > weak).mean() + (strong == weak).mean() / 2
    assert observed == pytest.approx((1 + 0.8 - 0.5) / 2, abs=0.01)


def test_of_two_experts_the_dearer_is_the_strong_one(endpoint):
    quality = {"weak": 0.5, "strong": 0.7}
    assert ranking(endpoint, quality, WinRate(0.55)) == ["strong", "weak"]
    assert ranking(endpoint, quality, {"name": "win_rate", "threshold": 0.65}) == ["weak", "strong"]


def test_named_experts_lead_in_a_larger_pool(endpoint):
    quality = {"a": 0.9, "b": 0.2, "c": 0.3}
    policy = {"name": "win_rate", "threshold": 0.54, "strong": "c", "weak": "b"}
    assert ranking(endpoint, quality, policy) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"threshold": 0.5}, "the pool has 3 experts; name two of them"),
        ({"threshold": 0.5, "strong": "x", "weak": "b"}, "'x' is not among the experts"),
        ({"threshold": 0.5, "strong": "c"}, "name two experts, strong and weak"),
        ({"threshold": 1.5}, "threshold: 1.5 is not a number from 0 to 1"),
    ],
)
def test_a_win_rate_that_fits_no_pool_is_refused(endpoint, policy, reason):
    with pytest.raises(ConfigurationError, match=reason):
        ranking(endpoint, {"a": 0.9, "b": 0.2, "c": 0.3}, {"name": "win_rate", **policy})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("router-mf-0.116", RouterName("mf", 0.116)),
        ("router-my-own-router-0.5", RouterName("my-own-router", 0.5)),
        ("router-mf", None),
        ("router-mf-1.5", None),
        ("gpt-4-0.5", None),
    ],
)
def test_router_and_threshold_are_read_from_one_name(text, name):
    assert read_router_name(text) == name
    if name is not None:
        assert str(name) == text
        assert name.policy() == WinRate(name.threshold)


def test_a_share_for_the_strong_expert_sets_the_threshold(checkpoint, toy_outcomes, tmp_path):
    (tmp_path / "prices.csv").write_text(
        "model,input_usd_per_1m,output_usd_per_1m\ncalculator,9,9\ntalker,1,1\n"
    )
    rows = [f"p{number},{text}" for number, text in enumerate(toy_outcomes.prompts[:60])]
    (tmp_path / "p.csv").write_text(
        "prompt_id,prompt\n" + "\n".join(row.replace(", dear", " dear") for row in rows)
    )
    options = ["--router", str(checkpoint), "--prompts", str(tmp_path / "p.csv")]
    prices = ["--prices", str(tmp_path / "prices.csv"), "--policy", "win_rate"]
    done = CliRunner().invoke(app, ["calibrate", *options, *prices, "--target-share", "strong=0.5"])
    assert done.exit_code == 0, done.output
    assert 'policy = { name = "win_rate", threshold = ' in done.output
    assert "model = router-toy-0." in done.output
    assert "50.0%  calculator" in done.output


def test_callers_of_the_gateway_name_router_and_threshold(checkpoint, endpoint):
    pool = pool_of(endpoint, "calculator", "talker")
    router = build_router(pool, router=checkpoint, budget=Budget(), policy="best")
    for name in ("router-toy-0.4", "router-performance-0.4"):
        assert read_steering(router, name, {}).policy == WinRate(0.4)
    with pytest.raises(CallRefused):
        read_steering(router, "router-mf-0.4", {})

    alone = build_router(Pool([pool["talker"]]), router=checkpoint, budget=Budget(), policy="best")
    with pytest.raises(CallRefused):
        read_steering(alone, "router-toy-0.4", {})


# Guard


def held_out(gain, prompts=2000, seed=0):
    """Two experts: the second one gains so much where its predicted lead is above zero, and loses elsewhere."""
    random = np.random.default_rng(seed)
    lead = random.uniform(-0.5, 0.5, prompts)
    chance = np.where(lead > 0, 0.5 + gain, 0.5 - 0.2)
    scores = np.stack([random.random(prompts) < 0.5, random.random(prompts) < chance], axis=1)
    quality = np.stack([np.full(prompts, 0.5), 0.5 + lead], axis=1)
    return quality, scores.astype(float)


def test_a_proven_lead_lies_where_the_gain_begins():
    quality, scores = held_out(gain=0.3)
    leads = fit_leads(quality, scores, ("default", "other"), "default")
    assert leads["other"] == pytest.approx(0.0, abs=0.05)


def test_without_a_gain_nobody_takes_a_call_from_the_default():
    taken = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        scores = (random.random((500, 2)) < 0.5).astype(float)
        quality = random.random((500, 2))
        taken += bool(fit_leads(quality, scores, ("default", "other"), "default", z=3.0))
    assert taken <= 4


def test_fewer_prompts_than_fifty_prove_nothing():
    quality, scores = held_out(gain=0.5, prompts=FEWEST_PROMPTS - 1)
    assert fit_leads(quality, scores, ("default", "other"), "default", z=0.0) == {}


def test_among_many_experts_luck_is_allowed_no_more_often():
    passed = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        scores = (random.random((300, 30)) < 0.5).astype(float)
        quality = random.random((300, 30))
        names = tuple(f"m{i}" for i in range(30))
        passed += bool(fit_leads(quality, scores, names, "m0", z=3.0))
    assert passed <= 4
    assert z_for_many(2.0, 1) == pytest.approx(2.0)
    assert z_for_many(2.0, 70) > 3


def test_a_higher_z_is_more_cautious():
    quality, scores = held_out(gain=0.1, prompts=300)
    names = ("default", "other")
    lenient = fit_leads(quality, scores, names, "default", z=0.0)
    strict = fit_leads(quality, scores, names, "default", z=20.0)
    assert "other" in lenient
    assert "other" not in strict


@pytest.mark.parametrize(("quality", "first"), [(0.65, "default"), (0.75, "other")])
def test_the_default_answers_unless_another_is_far_enough_ahead(endpoint, quality, first):
    policy = Guarded("default", leads={"other": 0.1})
    names = {"default": 0.6, "other": quality, "never": 0.99}
    order = ranking(endpoint, names, policy)
    assert order[0] == first


def test_the_inner_policy_chooses_among_those_that_may_answer(endpoint):
    leads = {"cheap": -0.2, "good": 0.0}
    quality = {"cheap": 0.5, "default": 0.6, "good": 0.9}
    for inner, first in (("best", "good"), ("cheapest", "cheap")):
        policy = {"name": "guarded", "default": "default", "policy": inner, "leads": leads}
        assert ranking(endpoint, quality, policy)[0] == first


def test_a_guard_learns_its_leads_from_the_routers_held_out_prompts(checkpoint, endpoint):
    built = build_router(
        pool_of(endpoint, "calculator", "talker"),
        router=checkpoint,
        budget=Budget(),
        policy={"name": "guarded", "default": "calculator", "z": 0.0},
    )
    fitted = built.policy.fitted
    assert fitted is not None
    assert set(fitted) <= {"talker"}
    assert built.to_config()["policy"]["default"] == "calculator"


def test_a_guard_without_evidence_says_what_to_do(endpoint):
    with pytest.raises(ConfigurationError, match="give leads, or a router that was trained"):
        ranking(endpoint, {"a": 0.5, "b": 0.6}, {"name": "guarded", "default": "a"})
    with pytest.raises(ConfigurationError, match="general-fast has no held-out scores"):
        build_router(
            Pool.read("pool", {"gpt-5": {}, "gpt-5-mini": {}}),
            router="general-fast",
            budget=Budget(),
            policy={"name": "guarded", "default": "gpt-5"},
        )


def test_a_guard_is_written_down_and_read_again():
    inner = {"name": "lagrangian", "lambda": 2.0}
    policy = make_policy(
        {"name": "guarded", "default": "a", "z": 1.5, "margin": 0.01, "policy": inner}
    )
    assert make_policy(policy_table(policy)) == policy
    fitted = replace(policy, fitted={"b": 0.1})
    assert "leads" not in policy_table(fitted)


def test_a_record_names_the_rule_of_one_s_own_inside_a_guard():
    def thrifty(quality, cost):
        return quality - cost

    policy = Guarded("a", policy=as_policy(thrifty), leads={})
    record = describe_policy(policy).to_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["policy"]["name"] == "thrifty"


def test_within_a_margin_an_expert_that_is_as_good_takes_calls():
    random = np.random.default_rng(0)
    scores = random.integers(0, 2, size=(4000, 2)).astype(np.float32)
    scores[:3600, 1] = scores[:3600, 0]
    quality = np.full_like(scores, 0.5)
    names = ("default", "cheap")
    assert fit_leads(quality, scores, names, "default") == {}
    assert fit_leads(quality, scores, names, "default", margin=0.02) == {"cheap": 0.0}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"default": "a", "margin": 2}, "margin: 2 is not a number from 0 to 1"),
        ({"default": "x"}, "'x' is not among the experts"),
        ({"default": "a", "z": -1}, "z: -1 is not a finite number of at least 0"),
        ({"default": "a", "policy": {"name": "guarded", "default": "a"}}, "a guard within a guard"),
        ({"default": "a", "policy": "nobody"}, "'nobody' is unknown"),
    ],
)
def test_a_guard_that_cannot_be_is_refused(endpoint, settings, reason):
    with pytest.raises(ConfigurationError, match=reason):
        ranking(endpoint, {"a": 0.5, "b": 0.6}, {"name": "guarded", "leads": {}, **settings})


def test_a_policy_of_one_s_own_is_not_written_down_as_the_one_it_extends():
    class Cautious(Lagrangian):
        pass

    assert policy_table(Guarded("a"))["name"] == "guarded"
    with pytest.raises(ConfigurationError, match="cannot be saved to a file"):
        policy_table(Cautious(5.0))

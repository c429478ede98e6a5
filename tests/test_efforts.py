"""Which reasoning effort is a choice too: variants of one model are candidates like any other."""

import pytest

from routoo_core import Pool
from routoo_core.abilities import describe_pool
from routoo_core.errors import ConfigurationError
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.predictor.general_checkpoint import load_general
from routoo_core.testing import FakePredictor
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.langchain.protocols import build_chat_model
from routoo_integrations.llama_index import RoutooLLM


def pool_of(**values):
    return Pool.read("experts.toml", {"gpt-5.5": values})


def test_each_effort_is_an_expert_of_its_own():
    pool = pool_of(efforts=["none", "high"])
    assert [expert.name for expert in pool] == ["gpt-5.5 (none)", "gpt-5.5 (high)"]
    assert {expert.model for expert in pool} == {"gpt-5.5"}
    assert len({expert.output_usd_per_1m for expert in pool}) == 1


def test_more_effort_is_abler_and_writes_more():
    model = load_general(find_router("general-fast"))
    predictor = model.bind(describe_pool(pool_of(efforts=["none", "high"]), model))
    forecast = predictor.forecast(["Prove that there is no largest prime number."])
    low, high = forecast.quality[0]
    assert high > low
    short, long = forecast.lengths[0]
    assert long > 2 * short


@pytest.mark.parametrize("efforts", ["high", [], ["low", "low"], [1]])
def test_efforts_that_are_no_list_are_refused(efforts):
    with pytest.raises(ConfigurationError, match=r"experts\.gpt-5\.5: efforts: write a list"):
        pool_of(efforts=efforts)


def test_an_unknown_effort_is_refused():
    with pytest.raises(ConfigurationError, match="effort"):
        pool_of(efforts=["huge"])
    with pytest.raises(ConfigurationError, match="set effort or efforts"):
        pool_of(effort="low", efforts=["high"])


def expert_at(endpoint, **values):
    table = {
        "base_url": endpoint.base_url,
        "input_usd_per_1m": 1,
        "output_usd_per_1m": 1,
        **values,
    }
    return Pool.read("experts.toml", {"thinker": table})


@pytest.mark.parametrize("kind", [RoutooChatModel, RoutooLLM])
def test_the_effort_reaches_the_endpoint_with_the_call(kind, endpoint):
    pool = expert_at(endpoint, efforts=["low", "high"])
    qualities = {"thinker (low)": 0.1, "thinker (high)": 0.9}
    model = kind(FakePredictor(qualities), pool, policy="best", ledger="memory://", max_tokens=20)
    if kind is RoutooChatModel:
        model.invoke("Hello")
    else:
        model.complete("Hello")
    assert endpoint.requests[-1]["reasoning_effort"] == "high"


def test_without_an_effort_none_is_sent(endpoint):
    pool = expert_at(endpoint)
    predictor = FakePredictor({"thinker": 0.9})
    RoutooChatModel(predictor, pool, policy="best", ledger="memory://", max_tokens=20).invoke("Hi")
    assert "reasoning_effort" not in endpoint.requests[-1]


def test_other_providers_get_it_in_their_own_parameter(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    tables = {"claude-opus-4-8": {"efforts": ["none", "high"]}}
    without, high = Pool.read("experts.toml", tables)
    assert build_chat_model(high).reasoning_effort == "high"
    assert build_chat_model(without).reasoning_effort is None


def test_an_effort_that_a_provider_does_not_know_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("GOOGLE_API_KEY", "x")
    (expert,) = Pool.read("experts.toml", {"gemini-3.5-flash": {"effort": "xhigh"}})
    with pytest.raises(ConfigurationError, match="expert 'gemini-3.5-flash': effort: "):
        build_chat_model(expert)

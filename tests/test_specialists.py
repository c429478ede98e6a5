"""Adapters of one model behind one server: what they share, what is their own, and what they are good at."""

import pytest

from routoo_core import Budget, Pool
from routoo_core.abilities import describe_pool
from routoo_core.catalogue.skills import SKILL_NUMBER
from routoo_core.config import build_router
from routoo_core.errors import ConfigurationError
from routoo_core.latency import LatencyRule
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.predictor.general_checkpoint import load_general
from routoo_core.servers import ServerLatencies
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel

BASE = {
    "model": "small-8b",
    "base_url": "http://127.0.0.1:8000/v1",
    "input_usd_per_1m": 0.05,
    "output_usd_per_1m": 0.10,
    "context_window": 4096,
    "max_output_tokens": 256,
}
ADAPTERS = ["sql", "law", "medicine"]
NAMES = ("base", "base-sql", "base-law", "base-medicine")
MISSING = {"message": "The model `law` does not exist.", "type": "NotFoundError", "code": 404}


def read_pool(**settings):
    return Pool.read("experts.toml", {"base": {**BASE, "adapters": ADAPTERS, **settings}})


def serve(endpoint, quality=None, **settings):
    """A router over a model, its adapters and one expert elsewhere."""
    tables = {
        "base": {**BASE, "base_url": endpoint.base_url, "adapters": ADAPTERS, **settings},
        "elsewhere": {**BASE, "base_url": endpoint.base_url, "model": "elsewhere"},
    }
    pool = Pool.read("experts.toml", tables)
    quality = quality or {"base-sql": 0.9, "base-law": 0.8, "base-medicine": 0.7, "base": 0.6}
    return build_router(
        pool,
        router=FakePredictor({"elsewhere": 0.1, **quality}),
        policy="best",
        budget=Budget(limit="1"),
    )


# The table


def test_a_list_of_adapters_becomes_an_expert_each_at_the_same_server_and_price():
    pool = read_pool()
    assert tuple(expert.name for expert in pool) == NAMES
    assert [expert.model for expert in pool] == ["small-8b", "sql", "law", "medicine"]
    assert {expert.base_url for expert in pool} == {BASE["base_url"]}
    assert len({expert.output_usd_per_1m for expert in pool}) == 1
    assert {expert.server for expert in pool} == {"base"}


def test_a_table_of_an_adapter_overrides_what_it_inherits():
    adapters = {"sql": {"model": "small-8b-sql", "skills": {"data": 0.9}}, "law": {}}
    pool = read_pool(adapters=adapters, skills={"chat": 0.6}, swap_s=1.5)
    assert pool["base-sql"].model == "small-8b-sql"
    assert pool["base-sql"].skills == {"data": 0.9}
    assert pool["base-law"].skills == {"chat": 0.6}
    assert pool["base-law"].swap_s == 1.5


def test_an_adapter_is_as_able_as_its_model_where_the_catalogue_knows_that():
    assert read_pool(model="gpt-5-mini")["base-sql"].like == "gpt-5-mini"
    assert read_pool(model="gpt-5-mini", ability=0.5)["base-sql"].like is None
    assert read_pool(model="no-such-8b")["base-sql"].like is None


def test_adapters_may_have_efforts():
    names = [expert.name for expert in read_pool(adapters=["sql"], efforts=["low", "high"])]
    assert names == ["base (low)", "base (high)", "base-sql (low)", "base-sql (high)"]


@pytest.mark.parametrize("adapters", [[], ["sql", "sql"], [1], "sql", {}, {"sql": "x"}, [""]])
def test_adapters_that_cannot_be_read_are_refused(adapters):
    with pytest.raises(ConfigurationError, match="experts.base: adapters: write a list"):
        read_pool(adapters=adapters)


def test_a_swap_needs_a_server():
    with pytest.raises(ConfigurationError, match="name it as server"):
        Pool.read("experts.toml", {"base": {**BASE, "swap_s": 1}})


def test_the_pool_comes_back_from_its_description(endpoint):
    router = serve(endpoint, swap_s=2, skills={"data": 0.9})
    tables = {e.name: e.model_dump(mode="json", exclude={"name"}) for e in router.pool}
    again = Pool.read("config", tables)
    assert again.siblings() == router.pool.siblings()
    assert again["base-sql"].model_dump() == router.pool["base-sql"].model_dump()


# What they are good at


@pytest.fixture(scope="module")
def general():
    return load_general(find_router("general-fast"))


SQL = (
    "Write a SQL query that returns the ten customers with the largest total of orders in 2024 from the tables "
    "customers(id, name) and orders(id, customer_id, total, created)."
)


def test_a_declared_skill_is_what_is_predicted_for_prompts_of_its_kind(general):
    """Of a kind alone and of usual difficulty, as the checkpoint's own formula has it."""
    pool = read_pool(like="gpt-5-mini", adapters={"sql": {"skills": {"data": 0.9}}})
    _, sql = describe_pool(pool, general)
    number = SKILL_NUMBER["data"]
    ability = sql.ability.mean[number]
    answers = general.answers
    log_odds = answers.slope[number] * ability + answers.ease[number]
    guess = answers.guess[number]
    quality = guess + (1 - guess) / (1 + 2.718281828 ** -float(log_odds))
    assert quality == pytest.approx(0.9, abs=1e-3)
    assert sql.ability.deviation[number] == 0


def test_other_skills_stay_as_they_are(general):
    base, sql = describe_pool(
        read_pool(like="gpt-5-mini", adapters={"sql": {"skills": {"data": 0.9}}}), general
    )
    others = [number for skill, number in SKILL_NUMBER.items() if skill != "data"]
    assert (base.ability.mean[others] == sql.ability.mean[others]).all()


def test_specialists_lead_on_their_own_prompts(general):
    adapters = {"sql": {"skills": {"data": 0.99, "code": 0.95}}, "law": {"skills": {"law": 0.99}}}
    pool = read_pool(ability=-1.0, adapters=adapters)
    quality = general.bind(describe_pool(pool, general)).predict(
        [SQL, "Under the law of contract, when does an offer lapse, and what must a court examine?"]
    )
    assert [pool.experts[place].name for place in quality.argmax(axis=1)] == [
        "base-sql",
        "base-law",
    ]


def test_the_ends_of_a_declared_skill_are_finite(general):
    for share in (0.0, 1.0):
        assert abs(general.answers.ability_for("data", share)) < 10


def test_an_unknown_skill_is_refused_with_the_list():
    with pytest.raises(ConfigurationError, match="'sql' is no skill; choose of science, medicine"):
        read_pool(skills={"sql": 0.9})
    with pytest.raises(ConfigurationError, match=r"skills\.data"):
        read_pool(skills={"data": 1.5})


# Latency


def test_the_swap_is_added_for_all_but_the_adapter_that_is_loaded():
    latencies = ServerLatencies(read_pool(swap_s=1.5))
    latencies.observe("base-sql", 2.0)
    assert latencies.of("base-sql") == 2.0
    assert latencies.of("base-law") == 3.5  # not measured yet: as its siblings, and the swap
    latencies.observe("base-law", 4.0)  # of which 1.5 s were the swap
    assert latencies.of("base-law") == 2.5
    assert latencies.of("base-sql") == 3.5


def test_without_a_server_nothing_is_known_before_the_first_reply():
    tables = {"a": {**BASE}, "b": {**BASE}}
    latencies = ServerLatencies(Pool.read("experts.toml", tables))
    latencies.observe("a", 2.0)
    assert (latencies.of("a"), latencies.of("b")) == (2.0, None)


def test_a_second_that_is_worth_something_keeps_calls_on_the_loaded_adapter(endpoint):
    quality = {"base-sql": 0.9, "base-law": 0.88, "base": 0.1, "base-medicine": 0.1}
    router = serve(endpoint, quality, swap_s=5.0)
    router.latency = LatencyRule(quality_per_s=0.02)
    model = RoutooChatModel(router, max_tokens=20)
    law = model.invoke("Hello there", routoo_expert="base-law")
    assert law.response_metadata["routoo"]["expert"] == "base-law"
    assert model.invoke("Hello there").response_metadata["routoo"]["expert"] == "base-law"


# Failures


def attempts_of(reply):
    return [attempt["expert"] for attempt in reply.response_metadata["routoo"]["attempts"]]


@pytest.mark.parametrize("status", [429, 402])
def test_what_a_server_fails_with_holds_for_all_of_its_adapters(endpoint, status):
    router = serve(endpoint)
    endpoint.replies["sql"] = Reply(status=status, headers={"Retry-After": "60"})
    model = RoutooChatModel(router, max_tokens=20)
    assert attempts_of(model.invoke("Hello there")) == ["base-sql", "elsewhere"]
    assert set(router.cooldowns.current()) == set(NAMES)
    assert attempts_of(model.invoke("Hello again")) == ["elsewhere"]


def test_a_server_that_is_gone_is_not_asked_for_each_of_its_adapters(endpoint):
    router = serve(endpoint, base_url="http://127.0.0.1:9/v1")  # nobody listens there
    reply = RoutooChatModel(router, max_tokens=20).invoke("Hello there")
    assert attempts_of(reply) == ["base-sql", "elsewhere"]
    assert set(router.cooldowns.current()) == set(NAMES)


def test_a_wrong_name_of_an_adapter_is_its_own_matter(endpoint):
    router = serve(endpoint)
    endpoint.replies["sql"] = Reply(status=404, error=MISSING)
    reply = RoutooChatModel(router, max_tokens=20).invoke("Hello there")
    assert attempts_of(reply) == ["base-sql", "base-law"]
    assert set(router.cooldowns.current()) == {"base-sql"}


def test_an_answer_of_one_adapter_ends_the_cooldown_of_all(endpoint):
    router = serve(endpoint)
    endpoint.replies["sql"] = Reply(status=429, headers={"Retry-After": "60"})
    model = RoutooChatModel(router, max_tokens=20)
    model.invoke("Hello there")
    assert router.cooldowns.knows("base-medicine")
    model.invoke("Hello there", routoo_expert="base-law")
    assert not router.cooldowns.current()


def test_processes_learn_of_a_servers_failure_from_the_ledger(endpoint, tmp_path):
    ledger = f"sqlite:///{tmp_path}/routoo.db"
    first = serve(endpoint)
    pool, predictor = first.pool, first.predictor
    routers = []
    for _ in range(2):
        routers.append(
            build_router(
                pool, router=predictor, policy="best", budget=Budget(limit="1"), ledger=ledger
            )
        )
    endpoint.replies["sql"] = Reply(status=429, headers={"Retry-After": "60"})
    RoutooChatModel(routers[0], max_tokens=20).invoke("Hello there")
    assert set(routers[1].cooldowns.current()) == set(NAMES)


# What they can do


def test_needs_choose_among_specialists_by_capability_then_by_skill(endpoint):
    adapters = {
        "sql": {"capabilities": ["tools"]},
        "law": {"capabilities": ["images"]},
        "medicine": {},
    }
    router = serve(endpoint, adapters=adapters)
    model = RoutooChatModel(router, max_tokens=20)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    message = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}
    assert attempts_of(model.invoke([message])) == ["base-law"]

    def lookup(place: str) -> str:
        """Look something up."""
        return place

    assert attempts_of(model.bind_tools([lookup]).invoke("Hello there")) == ["base-sql"]

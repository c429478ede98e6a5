"""A call that was answered before is answered again for nothing: which calls, for whom, for how long."""

import json
import pickle
import stat
from dataclasses import replace

import pytest
from eight_ways import QUESTION, WAYS, WHOLE, answer, model_for
from gateway_parts import HELLO, TOOL, post, stream_events
from gateway_parts import make_router as make_gateway_router
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from pydantic import BaseModel

from routoo_core import Budget, Pool, Router, Usage
from routoo_core.answer_cache.answers import StoredAnswer
from routoo_core.answer_cache.opening import answers_path
from routoo_core.answer_cache.redis_store import RedisAnswers
from routoo_core.answer_cache.rule import CacheRule
from routoo_core.answer_cache.store import SqliteAnswers
from routoo_core.config import build_router
from routoo_core.errors import AllExpertsFailed, ConfigurationError, InvalidRequest
from routoo_core.plans import Consensus
from routoo_core.testing import FakePredictor, ManualClock, Reply
from routoo_integrations.call_settings import routoo_settings
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

NOTHING = "0.000000000"
RULE = CacheRule()


@pytest.fixture
def cached_router(make_router):
    return make_router(cache=RULE)


def state(router):
    return router.ledger.state(router.budget)


# An exact repeat


@pytest.mark.parametrize("way", WAYS)
async def test_a_repeat_calls_nobody_and_books_nothing(cached_router, endpoint, way):
    model = model_for(way, cached_router)
    first_text, first = await answer(way, model, QUESTION)
    booked = state(cached_router)
    text, record = await answer(way, model, QUESTION)
    assert text == first_text
    assert (first["cached"], record["cached"]) == (False, True)
    assert (record["expert"], record["account"]) == ("dear", "default")
    assert (record["held_usd"], record["settled_usd"], record["total_usd"]) == (NOTHING,) * 3
    assert record["attempts"] == []
    assert len(endpoint.requests) == 1
    after = state(cached_router)
    assert (after.spent, after.held, after.calls) == (booked.spent, 0, 1)


@pytest.mark.parametrize("way", WAYS)
async def test_any_way_of_a_framework_repeats_any_other(cached_router, endpoint, way):
    framework = way.split()[0]
    await answer(f"{framework} whole", model_for(way, cached_router), QUESTION)
    _, record = await answer(way, model_for(way, cached_router), QUESTION)
    assert record["cached"]
    assert len(endpoint.requests) == 1


async def test_frameworks_share_what_they_ask_in_the_same_words(cached_router, endpoint):
    await answer("langchain whole", model_for("langchain whole", cached_router), QUESTION)
    llm = model_for("llama_index whole", cached_router)
    _, record = await answer("llama_index whole", llm, QUESTION)
    assert record["cached"]
    assert llm.complete(QUESTION).additional_kwargs["routoo"]["cached"]
    assert len(endpoint.requests) == 1


def test_a_cached_message_says_what_it_took_to_write_it(cached_router):
    model = RoutooChatModel(cached_router, max_tokens=100)
    first = model.invoke(QUESTION)
    again = model.invoke(QUESTION)
    assert again.usage_metadata["total_tokens"] == first.usage_metadata["total_tokens"] > 0
    assert again.response_metadata["model_name"] == "dear"
    assert again.response_metadata["finish_reason"] == "stop"


def test_a_conversation_goes_on_from_an_answer_of_the_cache(cached_router, endpoint):
    model = RoutooChatModel(cached_router, max_tokens=100)
    for _ in range(2):
        messages = [HumanMessage(QUESTION)]
        messages.append(model.invoke(messages))
        messages.append(HumanMessage("And three plus three, if you please?"))
        reply = model.invoke(messages)
    assert reply.response_metadata["routoo"]["cached"]
    assert len(endpoint.requests) == 2


def test_without_a_table_nothing_is_cached(make_router, endpoint):
    model = RoutooChatModel(make_router(), max_tokens=100)
    assert not [model.invoke(QUESTION) for _ in range(2)][1].response_metadata["routoo"]["cached"]
    assert len(endpoint.requests) == 2


def test_langchains_own_cache_goes_on_to_work_before_ours(cached_router, endpoint):
    cache = InMemoryCache()
    model = RoutooChatModel(cached_router, max_tokens=100, cache=cache)
    model.invoke(QUESTION)
    theirs = model.invoke(QUESTION).response_metadata["routoo"]
    assert (theirs["cached"], theirs["account"]) == (True, None)
    cache.clear()
    ours = model.invoke(QUESTION).response_metadata["routoo"]
    assert (ours["cached"], ours["account"]) == (True, "default")
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("answers", [("6", "6"), ("6", "7")], ids=["agreed", "decided"])
async def test_the_answer_of_a_plan_is_given_again(endpoint, way, answers):
    """Whether its reply was at hand before its last step, or is that of the last one."""
    shared = {"max_output_tokens": 256, "context_window": 20_000}
    pool = Pool([endpoint.expert(name, **shared) for name in ("left", "right", "dear")])
    for name, text in zip(("left", "right", "dear"), (*answers, "6"), strict=True):
        endpoint.replies[name] = Reply(text)
    router = build_router(
        pool,
        router=FakePredictor({"left": 0.6, "right": 0.6, "dear": 0.8, "pair": 0.9}),
        policy="best",
        budget=Budget(limit="1"),
        plans=[Consensus(name="pair", experts=("left", "right"), then="dear")],
        cache=RULE,
    )
    model = model_for(way, router)
    first_text, _ = await answer(way, model, "How many legs has an ant? Reply with the number.")
    asked = len(endpoint.requests)
    text, record = await answer(way, model, "How many legs has an ant? Reply with the number.")
    assert (text, record["cached"]) == (first_text, True)
    assert len(endpoint.requests) == asked


# What is the same call


OTHER_CALLS = {
    "another prompt": {"prompt": "What is two plus three?"},
    "a system prompt": {"prompt": [SystemMessage("Be brief."), HumanMessage(QUESTION)]},
    "a name": {"prompt": [HumanMessage(QUESTION, name="Ann")]},
    "a limit": {"max_tokens": 50},
    "a stop": {"stop": ["\n"]},
    "a seed": {"seed": 7},
    "an expert": {"routoo_expert": "cheap"},
    "a policy": {"routoo_policy": {"name": "lagrangian", "lambda": 1}},
}


@pytest.mark.parametrize("name", OTHER_CALLS)
def test_what_shapes_the_reply_tells_calls_apart(cached_router, endpoint, name):
    keywords = dict(OTHER_CALLS[name])
    prompt = keywords.pop("prompt", QUESTION)
    model = RoutooChatModel(cached_router, max_tokens=100)
    model.invoke(QUESTION)
    for is_repeat in (False, True):
        record = model.invoke(prompt, **keywords).response_metadata["routoo"]
        assert record["cached"] is is_repeat
    assert len(endpoint.requests) == 2


def test_policies_of_one_name_and_other_settings_are_told_apart(cached_router, endpoint):
    model = RoutooChatModel(cached_router, max_tokens=100)
    for price in (0, 1e9):
        policy = {"name": "lagrangian", "lambda": price}
        record = model.invoke(QUESTION, routoo_policy=policy).response_metadata["routoo"]
        assert not record["cached"]
    assert len(endpoint.requests) == 2


def by_quality(quality, cost):
    return quality


NEVER = {
    "at random": {"temperature": 0.7},
    "at random, within": {"extra_body": {"temperature": 0.7}},
    "likelihoods": {"logprobs": True},
    "several": {"n": 2},
    "refused": {"routoo_no_cache": True},
    "a function as policy": {"routoo_policy": by_quality},
}


@pytest.mark.parametrize("name", NEVER)
def test_some_calls_are_never_cached(cached_router, endpoint, name):
    model = RoutooChatModel(cached_router, max_tokens=100)
    for _ in range(2):
        record = model.invoke(QUESTION, **NEVER[name]).response_metadata["routoo"]
        assert not record["cached"]
    assert len(endpoint.requests) == 2
    assert cached_router.cache.store.show() == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_temperature_above_nothing_of_the_model_itself_counts(cached_router, endpoint, way):
    model = model_for(way, cached_router, temperature=0.5)
    for _ in range(2):
        _, record = await answer(way, model, QUESTION)
        assert not record["cached"]
    cold = model_for(way, cached_router, temperature=0.0)
    await answer(way, cold, QUESTION)
    assert (await answer(way, cold, QUESTION))[1]["cached"]


def test_a_rule_may_ask_for_a_temperature(make_router, endpoint):
    router = make_router(cache=CacheRule(without_temperature=False))
    model = RoutooChatModel(router, max_tokens=100)
    assert not [model.invoke(QUESTION) for _ in range(2)][1].response_metadata["routoo"]["cached"]
    cold = [model.invoke(QUESTION, temperature=0) for _ in range(2)][1]
    assert cold.response_metadata["routoo"]["cached"]


def weather(place: str) -> str:
    """The weather somewhere."""
    return f"fair in {place}"


def test_calls_with_tools_and_their_results_are_never_cached(cached_router, endpoint):
    model = RoutooChatModel(cached_router, max_tokens=100)
    for _ in range(2):
        model.bind_tools([weather]).invoke(QUESTION)
    assert len(endpoint.requests) == 2
    call = {"name": "weather", "args": {"place": "Bern"}, "id": "1"}
    results = [
        HumanMessage(QUESTION),
        AIMessage("", tool_calls=[call]),
        {"role": "tool", "content": "fair", "tool_call_id": "1"},
    ]
    for _ in range(2):
        assert not model.invoke(results).response_metadata["routoo"]["cached"]


def test_images_are_never_cached(endpoint):
    router = make_gateway_router(endpoint, cache=RULE)
    model = RoutooChatModel(router, max_tokens=100)
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
    ]
    for _ in range(2):
        assert not model.invoke([HumanMessage(parts)]).response_metadata["routoo"]["cached"]


class Sum(BaseModel):
    """A sum."""

    total: int


def test_objects_of_a_schema_are_cached(endpoint):
    router = make_gateway_router(endpoint, cache=RULE)
    endpoint.replies["dear"] = Reply(text='{"total": 4}')
    model = RoutooChatModel(router, max_tokens=100)
    structured = model.with_structured_output(Sum, method="json_schema")
    assert [structured.invoke(QUESTION) for _ in range(2)] == [Sum(total=4)] * 2
    assert len(endpoint.requests) == 1


# What is stored


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="Four", finish_reason="length"),
        Reply(text="Four", finish_reason="content_filter"),
    ],
    ids=["cut", "filtered"],
)
async def test_a_reply_that_is_no_whole_answer_is_not_stored(cached_router, endpoint, way, reply):
    endpoint.replies["dear"] = reply
    await answer(way, model_for(way, cached_router), QUESTION)
    assert cached_router.cache.store.show() == []


@pytest.mark.parametrize("way", WHOLE)
async def test_a_blank_reply_is_not_stored(cached_router, endpoint, way):
    endpoint.replies["dear"] = Reply(text=" ")
    await answer(way, model_for(way, cached_router), QUESTION)
    assert cached_router.cache.store.show() == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_rejected_reply_is_not_stored_and_the_accepted_one_is(cached_router, endpoint, way):
    endpoint.replies["dear"] = Reply(text="Perhaps.")
    endpoint.replies["cheap"] = Reply(text="Forty-two.")

    def check(reply):
        return None if "Forty" in reply.text else "no number"

    model = model_for(way, cached_router)
    keywords = {"routoo_check": check, "routoo_repair": False}
    text, first = await answer(way, model, QUESTION, **keywords)
    again, record = await answer(way, model, QUESTION, **keywords)
    assert text == again == "Forty-two."
    assert (first["expert"], record["expert"], record["cached"]) == ("cheap", "cheap", True)


def test_an_answer_that_a_calls_own_check_refuses_is_asked_for_anew(cached_router, endpoint):
    model = RoutooChatModel(cached_router, max_tokens=100)
    model.invoke(QUESTION)
    endpoint.replies["dear"] = Reply(text="Forty-two.")

    def check(reply):
        return None if "Forty" in reply.text else "no number"

    reply = model.invoke(QUESTION, routoo_check=check)
    assert (reply.text, reply.response_metadata["routoo"]["cached"]) == ("Forty-two.", False)


@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
def test_a_stream_that_its_caller_leaves_is_not_stored(cached_router, endpoint, framework):
    endpoint.replies["dear"] = Reply(text="one two three four")
    if framework == "langchain":
        stream = RoutooChatModel(cached_router, max_tokens=100).stream(QUESTION)
    else:
        stream = RoutooLLM(cached_router, max_tokens=100).stream_complete(QUESTION)
    next(stream)
    stream.close()
    assert cached_router.cache.store.show() == []


def test_an_answer_of_an_expert_that_has_left_is_not_given_again(make_router, endpoint, tmp_path):
    ledger = f"sqlite:///{tmp_path}/routoo.db"
    RoutooChatModel(make_router(cache=RULE, ledger=ledger), max_tokens=100).invoke(QUESTION)
    router = make_router(cache=RULE, ledger=ledger)
    pool = [e.model_copy(update={"model": f"{e.name}-2"}) for e in router.pool]
    router.pool.experts = tuple(pool)
    model = RoutooChatModel(router, max_tokens=100)
    assert not model.invoke(QUESTION).response_metadata["routoo"]["cached"]


def test_a_fence_is_stored_as_it_was_written(cached_router, endpoint):
    fenced = "```json\n{}\n```"
    endpoint.replies["dear"] = Reply(text=fenced)
    model = RoutooChatModel(cached_router, max_tokens=100)
    assert [model.invoke(QUESTION).text for _ in range(2)] == [fenced] * 2
    assert len(endpoint.requests) == 1


# Whose


def account_router(make_router, endpoint):
    """A team with two members, each of whom pays alone."""
    team = Budget(account="team", limit="0.1")
    alice = Budget(account="alice", limit="0.05", within=team)
    bob = Budget(account="bob", limit="0.05", within=team)
    budget = Budget(account="team", limit="0.1", members=[alice, bob])
    return make_gateway_router(endpoint, budget=budget, cache=RULE)


def test_an_account_never_gets_the_answer_of_another(make_router, endpoint):
    router = account_router(make_router, endpoint)
    model = RoutooChatModel(router, max_tokens=100)
    accounts = ("team", "alice", "bob")
    for is_repeat in (False, True):
        for account in accounts:
            record = model.invoke(QUESTION, routoo_account=account).response_metadata["routoo"]
            assert (record["cached"], record["account"]) == (is_repeat, account)
    assert len(endpoint.requests) == 3
    names = [stored.account for stored in router.cache.store.show()]
    assert names == ["team", "team/alice", "team/bob"]


def test_accounts_of_one_name_within_others_are_told_apart(make_router, endpoint):
    router = make_router(cache=RULE)
    model = RoutooChatModel(router, max_tokens=100)
    request = model.routed_request([HumanMessage(QUESTION)], {})
    call = model._call([HumanMessage(QUESTION)], None, None, {})
    from routoo_core.calling.driver import run

    for team in ("red", "blue"):
        payer = Budget(account="ann", within=Budget(account=team))
        paid = replace(request, overrides=replace(request.overrides, payer=payer))
        record = run(router, paid, call).generations[0].message.response_metadata["routoo"]
        assert not record["cached"]
    assert len(endpoint.requests) == 2


def test_an_account_that_cannot_pay_gets_no_answer_from_the_cache(make_router, endpoint):
    router = account_router(make_router, endpoint)
    model = RoutooChatModel(router, max_tokens=100)
    with pytest.raises(InvalidRequest, match="mallory"):
        model.invoke(QUESTION, routoo_account="mallory")


def test_an_account_without_money_still_gets_what_it_paid_for(make_router, endpoint):
    router = make_router(limit="0.003", cache=RULE)
    model = RoutooChatModel(router, max_tokens=50)
    model.invoke(QUESTION)
    router.ledger.reserve(router.budget, minimum=0, maximum=3_000_000, enforce=False)
    assert model.invoke(QUESTION).response_metadata["routoo"]["cached"]


def test_a_block_may_refuse_the_cache(cached_router, endpoint):
    llm = RoutooLLM(cached_router, max_tokens=100)
    llm.complete(QUESTION)
    with routoo_settings(no_cache=True):
        assert not llm.complete(QUESTION).additional_kwargs["routoo"]["cached"]
    with pytest.raises(InvalidRequest, match="no_cache: 'maybe' is neither true nor false"):
        llm.complete(QUESTION, routoo_no_cache="maybe")


# The store


ANSWER = StoredAnswer("Four.", "stop", "dear", "dear-1", None, Usage(3, 2), 500, 100.0, {})


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make_store(request, tmp_path):
    """Stores of a kind with a clock that is set by hand."""
    clock = ManualClock(100.0)

    def make(max_age_s=60.0, max_entries=3):
        if request.param == "redis":
            url = request.getfixturevalue("redis_url")
            return RedisAnswers(url, max_age_s, max_entries, clock)
        path = tmp_path / "answers.db" if request.param == "sqlite" else None
        return SqliteAnswers(path, max_age_s, max_entries, clock)

    make.clock = clock
    return make


def test_a_store_gives_back_what_it_was_given(make_store):
    store = make_store()
    assert store.find("k") is None
    store.put("k", "alice", ANSWER)
    assert store.find("k") == ANSWER
    newer = replace(ANSWER, text="4")
    store.put("k", "alice", newer)
    assert store.find("k") == newer
    [stored] = store.show()
    assert (stored.account, stored.entries, stored.hits, stored.saved) == ("alice", 1, 2, 1000)


def test_a_store_forgets_what_is_too_old(make_store):
    store = make_store(max_age_s=60.0)
    store.put("k", "alice", ANSWER)
    make_store.clock.advance(59)
    assert store.find("k") == ANSWER
    make_store.clock.advance(1)
    assert store.find("k") is None


def test_a_store_forgets_what_its_account_used_longest_ago(make_store):
    store = make_store(max_entries=3)
    store.put("other", "bob", ANSWER)
    for key in "abc":
        make_store.clock.advance(1)
        store.put(key, "alice", replace(ANSWER, created=make_store.clock()))
    make_store.clock.advance(1)
    store.find("a")
    make_store.clock.advance(1)
    store.put("d", "alice", replace(ANSWER, created=make_store.clock()))
    assert [key for key in "abcd" if store.find(key)] == ["a", "c", "d"]
    assert store.find("other")


def test_a_store_is_cleared_for_an_account_and_those_within_it(make_store):
    store = make_store()
    for key, account in (("1", "team"), ("2", "team/alice"), ("3", "teams"), ("4", "bob")):
        store.put(key, account, ANSWER)
    assert store.clear("alice") == 1
    assert store.clear("team") == 1
    assert [stored.account for stored in store.show()] == ["bob", "teams"]
    assert store.clear() == 2
    assert store.show() == []


def test_the_file_is_for_its_owner_alone_and_holds_json(make_router, tmp_path):
    router = make_router(cache=RULE, ledger=f"sqlite:///{tmp_path}/routoo.db")
    RoutooChatModel(router, max_tokens=100).invoke(QUESTION)
    path = answers_path(router.ledger)
    assert path == tmp_path / "routoo.answers.db"
    for name in (path.name, f"{path.name}-wal"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    content = path.read_bytes() + path.with_name(f"{path.name}-wal").read_bytes()
    assert QUESTION.encode() not in content


def test_programs_share_the_file(make_router, endpoint, tmp_path):
    ledger = f"sqlite:///{tmp_path}/routoo.db"
    RoutooChatModel(make_router(cache=RULE, ledger=ledger), max_tokens=100).invoke(QUESTION)
    copy = pickle.loads(pickle.dumps(make_router(cache=RULE, ledger=ledger).parts.ledger))
    router = make_router(cache=RULE, ledger=copy)
    assert (
        RoutooChatModel(router, max_tokens=100)
        .invoke(QUESTION)
        .response_metadata["routoo"]["cached"]
    )
    assert len(endpoint.requests) == 1


def test_a_store_that_fails_costs_no_call(make_router, endpoint, tmp_path, caplog):
    router = make_router(cache=RULE, ledger=f"sqlite:///{tmp_path}/routoo.db")
    answers_path(router.ledger).write_text("this is no database, though it is long enough" * 50)
    model = RoutooChatModel(router, max_tokens=100)
    for _ in range(2):
        assert not model.invoke(QUESTION).response_metadata["routoo"]["cached"]
    warnings = [record.message for record in caplog.records if "cache of answers" in record.message]
    assert len(warnings) == 1
    assert "calls go on without it" in warnings[0]


def test_a_call_that_fails_stores_nothing(cached_router, endpoint):
    endpoint.replies["dear"] = endpoint.replies["cheap"] = Reply(status=400)
    with pytest.raises(Exception) as caught:
        RoutooChatModel(cached_router, max_tokens=100).invoke(QUESTION)
    assert isinstance(caught.value, AllExpertsFailed)
    assert cached_router.cache.store.show() == []


# Settings


def test_the_table_turns_it_on_and_comes_back_from_a_description(endpoint, tmp_path):
    experts = {
        "small": {
            "model": "small",
            "ability": 0,
            "base_url": endpoint.base_url,
            "input_usd_per_1m": 1,
            "output_usd_per_1m": 1,
        }
    }
    config = {
        "router": "general-fast",
        "experts": experts,
        "cache": {"max_age_s": 60, "max_entries": 5},
        "budget": {"ledger": "memory://"},
    }
    router = Router.from_config(config)
    assert router.cache.rule == CacheRule(max_age_s=60, max_entries=5)
    assert router.to_config()["cache"]["max_age_s"] == 60
    assert Router.from_config({**config, "cache": None}).cache is None
    with pytest.raises(ConfigurationError, match="max_entries"):
        Router.from_config({**config, "cache": {"max_entries": 0}})


# The gateway


@pytest.fixture
def gateway(endpoint):
    router = make_gateway_router(endpoint, cache=RULE)
    with GatewayServer(Gateway(router), port=0) as server:
        server.router = router
        yield server


CHAT = {"model": "routoo", "max_tokens": 50, "messages": HELLO}
BODIES = {
    "/v1/chat/completions": CHAT,
    "/v1/messages": CHAT,
    "/v1/responses": {
        "model": "routoo",
        "max_output_tokens": 50,
        "input": HELLO[0]["content"],
    },
    "/v1/completions": {"model": "routoo", "max_tokens": 50, "prompt": HELLO[0]["content"]},
}


NEWER = {"/v1/messages", "/v1/responses"}
"""Protocols that call tokens input and output."""


def text_of(path, body):
    if path == "/v1/messages":
        return body["content"][0]["text"]
    if path == "/v1/responses":
        return body["output"][0]["content"][0]["text"]
    choice = body["choices"][0]
    return choice["text"] if path == "/v1/completions" else choice["message"]["content"]


@pytest.mark.parametrize("path", BODIES)
def test_the_gateway_answers_a_repeat_in_each_protocol(gateway, endpoint, path):
    first = post(gateway, BODIES[path], path)
    again = post(gateway, BODIES[path], path)
    assert text_of(path, again.json()) == text_of(path, first.json())
    assert "Routoo-Cached" not in first.headers
    assert again.headers["Routoo-Cached"] == "yes"
    assert again.headers["Routoo-Settled-USD"] == NOTHING
    assert again.headers["Routoo-Expert"] == "dear"
    assert again.json()["usage"].keys() >= {"prompt_tokens", "total_tokens"} or path in NEWER
    assert len(endpoint.requests) == 1


def streamed_text(path, events):
    texts = []
    for event in events:
        value = json.loads(event.data) if event.data != "[DONE]" else {}
        if path == "/v1/messages":
            texts.append(value.get("delta", {}).get("text", ""))
        elif path == "/v1/responses":
            if value.get("type") == "response.output_text.delta":
                texts.append(value["delta"])
        else:
            for choice in value.get("choices", ()):
                texts.append(choice.get("text") or choice.get("delta", {}).get("content") or "")
    return "".join(texts)


@pytest.mark.parametrize("path", BODIES)
def test_the_gateway_streams_a_repeat_in_each_protocol(gateway, endpoint, path):
    first = stream_events(gateway, BODIES[path], path)
    again = stream_events(gateway, BODIES[path], path)
    assert streamed_text(path, again) == streamed_text(path, first) != ""
    records = []
    for event in again:
        if "routoo" in event.data and event.data != "[DONE]":
            records.append(json.loads(event.data).get("routoo"))
    assert [record["cached"] for record in records if record] == [True]
    assert len(endpoint.requests) == 1
    whole = post(gateway, BODIES[path], path)
    assert whole.headers["Routoo-Cached"] == "yes"


def test_protocols_share_what_is_the_same_call(gateway, endpoint):
    for path, body in BODIES.items():
        post(gateway, body, path)
    assert len(endpoint.requests) == 1


def test_a_header_refuses_the_cache(gateway, endpoint):
    post(gateway, CHAT)
    refused = post(gateway, CHAT, headers={"Routoo-Cache": "no"})
    assert "Routoo-Cached" not in refused.headers
    assert len(endpoint.requests) == 2
    wrong = post(gateway, CHAT, headers={"Routoo-Cache": "never"})
    assert wrong.status_code == 400
    assert "neither yes nor no" in wrong.json()["error"]["message"]


@pytest.mark.parametrize(
    "more",
    [{"temperature": 1}, {"tools": [TOOL]}, {"n": 2}, {"logprobs": True}],
    ids=["temperature", "tools", "n", "logprobs"],
)
def test_the_gateway_never_caches_what_the_adapters_do_not(gateway, endpoint, more):
    for _ in range(2):
        assert "Routoo-Cached" not in post(gateway, {**CHAT, **more}).headers
    assert len(endpoint.requests) == 2


def test_the_figures_and_the_page_know_of_cached_replies(gateway):
    import httpx

    for _ in range(3):
        post(gateway, CHAT)
    figures = httpx.get(f"{gateway.address}/metrics").text
    assert 'routoo_cached_replies_total{account="default"} 2.0' in figures
    page = httpx.get(f"{gateway.address}/").text
    assert page.count("the same call was answered before") == 2


def test_a_response_from_the_cache_can_be_gone_on_from(endpoint, tmp_path):
    from routoo_integrations.gateway.response_file import ResponseFile

    router = make_gateway_router(endpoint, cache=RULE)
    with GatewayServer(Gateway(router, responses=ResponseFile(None, 3600)), port=0) as server:
        post(server, BODIES["/v1/responses"], "/v1/responses")
        again = post(server, BODIES["/v1/responses"], "/v1/responses")
        assert again.headers["Routoo-Cached"] == "yes"
        body = {**BODIES["/v1/responses"], "previous_response_id": again.json()["id"]}
        assert post(server, body, "/v1/responses").status_code == 200
    assert len(endpoint.requests[-1]["messages"]) == 3

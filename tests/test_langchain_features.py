"""What LangChain users do with any chat model: structured output, media, caches, limits, batches, copies, runnables."""

import asyncio
import copy
import json
import pickle
import time

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ValidationError
from scripted import scripted

from routoo_core import Budget, Expert, Pool, Router
from routoo_core.config import build_router
from routoo_core.errors import ConfigurationError, InvalidRequest, NoCapableExpert
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.langchain.clients import LangChainClient

PICTURE = "data:image/png;base64," + "A" * 400


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str


@pytest.fixture
def model(endpoint):
    endpoint.replies = {"cheap": scripted, "dear": scripted}
    pool = {
        "cheap": endpoint.expert("cheap", capabilities={"tools"}, context_window=32_000),
        "dear": endpoint.expert(
            "dear", capabilities={"tools", "json_schema", "images"}, input_usd_per_1m=10
        ),
    }
    predictor = BatchingPredictor(FakePredictor({"cheap": 0.4, "dear": 0.9}))
    return RoutooChatModel(predictor, pool, policy="best", max_tokens=50)


def spent(model):
    return model.router.ledger.state(model.router.budget).spent


def expert_of(message):
    return message.response_metadata["routoo"]["expert"]


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
@pytest.mark.parametrize("strict", [None, True])
async def test_structured_output_comes_in_the_form_asked_for_by_each_method(model, method, strict):
    joke = await model.with_structured_output(Joke, method=method, strict=strict).ainvoke(
        "A joke, please."
    )
    assert isinstance(joke, Joke)
    raw = model.with_structured_output(
        Joke.model_json_schema(), method=method, strict=strict, include_raw=True
    )
    found = raw.invoke("A joke, please.")
    assert set(found["parsed"]) == {"setup", "punchline"}
    assert found["parsing_error"] is None
    assert expert_of(found["raw"]) == "dear"


def test_strictness_reaches_the_provider(model, endpoint):
    model.with_structured_output(Joke, method="json_schema", strict=True).invoke("A joke, please.")
    model.with_structured_output(Joke, method="function_calling", strict=True).invoke(
        "A joke, please."
    )
    schema, tool = (
        endpoint.requests[0]["response_format"]["json_schema"],
        endpoint.requests[1]["tools"][0],
    )
    assert schema["strict"] is tool["function"]["strict"] is True
    assert schema["name"] == "Joke"


def test_an_answer_of_another_form_is_reported_beside_the_raw_one(model, endpoint):
    endpoint.replies["dear"] = Reply("no JSON today")
    found = model.with_structured_output(Joke, method="json_schema", include_raw=True).invoke(
        "A joke, please."
    )
    assert found["parsed"] is None
    assert "no JSON today" in str(found["parsing_error"])


def test_by_default_the_method_is_what_most_of_the_pool_can_do(model, endpoint):
    model.with_structured_output(Joke).invoke("A joke, please.")
    assert "tools" in endpoint.requests[-1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"schema": Joke, "method": "telepathy"}, "method: 'telepathy' is none of"),
        ({"schema": None, "method": "json_schema"}, "schema: needed for method 'json_schema'"),
    ],
)
def test_a_structure_that_cannot_be_had_is_refused_when_asked_for(model, wrong, said):
    with pytest.raises(ValueError, match=said):
        model.with_structured_output(**wrong)


def test_a_tool_choice_must_name_a_tool(model):
    with pytest.raises(ValueError, match="'addd' is none of any, auto, none, required, Joke"):
        model.bind_tools([Joke], tool_choice="addd")


def test_images_go_to_an_expert_that_sees_and_count_as_prompt(model):
    text = {"type": "text", "text": "What is on this picture?"}
    reply = model.invoke(
        [HumanMessage([text, {"type": "image_url", "image_url": {"url": PICTURE}}])]
    )
    assert expert_of(reply) == "dear"
    seeing = reply.response_metadata["routoo"]["candidates"]
    assert [candidate["expert"] for candidate in seeing] == ["dear"]
    assert float(seeing[0]["expected_usd"]) > 2500 * 10e-6
    with pytest.raises(NoCapableExpert, match="cheap lacks images"):
        model.invoke(
            [HumanMessage([{"type": "image", "base64": "A" * 400, "mime_type": "image/png"}])],
            model="cheap",
        )


def test_output_version_v1_is_one_text_block(model):
    model.output_version = "v1"
    assert [block["type"] for block in model.invoke("Hello, who are you?").content] == ["text"]


def test_stop_sequences_of_the_model_and_of_the_call_are_heard(model):
    assert model.invoke("Hello, who are you?", stop=["what"]).content == "Hello there,"
    model.stop = ["there"]
    assert model.invoke("Hello, who are you?").content == "Hello"


@pytest.mark.parametrize("how", ["config", "bind", "keyword"])
def test_a_call_sets_its_own_expert_in_each_of_three_ways(model, how):
    question = "Hello, who are you?"
    if how == "config":
        reply = model.invoke(
            question, config={"configurable": {"routoo_expert": "cheap", "thread_id": "7"}}
        )
    elif how == "bind":
        reply = model.bind(routoo_expert="cheap").invoke(question)
    else:
        reply = model.invoke(question, routoo_expert="cheap")
    assert expert_of(reply) == "cheap"


async def test_settings_of_a_call_are_heard_in_streams_and_chains(model):
    config = {"configurable": {"routoo_expert": "cheap"}}
    assert expert_of(list(model.stream("Hello, who are you?", config))[-1]) == "cheap"
    assert (
        expert_of([chunk async for chunk in model.astream("Hello, who are you?", config)][-1])
        == "cheap"
    )
    assert expert_of(await model.ainvoke("Hello, who are you?", config)) == "cheap"
    assert (
        expert_of(model.stream_events("Hello, who are you?", config, version="v3").output)
        == "cheap"
    )
    chain = ChatPromptTemplate.from_template("{q}") | model
    assert [expert_of(reply) for reply in chain.batch([{"q": "Hello?"}] * 2, config)] == [
        "cheap",
        "cheap",
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"routoo_polcy": "best"}, "routoo_polcy: unknown; a call may set routoo_account"),
        ({"routoo_policy": "bestest"}, "routoo_policy: policy: 'bestest' is unknown"),
        ({"routoo_policy": "paced"}, "a single call cannot be paced"),
        ({"routoo_expert": "nobody"}, "routoo_expert: expert 'nobody' is not in the pool"),
        ({"routoo_max_cost": "much"}, "routoo_max_cost: 'much' is not an amount"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_before_anything_is_charged(
    model, endpoint, settings, said
):
    with pytest.raises(InvalidRequest, match=said):
        model.invoke("Hello, who are you?", config={"configurable": settings})
    assert (spent(model), endpoint.requests) == (0, [])


def test_a_price_no_expert_can_keep_says_what_each_needs(model):
    with pytest.raises(NoCapableExpert, match=r"a price of at most \$0.000001 \(it needs \$0.000"):
        model.invoke("Hello, who are you?", routoo_max_cost="0.000001")


def test_a_price_also_limits_a_reply_without_a_limit_of_its_own(model, endpoint):
    model.max_tokens = None
    reply = model.invoke("Hello, who are you?", routoo_max_cost="0.0015", routoo_expert="cheap")
    assert float(reply.response_metadata["routoo"]["held_usd"]) <= 0.0015
    assert endpoint.requests[0]["max_tokens"] < 1500


async def test_an_answer_from_the_cache_is_not_charged_and_says_so(model, endpoint):
    model.cache = InMemoryCache()
    first = model.invoke("Hello, who are you?")
    paid = spent(model)
    for again in (model.invoke("Hello, who are you?"), await model.ainvoke("Hello, who are you?")):
        record = again.response_metadata["routoo"]
        assert (record["cached"], record["settled_usd"]) == (True, "0.000000000")
    assert first.response_metadata["routoo"]["cached"] is False
    assert (spent(model), len(endpoint.requests)) == (paid, 1)
    model.invoke("Hello, who are you?", routoo_expert="cheap")
    assert len(endpoint.requests) == 2


def test_a_batch_is_predicted_in_one_pass(model):
    passes = []
    predict = model.router.predictor.predictor.predict
    model.router.predictor.predictor.predict = lambda prompts: (
        passes.append(len(prompts)) or predict(prompts)
    )
    replies = model.batch([f"Question number {i}, please?" for i in range(20)])
    assert (len(replies), passes) == (20, [20])


def test_one_bad_input_of_a_batch_leaves_the_others(model):
    film = [HumanMessage([{"type": "video", "url": "https://x/y.mp4"}])]
    replies = model.batch(["Hello?", film, "Who is there?"], return_exceptions=True)
    kinds = [AIMessage, NoCapableExpert, AIMessage]
    assert all(map(isinstance, replies, kinds))


async def test_rate_limits_of_experts_are_kept(endpoint):
    limiter = InMemoryRateLimiter(
        requests_per_second=0.001, check_every_n_seconds=0.01, max_bucket_size=1
    )
    limiter.available_tokens = 1
    client = ChatOpenAI(model="a", base_url=endpoint.base_url, api_key="x", rate_limiter=limiter)
    expert = endpoint.expert("a", client=client)
    model = RoutooChatModel(FakePredictor({"a": 1}), {"a": expert}, policy="best")
    await model.ainvoke("first of two")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(model.ainvoke("second of two"), 0.3)
    assert len(endpoint.requests) == 1
    await asyncio.sleep(0.2)
    assert model.router.ledger.state(model.router.budget).held == 0


async def test_a_cancelled_stream_closes_its_connection_and_is_booked_at_the_most_it_can_have_cost(
    model, endpoint
):
    endpoint.replies["dear"] = Reply("word " * 200, word_delay_s=0.02)

    begun = asyncio.Event()

    async def read():
        async for _ in model.astream("Tell me a long story, please.", max_tokens=200):
            begun.set()

    reading = asyncio.create_task(read())
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    until = time.monotonic() + 5
    while not endpoint.hung_up and time.monotonic() < until:
        await asyncio.sleep(0.05)
    state = model.router.ledger.state(model.router.budget)
    assert (endpoint.hung_up, state.held, state.calls) == (["dear"], 0, 1)
    request = model.routed_request([HumanMessage("Tell me a long story, please.")], {})
    most = model.router.pool["dear"].maximum_cost(request.prompt_token_bound, 200)
    assert state.spent == most


async def test_two_hundred_calls_at_once_all_settle(model, endpoint):
    endpoint.replies["dear"] = Reply("Yes.", delay_s=0.2)
    replies = await asyncio.gather(*(model.ainvoke(f"Are you number {i}?") for i in range(200)))
    state = model.router.ledger.state(model.router.budget)
    assert (len(replies), state.calls, state.held) == (200, 200, 0)


def priced(name, client, **settings):
    return Expert(
        name=name, model=name, client=client, input_usd_per_1m=1, output_usd_per_1m=1, **settings
    )


async def test_any_runnable_can_be_an_expert(endpoint):
    openai = ChatOpenAI(model="a", base_url=endpoint.base_url, api_key="x")
    failing = ChatOpenAI(model="b", base_url=endpoint.base_url, api_key="x", max_retries=0)
    endpoint.replies["b"] = Reply(status=500)
    runnables = {
        "bound": openai.bind(temperature=0.5),
        "function": RunnableLambda(lambda messages: f"You said {messages[-1].text}"),
        "chain": ChatPromptTemplate.from_messages(
            [("system", "Be brief."), MessagesPlaceholder("messages")]
        )
        | openai,
        "fallback": failing.with_fallbacks([openai]),
    }
    for name, runnable in runnables.items():
        model = RoutooChatModel(
            FakePredictor({name: 1}),
            {name: priced(name, runnable, added_prompt_tokens=100, answers_as=["a"])},
            policy="best",
            max_tokens=9,
        )
        said = "You said hello" if name == "function" else "The answer is four."
        chunks = [chunk async for chunk in model.astream("hello")]
        assert [model.invoke("hello").content, sum(chunks[1:], chunks[0]).content] == [
            said,
            said,
        ], name
        assert (await model.ainvoke("hello")).content == said
        assert model.router.ledger.state(model.router.budget).calls == 3
    assert endpoint.requests[0]["temperature"] == 0.5
    assert {
        request.get("max_tokens") or request.get("max_completion_tokens")
        for request in endpoint.requests
    } == {9}


def test_an_expert_of_another_provider_is_built_by_its_name(endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    named = Expert(
        name="gpt-4o-mini", model="gpt-4o-mini", provider="openai", base_url=endpoint.base_url
    )
    model = RoutooChatModel(
        FakePredictor({"gpt-4o-mini": 1, "mini": 0}),
        {"gpt-4o-mini": named, "mini": "openai:gpt-4o-mini"},
    )
    assert model.invoke("What is two plus two?").content == "The answer is four."
    assert model.router.pool["mini"].lacks(frozenset({"tools", "json_schema"})) == []


def test_a_model_that_wraps_itself_to_use_tools_says_how_to_go_on():
    class Wrapping(GenericFakeChatModel):
        def bind_tools(self, tools, **_):
            return RunnableLambda(lambda messages: "no")

    client = Wrapping(messages=iter([AIMessage("never")]))
    model = RoutooChatModel(
        FakePredictor({"w": 1}), {"w": priced("w", client, capabilities={"tools"})}, policy="best"
    )
    with pytest.raises(ConfigurationError, match="Wrapping returns another model when tools"):
        model.bind_tools([Joke]).invoke("hello")
    assert spent(model) == 0


def test_a_schema_is_said_in_the_words_of_a_model_that_does_not_speak_openai():
    class Other(GenericFakeChatModel):
        def with_structured_output(self, schema, *, method, **_):
            return self.bind(output_format=(method, schema["title"])) | RunnableLambda(
                lambda reply: reply
            )

    form = {
        "type": "json_schema",
        "json_schema": {"name": "Joke", "schema": Joke.model_json_schema()},
    }
    arguments = LangChainClient(Other(messages=iter([]))).arguments(
        None, {"response_format": form}, 9
    )
    assert arguments == {"output_format": ("json_schema", "Joke"), "max_tokens": 9, "stop": None}


def test_the_profile_says_what_the_pool_can_serve(model):
    assert model.profile["max_input_tokens"] == 32_000
    assert (
        model.profile["tool_calling"],
        model.profile["image_inputs"],
        model.profile["audio_inputs"],
    ) == (
        True,
        True,
        False,
    )


def file_router(checkpoint, endpoint, monkeypatch, folder):
    monkeypatch.setenv("SECRET_KEY", "sk-very-secret")
    pool = {
        name: endpoint.expert(name, api_key_env="SECRET_KEY") for name in ("calculator", "talker")
    }
    ledger = f"sqlite:///{folder / 'routoo.db'}"
    budget = Budget(
        account="ann", limit="1.00", within=Budget(account="team", limit="5.00", period="month")
    )
    return RoutooChatModel(
        str(checkpoint), pool, budget=budget, ledger=ledger, max_tokens=20, temperature=0.5
    )


def test_a_model_is_written_down_and_built_again_without_its_keys(
    checkpoint, endpoint, monkeypatch, tmp_path
):
    model = file_router(checkpoint, endpoint, monkeypatch, tmp_path)
    model.invoke("what is 12 + 34 ?")
    written = json.dumps(model.to_config())
    assert "sk-very-secret" not in written
    again = RoutooChatModel.from_config(json.loads(written))
    assert again.to_config() == model.to_config()
    assert again.invoke("what is 12 + 34 ?").content == "The answer is four."
    assert again.router.ledger.state(again.router.budget).calls == 2
    assert (again.max_tokens, again.temperature) == (20, 0.5)


def test_pickling_rebuilds_clients_and_keeps_the_budget(
    checkpoint, endpoint, monkeypatch, tmp_path
):
    model = file_router(checkpoint, endpoint, monkeypatch, tmp_path)
    model.invoke("what is 12 + 34 ?")
    packed = pickle.dumps(model)
    assert b"sk-very-secret" not in packed
    again = pickle.loads(packed)
    assert again.invoke("what is 12 + 34 ?").content == "The answer is four."
    assert again.router.ledger.state(again.router.budget).calls == 2


def test_a_limit_kept_in_memory_does_not_cross_into_another_process(make_router):
    model = RoutooChatModel(make_router())
    with pytest.raises(ConfigurationError, match="kept in this process's memory"):
        pickle.dumps(model)
    unlimited = pickle.loads(pickle.dumps(RoutooChatModel(make_router(limit=None), max_tokens=5)))
    assert unlimited.invoke("What is two plus two?").content == "The answer is four."


def test_copies_share_one_budget(make_router):
    model = RoutooChatModel(make_router(), max_tokens=20)
    for copied in (
        copy.copy(model),
        copy.deepcopy(model),
        model.model_copy(),
        copy.deepcopy(model.bind(stop=["x"])),
    ):
        copied.invoke("What is two plus two?")
    assert model.router.ledger.state(model.router.budget).calls == 4


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"router": FakePredictor({"a": 1})},
            "router: a FakePredictor object cannot be saved to a file; train one",
        ),
        (
            {"policy": lambda quality, cost: quality},
            "policy: a function object cannot be saved to a file; use one of paced",
        ),
        (
            {"client": RunnableLambda(str)},
            "expert 'a': a RunnableLambda object cannot be saved to a file",
        ),
    ],
)
def test_what_has_no_words_cannot_be_written_down(parts, said, endpoint, checkpoint):
    given = {"router": str(checkpoint), "policy": "best", **parts}
    client = given.pop("client", None)
    expert = endpoint.expert("a", router_name="a" if "router" in parts else "talker", client=client)
    router = build_router(Pool([expert]), **given)
    with pytest.raises(ConfigurationError, match=said):
        router.to_config()


def test_routers_are_built_from_config_with_errors_that_name_the_field(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="config: experts.a: write it as a table"):
        Router.from_config({"router": "general-fast", "experts": {"a": 3}})
    assert list(tmp_path.iterdir()) == []  # no ledger is opened for a router that cannot be built


def test_the_caller_may_say_what_is_read(model):
    model.question_of = lambda text: text.partition("Frage:")[2].strip()
    prompt = "Viel Kontext über Füchse.\nFrage: Was frisst er?"
    model.invoke(prompt)
    model.invoke([HumanMessage([{"type": "text", "text": prompt}])])
    assert set(model.router.predictor.predictor.prompts) == {"Was frisst er?"}
    with pytest.raises(ConfigurationError, match="question_of: a function cannot be written down"):
        model.to_config()


def test_token_ids_are_those_of_o200k_and_need_no_network(model):
    assert (
        len(model.get_token_ids("What is two plus two?"))
        == model.get_num_tokens("What is two plus two?")
        == 6
    )


def test_traces_name_the_router_until_the_expert_is_known(model):
    assert model._get_ls_params()["ls_model_name"] == "routoo"
    assert model._get_ls_params(model="cheap")["ls_model_name"] == "cheap"


@pytest.mark.parametrize(
    "update",
    [{"max_tokens": 0}, {"max_tokens": "many"}, {"timeout": -1.0}, {"max_retries": -1}],
)
def test_a_copy_is_checked_as_the_constructor_checks(model, update):
    with pytest.raises(ValidationError, match=next(iter(update))):
        model.model_copy(update=update)
    with pytest.raises(ValidationError, match="max_token"):
        model.model_copy(update={"max_token": 5})
    with pytest.raises(ValidationError, match=next(iter(update))):
        RoutooChatModel(model.router, **update)


def test_a_copy_with_another_timeout_calls_experts_with_it(model):
    copy = model.model_copy(update={"timeout": 7.0})
    expert = model.router.pool["dear"]
    assert copy.client(expert).model.request_timeout == 7.0
    assert model.client(expert).model.request_timeout != 7.0
    assert copy.router is model.router


def test_a_copy_with_another_router_calls_its_experts(model, endpoint):
    pool = Pool([endpoint.expert("other")])
    router = build_router(pool, router=FakePredictor({"other": 1.0}), policy="best")
    reply = model.model_copy(update={"router": router}).invoke("Who are you?")
    assert reply.response_metadata["routoo"]["expert"] == "other"


def test_a_keyword_that_is_unknown_is_refused(model):
    with pytest.raises(TypeError, match="colour"):
        RoutooChatModel(model.router, colour="red")


def test_a_protocol_is_added_by_one_entry(monkeypatch, make_router, endpoint):
    from routoo_integrations.langchain.protocols import PROTOCOLS

    class House(GenericFakeChatModel):
        pass

    def build(expert):
        return House(messages=iter([AIMessage(f"{expert.model} of our own")]))

    monkeypatch.setitem(PROTOCOLS, "house", build)
    expert = endpoint.expert("mine", provider="house")
    model = RoutooChatModel(FakePredictor({"mine": 1.0}), {"mine": expert}, policy="best")
    assert model.invoke("Who are you?").content == "mine of our own"

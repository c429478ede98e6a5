"""What a model does not take is not sent: known of its family, told by its settings, or learnt from its refusal."""

import pytest
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from routoo_core import Expert, Pool
from routoo_core.config import build_router
from routoo_core.parameters import RefusedParameters
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel, RoutooMiddleware
from routoo_integrations.llama_index import RoutooLLM

PRICES = {"input_usd_per_1m": 1, "output_usd_per_1m": 2}


def refusing(*parameters):
    """An endpoint that answers only without these arguments, as OpenAI's says it."""

    def reply(body):
        for name in parameters:
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                error = {"message": message, "param": name, "code": "unsupported_parameter"}
                return Reply(status=400, body={"error": error})
        return Reply()

    return reply


def router_over(endpoint, *experts):
    predictor = FakePredictor({expert.name: 1 - i / 10 for i, expert in enumerate(experts)})
    return build_router(Pool(experts), router=predictor, policy="best")


def expert_of(endpoint, model, **settings):
    settings = {"context_window": 8192, "max_output_tokens": 100, **PRICES, **settings}
    return Expert(name=model, model=model, base_url=endpoint.base_url, **settings)


async def ask(kind, how, router, **keywords):
    """The record of one call of an adapter."""
    if kind is RoutooChatModel:
        model = RoutooChatModel(router, **keywords)
        if how == "whole":
            message = model.invoke("What is 2 + 2?")
        elif how == "async":
            message = await model.ainvoke("What is 2 + 2?")
        elif how == "stream":
            *_, message = model.stream("What is 2 + 2?")
        else:
            message = [chunk async for chunk in model.astream("What is 2 + 2?")][-1]
        return message.response_metadata["routoo"]

    llm = RoutooLLM(router, **keywords)
    messages = [ChatMessage("What is 2 + 2?")]
    if how == "whole":
        response = llm.chat(messages)
    elif how == "async":
        response = await llm.achat(messages)
    elif how == "stream":
        *_, response = llm.stream_chat(messages)
    else:
        response = [piece async for piece in await llm.astream_chat(messages)][-1]
    return response.additional_kwargs["routoo"]


KINDS = pytest.mark.parametrize("kind", [RoutooChatModel, RoutooLLM])
WAYS = pytest.mark.parametrize("how", ["whole", "async", "stream", "astream"])


@KINDS
@WAYS
@pytest.mark.parametrize("model", ["gpt-5-mini", "o3", "openai/gpt-5-nano"])
async def test_a_reasoning_model_is_not_sent_a_temperature(endpoint, kind, how, model):
    endpoint.replies[model] = refusing("temperature", "top_p", "stop")
    record = await ask(kind, how, router_over(endpoint, expert_of(endpoint, model)), temperature=0)
    assert len(record["attempts"]) == 1
    assert "temperature" not in endpoint.requests[-1]


@KINDS
@WAYS
async def test_a_refused_argument_is_left_out_and_the_expert_asked_once_more(endpoint, kind, how):
    endpoint.replies["odd"] = refusing("temperature")
    router = router_over(endpoint, expert_of(endpoint, "odd"), expert_of(endpoint, "other"))
    record = await ask(kind, how, router, temperature=0.5)
    assert [attempt["expert"] for attempt in record["attempts"]] == ["odd", "odd"]
    assert [attempt["settled_usd"] == "0.000000000" for attempt in record["attempts"]] == [
        True,
        False,
    ]

    record = await ask(kind, how, router, temperature=0.5)
    assert len(record["attempts"]) == 1  # it is remembered


@KINDS
@WAYS
@pytest.mark.parametrize("refused", ["max_tokens", "stream_options"])
async def test_the_limit_keeps_another_name_and_a_stream_goes_without_its_options(
    endpoint, kind, how, refused
):
    endpoint.replies["odd"] = refusing(refused)
    router = router_over(endpoint, expert_of(endpoint, "odd"), expert_of(endpoint, "other"))
    record = await ask(kind, how, router, max_tokens=7)
    assert record["expert"] == "odd"
    request = endpoint.requests[-1]
    assert 7 in (request.get("max_tokens"), request.get("max_completion_tokens"))


@KINDS
async def test_an_argument_that_the_settings_name_is_never_sent(endpoint, kind):
    endpoint.replies["odd"] = refusing("temperature")
    expert = expert_of(endpoint, "odd", unsupported_parameters={"temperature"})
    record = await ask(kind, "whole", router_over(endpoint, expert), temperature=0)
    assert len(record["attempts"]) == 1


@KINDS
async def test_an_argument_that_the_callers_own_model_sets_is_left_out_too(endpoint, kind):
    endpoint.replies["odd"] = refusing("temperature")
    connection = {"model": "odd", "api_key": "x", "temperature": 0.3, "max_retries": 0}
    if kind is RoutooChatModel:
        client = ChatOpenAI(base_url=endpoint.base_url, **connection)
    else:
        client = OpenAILike(api_base=endpoint.base_url, is_chat_model=True, **connection)
    expert = Expert(name="odd", model="odd", client=client, **PRICES)
    record = await ask(kind, "whole", router_over(endpoint, expert))
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["failed", "answered"]
    assert client.temperature == 0.3


@KINDS
async def test_an_argument_that_the_call_needs_moves_on_to_the_next_expert(endpoint, kind):
    endpoint.replies["odd"] = Reply(
        status=400,
        body={
            "error": {"message": "unsupported", "param": "tool_choice", "code": "unknown_parameter"}
        },
    )
    router = router_over(endpoint, expert_of(endpoint, "odd"), expert_of(endpoint, "other"))
    record = await ask(kind, "whole", router)
    assert [attempt["expert"] for attempt in record["attempts"]] == ["odd", "other"]


# An agent's calls


async def ask_agent(how, router, **keywords):
    """The record of an agent's call through the middleware."""
    model = RoutooChatModel(router, **keywords)
    agent = create_agent(model, [], middleware=[RoutooMiddleware(model)])
    state = {"messages": [("user", "What is 2 + 2?")]}
    result = agent.invoke(state) if how == "whole" else await agent.ainvoke(state)
    return result["messages"][-1].response_metadata["routoo"]


AGENT_WAYS = pytest.mark.parametrize("how", ["whole", "async"])


@AGENT_WAYS
async def test_a_refused_argument_is_left_out_of_an_agents_call_too(endpoint, how):
    endpoint.replies["odd"] = refusing("temperature")
    router = router_over(endpoint, expert_of(endpoint, "odd"), expert_of(endpoint, "other"))
    record = await ask_agent(how, router, temperature=0.5)
    assert [attempt["expert"] for attempt in record["attempts"]] == ["odd", "odd"]
    assert "temperature" not in endpoint.requests[-1]


@AGENT_WAYS
async def test_a_reasoning_model_is_not_sent_a_temperature_by_an_agent(endpoint, how):
    router = router_over(endpoint, expert_of(endpoint, "o3"))
    await ask_agent(how, router, temperature=0.5)
    assert "temperature" not in endpoint.requests[-1]


@AGENT_WAYS
@pytest.mark.parametrize("refused", ["max_tokens", "max_completion_tokens"])
async def test_the_limit_of_an_agents_call_keeps_another_name(endpoint, how, refused):
    endpoint.replies["odd"] = refusing(refused)
    expert = expert_of(endpoint, "odd", reply_limit_parameter=refused)
    router = router_over(endpoint, expert, expert_of(endpoint, "other"))
    record = await ask_agent(how, router, max_tokens=7)
    assert record["expert"] == "odd"
    request = endpoint.requests[-1]
    assert 7 in (request.get("max_tokens"), request.get("max_completion_tokens"))


# What a model's owner set


def openai_model(endpoint, **settings):
    return ChatOpenAI(
        model="odd", api_key="x", base_url=endpoint.base_url, max_retries=0, **settings
    )


async def test_the_stop_sequences_that_an_owner_bound_are_sent(endpoint):
    client = openai_model(endpoint).bind(stop=["."])
    router = router_over(endpoint, Expert(name="odd", model="odd", client=client, **PRICES))
    await ask(RoutooChatModel, "whole", router)
    assert endpoint.requests[-1]["stop"] == ["."]
    await ask(RoutooChatModel, "whole", router, stop=["!"])
    assert endpoint.requests[-1]["stop"] == ["!"]
    await ask_agent("whole", router)
    assert endpoint.requests[-1]["stop"] == ["."]


async def test_a_limit_under_another_name_leaves_the_rest_of_the_body_as_it_is(endpoint):
    endpoint.replies["odd"] = refusing("max_completion_tokens")
    client = openai_model(endpoint, extra_body={"top_k": 5})
    router = router_over(endpoint, Expert(name="odd", model="odd", client=client, **PRICES))
    await ask(RoutooChatModel, "whole", router, max_tokens=7)
    assert endpoint.requests[-1]["max_tokens"] == 7
    assert endpoint.requests[-1]["top_k"] == 5


# What is remembered


class SlowExpert(Expert):
    """Its model is read so slowly that another thread learns of a refusal meanwhile."""

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if name == "unsupported_parameters" and not LEARNED:
            LEARNED.append(True)
            REFUSED.learn(self, "temperature")
        return value


LEARNED = []
REFUSED = RefusedParameters()


def test_a_refusal_that_is_learned_while_another_call_looks_the_expert_up_is_not_lost():
    expert = SlowExpert(name="x", model="m", **PRICES)
    LEARNED.clear()
    REFUSED.of(expert)
    assert REFUSED.of(expert) == {"temperature"}


def test_stop_words_that_an_expert_refuses_are_left_out_by_either_name():
    refused = RefusedParameters()
    expert = Expert(name="a", model="claude", base_url="http://x/v1", **PRICES)
    assert refused.learn(expert, "stop_sequences")
    assert refused.of(expert) == {"stop", "stop_sequences"}
    assert not refused.learn(expert, "stop")

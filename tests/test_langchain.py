"""RoutooChatModel behaves as one LangChain chat model; routing is visible only to those who look."""

import asyncio
from decimal import Decimal

import pytest
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from waiting import wait_until

from routoo_core import Budget, Expert
from routoo_core.errors import (
    AllExpertsFailed,
    BudgetExceeded,
    ConfigurationError,
    InvalidRequest,
    NoCapableExpert,
    StreamInterrupted,
    UnknownPrice,
)
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel

ANSWER = "The answer is four."
DEAR = 10 * 10_000 + 4 * 30_000  # nano-USD of ten prompt tokens and a reply of four
CHEAP = 14 * 1_000


@pytest.fixture
def model(make_router):
    return RoutooChatModel(make_router(), max_tokens=20)


def spent(model):
    state = model.router.ledger.state(model.router.budget)
    assert state.held == 0
    return state.spent


def nano(usd):
    return int(Decimal(usd) * 1_000_000_000)


def most(model, expert):
    """What is held for the usual question."""
    request = model.routed_request([HumanMessage("What is two plus two?")], {})
    return model.router.pool[expert].maximum_cost(request.prompt_token_bound, 20)


async def ask(model, how):
    """One call in each of LangChain's four ways; returns the whole message."""
    if how == "invoke":
        return model.invoke("What is two plus two?")
    if how == "ainvoke":
        return await model.ainvoke("What is two plus two?")
    if how == "stream":
        chunks = list(model.stream("What is two plus two?"))
    else:
        chunks = [chunk async for chunk in model.astream("What is two plus two?")]
    return sum(chunks[1:], chunks[0])


WAYS = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])


@WAYS
async def test_a_call_is_answered_by_the_chosen_expert_and_booked_to_the_nano_dollar(model, how):
    reply = await ask(model, how)
    assert reply.content == ANSWER
    assert reply.response_metadata["model_name"] == "dear"
    assert reply.response_metadata["routoo"]["expert"] == "dear"
    assert reply.response_metadata["routoo"]["settled_usd"] == "0.000220000"
    assert (reply.usage_metadata["input_tokens"], reply.usage_metadata["output_tokens"]) == (10, 4)
    assert spent(model) == DEAR


@WAYS
@pytest.mark.parametrize("status", [500, 429])
async def test_an_expert_that_answers_an_error_is_replaced_and_costs_nothing(
    model, endpoint, how, status
):
    endpoint.replies["dear"] = Reply(status=status)
    reply = await ask(model, how)
    assert reply.response_metadata["routoo"]["attempts"][0]["expert"] == "dear"
    assert (reply.content, reply.response_metadata["model_name"]) == (ANSWER, "cheap")
    assert spent(model) == CHEAP


@WAYS
async def test_an_expert_that_drops_the_connection_before_its_first_chunk_is_replaced(
    model, endpoint, how
):
    endpoint.replies["dear"] = Reply(drop_after=0)
    reply = await ask(model, how)
    assert reply.response_metadata["routoo"]["expert"] == "cheap"
    lost = reply.response_metadata["routoo"]["attempts"][0]
    assert lost["settled_usd"] == lost["held_usd"]
    assert spent(model) == nano(lost["held_usd"]) + CHEAP


@WAYS
async def test_an_expert_that_times_out_is_replaced(make_router, endpoint, how):
    router = make_router()
    slow = router.pool["dear"].model_copy(update={"timeout_s": 0.2})
    model = RoutooChatModel(FakePredictor({"cheap": 0.4, "dear": 0.9}), {"cheap": router.pool["cheap"], "dear": slow},
                            policy="best", max_tokens=20)  # fmt: skip
    endpoint.replies["dear"] = Reply(delay_s=1.0)
    reply = await ask(model, how)
    assert reply.response_metadata["routoo"]["expert"] == "cheap"
    assert "Timeout" in reply.response_metadata["routoo"]["attempts"][0]["error"]


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_a_stream_that_breaks_off_is_an_error_and_booked_at_the_most_it_can_have_cost(
    model, endpoint, how
):
    endpoint.replies["dear"] = Reply(drop_after=2)
    with pytest.raises(StreamInterrupted, match="'dear' failed while streaming"):
        await ask(model, how)
    assert spent(model) == most(model, "dear")


async def test_an_abandoned_stream_is_read_on_and_booked_as_it_reports(model):
    stream = model.stream("What is two plus two?")
    assert next(stream).content == "The"
    stream.close()
    astream = model.astream("What is two plus two?")
    assert (await anext(astream)).content == "The"
    await astream.aclose()
    del astream  # LangChain leaves our generator to asyncio, which closes it a moment later
    state = model.router.ledger.state
    await asyncio.to_thread(wait_until, lambda: state(model.router.budget).held == 0)
    assert spent(model) == 2 * DEAR


def test_when_everyone_fails_the_caller_sees_every_error(model, endpoint):
    endpoint.replies = {"dear": Reply(status=500), "cheap": Reply(status=503)}
    with pytest.raises(AllExpertsFailed) as caught:
        model.invoke("hello, is anybody there?")
    assert [error.status_code for error in caught.value.exceptions] == [500, 503]
    assert spent(model) == 0


def test_when_the_money_is_gone_nobody_is_called(make_router, endpoint):
    model = RoutooChatModel(make_router(limit="0.000001"), max_tokens=20)
    with pytest.raises(BudgetExceeded):
        model.invoke("hello, is anybody there?")
    assert endpoint.requests == []


def test_a_request_that_cannot_be_routed_is_refused_before_anything_is_charged(model, endpoint):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    for messages, error, said in (
        ([HumanMessage("hi")], InvalidRequest, "max_tokens: 0 is below 1"),
        ([HumanMessage([image])], NoCapableExpert, "cheap lacks images.*dear lacks images"),
    ):
        with pytest.raises(error, match=said):
            model.invoke(messages, max_tokens=0 if error is InvalidRequest else 5)
    assert (spent(model), endpoint.requests) == (0, [])


def test_the_limit_on_the_reply_reaches_the_endpoint_and_is_what_was_held(model, endpoint):
    reply = model.invoke("What is two plus two?", max_tokens=2)
    assert endpoint.requests[0]["max_tokens"] == 2
    assert reply.content == "The answer"


def test_it_is_one_run_with_one_count_of_tokens(model):
    class Starts(BaseCallbackHandler):
        count = 0

        def on_chat_model_start(self, *_, **__):
            self.count += 1

    starts, usage = Starts(), UsageMetadataCallbackHandler()
    chain = ChatPromptTemplate.from_template("{q}") | model | StrOutputParser()
    assert (
        chain.invoke({"q": "What is two plus two?"}, config={"callbacks": [starts, usage]})
        == ANSWER
    )
    assert starts.count == 1
    assert usage.usage_metadata["dear"]["total_tokens"] == 14


def test_a_batch_is_routed_call_by_call(make_router):
    model = RoutooChatModel(make_router(limit="1.00"), max_tokens=20)
    replies = model.batch(["What is two plus two?"] * 8)
    assert [reply.content for reply in replies] == [ANSWER] * 8
    assert spent(model) == 8 * DEAR


async def test_sixty_four_async_calls_on_a_small_budget_never_pass_the_limit(make_router, endpoint):
    model = RoutooChatModel(make_router(limit="0.002"), max_tokens=20)
    replies = await asyncio.gather(
        *(model.ainvoke("What is two?") for _ in range(64)), return_exceptions=True
    )
    answered = [reply for reply in replies if isinstance(reply, AIMessage)]
    assert all(isinstance(reply, AIMessage | BudgetExceeded) for reply in replies)
    assert len(answered) == len(endpoint.requests) > 0
    assert spent(model) <= 2_000_000


def test_any_langchain_model_can_be_an_expert():
    """One that cannot stream and reports no usage: its whole reply is one chunk, booked by what it said."""

    def fake():
        return GenericFakeChatModel(messages=iter([AIMessage("four it is")] * 4))

    def expert(name):
        return Expert(name=name, model=name, client=fake(), input_usd_per_1m=1, output_usd_per_1m=1)

    model = RoutooChatModel(
        FakePredictor({"a": 1, "b": 0}),
        {"a": expert("a"), "b": expert("b")},
        budget=Budget(limit="1"),
    )
    assert model.invoke("What is two plus two?").content == "four it is"
    chunks = list(model.stream("What is two plus two?"))
    assert sum(chunks[1:], chunks[0]).content == "four it is"
    assert spent(model) > 0


def test_the_price_of_an_object_is_looked_up_by_its_model_or_refused():
    from langchain_openai import ChatOpenAI

    known = ChatOpenAI(model="gpt-4o-mini", api_key="x", max_tokens=50)
    model = RoutooChatModel(FakePredictor({"mini": 1}), {"mini": known})
    assert model.router.pool["mini"].output_usd_per_1m * 10 == 6
    assert model.router.pool["mini"].max_output_tokens == 50
    with pytest.raises(UnknownPrice, match="'nobody-knows'"):
        RoutooChatModel(
            FakePredictor({"x": 1}), {"x": ChatOpenAI(model="nobody-knows", api_key="x")}
        )


def test_a_key_that_is_not_set_is_named_before_any_call(make_router, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    router = make_router()
    keyed = router.pool["dear"].model_copy(update={"api_key_env": "SOME_KEY"})
    with pytest.raises(ConfigurationError, match="expert 'dear': api_key_env: SOME_KEY is not set"):
        RoutooChatModel(router.predictor, {"dear": keyed})


def test_parts_that_do_not_fit_together_are_refused(make_router):
    with pytest.raises(ConfigurationError, match="give a Router, or experts="):
        RoutooChatModel()
    with pytest.raises(ConfigurationError, match="a whole Router was given"):
        RoutooChatModel(make_router(), policy="best")
    with pytest.raises(
        ConfigurationError, match="'just a name' is no chat model; write 'provider:model'"
    ):
        RoutooChatModel(FakePredictor({"gpt-4o": 1}), {"gpt-4o": "just a name"})


def test_tokens_are_counted_without_a_network(model):
    assert model.get_num_tokens("What is two plus two?") == 6

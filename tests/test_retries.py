"""Every try is held and booked by itself: clients ask once, and the driver asks again where an expert's settings say so."""

import asyncio

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from test_parameters import KINDS, WAYS, ask
from waiting import wait_until

from routoo_core import Expert, Pool
from routoo_core.budget.account import Budget
from routoo_core.config import build_router
from routoo_core.errors import AllExpertsFailed, BudgetExceeded
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr("routoo_core.calling.trials.FIRST_RETRY_PAUSE_S", 0.001)


def failing_first(times, **failure):
    """A reply that fails so many times first."""
    failures = [Reply(**failure)] * times
    return lambda _body: failures.pop() if failures else Reply()


def router_over(*experts, limit="1"):
    predictor = FakePredictor({expert.name: 1 - i / 10 for i, expert in enumerate(experts)})
    return build_router(Pool(experts), router=predictor, policy="best", budget=Budget(limit=limit))


@KINDS
@WAYS
async def test_an_expert_is_asked_again_as_often_as_its_settings_say(endpoint, kind, how):
    endpoint.replies["a"] = failing_first(2, status=503)
    router = router_over(endpoint.expert("a", max_retries=2), endpoint.expert("b"))
    record = await ask(kind, how, router)
    assert [attempt["expert"] for attempt in record["attempts"]] == ["a", "a", "a"]
    assert [body["model"] for body in endpoint.requests] == ["a", "a", "a"]


@KINDS
async def test_it_is_replaced_after_that_and_at_once_where_asking_again_is_of_no_use(
    endpoint, kind
):
    endpoint.replies["a"] = Reply(status=503)
    router = router_over(endpoint.expert("a", max_retries=1), endpoint.expert("b"))
    record = await ask(kind, "whole", router)
    assert [attempt["expert"] for attempt in record["attempts"]] == ["a", "a", "b"]

    endpoint.replies["a"] = Reply(status=401)
    router = router_over(endpoint.expert("a", max_retries=1), endpoint.expert("b"))
    record = await ask(kind, "whole", router)
    assert [attempt["expert"] for attempt in record["attempts"]] == ["a", "b"]


@KINDS
async def test_the_adapters_own_number_of_retries_goes_before_the_experts(endpoint, kind):
    endpoint.replies["a"] = Reply(status=503)
    router = router_over(endpoint.expert("a", max_retries=5))
    with pytest.raises(AllExpertsFailed):
        await ask(kind, "whole", router, max_retries=1)
    assert len(endpoint.requests) == 2


@KINDS
async def test_retries_that_are_billed_do_not_pass_the_limit(endpoint, kind):
    endpoint.replies["a"] = Reply("word " * 400, delay_s=0.6, prompt_tokens=50)
    expert = endpoint.expert("a", timeout_s=0.2, max_retries=20, max_output_tokens=500)
    router = router_over(expert, limit="0.002")
    with pytest.raises((AllExpertsFailed, BudgetExceeded)):
        await ask(kind, "whole", router)
    asked = len(endpoint.requests)
    await asyncio.to_thread(wait_until, lambda: len(endpoint.bills) == asked)
    billed = sum(
        1000 * (bill.tokens.prompt_tokens + bill.tokens.completion_tokens)
        for bill in endpoint.bills
    )
    state = router.ledger.state(router.budget)
    assert 1 < asked < 20
    assert billed <= state.spent <= state.limit


def langchain_objects(endpoint):
    openai = ChatOpenAI(model="a", base_url=endpoint.base_url, api_key="x")
    explicit = ChatOpenAI(model="a", base_url=endpoint.base_url, api_key="x", max_retries=1)
    return {
        "default": (openai, 1),
        "explicit": (explicit, 2),
        "wrapper": (openai.with_retry(stop_after_attempt=3, wait_exponential_jitter=False), 3),
        "bound": (openai.bind(stop=["x"]), 1),
    }


@pytest.mark.parametrize("name", ["default", "explicit", "wrapper", "bound"])
async def test_langchain_models_ask_once_and_their_owners_retries_are_the_drivers(endpoint, name):
    client, tries = langchain_objects(endpoint)[name]
    endpoint.replies["a"] = Reply(status=503)
    prices = {"input_usd_per_1m": 1, "output_usd_per_1m": 1}
    expert = Expert(name="a", model="a", client=client, max_retries=tries - 1, **prices)
    model = RoutooChatModel(FakePredictor({"a": 1}), {"a": expert}, policy="best")
    with pytest.raises(AllExpertsFailed):
        model.invoke("hi")
    with pytest.raises(AllExpertsFailed):
        await model.ainvoke("hi")
    assert len(endpoint.paths) == 2 * tries


async def test_llama_index_models_ask_once(endpoint):
    llm = OpenAILike(
        model="a", api_base=endpoint.base_url, api_key="x", is_chat_model=True, max_retries=3
    )
    endpoint.replies["a"] = Reply(status=503)
    expert = Expert(name="a", model="a", client=llm, input_usd_per_1m=1, output_usd_per_1m=1)
    routoo = RoutooLLM(FakePredictor({"a": 1}), {"a": expert}, policy="best")
    with pytest.raises(AllExpertsFailed):
        routoo.chat([ChatMessage("hi")])
    with pytest.raises(AllExpertsFailed):
        await routoo.achat([ChatMessage("hi")])
    assert len(endpoint.requests) == 2


async def test_the_clients_of_anthropic_ask_once_and_stay_those_of_their_owner():
    owners = ChatAnthropic(model="a", api_key="x")
    expert = Expert(name="a", model="a", client=owners, input_usd_per_1m=1, output_usd_per_1m=1)
    model = RoutooChatModel(FakePredictor({"a": 1}), {"a": expert}, policy="best")
    asked = model.client(expert).model
    assert (asked._client.max_retries, asked._async_client.max_retries) == (0, 0)
    assert owners._client.max_retries == 2
    assert asked._client._client is owners._client._client

"""A reply that names another model is recorded, booked at that model's price where it is known, or refused."""

import warnings

import pytest
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_openai import ChatOpenAI
from test_parameters import KINDS, WAYS, ask

from routoo_core import Expert, Pool
from routoo_core.answering_models import AnsweringModels
from routoo_core.budget.account import Budget
from routoo_core.config import build_router
from routoo_core.errors import AllExpertsFailed
from routoo_core.testing import FakePredictor, Reply
from routoo_core.usage import Usage
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

NANO = 1_000_000_000


def mini(endpoint, **settings):
    settings = {"input_usd_per_1m": "0.15", "output_usd_per_1m": "0.6", **settings}
    return Expert(
        name="mini",
        model="gpt-4o-mini",
        base_url=endpoint.base_url,
        context_window=8192,
        max_output_tokens=100,
        **settings,
    )


def router_over(*experts):
    predictor = FakePredictor({expert.name: 1 - i / 10 for i, expert in enumerate(experts)})
    return build_router(Pool(experts), router=predictor, policy="best", budget=Budget(limit="1"))


@KINDS
@WAYS
async def test_a_redirect_to_a_dearer_model_is_booked_at_its_price_and_logged_once(
    endpoint, kind, how, caplog
):
    endpoint.replies["gpt-4o-mini"] = Reply("one two", prompt_tokens=100, model="gpt-4o-2024-08-06")
    router = router_over(mini(endpoint))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the call is paid: no filter of warnings takes its reply
        record = await ask(kind, how, router)
        await ask(kind, how, router)
    assert record["answered_model"] == "gpt-4o-2024-08-06"
    assert router.ledger.state(router.budget).spent == 2 * (100 * 2500 + 2 * 10_000)
    reports = [line for line in caplog.messages if "'gpt-4o-2024-08-06' answered" in line]
    assert len(reports) == 1


@KINDS
@WAYS
async def test_a_strict_expert_refuses_another_model_and_the_next_one_answers(endpoint, kind, how):
    endpoint.replies["gpt-4o-mini"] = Reply(model="gpt-4o")
    other = endpoint.expert("other", context_window=8192, max_output_tokens=100)
    router = router_over(mini(endpoint, strict_model=True), other)
    record = await ask(kind, how, router)
    assert record["expert"] == "other"
    refused = record["attempts"][0]
    assert refused["outcome"] in {"rejected", "failed"}
    assert refused["settled_usd"] != "0.000000000"


@KINDS
async def test_a_strict_expert_alone_ends_in_a_typed_error(endpoint, kind):
    endpoint.replies["gpt-4o-mini"] = Reply(model="gpt-4o")
    router = router_over(mini(endpoint, strict_model=True))
    with pytest.raises(AllExpertsFailed):
        await ask(kind, "whole", router)


@pytest.mark.parametrize("kind", [RoutooChatModel, RoutooLLM])
@pytest.mark.parametrize("reported", ["gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini", "my-alias"])
async def test_a_snapshot_a_spelling_and_a_name_of_the_settings_are_the_same_model(
    endpoint, kind, reported
):
    endpoint.replies["gpt-4o-mini"] = Reply("one two", prompt_tokens=100, model=reported)
    router = router_over(mini(endpoint, answers_as=["my-alias"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await ask(kind, "whole", router)
    assert router.ledger.state(router.budget).spent == 100 * 150 + 2 * 600


def test_the_pools_own_price_of_the_model_that_answered_comes_first(endpoint, caplog):
    cheap = endpoint.expert("cheap")
    dear = endpoint.expert("dear", input_usd_per_1m=10, output_usd_per_1m=30)
    models = AnsweringModels(Pool([cheap, dear]))
    cost = models.cost(cheap, "dear", Usage(100, 10))
    assert "booked at its own price" in caplog.text
    assert cost == 100 * 10_000 + 10 * 30_000


def test_an_unknown_model_and_a_machine_of_ones_own_keep_the_price_that_was_set(endpoint, caplog):
    alias = endpoint.expert("alias", input_usd_per_1m=3, output_usd_per_1m=3)
    free = endpoint.expert("free", input_usd_per_1m=0, output_usd_per_1m=0)
    models = AnsweringModels(Pool([alias, free]))
    assert models.cost(alias, "nobody-knows-this", Usage(100, 10)) == 110 * 3000
    assert models.cost(free, "gpt-4o", Usage(100, 10)) == 0
    assert caplog.text.count("booked at the price of the model that was asked") == 2


def test_a_chain_has_no_model_that_was_asked_for(endpoint):
    openai = ChatOpenAI(model="a", base_url=endpoint.base_url, api_key="x")
    chain = ChatPromptTemplate.from_messages([MessagesPlaceholder("messages")]) | openai
    expert = Expert(
        name="c",
        model="c",
        client=chain,
        input_usd_per_1m=1,
        output_usd_per_1m=1,
        added_prompt_tokens=20,
    )
    model = RoutooChatModel(FakePredictor({"c": 1}), {"c": expert}, policy="best", max_tokens=9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record = model.invoke("hello").response_metadata["routoo"]
    assert record["answered_model"] == "a"

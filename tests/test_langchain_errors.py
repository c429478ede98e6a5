"""Errors of the chat model are LangChain's own kinds, so that retrying and falling back work as around one model."""

import copy
import pickle

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware
from langchain_core.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
)
from langchain_openai import ChatOpenAI
from ways import LANGCHAIN_WAYS

from routoo_core import errors
from routoo_core.testing import Reply
from routoo_integrations.langchain import RoutooChatModel

QUESTION = "What is 2 + 2, please?"
CREDIT = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}


def all_answer(endpoint, *replies):
    names = ["cheap", "dear"]
    for name, reply in zip(names, replies * 2, strict=False):
        endpoint.replies[name] = reply


def tries(endpoint, model, *, on_failure="error", **settings):
    """How often an agent with LangChain's retry middleware asks, and the error that it ends with."""
    endpoint.requests.clear()
    retry = ModelRetryMiddleware(initial_delay=0.001, on_failure=on_failure, **settings)
    agent = create_agent(model, [], middleware=[retry])
    with pytest.raises(Exception) as caught:
        agent.invoke({"messages": [("human", QUESTION)]})
    return len(endpoint.requests), caught.value


@pytest.fixture
def bare(endpoint):
    return ChatOpenAI(model="cheap", base_url=endpoint.base_url, api_key="x", max_retries=0)


@pytest.fixture
def model(make_router):
    return RoutooChatModel(make_router(), max_retries=0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, ModelAuthenticationError),
        (403, ModelPermissionDeniedError),
        (404, ModelNotFoundError),
        (429, ModelRateLimitError),
        (500, ModelAPIError),
    ],
)
def test_experts_that_fail_alike_are_retried_as_often_as_one_model(
    endpoint, bare, model, status, kind
):
    all_answer(endpoint, Reply(status=status))
    bare_tries, bare_error = tries(endpoint, bare)
    our_tries, error = tries(endpoint, model)
    assert isinstance(error, kind)
    assert isinstance(error, errors.AllExpertsFailed)
    assert our_tries == 2 * (3 if kind.is_retryable else 1)  # the pool has two experts
    if isinstance(bare_error, ModelError):  # not in the first versions of langchain-openai
        assert isinstance(bare_error, kind)
        assert our_tries == 2 * bare_tries


@pytest.mark.parametrize("way", LANGCHAIN_WAYS)
async def test_every_way_of_a_call_raises_it(endpoint, model, way):
    all_answer(endpoint, Reply(status=429))
    with pytest.raises(ModelRateLimitError):
        await LANGCHAIN_WAYS[way](model, QUESTION)


def test_experts_that_fail_differently_are_retried_if_one_of_them_may_succeed_later(
    endpoint, model
):
    all_answer(endpoint, Reply(status=401), Reply(status=429))
    count, error = tries(endpoint, model)
    assert count > 2
    assert type(error).__mro__.index(ModelError) < type(error).__mro__.index(Exception)
    assert not isinstance(error, ModelRateLimitError | ModelAuthenticationError)

    all_answer(endpoint, Reply(status=401), Reply(status=404))
    count, error = tries(endpoint, RoutooChatModel(model.router, max_retries=0))
    assert count == 2
    assert isinstance(error, errors.FinalFailure)
    assert not error.is_retryable


def test_credit_that_is_used_up_is_a_rate_limit_that_is_not_retried(endpoint, model):
    all_answer(endpoint, Reply(status=429, body=CREDIT))
    count, error = tries(endpoint, model)
    assert count == 2
    assert isinstance(error, ModelRateLimitError)


def test_a_spent_budget_is_never_retried(endpoint, make_router):
    model = RoutooChatModel(make_router(limit="0.000000001"))
    count, error = tries(endpoint, model)
    assert count == 0
    assert isinstance(error, errors.BudgetExceeded)
    assert isinstance(error, ModelError)
    assert not error.is_retryable


def test_what_nobody_can_serve_is_an_invalid_request(endpoint, model):
    with pytest.raises(ModelInvalidRequestError) as caught:
        model.invoke(QUESTION, response_format={"type": "json_object"})
    assert isinstance(caught.value, errors.NoCapableExpert)
    with pytest.raises(ModelInvalidRequestError) as caught:
        model.invoke(QUESTION, n=0)
    assert isinstance(caught.value, errors.InvalidRequest)
    assert endpoint.requests == []


def test_another_model_takes_over_where_all_experts_failed(endpoint, model, bare):
    all_answer(endpoint, Reply(status=401))
    endpoint.replies["spare"] = Reply("Four.")
    spare = ChatOpenAI(model="spare", base_url=endpoint.base_url, api_key="x")
    agent = create_agent(model, [], middleware=[ModelFallbackMiddleware(spare)])
    assert agent.invoke({"messages": [("human", QUESTION)]})["messages"][-1].text == "Four."
    chain = model.with_fallbacks([spare], exceptions_to_handle=(ModelAuthenticationError,))
    assert chain.invoke(QUESTION).text == "Four."


def test_an_error_keeps_its_kind_and_its_facts_where_it_is_copied_or_pickled(endpoint, model):
    all_answer(endpoint, Reply(status=429))
    with pytest.raises(ModelRateLimitError) as caught:
        model.invoke(QUESTION)
    for error in (copy.deepcopy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert type(error) is type(caught.value)
        assert error.reasons == ("throttled", "throttled")
        assert len(error.exceptions) == 2

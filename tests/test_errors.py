"""Errors: they travel between processes as they are, and retry policies tell the final from the others."""

import asyncio
import copy
import importlib
import multiprocessing
import pickle
import pkgutil
import traceback
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from typing import TypedDict

import httpx
import openai
import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

import routoo_core
import routoo_integrations
from routoo_core import errors
from routoo_core.errors import AllExpertsFailed, ExpertError, FinalFailure, RoutooError

QUESTION = "What does Carla earn?"


def rate_limit():
    """An error of a provider, which cannot be unpickled and quotes the prompt."""
    request = httpx.Request("POST", "http://provider/v1/chat/completions")
    response = httpx.Response(429, request=request)
    return openai.RateLimitError(f"not now: {QUESTION}", response=response, body=None)


EXAMPLES = [
    RoutooError("it broke"),
    errors.ConfigurationError("experts.toml: expert 'dear': misspelt"),
    errors.UnknownPrice("expert 'dear' has no price"),
    errors.CheckpointError("router: not there"),
    errors.OutcomesError("row 3: no score"),
    errors.RecordError("record: no expert"),
    errors.MissingDependency("redis", "redis", "keep a ledger"),
    errors.RoutingError("it broke"),
    errors.InvalidRequest("messages: none"),
    errors.CallNotPrepared("dear", "ValueError: no tool"),
    errors.HeldShareExceeded("a", 4, 3, 2),
    errors.NoCapableExpert({"dear": ["tools"]}),
    errors.ContextWindowExceeded({"dear": ["room for 9,000 tokens"]}),
    errors.BudgetExceeded("team", 5, 4, 1, 3, resets="2026-01-01"),
    errors.ReplyRejected("dear", "too short"),
    errors.ReplyRefused("dear", "I cannot help with that."),
    errors.ReplyRefused(None, "I cannot help with that."),
    errors.NoReply("dear", "a web page"),
    errors.ReplyCutOff("dear"),
    errors.OtherModelAnswered("dear", "gpt-5", "gpt-4"),
    errors.StreamInterrupted("dear", 5),
    errors.PredictionFailed("the encoder is gone"),
    errors.PromptUnreadable("the endpoint refused a text"),
    errors.LedgerError("the disk is full"),
    errors.LedgerUnavailable("the disk is full"),
    errors.LedgerForgot("the ledger was emptied", "Restore the data"),
    errors.ReservationClosed("id", "settled"),
    errors.CacheError("the file is locked"),
    ExpertError("RateLimitError", 429),
    AllExpertsFailed("all failed", [ValueError("x"), rate_limit()]),
    FinalFailure("all failed", [rate_limit()]),
]


def every_kind():
    """Every error of the packages, wherever it is defined."""
    for package in (routoo_core, routoo_integrations):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                with suppress(errors.MissingDependency):  # Ray is installed by hand
                    importlib.import_module(module.name)
    kinds = {RoutooError}
    waiting = [RoutooError]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        kinds.update(subclasses)
        waiting += subclasses
    return {kind for kind in kinds if kind.__module__.startswith("routoo_")}


def through_pickle(error):
    return pickle.loads(pickle.dumps(error))


def attributes(error):
    return {name: value for name, value in vars(error).items() if name != "__notes__"}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("again", [through_pickle, copy.copy, copy.deepcopy])
def test_an_error_arrives_with_its_type_its_message_its_attributes_and_its_notes(error, again):
    error.add_note("asked by the nightly run")
    arrived = again(error)
    assert type(arrived) is type(error)
    assert arrived is not error
    assert str(arrived) == str(error)
    assert attributes(arrived) == attributes(error)
    assert arrived.__notes__ == error.__notes__
    text = "".join(traceback.format_exception(arrived))
    assert str(error).splitlines()[0] in text
    del error.__notes__


def test_no_kind_of_error_is_left_out():
    kinds = every_kind()
    of_the_tree = {kind for kind in kinds if kind.__module__ == errors.__name__}
    assert of_the_tree == {type(error) for error in EXAMPLES}
    for kind in kinds:
        assert kind.__reduce__ is RoutooError.__reduce__, kind


class LaterError(errors.RoutingError, KeyError):
    """One that somebody adds, with arguments of its own and an error in an attribute."""

    def __init__(self, *, expert, error):
        self.expert = expert
        self.errors = [error]
        super().__init__(f"{expert} failed")


def test_an_error_that_others_add_travels_by_the_same_rule():
    arrived = through_pickle(LaterError(expert="dear", error=rate_limit()))
    assert type(arrived) is LaterError
    assert arrived.expert == "dear"
    assert [str(error) for error in arrived.errors] == ["RateLimitError (429)"]


def test_causes_of_python_and_of_routoo_arrive_and_those_of_providers_are_named():
    own = errors.ReplyRejected("dear", "too short")
    closed = ConnectionResetError(104, "Connection reset by peer")
    strange = ValueError("holds what cannot be pickled", lambda: None)
    closed.add_note("the third time")
    error = AllExpertsFailed("all failed", [own, closed, rate_limit(), strange])
    arrived = through_pickle(error)
    assert [str(cause) for cause in arrived.exceptions] == [
        str(own),
        str(closed),
        "RateLimitError (429)",
        "ValueError",
    ]
    assert arrived.exceptions[1].errno == 104
    assert arrived.exceptions[1].__notes__ == ["the third time"]
    assert isinstance(arrived.exceptions[2], ExpertError)
    assert QUESTION not in "".join(traceback.format_exception(arrived))


def test_a_copy_in_the_same_process_keeps_the_providers_errors():
    error = AllExpertsFailed("all failed", [rate_limit()])
    assert copy.copy(error).exceptions[0] is error.exceptions[0]
    assert copy.deepcopy(error).exceptions[0] is error.exceptions[0]


def raise_with_a_cause(error):
    raise error from LookupError("the cause")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_pool_hands_every_error_on(method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as workers:
        for error in EXAMPLES:
            with pytest.raises(type(error)) as caught:
                workers.submit(raise_with_a_cause, error).result()
            assert type(caught.value) is type(error)
            assert str(caught.value) == str(error)
            assert "the cause" in str(caught.value.__cause__)  # the worker's traceback, as text


def all_failed(failures, may_succeed_later):
    reasons = ["throttled"] * len(failures)
    return errors.all_experts_failed("all failed", failures, reasons, may_succeed_later)


@pytest.mark.parametrize("may_succeed_later", [True, False])
def test_a_group_keeps_its_kind_when_it_is_split(may_succeed_later):
    error = all_failed([rate_limit(), OSError(1)], may_succeed_later)
    assert isinstance(error, FinalFailure) is not may_succeed_later
    match, rest = error.split(OSError)
    assert type(match) is type(rest) is type(error)
    with pytest.raises(AllExpertsFailed):
        try:
            raise error
        except* OSError as caught:
            assert isinstance(caught, AllExpertsFailed)


# LangGraph's default retry policy

FINAL = [
    error
    for error in EXAMPLES
    if isinstance(error, errors.RoutingError)
    and type(error) not in (errors.RoutingError, AllExpertsFailed)
]


class State(TypedDict):
    answer: str


def graph_of(error):
    """A graph whose one node fails at the first try, and how often it was tried."""
    tries = []

    def node(state: State) -> State:
        tries.append(1)
        if len(tries) == 1:
            raise error
        return {"answer": "Four."}

    policy = RetryPolicy(initial_interval=0.001, max_attempts=3, jitter=False)
    graph = StateGraph(State)
    graph.add_node("ask", node, retry_policy=policy)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile(), tries


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_langgraph_does_not_repeat_what_cannot_succeed_later(error):
    graph, tries = graph_of(error)
    with pytest.raises(type(error)):
        graph.invoke({"answer": ""})
    with pytest.raises(type(error)):
        tries.clear()
        asyncio.run(graph.ainvoke({"answer": ""}))
    assert len(tries) == 1


def test_langgraph_repeats_a_call_for_which_all_experts_failed_for_now():
    graph, tries = graph_of(all_failed([rate_limit()], may_succeed_later=True))
    assert graph.invoke({"answer": ""}) == {"answer": "Four."}
    assert len(tries) == 2
    tries.clear()
    assert asyncio.run(graph.ainvoke({"answer": ""})) == {"answer": "Four."}
    assert len(tries) == 2

"""Long conversations cost little: a text is counted once, a question predicted once, and the loop waits for neither."""

import asyncio
import threading

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from routoo_core import tokens
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

STEPS = 8
WINDOW = {"context_window": 1_000_000, "max_output_tokens": 500, "capabilities": {"tools"}}


@pytest.fixture
def counted(monkeypatch):
    """The texts that are counted, and the thread that counts each."""
    texts = []
    count = tokens._count_tokens

    def note(text):
        texts.append((text, threading.current_thread()))
        return count(text)

    monkeypatch.setattr(tokens, "_COUNTS", tokens.RememberedCounts(note))
    return texts


@tool
def look_up(page: int) -> str:
    """Look up a page."""
    return f"page {page}: " + " ".join(f"word{page}x{place}" for place in range(300))


def asks_for_pages(body):
    results = sum(message["role"] == "tool" for message in body["messages"])
    if results < STEPS:
        return Reply("", tool_calls=[{"name": "look_up", "arguments": {"page": results}}])
    return Reply("That is all there is to say of them.")


def test_every_result_of_a_tool_is_counted_once_and_the_question_predicted_once(endpoint, counted):
    endpoint.replies["m"] = asks_for_pages
    predictor = FakePredictor({"m": 1})
    model = RoutooChatModel(
        BatchingPredictor(predictor), {"m": endpoint.expert("m", **WINDOW)}, policy="best"
    )
    question = "What do the pages of this book say, please?"
    create_agent(model, [look_up]).invoke(
        {"messages": [("human", question)]}, {"recursion_limit": 50}
    )
    assert len(endpoint.requests) == STEPS + 1
    pages = [text for text, _ in counted if text.startswith("page ")]
    assert len(pages) == len(set(pages)) == STEPS
    assert predictor.prompts == [question]


@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
async def test_nothing_long_is_counted_on_the_event_loop(endpoint, counted, framework):
    parts = (FakePredictor({"m": 1}), {"m": endpoint.expert("m", **WINDOW)})
    text = " ".join(f"some{place}thing" for place in range(500))
    if framework == "langchain":
        model = RoutooChatModel(*parts, policy="best")
        messages = [HumanMessage(text), AIMessage("Yes."), HumanMessage("And then, please?")]
        await asyncio.gather(*(model.ainvoke(messages) for _ in range(5)))
        [chunk async for chunk in model.astream([HumanMessage(f"{text} more")])]
    else:
        llm = RoutooLLM(*parts, policy="best")
        await asyncio.gather(*(llm.acomplete(text) for _ in range(5)))
        [piece async for piece in await llm.astream_complete(f"{text} more")]
    assert any(counted_text == text for counted_text, _ in counted)
    assert threading.main_thread() not in [thread for _, thread in counted]


# What is remembered


def test_counts_are_those_of_the_text_and_the_oldest_are_forgotten(monkeypatch):
    calls = []
    monkeypatch.setattr(tokens, "_MOST_REMEMBERED", 3)
    counts = tokens.RememberedCounts(lambda text: calls.append(text) or len(text))
    texts = [f"{number} " + "x" * 100 for number in range(5)]
    for text in texts * 2:
        assert counts.of(text) == len(text)
    assert len(calls) == 10  # three are remembered, and five come round
    calls.clear()
    assert [counts.of(text) for text in texts[2:]] == [102] * 3
    assert calls == []


def test_no_text_is_kept():
    counts = tokens.RememberedCounts(len)
    secret = "a secret " * 20
    counts.of(secret)
    assert secret not in repr(vars(counts))


def test_short_texts_are_counted_each_time():
    calls = []
    counts = tokens.RememberedCounts(lambda text: calls.append(text) or 1)
    counts.of("short")
    counts.of("short")
    assert calls == ["short", "short"]

"""Streams that their callers leave: booked as they report or at the most they can have cost, and closed where they are left."""

import asyncio
import gc
import logging
import subprocess
import sys
import textwrap

import pytest
from waiting import wait_until

from routoo_core import Budget, Pool
from routoo_core.errors import BudgetExceeded
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

KINDS = pytest.mark.parametrize("kind", [RoutooChatModel, RoutooLLM])
WAYS = pytest.mark.parametrize("how", ["stream", "astream"])
WORDS = "one two three four five six seven eight"


def make_model(kind, endpoint, **settings):
    expert = endpoint.expert("thinker", output_usd_per_1m=10, max_output_tokens=4096, **settings)
    return kind(
        FakePredictor({"thinker": 0.9}),
        Pool([expert]),
        budget=Budget(limit="0.50"),
        policy="best",
        max_tokens=4000,
    )


def state(model):
    return model.router.ledger.state(model.router.budget)


async def take(model, how, pieces=1):
    """Read so many visible pieces of a stream, and leave it."""
    name = "stream" if isinstance(model, RoutooChatModel) else "stream_complete"
    if how == "stream":
        stream = getattr(model, name)("hi")
        for _ in range(pieces):
            next(stream)
        stream.close()
        return
    stream = getattr(model, f"a{name}")("hi")
    if isinstance(model, RoutooLLM):
        stream = await stream
    for _ in range(pieces):
        await anext(stream)
    await stream.aclose()


async def all_settled(model):
    await asyncio.to_thread(wait_until, lambda: state(model).held == 0)


@KINDS
@WAYS
async def test_reasoning_that_is_reported_after_the_text_is_booked(endpoint, kind, how):
    endpoint.replies["thinker"] = Reply(WORDS, reasoning_tokens=3000, prompt_tokens=30)
    model = make_model(kind, endpoint)
    await take(model, how, pieces=3)
    await all_settled(model)
    assert state(model).spent == 30 * 1000 + 3008 * 10_000


@KINDS
@WAYS
async def test_a_stream_that_does_not_end_in_time_is_booked_at_the_most_it_can_have_cost(
    endpoint, kind, how, monkeypatch
):
    monkeypatch.setattr("routoo_core.calling.passage.DRAIN_S", 0.2)
    endpoint.replies["thinker"] = Reply(WORDS, word_delay_s=0.15)
    model = make_model(kind, endpoint)
    held = []
    endpoint_reply = endpoint.replies["thinker"]

    def reply(_body):
        held.append(state(model).held)
        return endpoint_reply

    endpoint.replies["thinker"] = reply
    await take(model, how)
    await all_settled(model)
    assert state(model).spent == held[0] > 8 * 10_000
    await asyncio.to_thread(wait_until, lambda: endpoint.hung_up == ["thinker"])


@KINDS
@WAYS
async def test_no_number_of_streams_that_are_left_passes_the_limit(endpoint, kind, how):
    endpoint.replies["thinker"] = Reply(WORDS, reasoning_tokens=3900, prompt_tokens=30)
    model = make_model(kind, endpoint)
    with pytest.raises(BudgetExceeded):
        for _ in range(100):
            await take(model, how, pieces=2)
    await all_settled(model)
    billed = sum(
        bill.tokens.prompt_tokens + 10 * bill.tokens.completion_tokens for bill in endpoint.bills
    )
    assert billed * 1000 <= state(model).limit
    assert state(model).spent == billed * 1000


@KINDS
async def test_a_loop_that_ends_at_once_leaves_no_money_held(endpoint, kind):
    endpoint.replies["thinker"] = Reply(WORDS, word_delay_s=0.2)
    model = make_model(kind, endpoint)
    await asyncio.to_thread(lambda: asyncio.run(take(model, "astream")))
    await all_settled(model)
    assert state(model).spent > 8 * 10_000


BREAK_OFF = """
import sys
from routoo_core import Budget, Pool
from routoo_core.testing import FakeEndpoint, FakePredictor, Reply
from routoo_integrations.llama_index import RoutooLLM

with FakeEndpoint() as endpoint:
    endpoint.replies["a"] = Reply("one two three four five six seven", word_delay_s=0.05)
    llm = RoutooLLM(
        FakePredictor({"a": 0.5}), Pool([endpoint.expert("a")]), budget=Budget(limit="100"), policy="best"
    )
    for _ in range(60):
        for piece in llm.stream_complete("hi"):
            break
print("done")
"""


def test_a_process_that_breaks_off_many_streams_does_not_wait_for_itself():
    script = textwrap.dedent(BREAK_OFF)
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "done"


def test_a_stream_that_is_dropped_when_its_loop_ends_logs_no_warning(endpoint, make_router, caplog):
    endpoint.replies["dear"] = Reply("word " * 200)
    router = make_router(limit="1")
    llm = RoutooLLM(router)

    async def take_one_piece():
        pieces = await llm.astream_complete("What is 2 + 2, please?")
        piece = await anext(pieces)
        return piece.delta

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(take_one_piece())
        gc.collect()
    assert caplog.records == []
    state = router.ledger.state(router.budget)
    assert (state.held, state.calls) == (0, 1)

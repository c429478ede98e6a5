"""Streams have the pieces of the expert's own, no more and no other; the last one carries the record."""

import asyncio

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.llms.openai_like import OpenAILike

from routoo_core import Expert
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

QUESTION = "What is two plus two, please?"
ANSWER = "The answer is four."
TOOL_CALL = {"name": "add", "arguments": {"a": 2, "b": 2}}


def pool(client):
    expert = Expert(name="m", model="m", client=client, input_usd_per_1m=1, output_usd_per_1m=1)
    return FakePredictor({"m": 1}), {"m": expert}


def chunk_facts(chunk):
    """What a chunk shows, without what differs from run to run."""
    calls = [{**call, "id": None} for call in chunk.tool_call_chunks]
    return chunk.content, calls, chunk.usage_metadata, chunk.additional_kwargs


@pytest.mark.parametrize("reply", [Reply(ANSWER), Reply(""), Reply("", tool_calls=[TOOL_CALL])])
async def test_langchain_streams_the_experts_chunks(endpoint, reply):
    endpoint.replies["m"] = reply
    bare = ChatOpenAI(model="m", base_url=endpoint.base_url, api_key="x", stream_usage=True)
    model = RoutooChatModel(*pool(bare), max_tokens=50)

    expected = list(bare.stream(QUESTION))
    assert expected[-1].chunk_position == "last"
    real = [chunk_facts(chunk) for chunk in expected[:-1]]  # LangChain adds an empty one
    for chunks in (
        list(model.stream(QUESTION)),
        [chunk async for chunk in model.astream(QUESTION)],
    ):
        assert [chunk_facts(chunk) for chunk in chunks] == real
        assert ["routoo" in chunk.response_metadata for chunk in chunks[:-1]].count(True) == 0
        assert chunks[-1].response_metadata["routoo"]["expert"] == "m"
        assert chunks[-1].chunk_position == "last"


async def test_a_model_that_says_which_chunk_is_the_last_has_as_many_as_bare():
    def fake():
        return GenericFakeChatModel(messages=iter([AIMessage(ANSWER)] * 4))

    expected = [chunk_facts(chunk) for chunk in fake().stream(QUESTION)]
    model = RoutooChatModel(*pool(fake()), max_tokens=50)
    assert [chunk_facts(chunk) for chunk in model.stream(QUESTION)] == expected
    assert [chunk_facts(chunk) async for chunk in model.astream(QUESTION)] == expected


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_run_in_a_trace_names_the_model_that_answered(endpoint, is_streamed):
    endpoint.replies["m"] = Reply(ANSWER)
    bare = ChatOpenAI(model="m", base_url=endpoint.base_url, api_key="x")
    model = RoutooChatModel(*pool(bare), max_tokens=50)
    runs = RunCollectorCallbackHandler()
    config = {"callbacks": [runs]}
    if is_streamed:
        list(model.stream(QUESTION, config))
    else:
        model.invoke(QUESTION, config)
    (run,) = runs.traced_runs
    assert run.extra["metadata"]["ls_provider"] == "openai"
    assert run.extra["metadata"]["ls_model_name"] == "m"


def piece_facts(piece):
    usage = getattr(piece.raw, "usage", None)
    extra = {name: value for name, value in piece.additional_kwargs.items() if name != "routoo"}
    return piece.delta, piece.message.blocks, extra, usage


async def test_llama_index_streams_the_experts_pieces(endpoint):
    endpoint.replies["m"] = Reply(ANSWER)
    bare = OpenAILike(
        model="m",
        api_base=endpoint.base_url,
        api_key="x",
        is_chat_model=True,
        additional_kwargs={"stream_options": {"include_usage": True}},
    )
    llm = RoutooLLM(*pool(bare), max_tokens=50)
    messages = [ChatMessage(role="user", content=QUESTION)]

    expected = [piece_facts(piece) for piece in bare.stream_chat(messages)]
    for pieces in (
        list(llm.stream_chat(messages)),
        [piece async for piece in await llm.astream_chat(messages)],
    ):
        assert [piece_facts(piece) for piece in pieces] == expected
        assert "total_usd" not in pieces[0].additional_kwargs["routoo"]
        assert "total_usd" in pieces[-1].additional_kwargs["routoo"]


class SilentLLM(MockLLM):
    """Streams reasoning and usage in every piece, and no sign of its end."""

    def stream_chat(self, messages, **kwargs):
        for piece in super().stream_chat(messages, **kwargs):
            piece.raw = {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}
            piece.additional_kwargs = {"thinking_delta": "hm"}
            yield piece


def test_a_stream_that_does_not_announce_its_end_has_one_piece_more_which_repeats_nothing():
    llm = RoutooLLM(*pool(SilentLLM()), max_tokens=50)
    messages = [ChatMessage(role="user", content=QUESTION)]
    expected = [piece_facts(piece) for piece in SilentLLM().stream_chat(messages)]
    *pieces, last = llm.stream_chat(messages)
    assert [piece_facts(piece) for piece in pieces] == expected
    assert last.delta == ""
    assert last.raw is None
    assert list(last.additional_kwargs) == ["routoo"]
    assert last.message.content == pieces[-1].message.content


def test_a_tool_call_that_ends_with_the_stream_is_read_whole():
    call = {"name": "add", "args": '{"a": ', "id": "1", "index": 0}
    rest = {"name": None, "args": "2}", "id": None, "index": 0}

    class Calling(GenericFakeChatModel):
        def _stream(self, messages, stop=None, run_manager=None, **kwargs):
            end = {"finish_reason": "tool_calls"}
            first = AIMessageChunk("", tool_call_chunks=[call])
            last = AIMessageChunk("", tool_call_chunks=[rest], response_metadata=end)
            yield ChatGenerationChunk(message=first)
            yield ChatGenerationChunk(message=last)

    model = RoutooChatModel(*pool(Calling(messages=iter([]))), max_tokens=50)
    for reply in (
        model.stream_events(QUESTION, version="v3").output,
        sum_of(model.stream(QUESTION)),
    ):
        assert [(call["name"], call["args"]) for call in reply.tool_calls] == [("add", {"a": 2})]
        assert reply.response_metadata["routoo"]["expert"] == "m"


def sum_of(chunks):
    first, *others = chunks
    for chunk in others:
        first += chunk
    return first


async def test_a_chunk_is_shown_before_the_next_one_comes():
    """A model may think long between two chunks."""
    is_shown = asyncio.Event()

    class Slow(GenericFakeChatModel):
        async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
            yield ChatGenerationChunk(message=AIMessageChunk("first"))
            await is_shown.wait()
            yield ChatGenerationChunk(message=AIMessageChunk(" second"))

    model = RoutooChatModel(*pool(Slow(messages=iter([]))), max_tokens=50)
    texts = []
    async with asyncio.timeout(10):
        async for chunk in model.astream(QUESTION):
            texts.append(chunk.text)
            is_shown.set()
    assert texts == ["first", " second", ""]

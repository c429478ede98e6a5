"""Streams have the pieces of the expert's own, no more and no other; the last one carries the record."""

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
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


@pytest.mark.parametrize("kind", ["openai", "unmarked"])
async def test_llama_index_streams_the_experts_pieces(endpoint, kind):
    endpoint.replies["m"] = Reply(ANSWER)
    bare = MockLLM()
    if kind == "openai":
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

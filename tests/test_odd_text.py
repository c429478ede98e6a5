"""Texts that people paste: half characters, a million blanks, letters, signs or NULs; none fails and none takes long."""

import json

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.tools import FunctionTool
from ways import LANGCHAIN_WAYS, LLAMA_INDEX_WAYS

from routoo_core.predictor.checkpoint import load_checkpoint
from routoo_core.request import RoutedRequest
from routoo_core.testing import FakePredictor
from routoo_core.text import well_formed, well_formed_value
from routoo_core.tokens import bound_tokens, count_tokens, encode
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

HALF = "Hello \ud83d there, who are you?"
MENDED = "Hello \ufffd there, who are you?"
BOMBS = {
    "blanks": " " * 1_000_000,
    "letters": "a" * 1_000_000,
    "lines": "\n" * 1_000_000,
    "signs": "!" * 1_000_000,
    "NULs": "\0" * 1_000_000,
    "families": "👨‍👩‍👧" * 200_000,
    "accents": "e" + "\u0301" * 500_000,
    "directions": "\u202e" * 300_000,
    "halves": "\ud83d" * 300_000,
}

both_frameworks = pytest.mark.parametrize("kind", [RoutooChatModel, RoutooLLM])
every_way = pytest.mark.parametrize("way", ["whole", "async", "streamed", "async streamed"])


def adapter(kind, endpoint):
    expert = endpoint.expert("m", context_window=10**7, capabilities={"tools"})
    return kind(FakePredictor({"m": 1.0}), {"m": expert}, policy="best", max_tokens=20)


async def ask(model, way, prompt, **keywords):
    ways = LANGCHAIN_WAYS if isinstance(model, RoutooChatModel) else LLAMA_INDEX_WAYS
    return await ways[way](model, prompt, **keywords)


@both_frameworks
@pytest.mark.parametrize("way", ["whole", "async streamed"])
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
@pytest.mark.timeout(20)
async def test_a_text_of_any_kind_and_length_is_sent_and_booked(endpoint, kind, way, text):
    await ask(adapter(kind, endpoint), way, text)
    assert len(endpoint.requests[-1]["messages"][-1]["content"]) == len(text)


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
@pytest.mark.timeout(5)
def test_a_long_text_is_counted_quickly_and_never_above_its_bound(text):
    assert 0 < count_tokens(text) <= bound_tokens(text)
    assert len(encode(text)) == count_tokens(text)


def test_a_text_that_is_counted_in_pieces_counts_the_same_but_for_the_cuts():
    sentence = "The quick brown fox jumps over the lazy dog. "
    short = count_tokens(sentence * 100)
    long = count_tokens(sentence * 10_000)
    assert long == pytest.approx(100 * short, rel=0.002)


@both_frameworks
@every_way
async def test_half_a_character_is_sent_as_the_replacement_character(endpoint, kind, way):
    model = adapter(kind, endpoint)
    await ask(model, way, HALF)
    assert endpoint.requests[-1]["messages"][-1]["content"] == MENDED
    assert model.router.predictor.prompts == [MENDED]


def test_half_a_character_is_replaced_wherever_langchain_has_texts(endpoint):
    calls = [{"name": "look", "args": {"what\ud83d": ["\ud83d"]}, "id": "1"}]
    bad_calls = [{"name": "look", "args": '{"\ud83d', "id": "2", "error": None}]
    messages = [
        SystemMessage("Be kind \ud83d"),
        HumanMessage([{"type": "text", "text": HALF}, "and \ud83d so on"]),
        AIMessage("", tool_calls=calls, invalid_tool_calls=bad_calls),
        ToolMessage("\ud83d", tool_call_id="1"),
        ToolMessage([{"type": "text", "text": "\ud83d"}], tool_call_id="2"),
    ]
    tool = {"type": "function", "function": {"name": "look", "description": "\ud83d"}}
    model = adapter(RoutooChatModel, endpoint)
    model.invoke(messages, tools=[tool], stop=["\ud83d"])
    assert "\\ud83d" not in json.dumps(endpoint.requests[-1])
    assert json.dumps(endpoint.requests[-1]).count("\\ufffd") >= 8
    assert messages[0].content == "Be kind \ud83d"  # what the caller holds stays


def test_half_a_character_is_replaced_wherever_llama_index_has_texts(endpoint):
    messages = [
        ChatMessage(role="system", content="Be kind \ud83d"),
        ChatMessage(role="user", blocks=[TextBlock(text=HALF), TextBlock(text="\ud83d")]),
        ChatMessage(
            role="assistant",
            blocks=[
                ToolCallBlock(tool_call_id="1", tool_name="look", tool_kwargs={"x": "\ud83d"}),
                ToolCallBlock(tool_call_id="2", tool_name="look", tool_kwargs='{"\ud83d'),
            ],
        ),
        ChatMessage(role="tool", content="\ud83d", additional_kwargs={"tool_call_id": "1"}),
        ChatMessage(role="tool", content="\ud83d", additional_kwargs={"tool_call_id": "2"}),
    ]
    llm = adapter(RoutooLLM, endpoint)
    llm.chat(messages)
    llm.complete(HALF)
    for body in endpoint.requests:
        assert "\\ud83d" not in json.dumps(body)
    assert json.dumps(endpoint.requests[0]).count("\\ufffd") >= 6
    assert messages[0].content == "Be kind \ud83d"


def test_half_a_character_is_replaced_in_the_arguments_of_a_llama_index_call(endpoint):
    def look(what: str) -> str:
        return what

    described = {"type": "function", "function": {"name": "see", "description": "\ud83d"}}
    tools = [described, FunctionTool.from_defaults(look, description="\ud83d")]
    llm = adapter(RoutooLLM, endpoint)
    llm.chat([ChatMessage("Look!")], tools=tools, stop=["\ud83d"])
    llm.complete("Look!", stop=["\ud83d"])
    first, second = (json.dumps(body) for body in endpoint.requests)
    assert "\\ud83d" not in first + second
    assert first.count("\\ufffd") == 3
    assert second.count("\\ufffd") == 1


def test_two_halves_that_belong_together_become_the_character():
    assert well_formed("\ud83d\ude00 \ude00") == "😀 \ufffd"


def test_a_value_that_is_well_formed_stays_the_same_object():
    value = {"a": ["b", {"c": "漢字 😀"}, 3, None]}
    assert well_formed_value(value) is value
    assert well_formed_value({"a": ["\ud83d"]}) == {"a": ["\ufffd"]}


@pytest.mark.parametrize("text", ["", "   ", "\ud83d", "\0", "a\0b", "\u202e", "👨‍👩‍👧" * 9000])
def test_a_trained_router_predicts_for_every_text(checkpoint, text):
    predictor = load_checkpoint(checkpoint)
    request = RoutedRequest.from_text(text)
    quality = predictor.predict([request.text])
    assert quality.shape == (1, 2)
    assert ((quality >= 0) & (quality <= 1)).all()

"""A refusal is a refusal: an error with the expert's words where an object was asked for, a message where text was."""

import pytest
from langchain_core.messages import AIMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel
from ways import LANGCHAIN_WAYS, LLAMA_INDEX_WAYS, record_of

from routoo_core.errors import ReplyRefused
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.langchain.messages import refusal_text
from routoo_integrations.llama_index import RoutooLLM

WORDS = "I cannot help with that, sorry."
PROMPT = PromptTemplate("A joke about {topic}, please.")

every_way = pytest.mark.parametrize("way", ["whole", "async", "streamed", "async streamed"])


class Joke(BaseModel):
    """A joke."""

    setup: str = ""
    punchline: str = ""


def adapter(kind, endpoint, capabilities=("tools", "json_schema"), **reply):
    endpoint.replies["m"] = Reply(**{"refusal": WORDS, "opening": "role", **reply})
    expert = endpoint.expert("m", capabilities=set(capabilities))
    return kind(FakePredictor({"m": 1.0}), {"m": expert}, policy="best", max_tokens=50)


def spent(model):
    return model.router.ledger.state(model.router.budget).spent


# LangChain


@every_way
@pytest.mark.parametrize("schema", [Joke, Joke.model_json_schema()], ids=["class", "schema"])
@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
async def test_a_refusal_instead_of_an_object_is_an_error_with_its_words(
    endpoint, way, schema, method
):
    if method == "function_calling" and "streamed" in way:
        pytest.skip("langchain-openai drops a refusal from the chunks of a stream with tools")
    model = adapter(RoutooChatModel, endpoint)
    with pytest.raises(ReplyRefused, match=WORDS) as raised:
        await LANGCHAIN_WAYS[way](model.with_structured_output(schema, method=method), "A joke!")
    assert (raised.value.expert, raised.value.refusal) == ("m", WORDS)
    assert spent(model) > 0


@pytest.mark.parametrize("way", ["whole", "async"])
@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
async def test_beside_the_raw_message_a_refusal_is_the_parsing_error(endpoint, way, method):
    model = adapter(RoutooChatModel, endpoint)
    structured = model.with_structured_output(Joke, method=method, include_raw=True)
    answer = await LANGCHAIN_WAYS[way](structured, "A joke!")
    assert isinstance(answer["parsing_error"], ReplyRefused)
    assert answer["parsed"] is None
    assert answer["raw"].additional_kwargs["refusal"] == WORDS


@every_way
async def test_a_chat_returns_the_message_of_a_refusal(endpoint, way):
    model = adapter(RoutooChatModel, endpoint)
    message = await LANGCHAIN_WAYS[way](model, "A joke!")
    assert message.text == ""
    if "streamed" not in way:
        assert message.additional_kwargs["refusal"] == WORDS


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("", additional_kwargs={"refusal": "no"}),
        AIMessage([{"type": "refusal", "refusal": "no"}]),
        AIMessage([{"type": "non_standard", "value": {"type": "refusal", "refusal": "no"}}]),
        AIMessage("no", response_metadata={"stop_reason": "refusal"}),
    ],
)
def test_a_refusal_is_read_in_every_form(message):
    assert refusal_text(message) == "no"


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("yes", additional_kwargs={"refusal": None}),
        AIMessage(["yes", {"type": "text", "text": "refusal"}]),
    ],
)
def test_an_answer_is_no_refusal(message):
    assert refusal_text(message) == ""


@every_way
@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
async def test_an_object_is_streamed_and_read_as_before(endpoint, way, method):
    model = adapter(
        RoutooChatModel, endpoint, refusal=None, text='{"setup": "a", "punchline": "b"}'
    )
    structured = model.with_structured_output(Joke.model_json_schema(), method=method)
    if way == "streamed":
        joke = list(structured.stream("A joke!"))[-1]
    elif way == "async streamed":
        joke = [partial async for partial in structured.astream("A joke!")][-1]
    else:
        joke = await LANGCHAIN_WAYS[way](structured, "A joke!")
    assert joke == {"setup": "a", "punchline": "b"}


# LlamaIndex


async def predict(llm, way, mode=PydanticProgramMode.DEFAULT):
    llm = llm.model_copy(update={"pydantic_program_mode": mode})
    if way == "whole":
        return llm.structured_predict(Joke, PROMPT, topic="tea")
    if way == "async":
        return await llm.astructured_predict(Joke, PROMPT, topic="tea")
    if way == "streamed":
        return list(llm.stream_structured_predict(Joke, PROMPT, topic="tea"))[-1]
    objects = await llm.astream_structured_predict(Joke, PROMPT, topic="tea")
    return [partial async for partial in objects][-1]


@every_way
@pytest.mark.parametrize("capabilities", [{"json_schema"}, {"tools"}], ids=["schema", "tools"])
async def test_a_refusal_instead_of_an_object_is_an_error_in_llama_index(
    endpoint, way, capabilities
):
    llm = adapter(RoutooLLM, endpoint, capabilities)
    with pytest.raises(ReplyRefused, match=WORDS) as raised:
        await predict(llm, way)
    assert (raised.value.expert, raised.value.refusal) == ("m", WORDS)
    assert spent(llm) > 0


@pytest.mark.parametrize("way", ["whole", "async"])
async def test_a_refusal_of_a_program_of_text_is_an_error_too(endpoint, way):
    with pytest.raises(ReplyRefused, match=WORDS):
        await predict(adapter(RoutooLLM, endpoint), way, PydanticProgramMode.LLM)


@every_way
@pytest.mark.parametrize("capabilities", [{"json_schema"}, {"tools"}], ids=["schema", "tools"])
async def test_objects_are_filled_as_before_in_llama_index(endpoint, way, capabilities):
    fields = {"setup": "a", "punchline": "b"}
    reply = {"text": Joke(**fields).model_dump_json()}
    if "tools" in capabilities:
        reply = {"text": "", "tool_calls": [{"name": "Joke", "arguments": fields}]}
    llm = adapter(RoutooLLM, endpoint, capabilities, refusal=None, **reply)
    assert (await predict(llm, way)).model_dump() == fields


@every_way
async def test_a_chat_of_llama_index_returns_the_message_of_a_refusal(endpoint, way):
    llm = adapter(RoutooLLM, endpoint)
    response = await LLAMA_INDEX_WAYS[way](llm, "A joke!")
    assert not response.message.content


# What a refusal costs where no usage is reported


@every_way
@pytest.mark.parametrize("kind", [RoutooChatModel, RoutooLLM])
async def test_the_words_of_a_refusal_count_as_written(endpoint, kind, way):
    if kind is RoutooChatModel and "streamed" in way:
        pytest.skip("langchain-openai drops a refusal from the chunks of a stream")
    ways = LANGCHAIN_WAYS if kind is RoutooChatModel else LLAMA_INDEX_WAYS
    costs = []
    for words in (5, 45):
        model = adapter(kind, endpoint, refusal="no " * words, report_usage=False)
        record = record_of(await ways[way](model, "A joke!"))
        costs.append(float(record["settled_usd"]))
    assert costs[1] - costs[0] >= 35e-6

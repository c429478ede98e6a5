"""Content of any form reaches the expert as it came; media are needs in every spelling, what is unknown needs nothing."""

import base64
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from llama_index.core.base.llms.types import ChatMessage as LlamaIndexMessage
from llama_index.core.base.llms.types import (
    CitableBlock,
    CitationBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from ways import LANGCHAIN_WAYS, LLAMA_INDEX_WAYS

from routoo_core import Expert
from routoo_core.errors import NoCapableExpert
from routoo_core.limits import CAPABILITIES
from routoo_core.request import RoutedRequest
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

DATA = base64.b64encode(b"x" * 3000).decode()
MIME_LINES = base64.encodebytes(b"x" * 3000).decode()
CALL = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}])

MEDIA = {
    "images": [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
        {"type": "image_url", "image_url": "https://x/y.png"},
        {"type": "input_image", "image_url": "https://x/y.png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
        {"type": "image", "base64": DATA, "mime_type": "image/png"},
        {"type": "image", "file_id": "f"},
        {"type": "media", "mime_type": "image/png", "data": DATA},
        {"image": {"format": "png", "source": {"bytes": b"x"}}},
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image", "url": "u"}]},
    ],
    "audio": [
        {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}},
        {"type": "audio", "base64": DATA, "mime_type": "audio/wav"},
        {"type": "media", "mime_type": "audio/wav", "data": DATA},
    ],
    "files": [
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{DATA}"}},
        {"type": "file", "url": "https://x/y.pdf"},
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "media", "mime_type": "application/pdf", "file_uri": "gs://x"},
        {"document": {"format": "pdf", "name": "d", "source": {"bytes": b"x"}}},
    ],
    "video": [
        {"type": "video", "base64": DATA, "mime_type": "video/mp4"},
        {"type": "media", "mime_type": "video/mp4", "data": DATA},
        {"video": {"format": "mp4", "source": {"bytes": b"x"}}},
    ],
}
UNKNOWN = [
    {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]},
    {"type": "container_upload", "file_id": "f"},
    {"type": "tool_reference", "tool_name": "f"},
    {"type": "hologram", "depth": {"x": [1, None]}},
    {"type": "non_standard", "value": {"x": 1}},
    {"type": "json", "json": {"a": 1}},
    {"type": 7},
    {"cachePoint": {"type": "default"}},
    {"guardContent": {"text": {"text": "x"}}},
    {},
]  # fmt: skip
READ = [
    {"type": "guard_content", "text": "x"},
    {"type": "input_text", "text": "x"},
    {"type": "text-plain", "text": "x", "mime_type": "text/csv"},
    {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
    {"text": "x"},
    "x",
]
CONVERSATIONS = {
    "another role": [ChatMessage("hello there", role="critic")],
    "developer": [ChatMessage("be kind", role="developer"), HumanMessage("hi there")],
    "system only": [SystemMessage("Say hello.")],
    "no text": [HumanMessage("")],
    "blank": [HumanMessage("   ")],
    "no part": [HumanMessage([])],
    "no message": [],
    "prefill": [HumanMessage("hi there"), AIMessage("Sure, ")],
    "empty tool result": [CALL, ToolMessage("", tool_call_id="1")],
    "tool result with a picture": [CALL, ToolMessage([MEDIA["images"][4]], tool_call_id="1")],
    "reasoning": [
        HumanMessage("hi there"),
        AIMessage(
            [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
                {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}},
                {"type": "refusal", "refusal": "no"},
                {"type": "text", "text": "yes"},
            ]
        ),
        HumanMessage("go on then, please"),
    ],
}
CONVERSATIONS |= {
    f"unknown {number}": [HumanMessage(["What is this?", part])]
    for number, part in enumerate(UNKNOWN)
}

every_way = pytest.mark.parametrize("way", ["whole", "async", "streamed", "async streamed"])


class Recorder(GenericFakeChatModel):
    """A model that takes anything, and keeps what it was sent."""

    sent: list[Any]

    def _generate(self, messages, *args, **kwargs):
        self.sent.append(messages)
        return super()._generate(messages, *args, **kwargs)


@pytest.fixture
def recorder():
    return Recorder(messages=iter(AIMessage("ok") for _ in range(9)), sent=[])


@pytest.fixture
def model(recorder):
    price = {"input_usd_per_1m": 1, "output_usd_per_1m": 1}
    expert = Expert(
        name="m",
        model="m",
        client=recorder,
        context_window=10**6,
        capabilities=CAPABILITIES,
        **price,
    )
    return RoutooChatModel(FakePredictor({"m": 1.0}), {"m": expert}, policy="best")


def request(part):
    return RoutedRequest.from_messages([{"role": "user", "content": ["What is this?", part]}])


@every_way
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
async def test_messages_of_any_form_reach_the_expert_as_they_are(model, recorder, way, messages):
    reply = await LANGCHAIN_WAYS[way](model, messages)
    assert reply.text == "ok"
    assert recorder.sent[-1] == messages


@pytest.mark.parametrize(
    ("need", "part"), [(need, part) for need, parts in MEDIA.items() for part in parts]
)
def test_a_medium_is_a_need_in_every_spelling(need, part):
    assert request(part).needs == {need}
    assert request(part).text == "What is this?"
    assert request(part).images == (need == "images")


@pytest.mark.parametrize("part", UNKNOWN, ids=str)
def test_a_part_of_an_unknown_kind_needs_nothing_and_counts(part):
    bare = RoutedRequest.from_text("What is this?")
    assert request(part).needs == frozenset()
    assert request(part).text == bare.text
    assert bare.prompt_tokens < request(part).prompt_tokens <= request(part).prompt_token_bound


@pytest.mark.parametrize("part", READ, ids=str)
def test_a_part_with_a_text_is_read(part):
    assert request(part).text == "What is this?\nx"


@pytest.mark.parametrize(
    "data", [DATA, MIME_LINES, f"data:application/pdf;base64,{DATA}", b"x" * 4000]
)
def test_encoded_data_counts_by_its_size_in_parts_of_every_kind(data):
    for part in (
        {"type": "hologram", "data": data},
        {"type": "non_standard", "value": {"deep": [{"data": data}]}},
        {"type": "file", "file": {"file_data": data}},
    ):
        assert 1400 < request(part).prompt_tokens < 2200


def test_a_document_that_is_written_out_counts_as_its_text():
    source = {"type": "text", "media_type": "text/plain", "data": "word " * 1000}
    assert 1000 <= request({"type": "document", "source": source}).prompt_tokens < 1300
    short = request({"type": "document", "source": {**source, "data": "word"}})
    assert short.prompt_tokens < 100


@pytest.mark.timeout(5)
def test_data_that_only_looks_encoded_is_told_quickly():
    for line in ("A" * 59 + "\n", "A" * 255 + ".", "A" * 70 + " "):
        request({"type": "hologram", "data": line * 20_000 + "."})


def test_a_call_of_a_tool_that_stands_in_the_content_as_well_counts_once(endpoint):
    argument = "word " * 500
    call = {"name": "look", "args": {"what": argument}, "id": "1"}
    block = {"type": "tool_use", "name": "look", "input": {"what": argument}, "id": "1"}
    endless = AIMessage([{"type": "text", "text": "I look."}, block], tool_calls=[call])
    router = RoutooChatModel(
        FakePredictor({"m": 1.0}),
        {"m": endpoint.expert("m")},
        policy="best",
    )
    tokens = router.routed_request([HumanMessage("look"), endless], {}).prompt_tokens
    assert 500 < tokens < 700


def test_a_medium_that_no_expert_takes_is_still_refused(endpoint):
    model = RoutooChatModel(FakePredictor({"m": 1.0}), {"m": endpoint.expert("m")}, policy="best")
    with pytest.raises(NoCapableExpert, match="m lacks video"):
        model.invoke([HumanMessage([MEDIA["video"][1]])])


def test_a_function_of_the_users_own_reads_the_texts_of_any_content(model):
    asking = model.model_copy(update={"question_of": str.upper})
    asking.invoke([HumanMessage(["hello there", {"type": "hologram"}, {"text": None}, "you"])])
    assert model.router.predictor.prompts == ["HELLO THERE\nYOU"]


# LlamaIndex


@every_way
@pytest.mark.parametrize(
    "messages",
    [
        [LlamaIndexMessage(role="user", content="")],
        [LlamaIndexMessage(role="system", content="Say hello.")],
        [LlamaIndexMessage(role="user", blocks=[])],
        [],
        [LlamaIndexMessage(role="developer", content="hi")],
    ],
    ids=["no text", "system only", "no block", "no message", "developer"],
)  # fmt: skip
async def test_messages_without_a_question_are_answered_by_llama_index_experts(
    endpoint, way, messages
):
    llm = RoutooLLM(FakePredictor({"m": 1.0}), {"m": endpoint.expert("m")}, policy="best")
    reply = await LLAMA_INDEX_WAYS[way](llm, messages)
    assert reply.message.content


def test_blocks_of_every_kind_count(endpoint):
    citation = CitationBlock(
        cited_content=TextBlock(text="c " * 300), source="s", title="t", additional_location_info={}
    )
    citable = CitableBlock(title="t", source="s", content=[TextBlock(text="c " * 300)])
    llm = RoutooLLM(FakePredictor({"m": 1.0}), {"m": endpoint.expert("m")}, policy="best")
    for block in (citation, citable, ThinkingBlock(content="t " * 300)):
        request = llm.routed_request([LlamaIndexMessage(role="user", blocks=[block])], {})
        assert request.prompt_tokens > 300
        assert request.needs == frozenset()


# Calls of tools that could not be parsed


@every_way
async def test_an_invalid_call_goes_with_its_tool_message_to_another_expert(endpoint, way):
    pool = {name: endpoint.expert(name, capabilities={"tools"}) for name in ("a", "b")}
    model = RoutooChatModel(FakePredictor({"a": 0.5, "b": 0.4}), pool, policy="best")
    bad = [{"name": "look", "args": '{"x": ', "id": "7", "error": "no JSON"}]
    reply = AIMessage(
        "", invalid_tool_calls=bad, response_metadata={"routoo": {"expert": "another"}}
    )
    messages = [HumanMessage("look, please"), reply, ToolMessage("no JSON", tool_call_id="7")]
    await LANGCHAIN_WAYS[way](model, messages)
    _, sent, result = endpoint.requests[-1]["messages"]
    assert sent["tool_calls"][0]["id"] == result["tool_call_id"] == "7"
    assert sent["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"x": '}


@every_way
async def test_invalid_calls_go_with_their_results_to_another_expert_of_llama_index(endpoint, way):
    llm = RoutooLLM(FakePredictor({"m": 1.0}), {"m": endpoint.expert("m")}, policy="best")
    mark = {"routoo": {"expert": "another"}}
    plain = {"id": "8", "type": "function", "function": {"name": "look", "arguments": '{"y": '}}
    block = ToolCallBlock(tool_call_id="7", tool_name="look", tool_kwargs='{"x": ')
    messages = [
        LlamaIndexMessage(role="user", content="look, please"),
        LlamaIndexMessage(
            role="assistant", blocks=[block], additional_kwargs={**mark, "tool_calls": [plain]}
        ),
        LlamaIndexMessage(role="tool", content="no", additional_kwargs={"tool_call_id": "7"}),
        LlamaIndexMessage(role="tool", content="no", additional_kwargs={"tool_call_id": "8"}),
    ]
    await LLAMA_INDEX_WAYS[way](llm, messages)
    sent = endpoint.requests[-1]["messages"][1]["tool_calls"]
    assert [(call["id"], call["function"]["arguments"]) for call in sent] == [
        ("7", '{"x": '),
        ("8", '{"y": '),
    ]


def test_calls_that_could_not_be_parsed_count_as_prompt(endpoint):
    bad = [{"name": "look", "args": "word " * 500, "id": "7", "error": "no JSON"}]
    model = RoutooChatModel(FakePredictor({"m": 1.0}), {"m": endpoint.expert("m")}, policy="best")
    messages = [HumanMessage("look"), AIMessage("", invalid_tool_calls=bad)]
    assert model.routed_request(messages, {}).prompt_tokens > 500


def test_a_reply_with_an_invalid_call_is_handed_on_by_the_next_call(endpoint):
    endpoint.replies["a"] = Reply("", tool_calls=[{"name": "look", "arguments": {}}])
    pool = {name: endpoint.expert(name, capabilities={"tools"}) for name in ("a", "b")}
    model = RoutooChatModel(FakePredictor({"a": 0.5, "b": 0.4}), pool, policy="best")
    reply = model.invoke("look, please")
    call = reply.tool_calls[0]
    invalid = {"name": call["name"], "args": "{", "id": call["id"], "error": "x"}
    broken = reply.model_copy(update={"tool_calls": [], "invalid_tool_calls": [invalid]})
    result = ToolMessage("not JSON", tool_call_id=call["id"])
    model.invoke([HumanMessage("look, please"), broken, result], routoo_expert="b")
    assert endpoint.requests[-1]["messages"][1]["tool_calls"][0]["id"] == call["id"]


SMALL = base64.b64encode(b"x" * 30).decode()


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{SMALL}"}},
        {"type": "file", "base64": SMALL, "mime_type": "application/pdf"},
        {"type": "document", "source": {"type": "base64", "data": SMALL}},
        {"type": "media", "mime_type": "application/pdf", "data": SMALL},
        {"document": {"format": "pdf", "name": "d", "source": {"bytes": b"x" * 30}}},
        {"type": "input_audio", "input_audio": {"data": SMALL, "format": "wav"}},
    ],
)
def test_a_small_medium_counts_by_its_bytes(part):
    request = RoutedRequest.from_messages([{"role": "user", "content": [part]}])
    nothing = RoutedRequest.from_messages([{"role": "user", "content": ""}])
    assert 1 <= request.prompt_token_bound - nothing.prompt_token_bound <= 30


@pytest.mark.parametrize("data", [{}, {"data": SMALL}])
@pytest.mark.parametrize("name", ["url", "file_id", "file_uri"])
def test_a_medium_elsewhere_counts_as_a_large_one(name, data):
    part = {"type": "file", name: "https://x/y.pdf", **data}
    request = RoutedRequest.from_messages([{"role": "user", "content": [part]}])
    assert request.prompt_token_bound > 10_000

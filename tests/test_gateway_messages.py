"""Anthropic's protocol at the gateway: its own SDK in front, experts of either protocol behind."""

import json

import httpx
import pytest
from anthropic import (
    Anthropic,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    RateLimitError,
)
from gateway_parts import HELLO, make_router, post, state_of, stream_events
from gateway_parts import sdk_for as openai_sdk
from provider_servers import ProviderReply
from waiting import wait_until

from routoo_core import Budget, Pool
from routoo_core.config import build_router
from routoo_core.testing import FakePredictor, Reply
from routoo_core.usage import Usage
from routoo_integrations.gateway.anthropic_form import CompletionChunks, completion_of
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.key_file import KeyFile
from routoo_integrations.gateway.keys import KeyStore, KeyTerms
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.gateway.translation import MessageEvents, NotTranslatable, chat_body

PATH = "/v1/messages"
BODY = {"model": "routoo", "max_tokens": 100, "messages": HELLO}
TOOL = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture
def router(endpoint):
    return make_router(endpoint)


@pytest.fixture
def server(router):
    with GatewayServer(Gateway(router), port=0) as running:
        yield running


@pytest.fixture
def mixed_router(endpoint, anthropic):
    """A router over one of Anthropic's experts, the better one, and one that speaks OpenAI's protocol."""
    return make_mixed_router(endpoint, anthropic)


def make_mixed_router(endpoint, anthropic, **settings):
    shared = {"context_window": 9000, "max_output_tokens": 500, "capabilities": {"tools", "images"}}
    claude = endpoint.expert(
        "claude",
        provider="anthropic",
        base_url=anthropic.base_url,
        input_usd_per_1m=10,
        output_usd_per_1m=30,
        **shared,
        **settings,
    )
    return build_router(
        Pool([claude, endpoint.expert("cheap", **shared)]),
        router=FakePredictor({"claude": 0.9, "cheap": 0.4}),
        policy="best",
        budget=Budget(limit="0.10"),
    )


@pytest.fixture
def mixed_server(mixed_router):
    with GatewayServer(Gateway(mixed_router), port=0) as running:
        yield running


def sdk_for(server, api_key="any"):
    return Anthropic(base_url=server.address, api_key=api_key, max_retries=0)


# Translated for experts that speak OpenAI's protocol


def test_a_message_is_answered_by_an_expert_of_the_other_protocol(server, endpoint, router):
    raw = sdk_for(server).messages.with_raw_response.create(**BODY, system="Be brief.")
    message = raw.parse()
    assert message.content[0].text == "The answer is four."
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 4)
    assert raw.headers["routoo-expert"] == "dear"
    assert raw.headers["routoo-settled-usd"] == "0.000220000"
    assert endpoint.requests[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert endpoint.requests[0]["max_tokens"] == 100
    assert state_of(router).held == 0


def test_a_streamed_message_comes_as_the_sdks_own_events(server, router):
    with sdk_for(server).messages.stream(**BODY) as stream:
        assert "".join(stream.text_stream) == "The answer is four."
        message = stream.get_final_message()
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 4)
    assert state_of(router).spent == 220_000


def test_the_last_event_carries_the_record(server):
    events = stream_events(server, BODY, PATH)
    names = [event.name for event in events]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert json.loads(events[-1].data)["routoo"]["total_usd"] == "0.000220000"


def test_a_tool_loop_stays_with_its_expert(server, endpoint):
    calls = [{"name": "weather", "arguments": {"city": city}} for city in ("Bern", "Rome")]
    endpoint.replies["cheap"] = Reply("Let me see.", tool_calls=calls)
    client = sdk_for(server)
    asked = {**BODY, "tools": [TOOL], "tool_choice": {"type": "any"}}
    reply = client.messages.create(**{**asked, "model": "cheap"})
    uses = [block for block in reply.content if block.type == "tool_use"]
    assert reply.stop_reason == "tool_use"
    assert [use.input for use in uses] == [{"city": "Bern"}, {"city": "Rome"}]
    assert endpoint.requests[0]["tool_choice"] == "required"
    assert endpoint.requests[0]["tools"][0]["function"]["parameters"] == TOOL["input_schema"]

    endpoint.replies.clear()
    results = [
        {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "Sun"}]}
        for use in uses
    ]
    history = [*HELLO, {"role": "assistant", "content": reply.content}]
    history.append({"role": "user", "content": [*results, {"type": "text", "text": "And?"}]})
    raw = client.messages.with_raw_response.create(**{**asked, "messages": history})
    assert raw.headers["routoo-expert"] == "cheap"
    sent = endpoint.requests[1]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    assert [message["tool_call_id"] for message in sent[2:4]] == [
        call["id"] for call in sent[1]["tool_calls"]
    ]
    assert "routoo" not in json.dumps(sent)


def test_streamed_tool_calls_are_whole_for_the_sdks_helper(server, endpoint):
    calls = [{"name": "weather", "arguments": {"city": city}} for city in ("Bern", "Rome")]
    endpoint.replies["dear"] = Reply("Let me see.", tool_calls=calls)
    with sdk_for(server).messages.stream(**BODY, tools=[TOOL]) as stream:
        message = stream.get_final_message()
    kinds = [block.type for block in message.content]
    assert kinds == ["text", "tool_use", "tool_use"]
    assert [block.input for block in message.content[1:]] == [{"city": "Bern"}, {"city": "Rome"}]
    assert message.content[1].id.endswith(".routoo-dear")


def test_a_death_in_mid_stream_is_an_error_event(server, endpoint, router):
    endpoint.replies["dear"] = Reply(drop_after=2)
    with (
        pytest.raises(APIStatusError, match="failed while streaming"),
        sdk_for(server).messages.stream(**BODY) as stream,
    ):
        stream.until_done()
    events = stream_events(server, BODY, PATH)
    assert events[-1].name == "error"
    assert all(event.name != "message_stop" for event in events)
    wait_until(lambda: state_of(router).held == 0)


def test_a_failing_expert_is_replaced(server, endpoint):
    endpoint.replies["dear"] = Reply(status=500)
    raw = sdk_for(server).messages.with_raw_response.create(**BODY)
    assert raw.headers["routoo-expert"] == "cheap"


# Passed through to Anthropic's own


def test_the_body_goes_through_untouched_to_anthropics_own(mixed_server, anthropic):
    body = {
        **BODY,
        "system": [{"type": "text", "text": "Brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            *HELLO,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmF0dXJl"},
                    {"type": "text", "text": "Four.", "citations": None},
                ],
            },
            {"role": "user", "content": "Sure?"},
        ],
        "thinking": {"type": "enabled", "budget_tokens": 50},
        "metadata": {"user_id": "u1"},
        "top_k": 5,
    }
    headers = {"anthropic-beta": "some-beta", "x-other": "1"}
    response = post(mixed_server, body, PATH, headers=headers)
    assert response.status_code == 200
    assert response.headers["routoo-expert"] == "claude"
    assert anthropic.requests[0] == {**body, "model": "claude"}
    sent = anthropic.headers[0]
    assert sent["anthropic-beta"] == "some-beta"
    assert sent["anthropic-version"]
    assert "x-other" not in sent
    assert response.json()["content"] == [{"type": "text", "text": "The answer is four."}]


def test_what_anthropics_own_bill_for_their_cache_is_booked(mixed_server, anthropic, mixed_router):
    anthropic.replies["claude"] = ProviderReply(tokens=Usage(100, 4, cached_tokens=60))
    for _ in range(2):
        with sdk_for(mixed_server).messages.stream(**BODY) as stream:
            message = stream.get_final_message()
        assert message.usage.cache_read_input_tokens == 60
    assert state_of(mixed_router).spent == 2 * (100 * 10 + 4 * 30) * 1000


def test_events_of_anthropics_own_come_as_they_are_and_the_last_carries_the_record(
    mixed_server, anthropic
):
    events = stream_events(mixed_server, BODY, PATH)
    assert events[0].name in {None, "message_start"}
    last = json.loads(events[-1].data)
    assert last["type"] == "message_stop"
    assert last["routoo"]["expert"] == "claude"


@pytest.mark.parametrize("streamed", [False, True])
def test_one_of_anthropics_own_that_fails_is_replaced_across_protocols(
    mixed_server, anthropic, streamed
):
    anthropic.replies["claude"] = ProviderReply(status=529, error={"type": "overloaded_error"})
    if streamed:
        text = "".join(
            json.loads(event.data).get("delta", {}).get("text", "")
            for event in stream_events(mixed_server, BODY, PATH)
        )
    else:
        text = post(mixed_server, BODY, PATH).json()["content"][0]["text"]
    assert text == "The answer is four."


def test_an_interrupted_stream_of_anthropics_own_does_not_end_cleanly(
    mixed_server, anthropic, mixed_router
):
    anthropic.replies["claude"] = ProviderReply(cut_after=2)
    events = stream_events(mixed_server, BODY, PATH)
    assert json.loads(events[-1].data)["type"] == "error"
    wait_until(lambda: state_of(mixed_router).held == 0)


def test_a_caller_of_openais_protocol_is_answered_by_anthropics_own(mixed_server, anthropic):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "toolu_1.routoo-claude",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Bern"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1.routoo-claude", "content": "Sun"},
    ]
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    with openai_sdk(mixed_server) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="routoo",
            messages=messages,
            tools=[tool],
            tool_choice="required",
            parallel_tool_calls=False,
            temperature=1.5,
            stop="END",
            max_tokens=100,
        )
    assert raw.headers["routoo-expert"] == "claude"
    completion = raw.parse()
    assert completion.choices[0].message.content == "The answer is four."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.total_tokens == 14
    source = {"type": "base64", "media_type": "image/png", "data": "iVBO"}
    assert anthropic.requests[0] == {
        "model": "claude",
        "max_tokens": 100,
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image", "source": source},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me see."},
                    {
                        "type": "tool_use",
                        "id": "toolu_1",
                        "name": "weather",
                        "input": {"city": "Bern"},
                    },
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sun"}],
            },
        ],
        "temperature": 1.0,
        "stop_sequences": ["END"],
        "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }


def test_a_stream_of_anthropics_own_comes_as_chunks_or_events_of_a_response(
    mixed_server, mixed_router
):
    chat = {"model": "routoo", "messages": HELLO, "stream_options": {"include_usage": True}}
    events = stream_events(mixed_server, chat)
    assert events[-1].data == "[DONE]"
    chunks = [json.loads(event.data) for event in events[:-1]]
    said = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(filter(None, said)) == "The answer is four."
    assert chunks[-1]["usage"]["total_tokens"] == 14
    assert chunks[-1]["routoo"]["expert"] == "claude"
    with openai_sdk(mixed_server) as client:
        with client.responses.stream(model="routoo", input="Hello there, you!") as stream:
            response = stream.get_final_response()
        whole = client.responses.create(model="routoo", input="Hello there, you!")
    assert response.output_text == whole.output_text == "The answer is four."
    assert response.usage.total_tokens == whole.usage.total_tokens == 14
    assert state_of(mixed_router).spent == 3 * (10 * 10 + 4 * 30) * 1000


def test_what_anthropics_own_cannot_do_goes_to_others(mixed_server):
    for changes in ({"n": 2}, {"logprobs": True}):
        body = {"model": "routoo", "messages": HELLO, **changes}
        assert post(mixed_server, body).headers["routoo-expert"] == "cheap"


def test_tool_calls_of_anthropics_own_have_their_form_in_the_other_protocol():
    use = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Bern"}}
    message = {"id": "m", "content": [use], "stop_reason": "tool_use"}
    choice = completion_of(message)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    call = choice["message"]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"city": "Bern"}

    chunks = CompletionChunks()
    made = []
    for event in (
        {"type": "message_start", "message": {"id": "m", "model": "claude"}},
        {"type": "content_block_start", "index": 1, "content_block": {**use, "input": {}}},
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '{"city": "Bern"}'},
        },
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ):
        made += chunks.of_event(event)
    calls = [chunk["choices"][0]["delta"].get("tool_calls") for chunk in made]
    assert calls[1][0]["id"] == "t1"
    assert calls[2][0] == {"index": 0, "function": {"arguments": '{"city": "Bern"}'}}
    assert made[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_tools_that_anthropic_runs_need_an_expert_that_allows_them(endpoint, anthropic):
    body = {**BODY, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    with GatewayServer(Gateway(make_mixed_router(endpoint, anthropic)), port=0) as server:
        assert post(server, body, PATH).status_code == 400
    allowing = make_mixed_router(endpoint, anthropic, pass_through={"tools.web_search_20250305"})
    with GatewayServer(Gateway(allowing), port=0) as server:
        assert post(server, body, PATH).headers["routoo-expert"] == "claude"
    assert anthropic.requests[0]["tools"] == body["tools"]
    assert not endpoint.requests


def test_thinking_of_another_expert_is_left_out(mixed_server, anthropic):
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "tool_use", "id": "call_1.routoo-cheap", "name": "weather", "input": {}},
    ]
    result = [{"type": "tool_result", "tool_use_id": "call_1.routoo-cheap", "content": "Sun"}]
    messages = [
        *HELLO,
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": result},
    ]
    body = {**BODY, "model": "claude", "messages": messages, "tools": [TOOL]}
    assert post(mixed_server, body, PATH).status_code == 200
    sent = anthropic.requests[0]["messages"]
    assert sent[1]["content"] == [
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}
    ]
    assert sent[2]["content"][0]["tool_use_id"] == "call_1"


# Counting, refusing, keys


def test_tokens_are_counted_without_a_call(server, endpoint, router):
    client = sdk_for(server)
    short = client.messages.count_tokens(model="routoo", messages=HELLO)
    long = client.messages.count_tokens(
        model="routoo", messages=HELLO, system="word " * 500, tools=[TOOL]
    )
    assert 5 < short.input_tokens < 50
    assert 500 < long.input_tokens < 700
    assert not endpoint.requests
    assert state_of(router).spent == 0


def test_errors_are_in_anthropics_form(endpoint, tmp_path):
    keys = KeyStore(KeyFile(tmp_path / "keys.db"))
    key = keys.create("poor", KeyTerms(limit="0.00001"))
    with GatewayServer(Gateway(make_router(endpoint), keys), port=0) as server:
        with pytest.raises(AuthenticationError):
            sdk_for(server).messages.create(**BODY)
        with pytest.raises(RateLimitError) as caught:
            sdk_for(server, key).messages.create(**BODY)
        assert caught.value.body["error"]["type"] == "rate_limit_error"
        assert caught.value.body["error"]["code"] == "insufficient_quota"
        with pytest.raises(BadRequestError, match="max_tokens"):
            sdk_for(server, key).post(
                PATH, cast_to=httpx.Response, body={"model": "routoo", "messages": HELLO}
            )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"tools": "all"}, "tools"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream": 1}, "stream"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": 5}]}]}, ""),
        ({"messages": [{"role": "assistant", "content": [7, None]}, *HELLO]}, ""),
        ({"system": 9}, ""),
        ({"tool_choice": 3, "metadata": []}, ""),
    ],
)
def test_odd_bodies_are_refused_or_served_and_never_a_failure_of_ours(server, changes, field):
    response = post(server, {**BODY, **changes}, PATH)
    assert response.status_code in {200, 400}
    if field:
        assert response.status_code == 400
        assert response.json()["type"] == "error"
        assert response.json()["error"]["message"].startswith(field)


# The translation by itself


def test_media_and_documents_have_their_form_in_the_other_protocol():
    source = {"type": "base64", "media_type": "image/png", "data": "iVBO"}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
    content = [
        {"type": "text", "text": "Look:"},
        {"type": "image", "source": source},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "document", "source": pdf, "title": "a.pdf"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}},
    ]
    (message,) = chat_body({"messages": [{"role": "user", "content": content}]})["messages"]
    assert message["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        },
        {"type": "text", "text": "Hi"},
    ]


def test_images_in_the_result_of_a_tool_go_into_the_users_turn():
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [image]}
    messages = chat_body({"messages": [{"role": "user", "content": [result]}]})["messages"]
    assert [message["role"] for message in messages] == ["tool", "user"]
    assert messages[1]["content"][0]["type"] == "image_url"


def test_arguments_have_their_names_in_the_other_protocol():
    body = {
        "messages": HELLO,
        "stop_sequences": ["END"],
        "temperature": 0.3,
        "top_k": 4,
        "tools": [TOOL],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        "metadata": {"user_id": "u1"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }
    chat = chat_body(body)
    assert chat["stop"] == ["END"]
    assert chat["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert chat["parallel_tool_calls"] is False
    assert chat["user"] == "u1"
    assert chat["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "top_k" not in chat


def test_what_only_anthropics_servers_know_is_not_translated():
    for block in ({"type": "server_tool_use"}, {"type": "image", "source": {"type": "file"}}):
        with pytest.raises(NotTranslatable):
            chat_body({"messages": [{"role": "user", "content": [block]}]})


def test_text_after_a_tool_call_begins_a_block_of_its_own():
    events = MessageEvents()
    call = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": "{}"}}
    deltas = [{"content": "One"}, {"tool_calls": [call]}, {"content": "Two"}]
    made = []
    for delta in deltas:
        made += events.of_chunk({"id": "x", "choices": [{"index": 0, "delta": delta}]})
    made += events.ending()
    starts = [event["index"] for event in made if event["type"] == "content_block_start"]
    stops = [event["index"] for event in made if event["type"] == "content_block_stop"]
    assert starts == stops == [0, 1, 2]

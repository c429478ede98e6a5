"""OpenAI's responses at the gateway: its own SDK in front, experts that speak chat completions behind."""

import json

import openai
import pytest
from gateway_parts import make_router, post, sdk_for, state_of, stream_events
from pydantic import BaseModel
from waiting import wait_until

from routoo_core.testing import Reply
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer

PATH = "/v1/responses"
QUESTION = "Hello there, how are you today?"
BODY = {"model": "routoo", "input": QUESTION}
TOOL = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}


@pytest.fixture
def router(endpoint):
    return make_router(endpoint)


@pytest.fixture
def server(router):
    with GatewayServer(Gateway(router), port=0) as running:
        yield running


@pytest.fixture
def client(server):
    with sdk_for(server) as sdk:
        yield sdk


def test_a_response_is_answered_by_a_chat_completion(client, endpoint, router):
    raw = client.responses.with_raw_response.create(
        **BODY,
        instructions="Be brief.",
        max_output_tokens=50,
        reasoning={"effort": "low"},
        text={"verbosity": "low"},
        include=[],
        store=False,
    )
    response = raw.parse()
    assert response.output_text == "The answer is four."
    assert response.status == "completed"
    assert response.instructions == "Be brief."
    assert (response.usage.input_tokens, response.usage.output_tokens) == (10, 4)
    assert raw.headers["routoo-expert"] == "dear"
    assert raw.headers["routoo-settled-usd"] == "0.000220000"
    assert state_of(router).held == 0
    sent = endpoint.requests[0]
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": QUESTION},
    ]
    assert sent["max_tokens"] == 50
    assert sent["reasoning_effort"] == sent["verbosity"] == "low"
    assert not {"input", "instructions", "include", "text", "reasoning"} & set(sent)


def test_a_streamed_response_is_whole_for_the_sdks_helper(client, router):
    with client.responses.stream(**BODY) as stream:
        kinds = [event.type for event in stream]
        response = stream.get_final_response()
    assert response.output_text == "The answer is four."
    assert response.usage.output_tokens == 4
    assert kinds[0] == "response.created"
    assert kinds.count("response.output_text.delta") == 4
    assert kinds[-1] == "response.completed"
    assert state_of(router).spent == 220_000


def test_events_are_numbered_and_the_last_carries_the_record(server):
    events = [json.loads(event.data) for event in stream_events(server, BODY, PATH)]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["routoo"]["total_usd"] == "0.000220000"


def test_a_tool_loop_stays_with_its_expert(client, endpoint):
    calls = [{"name": "weather", "arguments": {"city": city}} for city in ("Bern", "Rome")]
    endpoint.replies["cheap"] = Reply("", tool_calls=calls)
    reply = client.responses.create(
        model="cheap", input=QUESTION, tools=[TOOL], tool_choice="required"
    )
    assert [item.type for item in reply.output] == ["function_call"] * 2
    assert json.loads(reply.output[1].arguments) == {"city": "Rome"}
    assert endpoint.requests[0]["tools"][0]["function"]["name"] == "weather"

    endpoint.replies.clear()
    outputs = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "Sun"}
        for item in reply.output
    ]
    history = [{"role": "user", "content": QUESTION}, *reply.output, *outputs]
    raw = client.responses.with_raw_response.create(model="routoo", input=history, tools=[TOOL])
    assert raw.headers["routoo-expert"] == "cheap"
    sent = endpoint.requests[1]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == [
        message["tool_call_id"] for message in sent[2:]
    ]
    assert "routoo" not in json.dumps(sent)


def test_streamed_tool_calls_are_whole_for_the_sdks_helper(client, endpoint):
    calls = [{"name": "weather", "arguments": {"city": city}} for city in ("Bern", "Rome")]
    endpoint.replies["dear"] = Reply("Let me see.", tool_calls=calls)
    with client.responses.stream(**BODY, tools=[TOOL]) as stream:
        response = stream.get_final_response()
    assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
    assert json.loads(response.output[2].arguments) == {"city": "Rome"}
    assert response.output[1].call_id.endswith(".routoo-dear")


def test_structured_replies_are_parsed_by_the_sdks_helper(client, endpoint):
    class Sum(BaseModel):
        value: int

    endpoint.replies["dear"] = Reply('{"value":43}')
    response = client.responses.parse(**BODY, text_format=Sum)
    assert response.output_parsed == Sum(value=43)
    form = endpoint.requests[0]["response_format"]
    assert form["json_schema"]["schema"]["properties"]["value"]["type"] == "integer"


def test_images_go_to_an_expert_that_sees(client, endpoint):
    content = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "low"},
    ]
    client.responses.create(model="routoo", input=[{"role": "user", "content": content}])
    assert endpoint.requests[0]["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"},
        },
    ]


def test_a_reply_that_was_cut_short_is_incomplete(client, endpoint):
    endpoint.replies["dear"] = Reply("word " * 50)
    response = client.responses.create(**BODY, max_output_tokens=5)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_refusal_is_one(client, endpoint):
    endpoint.replies["dear"] = Reply(refusal="I will not.")
    assert client.responses.create(**BODY).output[0].content[0].refusal == "I will not."
    with client.responses.stream(**BODY) as stream:
        response = stream.get_final_response()
    assert response.output[0].content[0].refusal == "I will not."


def test_a_death_in_mid_stream_is_a_failed_response(client, server, endpoint, router):
    endpoint.replies["dear"] = Reply(drop_after=2)
    last = list(client.responses.create(**BODY, stream=True))[-1]
    assert last.type == "response.failed"
    assert last.response.error.code == "stream_interrupted"
    wait_until(lambda: state_of(router).held == 0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id: this gateway stores no"),
        ({"previous_response_id": 5}, "previous_response_id"),
        ({"store": "yes"}, "store"),
        ({"background": True}, "background"),
        ({"input": None}, "input"),
        ({"input": []}, "messages"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"type": "computer_call"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "smell"}]}]}, "input[0].content"),
        ({"tools": "all"}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "No expert"),
        ({"max_output_tokens": 0}, "max_completion_tokens"),
        ({"text": {"format": {"type": "json_schema"}}, "tools": [5]}, "No expert"),
    ],
)
def test_what_cannot_be_served_is_refused_and_named(server, endpoint, changes, field):
    response = post(server, {**BODY, **changes}, PATH)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(field)
    assert not endpoint.requests


def test_errors_before_the_first_event_have_a_status(client, endpoint):
    endpoint.replies.update({name: Reply(status=500) for name in ("cheap", "dear")})
    with pytest.raises(openai.InternalServerError) as caught:
        client.responses.create(**BODY, stream=True)
    assert caught.value.status_code == 503

"""Clients of the gateway: the scripts of those that are installed run; of others, what they send is served."""

import importlib.util
import json
import sys

import pytest
from frameworks.gateway_clients import EXAMPLES, SAID, run, scripted
from gateway_parts import make_router, post, stream_events

from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer

PACKAGES = {
    "anthropic_sdk": "anthropic",
    "autogen_chat": "autogen_agentchat",
    "crewai_crew": "crewai",
    "dspy_program": "dspy",
    "haystack_pipeline": "haystack",
    "openai_agents": "agents",
    "openai_sdk": "openai",
    "pydantic_ai_agent": "pydantic_ai",
    "smolagents_agent": "smolagents",
}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
CHAT_TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Of a city.", "parameters": PARAMETERS},
}
STRICT_TOOL = {"type": "function", "function": {**CHAT_TOOL["function"], "strict": True}}
RESPONSES_TOOL = {
    "type": "function",
    "name": "weather",
    "description": "Of a city.",
    "parameters": PARAMETERS,
    "strict": False,
}
CLAUDE_TOOL = {"name": "weather", "description": "Of a city.", "input_schema": PARAMETERS}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "Answer", "strict": True, "schema": PARAMETERS},
}
QUESTION = "How is the weather in Bern?"
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"


def text_part(text):
    return {"type": "text", "text": text}


def user(content=QUESTION, **fields):
    return {"role": "user", "content": content, **fields}


def calling(arguments='{"city": "Bern"}'):
    function = {"name": "weather", "arguments": arguments}
    call = {"id": "call_1.routoo-cheap", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def result(**fields):
    return {"role": "tool", "tool_call_id": "call_1.routoo-cheap", "content": "Sun", **fields}


SENT = {
    "pydantic-ai": (
        RESPONSES,
        {
            "input": [{"role": "user", "content": QUESTION}],
            "instructions": "Be brief.",
            "parallel_tool_calls": True,
            "stream": True,
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "Answer",
                    "schema": PARAMETERS,
                    "strict": True,
                }
            },
            "tool_choice": "auto",
            "tools": [{**RESPONSES_TOOL, "strict": True}],
        },
    ),
    "pydantic-ai, chat": (
        CHAT,
        {
            "messages": [{"role": "system", "content": "Be brief."}, user()],
            "stream": True,
            "stream_options": {"include_usage": True},
            "tool_choice": "required",
            "tools": [STRICT_TOOL],
        },
    ),
    "OpenAI Agents SDK": (
        RESPONSES,
        {
            "include": [],
            "input": [
                {"role": "user", "content": QUESTION},
                {
                    "type": "function_call",
                    "id": "fc_1",
                    "call_id": "call_1.routoo-cheap",
                    "name": "weather",
                    "arguments": '{"city": "Bern"}',
                    "status": "completed",
                },
                {
                    "type": "function_call_output",
                    "call_id": "call_1.routoo-cheap",
                    "output": "Sun",
                },
            ],
            "instructions": "Look things up.",
            "stream": True,
            "tools": [
                {**RESPONSES_TOOL, "strict": True},
                {**RESPONSES_TOOL, "name": "transfer_to_poet", "strict": True},
            ],
        },
    ),
    "smolagents": (
        CHAT,
        {
            "messages": [
                {"role": "system", "content": [text_part("You are an agent.")]},
                user([text_part("New task:\n" + QUESTION)]),
                {"role": "assistant", "content": [text_part("Calling tools: weather")]},
                user([text_part("Observation:\nSun")]),
            ],
            "stop": ["Observation:", "Calling tools:"],
            "stream": True,
            "stream_options": {"include_usage": True},
            "tool_choice": "required",
            "tools": [CHAT_TOOL],
        },
    ),
    "Haystack": (CHAT, {"messages": [user()], "n": 1, "stream": False, "tools": [CHAT_TOOL]}),
    "DSPy": (
        CHAT,
        {
            "max_tokens": 200,
            "messages": [{"role": "system", "content": "Your input fields are:"}, user()],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.7,
        },
    ),
    "AutoGen": (
        CHAT,
        {
            "messages": [
                {"role": "system", "content": "Be brief.", "name": None},
                user(name="user"),
                {**calling(), "name": "assistant"},
                result(),
            ],
            "response_format": SCHEMA,
            "stream": False,
            "tools": [CHAT_TOOL],
        },
    ),
    "CrewAI": (
        CHAT,
        {
            "messages": [user(), calling(), result(name="weather")],
            "stop": ["\nObservation:"],
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": [CHAT_TOOL],
        },
    ),
    "Claude Code": (
        f"{MESSAGES}?beta=true",
        {
            "max_tokens": 200,
            "messages": [
                user(
                    [text_part("<system-reminder>\nNone.\n</system-reminder>"), text_part(QUESTION)]
                ),
                {
                    "role": "assistant",
                    "content": [
                        {
                            "type": "tool_use",
                            "id": "toolu_1.routoo-cheap",
                            "name": "weather",
                            "input": {"city": "Bern"},
                        }
                    ],
                },
                user(
                    [
                        {
                            "type": "tool_result",
                            "tool_use_id": "toolu_1.routoo-cheap",
                            "content": [text_part("Sun")],
                            "cache_control": {"type": "ephemeral"},
                        }
                    ]
                ),
            ],
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "metadata": {"user_id": "user_0_account__session_0"},
            "output_config": {"effort": "medium"},
            "stream": True,
            "system": [
                text_part("You are an agent for code."),
                {**text_part("Rules."), "cache_control": {"type": "ephemeral"}},
            ],
            "temperature": 1,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tools": [CLAUDE_TOOL],
        },
    ),
    "Codex": (
        RESPONSES,
        {
            "client_metadata": {"x-codex-installation-id": "0"},
            "include": ["reasoning.encrypted_content"],
            "input": [
                {
                    "type": "message",
                    "role": "developer",
                    "content": [{"type": "input_text", "text": "<permissions>"}],
                },
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": QUESTION}],
                },
                {"type": "reasoning", "summary": [], "encrypted_content": "xyz"},
                {
                    "type": "function_call",
                    "name": "weather",
                    "arguments": '{"city": "Bern"}',
                    "call_id": "call_1.routoo-cheap",
                },
                {
                    "type": "function_call_output",
                    "call_id": "call_1.routoo-cheap",
                    "output": "Sun",
                },
            ],
            "instructions": "You are an agent for code.",
            "parallel_tool_calls": False,
            "prompt_cache_key": "0198-thread",
            "reasoning": {"effort": "medium", "summary": "auto"},
            "store": False,
            "stream": True,
            "tool_choice": "auto",
            "tools": [RESPONSES_TOOL],
        },
    ),
    "Continue": (
        CHAT,
        {
            "max_tokens": 200,
            "messages": [
                {"role": "system", "content": "You are in agent mode."},
                user([text_part(QUESTION)]),
                calling(),
                result(),
            ],
            "parallel_tool_calls": False,
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": [CHAT_TOOL],
        },
    ),
    "Open WebUI": (
        CHAT,
        {
            "messages": [
                user(
                    [
                        text_part(QUESTION),
                        {
                            "type": "image_url",
                            "image_url": {"url": "data:image/png;base64,iVBO"},
                        },
                    ]
                )
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.8,
        },
    ),
}
"""Client → where it calls, and a body in its form; written anew after what it sends."""


@pytest.fixture
def server(endpoint):
    with GatewayServer(Gateway(make_router(endpoint)), port=0) as running:
        yield running


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_script_of_each_client_that_is_installed_runs(server, endpoint, example):
    package = PACKAGES[example.stem]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed; make compat-clients installs and runs it")
    endpoint.replies.update(dict.fromkeys(("cheap", "dear"), scripted))
    assert run(sys.executable, example, server.address) == "ok"
    assert SAID in json.dumps(endpoint.requests[-1])


@pytest.mark.parametrize("client", SENT)
def test_what_each_client_sends_is_served(server, endpoint, client):
    path, body = SENT[client]
    body = {"model": "routoo", **body}
    if body["stream"]:
        *_, last = stream_events(server, body, path)
        ending = last.data if path == CHAT else json.loads(last.data)["type"]
        assert ending in {"[DONE]", "response.completed", "message_stop"}
    else:
        reply = post(server, body, path)
        assert reply.status_code == 200
        assert reply.json()["choices"][0]["message"]["content"] == "The answer is four."
    sent = json.dumps(endpoint.requests)
    assert "Bern" in sent
    assert "routoo" not in sent
    if "routoo-cheap" in json.dumps(body):
        assert endpoint.requests[0]["model"] == "cheap"


def test_the_count_that_claude_code_asks_for_is_given(server, endpoint):
    _, body = SENT["Claude Code"]
    counted = {name: body[name] for name in ("messages", "system", "tools")}
    reply = post(server, {"model": "routoo", **counted}, f"{MESSAGES}/count_tokens?beta=true")
    assert reply.json()["input_tokens"] > 30
    assert endpoint.requests == []

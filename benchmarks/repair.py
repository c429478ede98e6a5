"""What checks of JSON and tool calls buy: python benchmarks/repair.py [CALLS]

An endpoint breaks a fifth of all replies that have a form: JSON cut in the middle or with words around it, a field that
is missing or of the wrong type, a tool that does not exist, no call at all. Each way of asking is measured with the
checks off and on, over the same broken replies.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core.exceptions import OutputParserException
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from openai import OpenAI
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from routoo_core import Budget, Pool, Router
from routoo_core.calling.checks import CheckRule
from routoo_core.config import build_router
from routoo_core.testing import FakeEndpoint, FakePredictor, Reply
from routoo_core.tokens import count_tokens
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

BROKEN_SHARE = 0.2
_ROUND = 20
"""Replies among which just the share is broken."""
PROSE = "Please read this report of the town council and name the person that it is about. " * 3


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def person(name: str, age: int) -> str:
    """Note a person."""
    return f"{name} ({age})"


TOOL = {
    "type": "function",
    "function": {
        "name": "person",
        "description": "Note a person.",
        "parameters": Person.model_json_schema(),
    },
}
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "Person", "schema": Person.model_json_schema()},
}
RIGHT = {"name": "Anna", "age": 41}
BROKEN_TEXTS = (
    '{"name": "Anna", "age"',
    'Here is the JSON: {"name": "Anna", "age": 41}',
    '{"name": "Anna"}',
    '{"name": "Anna", "age": "forty-one"}',
)
BROKEN_CALLS = (
    [{"name": "person", "arguments": '{"name": "Anna", "age": 4'}],
    [{"name": "person", "arguments": {"name": "Anna"}}],
    [{"name": "people", "arguments": RIGHT}],
    [],
)


class FlakyReplies:
    """Replies of an endpoint that breaks a share of them.

    Args:
        share: How many, 0 to 1.
        seed: Of the choice which.
    """

    def __init__(self, share: float, seed: int) -> None:
        self._random = random.Random(seed)
        self._broken = round(share * _ROUND)
        self._are_broken: list[bool] = []

    def _is_next_broken(self) -> bool:
        """Whether the next reply is broken: in every round just the share, in a random order."""
        if not self._are_broken:
            self._are_broken = [place < self._broken for place in range(_ROUND)]
            self._random.shuffle(self._are_broken)
        return self._are_broken.pop()

    def __call__(self, body: Mapping[str, Any]) -> Reply:
        """The reply to a call."""
        is_broken = self._is_next_broken()
        prompt = json.dumps([body["messages"], body.get("tools"), body.get("response_format")])
        tokens = count_tokens(prompt)
        if body.get("tools"):
            calls = [{"name": "person", "arguments": RIGHT}]
            if is_broken:
                calls = self._random.choice(BROKEN_CALLS)
            return Reply("" if calls else "It is Anna.", tool_calls=calls, prompt_tokens=tokens)
        text = self._random.choice(BROKEN_TEXTS) if is_broken else json.dumps(RIGHT)
        return Reply(text, prompt_tokens=tokens)


@contextmanager
def flaky_router(is_checked: bool, seed: int) -> Iterator[Router]:
    """A router over a cheap and a dear expert that break the same replies."""
    with FakeEndpoint() as endpoint:
        abilities = {"tools", "json_schema"}
        cheap = endpoint.expert("cheap", capabilities=abilities)
        dear = endpoint.expert(
            "dear", capabilities=abilities, input_usd_per_1m=10, output_usd_per_1m=30
        )
        flaky = FlakyReplies(BROKEN_SHARE, seed)
        endpoint.replies = {"cheap": flaky, "dear": flaky}
        yield build_router(
            Pool([cheap, dear]),
            router=FakePredictor({"cheap": 0.8, "dear": 0.9}),
            policy={"name": "lagrangian", "lambda": 1000},
            budget=Budget(limit="10"),
            checks=CheckRule(form=is_checked),
        )


# The ways of asking; each says whether what came is right


def langchain_schema(router: Router) -> bool:
    model = RoutooChatModel(router, max_tokens=100).with_structured_output(Person)
    try:
        return model.invoke(PROSE) == Person(**RIGHT)
    except OutputParserException:
        return False


def langchain_tools(router: Router) -> bool:
    model = RoutooChatModel(router, max_tokens=100).bind_tools([TOOL], tool_choice="any")
    return _is_right_call(model.invoke(PROSE).tool_calls)


def langchain_stream(router: Router) -> bool:
    model = RoutooChatModel(router, max_tokens=100).bind_tools([TOOL], tool_choice="any")
    reply = None
    for chunk in model.stream(PROSE):
        reply = chunk if reply is None else reply + chunk
    return _is_right_call(reply.tool_calls)


def _is_right_call(calls: list[Any]) -> bool:
    return [call["args"] for call in calls if call["name"] == "person"] == [RIGHT]


def llama_index_schema(router: Router) -> bool:
    llm = RoutooLLM(router, max_tokens=100)
    try:
        return llm.structured_predict(Person, PromptTemplate(PROSE)) == Person(**RIGHT)
    except ValidationError:
        return False


def llama_index_tools(router: Router) -> bool:
    llm = RoutooLLM(router, max_tokens=100)
    tool = FunctionTool.from_defaults(person)
    reply = llm.chat_with_tools([tool], PROSE, tool_required=True)
    return _is_right_selection(llm, reply)


def llama_index_stream(router: Router) -> bool:
    async def ask() -> bool:
        llm = RoutooLLM(router, max_tokens=100)
        tool = FunctionTool.from_defaults(person)
        pieces = await llm.astream_chat_with_tools([tool], PROSE, tool_required=True)
        last = [piece async for piece in pieces][-1]
        return _is_right_selection(llm, last)

    return asyncio.run(ask())


def _is_right_selection(llm: RoutooLLM, reply: Any) -> bool:
    try:
        calls = llm.get_tool_calls_from_response(reply, error_on_no_tool_call=False)
    except ValueError:
        return False
    return [call.tool_kwargs for call in calls if call.tool_name == "person"] == [RIGHT]


def gateway_schema(client: OpenAI) -> bool:
    reply = client.chat.completions.create(
        model="routoo", messages=_messages(), max_tokens=100, response_format=FORMAT
    )
    return _is_right_text(reply.choices[0].message.content)


def gateway_tools(client: OpenAI) -> bool:
    reply = client.chat.completions.create(
        model="routoo",
        messages=_messages(),
        max_tokens=100,
        tools=[TOOL],
        tool_choice="required",
    )
    calls = reply.choices[0].message.tool_calls or []
    texts = [call.function.arguments for call in calls if call.function.name == "person"]
    return len(texts) == 1 and _is_right_text(texts[0])


def gateway_stream(client: OpenAI) -> bool:
    text = ""
    chunks = client.chat.completions.create(
        model="routoo", messages=_messages(), max_tokens=100, response_format=FORMAT, stream=True
    )
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
    return _is_right_text(text)


def _messages() -> list[Any]:
    return [{"role": "user", "content": PROSE}]


def _is_right_text(text: str | None) -> bool:
    try:
        return json.loads(text or "") == RIGHT
    except ValueError:
        return False


IN_PROCESS: tuple[Callable[[Router], bool], ...] = (
    langchain_schema,
    langchain_tools,
    langchain_stream,
    llama_index_schema,
    llama_index_tools,
    llama_index_stream,
)
BY_GATEWAY: tuple[Callable[[OpenAI], bool], ...] = (gateway_schema, gateway_tools, gateway_stream)


@dataclass(frozen=True)
class Yield:
    """What calls came to.

    Attributes:
        valid: The share whose reply was right.
        nano_usd: What all of them cost.
    """

    valid: float
    nano_usd: int


@dataclass(frozen=True)
class Row:
    """A way of asking, with the checks off and on.

    Attributes:
        way: Its name.
        unchecked: With the checks off.
        checked: With the checks on.
    """

    way: str
    unchecked: Yield
    checked: Yield

    @property
    def cost_ratio(self) -> float:
        """What the checks cost: 1 for nothing."""
        return self.checked.nano_usd / self.unchecked.nano_usd


def measure(calls: int) -> list[Row]:
    """Every way of asking."""
    rows = []
    for seed, way in enumerate([*IN_PROCESS, *BY_GATEWAY]):
        unchecked = yield_of(way, calls, False, seed)
        checked = yield_of(way, calls, True, seed)
        rows.append(Row(way.__name__, unchecked, checked))
    return rows


def yield_of(way: Callable[[Any], bool], calls: int, is_checked: bool, seed: int) -> Yield:
    """What so many calls in one way come to."""
    with flaky_router(is_checked, seed) as router:
        if way in BY_GATEWAY:
            with (
                GatewayServer(Gateway(router), port=0) as server,
                OpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client,
            ):
                right = sum(way(client) for _ in range(calls))
        else:
            right = sum(way(router) for _ in range(calls))
        return Yield(right / calls, router.ledger.state(router.budget).spent)


def main(calls: int = 300) -> None:
    table = Table(title=f"{calls} calls each, {BROKEN_SHARE:.0%} of the replies broken")
    for column in ("way", "valid, unchecked", "valid, checked", "cost, checked / unchecked"):
        table.add_column(column)
    rows = measure(calls)
    for row in rows:
        table.add_row(
            row.way,
            f"{row.unchecked.valid:.1%}",
            f"{row.checked.valid:.1%}",
            f"{row.cost_ratio:.2f}",
        )
    valid = sum(row.checked.valid for row in rows) / len(rows)
    ratio = sum(row.cost_ratio for row in rows) / len(rows)
    table.add_row("all", "", f"{valid:.1%}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

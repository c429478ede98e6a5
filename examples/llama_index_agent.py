"""A LlamaIndex agent with two tools: python examples/llama_index_agent.py.

With OPENAI_API_KEY set it calls OpenAI. Without, a scripted endpoint plays both experts, so that you see who is asked
what, and what it costs.
"""

import asyncio
import os
from contextlib import nullcontext

from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent

from routoo_core import Budget, Expert, Pool
from routoo_core.testing import FakeEndpoint, Reply
from routoo_integrations.llama_index import RoutooDecisionEvent, RoutooLLM

POPULATION = {"zurich": 436_000, "geneva": 207_000}
MODELS = ("gpt-5-mini", "gpt-5.5")


def population(city: str) -> int:
    """How many people live in a city."""
    return POPULATION[city.lower()]


def divide(a: float, b: float) -> float:
    """Divide a by b."""
    return a / b


def scripted(body: dict) -> Reply:
    """Ask for both populations at once, then for their ratio, then say it."""
    results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    if not results:
        calls = [
            {"name": "population", "arguments": {"city": city}} for city in ("Zurich", "Geneva")
        ]
        return Reply("", tool_calls=calls, prompt_tokens=120)
    if len(results) == 2:
        arguments = {"a": float(results[0]), "b": float(results[1])}
        return Reply("", tool_calls=[{"name": "divide", "arguments": arguments}], prompt_tokens=160)
    return Reply(
        f"Zurich has {float(results[2]):.1f} times as many people as Geneva.", prompt_tokens=190
    )


def experts(endpoint: FakeEndpoint | None) -> dict[str, Expert]:
    address = {} if endpoint is None else {"base_url": endpoint.base_url, "api_key_env": None}
    pool = Pool.read(
        "pool", {name: {} for name in MODELS}
    )  # prices, windows and capabilities are looked up
    return {expert.name: expert.model_copy(update=address) for expert in pool}


class Decisions(BaseEventHandler):
    """Prints each decision as it is settled."""

    def handle(self, event: BaseEvent, **_: object) -> None:
        if isinstance(event, RoutooDecisionEvent):
            print(f"  {event.record['expert']} for {event.record['settled_usd']} USD")


async def main(llm: RoutooLLM) -> None:
    agent = FunctionAgent(
        tools=[population, divide], llm=llm, system_prompt="Use the tools; do not guess."
    )
    running = agent.run("How many times as many people live in Zurich as in Geneva?")
    async for event in running.stream_events():
        if isinstance(event, ToolCallResult):
            print(f"  {event.tool_name}({event.tool_kwargs}) = {event.tool_output}")
        elif isinstance(event, AgentStream):
            print(event.delta, end="", flush=True)
    await running


if __name__ == "__main__":
    with nullcontext() if os.environ.get("OPENAI_API_KEY") else FakeEndpoint() as endpoint:
        if endpoint:
            endpoint.replies = dict.fromkeys(MODELS, scripted)
        budget = Budget(limit="0.05", period="run", expected_calls=10)
        llm = RoutooLLM("general-fast", experts(endpoint), budget=budget, max_tokens=300)
        get_dispatcher().add_event_handler(Decisions())
        asyncio.run(main(llm))
        print(f"\nspent: {llm.router.ledger.state(budget).spent / 1e9:.6f} USD")

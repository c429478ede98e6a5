"""A LangChain agent with two tools: python examples/langchain_agent.py.

With OPENAI_API_KEY set it calls OpenAI. Without, a scripted endpoint plays both experts, so that you see who is asked
what, and what it costs.
"""

import os
from contextlib import nullcontext

from langchain.agents import create_agent
from langchain_core.tools import tool

from routoo_core import Budget, Expert, Pool
from routoo_core.testing import FakeEndpoint, Reply
from routoo_integrations.langchain import RoutooChatModel

POPULATION = {"zurich": 436_000, "geneva": 207_000}
MODELS = ("gpt-5-mini", "gpt-5.5")


@tool
def population(city: str) -> int:
    """How many people live in a city."""
    return POPULATION[city.lower()]


@tool
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


with nullcontext() if os.environ.get("OPENAI_API_KEY") else FakeEndpoint() as endpoint:
    if endpoint:
        endpoint.replies = dict.fromkeys(MODELS, scripted)
    budget = Budget(limit="0.05", period="run", expected_calls=10)
    model = RoutooChatModel("general-fast", experts(endpoint), budget=budget, max_tokens=300)
    agent = create_agent(model, [population, divide], system_prompt="Look things up; do not guess.")
    run = agent.invoke({"messages": ["How many times as many people live in Zurich as in Geneva?"]})
    for message in run["messages"]:
        message.pretty_print()
        if decision := message.response_metadata.get("routoo"):
            print(
                f"[{decision['expert']}, {decision['settled_usd']} USD, open tool call: {decision['open_tool_call']}]"
            )

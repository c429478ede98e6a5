"""What RoutooChatModel adds to long conversations, beside the bare model.

``python benchmarks/conversations.py`` (no network, no GPU; compare figures of one run only). The endpoint runs in a
process of its own, and every model is a real ChatOpenAI.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from rich.console import Console
from rich.table import Table

from routoo_core import Budget, Expert
from routoo_core.testing import FakeEndpoint, FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel

STEPS = 20
RESULT_WORDS = 2_000
AGENTS_AT_ONCE = 10
TURNS = 100
BATCH = 200
ROUNDS = 7

Models = dict[str, BaseChatModel]


# The endpoint, in its own process


def answer(body: dict[str, Any]) -> Reply:
    """Asks for a tool at every step but the last."""
    results = sum(message["role"] == "tool" for message in body["messages"])
    if body.get("tools") and results < STEPS:
        return Reply("", tool_calls=[{"name": "look_up", "arguments": {"page": results}}])
    return Reply("That is all.")


def serve(connection: Any) -> None:
    with FakeEndpoint() as endpoint:
        endpoint.replies["m"] = answer
        connection.send(endpoint.base_url)
        connection.recv()


@contextmanager
def served() -> Iterator[str]:
    """The address of an endpoint in another process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    yield ours.recv()
    ours.send("stop")
    process.join()


# What is asked


@tool
def look_up(page: int) -> str:
    """Look up a page."""
    return f"page {page}: " + " ".join(f"word{page}x{place}" for place in range(RESULT_WORDS))


def long_conversation() -> list[BaseMessage]:
    """Some 80,000 tokens."""
    messages: list[BaseMessage] = []
    for turn in range(TURNS // 2):
        messages.append(HumanMessage(" ".join(f"some{turn}thing{k}" for k in range(200))))
        messages.append(AIMessage(" ".join(f"other{turn}thing{k}" for k in range(200))))
    messages.append(HumanMessage("And now, what is the sum of it all, please?"))
    return messages


def models_at(base_url: str) -> Models:
    bare = ChatOpenAI(model="m", base_url=base_url, api_key="x", max_retries=0)
    expert = Expert(
        name="m",
        model="m",
        client=ChatOpenAI(model="m", base_url=base_url, api_key="x"),
        input_usd_per_1m=1,
        output_usd_per_1m=1,
        context_window=10_000_000,
        max_output_tokens=1_000,
        capabilities={"tools"},
    )
    routed = RoutooChatModel(
        FakePredictor({"m": 1}), {"m": expert}, policy="best", budget=Budget(limit="1000")
    )
    return {"bare": bare, "routed": routed}


# Measures


def cpu_ms(run: Callable[[], object], count: int) -> float:
    """CPU-ms for each of ``count`` things that a run does."""
    start = time.process_time_ns()
    run()
    return (time.process_time_ns() - start) / 1e6 / count


def agent_step_ms(model: BaseChatModel) -> float:
    agent = create_agent(model, [look_up])
    question = {"messages": [("human", "What do the pages say, please?")]}
    return cpu_ms(lambda: agent.invoke(question, {"recursion_limit": 100}), STEPS + 1)


def batch_ms(model: BaseChatModel) -> float:
    prompts = [f"What is the sum of {number} and one?" for number in range(BATCH)]
    return cpu_ms(lambda: model.batch(prompts), BATCH)


def call_ms(model: BaseChatModel) -> float:
    def run() -> None:
        for _ in range(50):
            model.invoke("What is the sum of two and two?")

    return cpu_ms(run, 50)


async def longest_stop_ms(model: BaseChatModel) -> float:
    """The longest that an event loop stands still while ten agents ask at once."""
    messages = long_conversation()
    await model.ainvoke("hello")
    stops = [0.0]
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            stops.append((time.perf_counter() - start) * 1e3 - 1)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    stops.clear()
    await asyncio.gather(*(model.ainvoke(messages) for _ in range(AGENTS_AT_ONCE)))
    done.set()
    await watching
    return max(stops)


def measures(runner: asyncio.Runner) -> dict[str, Callable[[BaseChatModel], float]]:
    """What is measured of a model; all coroutines run in one loop, since ChatOpenAI's connections are one loop's."""
    calls = f"{AGENTS_AT_ONCE} calls of 80,000 tokens at once"
    return {
        f"an agent of {STEPS} steps: CPU-ms a step": agent_step_ms,
        f"batch of {BATCH}: CPU-ms a call": batch_ms,
        "one call: CPU-ms": call_ms,
        f"{calls}: longest stop of the loop, ms": lambda model: runner.run(longest_stop_ms(model)),
    }


def medians_in_turns(models: Models, measure: Callable[[BaseChatModel], float]) -> dict[str, float]:
    """Median of each model; they take turns, so that a noisy moment falls on all, and a first run does not count."""
    figures: dict[str, list[float]] = {label: [] for label in models}
    for turn in range(ROUNDS + 1):
        for label, model in models.items():
            figure = measure(model)
            if turn > 0:
                figures[label].append(figure)
    return {label: statistics.median(values) for label, values in figures.items()}


def main() -> None:
    table = Table("what", "bare", "routed", "more", title=f"medians of {ROUNDS} rounds in turns")
    with served() as base_url, asyncio.Runner() as runner:
        models = models_at(base_url)
        for name, measure in measures(runner).items():
            figures = medians_in_turns(models, measure)
            more = figures["routed"] - figures["bare"]
            ratio = figures["routed"] / figures["bare"]
            cells = [f"{figure:.2f}" for figure in figures.values()]
            table.add_row(name, *cells, f"{more:+.2f} ({ratio:.2f} ×)")
    Console().print(table)


if __name__ == "__main__":
    main()

"""What RoutooChatModel adds to a call, beside its peers, and whether it ever holds up an event loop.

``python benchmarks/langchain_overhead.py`` (no network, no GPU; compare figures of one run only). With
``langchain-model-router`` installed, its router stands beside ours.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import suppress

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from rich.console import Console
from rich.table import Table

from routoo_core import Budget, Expert
from routoo_core.testing import FakeEndpoint, FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.langchain.protocols import build_chat_model

QUESTION = "A 2 kg block slides down a frictionless incline of 30 degrees and length 5 m from rest. How fast is it?"
NAMES = ("a", "b", "c")
CALLS, ROUNDS = 40, 25
AT_ONCE, DELAY_S, PAUSE_ROUNDS = 200, 0.5, 7


class Bare(BaseChatModel):
    """An expert that costs nothing to call."""

    @property
    def _llm_type(self) -> str:
        return "bare"

    def _generate(
        self, messages: list[BaseMessage], stop: object = None, **_: object
    ) -> ChatResult:
        usage = {"input_tokens": 30, "output_tokens": 1, "total_tokens": 31}
        return ChatResult(
            generations=[ChatGeneration(message=AIMessage("four", usage_metadata=usage))]
        )

    def bind_tools(self, tools: object, **kwargs: object) -> object:
        return self.bind(tools=tools, **kwargs)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def routed(**options: object) -> RoutooChatModel:
    experts = {
        n: Expert(
            name=n,
            model=n,
            client=Bare(),
            input_usd_per_1m=1,
            output_usd_per_1m=1,
            capabilities={"tools"},
        )
        for n in NAMES
    }
    return RoutooChatModel(
        FakePredictor(dict.fromkeys(NAMES, 0.5)), experts, policy="best", **options
    )


def contenders() -> dict[str, Callable[[], object]]:
    bare, ours, budgeted = Bare(), routed(), routed(budget=Budget(limit="9"))
    peers = {
        "the expert alone": bare,
        "with_fallbacks": bare.with_fallbacks([Bare(), Bare()]),
        "RoutooChatModel, no limit": ours,
        "RoutooChatModel, budget": budgeted,
    }
    with suppress(ImportError):
        from langchain_model_router import ChatRouter

        peers["langchain-model-router"] = ChatRouter(
            routes={n: Bare() for n in NAMES}, strategy=lambda request: "a", default_route="a"
        )
    calls = {name: lambda model=model: model.invoke(QUESTION) for name, model in peers.items()}
    for name, model in (
        ("the expert alone, one tool", bare),
        ("RoutooChatModel, budget, one tool", budgeted),
    ):
        bound = model.bind_tools([add])
        calls[name] = lambda bound=bound: bound.invoke(QUESTION)
    return calls


def cpu_ms(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median CPU-ms of each, taken in turns so that a noisy moment falls on all."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.process_time_ns()
            for _ in range(CALLS):
                call()
            taken[name].append((time.process_time_ns() - start) / 1e6 / CALLS)
    return {name: statistics.median(times) for name, times in taken.items()}


class Slow(Bare):
    """An expert that waits without an HTTP client."""

    async def _agenerate(
        self, messages: list[BaseMessage], stop: object = None, **_: object
    ) -> ChatResult:
        await asyncio.sleep(DELAY_S)
        return self._generate(messages)


async def longest_pause_ms(model: BaseChatModel) -> float:
    """The longest an event loop was held up while many calls ran on it at once."""
    await model.ainvoke(QUESTION)  # the first call imports and connects
    pauses, done = [0.0], asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            pauses.append((time.perf_counter() - start) * 1e3 - 1)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(asyncio.create_task(model.ainvoke(QUESTION)) for _ in range(AT_ONCE)))
    done.set()
    await watching
    return max(pauses)


async def pauses() -> dict[str, list[float]]:
    """Longest pauses of a few runs, taken in turns."""
    found: dict[str, list[float]] = {}
    for _ in range(PAUSE_ROUNDS):
        with FakeEndpoint() as endpoint:
            endpoint.replies = {"a": Reply(delay_s=DELAY_S)}
            priced = {"input_usd_per_1m": 1, "output_usd_per_1m": 1}
            real, waiting = (
                endpoint.expert("a"),
                Expert(name="a", model="a", client=Slow(), **priced),
            )
            ours = {
                name: RoutooChatModel(
                    FakePredictor({"a": 1.0}),
                    {"a": expert},
                    policy="best",
                    budget=Budget(limit="9"),
                )
                for name, expert in (
                    ("RoutooChatModel over ChatOpenAI", real),
                    ("RoutooChatModel over asyncio.sleep", waiting),
                )
            }
            bare = {
                "ChatOpenAI alone": build_chat_model(real),
                "asyncio.sleep alone": waiting.client,
            }
            for name, model in {**bare, **ours}.items():
                found.setdefault(name, []).append(await longest_pause_ms(model))
            for model in ours.values():
                state = model.router.ledger.state(model.router.budget)
                assert (state.held, state.calls) == (0, AT_ONCE + 1), state
    return found


def main() -> None:
    figures = cpu_ms(contenders())
    table = Table("what", "CPU-ms a call", "over the expert")
    for name, figure in figures.items():
        base = figures[
            "the expert alone, one tool" if name.endswith("one tool") else "the expert alone"
        ]
        table.add_row(name, f"{figure:.3f}", f"{figure - base:+.3f}")
    Console().print(table)
    table = Table(
        f"{AT_ONCE} ainvoke at once, each {DELAY_S} s",
        f"longest pause of the event loop: least and median of {PAUSE_ROUNDS} runs",
    )
    for name, found in asyncio.run(pauses()).items():
        table.add_row(name, f"{min(found):.0f} ms, {statistics.median(found):.0f} ms")
    Console().print(table)


if __name__ == "__main__":
    main()

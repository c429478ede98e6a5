"""What RoutooLLM adds to a call, and whether it ever holds up an event loop: python benchmarks/llama_index_overhead.py

No network, no GPU; compare figures of one run only.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms import LLM, MockLLM
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import FunctionTool
from rich.console import Console
from rich.table import Table

from routoo_core import Budget, Expert
from routoo_core.testing import FakeEndpoint, FakePredictor, Reply
from routoo_integrations.llama_index import RoutooLLM
from routoo_integrations.llama_index.clients import build_llm

QUESTION = "A 2 kg block slides down a frictionless incline of 30 degrees and length 5 m from rest. How fast is it?"
MESSAGES = [ChatMessage(QUESTION)]
NAMES = ("a", "b", "c")
CALLS, ROUNDS = 40, 25
AT_ONCE, DELAY_S, LAG_ROUNDS = 100, 0.5, 7


class Bare(MockLLM):
    """An expert that costs nothing to call."""

    @llm_chat_callback()
    def chat(self, messages: list[ChatMessage], **kwargs: object) -> ChatResponse:
        usage = {"prompt_tokens": 30, "completion_tokens": 1}
        return ChatResponse(message=ChatMessage("four", role="assistant"), raw={"usage": usage})


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def routed(client: MockLLM | MockFunctionCallingLLM, **settings: object) -> RoutooLLM:
    """Three experts that are the same fake."""
    prices = {"input_usd_per_1m": 1, "output_usd_per_1m": 1}
    experts = {n: Expert(name=n, model=n, client=client, **prices, **settings) for n in NAMES}
    return RoutooLLM(
        FakePredictor(dict.fromkeys(NAMES, 0.5)), experts, policy="best", budget=Budget(limit="9")
    )


def added_ms(bare: Callable[[], object], ours: Callable[[], object]) -> float:
    """CPU milliseconds that ours takes more than the bare call: median over rounds that take turns."""
    differences = []
    for _ in range(ROUNDS):
        taken = []
        for call in (bare, ours):
            start = time.process_time_ns()
            for _ in range(CALLS):
                call()
            taken.append((time.process_time_ns() - start) / 1e6 / CALLS)
        differences.append(taken[1] - taken[0])
    return statistics.median(differences)


class Slow(Bare):
    """An expert that waits without an HTTP client."""

    @llm_chat_callback()
    async def achat(self, messages: list[ChatMessage], **kwargs: object) -> ChatResponse:
        await asyncio.sleep(DELAY_S)
        return self.chat(messages)


async def held_up_ms(llm: LLM) -> tuple[float, float]:
    """The longest that one step held the loop, and that a timer came late, while 100 calls ran at once."""
    await llm.achat(MESSAGES)  # the first call imports and connects
    late_ms = [0.0]
    step_ms = [0.0]
    done = asyncio.Event()
    run_handle = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        start = time.perf_counter()
        run_handle(handle)
        step_ms.append((time.perf_counter() - start) * 1e3)

    async def watch() -> None:
        while not done.is_set():
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            late_ms.append((time.perf_counter() - start) * 1e3 - 1)

    asyncio.Handle._run = timed
    watching = asyncio.create_task(watch())
    await asyncio.gather(*(asyncio.create_task(llm.achat(MESSAGES)) for _ in range(AT_ONCE)))
    done.set()
    await watching
    asyncio.Handle._run = run_handle
    return max(step_ms), max(late_ms)


async def lags(url: str) -> dict[str, list[tuple[float, float]]]:
    """The longest lags of a few rounds, taken in turns; a round before them opens the connections."""
    prices = {"input_usd_per_1m": 1, "output_usd_per_1m": 1}
    real = Expert(name="a", model="a", base_url=url, **prices)
    waiting = Expert(name="a", model="a", client=Slow(), **prices)
    ours = {
        f"RoutooLLM over {name}": RoutooLLM(
            FakePredictor({"a": 1.0}),
            {"a": expert},
            policy="best",
            budget=Budget(limit="9"),
            max_tokens=20,
        )
        for name, expert in (("OpenAILike", real), ("asyncio.sleep", waiting))
    }
    all_llms = {
        "OpenAILike alone": build_llm(real),
        "asyncio.sleep alone": waiting.client,
        **ours,
    }
    lags_by_name: dict[str, list[tuple[float, float]]] = {name: [] for name in all_llms}
    for _ in range(LAG_ROUNDS + 1):
        for name, llm in all_llms.items():
            lags_by_name[name].append(await held_up_ms(llm))
    for llm in ours.values():
        state = llm.router.ledger.state(llm.router.budget)
        assert (state.held, state.calls) == (0, (LAG_ROUNDS + 1) * (AT_ONCE + 1)), state
    return {name: lags[1:] for name, lags in lags_by_name.items()}


def serve(pipe: Connection) -> None:
    """A slow endpoint in a process of its own, until told to stop."""
    with FakeEndpoint() as endpoint:
        endpoint.replies["a"] = Reply(delay_s=DELAY_S)
        pipe.send(endpoint.base_url)
        pipe.recv()


def main() -> None:
    """Print every figure."""
    tool = FunctionTool.from_defaults(add)
    bare = Bare()
    calling = MockFunctionCallingLLM()
    ours = routed(bare)
    ours_calling = routed(calling, capabilities={"tools"})
    table = Table("what", "figure")
    chat = added_ms(lambda: bare.chat(MESSAGES), lambda: ours.chat(MESSAGES))
    table.add_row(
        "RoutooLLM.chat over the bare expert, without the predictor", f"{chat:.2f} CPU-ms"
    )
    tools = added_ms(
        lambda: calling.chat_with_tools([tool], chat_history=list(MESSAGES)),
        lambda: ours_calling.chat_with_tools([tool], chat_history=list(MESSAGES)),
    )
    table.add_row("the same with a tool", f"{tools:.2f} CPU-ms")
    Console().print(table)
    here, there = Pipe()
    server = get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    heads = ("longest step of the loop", "longest delay of a timer")
    table = Table(
        f"{AT_ONCE} achat at once, each {DELAY_S} s",
        *(f"{h}: least, median of {LAG_ROUNDS}" for h in heads),
    )
    for name, lags_ms in asyncio.run(lags(here.recv())).items():
        table.add_row(
            name,
            *(
                f"{min(ms):.0f} ms, {statistics.median(ms):.0f} ms"
                for ms in zip(*lags_ms, strict=True)
            ),
        )
    here.send("stop")
    server.join()
    Console().print(table)


if __name__ == "__main__":
    main()

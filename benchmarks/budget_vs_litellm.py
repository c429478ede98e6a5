"""A hundred calls on $0.002, beside LiteLLM's budget: pip install litellm, then python benchmarks/budget_vs_litellm.py

Both routers have one expert, the same HTTP endpoint on loopback, the same prices and the same limit. Every call costs
$0.000225; the limit pays for eight of them.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor

from rich.console import Console
from rich.table import Table

from routoo_core import Budget, Pool, RoutedRequest, Usage
from routoo_core.config import build_router
from routoo_core.testing import FakeEndpoint, FakePredictor, Reply

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no download of prices at import

LIMIT = "0.002"  # USD
CALLS = 100
DELAY_S = 0.3
PROMPT_TOKENS = 25
REPLY_TOKENS = 200
USD_PER_TOKEN = 1e-6
TEXT = "word " * REPLY_TOKENS
Answer = Callable[[], Awaitable[None]]


async def serve(
    make: Callable[[FakeEndpoint], Answer], endpoint: FakeEndpoint, at_once: bool
) -> None:
    """All calls, together or one after another; refused ones are swallowed."""
    answer = make(endpoint)  # inside the loop, which LiteLLM's router needs

    async def try_call() -> None:
        try:
            await answer()
        except Exception:  # noqa: BLE001
            return

    if at_once:
        calls = [try_call() for _ in range(CALLS)]
        await asyncio.gather(*calls)
        return
    for _ in range(CALLS):
        await try_call()
        await asyncio.sleep(0.01)


def routoo(endpoint: FakeEndpoint) -> Answer:
    """Through Router.aattempts and the OpenAI client."""
    from openai import AsyncOpenAI

    expert = endpoint.expert("gpt", context_window=4096, max_output_tokens=REPLY_TOKENS)
    budget = Budget(limit=LIMIT, period="day")
    router = build_router(
        Pool([expert]), router=FakePredictor({"gpt": 0.5}), budget=budget, policy="best"
    )
    client = AsyncOpenAI(base_url=endpoint.base_url, api_key="none", max_retries=0)

    async def answer() -> None:
        request = RoutedRequest.from_text("Say many words, please.", max_tokens=REPLY_TOKENS)
        async for attempt in router.aattempts(request):
            async with attempt:
                messages = [{"role": "user", "content": "Say many words, please."}]
                reply = await client.chat.completions.create(
                    model="gpt", messages=messages, max_tokens=attempt.max_tokens
                )
                await attempt.asettle(
                    Usage(reply.usage.prompt_tokens, reply.usage.completion_tokens)
                )

    return answer


def litellm(endpoint: FakeEndpoint) -> Answer:
    """Through litellm.Router with a provider budget."""
    from litellm import Router

    model = {
        "model": "openai/gpt",
        "api_base": endpoint.base_url,
        "api_key": "none",
        "input_cost_per_token": USD_PER_TOKEN,
        "output_cost_per_token": USD_PER_TOKEN,
    }
    router = Router(
        model_list=[{"model_name": "gpt", "litellm_params": model}],
        provider_budget_config={"openai": {"budget_limit": float(LIMIT), "time_period": "1d"}},
        num_retries=0,
    )

    async def answer() -> None:
        messages = [{"role": "user", "content": "Say many words, please."}]
        await router.acompletion(model="gpt", messages=messages, max_tokens=REPLY_TOKENS)

    return answer


ROUTERS = {"Routoo": routoo, "LiteLLM provider_budget_config": litellm}


def measure(name: str, at_once: bool) -> str:
    """What one router spent: the endpoint counts the calls it answered."""
    delay_s = DELAY_S if at_once else 0.0
    with FakeEndpoint() as endpoint:
        endpoint.replies["gpt"] = Reply(TEXT, prompt_tokens=PROMPT_TOKENS, delay_s=delay_s)
        asyncio.run(serve(ROUTERS[name], endpoint, at_once))
        calls = len(endpoint.requests)
    spent_usd = calls * (PROMPT_TOKENS + REPLY_TOKENS) * USD_PER_TOKEN
    return f"{spent_usd / float(LIMIT):.2f} × the limit ({calls} calls)"


def main() -> None:
    """Print a row for each router; every figure is from a process of its own."""
    table = Table("router", "100 calls at once", "one after another")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, max_tasks_per_child=1) as processes:
        for name in ROUTERS:
            together = processes.submit(measure, name, True).result()
            in_turn = processes.submit(measure, name, False).result()
            table.add_row(name, together, in_turn)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

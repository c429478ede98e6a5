"""How long an answer from the cache takes, beside a call to an expert that answers at once.

``python benchmarks/answer_cache.py redis://localhost:6379/0`` also measures a store in that Redis server.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from routoo_core import Budget, Pool
from routoo_core.answer_cache.rule import CacheRule
from routoo_core.config import build_router
from routoo_core.router import Router
from routoo_core.testing import FakeEndpoint, FakePredictor
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

CALLS = 300
QUESTION = "How do I undo the last commit in git without losing changes?"
BODY = {"model": "routoo", "max_tokens": 50, "messages": [{"role": "user", "content": QUESTION}]}


def median_ms(call: Callable[[bool], object], is_cached: bool) -> float:
    """Milliseconds of a call."""
    call(is_cached)
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call(is_cached)
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def report(name: str, call: Callable[[bool], object]) -> None:
    """A line with both."""
    print(f"{name:28} {median_ms(call, False):7.2f} ms  {median_ms(call, True):7.2f} ms")


def make_router(endpoint: FakeEndpoint, ledger: str) -> Router:
    """A router over one expert."""
    return build_router(
        Pool([endpoint.expert("small", max_output_tokens=256)]),
        router=FakePredictor({"small": 0.9}),
        policy="best",
        budget=Budget(limit="1000"),
        ledger=ledger,
        cache=CacheRule(),
    )


def main() -> None:
    """Measure both adapters and the gateway, over each store."""
    print(f"{'median of ' + str(CALLS) + ' calls':28} {'expert':>10}  {'cache':>10}")
    with FakeEndpoint() as endpoint, tempfile.TemporaryDirectory() as folder:
        ledgers = ["memory://", f"sqlite:///{Path(folder) / 'routoo.db'}", *sys.argv[1:]]
        for ledger in ledgers:
            router = make_router(endpoint, ledger)
            store = ledger.partition(":")[0]
            model = RoutooChatModel(router, max_tokens=50)
            llm = RoutooLLM(router, max_tokens=50)
            report(
                f"LangChain, {store}",
                lambda is_cached, model=model: model.invoke(  # type: ignore[misc]
                    QUESTION, routoo_no_cache=not is_cached
                ),
            )
            report(
                f"LlamaIndex, {store}",
                lambda is_cached, llm=llm: llm.complete(  # type: ignore[misc]
                    QUESTION, routoo_no_cache=not is_cached
                ),
            )
            with GatewayServer(Gateway(router), port=0) as server, httpx.Client() as client:
                url = f"{server.base_url}/chat/completions"
                report(
                    f"gateway, {store}",
                    lambda is_cached, client=client, url=url: client.post(  # type: ignore[misc]
                        url, json=BODY, headers={"Routoo-Cache": "yes" if is_cached else "no"}
                    ),
                )


if __name__ == "__main__":
    main()

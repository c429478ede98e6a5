"""What the gateway adds to a call beside the bare endpoint, and how many calls a second it serves.

``python benchmarks/gateway.py`` (no network, no GPU; compare figures of one run only). The endpoint, the gateway and
the caller are processes of their own. Predictions are faked. Rounds are interleaved: each call to the gateway stands
beside one to the endpoint, and what is shown is their difference. Where other programs need the cores too, much of it
is waiting for one; the gateway's own processor time for each call stands beside it.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from routoo_core import Budget, Expert, Pool
from routoo_core.config import build_router
from routoo_core.testing import FakeEndpoint, FakePredictor
from routoo_integrations.gateway.activity import ActivityLog
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.key_file import KeyFile
from routoo_integrations.gateway.keys import KeyStore, KeyTerms
from routoo_integrations.gateway.server import GatewayServer, listen
from routoo_integrations.gateway.workers import Workers

ROUNDS, WARM_UP = 2000, 200
CALLERS, CALLS = 16, 1500
PATH = "/v1/chat/completions"
QUESTION = "A 2 kg block slides down a frictionless incline of 30 degrees and length 5 m from rest. How fast is it?"
CONVERSATION = [{"role": "user", "content": QUESTION}]
SPAWNED = multiprocessing.get_context("spawn")


def serve_endpoint(ports: Any) -> None:
    with FakeEndpoint() as endpoint:
        ports.put(int(endpoint.address.rpartition(":")[2]))
        Event().wait()


def make_gateway(endpoint_port: int, folder: str) -> Gateway:
    pool = []
    for name in ("cheap", "dear"):
        pool.append(
            Expert(
                name=name,
                model=name,
                base_url=f"http://127.0.0.1:{endpoint_port}/v1",
                input_usd_per_1m=1,
                output_usd_per_1m=1,
                capabilities={"tools"},
            )
        )
    router = build_router(
        Pool(pool),
        router=FakePredictor({"cheap": 0.4, "dear": 0.9}),
        policy="best",
        budget=Budget(limit="1000"),
        ledger=f"sqlite:///{folder}/ledger.db",
    )
    keys = KeyStore(KeyFile(Path(folder) / "keys.db"))
    return Gateway(router, keys, activity=ActivityLog(Path(folder) / "calls.db"))


def serve_gateway(ports: Any, endpoint_port: int, folder: str) -> None:
    with GatewayServer(make_gateway(endpoint_port, folder), port=0) as server:
        ports.put(int(server.address.rpartition(":")[2]))
        Event().wait()


def serve_at(endpoint_port: int, folder: str, listening: socket.socket) -> None:
    """The work of one worker."""
    GatewayServer(make_gateway(endpoint_port, folder), listening=listening).run()


def serve_workers(ports: Any, endpoint_port: int, folder: str, count: int) -> None:
    listening = listen("127.0.0.1", 0)
    ports.put(listening.getsockname()[1])
    Workers(partial(serve_at, endpoint_port, folder), listening, count).run()


@dataclass(frozen=True)
class Server:
    """A process that serves."""

    port: int
    process_id: int

    def processor_s(self) -> float:
        """Seconds for which it has computed."""
        fields = Path(f"/proc/{self.process_id}/stat").read_text().rpartition(")")[2].split()
        user, system = fields[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(target: Any, *arguments: Any) -> Iterator[Server]:
    """A process that serves."""
    ports = SPAWNED.Queue()
    process = SPAWNED.Process(target=target, args=(ports, *arguments))
    process.start()
    try:
        port = ports.get(timeout=60)
        assert process.pid is not None
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.join(20)
        process.kill()
        process.join()


class Caller:
    """A connection that is kept open."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.headers = {"Content-Type": "application/json", **headers}

    def call(self, body: dict[str, Any]) -> float:
        """Milliseconds of a call."""
        payload = json.dumps(body)
        started = time.perf_counter()
        self.connection.request("POST", PATH, payload, self.headers)
        response = self.connection.getresponse()
        content = response.read()
        elapsed = time.perf_counter() - started
        assert response.status == 200, content
        return elapsed * 1e3


def measure_overhead(bare: Caller, routed: Caller, body: dict[str, Any]) -> np.ndarray:
    """Milliseconds of each pair of calls, (rounds, 2)."""
    times = []
    for number in range(WARM_UP + ROUNDS):
        pair = {}
        callers = [("bare", bare), ("routed", routed)]
        for name, caller in callers if number % 2 else reversed(callers):
            pair[name] = caller.call(body)
        times.append((pair["bare"], pair["routed"]))
    return np.array(times[WARM_UP:])


def call_often(port: int, headers: dict[str, str], body: dict[str, Any]) -> None:
    """One caller's part of the calls; those of each process are made by a few threads."""

    def work(_: int) -> None:
        caller = Caller(port, headers)
        for _ in range(CALLS // CALLERS):
            caller.call(body)

    with ThreadPoolExecutor(CALLERS) as threads:
        list(threads.map(work, range(CALLERS)))


def measure_throughput(port: int, headers: dict[str, str], body: dict[str, Any]) -> float:
    """Calls a second by several callers at once."""
    call_often(port, headers, body)
    started = time.perf_counter()
    call_often(port, headers, body)
    return CALLS / (time.perf_counter() - started)


def main() -> None:
    columns = ("call", "bare p50", "gateway p50", "difference p50", "p99", "gateway's processor")
    table = Table(*columns, title="milliseconds")
    whole = {"model": "cheap", "messages": CONVERSATION, "max_tokens": 50}
    routed = {**whole, "model": "routoo"}
    streamed = {**whole, "stream": True, "stream_options": {"include_usage": True}}
    with tempfile.TemporaryDirectory() as folder:
        key = KeyStore(KeyFile(Path(folder) / "keys.db")).create("bench", KeyTerms(limit="100"))
        headers = {"Authorization": f"Bearer {key}"}
        with (
            running(serve_endpoint) as endpoint,
            running(serve_gateway, endpoint.port, folder) as gateway,
        ):
            bare, ours = Caller(endpoint.port, {}), Caller(gateway.port, headers)
            for name, body in (("one expert", whole), ("routed", routed), ("streamed", streamed)):
                computed_s = gateway.processor_s()
                times = measure_overhead(bare, ours, body)
                computed_s = gateway.processor_s() - computed_s
                difference = times[:, 1] - times[:, 0]
                median = np.median(times, axis=0)
                extremes = np.percentile(difference, [50, 99])
                values = [*median, *extremes, computed_s / (WARM_UP + ROUNDS) * 1e3]
                table.add_row(name, *(f"{value:.2f}" for value in values))
        console = Console()
        console.print(table)
        for count in (1, 2):
            with (
                running(serve_endpoint) as endpoint,
                running(serve_workers, endpoint.port, folder, count) as gateway,
            ):
                rate = measure_throughput(gateway.port, headers, routed)
            console.print(
                f"{rate:.0f} calls a second by {CALLERS} callers at once, {count} workers"
            )


if __name__ == "__main__":
    main()

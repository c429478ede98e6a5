"""The ledger's database stops while calls run: typed refusals, and nothing is lost or booked twice afterwards."""

import asyncio
import json
import signal
import sqlite3
import time
import tracemalloc
from contextlib import ExitStack
from dataclasses import replace

import aiohttp
import gateway_load as load
import pytest
from conftest import redis_in
from gateway_parts import HELLO, make_router, post, state_of
from waiting import wait_until

from routoo_core.budget import redis as redis_ledger
from routoo_core.budget import sqlite, sqlite_file
from routoo_core.testing import Reply
from routoo_integrations.gateway.activity import MOST_CALLS, ActivityLog
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer

RUNNING_CALLS = 40
REFUSED_CALLS = 60
IMPATIENCE_S = 3.0
KEPT_ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")


class LockedFile:
    """A SQLite ledger that another program locks, asked by an impatient process from then on."""

    def __init__(self, folder, monkeypatch):
        self.path = folder / "ledger.db"
        self.url = f"sqlite:///{self.path}"
        self.monkeypatch = monkeypatch

    def stop(self, router):
        self.be_impatient(router)
        self.lock()

    def lock(self):
        self.other = sqlite3.connect(self.path, isolation_level=None)
        self.other.execute("BEGIN EXCLUSIVE")

    def be_impatient(self, router):
        for module in (sqlite, sqlite_file):
            self.monkeypatch.setattr(module, "PATIENCE_S", IMPATIENCE_S)
        sqlite_file.set_patience(router.ledger._connection, IMPATIENCE_S)

    def go_on(self, router):
        self.other.close()

    def close(self):
        pass


class UnwritableFile(LockedFile):
    """A SQLite ledger that can only be read."""

    def stop(self, router):
        self.be_impatient(router)
        router.ledger._connection.execute("PRAGMA query_only = ON")

    def go_on(self, router):
        router.ledger._connection.execute("PRAGMA query_only = OFF")


class StoppedRedis:
    """A Redis server that is stopped and started again on the same data."""

    def __init__(self, folder, monkeypatch):
        monkeypatch.setattr(redis_ledger, "TIMEOUT_S", IMPATIENCE_S)
        self.folder = folder
        self.start()

    def start(self):
        self.running = ExitStack()
        self.url, self.server = self.running.enter_context(redis_in(self.folder, *KEPT_ON_DISK))

    def stop(self, router):
        self.running.close()

    def go_on(self, router):
        self.start()

    def close(self):
        self.running.close()


class SilentRedis(StoppedRedis):
    """A Redis server that hangs for a while."""

    def stop(self, router):
        self.server.send_signal(signal.SIGSTOP)

    def go_on(self, router):
        self.server.send_signal(signal.SIGCONT)


@pytest.fixture(params=[LockedFile, UnwritableFile, StoppedRedis, SilentRedis])
def database(request, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    place = request.param(tmp_path, monkeypatch)
    yield place
    place.close()


async def call(session, server, caller, streamed):
    """The status and the body of a call."""
    protocol = load.CALLERS[caller]
    body = protocol.body("Stream 1: how are you today?", streamed)
    async with session.post(f"{server.address}{protocol.path}", json=body) as response:
        text = await response.text()
        is_json = response.content_type == "application/json"
        return response.status, json.loads(text) if is_json else text


def is_refusal(caller, answer):
    status, body = answer
    assert status == 503
    if caller == "messages":
        return (body["type"], body["error"]["type"]) == ("error", "overloaded_error")
    return body["error"]["code"] == "ledger_failed"


async def test_calls_are_refused_and_all_that_ran_is_booked_once(endpoint, database):
    slow = Reply("word " * 8, delay_s=3.0)
    endpoint.replies.update({"cheap": slow, "dear": slow})
    router = make_router(endpoint, limit="100", ledger=database.url)
    timeout = aiohttp.ClientTimeout(total=200)
    connector = aiohttp.TCPConnector(limit=0)
    with GatewayServer(Gateway(router), port=0) as server:
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            kinds = [(caller, streamed) for caller in load.CALLERS for streamed in (False, True)]

            def start(count):
                calls = []
                for number in range(count):
                    calls.append(call(session, server, *kinds[number % len(kinds)]))
                return [asyncio.create_task(one) for one in calls]

            running = start(RUNNING_CALLS)
            while len(endpoint.requests) < RUNNING_CALLS:
                ended = [task.result() for task in running if task.done()]
                assert all(status == 200 for status, _ in ended), ended
                await asyncio.sleep(0.01)
            database.stop(router)
            refused = await asyncio.gather(*start(REFUSED_CALLS))
            for number, answer in enumerate(refused):
                assert is_refusal(kinds[number % len(kinds)][0], answer)
            answers = await asyncio.gather(*running)
            assert [status for status, _ in answers] == [200] * RUNNING_CALLS
            # Nothing was called without its money held.
            assert len(endpoint.requests) == RUNNING_CALLS
            database.go_on(router)
            after = await asyncio.gather(*start(1))
            while after[0][0] == 503:  # it may just be finding out
                after = await asyncio.gather(*start(1))
        wait_until(lambda: state_of(router).held == 0)
    spent = sum(router.pool[bill.model].cost(bill.tokens) for bill in endpoint.bills)
    state = state_of(router)
    assert (state.spent, state.calls) == (spent, RUNNING_CALLS + 1)
    assert not router.settlements.journal.settlements()


async def test_a_stream_that_is_left_while_the_ledger_is_locked_stops_nobody_else(
    endpoint, tmp_path, monkeypatch
):
    for module in (sqlite, sqlite_file):
        monkeypatch.setattr(module, "PATIENCE_S", 20.0)
    database = LockedFile(tmp_path, monkeypatch)
    endpoint.replies["dear"] = Reply("word " * 20, word_delay_s=0.02)
    router = make_router(endpoint, limit="100", ledger=database.url)
    body = load.CALLERS["chat"].body("Stream 1: hello", streamed=True)
    with GatewayServer(Gateway(router), port=0) as server:
        async with aiohttp.ClientSession() as session:
            url = f"{server.base_url}/chat/completions"
            async with session.post(url, json=body) as response:
                await response.content.readany()
                database.lock()
                response.close()
            await asyncio.sleep(1.0)
            started = time.monotonic()
            async with session.get(f"{server.address}/health/live") as live:
                assert live.status == 200
            assert time.monotonic() - started < 10.0
            database.go_on(router)
        wait_until(lambda: state_of(router).held == 0)


def test_calls_that_cannot_be_remembered_for_the_page_take_no_more_memory(endpoint, tmp_path):
    path = tmp_path / "calls.db"
    activity = ActivityLog(path)
    with GatewayServer(Gateway(make_router(endpoint), activity=activity), port=0) as server:
        assert post(server, {"model": "routoo", "messages": HELLO}).status_code == 200
        wait_until(lambda: activity.recent())
        (known,) = activity.recent()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        tracemalloc.start()
        for number in range(10 * MOST_CALLS):
            activity.note(replace(known.end, id=f"call-{number}"))
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        other.close()
        assert grown < MOST_CALLS * 2 * 2000
        latest = f"call-{10 * MOST_CALLS - 1}"
        wait_until(lambda: latest in {call.end.id for call in activity.recent()})

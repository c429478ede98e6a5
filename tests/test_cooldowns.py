"""Experts that fail are asked last until they have had time to recover, in all processes that share a ledger."""

import pytest
from test_parameters import KINDS, WAYS, ask

from routoo_core import Pool
from routoo_core.budget.cooldowns import LONGEST_PAUSE_S, PAUSES, Cooldowns
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import build_router
from routoo_core.failures import read_failure
from routoo_core.testing import FakePredictor, ManualClock, Reply
from routoo_integrations.langchain import RoutooChatModel


class HttpError(Exception):
    def __init__(self, status_code, **headers):
        super().__init__(f"status {status_code}")
        self.status_code = status_code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def failure(status=429, **headers):
    return read_failure(HttpError(status, **headers))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def cooldowns(clock):
    return Cooldowns(SqliteLedger(), clock)


def cooling(cooldowns):
    return sorted(cooldowns.current())


@KINDS
@WAYS
async def test_a_throttled_expert_is_skipped_and_the_record_says_why(
    make_router, endpoint, kind, how
):
    endpoint.replies["dear"] = Reply(status=429, headers={"Retry-After": "30"})
    router = make_router()
    first = await ask(kind, how, router)
    assert [attempt["expert"] for attempt in first["attempts"]] == ["dear", "cheap"]

    second = await ask(kind, how, router)
    assert [attempt["expert"] for attempt in second["attempts"]] == ["cheap"]
    (skip,) = second["skipped"]
    assert (skip["expert"], skip["reason"]) == ("dear", "throttled")
    assert 25 < skip["seconds_left"] <= 30


@KINDS
async def test_a_hanging_expert_is_not_asked_first_again_and_its_wait_counts_as_latency(
    endpoint, kind
):
    endpoint.replies["slow"] = Reply(delay_s=1.0)
    common = {"context_window": 2048, "max_output_tokens": 100}
    pool = Pool(
        [endpoint.expert("slow", timeout_s=0.2, **common), endpoint.expert("fast", **common)]
    )
    router = build_router(pool, router=FakePredictor({"slow": 0.9, "fast": 0.4}), policy="best")
    assert (await ask(kind, "whole", router))["expert"] == "fast"
    assert router.latencies.of("slow") >= 0.2
    record = await ask(kind, "whole", router)
    assert [attempt["expert"] for attempt in record["attempts"]] == ["fast"]


def test_a_pause_doubles_with_every_failure_and_ends_with_an_answer(cooldowns, clock):
    pauses = []
    for _ in range(4):
        cooldowns.note_failure("dear", failure())
        pauses.append(cooldowns.current()["dear"].until - clock())
        clock.advance(pauses[-1])
        assert cooling(cooldowns) == []
    assert pauses == [1, 2, 4, 8]
    cooldowns.note_answer("dear")
    cooldowns.note_failure("dear", failure())
    assert cooldowns.current()["dear"].until - clock() == 1


def test_a_server_error_alone_is_no_reason_to_skip_an_expert_but_two_in_a_row_are(cooldowns):
    cooldowns.note_failure("dear", failure(500))
    assert cooling(cooldowns) == []
    cooldowns.note_failure("dear", failure(500))
    assert cooling(cooldowns) == ["dear"]


def test_what_the_server_asks_for_is_heeded_up_to_an_hour(cooldowns, clock):
    cooldowns.note_failure("dear", failure(503, retry_after="17"))
    assert cooldowns.current()["dear"].until == clock() + 17
    cooldowns.note_failure("dear", failure(429, retry_after="1000000"))
    assert cooldowns.current()["dear"].until == clock() + LONGEST_PAUSE_S


def test_after_the_pause_one_call_tries_and_the_others_wait_for_its_answer(cooldowns, clock):
    cooldowns.note_failure("dear", failure(401))
    clock.advance(PAUSES["key"].first_s)
    assert cooling(cooldowns) == []
    cooldowns.note_call("dear")
    assert cooling(cooldowns) == ["dear"]
    cooldowns.note_answer("dear")
    assert cooling(cooldowns) == []


@pytest.mark.parametrize("status", [400, 422])
def test_what_a_prompt_is_refused_for_says_nothing_of_the_next(cooldowns, status):
    cooldowns.note_failure("dear", failure(status))
    assert cooling(cooldowns) == []


def test_processes_that_share_a_ledger_share_what_cools_down(tmp_path, clock):
    path = tmp_path / "ledger.db"
    here = Cooldowns(SqliteLedger(path), clock)
    here.note_failure("dear", failure())
    there = Cooldowns(SqliteLedger(path), clock)
    assert cooling(there) == ["dear"]


def test_redis_keeps_them_too(redis_url, clock):
    from routoo_core.budget.redis import RedisLedger

    Cooldowns(RedisLedger(redis_url), clock).note_failure("dear", failure())
    there = Cooldowns(RedisLedger(redis_url), clock)
    assert cooling(there) == ["dear"]
    there.note_answer("dear")
    assert cooling(Cooldowns(RedisLedger(redis_url), clock)) == []


def test_an_expert_that_cools_down_answers_when_nobody_else_can(make_router, endpoint):
    router = make_router()
    endpoint.replies["dear"] = Reply(status=429)
    model = RoutooChatModel(router)
    model.invoke("What is 2 + 2?")
    del endpoint.replies["dear"]
    endpoint.replies["cheap"] = Reply(status=500)
    record = model.invoke("What is 2 + 2?").response_metadata["routoo"]
    assert [attempt["expert"] for attempt in record["attempts"]] == ["cheap", "dear"]


def test_a_ledger_that_cannot_keep_them_leaves_them_to_its_process(clock):
    class BareLedger:
        pass

    cooldowns = Cooldowns(BareLedger(), clock)
    cooldowns.note_failure("dear", failure())
    assert cooling(cooldowns) == ["dear"]

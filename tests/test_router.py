"""The path of a call: decide, hold, try, settle, move on."""

import asyncio
import threading
import time

import pytest
from waiting import wait_until

from routoo_core import Budget, Pool, RoutedRequest, Usage
from routoo_core.config import build_router
from routoo_core.errors import (
    AllExpertsFailed,
    BudgetExceeded,
    ConfigurationError,
    InvalidRequest,
    NoCapableExpert,
    StreamInterrupted,
)
from routoo_core.request import Overrides
from routoo_core.testing import FakePredictor
from routoo_core.threads import off_loop
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

HELLO = RoutedRequest.from_text(
    "What is the meaning of life, the universe and everything?", max_tokens=100
)
PROMPT = HELLO.prompt_tokens


class HttpError(Exception):
    def __init__(self, status_code, reason=""):
        super().__init__(f"status {status_code} {reason}")
        self.status_code = status_code


def state(router):
    return router.ledger.state(router.budget)


def test_a_decision_holds_nothing_and_calls_nobody(make_router, endpoint):
    router = make_router()
    decision = router.decide(HELLO)
    assert [c.expert.name for c in decision.candidates] == ["dear", "cheap"]
    assert (state(router).held, endpoint.requests) == (0, [])


def test_the_best_candidate_is_tried_first_with_its_money_held(make_router):
    router = make_router()
    for attempt in router.attempts(HELLO):
        with attempt:
            assert attempt.expert.name == "dear"
            assert attempt.max_tokens == 100
            assert state(router).held == attempt.candidate.maximum_cost
            attempt.settle(Usage(20, 10))
    assert (state(router).spent, state(router).held) == (20 * 10_000 + 10 * 30_000, 0)
    assert attempt.record().to_dict()["settled_usd"] == "0.000500000"


@pytest.mark.parametrize(
    "error", [HttpError(500), HttpError(429), HttpError(401), ConnectionRefusedError()]
)
def test_a_refusal_costs_nothing_and_the_next_candidate_answers(make_router, error):
    router, tried = make_router(), []
    for attempt in router.attempts(HELLO):
        with attempt:
            tried.append(attempt.expert.name)
            if len(tried) == 1:
                raise error
            attempt.settle(Usage(20, 10))
    assert tried == ["dear", "cheap"]
    assert state(router).spent == 30 * 1000
    assert attempt.record().to_dict()["attempts"][0]["expert"] == "dear"


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError()])
def test_a_call_that_may_have_been_worked_on_is_booked_at_the_most_it_can_have_cost(
    make_router, error
):
    router, tried = make_router(), []
    for attempt in router.attempts(HELLO):
        with attempt:
            tried.append(attempt)
            if len(tried) == 1:
                raise error
            attempt.settle(Usage(20, 10))
    assert state(router).spent == tried[0].candidate.maximum_cost + 30 * 1000
    assert state(router).held == 0


@pytest.mark.parametrize(
    "error",
    [
        HttpError(400, "messages: at least one message is required"),
        HttpError(422, "tool_call_ids did not have response messages"),
        KeyError("my own bug"),
        KeyboardInterrupt(),
    ],
)
def test_a_fault_of_the_request_or_the_caller_leaves_the_loop_and_holds_nothing(make_router, error):
    router = make_router()
    with pytest.raises(type(error)):
        for attempt in router.attempts(HELLO):
            with attempt:
                raise error
    assert state(router).held == 0


def test_after_the_first_text_there_is_no_fallback_and_the_error_says_so(make_router):
    router = make_router()
    with pytest.raises(StreamInterrupted, match="'dear' failed while streaming"):
        for attempt in router.attempts(HELLO):
            with attempt:
                attempt.received("The answer is")
                raise ConnectionResetError
    assert state(router).spent == attempt.candidate.maximum_cost
    assert state(router).held == 0


def test_a_success_without_reported_usage_is_booked_by_what_was_received(make_router):
    router = make_router()
    for attempt in router.attempts(HELLO):
        with attempt:
            attempt.received("The answer is")
    assert state(router).spent == PROMPT * 10_000 + 3 * 30_000


def test_when_everyone_fails_every_failure_is_told(make_router):
    with pytest.raises(
        AllExpertsFailed, match=r"all 2 affordable experts failed: dear: HttpError"
    ) as caught:
        for attempt in make_router().attempts(HELLO):
            with attempt:
                raise HttpError(503)
    assert len(caught.value.exceptions) == 2


def test_what_the_budget_refuses_is_skipped_for_the_next_that_fits(make_router):
    router = make_router(limit="0.001")
    for attempt in router.attempts(HELLO):
        with attempt:
            assert attempt.expert.name == "cheap"
            attempt.settle(Usage(20, 10))


def test_nothing_affordable_names_the_cheapest_candidates_cost(make_router):
    router = make_router(limit="0.00001")
    with pytest.raises(BudgetExceeded) as caught:
        next(router.attempts(HELLO))
    assert caught.value.needed == router.decide(HELLO).candidates[1].maximum_cost
    assert state(router).spent == state(router).held == 0


@pytest.mark.parametrize(("on_exhausted", "who"), [("cheapest", "cheap"), ("dear", "dear")])
def test_the_expert_named_for_an_empty_account_is_called_and_booked(make_router, on_exhausted, who):
    router = make_router(limit="0.00001", on_exhausted=on_exhausted)
    for attempt in router.attempts(HELLO):
        with attempt:
            assert attempt.expert.name == who
            attempt.settle(Usage(20, 10))
    assert attempt.record().to_dict()["within_limit"] is False
    assert state(router).spent > state(router).limit


def test_without_max_tokens_the_router_sets_what_the_account_affords(make_router):
    router = make_router(limit="0.05")
    request = RoutedRequest.from_text("Tell me everything there is to know about the sea.")
    attempt = next(router.attempts(request))
    with attempt:
        assert attempt.expert.name == "dear"
        assert 1 <= attempt.max_tokens <= 256
        held = state(router).held
        assert attempt.expert.cost(Usage(request.prompt_token_bound, attempt.max_tokens)) <= held
        attempt.settle(Usage(20, 10))


def test_a_strict_router_refuses_a_call_without_max_tokens(make_router):
    with pytest.raises(InvalidRequest, match="max_tokens: required"):
        make_router(strict=True).decide(RoutedRequest.from_text("hello"))


def test_experts_that_cannot_serve_a_need_are_no_candidates(make_router):
    tools = RoutedRequest.from_messages([{"role": "user", "content": "hi"}], tools=[{"name": "t"}])
    assert [c.expert.name for c in make_router().decide(tools).candidates] == ["dear"]
    schema = {"type": "json_schema", "json_schema": {}}
    both = RoutedRequest.from_messages(
        [{"role": "user", "content": "hi"}], tools=[{"name": "t"}], response_format=schema
    )
    with pytest.raises(
        NoCapableExpert, match="cheap lacks json_schema, tools; dear lacks json_schema"
    ):
        make_router().decide(both)


def test_a_prompt_longer_than_every_window_is_refused(make_router):
    with pytest.raises(NoCapableExpert, match="a context window of"):
        make_router().decide(RoutedRequest.from_text("many words " * 2000))


def test_each_account_has_a_budget_of_its_own(make_router):
    router = make_router()
    request = RoutedRequest.from_text(
        "hello there my friend", max_tokens=10, overrides=Overrides(account="alice")
    )
    for attempt in router.attempts(request):
        with attempt:
            attempt.settle(Usage(20, 10))
    assert [(s.account, s.spent) for s in router.ledger.accounts()] == [("alice", 500_000)]


def test_an_expert_the_predictor_does_not_know_is_a_configuration_error(endpoint):
    pool = Pool([endpoint.expert("stranger")])
    with pytest.raises(
        ConfigurationError, match=r"does not know 'stranger'; set router_name to one of cheap, dear"
    ):
        build_router(pool, router=FakePredictor({"cheap": 0.5, "dear": 0.9}))
    known = Pool([endpoint.expert("stranger", router_name="dear")])
    router = build_router(known, router=FakePredictor({"cheap": 0.5, "dear": 0.9}))
    assert router.decide(HELLO).candidates[0].quality == pytest.approx(0.9)


def test_pacing_needs_a_limit(endpoint):
    with pytest.raises(ConfigurationError, match="budget.limit"):
        build_router(
            Pool([endpoint.expert("a")]),
            router=FakePredictor({"a": 1}),
            policy="paced",
            budget=Budget(),
        )


def test_the_record_holds_no_prompt_and_no_error_text(make_router):
    router = make_router()
    secret = RoutedRequest.from_text("my secret plan for world peace is this", max_tokens=10)
    for attempt in router.attempts(secret):
        with attempt:
            if attempt.expert.name == "dear":
                raise TimeoutError("my secret plan")
            attempt.settle(Usage(20, 10))
    assert "secret" not in str(attempt.record().to_dict())


@pytest.mark.parametrize("ledger", ["memory://", "sqlite:///budget.db"])
def test_sixty_four_threads_on_one_small_budget_never_pass_the_limit(make_router, tmp_path, ledger):
    router = make_router(limit="0.002", ledger=ledger, beside=tmp_path)
    peak, done, start = [], [], threading.Barrier(64)

    def call():
        start.wait()
        try:
            for attempt in router.attempts(HELLO):
                with attempt:
                    now = state(router)
                    peak.append(now.spent + now.held)
                    attempt.settle(Usage(HELLO.prompt_token_bound, 100))
            done.append(attempt)
        except BudgetExceeded:
            pass

    threads = [threading.Thread(target=call) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done
    assert max(peak) <= 2_000_000
    assert state(router).spent <= 2_000_000
    assert state(router).held == 0


async def test_async_attempts_behave_like_sync_ones(make_router):
    router = make_router()
    async for attempt in router.aattempts(HELLO):
        async with attempt:
            if attempt.expert.name == "dear":
                raise HttpError(500)
            await attempt.asettle(Usage(20, 10))
    assert state(router).spent == 30_000


async def test_a_cancelled_call_holds_nothing_and_is_booked_at_the_most_it_can_have_cost(
    make_router,
):
    router, inside = make_router(), asyncio.Event()

    held = 0

    async def call():
        nonlocal held
        async for attempt in router.aattempts(HELLO):
            async with attempt:
                held = state(router).held
                inside.set()
                await asyncio.sleep(60)

    task = asyncio.create_task(call())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert state(router).held == 0
    assert state(router).spent == held > 0


async def test_what_a_thread_made_after_the_wait_was_cancelled_is_undone():
    undone, go = threading.Event(), threading.Event()
    waiting = asyncio.create_task(off_loop(lambda: go.wait(60), undo=lambda _: undone.set()))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    assert undone.wait(60)


async def test_what_a_thread_raises_reaches_whoever_waits_and_nobody_else(caplog):
    with pytest.raises(KeyError, match="lost"):
        await off_loop(lambda: {}["lost"])
    go = threading.Event()
    waiting = asyncio.create_task(off_loop(lambda: go.wait(60) and {}["lost"]))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    await off_loop(lambda: None)
    assert not caplog.records


async def test_a_result_that_is_there_when_the_wait_is_cancelled_is_undone_once():
    undone = []
    waiting = asyncio.create_task(off_loop(lambda: "held", undo=undone.append))
    await asyncio.sleep(0)
    time.sleep(0.2)  # the thread ends, and the loop does not know yet
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0.05)
    wait_until(lambda: undone == ["held"])


def test_a_call_is_paid_by_every_account_it_is_within_and_the_tightest_refuses(
    make_router, endpoint
):
    team = Budget(account="team", limit="0.0002", period="day")
    router = make_router(limit=None)
    router.budget = Budget(account="ann", limit="1.00", within=team)
    request = RoutedRequest.from_text("hello", max_tokens=8)
    with pytest.raises(BudgetExceeded, match="account 'team'"):
        for _ in range(100):
            for attempt in router.attempts(request):
                with attempt:
                    attempt.settle(Usage(5, 8))
    spent = [router.ledger.state(one).spent for one in router.budget.chain]
    assert spent[0] == spent[1] <= 200_000
    bob = router.account(RoutedRequest.from_text("hello", overrides=Overrides(account="bob")))
    assert [one.account for one in bob.chain] == ["bob", "team"]


@pytest.mark.parametrize("account", ["team", "", 5, "\ud800"])
def test_an_account_cannot_be_one_of_those_it_is_part_of(make_router, account):
    router = make_router()
    router.budget = Budget(account="ann", limit="1.00", within=Budget(account="team", limit="2.00"))
    request = RoutedRequest.from_text("hello", overrides=Overrides(account=account))
    with pytest.raises(InvalidRequest, match="cannot pay; name an account other than team"):
        router.decide(request)
    assert router.ledger.accounts() == []


@pytest.mark.parametrize("framework", [RoutooChatModel, RoutooLLM])
def test_a_call_cannot_name_an_account_that_its_own_is_within(make_router, framework):
    router = make_router()
    router.budget = Budget(account="ann", limit="1.00", within=Budget(account="team", limit="2.00"))
    model = framework(router)
    call = model.invoke if framework is RoutooChatModel else model.complete
    with pytest.raises(InvalidRequest, match="cannot pay; name an account other than team"):
        call("hello", routoo_account="team")
    assert router.ledger.accounts() == []


def test_the_hold_covers_the_dearest_kind_of_token(endpoint):
    expert = endpoint.expert(
        "a",
        input_usd_per_1m=3,
        output_usd_per_1m=15,
        cache_write_usd_per_1m="3.75",
        reasoning_usd_per_1m=20,
    )
    router = build_router(Pool([expert]), router=FakePredictor({"a": 1}), policy="best")
    (candidate,) = router.decide(HELLO).candidates
    prompt = HELLO.prompt_token_bound
    dearest = Usage(prompt, 100, cache_write_tokens=prompt, reasoning_tokens=100)
    assert candidate.maximum_cost == expert.cost(dearest)


async def test_how_an_attempt_ended_is_in_the_record(make_router):
    router = make_router()
    for attempt in router.attempts(HELLO):
        with pytest.raises(KeyboardInterrupt), attempt:
            raise KeyboardInterrupt
        break
    assert attempt.record().attempts[-1].outcome == "abandoned"

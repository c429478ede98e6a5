"""Processes that fork, or start anew, after calls: each opens its own connections, and the ledger is exact over all."""

import asyncio
import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from routoo_core import Budget
from routoo_core.config import build_router, open_ledger
from routoo_core.experts import Pool
from routoo_core.lifetimes import PerProcess, fork_safe_lock
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.testing import FakePredictor
from routoo_core.threads import off_loop
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM
from tests.test_event_loops import (
    CHAT_MODELS,
    LLMS,
    PREDICTOR,
    Chat,
    bill_of,
)
from tests.ways import LANGCHAIN_WAYS, LLAMA_INDEX_WAYS

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]
BUDGET = Budget(limit="1", period="month")
CHILD_TIMEOUT_S = 100


def in_child(work):
    """Do some work in a forked child: whether it went well; ``None`` if it hangs."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return process


def wait_for(process):
    """The exit status of a child; -1 if it had to be killed."""
    until = time.monotonic() + CHILD_TIMEOUT_S
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return -1


@pytest.fixture(params=["sqlite", "redis"])
def ledger_url(request, tmp_path):
    if request.param == "redis":
        return request.getfixturevalue("redis_url")
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture(params=[*CHAT_MODELS, *LLMS], ids=lambda make: make.__name__)
def chat(request, endpoint, tmp_path):
    experts = request.param(endpoint)
    options = {
        "policy": "best",
        "max_tokens": 50,
        "budget": BUDGET,
        "ledger": f"sqlite:///{tmp_path / 'ledger.db'}",
    }
    if request.param_index < len(CHAT_MODELS):
        return Chat(RoutooChatModel(PREDICTOR, experts, **options), LANGCHAIN_WAYS)
    return Chat(RoutooLLM(PREDICTOR, experts, **options), LLAMA_INDEX_WAYS)


def ask_in_every_way(chat, times=1):
    """Sync and async, whole and streamed, each in a loop of its own."""
    for _ in range(times):
        for way in chat.ways:
            assert asyncio.run(chat.ask(way)) == "dear"


def check_ledger(chat, endpoint, calls):
    state = chat.model.router.ledger.state(BUDGET)
    assert state.calls == calls == len(endpoint.requests)
    assert state.held == 0
    assert state.spent == sum(bill_of(bill) for bill in endpoint.bills)


def test_parent_and_forked_child_call_in_turn_and_at_the_same_time(chat, endpoint):
    ask_in_every_way(chat)
    child = in_child(lambda: ask_in_every_way(chat, 3))
    ask_in_every_way(chat, 3)
    assert wait_for(child) == 0
    ask_in_every_way(chat)
    check_ledger(chat, endpoint, 4 * (1 + 3 + 3 + 1))


def test_workers_forked_from_a_process_that_has_loaded_the_model_call_in_parallel(chat, endpoint):
    """As gunicorn with preload_app and Celery with prefork do it; one worker has threads, as uvicorn's."""
    ask_in_every_way(chat)

    def work_in_threads():
        with ThreadPoolExecutor(3) as threads:
            futures = [threads.submit(ask_in_every_way, chat) for _ in range(3)]
        for future in futures:
            future.result()

    children = [in_child(work_in_threads)]
    for _ in range(3):
        children.append(in_child(lambda: ask_in_every_way(chat, 2)))
    assert [wait_for(child) for child in children] == [0] * 4
    check_ledger(chat, endpoint, 4 * (1 + 3 + 3 * 2))


def test_a_child_of_a_child_calls_as_well(chat, endpoint):
    ask_in_every_way(chat)

    def work():
        ask_in_every_way(chat)
        assert wait_for(in_child(lambda: ask_in_every_way(chat))) == 0
        ask_in_every_way(chat)

    assert wait_for(in_child(work)) == 0
    check_ledger(chat, endpoint, 4 * 4)


# multiprocessing


def ask_routed(model, ways_name):
    ways = LANGCHAIN_WAYS if ways_name == "langchain" else LLAMA_INDEX_WAYS
    ask_in_every_way(Chat(model, ways))
    return os.getpid()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
def test_the_pools_of_multiprocessing_call_by_a_model_that_was_used(
    method, framework, endpoint, ledger_url
):
    pool = Pool([endpoint.expert("cheap"), endpoint.expert("dear")])
    router = build_router(pool, router=PREDICTOR, budget=BUDGET, ledger=ledger_url, policy="best")
    kind = RoutooChatModel if framework == "langchain" else RoutooLLM
    model = kind(router, max_tokens=50)
    ask_routed(model, framework)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as workers:
        futures = [workers.submit(ask_routed, model, framework) for _ in range(4)]
        assert os.getpid() not in {future.result(timeout=CHILD_TIMEOUT_S) for future in futures}
    ask_routed(model, framework)
    state = open_ledger(ledger_url).state(BUDGET)
    assert state.calls == 4 * (1 + 4 + 1) == len(endpoint.requests)
    assert state.held == 0
    assert state.spent == sum(bill_of(bill) for bill in endpoint.bills)


# The parts


def test_threads_of_off_loop_start_anew_in_a_child():
    async def double():
        return await asyncio.gather(*(off_loop(lambda: 2 * 3) for _ in range(5)))

    def work():
        assert asyncio.run(double()) == [6] * 5

    work()
    assert wait_for(in_child(work)) == 0


@pytest.mark.parametrize("url", ["memory", "file"])
def test_a_ledger_is_free_and_whole_in_a_child_that_was_forked_amid_its_transactions(url, tmp_path):
    ledger = open_ledger("memory://" if url == "memory" else f"sqlite:///{tmp_path / 'ledger.db'}")
    ends = threading.Event()

    def keep_booking():
        while not ends.is_set():
            held = ledger.reserve(BUDGET, minimum=10, maximum=10)
            ledger.settle(held, 10)

    def book():
        before = ledger.state(BUDGET).spent
        held = ledger.reserve(BUDGET, minimum=10, maximum=10)
        assert ledger.settle(held, 10).spent >= before + 10

    threads = [threading.Thread(target=keep_booking) for _ in range(3)]
    for thread in threads:
        thread.start()
    statuses = [wait_for(in_child(book)) for _ in range(20)]
    ends.set()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 20
    state = ledger.state(BUDGET)
    assert (state.held, state.spent) == (0, 10 * state.calls)


def test_a_lock_that_another_thread_holds_is_free_in_the_child():
    lock = fork_safe_lock()
    is_held = threading.Event()
    data = []

    def write():
        with lock:
            is_held.set()
            time.sleep(0.05)
            data.append("whole")

    thread = threading.Thread(target=write)
    thread.start()
    is_held.wait()

    def work():
        assert lock.acquire(timeout=60)
        assert data == ["whole"]

    child = in_child(work)
    thread.join()
    assert wait_for(child) == 0
    assert lock.acquire(timeout=60)
    lock.release()


def test_a_value_of_a_process_is_built_once_in_each():
    built = []

    def build():
        built.append(os.getpid())
        return os.getpid()

    per_process = PerProcess(build)
    assert per_process.get() == per_process.get() == os.getpid()

    def work():
        assert per_process.get() == per_process.get() == os.getpid()
        assert len(built) == 2

    assert wait_for(in_child(work)) == 0
    assert built == [os.getpid()]


def test_a_batching_predictor_predicts_in_a_child_forked_amid_a_pass():
    predictor = BatchingPredictor(FakePredictor({"dear": 0.9}))
    ends = threading.Event()

    def keep_predicting():
        number = 0
        while not ends.is_set():
            number += 1
            predictor.predict([f"prompt {number}"])

    def work():
        assert predictor.predict(["another"]).shape == (1, 1)

    thread = threading.Thread(target=keep_predicting)
    thread.start()
    statuses = [wait_for(in_child(work)) for _ in range(10)]
    ends.set()
    thread.join()
    predictor.close()
    assert statuses == [0] * 10

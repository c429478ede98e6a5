"""Concurrent predictions share passes on one thread; each caller gets its own rows, or the error of its own pass."""

import copy
import gc
import os
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from routoo_core import Pool
from routoo_core.config import build_router
from routoo_core.errors import PredictionFailed
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.predictor.checkpoint import load_checkpoint
from routoo_core.request import RoutedRequest


class Lengths:
    """Predicts a prompt's length and its half; notes every pass, and holds passes while its gate is closed."""

    experts, fingerprint = ("whole", "half"), "lengths"

    def __init__(self):
        self.passes, self.threads = [], set()
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)
        self.gate.set()

    def predict(self, prompts):
        self.passes.append(list(prompts))
        self.threads.add(threading.current_thread())
        self.entered.release()
        assert self.gate.wait(30)
        if "bad" in prompts:
            raise ValueError("a bad prompt")
        return rows(prompts)


def rows(prompts):
    return np.array([[len(p), len(p) / 2] for p in prompts], dtype=np.float32).reshape(
        len(prompts), 2
    )


@pytest.fixture
def lengths():
    return Lengths()


@pytest.fixture
def callers():
    with ThreadPoolExecutor(64) as pool:
        yield pool


def queue_behind_a_pass(batching, callers, calls):
    """Hold a pass of another prompt until all ``calls`` wait behind it, let it succeed; returns their ended futures."""
    lengths = batching.predictor
    lengths.gate.clear()
    first = callers.submit(batching.predict, ["the pass under way"])
    assert lengths.entered.acquire(timeout=30)
    futures = [callers.submit(batching.predict, call) for call in calls]
    waiting = {prompt for call in calls for prompt in call}
    while len(batching._model()._pending) < len(waiting) + 1:
        assert not wait(futures, timeout=0.001).done
    lengths.gate.set()
    np.testing.assert_array_equal(first.result(30), rows(["the pass under way"]))
    wait(futures, timeout=30)
    return futures


def test_it_is_a_predictor_that_speaks_for_the_wrapped_one(lengths):
    batching = BatchingPredictor(lengths)
    assert isinstance(batching, Predictor)
    assert (batching.experts, batching.fingerprint) == (lengths.experts, lengths.fingerprint)
    assert batching.predictor is lengths


def test_a_lone_call_runs_at_once_and_keeps_shape_type_and_order(lengths):
    predicted = BatchingPredictor(lengths).predict(["a", "ccc", "bb"])
    np.testing.assert_array_equal(predicted, rows(["a", "ccc", "bb"]))
    assert predicted.dtype == np.float32
    assert lengths.passes == [["a", "ccc", "bb"]]


def test_no_prompts_need_no_pass_and_no_thread(lengths):
    before = threading.active_count()
    assert BatchingPredictor(lengths).predict([]).shape == (0, 2)
    assert (lengths.passes, threading.active_count()) == ([], before)


def test_calls_that_arrive_during_a_pass_share_the_next_one(lengths, callers):
    calls = [["x" * n] for n in range(1, 33)]
    futures = queue_behind_a_pass(BatchingPredictor(lengths), callers, calls)
    assert [len(prompts) for prompts in lengths.passes] == [1, 32]
    for call, future in zip(calls, futures, strict=True):
        np.testing.assert_array_equal(future.result(), rows(call))


def test_a_pass_takes_no_more_prompts_than_allowed(lengths, callers):
    queue_behind_a_pass(
        BatchingPredictor(lengths, max_batch=5), callers, [["x" * n] for n in range(1, 13)]
    )
    assert [len(prompts) for prompts in lengths.passes] == [1, 5, 5, 2]


def test_a_call_longer_than_a_pass_lets_others_in_between(lengths, callers):
    batching, many = BatchingPredictor(lengths, max_batch=2), ["a", "bb", "ccc", "dddd", "eeeee"]
    np.testing.assert_array_equal(batching.predict(many), rows(many))
    assert [len(prompts) for prompts in lengths.passes] == [2, 2, 1]


def test_every_pass_runs_on_one_thread_that_is_not_the_callers(lengths, callers):
    batching = BatchingPredictor(lengths)
    start = threading.Barrier(16)

    def call(n):
        start.wait(30)
        return [batching.predict([f"{n} {k}"]) for k in range(20)]

    for future in [callers.submit(call, n) for n in range(16)]:
        assert len(future.result(30)) == 20
    assert [thread.name for thread in lengths.threads] == ["routoo-model"]
    assert sum(map(len, lengths.passes)) == 320


def test_a_prompt_asked_for_by_many_at_once_is_computed_once(lengths, callers):
    futures = queue_behind_a_pass(
        BatchingPredictor(lengths), callers, [["same", "same"], ["same"], ["other", "same"]]
    )
    assert sorted(lengths.passes[1]) == ["other", "same"]
    assert [len(future.result()) for future in futures] == [2, 1, 2]


def test_a_recent_prompt_is_remembered_and_callers_cannot_spoil_the_memory(lengths):
    batching = BatchingPredictor(lengths)
    batching.predict(["again"])[:] = 99
    np.testing.assert_array_equal(batching.predict(["again"]), rows(["again"]))
    assert lengths.passes == [["again"]]


def test_the_prompt_unused_for_longest_is_forgotten_first(lengths):
    batching = BatchingPredictor(lengths, remembered=2)
    for prompt in ("a", "b", "a", "c", "a", "b"):
        batching.predict([prompt])
    assert lengths.passes == [["a"], ["b"], ["c"], ["b"]]


def test_without_a_memory_every_call_is_computed(lengths):
    batching = BatchingPredictor(lengths, remembered=0)
    for _ in range(2):
        np.testing.assert_array_equal(batching.predict(["a", "a"]), rows(["a", "a"]))
    assert lengths.passes == [["a"], ["a"]]


def test_a_bad_prompt_fails_its_own_caller_alone(lengths, callers):
    batching = BatchingPredictor(lengths)
    calls = [["x" * n] for n in range(1, 8)]
    *futures, bad = queue_behind_a_pass(batching, callers, [*calls, ["bad"]])
    for call, future in zip(calls, futures, strict=True):
        np.testing.assert_array_equal(future.result(), rows(call))
    with pytest.raises(ValueError, match="a bad prompt"):
        bad.result()
    np.testing.assert_array_equal(batching.predict(["after"]), rows(["after"]))


def test_a_failure_that_is_no_prompts_reaches_all_callers_of_its_pass_after_one_try(
    lengths, callers
):
    batching = BatchingPredictor(lengths)
    tries = []
    predict = lengths.predict

    def fail(prompts):
        if prompts == ["the pass under way"]:
            return predict(prompts)
        tries.append(prompts)
        raise PredictionFailed("the endpoint is down")

    lengths.predict = fail
    for future in queue_behind_a_pass(batching, callers, [["one"], ["two"]]):
        with pytest.raises(PredictionFailed, match="the endpoint is down"):
            future.result()
    assert len(tries) == 1


def test_the_thread_outlives_an_error_and_a_failed_prompt_is_tried_again(lengths):
    batching = BatchingPredictor(lengths)
    for _ in range(2):
        with pytest.raises(ValueError, match="a bad prompt"):
            batching.predict(["bad", "good"])
    np.testing.assert_array_equal(batching.predict(["good"]), rows(["good"]))
    assert lengths.passes == [["bad", "good"], ["bad"], ["good"], ["bad"]]
    assert len(lengths.threads) == 1


def test_too_few_rows_are_an_error_of_the_pass(lengths):
    lengths.predict = lambda prompts: rows(prompts)[1:]
    with pytest.raises(ValueError, match="shorter"):
        BatchingPredictor(lengths).predict(["a", "b"])


def test_closing_answers_who_waits_and_ends_the_thread(lengths, callers):
    batching = BatchingPredictor(lengths)
    lengths.gate.clear()
    waiting = callers.submit(batching.predict, ["waits"])
    assert lengths.entered.acquire(timeout=30)
    closing = callers.submit(batching.close)
    lengths.gate.set()
    closing.result(30)
    np.testing.assert_array_equal(waiting.result(30), rows(["waits"]))
    assert [thread.is_alive() for thread in lengths.threads] == [False]


def test_a_closed_one_starts_again_when_asked(lengths):
    batching = BatchingPredictor(lengths)
    for prompt in ("a", "b"):
        batching.predict([prompt])
        batching.close()
        batching.close()
    assert len(lengths.threads) == 2


def test_it_is_cheap_to_build_and_its_thread_ends_with_it(lengths):
    before = threading.active_count()
    batching = BatchingPredictor(lengths)
    assert threading.active_count() == before
    batching.predict(["a"])
    gone = weakref.ref(batching)
    del batching
    gc.collect()
    assert gone() is None
    assert [thread.is_alive() for thread in lengths.threads] == [False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX")
def test_a_forked_process_has_a_thread_of_its_own(lengths):
    batching = BatchingPredictor(lengths)
    batching.predict(["parent"])
    child = os.fork()
    if not child:
        same = np.array_equal(batching.predict(["the child's"]), rows(["the child's"]))
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(batching.predict(["parent again"]), rows(["parent again"]))


class Constant:
    """A predictor without a lock, as pickling needs."""

    experts, fingerprint = ("one",), "constant"

    def predict(self, prompts):
        return np.ones((len(prompts), 1), dtype=np.float32)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["copy", "pickle"]
)
def test_a_copy_works_and_keeps_its_settings(duplicate):
    batching = BatchingPredictor(Constant(), max_batch=3, remembered=7)
    batching.predict(["a"])
    other = duplicate(batching)
    assert (other.max_batch, other.remembered) == (3, 7)
    np.testing.assert_array_equal(other.predict(["a", "b"]), np.ones((2, 1)))


def test_a_router_batches_what_it_loads_and_leaves_a_given_predictor_alone(
    endpoint, checkpoint, lengths
):
    loaded = build_router(
        Pool([endpoint.expert("calculator"), endpoint.expert("talker")]), router=checkpoint
    )
    assert isinstance(loaded.predictor, BatchingPredictor)
    request = RoutedRequest.from_text("what is 31 + 44 ?")
    direct = load_checkpoint(checkpoint).predict([request.text])[0]
    decision = loaded.decide(request)
    assert {c.expert.name: pytest.approx(c.quality) for c in decision.candidates} == {
        name: float(quality) for name, quality in zip(("calculator", "talker"), direct, strict=True)
    }
    given = build_router(Pool([endpoint.expert("whole"), endpoint.expert("half")]), router=lengths)
    assert given.predictor is lengths

"""Concurrent predictions share one pass on one model thread; recent ones are remembered."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import PredictionFailed, PromptUnreadable
from routoo_core.predictor.base import Forecast, Predictor, Quality, forecast

Row = tuple[NDArray[np.float32], ...]
"""One prompt's part of each table of a :class:`Forecast` that the predictor makes; those come first there."""


class BatchingPredictor:
    """Puts concurrent predictions into one pass of another predictor, nearly as fast as if they had come in one call.

    A lone call runs at once. Calls that arrive while a pass runs wait for its end and share the next one. One
    thread runs every pass, since each thread that computes keeps its own team of workers on the same cores.

    ``BatchingPredictor(load_checkpoint(folder)).predict(["Why is the sky blue?"])`` has shape (1, experts).

    Args:
        predictor: Makes the predictions, on the model thread, which starts at the first call.
        max_batch: Prompts in one pass, at least 1; a longer call takes several, shared with other calls.
        remembered: How many of the latest predictions are kept.
    """

    def __init__(self, predictor: Predictor, max_batch: int = 64, remembered: int = 1024) -> None:
        self.predictor = predictor
        self.max_batch = max_batch
        self.remembered = remembered
        self._models: dict[int, _ModelThread] = {}
        # Also when Python exits: torch must not be computing then.
        weakref.finalize(self, _stop_model_of_process, self._models)

    @property
    def experts(self) -> tuple[str, ...]:
        """The predictor's experts."""
        return self.predictor.experts

    @property
    def fingerprint(self) -> str:
        """The predictor's fingerprint."""
        return self.predictor.fingerprint

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Quality 0–1, shape (prompts, experts).

        A prompt that a pass fails with is no other call's trouble: the pass is made again in parts, without it. A
        ``PredictionFailed`` that says nothing of prompts is raised in every call that shared the pass.
        """
        return self.forecast(prompts).quality

    def forecast(self, prompts: Sequence[str]) -> Forecast:
        """Quality, and lengths if the predictor knows them; see :meth:`predict`."""
        rows: list[Row] = []
        for start in range(0, len(prompts), self.max_batch):
            batch = prompts[start : start + self.max_batch]
            for future in self._model().submit(batch):
                rows.append(future.result())
        if not rows:
            return Forecast(np.empty((0, len(self.experts)), dtype=np.float32))

        columns = zip(*rows, strict=True)
        return Forecast(*map(np.stack, columns))

    def close(self) -> None:
        """Stop the model thread once no call waits for it; a later call starts a new one."""
        _stop_model_of_process(self._models)

    def _model(self) -> _ModelThread:
        """This process's: after a fork the parent's thread is gone, and its lock may be held for ever."""
        process = os.getpid()
        model = self._models.get(process)
        if model is None:
            new_model = _ModelThread(self.predictor, self.max_batch, self.remembered)
            # Of two calls that come first together, both get the same model.
            model = self._models.setdefault(process, new_model)
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {
            "predictor": self.predictor,
            "max_batch": self.max_batch,
            "remembered": self.remembered,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        BatchingPredictor.__init__(self, **state)


def without_batching(predictor: Predictor) -> Predictor:
    """The predictor that makes the predictions."""
    return predictor.predictor if isinstance(predictor, BatchingPredictor) else predictor


def _stop_model_of_process(models: dict[int, _ModelThread]) -> None:
    model = models.get(os.getpid())
    if model is not None:
        model.stop()


class _ModelThread:
    """The queue, the memory and the thread; it has no reference to its owner, which can thus be garbage-collected.

    A prompt is *waiting*, then in a pass (*pending* in both cases), then *recent* unless the pass failed.
    """

    def __init__(self, predictor: Predictor, max_batch: int, memory: int) -> None:
        self._predictor = predictor
        self._max_batch = max_batch
        self._memory = memory
        self._waiting: deque[str] = deque()
        self._pending: dict[str, Future[Row]] = {}
        self._recent: OrderedDict[str, Future[Row]] = OrderedDict()
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, prompts: Sequence[str]) -> list[Future[Row]]:
        """A future for each prompt, the same one for the same prompt."""
        with self._change:
            futures = [self._future_of(prompt) for prompt in prompts]
            if self._waiting and self._thread is None:
                self._start()
            self._change.notify_all()
        return futures

    def stop(self) -> None:
        """Let the thread finish the waiting prompts, and wait for its end."""
        with self._change:
            thread = self._thread
            self._thread = None
            self._change.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="routoo-model", daemon=True)
        self._thread.start()

    def _future_of(self, prompt: str) -> Future[Row]:
        """The future of a recent or pending prompt; a new prompt waits from now on."""
        if prompt in self._recent:
            self._recent.move_to_end(prompt)
            return self._recent[prompt]
        if prompt not in self._pending:
            self._pending[prompt] = Future()
            self._waiting.append(prompt)
        return self._pending[prompt]

    def _run(self) -> None:
        while prompts := self._next_batch():
            self._run_pass(prompts)

    def _next_batch(self) -> list[str]:
        """Waiting prompts, up to a batch; none once the thread is to end."""
        with self._change:
            self._change.wait_for(self._has_work_or_ends)
            size = min(self._max_batch, len(self._waiting))
            return [self._waiting.popleft() for _ in range(size)]

    def _has_work_or_ends(self) -> bool:
        return bool(self._waiting) or self._thread is not threading.current_thread()

    def _run_pass(self, prompts: list[str]) -> None:
        try:
            rows = self._predict_rows(prompts)
        except Exception as error:  # noqa: BLE001 (it is raised again in the calls that wait for it)
            if len(prompts) > 1 and _may_be_of_one_prompt(error):
                half = len(prompts) // 2
                self._run_pass(prompts[:half])
                self._run_pass(prompts[half:])
                return
            self._fail(prompts, error)
            return
        # Whatever is raised, also KeyboardInterrupt, is raised again in the calls that wait for it.
        except BaseException as error:  # noqa: BLE001
            self._fail(prompts, error)
            return

        futures = self._take_pending(prompts, remember=True)
        for future, row in zip(futures, rows, strict=True):
            future.set_result(row)

    def _fail(self, prompts: list[str], error: BaseException) -> None:
        for future in self._take_pending(prompts):
            future.set_exception(error)

    def _predict_rows(self, prompts: list[str]) -> list[Row]:
        """One row for each prompt, copied, so that a remembered row does not keep the whole pass."""
        tables = [table for table in forecast(self._predictor, prompts) if table is not None]
        rows = []
        for _, *parts in zip(prompts, *tables, strict=True):
            rows.append(tuple(part.copy() for part in parts))
        return rows

    def _take_pending(self, prompts: list[str], remember: bool = False) -> list[Future[Row]]:
        """The futures of a pass that ended; from here on its prompts are recent, or unknown if it failed."""
        with self._change:
            futures = [self._pending.pop(prompt) for prompt in prompts]
            if remember:
                self._recent.update(zip(prompts, futures, strict=True))
            while len(self._recent) > self._memory:
                self._recent.popitem(last=False)
        return futures


def _may_be_of_one_prompt(error: Exception) -> bool:
    """Whether a pass may fail for one of its prompts alone; an endpoint that is down fails for each, after a while."""
    return isinstance(error, PromptUnreadable) or not isinstance(error, PredictionFailed)

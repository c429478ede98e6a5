"""Predictions asked for at the same time share one pass on one model thread; recent ones are remembered."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Forecast, Predictor, Quality, forecast

Row = tuple[NDArray[np.float32], ...]
"""One prompt's quality, and its lengths from a predictor that knows them; each (experts,)."""


class BatchingPredictor:
    """Puts concurrent predictions into one pass of another predictor, nearly as fast as if they had come in one call.

    A lone call runs at once. Calls that arrive while a pass runs wait for its end and share the next one. One
    thread runs every pass, since each thread that computes keeps its own team of workers on the same cores.

    ``BatchingPredictor(load_checkpoint(folder)).predict(["Why is the sky blue?"])`` has shape (1, experts).

    Args:
        predictor: Whose predictions; given to the model thread, which starts at the first call.
        max_batch: Prompts in one pass, at least 1; a longer call takes several, others' prompts among them.
        remembered: Prompts whose predictions are kept, the latest asked for.
    """

    def __init__(self, predictor: Predictor, max_batch: int = 64, remembered: int = 1024) -> None:
        self.predictor, self.max_batch, self.remembered = predictor, max_batch, remembered
        self._models: dict[int, _ModelThread] = {}
        weakref.finalize(
            self, _stop, self._models
        )  # also at exit: torch must not be computing when Python ends

    @property
    def experts(self) -> tuple[str, ...]:
        """The predictor's experts."""
        return self.predictor.experts

    @property
    def fingerprint(self) -> str:
        """The predictor's fingerprint."""
        return self.predictor.fingerprint

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Quality 0–1, shape (prompts, experts); what the predictor raises in a pass reaches all who shared it."""
        return self.forecast(prompts).quality

    def forecast(self, prompts: Sequence[str]) -> Forecast:
        """Quality, and lengths where the predictor knows them; see :meth:`predict`."""
        rows: list[Row] = []
        for start in range(0, len(prompts), self.max_batch):
            asked = self._model().ask(prompts[start : start + self.max_batch])
            rows += [future.result() for future in asked]
        if not rows:
            return Forecast(np.empty((0, len(self.experts)), dtype=np.float32))
        return Forecast(*(np.stack(part) for part in zip(*rows, strict=True)))

    def close(self) -> None:
        """Stop the model thread once nobody waits for it; a later call starts a new one."""
        _stop(self._models)

    def _model(self) -> _ModelThread:
        """This process's: after a fork the parent's thread is gone, and its lock may be held for ever."""
        if model := self._models.get(os.getpid()):
            return model
        new = _ModelThread(self.predictor, self.max_batch, self.remembered)
        return self._models.setdefault(os.getpid(), new)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "predictor": self.predictor,
            "max_batch": self.max_batch,
            "remembered": self.remembered,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        BatchingPredictor.__init__(self, **state)


class _ModelThread:
    """The queue, the memory and the thread; knows nothing of its owner, which can thus be garbage-collected.

    A prompt is *waiting*, then in a pass (*pending* in both cases), then *recent* unless the pass failed.
    """

    def __init__(self, predictor: Predictor, max_batch: int, remembered: int) -> None:
        self._predictor, self._max_batch, self._remembered = predictor, max_batch, remembered
        self._waiting: deque[str] = deque()
        self._pending: dict[str, Future[Row]] = {}
        self._recent: OrderedDict[str, Future[Row]] = OrderedDict()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def ask(self, prompts: Sequence[str]) -> list[Future[Row]]:
        """A future for each prompt, the same one for the same prompt."""
        with self._changed:
            futures = [self._future(prompt) for prompt in prompts]
            if self._waiting and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="routoo-model", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return futures

    def stop(self) -> None:
        """Let the thread finish what waits, and wait for it."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread not in {None, threading.current_thread()}:
            thread.join()

    def _future(self, prompt: str) -> Future[Row]:
        if prompt in self._recent:
            self._recent.move_to_end(prompt)
            return self._recent[prompt]
        if prompt not in self._pending:
            self._pending[prompt] = Future()
            self._waiting.append(prompt)
        return self._pending[prompt]

    def _run(self) -> None:
        while prompts := self._next():
            self._pass(prompts)

    def _next(self) -> list[str]:
        """What waits, up to a batch; nothing once the thread is to end."""
        me = threading.current_thread()
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._thread is not me)
            return [
                self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))
            ]

    def _pass(self, prompts: list[str]) -> None:
        rows: list[Row] = []
        with _Caught() as caught:
            parts = [part for part in forecast(self._predictor, prompts) if part is not None]
            rows = [
                tuple(row.copy() for row in own) for _, *own in zip(prompts, *parts, strict=True)
            ]
        futures = self._finish(prompts, failed=caught.error is not None)
        for future, row in zip(futures, rows, strict=False):
            future.set_result(row)
        for future in futures[len(rows) :]:
            future.set_exception(caught.error)

    def _finish(self, prompts: list[str], failed: bool) -> list[Future[Row]]:
        """The futures of a pass that ended; from here on, its prompts are recent or unknown."""
        with self._changed:
            futures = [self._pending.pop(prompt) for prompt in prompts]
            if not failed:
                self._recent.update(zip(prompts, futures, strict=True))
            while len(self._recent) > self._remembered:
                self._recent.popitem(last=False)
        return futures


class _Caught:
    """Keeps whatever is raised inside ``with``, to be raised where it is waited for."""

    error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> bool:
        self.error = error
        return True


def _stop(models: dict[int, _ModelThread]) -> None:
    if model := models.get(os.getpid()):
        model.stop()

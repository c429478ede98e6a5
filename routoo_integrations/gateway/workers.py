"""Several processes that serve at one address: they are started, replaced when they die, and stopped together."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

from routoo_core.errors import ConfigurationError

_SPAWNED = multiprocessing.get_context("spawn")
_LOOK_EVERY_S = 0.5
_SHORT_LIFE_S = 5.0
_MOST_SHORT_LIVES = 3
"""So many workers in a row that die at once will not get better by being started again."""
_STOP_S = 20.0
_LOGGER = logging.getLogger(__name__)

Serve = Callable[[socket.socket], None]
"""Serves at a socket that listens, until the process is told to stop; it can be pickled."""


class Workers:
    """Processes that share a socket.

    Args:
        serve: What each of them does.
        listening: The socket.
        count: How many.
    """

    def __init__(self, serve: Serve, listening: socket.socket, count: int) -> None:
        self._serve = serve
        self._listening = listening
        self._count = count
        self._is_stopped = False
        self._started_at: dict[SpawnProcess, float] = {}
        self._short_lives = 0

    def run(self) -> None:
        """Serve until this process is told to stop.

        Raises:
            ConfigurationError: The workers die as soon as they are started.
        """
        with self._stopping_on_signals():
            try:
                while not self._is_stopped:
                    self._replace_dead()
                    wait([process.sentinel for process in self._started_at], _LOOK_EVERY_S)
            finally:
                self._stop()

    def _replace_dead(self) -> None:
        now = time.monotonic()
        for process in list(self._started_at):
            if process.is_alive():
                continue
            life_s = now - self._started_at.pop(process)
            self._short_lives = self._short_lives + 1 if life_s < _SHORT_LIFE_S else 0
            _LOGGER.error("worker %s ended with status %s", process.pid, process.exitcode)
        if self._short_lives >= _MOST_SHORT_LIVES:
            raise ConfigurationError(
                "workers: they end as soon as they are started; start with --workers 1 to see why"
            )
        while len(self._started_at) < self._count:
            process = _SPAWNED.Process(target=_work, args=(self._serve, self._listening))
            process.start()
            self._started_at[process] = now

    def _stop(self) -> None:
        for process in self._started_at:
            process.terminate()
        deadline = time.monotonic() + _STOP_S
        for process in self._started_at:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """Signals that end the process end its workers first."""
        previous: dict[signal.Signals, Any] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._is_stopped = True


def _work(serve: Serve, listening: socket.socket) -> None:
    """The work of one process; it ends with the one that started it, however that ends."""
    threading.Thread(target=_end_with_parent, daemon=True, name="routoo-parent").start()
    serve(listening)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

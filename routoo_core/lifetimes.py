"""What belongs to one process or to one event loop: connections, threads and locks do not survive a fork."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet

Value = TypeVar("Value")

_FORK_TIMEOUT_S = 5.0
"""How long a fork waits for a lock at most."""
_LOOP_ATTRIBUTE = "_routoo_values"


# One value for each process


class PerProcess(Generic[Value]):
    """A value that a forked child makes anew; the parent's is neither used nor closed in the child.

    ``PerProcess(open_connection).get()``

    Args:
        build: Makes the value, when a process first asks for it.
        value: The value of this process, where there is one already.
    """

    def __init__(self, build: Callable[[], Value], value: Value | None = None) -> None:
        self._build = build
        self._values: dict[int, Value] = {}
        if value is not None:
            self._values[os.getpid()] = value

    def get(self) -> Value:
        """This process's value."""
        process = os.getpid()
        value = self._values.get(process)
        if value is None:
            # Of two threads that come first together, both get the same value.
            value = self._values.setdefault(process, self._build())
        return value


# Locks that are free in a forked child

_REGISTRY_LOCK = threading.RLock()
_LOCKS: WeakSet[Any] = WeakSet()
_HELD = threading.local()


def fork_safe_lock() -> Any:
    """A reentrant lock; a fork waits until it is free, so that the child finds whole data and no owner.

    For short work alone, which takes no other lock.
    """
    lock = threading.RLock()
    with _REGISTRY_LOCK:
        _LOCKS.add(lock)
    return lock


def _hold_locks() -> None:
    _HELD.locks = []
    for lock in [_REGISTRY_LOCK, *_locks()]:
        if lock.acquire(timeout=_FORK_TIMEOUT_S):
            _HELD.locks.append(lock)


def _locks() -> list[Any]:
    with _REGISTRY_LOCK:
        return list(_LOCKS)


def _free_locks() -> None:
    for lock in reversed(_HELD.locks):
        lock.release()
    _HELD.locks = []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_locks, after_in_parent=_free_locks, after_in_child=_free_locks)


# One value for each event loop


@dataclass(slots=True)
class _State:
    """Whether a loop's value may still be used."""

    is_open: bool = True


@dataclass(frozen=True, slots=True)
class _LoopValue(Generic[Value]):
    """A loop's value, and the generator that closes it."""

    value: Value
    state: _State
    keeper: AsyncGenerator[None, None]


class PerLoop(Generic[Value]):
    """A value that each event loop makes anew, as connections can be used in the loop alone that opened them.

    It is closed in its loop, when the loop's generators are shut down (``asyncio.run`` does that) or when this object
    is no longer used. The loop keeps its values, so that they go with it.

    Args:
        build: Makes the value, when a loop first asks for it.
        close: Closes it.
    """

    def __init__(
        self, build: Callable[[], Value], close: Callable[[Value], Awaitable[None]]
    ) -> None:
        self._build = build
        self._close = close

    def get(self) -> Value:
        """The running loop's value.

        Raises:
            RuntimeError: No loop runs.
        """
        values = _values_of(asyncio.get_running_loop())
        loop_value: _LoopValue[Value] | None = values.get(self)
        if loop_value is None or not loop_value.state.is_open:
            loop_value = self._open()
            values[self] = loop_value
        return loop_value.value

    def _open(self) -> _LoopValue[Value]:
        value = self._build()
        state = _State()
        keeper = _close_at_end(value, state, self._close)
        # The generator is started, without a wait, so that the loop knows it.
        with suppress(StopIteration):
            anext(keeper).__await__().send(None)
        return _LoopValue(value, state, keeper)


async def _close_at_end(
    value: Value, state: _State, close: Callable[[Value], Awaitable[None]]
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        state.is_open = False
        await close(value)


def _values_of(loop: Any) -> WeakKeyDictionary[Any, Any]:
    per_process: PerProcess[WeakKeyDictionary[Any, Any]] | None
    per_process = getattr(loop, _LOOP_ATTRIBUTE, None)
    if per_process is None:
        per_process = PerProcess(WeakKeyDictionary)
        setattr(loop, _LOOP_ATTRIBUTE, per_process)
    return per_process.get()

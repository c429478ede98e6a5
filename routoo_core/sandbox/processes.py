"""Processes of the sandbox: started with a task, read until a deadline, and killed afterwards."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from routoo_core.lifetimes import PerProcess
from routoo_core.sandbox import graded_process
from routoo_core.sandbox.graded_process import Task
from routoo_core.sandbox.namespaces import sandbox_command

OUTPUT_LIMIT = 4096
"""Bytes that a process may write to its result before it is stopped; what a program prints goes nowhere."""
PROCESSES = 16
"""In a sandbox; without one, everything that the user runs would count."""
PLACES = max(2, os.cpu_count() or 1)
"""Runs that one process of ours makes at the same time."""
_FREE_PLACES = PerProcess(lambda: threading.BoundedSemaphore(PLACES))
_ALONE = ("-P", "-s")
"""Python imports nothing from where it runs, nor of the user's. ``-I`` is the same, but ignores the variables."""
_VARIABLES = {"PYTHONHASHSEED": "0"}
"""All that a process has; so two runs give sets in the same order."""
_SOURCE = Path(graded_process.__file__).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Pipe:
    """Both ends of a pipe."""

    reader: IO[bytes]
    writer: IO[bytes]


@contextmanager
def pipe_ends() -> Iterator[Pipe]:
    """A pipe, whose ends are closed afterwards."""
    reader, writer = os.pipe()
    with (
        os.fdopen(reader, "rb", buffering=0) as source,
        os.fdopen(writer, "wb", buffering=0) as sink,
    ):
        yield Pipe(source, sink)


@contextmanager
def sandbox_place() -> Iterator[None]:
    """One of :data:`PLACES`, waited for; its time counts from then on."""
    with _FREE_PLACES.get():
        yield


@contextmanager
def sandbox_process(
    entry: Callable[[], None],
    stdin: IO[bytes],
    stdout: IO[bytes],
    unsafe: bool,
    descriptors: Sequence[int] = (),
) -> Iterator[None]:
    """A process that runs a function of :mod:`routoo_core.sandbox.graded_process`, and is killed afterwards.

    Args:
        entry: The function.
        stdin: What it reads.
        stdout: What it writes.
        unsafe: Whether it runs without a sandbox.
        descriptors: Further files that it may use, by their numbers.
    """
    program = [sys.executable, *_ALONE, "-c", f"{_SOURCE}\n{entry.__name__}()\n"]
    with tempfile.TemporaryDirectory(prefix="routoo-code-") as folder:
        process = subprocess.Popen(  # noqa: S603
            program if unsafe else sandbox_command(program, Path(folder)),
            cwd=folder,
            env=_VARIABLES,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=descriptors,
        )
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def output_of(entry: Callable[[], None], task: Task, deadline: float, unsafe: bool) -> bytes:
    """What one process writes to its result; see :func:`read_result`.

    Args:
        entry: The function that it runs; see :func:`sandbox_process`.
        task: What it reads first.
        deadline: By ``time.monotonic``, seconds.
        unsafe: Whether it runs without a sandbox.
    """
    with (
        pipe_ends() as orders,
        pipe_ends() as result,
        sandbox_process(entry, orders.reader, result.writer, unsafe),
    ):
        orders.reader.close()
        result.writer.close()
        send_task(orders.writer, task)
        return read_result(result.reader, deadline)


def send_task(stream: IO[bytes], task: Task) -> None:
    """Write a task in a line of its own; a process that has ended before it has read everything is no error."""
    rest = memoryview(json.dumps(task).encode() + b"\n")
    with suppress(BrokenPipeError):
        while rest:
            rest = rest[stream.write(rest) :]


def read_result(stream: IO[bytes], deadline: float) -> bytes:
    """Everything until the end of a stream; nothing where that takes too long, or is too much.

    Args:
        stream: What the process writes to.
        deadline: By ``time.monotonic``, seconds.
    """
    result = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while len(result) <= OUTPUT_LIMIT:
            seconds = deadline - time.monotonic()
            if seconds <= 0 or not selector.select(seconds):
                return b""
            chunk = os.read(stream.fileno(), OUTPUT_LIMIT)
            if not chunk:
                return result
            result += chunk
    return b""

"""Python that a model wrote, run with tests in a sandbox.

What it can do is bounded: computing time, memory, processes, disk and output. It can reach nothing, see
:mod:`routoo_core.scoring.sandbox`. Where the tests only compare what functions return with plain values, they run apart
from the program, which can then claim nothing: see :mod:`routoo_core.scoring.plain_tests`. Other tests run in one
process with the program. There, one that means to can pass tests that it should fail.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from routoo_core.scoring import graded_process
from routoo_core.scoring.graded_process import Task, judge_calls, run_together, serve_calls
from routoo_core.scoring.plain_tests import functions_under_test
from routoo_core.scoring.sandbox import check_sandbox, sandbox_command

_OUTPUT_LIMIT = 4096
"""Bytes that a process may write to its result before it is stopped; what a program prints goes nowhere."""
_SOURCE = Path(graded_process.__file__).read_text(encoding="utf-8")
_PROCESSES = 16
"""In a sandbox; without one, everything that the user runs would count."""


@dataclass(frozen=True)
class _Pipe:
    """Both ends of a pipe."""

    reader: IO[bytes]
    writer: IO[bytes]


def tests_pass(
    code: str, tests: str, timeout_s: int = 10, memory_mb: int = 1024, unsafe: bool = False
) -> bool:
    """Whether ``tests`` run to their end after ``code``.

    Code that leaves early, fails, hangs or takes too much memory does not pass.

    Args:
        code: What the model wrote.
        tests: Python statements that see its names and raise where they are wrong.
        timeout_s: Seconds of computing, and twice as long by the clock.
        memory_mb: Address space of a process.
        unsafe: Run it without a sandbox: it can then do what this user can.

    Raises:
        ConfigurationError: No sandbox can be made here.
    """
    if not unsafe:
        check_sandbox()
    limits: Task = {
        "timeout_s": timeout_s,
        "memory_mb": memory_mb,
        "processes": None if unsafe else _PROCESSES,
    }
    # The password comes at the very end, so that exit(0) is not success.
    password = secrets.token_hex(16)
    deadline = time.monotonic() + 2 * timeout_s
    program: Task = {**limits, "code": code}
    judging: Task = {**limits, "tests": tests, "password": password}
    functions = functions_under_test(tests)
    if functions:
        judging["functions"] = sorted(functions)
        output = _run_apart(program, judging, deadline, unsafe)
    else:
        output = _run_together({**program, **judging}, deadline, unsafe)
    return output == password.encode()


def _run_together(task: Task, deadline: float, unsafe: bool) -> bytes:
    """What a process writes that runs a program and then its tests."""
    with (
        _pipe() as orders,
        _pipe() as result,
        _graded_process(run_together, orders.reader, result.writer, unsafe),
    ):
        orders.reader.close()
        result.writer.close()
        _send(orders.writer, task)
        return _read_result(result.reader, deadline)


def _run_apart(program: Task, judging: Task, deadline: float, unsafe: bool) -> bytes:
    """What the tests' process writes, whose functions are called in the program's process."""
    with _pipe() as requests, _pipe() as replies, _pipe() as orders, _pipe() as result:
        descriptors = (requests.writer.fileno(), replies.reader.fileno())
        judging = {**judging, "requests": descriptors[0], "replies": descriptors[1]}
        with (
            _graded_process(serve_calls, requests.reader, replies.writer, unsafe),
            _graded_process(judge_calls, orders.reader, result.writer, unsafe, descriptors),
        ):
            for end in (requests.reader, replies.writer, orders.reader, result.writer):
                end.close()
            _send(requests.writer, program)
            _send(orders.writer, judging)
            return _read_result(result.reader, deadline)


@contextmanager
def _pipe() -> Iterator[_Pipe]:
    """A pipe, whose ends are closed afterwards."""
    reader, writer = os.pipe()
    with (
        os.fdopen(reader, "rb", buffering=0) as source,
        os.fdopen(writer, "wb", buffering=0) as sink,
    ):
        yield _Pipe(source, sink)


@contextmanager
def _graded_process(
    entry: Callable[[], None],
    stdin: IO[bytes],
    stdout: IO[bytes],
    unsafe: bool,
    descriptors: Sequence[int] = (),
) -> Iterator[None]:
    """A process that runs a function of :mod:`routoo_core.scoring.graded_process`, and is killed afterwards.

    Args:
        entry: The function.
        stdin: What it reads.
        stdout: What it writes.
        unsafe: Whether it runs without a sandbox.
        descriptors: Further files that it may use, by their numbers.
    """
    program = [sys.executable, "-I", "-c", f"{_SOURCE}\n{entry.__name__}()\n"]
    with tempfile.TemporaryDirectory(prefix="routoo-code-") as folder:
        process = subprocess.Popen(  # noqa: S603
            program if unsafe else sandbox_command(program, Path(folder)),
            cwd=folder,
            env={},
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


def _send(stream: IO[bytes], task: Task) -> None:
    """Write a task in a line of its own; a process that has ended before it has read everything is no error."""
    rest = memoryview(json.dumps(task).encode() + b"\n")
    with suppress(BrokenPipeError):
        while rest:
            rest = rest[stream.write(rest) :]


def _read_result(stream: IO[bytes], deadline: float) -> bytes:
    """Everything until the end of a stream; nothing where that takes too long, or is too much."""
    result = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while len(result) <= _OUTPUT_LIMIT:
            seconds = deadline - time.monotonic()
            if seconds <= 0 or not selector.select(seconds):
                return b""
            chunk = os.read(stream.fileno(), _OUTPUT_LIMIT)
            if not chunk:
                return result
            result += chunk
    return b""

"""Python that a model wrote, run with tests in a sandbox.

What it can do is bounded: computing time, memory, processes, disk and output. It can reach nothing, see
:mod:`routoo_core.scoring.sandbox`. What it can claim is not bounded: it runs in one process with its tests. So a
program that means to can pass tests that it should fail; look at the answers of a model that you do not trust.
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
from contextlib import suppress
from pathlib import Path
from typing import IO

from routoo_core.scoring.sandbox import check_sandbox, sandboxed

_OUTPUT_LIMIT = 4096
"""Bytes that a program may write to its result before it is stopped; what it prints goes nowhere."""
_FORBIDDEN_EVENTS = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.kill",
    "ctypes.",
)
_RUNNER = f"""
import json, os, resource, sys

task = json.loads(sys.stdin.readline())
result = os.dup(1)
nowhere = os.open("/dev/null", os.O_RDWR)
for stream in (0, 1, 2):
    os.dup2(nowhere, stream)
limits = {{
    resource.RLIMIT_CPU: task["timeout_s"],
    resource.RLIMIT_AS: task["memory_mb"] << 20,
    resource.RLIMIT_FSIZE: 16 << 20,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_CORE: 0,
}}
if task["processes"]:
    limits[resource.RLIMIT_NPROC] = task["processes"]
for kind, limit in limits.items():
    resource.setrlimit(kind, (limit, limit))
answer = compile(task["code"], "answer.py", "exec")
tests = compile(task["tests"], "tests.py", "exec")
password = task.pop("password").encode()

def refuse(event, arguments):
    if event.startswith({_FORBIDDEN_EVENTS!r}):
        raise PermissionError(event + " is not allowed in an answer")

sys.addaudithook(refuse)
names = {{"__name__": "answer"}}
exec(answer, names)
exec(tests, names)
os.write(result, password)
os._exit(0)
"""
_PROCESSES = 16
"""In a sandbox; without one, everything that the user runs would count."""


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
    # The password comes at the very end, so that exit(0) is not success.
    password = secrets.token_hex(16)
    task = {
        "code": code,
        "tests": tests,
        "timeout_s": timeout_s,
        "memory_mb": memory_mb,
        "processes": None if unsafe else _PROCESSES,
        "password": password,
    }
    program = [sys.executable, "-I", "-c", _RUNNER]
    with tempfile.TemporaryDirectory(prefix="routoo-code-") as folder:
        command = program if unsafe else sandboxed(program, Path(folder))
        output = _run(command, folder, json.dumps(task) + "\n", 2 * timeout_s)
    return output == password.encode()


def _run(command: list[str], folder: str, task: str, timeout_s: float) -> bytes:
    """What a runner gives as its result: nothing where it takes too long or writes too much."""
    process = subprocess.Popen(  # noqa: S603
        command,
        cwd=folder,
        env={},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None  # noqa: S101
    assert process.stdout is not None  # noqa: S101
    try:
        with suppress(BrokenPipeError):  # it ended before it had read everything
            process.stdin.write(task.encode())
            process.stdin.close()
        return _read_result(process.stdout, time.monotonic() + timeout_s)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()


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

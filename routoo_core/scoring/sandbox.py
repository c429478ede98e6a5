"""Python that a model wrote, run with tests in a process of its own.

The process has limits on computing time, memory, processes and files, an empty environment and a
scratch folder, and refuses sockets and further programs. That stops accidents, not malice: run
untrusted models' code in a container.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

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
import resource, sys

password, seconds, megabytes = sys.stdin.readline().split()
limits = {{
    resource.RLIMIT_CPU: int(seconds),
    resource.RLIMIT_AS: int(megabytes) << 20,
    resource.RLIMIT_FSIZE: 16 << 20,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_CORE: 0,
}}
for resource_kind, limit in limits.items():
    resource.setrlimit(resource_kind, (limit, limit))
answer = open("answer.py", encoding="utf-8").read()
tests = open("tests.py", encoding="utf-8").read()

def refuse(event, arguments):
    if event.startswith({_FORBIDDEN_EVENTS!r}):
        raise PermissionError(event + " is not allowed in an answer")

sys.addaudithook(refuse)
names = {{"__name__": "answer"}}
exec(compile(answer, "answer.py", "exec"), names)
exec(compile(tests, "tests.py", "exec"), names)
sys.__stdout__.write("\\n" + password)
sys.__stdout__.flush()
"""


def tests_pass(code: str, tests: str, timeout_s: int = 10, memory_mb: int = 1024) -> bool:
    """Whether ``tests`` run to their end after ``code``.

    Code that leaves early, fails, hangs or takes too much memory does not pass.

    Args:
        code: What the model wrote.
        tests: Python statements that see its names and raise where they are wrong.
        timeout_s: Seconds of computing, and twice as long by the clock.
        memory_mb: Address space.
    """
    # The process prints the password only at the very end, so that exit(0) is not success.
    password = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="routoo-code-") as folder:
        Path(folder, "answer.py").write_text(code, encoding="utf-8")
        Path(folder, "tests.py").write_text(tests, encoding="utf-8")
        parameters = f"{password} {timeout_s} {memory_mb}\n"
        output = _run(folder, parameters.encode(), 2 * timeout_s)
    if output is None:
        return False
    return output.decode(errors="replace").endswith(password)


def _run(folder: str, parameters: bytes, timeout_s: float) -> bytes | None:
    """What the runner prints; ``None`` where it takes too long or fails."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-c", _RUNNER],
        cwd=folder,
        env={},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(parameters, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return output if process.returncode == 0 else None

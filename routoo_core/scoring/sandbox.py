"""Python that a model wrote, run with tests in a process of its own.

The process has limits on computing time, memory, processes and files, an empty environment and a scratch folder, and
refuses sockets and further programs. That stops accidents, not malice: run untrusted models' code in a container.
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

_FORBIDDEN = (
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
told, seconds, megabytes = sys.stdin.readline().split()
for what, most in (
    (resource.RLIMIT_CPU, int(seconds)), (resource.RLIMIT_AS, int(megabytes) << 20),
    (resource.RLIMIT_FSIZE, 16 << 20), (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0),
):
    resource.setrlimit(what, (most, most))
source = open("answer.py", encoding="utf-8").read(), open("tests.py", encoding="utf-8").read()
def watch(event, arguments):
    if event.startswith({_FORBIDDEN!r}):
        raise PermissionError(event + " is not allowed in an answer")
sys.addaudithook(watch)
names = {{"__name__": "answer"}}
for part, name in zip(source, ("answer.py", "tests.py")):
    exec(compile(part, name, "exec"), names)
sys.__stdout__.write("\\n" + told)
sys.__stdout__.flush()
"""


def tests_pass(code: str, tests: str, timeout_s: int = 10, memory_mb: int = 1024) -> bool:
    """Whether ``tests`` run to their end after ``code``; one that leaves early, fails, hangs or grows does not pass.

    Args:
        code: What the model wrote.
        tests: Python statements that see its names and raise where they are wrong.
        timeout_s: Seconds of computing, and twice as long by the clock.
        memory_mb: Address space.
    """
    told = secrets.token_hex(16)  # said only at the very end, so that exit(0) is not success
    with tempfile.TemporaryDirectory(prefix="routoo-code-") as folder:
        Path(folder, "answer.py").write_text(code, encoding="utf-8")
        Path(folder, "tests.py").write_text(tests, encoding="utf-8")
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
            said, _ = process.communicate(
                f"{told} {timeout_s} {memory_mb}\n".encode(), timeout=2 * timeout_s
            )
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        return process.returncode == 0 and said.decode(errors="replace").endswith(told)

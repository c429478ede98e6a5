"""Python that a model wrote, run with tests in a sandbox.

What it can do is bounded: computing time, memory, processes, disk and output. It can reach nothing, see
:mod:`routoo_core.sandbox.namespaces`. Where the tests only compare what functions return with plain values, they run
apart from the program, which can then claim nothing: see :mod:`routoo_core.sandbox.plain_tests`. Other tests run in one
process with the program. There, one that means to can pass tests that it should fail.
"""

from __future__ import annotations

import secrets
import time

from routoo_core.sandbox.graded_process import Task, judge_calls, run_together, serve_calls
from routoo_core.sandbox.namespaces import check_sandbox
from routoo_core.sandbox.plain_tests import functions_under_test
from routoo_core.sandbox.processes import (
    PROCESSES,
    output_of,
    pipe_ends,
    read_result,
    sandbox_place,
    sandbox_process,
    send_task,
)


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
        "processes": None if unsafe else PROCESSES,
    }
    # The password comes at the very end, so that exit(0) is not success.
    password = secrets.token_hex(16)
    program: Task = {**limits, "code": code}
    judging: Task = {**limits, "tests": tests, "password": password}
    functions = functions_under_test(tests)
    with sandbox_place():
        deadline = time.monotonic() + 2 * timeout_s
        if functions:
            judging["functions"] = sorted(functions)
            output = _run_apart(program, judging, deadline, unsafe)
        else:
            output = output_of(run_together, {**program, **judging}, deadline, unsafe)
    return output == password.encode()


def _run_apart(program: Task, judging: Task, deadline: float, unsafe: bool) -> bytes:
    """What the tests' process writes, whose functions are called in the program's process."""
    with (
        pipe_ends() as requests,
        pipe_ends() as replies,
        pipe_ends() as orders,
        pipe_ends() as result,
    ):
        descriptors = (requests.writer.fileno(), replies.reader.fileno())
        judging = {**judging, "requests": descriptors[0], "replies": descriptors[1]}
        with (
            sandbox_process(serve_calls, requests.reader, replies.writer, unsafe),
            sandbox_process(judge_calls, orders.reader, result.writer, unsafe, descriptors),
        ):
            for end in (requests.reader, replies.writer, orders.reader, result.writer):
                end.close()
            send_task(requests.writer, program)
            send_task(orders.writer, judging)
            return read_result(result.reader, deadline)

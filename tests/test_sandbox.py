"""Code that models write does no harm, even if it means to."""

import json
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from routoo_core.errors import ConfigurationError
from routoo_core.sandbox import namespaces
from routoo_core.sandbox.code_tests import tests_pass as passes
from routoo_core.sandbox.graded_process import decode, encode
from routoo_core.sandbox.namespaces import sandbox_problem
from routoo_core.sandbox.plain_tests import functions_under_test
from routoo_core.sandbox.probes import results_digest
from routoo_core.sandbox.processes import PLACES, sandbox_place
from routoo_core.scoring.graders import Code
from routoo_integrations.cli import app

PROBLEM = sandbox_problem()
in_sandbox = pytest.mark.skipif(PROBLEM is not None, reason=f"no sandbox here: {PROBLEM}")


@in_sandbox
def test_code_is_tested_in_the_sandbox():
    assert passes("def add(a, b): return a + b", "assert add(1, 2) == 3")
    assert not passes("def add(a, b): return a - b", "assert add(1, 2) == 3")
    assert passes("import json, math, re, collections", "assert math.pi > 3")


@in_sandbox
def test_no_more_runs_than_the_machine_has_places_for():
    with ExitStack() as places, ThreadPoolExecutor() as threads:
        for _ in range(PLACES):
            places.enter_context(sandbox_place())
        runs = [
            threads.submit(passes, "x = 1", "assert x == 1"),
            threads.submit(results_digest, "x = 1", ("x",)),
        ]
        assert not wait(runs, timeout=1).done
        places.close()
        assert [bool(run.result()) for run in runs] == [True, True]


@in_sandbox
def test_it_writes_files_that_nobody_sees(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "open('f', 'w').write('x'); open('/f', 'w').write('x')"
    assert passes(code, "assert open('f').read() == 'x'")
    assert list(tmp_path.iterdir()) == []


@in_sandbox
@pytest.mark.parametrize("place", ["home", "file", "etc", "proc"])
def test_it_reads_nothing_of_this_machine(place, tmp_path):
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    paths = {
        "home": os.path.expanduser("~/.bashrc"),  # noqa: PTH111
        "file": str(tmp_path / "secret"),
        "etc": "/etc/passwd",
        "proc": f"/proc/{os.getpid()}/environ",
    }
    code = f"import os\nfound = os.path.exists({paths[place]!r})"
    assert passes(code, "assert not found")


@in_sandbox
def test_it_changes_nothing_that_it_can_read():
    code = f"""
import os
def attempt(path):
    try:
        open(path, "w")
        return True
    except OSError:
        return False
changed = [attempt({sys.executable!r}), attempt(os.__file__), attempt("/usr/x")]
"""
    assert passes(code, "assert changed == [False] * 3")


@in_sandbox
def test_it_sees_no_variable_no_other_process_and_no_network(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"""
import os
variables = [name for name in os.environ if name not in ("PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE", "PYTHONHASHSEED")]
processes = [name for name in os.listdir("/proc") if name.isdigit()]
addresses = open("/proc/net/tcp").read().count(":{port:04X}")
"""
        assert passes(code, "assert (variables, len(processes), addresses) == ([], 1, 0)")


@in_sandbox
@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True: os.write(1, b'x' * 65536)",
        "import sys\nwhile True: print('x' * 65536)",
        "import os\nfor fd in range(64):\n    try:\n        while True: os.write(fd, b'x' * 65536)\n"
        "    except OSError: pass",
    ],
)
def test_its_output_is_bounded(code):
    assert not passes(code, "pass", timeout_s=1)


@in_sandbox
def test_its_disk_is_bounded():
    code = """
import os
written = 0
try:
    for number in range(100):
        with open(f"f{number}", "wb") as file:
            written += file.write(bytes(8 << 20))
except OSError:
    pass
"""
    assert passes(code, f"assert written <= {namespaces.DISK_MB + 8} << 20")


@in_sandbox
@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nraise ValueError",
        "import signal\nfor number in range(1, 32):\n    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
    ],
)
def test_it_ends_when_its_time_is_over(code):
    started = time.monotonic()
    assert not passes(code, "pass", timeout_s=1)
    assert time.monotonic() - started < 15


@in_sandbox
@pytest.mark.parametrize(
    "code",
    [
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "import os; os.write(3, b'passed'); os._exit(0)",
    ],
)
def test_it_does_not_pass_by_leaving(code):
    assert not passes(code, "assert False")


FORGERIES = {
    "an object equal to everything": "class Any:\n    def __eq__(self, other): return True\ndef f(x): return Any()",
    "a number equal to everything": "class Any(int):\n    def __eq__(self, other): return True\n"
    "    __hash__ = int.__hash__\ndef f(x): return Any(1)",
    "a password from the frames": "import sys, os\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
    "        for value in list(frame.f_locals.values()):\n            if isinstance(value, bytes): os.write(3, value)\n"
    "        frame = frame.f_back\n    os._exit(0)",
    "other built-ins": "import builtins\nbuiltins.AssertionError = type('Quiet', (Exception,), {})\n"
    "builtins.abs = lambda x: 0\ndef f(x): return 1",
    "a reply of one's own": "import os, json\nfor fd in range(3, 20):\n    try: os.write(fd, b'passed\\n')\n"
    "    except OSError: pass\ndef f(x): return 1",
    "too long a result": "def f(x): return 'x' * (2 << 20)",
    "no end": "def f(x):\n    while True: yield x",
}


@in_sandbox
@pytest.mark.parametrize("code", FORGERIES.values(), ids=FORGERIES)
def test_a_program_cannot_claim_a_plain_test(code):
    assert not passes(code, "assert f(3) == 9\nassert abs(f(3) - 9) < 0.5", timeout_s=2)


@in_sandbox
@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("def f(x): return x * x", "assert f(3) == 9 and f(1.5) == 2.25\nassert f(10 ** 30) == 10 ** 60"),
        ("def f(x): return {x: [1, (2, 3)], None: {4}}", "assert f('a') == {'a': [1, (2, 3)], None: {4}}"),
        ("def f(x): x.sort()", "items = [3, 1, 2]\nassert f(items) is None\nassert items == [1, 2, 3]"),
        ("def f(x):\n    while x: yield x; x -= 1", "assert list(f(3)) == [3, 2, 1]"),
        (
            "def f(x): return x + 1",
            "def check(candidate):\n    for n in range(5):\n        assert candidate(n) == n + 1\ncheck(f)",
        ),
        ("def f(x): return x ** 0.5", "import math\nassert math.isclose(f(2), math.sqrt(2))"),
        ("def g(x): return x\ndef f(x): return g(x)", "assert [g(n) for n in (1, 2)] == [f(1), 2]"),
        ("def f(x): return dict.fromkeys(x).keys()", "assert list(f('ba')) == ['b', 'a']"),
        ("from fractions import Fraction\ndef f(x): return Fraction(1, x)", "assert f(2) == 0.5"),
        ("def f(*a, k=0): return b'x' * (len(a) + k)", "assert f(1, 2, k=1) == b'xxx'"),
    ],
)  # fmt: skip
def test_plain_tests_judge_as_they_would_in_one_process(code, tests):
    assert functions_under_test(tests)
    assert passes(code, tests)
    assert not passes("def f(*a, **k): return 7\ng = f", tests)


@pytest.mark.parametrize(
    "tests",
    [
        "assert Stack().pop() is None",
        "assert Point(1) == Point(1)",
        "assert f(1).x == 2",
        "assert LIMIT == 3",
        "try:\n    f(0)\nexcept ValueError:\n    pass",
        "assert f(lambda x: x) == 1",
        "a = [1]\nassert f(a) is a",
        "import os\nassert f(1) == 2",
        "from answer import f",
        "assert f(",
        "pass",
    ],
)
def test_tests_that_need_the_program_s_objects_run_beside_it(tests):
    assert functions_under_test(tests) == frozenset()


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.fractions() | st.decimals(allow_nan=False)
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
))  # fmt: skip
def test_plain_values_pass_between_processes_unchanged(value):
    passed = decode(json.loads(json.dumps(encode(value))))
    assert passed == value
    assert type(passed) is type(value)


@in_sandbox
@pytest.mark.parametrize("tests", ["assert f() == 1", "import os\nassert P(1) == P(x=1)"])
def test_a_program_is_a_module_of_its_own(tests):
    code = """
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class P:
    x: int
def f(): return P(1).x
"""
    assert passes(code, tests)
    assert results_digest(code, ("f()",)) == results_digest("def f(): return 1", ("f()",))


@in_sandbox
def test_two_runs_see_a_set_in_the_same_order():
    program = "def f(): print({'a', 'b', 'c', 'd', 'e'})"
    digest = results_digest(program, ("f()",))
    assert digest is not None
    assert {results_digest(program, ("f()",)) for _ in range(4)} == {digest}


@pytest.mark.parametrize("value", [np.bool_(True), np.int64(3), np.float32(0.5)])
def test_numbers_of_numpy_pass_as_plain_ones(value):
    assert encode(value) == value.item()
    assert type(encode(value)) is type(value.item())


def test_without_a_sandbox_nothing_is_run_unless_told(monkeypatch, tmp_path):
    monkeypatch.setattr(namespaces, "sandbox_problem", lambda: "it is forbidden")
    with pytest.raises(ConfigurationError, match=r"it is forbidden.*--unsafe"):
        passes("open('ran', 'w')", "pass")
    assert passes("x = 1", "assert x == 1", unsafe=True)
    assert Code(unsafe=True).score_text({"tests": "assert x == 1"}, "x = 1") == 1.0


def test_the_command_says_so_before_anything_is_asked(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(namespaces, "sandbox_problem", lambda: "it is forbidden")
    (tmp_path / "p.csv").write_text("prompt_id,prompt,tests\n1,add,pass\n", encoding="utf-8")
    (tmp_path / "experts.toml").write_text(
        '[experts.a]\nmodel = "a"\nbase_url = "http://127.0.0.1:1"\ninput_usd_per_1m = 1\n'
        "output_usd_per_1m = 1\n",
        encoding="utf-8",
    )
    arguments = ["score", "--prompts", "p.csv", "--grader", "code", "--allow-code"]
    done = CliRunner().invoke(app, [*arguments, "--budget", "1", "--out", "o.csv"])
    assert isinstance(done.exception, ConfigurationError)
    assert "--unsafe" in str(done.exception)

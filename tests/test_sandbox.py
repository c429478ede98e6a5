"""Code that models write does no harm, even if it means to."""

import os
import socket
import sys
import time

import pytest
from typer.testing import CliRunner

from routoo_core.errors import ConfigurationError
from routoo_core.scoring import sandbox
from routoo_core.scoring.code_tests import tests_pass as passes
from routoo_core.scoring.graders import Code
from routoo_core.scoring.sandbox import sandbox_problem
from routoo_integrations.cli import app

PROBLEM = sandbox_problem()
in_sandbox = pytest.mark.skipif(PROBLEM is not None, reason=f"no sandbox here: {PROBLEM}")


@in_sandbox
def test_code_is_tested_in_the_sandbox():
    assert passes("def add(a, b): return a + b", "assert add(1, 2) == 3")
    assert not passes("def add(a, b): return a - b", "assert add(1, 2) == 3")
    assert passes("import json, math, re, collections", "assert math.pi > 3")


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
variables = [name for name in os.environ if name not in ("PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE")]
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
    assert passes(code, f"assert written <= {sandbox.DISK_MB + 8} << 20")


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


def test_without_a_sandbox_nothing_is_run_unless_told(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox, "sandbox_problem", lambda: "it is forbidden")
    with pytest.raises(ConfigurationError, match=r"it is forbidden.*--unsafe"):
        passes("open('ran', 'w')", "pass")
    assert passes("x = 1", "assert x == 1", unsafe=True)
    assert Code(unsafe=True).score_text({"tests": "assert x == 1"}, "x = 1") == 1.0


def test_the_command_says_so_before_anything_is_asked(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sandbox, "sandbox_problem", lambda: "it is forbidden")
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

"""Runs every client of examples/gateway against a real gateway: python tests/frameworks/gateway_clients.py [PYTHON]

PYTHON is an interpreter that has the clients installed. An example whose client it lacks is skipped with a word. One
scripted endpoint plays both experts; each example has to print what only its tool, or the endpoint, can have said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from routoo_core.testing import FakeEndpoint, Reply

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "gateway"
SAID = "436"
ANSWER = "Zurich has 436000 inhabitants."
START_S = 60
RUN_S = 120
CONFIG = """
router = "general-fast"
[budget]
account = "clients"
limit = "1.00"
period = "day"
ledger = "sqlite:///routoo.db"
"""
EXPERT = """
[experts."{name}"]
base_url = "{url}"
capabilities = ["tools", "json_schema"]
"""


def scripted(body: dict) -> Reply:
    """Call the tool first, where there is one; then answer in the form that the client reads."""
    tools = [tool["function"]["name"] for tool in body.get("tools") or []]
    text = json.dumps(body["messages"])
    if "population" in tools and "436000" not in text:
        call = {"name": "population", "arguments": {"city": "Zurich"}}
        return Reply("", tool_calls=[call])
    if "final_answer" in tools:
        call = {"name": "final_answer", "arguments": {"answer": ANSWER}}
        return Reply("", tool_calls=[call])
    if "[[ ## answer ## ]]" in text:
        return Reply(f"[[ ## answer ## ]]\n{ANSWER}\n\n[[ ## completed ## ]]")
    return Reply(ANSWER)


@contextmanager
def gateway(folder: Path):
    """A gateway over a scripted endpoint; its address."""
    with FakeEndpoint() as endpoint:
        names = ("gpt-5-mini", "gpt-5.5")
        endpoint.replies = dict.fromkeys(names, scripted)
        experts = [EXPERT.format(name=name, url=endpoint.base_url) for name in names]
        (folder / "experts.toml").write_text("".join(experts))
        (folder / "routoo.toml").write_text(CONFIG)
        command = [sys.executable, "-m", "routoo_core", "serve", "--port", "8497"]
        environment = {**os.environ, "OPENAI_API_KEY": "any"}
        with subprocess.Popen(command, cwd=folder, env=environment) as server:
            try:
                wait_for("http://127.0.0.1:8497/health/ready")
                yield "http://127.0.0.1:8497"
            finally:
                server.terminate()


def wait_for(address: str) -> None:
    """Until it answers.

    Raises:
        TimeoutError: It does not.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(address)


def run(python: str, example: Path, address: str) -> str:
    """``ok``, ``skipped: …`` or ``FAILED``, and why."""
    environment = {**os.environ, "ROUTOO_URL": address, "ROUTOO_KEY": "any"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, str(example)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=RUN_S,
        check=False,
    )
    if SAID in done.stdout:
        return "ok"
    error = done.stderr.strip().splitlines()[-1:] or ["it said nothing of the answer"]
    if "ModuleNotFoundError" in error[0]:
        return f"skipped: {error[0]}"
    return f"FAILED: {error[0]}\n{done.stdout[-500:]}"


def main() -> None:
    """Print a line for each example; exit with 1 where one failed."""
    python = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    failed = False
    with tempfile.TemporaryDirectory() as folder, gateway(Path(folder)) as address:
        for example in sorted(EXAMPLES.glob("*.py")):
            outcome = run(python, example, address)
            failed = failed or outcome.startswith("FAILED")
            print(f"{example.stem}: {outcome}", flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()

"""How many calls a second the gateway serves with one worker and with two.

``python benchmarks/gateway_throughput.py`` (no network, no GPU). It needs ``nginx`` as the endpoint and ``wrk`` as the
caller: both are written in C, so that nearly all of the processors' time is the gateway's. Python's own would take
half of two cores. Predictions are faked. Rounds with one worker and with two take turns; the medians are compared.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from gateway import CONVERSATION, PATH, running, serve_workers

from routoo_core.testing import FakeEndpoint, Reply
from routoo_integrations.gateway.key_file import KeyFile
from routoo_integrations.gateway.keys import KeyStore, KeyTerms

ROUNDS = 5
WORKERS = (1, 2)
CALLERS = 32
WARM_UP_S, ROUND_S = 5, 8
NGINX = """
daemon off;
worker_processes 1;
error_log stderr;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            default_type application/json;
            return 200 '{reply}';
        }}
    }}
}}
"""
WRK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
wrk.body = '{body}'
"""


def check_programs() -> None:
    """Stop where a program is missing."""
    for program in ("nginx", "wrk"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed; on Debian: apt-get install nginx-light wrk")


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Wait until a port is listened on."""
    for _ in range(100):
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nginx does not listen on port {port}")


def recorded_reply() -> str:
    """The body of a whole reply, as the stand-in of the tests gives it."""
    from openai import OpenAI

    with FakeEndpoint() as endpoint:
        endpoint.replies["dear"] = Reply("It is fast.")
        client = OpenAI(base_url=endpoint.base_url, api_key="none")
        raw = client.chat.completions.with_raw_response.create(
            model="dear", messages=[{"role": "user", "content": "How fast is it?"}]
        )
        return json.dumps(json.loads(raw.text))


@contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """An endpoint that always gives the same reply; its port."""
    port = free_port()
    settings = folder / "nginx.conf"
    settings.write_text(NGINX.format(folder=folder, port=port, reply=recorded_reply()))
    process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(settings)])
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def calls_per_s(port: int, script: Path, seconds: int) -> float:
    """Calls a second that wrk makes.

    Raises:
        SystemExit: Some were not answered with 200.
    """
    callers = [f"--connections={CALLERS}", "--threads=1", "--timeout=10s", f"--duration={seconds}s"]
    address = f"http://127.0.0.1:{port}{PATH}"
    run = subprocess.run(
        ["wrk", *callers, f"--script={script}", address], capture_output=True, text=True, check=True
    )
    if "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
        sys.exit(run.stdout)
    match = re.search(r"Requests/sec:\s+([\d.]+)", run.stdout)
    assert match is not None, run.stdout
    return float(match[1])


def main() -> None:
    check_programs()
    rates = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = KeyStore(KeyFile(folder / "keys.db")).create("bench", KeyTerms(limit="100"))
        body = {"model": "routoo", "messages": CONVERSATION, "max_tokens": 50}
        script = folder / "call.lua"
        script.write_text(WRK.format(key=key, body=json.dumps(body)))
        with nginx(folder) as endpoint:
            for _ in range(ROUNDS):
                for workers in WORKERS:
                    with running(serve_workers, endpoint, name, workers) as gateway:
                        calls_per_s(gateway.port, script, WARM_UP_S)
                        rate = calls_per_s(gateway.port, script, ROUND_S)
                    rates[workers].append(rate)
                    print(f"{workers} workers: {rate:.0f} calls a second", flush=True)
    one, two = (median(rates[workers]) for workers in WORKERS)
    print(f"medians: {one:.0f} with one worker, {two:.0f} with two: {two / one:.2f} times")


if __name__ == "__main__":
    main()

"""Several workers serve at one address and spend one budget, also when one of them is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
from conftest import redis_in
from gateway_parts import HELLO, make_router
from typer.testing import CliRunner
from waiting import wait_until

from routoo_core.errors import ConfigurationError
from routoo_core.testing import Reply
from routoo_integrations.cli import app
from routoo_integrations.gateway.access import Access
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.key_file import KeyFile
from routoo_integrations.gateway.keys import KeyStore, KeyTerms
from routoo_integrations.gateway.server import GatewayServer

BODY = {"model": "routoo", "messages": HELLO, "max_tokens": 50}
PRICE = (
    "input_usd_per_1m = 1\noutput_usd_per_1m = 1\ncontext_window = 4096\nmax_output_tokens = 256\n"
)


@contextmanager
def serving(folder, workers, limit="1.00", config=None):
    """``routoo serve`` as a process of its own; its base address. ``config`` is a routoo.toml instead of a limit."""
    command = [sys.executable, "-m", "routoo_core", "serve", "--port", "0"]
    options = ["--config", "experts.toml", "--router", "general-fast", "--limit", limit]
    if config is not None:
        options = ["--config", config]
    running = subprocess.Popen(
        [*command, *options, "--workers", str(workers)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = running.stdout.readline()
        base_url = line.split(" at ")[1].split()[0]
        wait_until(lambda: is_live(base_url))
        yield running, base_url
    finally:
        running.terminate()
        assert running.wait(100) in {0, -signal.SIGTERM}


def is_live(base_url):
    try:
        return httpx.get(f"{base_url[:-3]}/health/live", timeout=1).is_success
    except httpx.TransportError:
        return False


def write_experts(folder, endpoint, names=("gpt-4o",)):
    address = f'base_url = "{endpoint.address}/v1"\n'
    tables = [f'[experts."{name}"]\n{address}{PRICE}' for name in names]
    (folder / "experts.toml").write_text("\n".join(tables), encoding="utf-8")


def children_of(process):
    """The ids of the processes that it has started and that serve."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(number) for number in children.split() if is_worker(number)]


def is_worker(number):
    """Whether a process serves; another child of its parent tracks what they share."""
    return "spawn_main" in Path(f"/proc/{number}/cmdline").read_text()


def test_a_worker_that_is_killed_is_replaced(endpoint, tmp_path):
    write_experts(tmp_path, endpoint)
    with serving(tmp_path, 2) as (process, base_url):
        first, second = children_of(process)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(set(children_of(process)) - {first, second}) == 1)
        for _ in range(10):
            url = f"{base_url}/chat/completions"
            assert httpx.post(url, json=BODY, timeout=60).status_code == 200
        page = f"{base_url[:-3]}/"
        wait_until(lambda: httpx.get(page).text.count("<details") == 10)  # of both workers


def test_workers_tell_common_figures_and_recognise_each_others_conversations(endpoint, tmp_path):
    endpoint.replies.update(dict.fromkeys(("gpt-4o", "gpt-4o-mini"), Reply("Fine, thanks.")))
    write_experts(tmp_path, endpoint, ("gpt-4o", "gpt-4o-mini"))
    (tmp_path / "routoo.toml").write_text(
        'router = "general-fast"\nexperts = "experts.toml"\npolicy = "best"\nswitch_margin = 0.9\n'
        '[budget]\nlimit = "1"\nledger = "sqlite:///routoo.db"\n'
    )
    opening = {**BODY, "model": "gpt-4o-mini"}
    said = {"role": "assistant", "content": "Fine, thanks."}
    story = {"role": "user", "content": "Please tell me a long story about a bear."}
    next_turn = {**BODY, "messages": [*HELLO, said, story]}
    other_said = {**said, "content": "Who are you?"}
    other_turn = {**BODY, "messages": [*HELLO, other_said, story]}
    with serving(tmp_path, 2, config="routoo.toml") as (process, base_url):
        address = base_url.removesuffix("/v1")

        def expert_of(body):
            response = httpx.post(f"{base_url}/chat/completions", json=body, timeout=60)
            assert response.status_code == 200, response.text
            return response.headers["routoo-expert"]

        wait_until(lambda: len(children_of(process)) == 2)
        assert expert_of(opening) == "gpt-4o-mini"
        time.sleep(0.5)
        assert {expert_of(next_turn) for _ in range(12)} == {"gpt-4o-mini"}
        assert expert_of(other_turn) == "gpt-4o"
        for _ in range(6):
            figures = httpx.get(f"{address}/metrics", timeout=60).text
            counts = re.findall(r"^routoo_calls_total.* (\d+)", figures, re.MULTILINE)
            assert sum(map(int, counts)) == 14


def test_the_process_that_starts_workers_leaves_calls_and_responses_to_them(endpoint, tmp_path):
    write_experts(tmp_path, endpoint)
    (tmp_path / "routoo.toml").write_text(
        'router = "general-fast"\nexperts = "experts.toml"\n[gateway.responses]\nkeep_days = 1\n'
        '[budget]\nlimit = "1"\nledger = "sqlite:///routoo.db"\n'
    )
    with serving(tmp_path, 2, config="routoo.toml") as (process, _):
        (worker, *_) = children_of(process)
        wait_until(lambda: "routoo.responses.db" in files_of(worker))
        assert not {"routoo.responses.db", "routoo.calls.db"} & files_of(process.pid)


def files_of(process_id):
    """The names of the files that a process has open."""
    names = set()
    for link in Path(f"/proc/{process_id}/fd").iterdir():
        names.add(Path(os.path.realpath(link)).name)
    return names


def test_workers_end_with_the_process_that_started_them(endpoint, tmp_path):
    write_experts(tmp_path, endpoint)
    command = [sys.executable, "-m", "routoo_core", "serve", "--config", "experts.toml"]
    options = ["--router", "general-fast", "--limit", "1", "--port", "0", "--workers", "2"]
    process = subprocess.Popen(
        [*command, *options], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    base_url = process.stdout.readline().split(" at ")[1].split()[0]
    wait_until(lambda: is_live(base_url))
    workers = children_of(process)
    assert len(workers) == 2
    process.kill()
    process.wait()
    wait_until(lambda: not any(Path(f"/proc/{worker}/exe").exists() for worker in workers))


def test_workers_without_a_shared_ledger_are_refused(tmp_path, endpoint, monkeypatch):
    write_experts(tmp_path, endpoint)
    (tmp_path / "routoo.toml").write_text(
        'router = "general-fast"\n[budget]\nlimit = "1"\nledger = "memory://"\n'
    )
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["serve", "--workers", "2"])
    assert isinstance(result.exception, ConfigurationError) or result.exit_code
    shown = result.output + str(result.exception)
    assert re.search(r"workers: several workers cannot share a ledger in memory", shown)


def test_gateways_that_share_redis_share_rates(endpoint, tmp_path):
    keys = KeyStore(KeyFile(tmp_path / "keys.db"))
    key = keys.create("alice", KeyTerms(rate="3/minute"))
    headers = {"Authorization": f"Bearer {key}"}
    with redis_in(tmp_path) as (url, redis):
        router = make_router(endpoint, ledger=url)
        assert Access(router, keys).shares_rates
        with (
            GatewayServer(Gateway(router, keys), port=0) as first,
            GatewayServer(Gateway(router, keys), port=0) as second,
        ):
            statuses = []
            for server in (first, second, first, second):
                url = f"{server.base_url}/chat/completions"
                statuses.append(httpx.post(url, json=BODY, headers=headers).status_code)
            assert statuses == [200, 200, 200, 429]
            redis.terminate()
            redis.wait()
            started = time.monotonic()
            refused = httpx.post(url, json=BODY, headers=headers, timeout=100)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "ledger_failed"
            assert time.monotonic() - started < 20

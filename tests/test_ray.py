"""The gateway on Ray Serve, and predictions on Ray Data, on a real Ray of this machine: ``make compat-ray``."""

import json
import os
import socket
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from gateway_parts import HELLO, bearer, events_of
from waiting import wait_until

from routoo_core.assignment.on_ray import RayPredictor
from routoo_core.assignment.predictions import predict_all
from routoo_core.errors import ConfigurationError, PredictionFailed
from routoo_core.loading import load_predictor
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.progress import SILENT, SilentProgress
from routoo_core.router import Router
from routoo_core.testing import FakeEndpoint
from routoo_integrations.cli import app as routoo
from routoo_integrations.gateway.key_server import KeyServer
from routoo_integrations.gateway.keys import KeyStore, KeyTerms

ray = pytest.importorskip("ray", reason="ray is not installed: make compat-ray")
pytestmark = pytest.mark.timeout(600)
NAMES = ("gpt-4o-mini", "claude-haiku-4-5")
START_S = 100


@pytest.fixture(scope="module")
def cluster():
    os.environ.setdefault(
        "RAY_raylet_start_wait_time_s", "300"
    )  # where other programs need the cores
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


# Serving


@pytest.fixture(scope="module")
def endpoint():
    with FakeEndpoint() as running:
        yield running


@pytest.fixture(scope="module")
def folder(endpoint, redis_server, tmp_path_factory):
    """routoo.toml with two experts, two replicas that serve and one that predicts."""
    folder = tmp_path_factory.mktemp("served")
    experts = ""
    for name in NAMES:
        experts += f'''
            [experts."{name}"]
            base_url = "{endpoint.base_url}"
            input_usd_per_1m = 1
            output_usd_per_1m = 1
        '''
    (folder / "experts.toml").write_text(experts)
    (folder / "routoo.toml").write_text(
        f'''
        router = "general-fast"
        [budget]
        account = "team"
        limit = "1.00"
        ledger = "{redis_server}"
        [gateway.ray]
        ingress_replicas = 2
        predictor_cpus = 0.5
        '''
    )
    return folder


@pytest.fixture(scope="module")
def key(redis_server):
    keys = KeyStore(KeyServer(redis_server))
    yield keys.create("alice", KeyTerms(limit="0.50"))
    keys.close()


@pytest.fixture(scope="module")
def address(cluster, folder, key):
    from ray import serve

    from routoo_integrations.gateway import ray_app

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(ray_app.app({"config": str(folder / "routoo.toml")}), name="routoo")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def chat(address, key, **fields):
    body = {"model": "routoo", "messages": HELLO, "max_tokens": 20, **fields}
    url = f"{address}/v1/chat/completions"
    return httpx.post(url, json=body, headers=bearer(key), timeout=START_S)


def test_calls_are_routed_and_booked_by_all_replicas(address, folder, key, endpoint):
    replies = [chat(address, key) for _ in range(20)]
    assert {reply.status_code for reply in replies} == {200}, replies[0].text
    first = replies[0]
    assert first.json()["choices"][0]["message"]["content"] == "The answer is four."
    assert first.headers["routoo-account"] == "alice"
    assert first.headers["routoo-expert"] in NAMES
    assert "predicted quality" in first.headers["routoo-why"]
    billed = 0
    for bill in endpoint.bills:
        billed += 1000 * (bill.tokens.prompt_tokens + bill.tokens.completion_tokens)
    router = Router.from_toml(folder / "routoo.toml")
    state = router.ledger.state(router.budget)
    assert (state.spent, state.held) == (billed, 0)


def test_a_stream_comes_in_pieces_and_ends(address, key):
    body = {"model": "routoo", "messages": HELLO, "max_tokens": 20, "stream": True}
    url = f"{address}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=bearer(key), timeout=START_S) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = events_of(response)
    assert events[-1].data == "[DONE]"
    texts = []
    for event in events[:-1]:
        for choice in json.loads(event.data)["choices"]:
            texts.append(choice["delta"].get("content") or "")
    assert "".join(texts) == "The answer is four."


def test_a_call_without_a_key_is_refused(address):
    assert chat(address, "sk-routoo-guess").status_code == 401


def test_a_predictor_replica_that_is_killed_is_replaced(address, key):
    assert chat(address, key).status_code == 200
    replica = next(
        actor
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if "#predictors#" in actor["name"]
    )
    ray.kill(ray.get_actor(replica["name"], replica["namespace"]), no_restart=True)
    prompts = iter(range(10_000))

    def is_answered():
        other = [{"role": "user", "content": f"What is {next(prompts)} + 1?"}]
        return chat(address, key, messages=other).status_code == 200

    wait_until(is_answered, START_S)


def test_a_ledger_that_replicas_cannot_share_is_refused(folder, key, redis_server, tmp_path):
    from routoo_integrations.gateway import ray_app

    text = (folder / "routoo.toml").read_text()
    path = tmp_path / "routoo.toml"
    path.write_text(text.replace(redis_server, "sqlite:///x.db"))
    (tmp_path / "experts.toml").write_text((folder / "experts.toml").read_text())
    with pytest.raises(ConfigurationError, match="replicas on Ray share their accounts in Redis"):
        ray_app.app({"config": str(path)})
    without_keys = f"{redis_server}?db=1"
    path.write_text(text.replace(redis_server, without_keys))
    with pytest.raises(ConfigurationError, match="routoo key create"):
        ray_app.app({"config": str(path)})
    with pytest.raises(ConfigurationError, match="give config=PATH"):
        ray_app.app({})


# Predicting for many prompts


class NotingProgress(SilentProgress):
    """Notes a bar's total and its steps."""

    @contextmanager
    def bar(self, description, total):
        self.total = total
        self.steps = []
        yield self.steps.append


@pytest.fixture(scope="module")
def prompts():
    return [f"What is {number} * {number % 7}? Explain each step." for number in range(300)]


def test_predictions_on_ray_are_those_of_this_machine(cluster, prompts):
    folder = find_router("general-fast")
    here = predict_all(load_predictor(folder, NAMES), prompts, SILENT)
    progress = NotingProgress()
    there = predict_all(RayPredictor(folder, NAMES), prompts, progress)
    np.testing.assert_array_equal(there, here)
    assert progress.total == sum(progress.steps) == len(prompts)
    assert len(progress.steps) > 1


def test_a_copy_that_fails_is_an_error(cluster, prompts, tmp_path):
    predictor = RayPredictor(find_router("general-fast"), NAMES)
    predictor._folder = tmp_path / "gone"
    with pytest.raises(PredictionFailed, match="a copy of the router on Ray failed"):
        predictor.predict_many(prompts, SILENT)


def test_the_command_predicts_on_ray(cluster, prompts, tmp_path):
    from typer.testing import CliRunner

    lines = ["prompt_id,prompt"]
    for number, prompt in enumerate(prompts):
        lines.append(f"p{number},{prompt}")
    (tmp_path / "p.csv").write_text("\n".join(lines))
    written = []
    for options in ([], ["--ray"]):
        out = tmp_path / f"{len(written)}.csv"
        arguments = ["predict", "--router", "general-fast", "--prompts", str(tmp_path / "p.csv")]
        for name in NAMES:
            arguments += ["--experts", name]
        result = CliRunner().invoke(routoo, [*arguments, "--out", str(out), *options])
        assert result.exit_code == 0, result.output
        written.append(out.read_text())
    assert written[0] == written[1]

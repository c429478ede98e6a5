"""Keys of the gateway are accounts: each spends its own money, with what it may do, and nobody calls without one."""

import json
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import openai
import pytest
from gateway_parts import (
    HELLO,
    bearer,
    make_router,
    post,
    sdk_for,
    secret_of,
    state_of,
    team_router,
)
from typer.testing import CliRunner

from routoo_core import Budget
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.errors import ConfigurationError
from routoo_core.testing import Reply
from routoo_integrations.cli import app
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.key_file import KeyFile
from routoo_integrations.gateway.keys import KeyStore, KeyTerms
from routoo_integrations.gateway.server import GatewayServer

BODY = {"model": "routoo", "messages": HELLO}


@pytest.fixture
def router(endpoint):
    return team_router(endpoint)


@pytest.fixture
def server(router, keys):
    with GatewayServer(Gateway(router, keys), port=0) as running:
        yield running


def spent(router, account):
    """What an account has spent, nano-USD."""
    return {state.account: state.spent for state in router.ledger.accounts()}.get(account, 0)


# Who may call


def test_from_the_first_key_on_nobody_calls_without(server, keys, endpoint):
    assert post(server, BODY).status_code == 200
    key = keys.create("alice", KeyTerms())
    for headers in (
        {},
        bearer("sk-routoo-guess"),
        bearer(f"{key}x"),
        {"x-api-key": "a"},
    ):
        for method, path in (
            ("POST", "/v1/chat/completions"),
            ("GET", "/v1/models"),
        ):
            response = httpx.request(method, f"{server.address}{path}", json=BODY, headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
    assert len(endpoint.requests) == 1
    assert post(server, BODY, headers=bearer(key)).status_code == 200
    assert post(server, BODY, headers={"x-api-key": key}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8484"},
    ],
)
def test_without_keys_no_web_page_of_somebody_else_spends_money(server, endpoint, headers):
    """A browser sends such requests for any page that is open on this machine."""
    reply = post(server, BODY, headers=headers)
    assert reply.status_code == 403
    assert "routoo key create" in reply.json()["error"]["message"]
    assert endpoint.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1:5173", "Sec-Fetch-Site": "same-site"},
        {"Host": "localhost:8484"},
        {"Host": "[::1]:8484"},
    ],
)
def test_without_keys_this_machines_own_pages_and_programs_are_answered(server, headers):
    assert post(server, BODY, headers=headers).status_code == 200


def test_with_a_key_a_page_of_any_origin_is_answered(server, keys):
    headers = {**bearer(keys.create("alice", KeyTerms())), "Origin": "https://app.example"}
    assert post(server, BODY, headers=headers).status_code == 200


def test_the_clients_own_error_is_one_of_authentication(server, keys):
    keys.create("alice", KeyTerms())
    with sdk_for(server) as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(**BODY)


def test_a_secret_is_stored_nowhere(server, keys, caplog, capfd):
    key = keys.create("alice", KeyTerms())
    post(server, BODY, headers=bearer(key))
    secret = secret_of(key)
    for path in keys.storage.path.parent.iterdir():
        assert secret.encode() not in path.read_bytes()
    printed = capfd.readouterr()
    assert secret not in caplog.text + printed.out + printed.err + repr(keys.list_keys())
    assert oct(keys.storage.path.stat().st_mode & 0o777) == "0o600"


def test_a_revoked_key_opens_nothing_in_a_running_gateway(server, keys, tmp_path):
    key = keys.create("alice", KeyTerms())
    assert post(server, BODY, headers=bearer(key)).status_code == 200
    elsewhere = KeyStore(KeyFile(tmp_path / "routoo.keys.db"))
    elsewhere.revoke("alice")
    refused = post(server, BODY, headers=bearer(key))
    assert refused.status_code == 401
    assert "is revoked" in refused.json()["error"]["message"]
    assert post(server, BODY).status_code == 401  # it is not open again


def test_a_key_expires(server, keys, clock):
    key = keys.create("alice", KeyTerms(), expires_at=clock() + 60)
    assert post(server, BODY, headers=bearer(key)).status_code == 200
    clock.advance(61)
    assert "expired" in post(server, BODY, headers=bearer(key)).json()["error"]["message"]
    keys.expire("alice", None)
    assert post(server, BODY, headers=bearer(key)).status_code == 200


def test_a_rotated_key_replaces_the_old_one_after_its_grace(server, keys, clock, router):
    old = keys.create("alice", KeyTerms(limit="1"))
    new = keys.rotate("alice", grace_s=60)
    assert post(server, BODY, headers=bearer(old)).status_code == 200
    assert post(server, BODY, headers=bearer(new)).status_code == 200
    clock.advance(61)
    assert post(server, BODY, headers=bearer(old)).status_code == 401
    assert post(server, BODY, headers=bearer(new)).status_code == 200
    assert spent(router, "alice") == 3 * 220_000


def test_a_rotation_without_grace_ends_the_old_key_at_once(server, keys):
    old = keys.create("alice", KeyTerms())
    keys.rotate("alice")
    assert post(server, BODY, headers=bearer(old)).status_code == 401


def test_without_the_file_of_its_keys_nobody_calls(server, keys, endpoint):
    keys.create("alice", KeyTerms())
    keys.close()
    assert post(server, BODY).status_code == 503
    assert not endpoint.requests


# Whose money it is


def test_a_key_spends_its_own_money_within_its_team(server, keys, router):
    alice = keys.create("alice", KeyTerms(limit="0.05"))
    reply = post(server, BODY, headers=bearer(alice))
    assert reply.headers["routoo-account"] == "alice"
    assert reply.headers["routoo-remaining-usd"] == "0.049780000"
    assert spent(router, "alice") == spent(router, "team") == 220_000


def test_a_key_without_money_is_refused_while_others_go_on(server, keys):
    alice = keys.create("alice", KeyTerms(limit="0.00001"))
    bob = keys.create("bob", KeyTerms(limit="0.05"))
    refused = post(server, BODY, headers=bearer(alice))
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "insufficient_quota"
    assert refused.json()["error"]["account"] == "alice"
    assert post(server, BODY, headers=bearer(bob)).status_code == 200


def test_an_account_of_the_file_has_the_limit_that_stands_there(endpoint, keys):
    member = Budget(account="alice", limit="0.00001")
    budget = Budget(account="team", limit="0.10", members=(member,))
    router = make_router(endpoint, budget=budget)
    key = keys.create("alice", KeyTerms())
    with GatewayServer(Gateway(router, keys), port=0) as server:
        assert post(server, BODY, headers=bearer(key)).status_code == 429


def test_a_hundred_calls_of_nested_keys_at_once_stay_within_the_teams_limit(
    endpoint, keys, tmp_path
):
    endpoint.replies["cheap"] = Reply("word " * 50, delay_s=0.05)
    budget = Budget(account="team", limit="0.0009")
    router = make_router(endpoint, budget=budget, ledger=f"sqlite:///{tmp_path}/l.db")
    secrets = [keys.create(name, KeyTerms(limit="0.0006")) for name in ("alice", "bob")]
    body = {"model": "cheap", "messages": HELLO, "max_tokens": 50}

    def call(number):
        return post(server, body, headers=bearer(secrets[number % 2])).status_code

    with GatewayServer(Gateway(router, keys), port=0) as server, ThreadPoolExecutor(100) as pool:
        statuses = list(pool.map(call, range(100)))
    billed = sum(
        bill.tokens.prompt_tokens + bill.tokens.completion_tokens for bill in endpoint.bills
    )
    assert set(statuses) == {200, 429}
    assert state_of(router).spent == billed * 1000 <= 900_000
    assert spent(router, "alice") + spent(router, "bob") == billed * 1000
    assert max(spent(router, "alice"), spent(router, "bob")) <= 600_000
    assert all(state.held == 0 for state in router.ledger.accounts())


# What a key may do


def test_a_key_is_answered_by_its_experts_alone(server, keys):
    key = keys.create("alice", KeyTerms(experts=("che*",)))
    assert post(server, BODY, headers=bearer(key)).headers["routoo-expert"] == "cheap"
    for body, headers in (({**BODY, "model": "dear"}, {}), (BODY, {"Routoo-Expert": "dear"})):
        refused = post(server, body, headers={**bearer(key), **headers})
        assert refused.status_code == 403
    unknown = post(server, {**BODY, "model": "nobody"}, headers=bearer(key))
    assert "dear" not in unknown.text
    models = httpx.get(f"{server.base_url}/models", headers=bearer(key)).json()["data"]
    names = [model["id"] for model in models]
    assert "cheap" in names
    assert "dear" not in names


def test_a_keys_policy_ranks_its_calls_and_no_other(server, keys):
    key = keys.create("alice", KeyTerms(policy="cheapest"))
    assert post(server, BODY, headers=bearer(key)).headers["routoo-expert"] == "cheap"
    refused = post(server, {**BODY, "model": "routoo/best"}, headers=bearer(key))
    assert refused.status_code == 403


def test_a_key_spends_no_other_accounts_money(server, keys, router):
    alice = keys.create("alice", KeyTerms())
    keys.create("bob", KeyTerms())
    for account in ("bob", "team", "alice-1"):
        headers = {**bearer(alice), "Routoo-Account": account}
        assert post(server, BODY, headers=headers).status_code == 403
    assert spent(router, "team") == 0


def test_a_key_may_let_accounts_within_its_own_pay(server, keys, router):
    key = keys.create("alice", KeyTerms(limit="0.05", accounts=("alice-*",)))
    headers = {**bearer(key), "Routoo-Account": "alice-7"}
    assert post(server, BODY, headers=headers).headers["routoo-account"] == "alice-7"
    for account in ("alice-7", "alice", "team"):
        assert spent(router, account) == 220_000


def test_a_key_calls_no_more_often_than_it_may(server, keys):
    key = keys.create("alice", KeyTerms(rate="2/minute"))
    bob = keys.create("bob", KeyTerms())
    statuses = [post(server, BODY, headers=bearer(key)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    refused = post(server, BODY, headers=bearer(key))
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["x-should-retry"] == "true"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert post(server, BODY, headers=bearer(bob)).status_code == 200


# The command line


@pytest.fixture
def folder(tmp_path, endpoint, monkeypatch):
    """A configuration with a team, and the current folder."""
    (tmp_path / "experts.toml").write_text(
        f"""
        [experts."gpt-4o-mini"]
        base_url = "{endpoint.base_url}"
        input_usd_per_1m = 0.15
        output_usd_per_1m = 0.6
        """
    )
    (tmp_path / "routoo.toml").write_text(
        """
        router = "general-fast"
        [budget]
        account = "team"
        limit = "5.00"
        """
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def routoo(*arguments):
    return CliRunner().invoke(app, ["key", *arguments])


def test_create_prints_the_key_once_and_keeps_its_digest_beside_the_ledger(folder):
    created = routoo("create", "alice", "--within", "team", "--limit", "1.00", "--json")
    assert created.exit_code == 0, created.output
    key = json.loads(created.stdout)["key"]
    store = KeyStore(KeyFile(folder / "routoo.keys.db"))
    assert store.find(key).account == "alice"
    assert key not in routoo("list", "--json").output
    (listed,) = json.loads(routoo("list", "--json").stdout)
    assert listed["limit_usd"] == "1.00"
    assert listed["state"] == "in use"


def test_rotate_revoke_and_expire_change_the_key(folder):
    old = json.loads(routoo("create", "alice", "--expires", "30d", "--json").stdout)["key"]
    new = json.loads(routoo("rotate", "alice", "--json").stdout)["key"]
    store = KeyStore(KeyFile(folder / "routoo.keys.db"))
    assert store.find(old) is None
    assert store.find(new).expires_at is not None
    assert routoo("expire", "alice", "never").exit_code == 0
    assert store.find(new).expires_at is None
    assert routoo("revoke", "alice").exit_code == 0
    assert not store.has_usable_keys
    assert "revoked" in routoo("list").stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--within", "staff"], "within: 'staff' is not declared"),
        (["--limit", "lots"], "limit"),
        (["--period", "run"], "period: 'run' is none"),
        (["--experts", "gpt-9"], "experts: 'gpt-9' is none; name some of gpt-4o-mini"),
        (["--policy", "luck"], "policy: 'luck' is unknown"),
        (["--policy", "paced"], "policy: 'paced' learns from all calls"),
        (["--rate", "often"], "rate: 'often' is none"),
        (["--expires", "soon"], "expires: 'soon' is not a time"),
    ],
)
def test_terms_that_mean_nothing_are_refused_before_a_key_is_made(folder, arguments, problem):
    result = routoo("create", "alice", *arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert problem in str(result.exception)
    assert json.loads(routoo("list", "--json").stdout) == []


def test_an_account_has_one_key(folder):
    routoo("create", "alice")
    again = routoo("create", "alice")
    assert "routoo key rotate alice" in str(again.exception)
    unknown = routoo("revoke", "bob")
    assert "'bob' has no key; those with one: alice" in str(unknown.exception)


def test_other_machines_are_not_served_without_keys(folder):
    command = [sys.executable, "-m", "routoo_core", "serve", "--host", "0.0.0.0", "--port", "0"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "routoo key create" in refused.stderr
    routoo("create", "alice")
    serving = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert "to whoever has a key at http://0.0.0.0:" in serving.stdout.readline()
    finally:
        serving.terminate()
        serving.wait(100)


def test_a_file_that_holds_no_keys_is_refused(tmp_path):
    (tmp_path / "routoo.keys.db").write_text(
        "not a database, but long enough to be read as one" * 9
    )
    with pytest.raises(ConfigurationError, match="the keys cannot be opened"):
        KeyStore(KeyFile(tmp_path / "routoo.keys.db"))


def test_digests_are_of_the_whole_key(keys):
    key = keys.create("alice", KeyTerms())
    with sqlite3.connect(keys.storage.path) as db:
        (digest,) = db.execute("SELECT digest FROM keys").fetchone()
    assert len(digest) == 32
    assert keys.find(key) is not None
    assert keys.find(key[:-1]) is None
    assert keys.find("") is None


@contextmanager
def serving(folder):
    """A gateway in a process of its own; its address."""
    command = [sys.executable, "-m", "routoo_core", "serve", "--port", "0"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split(" at ")[1].split("/v1")[0]
    finally:
        process.terminate()
        process.wait(100)


def test_two_gateways_that_share_a_ledger_stay_within_the_limit_together(folder, endpoint):
    endpoint.replies["gpt-4o-mini"] = Reply("word " * 50, delay_s=0.05)
    toml = (folder / "routoo.toml").read_text().replace("5.00", "0.0004")
    (folder / "routoo.toml").write_text(toml)
    made = [json.loads(routoo("create", name, "--json").stdout) for name in ("alice", "bob")]
    body = {"model": "routoo", "messages": HELLO, "max_tokens": 50}

    with serving(folder) as first, serving(folder) as second, ThreadPoolExecutor(50) as pool:

        def call(number):
            address = (first, second)[number % 2]
            headers = bearer(made[number // 2 % 2]["key"])
            url = f"{address}/v1/chat/completions"
            return httpx.post(url, json=body, headers=headers, timeout=60).status_code

        statuses = list(pool.map(call, range(100)))
    states = {state.account: state for state in SqliteLedger(folder / "routoo.db").accounts()}
    billed = sum(
        bill.tokens.prompt_tokens * 150 + bill.tokens.completion_tokens * 600
        for bill in endpoint.bills
    )
    assert set(statuses) == {200, 429}
    assert states["team"].spent == billed <= 400_000
    assert states["alice"].spent + states["bob"].spent == billed
    assert all(state.held == 0 for state in states.values())


def test_a_file_of_keys_that_is_broken_is_to_be_restored(tmp_path):
    path = tmp_path / "routoo.keys.db"
    path.write_text("no database at all, but text")
    with pytest.raises(ConfigurationError, match="restore it from a backup") as caught:
        KeyStore(KeyFile(path))
    assert "remove" not in str(caught.value)

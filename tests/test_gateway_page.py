"""The gateway's page: who may see what, and nothing from outside reaches it unescaped."""

import re
import sqlite3

import httpx
import pytest
from gateway_parts import (
    HELLO,
    bearer,
    make_router,
    post,
    secret_of,
    state_of,
    stream_events,
    team_router,
)
from waiting import wait_until

from routoo_core import Budget
from routoo_core.errors import LedgerError
from routoo_core.money import plain_usd
from routoo_core.selector import Lagrangian
from routoo_core.testing import Reply
from routoo_integrations.gateway.activity import MOST_CALLS, ActivityLog
from routoo_integrations.gateway.app import CALL_HEADER, Gateway
from routoo_integrations.gateway.keys import KeyTerms
from routoo_integrations.gateway.page import COOKIE
from routoo_integrations.gateway.server import GatewayServer

BODY = {"model": "routoo", "messages": HELLO}
HOSTILE = "<script>alert(1)</script>\"'&"


@pytest.fixture
def router(endpoint):
    return team_router(endpoint)


@pytest.fixture
def server(router, keys, tmp_path):
    activity = ActivityLog(tmp_path / "calls.db")
    with GatewayServer(Gateway(router, keys, activity=activity), port=0) as running:
        yield running


def browser_of(server):
    """A browser as far as headers and cookies go."""
    return httpx.Client(base_url=server.address, headers={"Origin": server.address})


def signed_in(server, key):
    browser = browser_of(server)
    reply = browser.post("/sign-in", data={"key": key})
    assert reply.status_code == 303
    return browser


# Without keys


def test_without_keys_this_machine_sees_accounts_experts_and_decisions(server, endpoint):
    endpoint.replies["dear"] = Reply(status=500)
    post(server, BODY)
    endpoint.replies.clear()
    stream_events(server, BODY)
    page = httpx.get(f"{server.address}/")
    assert page.status_code == 200
    text = page.text
    for shown in ("team", "$0.10 each", "dear", "cheap", "predicted quality 0.90", "failed"):
        assert shown in text
    assert "1 of 2" in text  # of dear's attempts one failed
    assert "Routed, 2 calls cost" in text


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_without_keys_no_other_site_sees_the_page(server, headers):
    reply = httpx.get(f"{server.address}/", headers=headers)
    assert reply.status_code == 403
    assert "team" not in reply.text


def test_the_page_runs_no_script_but_its_own_and_is_framed_by_nobody(server):
    for path in ("/", "/page/page.css", "/page/page.js"):
        headers = httpx.get(f"{server.address}{path}").headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    text = httpx.get(f"{server.address}/").text
    assert not re.search(r"<script(?! src=)|<style| style=| on\w+=", text)


# With keys


def test_from_the_first_key_on_the_page_asks_for_one(server, keys):
    keys.create("alice", KeyTerms())
    reply = httpx.get(f"{server.address}/")
    assert reply.status_code == 401
    assert "Sign in" in reply.text
    assert "team" not in reply.text
    refused = browser_of(server).post("/sign-in", data={"key": "sk-routoo-guess"})
    assert refused.status_code == 401
    assert COOKIE not in refused.cookies


def test_a_sign_in_is_kept_without_the_key(server, keys, tmp_path):
    key = keys.create("alice", KeyTerms())
    browser = browser_of(server)
    reply = browser.post("/sign-in", data={"key": key})
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    token = reply.cookies[COOKIE]
    assert key not in cookie
    assert browser.get("/").status_code == 200
    for path in tmp_path.iterdir():
        assert token.encode() not in path.read_bytes()
        assert secret_of(key).encode() not in path.read_bytes()
    assert key not in browser.get("/").text


def test_a_sign_in_calls_no_expert(server, keys, endpoint):
    """The cookie opens the page alone: what a browser sends by itself spends no money."""
    browser = signed_in(server, keys.create("alice", KeyTerms()))
    assert browser.post("/v1/chat/completions", json=BODY).status_code == 401
    assert endpoint.requests == []


@pytest.mark.parametrize("ending", ["sign out", "revoke", "rotate", "expire", "time"])
def test_a_sign_in_ends(server, keys, clock, ending):
    browser = signed_in(server, keys.create("alice", KeyTerms()))
    assert browser.get("/").status_code == 200
    if ending == "sign out":
        token = browser.cookies[COOKIE]
        assert browser.post("/sign-out").status_code == 303
        browser.cookies.set(COOKIE, token)
    elif ending == "revoke":
        keys.revoke("alice")
    elif ending == "rotate":
        keys.rotate("alice")
    elif ending == "expire":
        keys.expire("alice", clock() - 1)
    else:
        clock.advance(12 * 3600 + 1)
    assert browser.get("/").status_code == 401


def test_a_key_sees_its_own_account_and_calls_alone(server, keys):
    alice = keys.create("alice", KeyTerms(limit="0.05", accounts=("alice-*",)))
    bob = keys.create("bob", KeyTerms(limit="0.0357", experts=("cheap",)))
    ops = keys.create("ops", KeyTerms(is_admin=True))
    post(server, BODY, headers=bearer(alice))
    post(server, BODY, headers={**bearer(alice), "Routoo-Account": "alice-phone"})
    post(server, BODY, headers=bearer(bob))
    of_alice = signed_in(server, alice).get("/").text
    assert "alice-phone" in of_alice
    for hidden in ("bob", "team", "ops", "0.0357", 'action="limits"'):
        assert hidden not in of_alice
    assert of_alice.count("<details") == 2
    of_bob = signed_in(server, bob).get("/").text
    assert of_bob.count("<details") == 1
    assert "alice" not in of_bob
    assert "dear" not in of_bob
    of_ops = signed_in(server, ops).get("/").text
    assert of_ops.count("<details") == 3
    for shown in ("alice", "bob", "team", 'action="limits"'):
        assert shown in of_ops


# Limits


def test_a_key_for_embeddings_alone_sees_its_account(server, keys):
    post(server, BODY, headers=bearer(keys.create("alice", KeyTerms())))
    key = keys.create("bob", KeyTerms(experts=("text-embedding-3-small",)))
    page = signed_in(server, key).get("/")
    assert page.status_code == 200
    assert "bob" in page.text
    assert "dear" not in page.text


def test_an_administrator_changes_the_limit_of_a_key(server, keys, router):
    alice = keys.create("alice", KeyTerms(limit="0.05"))
    ops = signed_in(server, keys.create("ops", KeyTerms(is_admin=True)))
    changed = ops.post("/limits", data={"account": "alice", "limit": "0.000001"})
    assert changed.status_code == 303
    assert "$0.000001 each day" in ops.get("/").text
    router._limits._read_at = None  # limits are read twice a second
    refused = post(server, BODY, headers=bearer(alice))
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "insufficient_quota"


def test_a_limit_that_is_none_is_said_and_changes_nothing(server, keys, router):
    ops = signed_in(server, keys.create("ops", KeyTerms(is_admin=True)))
    for account, limit in (("team", HOSTILE), ("team", "-1"), (HOSTILE, "1")):
        reply = ops.post("/limits", data={"account": account, "limit": limit})
        assert reply.status_code == 400
        assert 'role="alert"' in reply.text
        assert "<script>alert" not in reply.text
    assert plain_usd(state_of(router).limit) == "$0.10"


def test_nobody_else_changes_a_limit(server, keys, router):
    alice = keys.create("alice", KeyTerms())
    ops = keys.create("ops", KeyTerms(is_admin=True))
    form = {"account": "team", "limit": "99"}
    assert httpx.post(f"{server.address}/limits", data=form).status_code == 403
    assert signed_in(server, alice).post("/limits", data=form).status_code == 403
    administrator = signed_in(server, ops)
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", ""):
        reply = administrator.post("/limits", data=form, headers={"Origin": origin})
        assert reply.status_code == 403
    assert plain_usd(state_of(router).limit) == "$0.10"


def test_a_limit_of_the_file_is_changed_in_it(endpoint, tmp_path):
    path = tmp_path / "routoo.toml"
    path.write_text('router = "x"\nexperts = "e.toml"\n\n[budgets.team]\nlimit = "0.10"\n')
    router = make_router(endpoint, budget=Budget(account="team", limit="0.10"))
    with GatewayServer(Gateway(router, config=path), port=0) as server:
        form = {"account": "team", "limit": "7.5"}
        assert browser_of(server).post("/limits", data=form).status_code == 303
        assert "$7.50 each" in httpx.get(f"{server.address}/").text
    assert 'limit = "7.5"' in path.read_text()


# What comes from outside


def test_names_from_outside_are_escaped(server, keys):
    keys.create(HOSTILE, KeyTerms(accounts=("*",)))
    ops = keys.create("ops", KeyTerms(is_admin=True, accounts=("*",)))
    post(server, BODY, headers={**bearer(ops), "Routoo-Account": HOSTILE + "2"})
    page = signed_in(server, ops).get("/", params={"baseline": HOSTILE}).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_no_prompt_and_no_reply_is_kept(server, endpoint, tmp_path):
    endpoint.replies["dear"] = Reply("Confidential answer")
    post(server, {"model": "routoo", "messages": [{"role": "user", "content": "My secret plan"}]})
    assert "dear" in httpx.get(f"{server.address}/").text
    for path in tmp_path.glob("calls.db*"):
        content = path.read_bytes()
        assert b"secret plan" not in content
        assert b"Confidential" not in content
        assert oct(path.stat().st_mode & 0o777) == "0o600"


# Refused calls


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ({"max_tokens": 250, "messages": HELLO * 40}, "429 insufficient_quota", "limit"),
        (
            {"messages": [{"role": "user", "content": "My secret plan " * 4000}]},
            "400 context_length_exceeded",
            "No expert&#39;s window takes the prompt.",
        ),
        ({"secret plan": 1}, "400 no_capable_expert", "No expert can serve what the call needs."),
    ],
)
def test_a_refused_call_is_shown_with_its_reason(endpoint, keys, change, code, reason):
    router = make_router(endpoint, budget=Budget(account="team", limit="0.0001"))
    with GatewayServer(Gateway(router, keys), port=0) as server:
        assert f"{post(server, {**BODY, **change}).status_code}" == code[:3]
        text = httpx.get(f"{server.address}/").text
    assert endpoint.requests == []
    assert code in text
    assert reason in text.partition("Refused calls")[2]
    assert "secret plan" not in text


def test_calls_that_all_experts_failed_are_shown_to_their_caller(server, keys, endpoint):
    alice = keys.create("alice", KeyTerms())
    bob = keys.create("bob", KeyTerms())
    ops = keys.create("ops", KeyTerms(is_admin=True))
    endpoint.replies.update({name: Reply(status=500) for name in ("cheap", "dear")})
    post(server, BODY, headers=bearer(alice))
    for key in (alice, ops):
        text = signed_in(server, key).get("/").text
        assert "503 all_experts_failed" in text
        assert "dear: " in text.partition("Refused calls")[2]
        assert "<details" not in text  # it is no decision, too
    assert "all_experts_failed" not in signed_in(server, bob).get("/").text
    (call,) = server.gateway.activity.recent("alice")
    assert not call.has_answer
    assert call.end.wait_s is None


def test_strangers_fill_no_list(server, keys):
    keys.create("alice", KeyTerms())
    post(server, BODY)
    assert server.gateway.activity.refusals() == []


# Over the day


def test_each_account_has_its_own_drawing(endpoint, keys):
    budget = Budget(account="team", limit="0.10")
    router = make_router(endpoint, budget=budget, policy=Lagrangian(5.0))
    with GatewayServer(Gateway(router, keys), port=0) as server:
        named = [keys.create(f"user{number}", KeyTerms()) for number in range(6)]
        ops = keys.create("ops", KeyTerms(is_admin=True))
        for key in named:
            for _ in range(2):
                post(server, BODY, headers=bearer(key))
        text = signed_in(server, ops).get("/").text
        own = signed_in(server, named[0]).get("/").text
    for number in range(6):
        assert f'aria-label="λ of user{number} over the day"' in text
    assert "λ of 2 more accounts" in text
    assert own.count("<figure>") == 1


# Feedback


def test_feedback_stands_beside_what_was_predicted(server):
    reply = post(server, BODY)
    call = reply.headers[CALL_HEADER]
    feedback = f"{server.base_url}/feedback"
    assert httpx.post(feedback, json={"call": call, "score": 0.25}).status_code == 200
    assert "0.25 (1 rated)" in httpx.get(f"{server.address}/").text
    assert httpx.post(feedback, json={"call": call, "score": "up"}).status_code == 200
    assert "1.00 (1 rated)" in httpx.get(f"{server.address}/").text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"call": "nobody", "score": 1}, 404),
        ({"call": 7, "score": 1}, 400),
        ({"call": "x", "score": 2}, 400),
        ({"call": "x"}, 400),
    ],
)
def test_feedback_that_says_nothing_is_refused(server, body, status):
    assert httpx.post(f"{server.base_url}/feedback", json=body).status_code == status


def test_feedback_is_of_ones_own_calls(server, keys):
    alice = keys.create("alice", KeyTerms())
    bob = keys.create("bob", KeyTerms())
    call = post(server, BODY, headers=bearer(alice)).headers[CALL_HEADER]
    body = {"call": call, "score": 1}
    feedback = f"{server.base_url}/feedback"
    assert httpx.post(feedback, json=body, headers=bearer(bob)).status_code == 404
    assert httpx.post(feedback, json=body, headers=bearer(alice)).status_code == 200


# The file of the last calls


def test_processes_share_the_last_calls(endpoint, tmp_path):
    for _ in range(2):
        activity = ActivityLog(tmp_path / "calls.db")
        with GatewayServer(Gateway(make_router(endpoint), activity=activity), port=0) as server:
            post(server, BODY)
            text = httpx.get(f"{server.address}/").text
    assert text.count("<details") == 2


def test_a_file_that_cannot_be_written_stops_no_call(server, tmp_path, caplog):
    post(server, BODY)
    assert "<details" in httpx.get(f"{server.address}/").text
    with sqlite3.connect(tmp_path / "calls.db") as other:
        other.execute("DROP TABLE calls")
    assert post(server, BODY).status_code == 200
    assert httpx.get(f"{server.address}/").status_code == 503
    assert post(server, BODY).status_code == 200
    assert "missing on the page" in caplog.text


def test_old_calls_are_forgotten(server, tmp_path):
    log = server.gateway.activity
    post(server, BODY)
    wait_until(log.recent)
    ended = log.recent()[0].end
    for number in range(MOST_CALLS + 5):
        log.note(type(ended)(f"c{number}", number, "", None, "", ended.record))
    assert len(log.recent()) <= MOST_CALLS
    assert log.recent()[0].end.id == f"c{MOST_CALLS + 4}"


def test_a_refresh_reads_what_is_new_alone(endpoint, tmp_path):
    log = ActivityLog(tmp_path / "calls.db")
    other = ActivityLog(tmp_path / "calls.db")
    with GatewayServer(Gateway(make_router(endpoint), activity=other), port=0) as server:
        calls = [post(server, BODY).headers[CALL_HEADER] for _ in range(3)]
        wait_until(lambda: len(other.recent()) == 3)  # which writes what waits
        assert len(log.recent()) == 3
        statements = []
        log._db.set_trace_callback(statements.append)
        before = log.recent()
        assert log.recent()[0] is before[0]
        other.rate(calls[0], 0.5)
        calls.append(post(server, BODY).headers[CALL_HEADER])
        wait_until(lambda: len(other.recent()) == 4)
        after = log.recent()
    assert [call.end.id for call in after] == calls[::-1]
    assert [call.score for call in after] == [None, None, None, 0.5]
    assert after[1] is before[0]
    assert any("number > 3" in statement for statement in statements)
    assert not any("number > 0 ORDER BY number" in s for s in statements if "FROM calls WHERE" in s)


def test_a_file_that_is_broken_is_named(tmp_path):
    log = ActivityLog(tmp_path / "calls.db")
    log._db.execute("DROP TABLE calls")
    with pytest.raises(LedgerError, match=r"calls\.db"):
        log.recent()

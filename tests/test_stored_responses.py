"""Responses that calls go on from: OpenAI's own SDK in front, and a store that each account sees its own part of."""

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import openai
import pytest
import redis
from conftest import redis_in
from gateway_parts import make_router, post, sdk_for, stream_events, team_router
from typer.testing import CliRunner
from waiting import wait_until

from routoo_core.budget.redis import RedisLedger
from routoo_core.errors import ConfigurationError
from routoo_core.testing import Reply
from routoo_integrations.cli import app
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.keys import KeyTerms
from routoo_integrations.gateway.problems import CallRefused
from routoo_integrations.gateway.response_file import PATIENCE_S, ResponseFile
from routoo_integrations.gateway.response_server import ResponseServer
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.gateway.settings import GatewaySettings
from routoo_integrations.gateway.stores import open_responses

PATH = "/v1/responses"
BODY = {"model": "routoo", "input": "My name is Ada."}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
DAY_S = 24 * 3600.0


@pytest.fixture
def response_file(tmp_path, clock):
    return ResponseFile(tmp_path / "routoo.responses.db", 30 * DAY_S, clock=clock)


@pytest.fixture(params=["file", "redis"])
def open_store(request, clock):
    """Opens an empty store of either kind."""

    def open_kind(keep_s, **settings):
        if request.param == "file":
            return ResponseFile(None, keep_s, clock=clock, **settings)
        redis_url = request.getfixturevalue("redis_url")
        return ResponseServer(redis_url, keep_s, clock=clock, **settings)

    return open_kind


@pytest.fixture
def store(open_store):
    return open_store(30 * DAY_S)


@pytest.fixture
def server(endpoint, keys, store):
    gateway = Gateway(team_router(endpoint), keys, responses=store)
    with GatewayServer(gateway, port=0) as running:
        yield running


@pytest.fixture
def client(server):
    with sdk_for(server) as sdk:
        yield sdk


def sent_messages(endpoint):
    return endpoint.requests[-1]["messages"]


# Going on from a response


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_call_goes_on_from_a_response(client, endpoint, is_streamed):
    endpoint.replies["dear"] = Reply("Hello, Ada.")
    first = client.responses.create(**BODY, instructions="Be brief.")
    assert first.store is True
    question = {"model": "routoo", "input": "What is my name?", "previous_response_id": first.id}
    endpoint.replies["dear"] = Reply("Ada.")
    if is_streamed:
        with client.responses.stream(**question) as stream:
            second = stream.get_final_response()
    else:
        second = client.responses.create(**question)
    assert second.previous_response_id == first.id
    assert sent_messages(endpoint) == [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello, Ada."}]},
        {"role": "user", "content": "What is my name?"},
    ]
    client.responses.create(model="routoo", input="Sure?", previous_response_id=second.id)
    assert len(sent_messages(endpoint)) == 5
    assert not {"store", "previous_response_id"} & set(endpoint.requests[-1])


def test_two_calls_may_go_on_from_one_response(client, endpoint):
    first = client.responses.create(**BODY)
    for word in ("One", "Two"):
        client.responses.create(model="routoo", input=word, previous_response_id=first.id)
        assert [message["role"] for message in sent_messages(endpoint)] == [
            "user",
            "assistant",
            "user",
        ]


def test_a_tool_loop_of_new_items_alone_stays_with_its_expert(client, endpoint):
    calls = [{"name": "weather", "arguments": {"city": city}} for city in ("Bern", "Rome")]
    endpoint.replies["cheap"] = Reply("", tool_calls=calls)
    reply = client.responses.create(model="cheap", input="How is the weather?", tools=[TOOL])
    endpoint.replies.clear()
    outputs = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "Sun"}
        for item in reply.output
    ]
    raw = client.responses.with_raw_response.create(
        model="routoo", input=outputs, tools=[TOOL], previous_response_id=reply.id
    )
    assert raw.headers["routoo-expert"] == "cheap"
    assert [message["role"] for message in sent_messages(endpoint)] == [
        "user",
        "assistant",
        "tool",
        "tool",
    ]


def test_what_is_not_to_be_stored_is_not(client, store):
    response = client.responses.create(**BODY, store=False)
    assert response.store is False
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="routoo", input="?", previous_response_id=response.id)
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"


def test_a_stream_that_breaks_off_stores_nothing(client, endpoint, store):
    endpoint.replies["dear"] = Reply(drop_after=2)
    last = list(client.responses.create(**BODY, stream=True))[-1]
    assert last.type == "response.failed"
    assert store.get("", last.response.id) is None


def test_the_id_may_be_named_as_soon_as_a_stream_has_ended(server, store):
    *_, last = stream_events(server, BODY, PATH)
    response = json.loads(last.data)["response"]
    assert store.get("", response["id"]).response == response


# Reading and deleting


def test_a_response_is_read_listed_and_deleted(client):
    items = [{"role": "user", "content": f"Part {number}"} for number in range(25)]
    given = client.responses.create(model="routoo", input=items)
    assert client.responses.retrieve(given.id).output_text == given.output_text
    listed = list(client.responses.input_items.list(given.id, order="asc", limit=10))
    assert [item.content[0].text for item in listed] == [item["content"] for item in items]
    last_first = client.responses.input_items.list(given.id)
    assert len(last_first.data) == 20
    assert last_first.data[0].content[0].text == "Part 24"
    client.responses.delete(given.id)
    for call in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(openai.NotFoundError, match="unknown, deleted or too old"):
            call(given.id)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?stream=true", "stream"),
        ("/input_items?limit=0", "limit"),
        ("/input_items?limit=1000", "limit"),
        ("/input_items?limit=x", "limit"),
        ("/input_items?order=up", "order"),
        ("/input_items?after=nobody", "after"),
    ],
)
def test_parameters_that_are_none_are_named(client, query, field):
    given = client.responses.create(**BODY)
    with pytest.raises(openai.BadRequestError, match=field):
        client.get(f"/responses/{given.id}{query}", cast_to=object)


@pytest.mark.parametrize("no_id", ["resp_\ud800", "resp_é", 7])
def test_what_can_be_no_id_is_refused(server, no_id):
    body = json.dumps({**BODY, "previous_response_id": no_id})
    reply = httpx.post(f"{server.address}{PATH}", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith("previous_response_id: give the id")


def test_an_address_of_any_characters_names_no_response(server):
    for method in ("GET", "DELETE"):
        for no_id in ("resp_%ED%A0%80", "resp_%C3%A9", "resp_%00"):
            assert httpx.request(method, f"{server.base_url}/responses/{no_id}").status_code == 404


def test_where_nothing_is_stored_the_error_says_what_to_set(endpoint):
    with GatewayServer(Gateway(make_router(endpoint)), port=0) as server, sdk_for(server) as client:
        response = client.responses.create(**BODY)
        assert response.store is False
        for call in (
            lambda: client.responses.create(**BODY, previous_response_id=response.id),
            lambda: client.responses.retrieve(response.id),
            lambda: client.responses.delete(response.id),
            lambda: client.responses.input_items.list(response.id),
        ):
            with pytest.raises(openai.APIStatusError, match="--store-responses") as caught:
                call()
            assert caught.value.code == "responses_not_stored"


# Whose they are


def test_the_responses_of_one_key_do_not_exist_for_another(server, keys, store):
    alice = keys.create("alice", KeyTerms())
    bob = keys.create("bob", KeyTerms())
    ops = keys.create("ops", KeyTerms(is_admin=True))
    with sdk_for(server, api_key=alice) as client:
        given = client.responses.create(**BODY)
        assert client.responses.retrieve(given.id).id == given.id
    for key in (bob, ops):
        with sdk_for(server, api_key=key) as client:
            for call in (
                client.responses.retrieve,
                client.responses.delete,
                client.responses.input_items.list,
            ):
                with pytest.raises(openai.NotFoundError):
                    call(given.id)
            with pytest.raises(openai.BadRequestError, match="not found"):
                client.responses.create(**BODY, previous_response_id=given.id)
    for method in ("GET", "DELETE"):
        with sdk_for(server) as client, pytest.raises(openai.AuthenticationError):
            client.responses._client.request(
                cast_to=object,
                options=openai._models.FinalRequestOptions(
                    method=method.lower(), url=f"/responses/{given.id}"
                ),
            )
    assert store.get("alice", given.id) is not None


def test_nobody_else_pushes_an_accounts_responses_out(open_store, clock):
    store = open_store(DAY_S, account_mb=0.01)
    store.put("alice", response("resp_a"), [], None)
    for number in range(200):
        clock.advance(1)
        store.put("bob", response(f"resp_{number}"), [], None)
    assert store.get("alice", "resp_a") is not None
    assert store.get("bob", "resp_0") is None
    assert store.get("bob", "resp_199") is not None


def response(response_id, text="x" * 200):
    return {
        "id": response_id,
        "output": [{"type": "message", "role": "assistant", "content": text}],
    }


# How long, and how many


def test_an_old_response_is_forgotten_unless_calls_go_on_from_it(open_store, clock):
    store = open_store(DAY_S)
    store.put("alice", response("resp_1"), [], None)
    store.put("alice", response("resp_other"), [], None)
    clock.advance(DAY_S - 60)
    assert len(store.conversation("alice", "resp_1")) == 1
    clock.advance(120)
    assert store.get("alice", "resp_1") is not None
    assert store.get("alice", "resp_other") is None
    assert store.conversation("alice", "resp_1")
    store.put("alice", response("resp_2"), [], "resp_1")
    clock.advance(DAY_S - 60)
    assert len(store.conversation("alice", "resp_2")) == 2


def test_what_is_too_old_takes_no_space(response_file, clock):
    response_file.put("alice", response("resp_1"), [], None)
    clock.advance(31 * DAY_S)
    response_file.put("alice", response("resp_2"), [], None)
    rows = response_file._db.execute("SELECT count(*) FROM responses").fetchone()
    assert rows == (1,)


def test_a_conversation_whose_beginning_is_gone_is_refused(client):
    first = client.responses.create(**BODY)
    second = client.responses.create(**BODY, previous_response_id=first.id)
    client.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError, match=first.id):
        client.responses.create(**BODY, previous_response_id=second.id)


def test_a_conversation_that_is_too_long_is_refused_unread(open_store):
    store = open_store(DAY_S)
    store.put("alice", response("resp_0"), [], None)
    for number in range(1, 5):
        text = "x" * 10_000_000
        store.put("alice", response(f"resp_{number}", text), [], f"resp_{number - 1}")
    assert len(store.conversation("alice", "resp_3")) == 4
    with pytest.raises(Exception, match="begin a new one"):
        store.conversation("alice", "resp_4")


# The file


def test_the_file_is_its_owners_and_deleted_text_is_in_it_no_more(response_file):
    response_file.put("alice", response("resp_1", "secret plan"), [], None)
    folder = response_file.path.parent
    assert any(b"secret plan" in path.read_bytes() for path in folder.glob("routoo.responses*"))
    response_file.delete("alice", "resp_1")
    for path in folder.glob("routoo.responses*"):
        assert b"secret plan" not in path.read_bytes()
        assert oct(path.stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize("use", ["read", "reopen"])
def test_old_text_is_overwritten_though_nothing_is_stored(response_file, clock, use):
    response_file.put("alice", response("resp_1", "secret plan"), [], None)
    clock.advance(31 * DAY_S)
    if use == "read":
        assert response_file.get("alice", "resp_1") is None
    else:
        ResponseFile(response_file.path, 30 * DAY_S, clock=clock).close()
    for path in response_file.path.parent.glob("routoo.responses*"):
        assert b"secret plan" not in path.read_bytes()


def test_text_that_somebody_still_reads_is_overwritten_later(response_file, clock):
    response_file.put("alice", response("resp_1", "secret plan"), [], None)
    reader = sqlite3.connect(response_file.path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM responses").fetchall()
    assert response_file.delete("alice", "resp_1")
    reader.close()
    clock.advance(120)
    assert response_file.get("alice", "resp_1") is None
    for path in response_file.path.parent.glob("routoo.responses*"):
        assert b"secret plan" not in path.read_bytes()


def test_a_locked_file_delays_calls_by_seconds_at_most(response_file, caplog):
    response_file.put("alice", response("resp_0"), [], None)
    with closing(sqlite3.connect(response_file.path)) as other, ThreadPoolExecutor(8) as threads:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        for number in range(1, 7):
            threads.submit(response_file.put, "alice", response(f"resp_{number}"), [], None)
        with pytest.raises(CallRefused, match="cannot be read now"):
            response_file.conversation("alice", "resp_0")
        threads.shutdown()
        assert time.monotonic() - started < 6 * PATIENCE_S  # not one wait for each of the seven
        other.rollback()
    assert caplog.text.count("could not be stored") == 6
    assert response_file.conversation("alice", "resp_0")


def test_workers_share_the_file(endpoint, tmp_path):
    previous = None
    for _ in range(2):
        store = ResponseFile(tmp_path / "shared.db", DAY_S)
        gateway = Gateway(make_router(endpoint), responses=store)
        with GatewayServer(gateway, port=0) as server, sdk_for(server) as client:
            previous = client.responses.create(**BODY, previous_response_id=previous).id
    assert len(sent_messages(endpoint)) == 3


def check_failing_store(endpoint, store, fail, caplog):
    """A store that fails loses no reply, and what cannot be read is said."""
    gateway = Gateway(make_router(endpoint), responses=store)
    with GatewayServer(gateway, port=0) as server:
        first = post(server, BODY, PATH).json()
        fail()
        assert post(server, BODY, PATH).status_code == 200
        assert "could not be stored" in caplog.text
        reply = post(server, {**BODY, "previous_response_id": first["id"]}, PATH)
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "responses_failed"
    assert "Ada" not in caplog.text


def test_a_file_that_fails_loses_no_reply_and_is_said(endpoint, response_file, caplog):
    def fail():
        with sqlite3.connect(response_file.path) as other:
            other.execute("DROP TABLE responses")

    check_failing_store(endpoint, response_file, fail, caplog)


# The server


def test_a_server_that_fails_loses_no_reply_and_is_said(endpoint, tmp_path, caplog):
    with redis_in(tmp_path) as (url, process):

        def fail():
            process.terminate()
            process.wait()

        check_failing_store(endpoint, ResponseServer(url, DAY_S), fail, caplog)


def test_gateways_on_several_machines_share_a_server(endpoint, redis_url):
    previous = None
    for _ in range(3):
        gateway = Gateway(make_router(endpoint), responses=ResponseServer(redis_url, DAY_S))
        with GatewayServer(gateway, port=0) as server, sdk_for(server) as client:
            previous = client.responses.create(**BODY, previous_response_id=previous).id
    assert len(sent_messages(endpoint)) == 5


def test_redis_forgets_a_response_by_itself(redis_url):
    store = ResponseServer(redis_url, 0.2)
    store.put("alice", response("resp_1", "secret plan"), [], None)
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert client.dbsize() == 4
        wait_until(lambda: client.dbsize() == 0, 20)
    assert store.get("alice", "resp_1") is None


def test_a_long_conversation_takes_no_more_than_its_turns(redis_url):
    store = ResponseServer(redis_url, DAY_S)
    previous = None
    with closing(redis.Redis.from_url(redis_url)) as client:
        sizes = []
        for number in range(200):
            store.put("alice", response(f"resp_{number}"), [], previous)
            previous = f"resp_{number}"
            (name,) = client.keys(f"*:{previous}")
            sizes.append(client.memory_usage(name))
    assert len(store.conversation("alice", previous)) == 200
    assert sizes[-1] < 1.5 * sizes[0]


def test_an_index_that_redis_has_evicted_does_not_stop_the_store(redis_url):
    store = ResponseServer(redis_url, DAY_S, account_mb=0.001)
    store.put("alice", response("resp_1"), [], None)
    with closing(redis.Redis.from_url(redis_url)) as client:
        (index,) = client.keys("*:use:*")
        client.delete(index)
        for number in range(2, 12):
            store.put("alice", response(f"resp_{number}"), [], None)
    assert store.get("alice", "resp_11") is not None


def test_a_file_of_before_is_named_where_responses_are_in_redis(tmp_path, redis_url, caplog):
    path = tmp_path / "routoo.responses.db"
    ResponseFile(path, DAY_S).close()
    settings = GatewaySettings.read("x", {"responses": {"keep_days": 2}}).responses
    open_responses(settings, RedisLedger(redis_url), tmp_path)
    assert str(path) in caplog.text


def test_nothing_is_left_of_a_deleted_response(redis_url):
    store = ResponseServer(redis_url, DAY_S)
    store.put("alice", response("resp_1", "secret plan"), [], None)
    assert store.delete("alice", "resp_1")
    assert not store.delete("alice", "resp_1")
    with closing(redis.Redis.from_url(redis_url)) as client:
        (total,) = client.keys()
        assert client.get(total) == b"0"


# Settings


def test_the_setting_stands_in_the_file_or_the_option():
    settings = GatewaySettings.read("x", {"responses": {"keep_days": 2}})
    assert settings.responses.keep_s == 2 * DAY_S
    assert settings.responses.account_mb == 100
    for wrong in ({"keep_days": 0}, {}, {"keep_days": 1, "size": 2}):
        with pytest.raises(ConfigurationError, match="x: responses"):
            GatewaySettings.read("x", {"responses": wrong})
    result = CliRunner().invoke(app, ["serve", "--store-responses", "soon"])
    assert "store-responses" in result.output + str(result.exception)

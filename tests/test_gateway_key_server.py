"""Keys in Redis, shared by gateways on several machines, act as those in a file; where Redis fails, nobody calls."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import redis
from conftest import redis_in
from gateway_parts import HELLO, bearer, post, secret_of, team_router
from typer.testing import CliRunner
from waiting import wait_until

from routoo_core.budget.redis import RedisLedger
from routoo_core.errors import ConfigurationError, LedgerError
from routoo_integrations.cli import app
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.key_file import KeyFile
from routoo_integrations.gateway.key_server import KeyServer
from routoo_integrations.gateway.keys import KeyStore, KeyTerms
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.gateway.sessions import SESSION_S, Sessions
from routoo_integrations.gateway.stores import open_keys

BODY = {"model": "routoo", "messages": HELLO}
TERMS = KeyTerms(limit="5", experts=("cheap",), accounts=("alice-*",), rate="60/minute")


@pytest.fixture(params=["file", "redis"])
def open_store(request, tmp_path, clock):
    """Opens the keys anew, as another process does."""
    stores = []

    def open_kind():
        if request.param == "file":
            storage = KeyFile(tmp_path / "routoo.keys.db")
        else:
            storage = KeyServer(request.getfixturevalue("redis_url"))
        stores.append(KeyStore(storage, clock))
        return stores[-1]

    yield open_kind
    for store in stores:
        store.close()


@pytest.fixture
def keys(redis_url):
    store = KeyStore(KeyServer(redis_url))
    yield store
    store.close()


# Wherever they are kept


def test_a_key_is_found_with_its_terms(open_store):
    key = open_store().create("alice", TERMS, expires_at=9e9)
    access_key = open_store().find(key)
    assert access_key.account == "alice"
    assert access_key.terms == TERMS
    assert access_key.expires_at == 9e9
    assert open_store().find(key[:-1]) is None


def test_an_account_has_one_key(open_store):
    store = open_store()
    store.create("alice", KeyTerms())
    with pytest.raises(ConfigurationError, match="routoo key rotate alice"):
        store.create("alice", KeyTerms())


def test_of_two_keys_made_at_once_one_is_refused(open_store):
    stores = [open_store() for _ in range(4)]
    assert not stores[0].has_keys

    def create(store):
        try:
            return store.create("alice", KeyTerms())
        except ConfigurationError:
            return None

    with ThreadPoolExecutor(4) as threads:
        made = [key for key in threads.map(create, stores) if key is not None]
    assert len(made) == 1
    assert open_store().find(made[0]).account == "alice"


def test_a_rotated_key_opens_for_its_grace_alone(open_store, clock):
    store = open_store()
    old = store.create("alice", KeyTerms())
    new = store.rotate("alice", grace_s=60)
    assert store.find(old).id == store.find(new).id
    clock.advance(61)
    assert store.find(old) is None
    assert store.find(new) is not None


def test_a_secret_that_was_revoked_opens_no_more_after_a_rotation_with_grace(open_store):
    store = open_store()
    leaked = store.create("alice", KeyTerms())
    store.revoke("alice")
    new = store.rotate("alice", grace_s=3600)
    assert store.find(leaked) is None
    assert store.find(new).is_usable(store.clock())


def test_revoked_and_expired_keys_are_not_usable(open_store, clock):
    store = open_store()
    store.create("alice", KeyTerms())
    store.create("bob", KeyTerms())
    assert not store.revoke("alice").is_usable(clock())
    assert store.expire("bob", clock() + 10).is_usable(clock())
    clock.advance(11)
    assert store.has_keys
    assert not store.has_usable_keys
    assert not open_store().has_usable_keys
    store.rotate("alice")
    assert store.has_usable_keys


def test_keys_are_listed_by_account(open_store):
    store = open_store()
    for account in ("carol", "alice", "bob"):
        store.create(account, KeyTerms())
    assert [key.account for key in store.list_keys()] == ["alice", "bob", "carol"]


def test_every_process_knows_a_sign_in_until_it_ends(open_store, clock):
    store = open_store()
    key = store.create("alice", KeyTerms())
    first = Sessions(store)
    token = first.begin(key)
    assert first.begin("sk-routoo-nobody") is None
    elsewhere = Sessions(open_store())
    assert elsewhere.key_of(token).account == "alice"
    elsewhere.end(token)
    assert first.key_of(token) is None
    token = first.begin(key)
    clock.advance(SESSION_S + 1)
    assert first.key_of(token) is None


def test_many_sign_in_at_once(open_store):
    store = open_store()
    key = store.create("alice", KeyTerms())
    sessions = Sessions(store)
    with ThreadPoolExecutor(8) as threads:
        tokens = list(threads.map(sessions.begin, [key] * 80))
    assert all(sessions.key_of(token).account == "alice" for token in tokens)


def test_terms_that_a_later_version_added_are_no_error():
    text = json.dumps({**json.loads(TERMS.to_json()), "favourite_colour": "green"})
    assert KeyTerms.from_json(text) == TERMS


def test_keys_that_were_there_before_must_be_there_in_each_process(tmp_path):
    keys = KeyStore(KeyFile(tmp_path / "routoo.keys.db"), must_exist=True)
    with pytest.raises(LedgerError, match="gone"):
        _ = keys.has_keys
    keys.close()


# In Redis


@pytest.mark.parametrize("lost", ["{routoo}:gateway:keys", "{routoo}:gateway:keys:revision"])
def test_keys_that_are_lost_in_part_are_not_taken_for_none(keys, redis_url, lost):
    keys.create("alice", KeyTerms())
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert client.delete(lost) == 1
    with pytest.raises(LedgerError, match="lost keys"):
        KeyServer(redis_url)


def test_an_older_state_of_the_server_does_not_undo_a_revocation(keys, redis_url):
    keys.create("alice", KeyTerms())
    names = [f"{{routoo}}:gateway:keys{end}" for end in ("", ":revision", ":mark")]
    with closing(redis.Redis.from_url(redis_url)) as client:
        snapshot = [client.dump(name) for name in names]
        keys.revoke("alice")
        for name, content in zip(names, snapshot, strict=True):
            client.restore(name, 0, content, replace=True)
        with pytest.raises(LedgerError, match="older state"):
            keys.create("bob", KeyTerms())
    assert not keys.has_usable_keys


def test_a_key_that_cannot_be_read_is_said_and_the_others_stay_known(keys, redis_url, caplog):
    key = keys.create("alice", KeyTerms())
    with closing(redis.Redis.from_url(redis_url)) as client:
        client.hset("{routoo}:gateway:keys", "odd", '{"id": "odd"}')
        client.set("{routoo}:gateway:keys:mark", "changed")
        wait_until(lambda: "cannot be read" in caplog.text, 20)
        assert keys.find(key) is not None
        client.hdel("{routoo}:gateway:keys", "odd")
    keys.create("bob", KeyTerms())
    assert len(keys.list_keys()) == 2


def test_a_change_is_soon_known_everywhere(keys, redis_url):
    elsewhere = KeyStore(KeyServer(redis_url))
    assert not elsewhere.has_keys
    key = keys.create("alice", KeyTerms())
    wait_until(lambda: elsewhere.find(key) is not None, 20)
    revision = elsewhere.revision
    keys.revoke("alice")
    wait_until(lambda: not elsewhere.has_usable_keys, 20)
    assert elsewhere.revision != revision
    elsewhere.close()


def test_no_secret_is_in_redis(keys, redis_url):
    key = keys.create("alice", KeyTerms())
    token = Sessions(keys).begin(key)
    with closing(redis.Redis.from_url(redis_url, decode_responses=True)) as client:
        content = ""
        for name in client.scan_iter():
            kind = client.type(name)
            value = client.hgetall(name) if kind == "hash" else client.get(name)
            content += f"{name} {value}"
    assert "alice" in content
    assert secret_of(key) not in content
    assert token not in content


def test_a_server_that_lost_its_keys_does_not_open_the_gateway(endpoint, keys, redis_url):
    key = keys.create("alice", KeyTerms())
    with (
        GatewayServer(Gateway(team_router(endpoint), keys), port=0) as server,
        closing(redis.Redis.from_url(redis_url)) as client,
    ):
        assert post(server, BODY, headers=bearer(key)).status_code == 200
        client.flushall()
        with pytest.raises(LedgerError, match="lost keys"):
            keys.create("bob", KeyTerms())
        assert post(server, BODY).status_code == 401


def test_keys_that_are_out_of_date_open_nothing(tmp_path):
    with redis_in(tmp_path) as (url, process):
        keys = KeyStore(KeyServer(url, outdated_s=2))
        key = keys.create("alice", KeyTerms())
        process.terminate()
        process.wait()

    def is_refused():
        try:
            keys.find(key)
        except LedgerError:
            return True
        return False

    wait_until(is_refused, 30)
    with pytest.raises(LedgerError, match="check that the server runs"):
        keys.create("bob", KeyTerms())
    keys.close()


# Beside the ledger


@pytest.fixture
def folder(tmp_path, endpoint, redis_url, monkeypatch):
    """A pool whose ledger is in Redis, with an account for a team."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experts.toml").write_text(
        f'[experts.cheap]\nmodel = "gpt-4o-mini"\nbase_url = "{endpoint.base_url}"\n'
    )
    (tmp_path / "routoo.toml").write_text(
        'router = "general-fast"\nexperts = "experts.toml"\n'
        f'[budget]\naccount = "team"\nlimit = "1"\nledger = "{redis_url}"\n'
    )
    return tmp_path


def routoo(*arguments):
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_command_line_keeps_keys_with_a_ledger_in_redis(folder, redis_url):
    made = json.loads(routoo("key", "create", "alice", "--json").stdout)
    assert not list(folder.glob("*.keys.db"))
    keys = open_keys(RedisLedger(redis_url), folder)
    assert keys.find(made["key"]).account == "alice"
    routoo("key", "revoke", "alice")
    (listed,) = json.loads(routoo("key", "list", "--json").stdout)
    assert listed["state"] == "revoked"
    keys.close()


def test_a_file_of_keys_beside_a_ledger_in_redis_is_not_overlooked(folder, redis_url):
    file = KeyStore(KeyFile(folder / "routoo.keys.db"))
    file.create("alice", KeyTerms())
    file.close()
    with pytest.raises(ConfigurationError, match="routoo key create"):
        open_keys(RedisLedger(redis_url), folder)


def test_an_empty_file_of_keys_beside_a_ledger_in_redis_is_no_obstacle(folder, redis_url):
    KeyFile(folder / "routoo.keys.db").close()
    keys = open_keys(RedisLedger(redis_url), folder)
    assert not keys.has_keys
    keys.close()

"""No error, log or repr shows a password of a ledger's address or any part of a key."""

import logging
import traceback

import pytest

from routoo_core import Budget, Expert, Pool
from routoo_core.config import build_router, open_ledger, read_config
from routoo_core.errors import ConfigurationError
from routoo_core.options import RouterOptions
from routoo_core.redaction import has_password, looks_like_key, redacted_url
from routoo_core.router import Router
from routoo_core.testing import FakePredictor
from routoo_integrations import cli
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

SECRET = "Pa55-w0rd-nobody-may-see"
KEYS = (
    "sk-proj-Ab12Cd34Ef56Gh78Ij90Kl12",
    "gsk_Ab12Cd34Ef56Gh78Ij90Kl12Mn34",
    "AIzaSyAb12Cd34Ef56Gh78Ij90Kl12Mn",
    "0123456789abcdef0123456789abcdef",
    "Bearer abcdef123456",
)


def shown_by(error):
    """All that a log of an error would hold, with its causes."""
    return "".join(traceback.format_exception(error)) + repr(error)


def parts_of(secret):
    """The secret, and pieces of it that are long enough to be told."""
    return [secret[start : start + 8] for start in range(0, len(secret) - 7, 4)]


def assert_hidden(text, *secrets):
    for secret in secrets:
        for part in parts_of(secret):
            assert part not in text, text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://:{SECRET}@host:6379/0", "redis://***@host:6379/0"),
        (f"redis://user:{SECRET}@host", "redis://***@host"),
        (f"unix://:{SECRET}@/tmp/redis.sock", "unix://***@/tmp/redis.sock"),
        (f"redis://:a/b#c?{SECRET}@host/0", "redis://***@host/0"),
        (f"redis://host/0?password={SECRET}&db=1", "redis://host/0?password=***&db=1"),
        (f"https://host/v1?api-key={SECRET}", "https://host/v1?api-key=***"),
        (f"user:{SECRET}@host", "***@host"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("sqlite:///routoo.db", "sqlite:///routoo.db"),
        ("redis://:${PASSWORD}@host/0", "redis://:${PASSWORD}@host/0"),
        ("redis://user:${PASSWORD}@host/0", "redis://user:${PASSWORD}@host/0"),
        ("redis://host/0?password=${PASSWORD}", "redis://host/0?password=${PASSWORD}"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url, shown):
    assert redacted_url(url) == shown
    assert redacted_url(shown) == shown


def test_a_users_name_is_no_password():
    assert not has_password("redis://user@host/0")
    assert has_password(f"redis://user:{SECRET}@host/0")
    assert has_password("https://sk-Ab12Cd34Ef56@host/v1")


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_recognised(key):
    assert looks_like_key(key)


@pytest.mark.parametrize(
    "text", ["gpt-4o", "https://api.openai.com/v1", "60s", "max_output_tokens", "best"]
)
def test_words_are_no_keys(text):
    assert not looks_like_key(text)


# Ledgers


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@127.0.0.1:9/0",
        f"redis://user:{SECRET}@127.0.0.1:9/0",
        f"redis://127.0.0.1:9/0?password={SECRET}",
        f"rediss://:{SECRET}@127.0.0.1:9/0",
        f"unix://:{SECRET}@/nowhere.sock",
        f"redis://:a/b#{SECRET}@127.0.0.1:9/0",
        f"radis://:{SECRET}@127.0.0.1:9/0",
        f"redis:/:{SECRET}@127.0.0.1:9/0",
        f":{SECRET}@127.0.0.1",
    ],
)
def test_a_ledger_that_cannot_be_opened_is_named_without_its_password(
    url, tmp_path, monkeypatch, capsys
):
    with pytest.raises(ConfigurationError) as caught:
        open_ledger(url)
    assert_hidden(shown_by(caught.value), SECRET)
    assert_hidden(repr(RouterOptions(ledger=url)), SECRET)

    path = tmp_path / "routoo.toml"
    path.write_text(f'router = "general-fast"\n[budget]\nlimit = "1"\nledger = "{url}"\n')
    assert_hidden(repr(read_config(path)), SECRET)
    for command in (["budget", "show"], ["budget", "history"], ["route", "hi"]):
        monkeypatch.setattr("sys.argv", ["routoo", *command, "--config", str(path)])
        with pytest.raises(SystemExit):
            cli.main()
        written = capsys.readouterr()
        assert_hidden(written.out + written.err, SECRET)


def test_a_password_in_a_variable_is_not_shown_either(monkeypatch):
    monkeypatch.setenv("REDIS_PASSWORD", SECRET)
    monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@127.0.0.1:9/0")
    monkeypatch.setenv("ODD_URL", f"redis://:{SECRET}@127.0.0.1:{SECRET}/0")
    for url in ("redis://:${REDIS_PASSWORD}@127.0.0.1:9/0", "${REDIS_URL}", "${ODD_URL}"):
        with pytest.raises(ConfigurationError) as caught:
            open_ledger(url)
        assert_hidden(shown_by(caught.value), SECRET)


def test_a_variable_that_is_not_set_is_named():
    with pytest.raises(
        ConfigurationError, match=r"budget.ledger: NO_SUCH_PASSWORD is not set; export it"
    ):
        open_ledger("redis://:${NO_SUCH_PASSWORD}@127.0.0.1:9/0")


def test_a_router_with_a_protected_server_is_written_down_and_opened_again(
    redis_server, endpoint, monkeypatch, checkpoint
):
    import redis

    server = redis.Redis.from_url(redis_server)
    server.execute_command("ACL", "SETUSER", "routoo", "on", f">{SECRET}", "~*", "+@all")
    monkeypatch.setenv("LEDGER_PASSWORD", SECRET)
    url = redis_server.replace("://", "://routoo:${LEDGER_PASSWORD}@", 1)
    pool = Pool([endpoint.expert("calculator"), endpoint.expert("talker")])
    router = build_router(pool, router=checkpoint, budget=Budget(limit="1.00"), ledger=url)
    config = router.to_config()
    assert config["budget"]["ledger"] == url
    assert_hidden(repr(router.ledger) + str(config) + repr(router.parts), SECRET)

    again = Router.from_config(config)
    held = again.ledger.reserve(again.budget, minimum=1, maximum=9)
    assert router.ledger.state(router.budget).held == 9
    router.ledger.release(held)
    monkeypatch.setenv("LEDGER_PASSWORD", "another")
    with pytest.raises(ConfigurationError, match="Redis server cannot be used"):
        Router.from_config(config)


def test_a_whole_address_in_a_variable_is_written_down_as_the_variable(redis_server, monkeypatch):
    monkeypatch.setenv("LEDGER_URL", redis_server)
    ledger = open_ledger("${LEDGER_URL}")
    assert ledger.url == "${LEDGER_URL}"
    assert repr(ledger) == "RedisLedger('${LEDGER_URL}')"


# Keys


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "setting",
    [
        'api_key = "{key}"',
        'openai_api_key = "{key}"',
        'api_key_env = "{key}"',
        'base_url = "https://{key}@gateway.example/v1"',
        'base_url = "https://user:{key}@gateway.example/v1"',
        'base_url = "https://gateway.example/v1?key={key}"',
        'provider = "{key}"',
        'timeout_s = "{key}"',
        'max_retries = "{key}"',
        'reply_limit_parameter = "{key}"',
        'headers = {{ Authorization = "{key}" }}',
    ],
)
@pytest.mark.parametrize("framework", [RoutooChatModel, RoutooLLM])
def test_a_key_that_is_pasted_into_a_file_is_not_repeated(
    tmp_path, checkpoint, key, setting, framework, caplog
):
    caplog.set_level(logging.DEBUG)
    (tmp_path / "routoo.toml").write_text(f'router = "{checkpoint}"\npolicy = "best"\n')
    path = tmp_path / "experts.toml"
    text = setting.format(key=key)
    path.write_text(f"[experts.talker]\ninput_usd_per_1m = 1\noutput_usd_per_1m = 1\n{text}\n")
    with pytest.raises(ConfigurationError) as caught:
        framework.from_toml(tmp_path / "routoo.toml")
    shown = shown_by(caught.value)
    assert "experts.toml" in str(caught.value)
    assert "talker" in str(caught.value)
    assert_hidden(shown + caplog.text, key.removeprefix("Bearer "))


@pytest.mark.parametrize("key", [key for key in KEYS if key.isidentifier()])
def test_a_key_in_the_place_of_a_variables_name_is_not_in_a_repr(key):
    expert = Expert(name="a", model="m", api_key_env=key, input_usd_per_1m=1, output_usd_per_1m=1)
    assert_hidden(repr(expert) + str(expert) + repr(Pool([expert])), key)
    with pytest.raises(ConfigurationError, match="is not set") as caught:
        expert.check_key()
    assert_hidden(shown_by(caught.value), key)


def test_the_name_of_a_variable_is_shown(monkeypatch):
    expert = Expert(
        name="a", model="m", api_key_env="OUR_KEY", input_usd_per_1m=1, output_usd_per_1m=1
    )
    assert "api_key_env='OUR_KEY'" in repr(expert)
    with pytest.raises(ConfigurationError, match="api_key_env: OUR_KEY is not set"):
        expert.check_key()


@pytest.mark.parametrize("value", [f"{KEYS[0]} {KEYS[1]}", f"{KEYS[0]}\n{KEYS[1]}", f"„{KEYS[0]}“"])
def test_a_variable_that_holds_more_than_a_key_is_refused_without_repeating_it(monkeypatch, value):
    monkeypatch.setenv("OUR_KEY", value)
    expert = Expert(
        name="a", model="m", api_key_env="OUR_KEY", input_usd_per_1m=1, output_usd_per_1m=1
    )
    with pytest.raises(
        ConfigurationError, match="OUR_KEY holds something else than a key"
    ) as caught:
        expert.check_key()
    assert_hidden(shown_by(caught.value), *KEYS[:2])


def test_a_ledger_of_ones_own_is_not_written_down_with_its_password(endpoint):
    class Address:
        """A ledger of one's own, whose address holds a password."""

        url = f"postgres://user:{SECRET}@host/routoo"

    router = build_router(
        Pool([endpoint.expert("a")]),
        router=FakePredictor({"a": 0.9}),
        policy="best",
        budget=Budget(limit="1.00"),
    )
    router.ledger = Address()
    with pytest.raises(ConfigurationError, match="contains a password") as caught:
        router.to_config()
    assert_hidden(shown_by(caught.value), SECRET)

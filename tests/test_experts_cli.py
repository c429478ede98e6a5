"""``routoo experts`` shows the pool, and says what is wrong with an expert that does not answer."""

import json

import pytest
from typer.testing import CliRunner

from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.testing import Reply
from routoo_integrations.cli import app

EXPERTS = """
[experts.calculator]
model = "calculator"
base_url = "{url}"
input_usd_per_1m = 1
output_usd_per_1m = 2
capabilities = ["tools"]

[experts.talker]
model = "talker"
base_url = "{url}"
api_key_env = "TALKER_KEY"
input_usd_per_1m = 3
output_usd_per_1m = 4
"""


@pytest.fixture
def here(tmp_path, checkpoint, endpoint, monkeypatch):
    (tmp_path / "routoo.toml").write_text(f'router = "{checkpoint}"\n[budget]\nlimit = "1.00"\n')
    (tmp_path / "experts.toml").write_text(EXPERTS.format(url=endpoint.base_url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROUTOO_CONFIG", raising=False)
    monkeypatch.setenv("TALKER_KEY", "a-secret-of-the-talker")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["experts", *arguments], catch_exceptions=False)


def test_the_pool_is_shown_and_nobody_is_called(here, endpoint, monkeypatch):
    shown = run()
    assert shown.exit_code == 0
    assert "calculator" in shown.stdout
    assert "none needed" in shown.stdout
    monkeypatch.delenv("TALKER_KEY")
    rows = json.loads(run("--json").stdout)
    assert [(row["expert"], row["has_key"]) for row in rows] == [
        ("calculator", True),
        ("talker", False),
    ]
    assert rows[0]["capabilities"] == ["tools"]
    assert rows[0]["check"] is None
    assert endpoint.requests == []
    assert not (here / "routoo.db").exists()


def test_a_check_calls_each_expert_once_and_books_what_it_costs(here, endpoint):
    done = run("--check")
    assert done.exit_code == 0
    assert "calculator: answered as calculator in" in done.stdout
    assert "talker: answered as talker in" in done.stdout
    assert [body["model"] for body in endpoint.requests] == ["calculator", "talker"]
    [account] = SqliteLedger(here / "routoo.db").accounts()
    assert account.calls == 2
    assert account.spent > 0
    assert account.held == 0


def test_what_is_wrong_is_said_in_the_servers_words_with_a_remedy(here, endpoint):
    endpoint.replies["talker"] = Reply(status=401, text="Incorrect API key provided")
    done = run("--check", "--json")
    assert done.exit_code == 3
    first, second = (row["check"] for row in json.loads(done.stdout))
    assert first["problem"] is None
    assert "401" in second["problem"]
    assert second["problem"].endswith("check the key, what it may do, and the model's name")
    assert "a-secret-of-the-talker" not in done.output


def test_a_key_that_is_missing_keeps_nobody_else_from_being_checked(here, monkeypatch):
    monkeypatch.delenv("TALKER_KEY")
    done = run("--check", "--json")
    assert done.exit_code == 3
    first, second = (row["check"] for row in json.loads(done.stdout))
    assert first["problem"] is None
    assert "TALKER_KEY" in second["problem"]


def test_an_expert_that_the_router_does_not_know_is_named(here):
    text = (here / "experts.toml").read_text().replace("[experts.talker]", "[experts.poet]")
    (here / "experts.toml").write_text(text)
    assert "poet: the router does not know 'poet'; set router_name" in run().output

"""A team and its people in one file, limits that live in the ledger, and alerts before the money is gone."""

import json
import logging
import subprocess
import sys
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from routoo_core import AlertRule, Budget, Pool, RoutedRequest, Router, Usage
from routoo_core.budget.alerts import Alerts
from routoo_core.budget.declared import declare_limits, file_source
from routoo_core.budget.ledger import DeclaredLimit
from routoo_core.budget.outlook import Profile, Standing
from routoo_core.budget.overview import forecast
from routoo_core.budget.redis import RedisLedger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import build_router, read_config
from routoo_core.errors import BudgetExceeded, ConfigurationError, InvalidRequest
from routoo_core.options import open_account
from routoo_core.request import Overrides
from routoo_core.testing import FakePredictor, ManualClock
from routoo_integrations.cli import app
from routoo_integrations.langchain import RoutooChatModel

TEAM = """
router = "{router}"
[budget]
ledger = "{ledger}"
[budgets.team]
limit = "50.00"
period = "month"
[budgets.intern]
within = "team"
limit = "2.00"
[budgets."user-*"]
within = "team"
limit = "5.00"
"""
MAIN = "from routoo_integrations.cli import main; main()"
EXPERTS = "".join(
    f'[experts.{name}]\nmodel = "{name}"\nbase_url = "http://127.0.0.1:9/v1"\n'
    "input_usd_per_1m = 1\noutput_usd_per_1m = 1\n"
    for name in ("calculator", "talker")
)


@pytest.fixture
def team(tmp_path, checkpoint, monkeypatch):
    """Writes routoo.toml of a team; returns its path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROUTOO_CONFIG", raising=False)
    (tmp_path / "experts.toml").write_text(EXPERTS)

    def write(text=TEAM, ledger="sqlite:///routoo.db", name="routoo.toml"):
        path = tmp_path / name
        path.write_text(text.format(router=checkpoint, ledger=ledger))
        return path

    return write


def run(*arguments):
    result = CliRunner().invoke(app, ["budget", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def request_of(account=None, max_tokens=10):
    overrides = Overrides(account=account)
    return RoutedRequest("what is 31 + 44 ?", 10, 40, max_tokens=max_tokens, overrides=overrides)


def spend(router, account, tokens=100):
    """One call of an account, of so many tokens at one dollar per million."""
    for attempt in router.attempts(request_of(account, max_tokens=tokens)):
        with attempt:
            attempt.settle(Usage(10, tokens))
    return attempt.record()


# One file


def test_the_account_that_a_call_names_pays_within_its_team(team):
    router = Router.from_toml(team())
    assert spend(router, None).account == "team"
    assert spend(router, "intern").account == "intern"
    assert spend(router, "user-anna").account == "user-anna"
    spent = {state.account: state.calls for state in router.ledger.accounts()}
    assert spent == {"team": 3, "intern": 1, "user-anna": 1}


def test_an_account_of_a_template_is_made_when_a_call_first_names_it(team):
    budget = Router.from_toml(team()).account(request_of("user-bob"))
    chain = [(account.account, str(account.limit), account.period) for account in budget.chain]
    assert chain == [("user-bob", "5.00", "day"), ("team", "50.00", "month")]


@pytest.mark.parametrize(
    ("account", "remedy"),
    [
        ("interm", "did you mean 'intern'"),
        ("nobody at all", "name one of team, intern, user-"),
        ("user-*", "is unknown"),
        ("", "is unknown"),
    ],
)
def test_a_mistyped_account_is_an_error(team, account, remedy):
    router = Router.from_toml(team())
    with pytest.raises(InvalidRequest, match=remedy):
        router.decide(request_of(account))


def test_who_pays_where_a_call_names_nobody_can_be_said(team):
    text = TEAM.replace("[budget]\n", '[budget]\naccount = "intern"\n')
    router = Router.from_toml(team(text))
    assert router.budget.account == "intern"
    assert [member.account for member in router.budget.members] == ["team", "user-*"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("[budget]\n", '[budget]\nlimit = "3"\n'), r"budget.limit: move it into a table of"),
        (("[budget]\n", '[budget]\naccount = "x"\n'), r"budget.account: 'x' is none of team"),
        (('within = "team"', 'within = "tean"'), r"budgets.intern: within: 'tean' is no account"),
        (('within = "team"', 'within = "intern"'), r"budgets.intern: within: .* part of itself"),
        (('limit = "2.00"', 'limit = "lots"'), r"budgets.intern: limit"),
        (('limit = "2.00"', 'colour = "red"'), r"budgets.intern: colour: unknown key"),
        (("[budgets.team]", "[budgets.'team-*']"), r"within: 'team' is no account"),
    ],
)
def test_a_mistake_in_the_tables_is_named(team, change, problem):
    with pytest.raises(ConfigurationError, match=problem):
        Router.from_toml(team(TEAM.replace(*change, 1)))


def test_a_team_survives_being_written_down(team):
    router = Router.from_toml(team())
    copy = Router.from_config(router.to_config())
    assert copy.account(request_of("intern")).chain[1].account == "team"
    with pytest.raises(InvalidRequest):
        copy.decide(request_of("interm"))


# Limits live in the ledger


def test_two_files_that_disagree_are_told_at_start_and_the_ledger_counts(team, tmp_path):
    Router.from_toml(team())
    other = team(TEAM.replace("50.00", "60.00"), name="other.toml")
    with pytest.warns(UserWarning, match=r"account 'team': .*other.toml says \$60 each month, but"):
        router = Router.from_toml(other)
    assert str(router.account(request_of()).limit) == "50"


def test_a_program_that_disagrees_is_told_too_and_declares_nothing(team, endpoint):
    Router.from_toml(team())
    ledger = SqliteLedger("routoo.db")
    before = ledger.limits()
    with pytest.warns(UserWarning, match=r"account 'team': the program says \$9 each day, but"):
        RoutooChatModel(
            FakePredictor({"m": 1.0}),
            {"m": endpoint.expert("m")},
            budget=Budget(account="team", limit="9"),
            ledger=ledger,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RoutooChatModel(
            FakePredictor({"m": 1.0}),
            {"m": endpoint.expert("m")},
            budget=Budget(account="another", limit="9"),
            ledger=ledger,
        )
    assert ledger.limits() == before


def test_a_file_that_was_edited_changes_its_own_limits(team):
    Router.from_toml(team())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        router = Router.from_toml(team(TEAM.replace("50.00", "60.00")))
    assert router.account(request_of()).limit == 60


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_a_limit_that_another_process_sets_binds_a_running_one_within_a_second(
    request, team, store
):
    ledger = "sqlite:///routoo.db"
    if store == "redis":
        ledger = request.getfixturevalue("redis_url")
    path = team(ledger=ledger)
    router = Router.from_toml(path)
    spend(router, "intern")
    command = [sys.executable, "-c", MAIN, "budget", "set", "intern", "0"]
    subprocess.run([*command, "--config", str(path)], check=True, capture_output=True)
    deadline = time.monotonic() + 1.0
    is_bound = False
    while not is_bound and time.monotonic() < deadline:
        try:
            spend(router, "intern")
        except BudgetExceeded:
            is_bound = True
        time.sleep(0.02)
    assert is_bound
    assert spend(router, "user-anna").account == "user-anna"


@pytest.fixture(params=["sqlite", "redis"])
def ledger(request, tmp_path):
    if request.param == "redis":
        return RedisLedger(request.getfixturevalue("redis_url"))
    return SqliteLedger(tmp_path / "ledger.db")


def test_a_ledger_keeps_the_last_limit_of_each_account(ledger):
    ledger.set_limit(DeclaredLimit("b", 10**18, "day", False, "file", 1.0))
    ledger.set_limit(DeclaredLimit("a", None, "month", True, "x", 2.0))
    ledger.set_limit(DeclaredLimit("b", 5, "hour", False, "command", 3.0))
    assert ledger.limits() == [
        DeclaredLimit("a", None, "month", True, "x", 2.0),
        DeclaredLimit("b", 5, "hour", False, "command", 3.0),
    ]


def test_a_limit_set_in_the_ledger_binds_a_program_that_has_no_file(endpoint):
    ledger = SqliteLedger()
    router = build_router(
        Pool([endpoint.expert("m")]),
        router=FakePredictor({"m": 1.0}),
        budget=Budget(account="x", limit="5"),
        ledger=ledger,
    )
    ledger.set_limit(DeclaredLimit("x", 7, "month", False, "command", 1.0))
    budget = router.account(request_of())
    assert (budget.limit_nano, budget.period) == (7, "month")


# The commands


def test_set_changes_the_ledger_and_the_file_that_declares_the_account(team):
    path = team()
    said = run("set", "intern", "3", "--period", "month")
    assert said == "account intern: $3 each month, in routoo.toml and the ledger\n"
    assert '[budgets.intern]\nwithin = "team"\nlimit = "3"\nperiod = "month"\n' in path.read_text()
    [limit] = SqliteLedger("routoo.db").limits()
    assert (limit.account, limit.limit, limit.period) == ("intern", 3 * 10**9, "month")
    assert "in routoo.toml and the ledger" in run("set", "80")
    assert read_config(path).read_budget(path).limit == 80


def test_set_works_on_an_account_of_a_template_and_takes_a_limit_away(team):
    before = team().read_text()
    assert run("set", "user-anna", "9") == "account user-anna: $9 each day, in the ledger\n"
    assert (
        run("set", "user-anna", "none") == "account user-anna: no limit each day, in the ledger\n"
    )
    path = team()
    assert path.read_text() == before
    assert Router.from_toml(path).account(request_of("user-anna")).limit is None
    with pytest.raises(InvalidRequest, match="did you mean 'team'"):
        run("set", "tean", "9")


def test_what_was_set_is_what_the_next_start_finds(team, recwarn):
    """Whatever else the ledger had of the account, its period too."""
    path = team()
    budget, ledger = open_account(path, read_config(path))
    declare_limits(ledger, budget, file_source(path), time.time())
    ledger.set_limit(DeclaredLimit("intern", 10**9, "hour", True, "elsewhere", time.time()))
    run("set", "intern", "3.00")
    before = {limit.account: limit.terms for limit in ledger.limits()}
    assert before["intern"] == (3 * 10**9, "hour", True, "UTC")
    budget, ledger = open_account(path, read_config(path))
    declare_limits(ledger, budget, file_source(path), time.time())
    assert {limit.account: limit.terms for limit in ledger.limits()} == before
    assert not recwarn.list


def test_a_file_without_a_limit_leaves_that_of_another_alone(team, recwarn):
    path = team()
    budget, ledger = open_account(path, read_config(path))
    declare_limits(ledger, budget, "here", time.time())
    declare_limits(ledger, Budget(account="intern"), "there", time.time())
    declare_limits(ledger, Budget(account="newcomer"), "there", time.time())
    limits = {limit.account: limit.limit for limit in ledger.limits()}
    assert limits["intern"] == 2 * 10**9
    assert "newcomer" not in limits
    assert not recwarn.list


def test_set_keeps_who_may_read_the_file_and_follows_a_link(team, tmp_path):
    path = team()
    real = tmp_path / "real.toml"
    path.rename(real)
    real.chmod(0o600)
    path.symlink_to(real)
    run("set", "intern", "3.00")
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert "3.00" in real.read_text()


def test_set_says_so_when_the_file_cannot_be_written(team, monkeypatch):
    path = team()

    def refuse(source, target):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("routoo_core.limit_changes.shutil.copymode", refuse)
    before = path.read_text()
    with pytest.raises(ConfigurationError, match="The ledger has the new limit; write it into the"):
        run("set", "intern", "3.00")
    assert path.read_text() == before
    _, ledger = open_account(path, read_config(path))
    assert {limit.account: limit.limit for limit in ledger.limits()}["intern"] == 3 * 10**9


TENANTS = """
router = "{router}"
[budget]
account = "house"
limit = "1.00"
accounts = ["tenant-*"]
ledger = "{ledger}"
"""


def test_set_leaves_a_limit_that_many_accounts_share_in_the_file(team):
    path = team(TENANTS)
    before = path.read_text()
    assert "house: $100 each day, in the ledger" in run("set", "100")
    assert path.read_text() == before
    _, ledger = open_account(path, read_config(path))
    assert {limit.account: limit.limit for limit in ledger.limits()} == {"house": 100 * 10**9}


MEMBERS = """
router = "{router}"
[budget]
account = "team"
limit = "5.00"
ledger = "{ledger}"
[[budget.members]]
account = "intern"
limit = "1.00"
"""


def test_set_finds_an_account_among_the_members(team):
    path = team(MEMBERS)
    run("set", "intern", "2.00")
    assert read_config(path).budget.members[0]["limit"] == "2.00"


def test_show_draws_the_tree_at_80_columns(team, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    router = Router.from_toml(team())
    spend(router, "intern", tokens=1_000)
    spend(router, "user-anna", tokens=1_000)
    lines = run("show").splitlines()
    assert max(len(line) for line in lines) <= 80
    assert [line.split()[0] for line in lines] == ["account", "team", "intern", "user-anna"]
    assert lines[2].startswith("  intern")
    assert "$50/month" in lines[1]
    shown = json.loads(run("show", "--json"))
    assert [(row["account"], row["within"]) for row in shown] == [
        ("team", None),
        ("intern", "team"),
        ("user-anna", "team"),
    ]
    assert run("watch", "--looks", "2", "--interval", "0.1").count("intern") >= 1


def test_looking_makes_no_file(team, tmp_path):
    team()
    before = sorted(path.name for path in tmp_path.iterdir())
    assert "No account has been used yet" in run("show")
    assert "Nothing has been spent yet" in run("history")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_history_of_a_mistyped_account_is_an_error(team):
    spend(Router.from_toml(team()), "intern")
    assert "intern" in run("history", "intern")
    with pytest.raises(InvalidRequest, match="did you mean 'intern'"):
        run("history", "inter")


def test_a_forecast_goes_by_the_time_or_by_when_calls_usually_come(team):
    clock = ManualClock(1_700_006_400 // 86_400 * 86_400 + 6 * 3600)  # a quarter of the day
    budget = Budget(limit="1", period="day")
    ledger = SqliteLedger(clock=clock)
    reservation = ledger.reserve(budget, minimum=100, maximum=100)
    state = ledger.settle(reservation, 100)
    assert forecast(Standing(budget, state)) == 400
    start = state.window.start
    mornings = Profile(start, 3600.0, [min(hour, 12) for hour in range(25)])  # all calls by noon
    assert forecast(Standing(budget, state, mornings)) == 200
    clock.now = start + 60
    assert forecast(Standing(budget, ledger.state(budget))) is None  # too early to tell
    run_budget = Budget(limit="1", period="run")
    assert forecast(Standing(run_budget, ledger.state(run_budget))) is None


# Alerts


@pytest.fixture
def limited(endpoint):
    """Builds a model with a limit that a few calls use up."""

    def build(rule, ledger=None, limit="0.001", within=None):
        expert = endpoint.expert("m", input_usd_per_1m="0", output_usd_per_1m="10")
        return build_router(
            Pool([expert]),
            router=FakePredictor({"m": 1.0}),
            budget=Budget(account="alice", limit=limit, period="day", within=within),
            ledger=ledger or SqliteLedger(),
            alerts=rule,
        )

    return build


def test_each_alert_is_raised_once(limited):
    raised = []
    router = limited(AlertRule(callback=raised.append))
    for _ in range(10):
        spend(router, None, tokens=10)
    assert [alert.percent for alert in raised] == [50, 80, 100]
    assert raised[1].describe().startswith("account 'alice' has spent 80 % of its limit: $0.0008")
    with pytest.raises(BudgetExceeded):
        spend(router, None, tokens=10)
    assert len(raised) == 3


def test_of_several_that_are_due_at_once_the_highest_is_raised(limited):
    raised = []
    spend(limited(AlertRule(callback=raised.append)), None, tokens=85)
    assert [alert.percent for alert in raised] == [80]


def test_a_call_that_is_refused_for_want_of_money_raises_the_last_one(limited):
    raised = []
    router = limited(AlertRule(at=(1.0,), callback=raised.append))
    with pytest.raises(BudgetExceeded):
        spend(router, None, tokens=200)  # too large, with nothing spent
    spend(router, None, tokens=95)
    assert raised == []
    with pytest.raises(BudgetExceeded):
        spend(router, None, tokens=20)
    assert [alert.percent for alert in raised] == [100]
    assert "has used up its limit" in raised[0].describe()


def test_two_processes_of_one_ledger_raise_an_alert_once(limited, ledger):
    raised = []
    for _ in range(2):
        router = limited(AlertRule(at=(0.5,), callback=raised.append), ledger)
        spend(router, None, tokens=30)
    assert [alert.account for alert in raised] == ["alice"]


def test_the_account_around_the_one_that_pays_is_watched_too(limited):
    raised = []
    team = Budget(account="team", limit="0.0005")
    router = limited(AlertRule(at=(0.5,), callback=raised.append), within=team)
    spend(router, None, tokens=30)
    assert [alert.account for alert in raised] == ["team"]


def test_what_open_calls_hold_does_not_use_a_limit_up(limited):
    raised = []
    router = limited(AlertRule(at=(1.0,), callback=raised.append))
    attempt = next(iter(router.attempts(request_of(max_tokens=95))))
    with attempt, pytest.raises(BudgetExceeded):
        spend(router, None, tokens=50)
    assert raised == []


def test_a_limit_that_was_raised_has_alerts_of_its_own(limited, ledger):
    raised = []
    rule = AlertRule(at=(0.5,), callback=raised.append)
    spend(limited(rule, ledger), None, tokens=60)
    spend(limited(rule, ledger, limit="0.002"), None, tokens=60)
    assert [alert.limit for alert in raised] == [10**6, 2 * 10**6]


def test_the_last_of_many_quick_calls_is_not_overlooked(limited):
    raised = []
    done = threading.Event()

    def note(alert):
        raised.append(alert.account)
        done.set()

    team = Budget(account="team", limit="0.0005")
    router = limited(AlertRule(at=(1.0,), callback=note), within=team)
    spend(router, None, tokens=20)
    spend(router, None, tokens=30)  # within a second of the first
    assert done.wait(60)
    assert raised == ["team"]


def test_the_log_and_a_webhook_get_it_and_the_address_stays_secret(limited, caplog, monkeypatch):
    bodies = []
    done = threading.Event()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            done.set()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/services/T0/secret")
    rule = AlertRule(webhook="${HOOK}")
    try:
        with caplog.at_level(logging.WARNING):
            spend(limited(rule), None, tokens=60)
        assert done.wait(60)
    finally:
        server.shutdown()
    assert bodies[0]["account"] == "alice"
    assert bodies[0]["percent"] == 50
    assert "has spent 50 % of its limit" in bodies[0]["text"]
    assert "has spent 50 % of its limit" in caplog.text
    assert "secret" not in repr(rule) + caplog.text


def test_a_function_or_a_webhook_that_fails_costs_no_reply(limited, caplog):
    def fail(alert):
        raise RuntimeError("no")

    rule = AlertRule(callback=fail, webhook="http://127.0.0.1:9/token")
    assert spend(limited(rule), None, tokens=60).settled_usd == "0.000600000"
    assert "the function that gets alerts has failed" in caplog.text


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"at": [1.5]}, "at"),
        ({"at": [0.005]}, "at: 0.005 is no whole percent"),
        ({"webhook": "slack"}, "webhook: is no address"),
        ({"colour": 1}, "colour: unknown key"),
    ],
)
def test_a_wrong_rule_is_named(rule, problem):
    with pytest.raises(ConfigurationError, match=problem):
        AlertRule(**rule)


def test_a_webhook_whose_variable_is_not_set_is_named():
    with pytest.raises(ConfigurationError, match="alerts.webhook: NO_SUCH_HOOK is not set"):
        Alerts(SqliteLedger(), AlertRule(webhook="${NO_SUCH_HOOK}"))


def test_a_webhook_is_an_address_of_the_web_and_nothing_else(monkeypatch):
    monkeypatch.setenv("HOOK", "file:///etc/passwd")
    with pytest.raises(ConfigurationError, match="alerts.webhook: the variable holds no address"):
        Alerts(SqliteLedger(), AlertRule(webhook="${HOOK}"))


def test_alerts_stand_in_the_file(team):
    text = TEAM + '[alerts]\nat = [0.9]\nlog = false\nwebhook = "https://example.org/hook"\n'
    router = Router.from_toml(team(text))
    assert router.alert_rule == AlertRule(at=(0.9,), log=False, webhook="https://example.org/hook")
    assert Router.from_config(router.to_config()).alert_rule == router.alert_rule


# What a newcomer asks for


def test_the_team_and_the_intern_in_one_file_through_a_chat_model(endpoint, team):
    budget, ledger = open_account(team(), read_config(team()))
    model = RoutooChatModel(
        FakePredictor({"m": 1.0}), {"m": endpoint.expert("m")}, budget=budget, ledger=ledger
    )
    reply = model.invoke("Hello, who are you?", routoo_account="intern")
    assert reply.response_metadata["routoo"]["account"] == "intern"
    with pytest.raises(InvalidRequest, match="did you mean 'intern'"):
        model.invoke("Hello, who are you?", routoo_account="intren")

"""Names from outside are texts wherever they are shown: no markup, no escapes, no formulas."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from typer.testing import CliRunner

from routoo_core import Budget
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.plotting import empty_figure, save_figure
from routoo_core.tables import read_table
from routoo_core.text import shown_text
from routoo_integrations.cli import app
from routoo_integrations.cli.terminal import out

NASTY = [
    "[/red]",
    "[b]x[/b]",
    "[link=x]y",
    ":smile:",
    "\x1b[2J\x07",
    "a\x9b2J",
    "a\u202eb",
    "$a_$",
    r"$\frac$",
    "=1+1",
    "@SUM(A1)",
    "-2+3",
    "a\rb",
    "<script>",
]


@pytest.fixture
def configuration(tmp_path, monkeypatch):
    """A ledger with an account of each name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(out, "width", 200)
    ledger = SqliteLedger(tmp_path / "routoo.db")
    for name in NASTY:
        budget = Budget(account=name, limit="1")
        ledger.settle(ledger.reserve(budget, minimum=1, maximum=9), 9)
    ledger.close()
    text = 'router = "general-fast"\n[budget]\nledger = "sqlite:///routoo.db"\n'
    (tmp_path / "routoo.toml").write_text(text, encoding="utf-8")
    return tmp_path


def run(*arguments):
    done = CliRunner().invoke(app, arguments, color=True)
    assert done.exception is None, done.exception
    return done.stdout


@pytest.mark.parametrize("command", [["budget", "show"], ["budget", "history"]])
def test_every_account_is_listed_by_what_it_is_called(configuration, command):
    shown = run(*command)
    for name in NASTY:
        assert shown_text(name) in shown
    for control in ("\x1b[2J", "\x1b]0", "\x9b", "\u202e"):
        assert control not in shown


def test_an_account_is_no_formula_in_a_spreadsheet(configuration):
    run("budget", "export", "--out", "spending.csv")
    accounts = read_table(configuration / "spending.csv")["account"].to_pylist()
    assert len(accounts) == len(NASTY)
    for account in accounts:
        assert not account.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert "'=1+1" in accounts


def test_programs_are_given_the_names_themselves(configuration):
    accounts = json.loads(run("budget", "show", "--json"))
    assert {account["account"] for account in accounts} >= set(NASTY)


def test_a_figure_draws_any_name(tmp_path):
    figure = empty_figure(6, 4)
    assert isinstance(figure, Figure)
    axes = figure.subplots()
    axes.bar(NASTY, range(len(NASTY)), label=r"$\frac{1}$")
    axes.set_title(r"$\frac{1}$ of $a_$")
    axes.legend()
    save_figure(figure, tmp_path / "names.png")
    assert (tmp_path / "names.png").stat().st_size > 1000


@given(st.text())
def test_what_is_shown_steers_nothing(text):
    shown = shown_text(text)
    assert not set(shown) & {"\x1b", "\r", "\x08", "\x9b", "\u202e", "\u2066"}
    shown.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_words_are_shown_as_they_are(text):
    assert shown_text(text) == text

"""``routoo assign``: a table of scores, prices and a budget become a table of who answers what, and a certificate."""

import json

import pytest
from pyarrow import csv
from typer.testing import CliRunner

from routoo_integrations import cli
from routoo_integrations.cli import app

SCORES = "prompt_id,model,score\n" + "".join(
    f"{p},{m},{s}\n"
    for p, m, s in [("a", "x", 0.2), ("a", "y", 0.9), ("b", "x", 0.8), ("b", "y", 0.9)]
)
PRICES = "model,input_usd_per_1m,output_usd_per_1m\nx,1000,1000\ny,3000,5000\nz,1,1\n"  # 1 and 4 USD a call


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.csv").write_text(SCORES)
    (tmp_path / "p.csv").write_text(PRICES)
    return tmp_path


def run(*arguments):
    done = CliRunner().invoke(app, ["assign", "--scores", "s.csv", "--prices", "p.csv", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_money_goes_where_it_buys_the_most_and_the_certificate_says_how_good_that_is(here):
    found = json.loads(run("--budget", "5", "--out", "who.csv", "--json"))
    assert csv.read_csv(here / "who.csv").to_pylist() == [
        {"prompt_id": "a", "model": "y", "score": pytest.approx(0.9), "cost_usd": 4.0},
        {"prompt_id": "b", "model": "x", "score": pytest.approx(0.8), "cost_usd": 1.0},
    ]
    assert (found["cost_usd"], found["unanswered"]) == (5.0, 0)
    assert found["quality"] == pytest.approx(1.7)
    assert found["quality"] <= found["upper_bound"] <= 1.7001
    assert "upper bound" in run("--budget", "5")


def test_the_papers_greedy_is_there_too_and_leaves_out_what_it_cannot_pay(here):
    found = json.loads(
        run("--budget", "4.5", "--policy", "ratio", "--alpha", "0", "--out", "who.csv", "--json")
    )
    first, second = csv.read_csv(here / "who.csv").to_pylist()
    assert (first["model"], second["model"] or None, found["unanswered"]) == ("y", None, 1)
    assert found["cost_usd"] <= 4.5
    assert found["gap"] > 0


def test_fewer_tokens_cost_less(here):
    assert json.loads(run("--budget", "5", "--tokens", "100", "--json"))[
        "cost_usd"
    ] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (SCORES + "a,x,0.1\n", (), "'a' × 'x' is given twice"),
        (SCORES.replace("b,y,0.9\n", ""), (), "'b' × 'y' is missing"),
        (SCORES.replace("0.8", "8"), (), "row 3: score 8.0 is not a number from 0 to 1"),
        (SCORES, ("--policy", "paced"), "--policy: 'paced' needs live traffic"),
        (SCORES, ("--policy", "cleverest"), "policy: 'cleverest' is unknown"),
        (SCORES, ("--out", "who.xlsx"), "who.xlsx ends in"),
        (SCORES, ("--prices", "nowhere.csv"), "nowhere.csv: there is no such file"),
        (SCORES, ("--budget", "-1"), "budget: -1"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    here, monkeypatch, capsys, change, arguments, message
):
    (here / "s.csv").write_text(change)
    command = [
        "routoo",
        "assign",
        "--scores",
        "s.csv",
        "--prices",
        "p.csv",
        "--budget",
        "5",
        "--out",
        "who.csv",
    ]
    monkeypatch.setattr("sys.argv", [*command, *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code in {1, 2}
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (here / "who.csv").exists()

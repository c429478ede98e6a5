"""``routoo plans fit-cascade``: a scorer and a list of experts, written and taught from files."""

import json
import tomllib

import pytest
from scored_tables import COUNT, EXPERTS, USD, made_tables, question
from toy_tables import write_answered_tables
from typer.testing import CliRunner

from routoo_core import RoutedRequest, Router
from routoo_core.plans import read_plans
from routoo_integrations.cli import app


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcomes, answers = made_tables(3)
    write_answered_tables(tmp_path, outcomes, answers, USD)
    (tmp_path / "prices.csv").write_text(
        "model,input_usd_per_1m,output_usd_per_1m\ncheap,1,1\ndear,10,10\n"
    )
    return tmp_path


FIT = (
    "plans fit-cascade --prompts p.csv --outcomes o.csv --answers a.csv --prices prices.csv "
    "--cost-per-call 0.006 --out scorer"
)


def test_the_command_writes_the_scorer_and_a_table_for_routoo_toml(files):
    done = CliRunner().invoke(app, f"{FIT} --json".split())
    assert done.exit_code == 0, done.output
    (cascade,) = json.loads(done.stdout)["plans"]
    assert cascade["quality"]["mean"] > 0.95
    assert cascade["cost"]["high"] < 0.007
    tables = tomllib.loads((files / "scorer" / "plans.toml").read_text())["plans"]
    (plan,) = read_plans("routoo.toml", tables, EXPERTS)
    assert plan.experts == EXPERTS
    assert plan.scorer.experts == EXPERTS
    assert plan.shares[0] == 1.0


def test_the_command_shows_what_a_cascade_is_worth_and_a_table_for_each_cost(files):
    done = CliRunner().invoke(app, f"{FIT} --cost-per-call 0.007".split())
    assert done.exit_code == 0, done.output
    assert "cheap → dear" in done.stdout
    assert "[plans.ladder-1]" in done.stdout
    assert "[plans.ladder-2]" in done.stdout
    again = CliRunner().invoke(app, FIT.split())
    assert "exists already" in str(again.exception)


def test_a_router_learns_the_cascade_like_any_plan(files):
    names = {"cheap": "gpt-4o-mini", "dear": "gpt-4o"}
    experts = ""
    for name in names.values():
        experts += f'[experts."{name}"]\nmodel = "{name}"\nbase_url = "http://127.0.0.1:9/v1"\n'
        experts += "input_usd_per_1m = 1\noutput_usd_per_1m = 2\nmax_output_tokens = 500\n"
        experts += "context_window = 8000\n"
    (files / "experts.toml").write_text(experts)
    for path in files.glob("*.csv"):
        text = path.read_text()
        for name, model in names.items():
            text = text.replace(f"{name},", f"{model},").replace(f'"{name}"', f'"{model}"')
        path.write_text(text)
    assert CliRunner().invoke(app, FIT.split()).exit_code == 0
    plan = (files / "scorer" / "plans.toml").read_text()
    (files / "routoo.toml").write_text(f'router = "grown"\n{plan}')
    taught = CliRunner().invoke(
        app,
        [
            "plans",
            "fit",
            "--router",
            "general-fast",
            "--prompts",
            "p.csv",
            "--outcomes",
            "o.csv",
            "--answers",
            "a.csv",
            "--out",
            "grown",
        ],
    )
    assert taught.exit_code == 0, taught.output
    router = Router.from_toml(files / "routoo.toml")
    candidates = router.decide(RoutedRequest.from_text(question(9))).candidates
    assert {candidate.name for candidate in candidates} == {*names.values(), "ladder"}


def test_the_command_names_an_expert_that_it_does_not_know(files):
    done = CliRunner().invoke(app, f"{FIT} --expert other".split())
    assert "--expert: 'other' must be in both" in str(done.exception)


def test_a_budget_that_is_too_small_leaves_the_folder_as_it_was(files):
    refused = CliRunner().invoke(app, FIT.replace("0.006", "0.0005").split())
    assert "is less than the cheapest" in str(refused.exception)
    assert not (files / "scorer").exists()

    assert CliRunner().invoke(app, FIT.split()).exit_code == 0
    before = {path.name: path.read_bytes() for path in (files / "scorer").iterdir()}
    assert set(before) == {"config.json", "plans.toml", "scorer.safetensors"}
    again = f"{FIT} --cost-per-call 0.0005 --overwrite"
    assert CliRunner().invoke(app, again.split()).exit_code != 0
    after = {path.name: path.read_bytes() for path in (files / "scorer").iterdir()}
    assert after == before


def test_prompts_without_a_stored_answer_are_left_out_and_counted(files):
    lines = (files / "a.csv").read_text().splitlines(keepends=True)
    (files / "a.csv").write_text("".join(lines[:1] + lines[9:]))
    done = CliRunner().invoke(app, [*FIT.split(), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["prompts"] == COUNT / 4 - 1
    assert "4 prompts lack an answer in a.csv: left out" in " ".join(done.stderr.split())

    (files / "a.csv").write_text("".join(lines[:60]))
    few = CliRunner().invoke(app, [*FIT.split(), "--overwrite"])
    assert str(few.exception).startswith("a.csv: too few prompts of the split train")
    assert "20 or more" in str(few.exception)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--name dear", "--name: 'dear' is an expert of --outcomes"),
        ("--cost-per-call inf", "--cost-per-call: must be a finite number"),
    ],
)
def test_a_name_of_an_expert_and_an_endless_budget_are_refused(files, option, message):
    refused = CliRunner().invoke(app, f"{FIT} {option}".split())
    assert message in str(refused.exception)
    assert not (files / "scorer").exists()

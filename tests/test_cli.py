"""The command line explains, shows, trains, and says what is wrong without a traceback."""

import importlib.metadata
import inspect
import io
import json
import shutil
import subprocess
import sys
from typing import Annotated

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from routoo_core import __version__
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.errors import OutcomesError
from routoo_integrations import cli
from routoo_integrations.cli import app
from routoo_integrations.cli.commands import (
    BUDGET_COMMANDS,
    COMMANDS,
    DATA_COMMANDS,
    KEY_COMMANDS,
    PLANS_COMMANDS,
)
from routoo_integrations.cli.lazy import LazyCommand, OptionNamingCommand
from routoo_integrations.cli.terminal import TerminalProgress

ROUTOO_TOML = """
router = "{router}"
policy = {{ name = "lagrangian", lambda = 10.0 }}
[budget]
account = "team"
limit = "1.00"
"""
EXPERTS = "".join(
    f'[experts.{name}]\nmodel = "{name}"\nbase_url = "http://127.0.0.1:9/v1"\n'
    f"input_usd_per_1m = {price}\noutput_usd_per_1m = {price}\n"
    for name, price in (("calculator", 1), ("talker", 2))
)


@pytest.fixture
def here(tmp_path, checkpoint, monkeypatch):
    (tmp_path / "routoo.toml").write_text(ROUTOO_TOML.format(router=checkpoint))
    (tmp_path / "experts.toml").write_text(EXPERTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROUTOO_CONFIG", raising=False)
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["routoo", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code, capsys.readouterr().err


def test_help_teaches_what_to_start_with():
    text = run("--help")
    for word in ("routoo demo", "route", "budget", "train"):
        assert word in text
    assert "Explain which expert would answer" in run("route", "--help")


@pytest.mark.parametrize(
    ("name", "target", "line"),
    [
        (name, target, line)
        for commands in (COMMANDS, BUDGET_COMMANDS, DATA_COMMANDS, KEY_COMMANDS, PLANS_COMMANDS)
        for name, (target, line) in commands.items()
    ],
)
def test_a_command_is_listed_with_the_first_paragraph_of_its_own_help(name, target, line):
    command = LazyCommand(name, target, line).load()
    first_paragraph = inspect.cleandoc(command.help).split("\n\n")[0]
    assert " ".join(first_paragraph.split()) == line
    assert command.name == name


def test_a_command_mistyped_is_told_the_one_that_was_meant():
    refused = CliRunner().invoke(app, ["evaluat"])
    assert refused.exit_code == 2
    assert "Did you mean 'evaluate'?" in refused.output


def test_python_m_routoo_core_is_the_command_line():
    command = [sys.executable, "-m", "routoo_core", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == f"routoo {__version__}"
    assert lines[1].startswith(f"Python {sys.version.split()[0]}, ")


def test_the_version_names_what_a_bug_report_needs():
    shown = dict(line.split(maxsplit=1) for line in run("--version").splitlines())
    assert shown["langchain-core"] == importlib.metadata.version("langchain-core")
    assert shown["openai"] == importlib.metadata.version("openai")


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("torch", ["train", "--help"], "torch"),
        ("langchain_core", ["demo"], "langchain"),
    ],
)
def test_a_command_without_its_packages_names_the_extra(package, arguments, extra, tmp_path):
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['routoo', *{arguments}]\n"
        "from routoo_integrations.cli import main; main()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"pip install 'routoo[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("package", "module", "extra"),
    [
        ("langchain_core", "routoo_integrations.langchain", "langchain"),
        ("llama_index", "routoo_integrations.llama_index", "llama-index"),
    ],
)
def test_an_adapter_without_its_framework_names_the_extra(package, module, extra):
    code = f"import sys; sys.modules[{package!r}] = None\nimport {module}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"pip install 'routoo[{extra}]'" in done.stderr.splitlines()[-1]


def test_brackets_in_an_error_are_printed_as_they_are(here, monkeypatch, capsys):
    (here / "p.csv").write_text("prompt_id,prompt\n1,Why?\n")
    monkeypatch.setitem(sys.modules, "datasketch", None)
    files = ("--prompts", "p.csv", "--against", "p.csv", "--out", "clean.csv")
    code, err = fail(monkeypatch, capsys, "data", "decontaminate", *files)
    assert code == 2
    assert "pip install 'routoo[data]'" in err


def test_a_command_in_an_error_is_on_one_line_however_narrow_the_terminal(
    here, monkeypatch, capsys
):
    monkeypatch.setattr(cli.terminal.err, "_width", 30)
    monkeypatch.setitem(sys.modules, "redis", None)
    (here / "routoo.toml").write_text(
        ROUTOO_TOML.format(router="general-fast") + 'ledger = "redis://127.0.0.1:9/0"\n'
    )
    code, err = fail(monkeypatch, capsys, "budget", "show")
    assert code == 2
    assert "'redis' is needed to keep the ledger in Redis: pip install 'routoo[redis]'" in err


@pytest.mark.parametrize("name", ["[gpt]", "gpt [red]", "a:b:c", "[/]", "x\\[y]"])
def test_names_with_brackets_and_colons_are_printed_as_they_are(here, monkeypatch, capsys, name):
    (here / "experts.toml").write_text(EXPERTS.replace("talker]", json.dumps(name) + "]", 1))
    code, err = fail(monkeypatch, capsys, "route", "hi")
    assert code == 2
    assert repr(name) in err
    (here / "experts.toml").write_text(
        EXPERTS.replace("[experts.talker]", f'[experts.{json.dumps(name)}]\nrouter_name = "talker"')
    )
    shown = run("route", "hello there, dear friend")
    assert f"{name}: predicted quality" in shown
    assert shown.count(name) == 3  # in the table, why it comes first, and that it would be asked


def test_progress_shows_brackets_as_they_are():
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    progress = TerminalProgress(console)
    with progress.bar("Scoring [a]", 1) as advance:
        advance(1)
    with progress.status("Training [b]") as update:
        update("Training [b] on")
    progress.note("Encoded [d]")
    assert all(f"[{letter}]" in console.file.getvalue() for letter in "abd")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("count: 0 is too few", "--n: 0 is too few"),
        ("count: too few\nseed: no number", "--n: too few\n--seed: no number"),
        ("p.csv: count: is empty", "p.csv: count: is empty"),
        ("count 3", "count 3"),
        ("text: is empty", "text: is empty"),
    ],
)
def test_an_error_about_a_setting_names_the_option_that_sets_it(message, shown):
    single = typer.Typer()

    @single.command(cls=OptionNamingCommand)
    def draw(text: str, count: Annotated[int, typer.Option("--n")] = 1, seed: int = 0) -> None:
        raise OutcomesError(message)

    result = CliRunner().invoke(single, ["hello"])
    assert isinstance(result.exception, OutcomesError)
    assert str(result.exception) == shown


def test_route_explains_one_decision_and_calls_nobody(here):
    assert "calculator: predicted quality" in run("route", "what is 12 + 30 ?")
    decision = json.loads(run("route", "hello there, dear friend", "--json"))
    assert decision["expert"] == "talker"
    assert decision["policy"] == {"name": "lagrangian"}
    assert decision["lambda"] == 10.0
    assert len(decision["candidates"]) == 2


def test_route_says_what_the_budget_makes_of_a_call_and_writes_no_file(here):
    before = sorted(path.name for path in here.iterdir())
    shown = run("route", "hello there, dear friend")
    assert "talker would be asked. Its reply may have 4,096 tokens, its own limit." in shown
    assert "Account team has $1.0000 of $1 left; it resets at" in shown
    assert '"Would hold" is the most the call can cost' in shown
    assert "(budget):" not in shown
    short = json.loads(run("route", "hello there, dear friend", "--max-tokens", "7", "--json"))
    assert short["preview"]["would_ask"] == "talker"
    assert [row["limited_by"] for row in short["preview"]["affordable"]] == ["caller"] * 2
    assert short["preview"]["accounts"][0]["left_usd"] == "1.000000000"
    assert sorted(path.name for path in here.iterdir()) == before


def test_route_says_when_money_limits_the_reply_or_the_call(here):
    from routoo_core import Budget

    ledger, budget = SqliteLedger(here / "routoo.db"), Budget(account="team", limit="1.00")
    ledger.settle(ledger.reserve(budget, minimum=1, maximum=10**9), 10**9 - 3_000_000)
    shown = json.loads(run("route", "hello there, dear friend", "--json"))["preview"]
    limits = {row["expert"]: row["limited_by"] for row in shown["affordable"]}
    assert limits == {"talker": "budget", "calculator": "budget"}
    assert "(budget): the budget does not pay for a longer reply" in run("route", "hello there")
    ledger.settle(ledger.reserve(budget, minimum=1, maximum=10**9), 3_000_000)
    shown = run("route", "hello there, dear friend")
    assert shown.count("not affordable") == 2
    assert "No expert is affordable: the call would be refused" in shown


def test_route_finds_a_configuration_by_environment(here, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("ROUTOO_CONFIG", str(here / "routoo.toml"))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert json.loads(run("route", "what is 12 + 30 ?", "--json"))["expert"] == "calculator"


def test_budget_show_lists_the_accounts(here):
    from routoo_core import Budget

    assert "No account has been used yet" in run("budget", "show")
    ledger, budget = SqliteLedger(here / "routoo.db"), Budget(account="team", limit="1.00")
    ledger.settle(ledger.reserve(budget, minimum=1, maximum=500), 400)
    shown = json.loads(run("budget", "show", "--json"))
    assert [(row["account"], row["spent"], row["available"]) for row in shown] == [
        ("team", 400, 10**9 - 400)
    ]
    assert "team" in run("budget", "show")


def test_budget_set_changes_the_limit_and_nothing_else(here, monkeypatch, capsys):
    before = (here / "routoo.toml").read_text()
    (here / "routoo.toml").write_text(before.replace("[budget]", "[budget]  # ours"))
    assert "account team: $2.50 each hour" in run("budget", "set", "2.50", "--period", "hour")
    after = (here / "routoo.toml").read_text()
    assert (
        after
        == before.replace("[budget]", "[budget]  # ours").replace('"1.00"', '"2.50"')
        + 'period = "hour"\n'
    )
    assert "account team: $2.50 in any hour" in run("budget", "set", "2.50", "--rolling")
    after += "rolling = true\n"
    refused = (
        (["lots"], "account 'team': limit"),
        (["1", "--period", "week"], "account 'team': period"),
        (["1", "--period", "run"], "rolling: a run has no length to look back"),
    )
    for wrong, message in refused:
        code, err = fail(monkeypatch, capsys, "budget", "set", *wrong)
        assert code == 2
        assert message in " ".join(err.split())
        assert (here / "routoo.toml").read_text() == after


def test_budget_history_and_export_show_every_period(here):
    from pyarrow import csv

    from routoo_core import Budget

    assert "Nothing has been spent yet" in run("budget", "history")
    ledger = SqliteLedger(here / "routoo.db")
    for run_id in ("a", "b"):
        budget = Budget(account="team", limit="1.00", period="run", run_id=run_id)
        ledger.settle(ledger.reserve(budget, minimum=1, maximum=500), 400)
    assert [row["spent"] for row in json.loads(run("budget", "history", "team", "--json"))] == [
        400,
        400,
    ]
    assert run("budget", "history").count("team") == 2
    assert "2 periods" in run("budget", "export", "--out", "spent.csv")
    rows = csv.read_csv(here / "spent.csv").to_pylist()
    assert [(row["account"], row["spent_usd"], row["calls"]) for row in rows] == [
        ("team", 4e-7, 1)
    ] * 2
    assert len(json.loads(run("budget", "history", "team", "--json"))) == 2


HARNESS = ("score", "--from-harness", "logs", "--out", "new.csv")
WRITERS = {
    "predict": ("predict --router zeroeval --prompts p.csv --out", "old.csv"),
    "assign": ("assign --scores p.csv --prices p.csv --budget 1 --out", "old.csv"),
    "universe": ("universe --outcomes o.csv --size 2 --out", "old.csv"),
    "universe's plot": ("universe --outcomes o.csv --size 2 --plot", "old.png"),
    "evaluate": (
        "evaluate --router zeroeval --prompts p.csv --outcomes o.csv --prices p.csv --out",
        "old/metrics.json",
    ),
    "replay": (
        "replay --router zeroeval --prompts p.csv --outcomes o.csv --prices p.csv --limit 1 --plot",
        "old.png",
    ),
    "feedback": ("feedback p.csv --plot", "old.png"),
    "suggest-prompts": ("suggest-prompts --router zeroeval --prompts p.csv --out", "old.csv"),
    "train": ("train --prompts p.csv --outcomes o.csv --out", "old/config.json"),
    "add-expert": (
        "add-expert --router zeroeval --prompts p.csv --outcomes o.csv --name new --out",
        "old/config.json",
    ),
    "score": ("score --prompts p.csv --experts experts.toml --grader exact --out", "old.csv"),
    "score's import": ("score --from-harness logs --out new.csv --prompts-out", "old.csv"),
    "budget export": ("budget export --out", "old.csv"),
    "data collect": ("data collect --file p.csv --out", "old.csv"),
    "data filter": (
        "data filter --prompts p.csv --outcomes o.csv --expert a --random 1 --out",
        "old.csv",
    ),
    "data split": ("data split --prompts p.csv --out", "old.csv"),
    "data sample": ("data sample --prompts p.csv --out", "old.csv"),
    "data decontaminate": (
        "data decontaminate --prompts p.csv --against o.csv --out new.csv --removed",
        "old.csv",
    ),
    "data from-logs": ("data from-logs --log p.csv --outcomes new.csv --prompts", "old.csv"),
    "data from-logs' outcomes": (
        "data from-logs --log p.csv --prompts new.csv --outcomes",
        "old.csv",
    ),
    "data synthesise": ("data synthesise --prompts p.csv --expert talker --out", "old.csv"),
    "data paraphrase": ("data paraphrase --prompts p.csv --expert talker --out", "old.csv"),
}


@pytest.fixture
def old(here):
    """A folder in which something lies wherever a command could write."""
    (here / "logs").mkdir()
    (here / "old").mkdir()
    (here / "p.csv").write_text("prompt_id,prompt,answer\n1,Why?,so\n")
    (here / "o.csv").write_text("prompt_id,model,score\n1,a,1\n")
    for _, name in WRITERS.values():
        (here / name).write_text("mine")
    return here


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", WRITERS)
def test_nothing_that_is_there_is_overwritten(old, monkeypatch, capsys, command):
    line, name = WRITERS[command]
    before = files_of(old)
    code, err = fail(monkeypatch, capsys, *line.split(), name.split("/")[0])
    assert code == 2
    assert name in err
    assert "with --overwrite" in err
    assert files_of(old) == before


@pytest.mark.parametrize("flag", [(), ("--overwrite",)])
@pytest.mark.parametrize(
    "line",
    [
        "predict --router zeroeval --prompts p.csv --out p.csv",
        "data split --prompts p.csv --out ./p.csv",
        "data sample --prompts p.csv --out link.csv",
        "data filter --prompts p.csv --outcomes o.csv --expert a --random 1 --out o.csv",
        "universe --outcomes o.csv --size 2 --out o.csv",
        "score --prompts p.csv --experts experts.toml --grader exact --out p.csv",
        "score --prompts p.csv --grader exact --answers p.csv --out new.csv",
        "data decontaminate --prompts p.csv --against o.csv --out n.csv --removed n.csv",
        "data from-logs --log p.csv --prompts n.csv --outcomes n.csv",
    ],
)
def test_a_file_that_a_command_reads_is_never_written(old, monkeypatch, capsys, line, flag):
    (old / "link.csv").symlink_to("p.csv")
    before = files_of(old)
    code, err = fail(monkeypatch, capsys, *line.split(), *flag)
    assert code == 2
    assert "choose another" in err
    assert files_of(old) == before


def test_the_prompts_that_a_grader_reads_are_not_written_from_a_harness(old, monkeypatch, capsys):
    code, err = fail(monkeypatch, capsys, *HARNESS, "--prompts", "p.csv")
    assert code == 2
    assert "--prompts: is a table to read" in err
    assert "--prompts-out" in err


@pytest.fixture
def broken(here, checkpoint):
    """A router whose weights cannot be loaded: whatever is said of the options was checked before."""
    shutil.copytree(checkpoint, here / "broken")
    (here / "broken" / "head.safetensors").write_bytes(b"no weights")
    (here / "p.csv").write_text("prompt_id,prompt,split\n1,Why?,dev\n")
    (here / "o.csv").write_text("prompt_id,model,score\n1,abacus,1\n1,talker,1\n")
    (here / "prices.csv").write_text(
        "model,input_usd_per_1m,output_usd_per_1m\nabacus,1,1\ntalker,2,2\ncalculator,3,3\n"
    )
    (here / "routoo.toml").write_text(ROUTOO_TOML.format(router="broken"))
    return here


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "calibrate --router broken --prompts p.csv --prices prices.csv --target-share takler=0.3",
            "'takler=0.3' is not EXPERT=0.3 for one of talker, calculator",
        ),
        (
            "calibrate --router broken --prompts p.csv --prices nowhere.csv --target-cost 1",
            "nowhere.csv: cannot be read",
        ),
        (
            "add-expert --router broken --prompts p.csv --outcomes o.csv --name a --prior takler --out n",
            "--prior: 'takler' is unknown",
        ),
        (
            "add-expert --router broken --prompts p.csv --outcomes o.csv --name talker --out n",
            "knows 'talker' already",
        ),
        (
            "suggest-prompts --router broken --prompts p.csv --n 2 --out n.csv",
            "--n: 2 of 1 prompts",
        ),
        (
            "evaluate --router zeroeval --router broken --prompts p.csv --outcomes o.csv --prices prices.csv --out n",
            "does not know abacus",
        ),
        (
            "replay --router broken --prompts p.csv --outcomes o.csv --prices prices.csv --limit 1",
            "does not know abacus",
        ),
    ],
)
def test_what_an_option_says_is_checked_before_the_router_is_loaded(
    broken, monkeypatch, capsys, line, message
):
    code, err = fail(monkeypatch, capsys, *line.split())
    assert code == 2
    assert message in err
    assert "weights" not in err


@pytest.mark.parametrize(
    ("old_text", "new_text", "message"),
    [
        ("[experts.talker]", "[experts.takler]", "the router does not know 'takler'"),
        ("[budget]", 'on_exhausted = "takler"\n[budget]', "expert 'takler' is not in the pool"),
        ("[budget]", "switch_margin = 2\n[budget]", "switch_margin: 2.0 is not between 0 and 1"),
        ('"lagrangian"', '"lagrangain"', "policy: 'lagrangain' is unknown"),
        ("[budget]", '[budget]\nledger = "radis://x"', "budget.ledger: 'radis://x' is unknown"),
    ],
)
def test_what_a_file_says_is_checked_before_the_router_is_loaded(
    broken, monkeypatch, capsys, old_text, new_text, message
):
    for name in ("routoo.toml", "experts.toml"):
        text = (broken / name).read_text()
        (broken / name).write_text(text.replace(old_text, new_text))
    code, err = fail(monkeypatch, capsys, "route", "hi")
    assert code == 2
    assert message in err


def test_files_that_are_not_there_are_named_before_anything_is_loaded(here, monkeypatch, capsys):
    for line, _ in WRITERS.values():
        if "p.csv" in line:
            code, err = fail(
                monkeypatch, capsys, *line.split(), "new.png" if "plot" in line else "new.csv"
            )
            assert code == 2
            assert "p.csv" in err or "o.csv" in err
            assert "no such file" in err


def test_every_command_that_writes_files_can_be_told_to_overwrite_them():
    writing = {"--out", "--plot", "--removed", "--prompts-out"}
    for commands in (COMMANDS, BUDGET_COMMANDS, DATA_COMMANDS, KEY_COMMANDS, PLANS_COMMANDS):
        for name, (target, line) in commands.items():
            options = {
                option
                for one in LazyCommand(name, target, line).load().params
                for option in one.opts
            }
            assert ("--overwrite" in options) == bool(
                options & writing or name.startswith("from-")
            ), name


def test_a_configuration_error_is_one_message_and_exit_code_2(here, monkeypatch, capsys):
    (here / "routoo.toml").write_text("router = 3")
    code, err = fail(monkeypatch, capsys, "route", "hi")
    assert code == 2
    assert "ConfigurationError: routoo.toml: router" in err
    assert "Traceback" not in err


def test_train_writes_a_router_that_route_can_use(here, tiny_model, toy_outcomes, monkeypatch):
    import pyarrow as pa
    from pyarrow import csv

    monkeypatch.setenv("ROUTOO_CACHE", str(here / "cache"))
    table = toy_outcomes
    prompts = {
        "prompt_id": table.prompt_ids,
        "prompt": table.prompts,
        "domain": table.domains,
        "split": table.splits,
    }
    seen = [
        (prompt, expert, float(score))
        for prompt, row in zip(table.prompt_ids, table.scores, strict=True)
        for expert, score in zip(table.experts, row, strict=True)
        if score == score
    ]
    outcomes = dict(
        zip(("prompt_id", "model", "score"), map(list, zip(*seen, strict=True)), strict=True)
    )
    for name, columns in (("p", prompts), ("o", outcomes)):
        csv.write_csv(
            pa.table({key: list(values) for key, values in columns.items()}), here / f"{name}.csv"
        )
    (here / "prices.csv").write_text(
        "model,input_usd_per_1m,output_usd_per_1m\ncalculator,2,2\ntalker,1,1\n"
    )
    (here / "train.toml").write_text(
        f'width = 8\nmembers = 1\nepochs = 10\nlearning_rate = 0.01\n[encoder]\nmodel = "{tiny_model}"\nlayers = [2]\n'
    )
    text = run("train", "--prompts", "p.csv", "--outcomes", "o.csv", "--out", "mine", "--config", "train.toml",
               "--prices", "prices.csv")  # fmt: skip
    assert "mine: mean AUC" in text
    assert "| oracle |" in text
    (here / "routoo.toml").write_text(ROUTOO_TOML.format(router="mine"))
    assert json.loads(run("route", "what is 12 + 30 ?", "--json"))["expert"] == "calculator"

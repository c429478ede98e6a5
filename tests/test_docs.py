"""The documentation is true: the blocks of a page run in turn, as in a notebook, and so do the examples."""

import ast
import inspect
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from scripted import LangSmith, StandIn
from typer.testing import CliRunner

from routoo_core.predictor import checkpoint as checkpoints
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.cli import app
from routoo_integrations.langchain import RoutooChatModel

ROOT = Path(__file__).parent.parent
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
NAMES = ("calculator", "talker")
ROUTOO_TOML = """
router = "{checkpoint}"
policy = "best"
[budgets.team]
limit = "5.00"
[budgets.intern]
within = "team"
limit = "2.00"
[budgets."*"]
within = "team"
limit = "2.00"
"""
EXPERT_TOML = """
[experts.{name}]
model = "{name}"
base_url = "{url}"
context_window = 8192
input_usd_per_1m = 1
output_usd_per_1m = 1
capabilities = ["tools", "json_schema", "images"]
"""


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the frameworks' own


@pytest.fixture
def page(request, checkpoint, monkeypatch, tmp_path):
    """The code of a page, in a folder with the files it speaks of and the keys it asks for."""
    with StandIn() as endpoint:
        experts = [EXPERT_TOML.format(name=name, url=endpoint.base_url) for name in NAMES]
        (tmp_path / "routoo.toml").write_text(ROUTOO_TOML.format(checkpoint=checkpoint))
        (tmp_path / "experts.toml").write_text("".join(experts))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):  # LangChain's, LlamaIndex's
            monkeypatch.setenv(name, endpoint.base_url)
        code = "".join(
            re.findall(
                r"```python\n(.*?)```", (DOCS / request.param).read_text(encoding="utf-8"), re.S
            )
        )
        yield code.replace('"http://localhost:11434/v1"', f'"{endpoint.base_url}"')


@pytest.mark.parametrize(
    "page", ["budgets.md", "goals.md", "langchain.md", "llama_index.md"], indirect=True
)
async def test_every_block_of_a_page_runs(page, capsys):
    code = compile(page, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    awaited = eval(code, {"__name__": "page"})
    if inspect.iscoroutine(awaited):
        await awaited
    assert capsys.readouterr().out


@pytest.fixture
def langsmith(make_router, monkeypatch):
    """A LangSmith that has a traced call of a routed chat model, with feedback."""
    traced = RunCollectorCallbackHandler(
        _schema_format="original+chat"
    )  # LangSmith's, which calls it an "llm"
    RoutooChatModel(make_router(), max_tokens=20).invoke(
        "Is 91 a prime number?", {"callbacks": [traced]}
    )
    run = json.loads(traced.traced_runs[0].model_dump_json(exclude={"attachments"}, warnings=False))
    with LangSmith(
        [{**run, "run_type": "llm", "feedback_stats": {"thumbs": {"n": 1, "avg": 1.0}}}]
    ) as url:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", url)
        monkeypatch.setenv("LANGSMITH_API_KEY", "x")
        yield


@pytest.mark.parametrize("page", ["feedback.md"], indirect=True)
def test_the_page_on_feedback_runs_and_its_commands_read_what_it_logged(page, langsmith):
    page = page.replace("gpt-5.5", "calculator")
    exec(compile(page, "page", "exec"), {"__name__": "page"})
    text = (DOCS / "feedback.md").read_text(encoding="utf-8").replace("gpt-5.5", "calculator")
    for line in "".join(re.findall(r"```console\n(.*?)```", text, re.S)).splitlines():
        done = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
        assert done.exit_code == 0, f"{line}\n{done.output}"
    assert Path("weeks.png").is_file()
    found = json.loads(
        CliRunner().invoke(app, ["feedback", "calls.jsonl", "runs.jsonl", "--json"]).stdout
    )
    assert (
        sum(week["calls"] for week in found["weeks"]),
        found["shadow"]["calls"],
        found["judged"],
    ) == (4, 1, 4)
    assert len(Path("logged-outcomes.csv").read_text().splitlines()) > 1


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*_*.py")), ids=lambda path: path.stem)
def test_every_example_runs(path, monkeypatch, capsys):
    """With a predictor that knows the shipped router's experts, and no model behind the endpoint."""

    def equal(folder, device="auto"):
        return FakePredictor(dict.fromkeys(checkpoints.read_config(folder).experts, 0.5))

    monkeypatch.setattr(checkpoints, "load_checkpoint", equal)
    monkeypatch.setattr("routoo_core.local_endpoint.LocalEndpoint", StandIn)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    runpy.run_path(str(path), run_name="__main__")
    assert "USD" in capsys.readouterr().out


def anew(body):
    """The question of a request in other words."""
    return Reply(
        f"Name the successor of {re.findall('[0-9]+', body['messages'][0]['content'])[-1]}."
    )


@pytest.fixture
def collected(tmp_path, monkeypatch, endpoint):
    """A folder with the files that docs/data.md speaks of."""
    monkeypatch.chdir(tmp_path)
    questions = [
        f"Which of these numbers comes right after {n} when we count?" for n in range(1100)
    ]
    lines = [
        {"qid": str(n), "question": text, "subject": "sums"} for n, text in enumerate(questions)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "test.csv").write_text(
        "prompt_id,prompt\nt1,Who painted the ceiling of the Sistine Chapel in Rome?\n"
    )
    pairs = [
        f"{n},{model},{n % place % 2}"
        for n in range(1100)
        for place, model in enumerate(("small", "big"), start=2)
    ]
    (tmp_path / "outcomes.csv").write_text("prompt_id,model,score\n" + "\n".join(pairs))
    (tmp_path / "experts.toml").write_text(EXPERT_TOML.format(name="gpt-4o", url=endpoint.base_url))
    endpoint.replies["gpt-4o"] = anew
    run = {
        "model": "small",
        "messages": [{"role": "user", "content": "Hi"}],
        "feedback": {"correctness": 1},
    }
    (tmp_path / "runs.jsonl").write_text(json.dumps(run))


def test_every_command_of_the_page_on_data_runs_as_printed(collected):
    """All but those that need the hub, whose names and options are checked."""
    blocks = re.findall(
        r"```console\n(.*?)```", (DOCS / "data.md").read_text(encoding="utf-8"), re.S
    )
    for line in "".join(blocks).splitlines():
        command = shlex.split(line)[1:]
        offline = "--source" not in command
        done = CliRunner().invoke(app, command if offline else [*command, "--help"])
        assert done.exit_code == 0, f"{line}\n{done.output}"
        if offline:
            assert Path(
                command[command.index("--outcomes" if "from-logs" in command else "--out") + 1]
            ).is_file()


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_every_file_a_page_points_to_is_there(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).is_file(), target

"""The documentation is true: the blocks of a page run in turn, as in a notebook, and so do the examples."""

import ast
import inspect
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer
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
GENERATED = {"commands.md", "contributing.md", "changelog.md"}
"""Pages of the site that its hooks make."""
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
    "page",
    [
        "budgets.md",
        "cache.md",
        "checks.md",
        "plans.md",
        "from_routellm.md",
        "goals.md",
        "guides/agent.md",
        "guides/own_models.md",
        "guides/own_router.md",
        "guides/team_budget.md",
        "langchain.md",
        "llama_index.md",
        "routing.md",
    ],
    indirect=True,
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


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
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
    fights = [f"m{n % 12},m{(n + 1) % 12},{text},model_a" for n, text in enumerate(questions)]
    (tmp_path / "arena.csv").write_text("model_a,model_b,prompt,winner\n" + "\n".join(fights))


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
                command[command.index("--out" if "--out" in command else "--outcomes") + 1]
            ).is_file()


@pytest.fixture
def graded_pair(tmp_path, monkeypatch):
    """A folder with the tables that docs/pairwise.md speaks of: a dear expert that is better at sums."""
    monkeypatch.chdir(tmp_path)
    prompts = ["prompt_id,prompt,split"]
    outcomes = ["prompt_id,model,score"]
    for number in range(240):
        is_sum = number % 2 == 0
        text = f"What is {number} plus {number}?" if is_sum else f"Write poem {number} about rain."
        prompts.append(f"{number},{text},{'dev' if number % 5 == 0 else 'train'}")
        outcomes.append(f"{number},weak,{0 if is_sum else 1}")
        outcomes.append(f"{number},strong,{0 if number % 7 == 0 else 1}")
    (tmp_path / "mine.csv").write_text("\n".join(prompts))
    (tmp_path / "outcomes.csv").write_text("\n".join(outcomes))
    (tmp_path / "prices.csv").write_text(
        "model,input_usd_per_1m,output_usd_per_1m\nweak,1,1\nstrong,10,30\n"
    )
    (tmp_path / "ngrams.toml").write_text('encoder = { model = "ngrams:256" }\n')


def test_the_commands_of_the_page_on_pairwise_routers_train_and_calibrate(graded_pair):
    """As printed, but with n-grams, which need no language model."""
    blocks = re.findall(
        r"```console\n(.*?)```", (DOCS / "pairwise.md").read_text(encoding="utf-8"), re.S
    )
    outputs = []
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        command = shlex.split(line)[1:]
        if command[0] == "train":
            command += ["--config", "ngrams.toml"]
        if command[0] in ("train", "calibrate"):
            done = CliRunner().invoke(app, command)
            assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception}"
            outputs.append(done.output)
    assert len(outputs) == 3
    assert "router-factors-" in outputs[-1]


PAGES = sorted(DOCS.rglob("*.md"))
RUN_AS_PRINTED = {
    "feedback.md",
    "gateway.md",  # by tests/test_gateway_docs.py
    "quickstart.md",  # by tests/test_readme.py
}
"""Pages whose Python runs in another test than ``test_every_block_of_a_page_runs``."""


def test_python_of_every_page_runs_in_some_test(request):
    marks = test_every_block_of_a_page_runs.pytestmark
    run = {page for mark in marks if mark.name == "parametrize" for page in mark.args[1]}
    for path in PAGES:
        name = path.relative_to(DOCS).as_posix()
        if "```python" in path.read_text(encoding="utf-8"):
            assert name in run | RUN_AS_PRINTED, f"{name} has Python that no test runs"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_file_a_page_points_to_is_there(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if target not in GENERATED:
            assert (path.parent / target).is_file(), target


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", *PAGES],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_command_a_page_shows_has_the_options_it_is_given(path):
    """Commands of console blocks, in the prose too; their options are looked up, nothing runs."""
    root = typer.main.get_command(app)
    blocks = re.findall(r"```console\n(.*?)```", path.read_text(encoding="utf-8"), re.S)
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        if not re.match(r"(\.venv/bin/)?routoo ", line):
            continue
        command, words = root, shlex.split(line, comments=True)[1:]
        while words and words[0] != "--help" and hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        known = {"--help"}
        if words and words[0] != "--help":
            parameters = command.load().params
            known |= {
                option for each in parameters for option in [*each.opts, *each.secondary_opts]
            }
        for word in words:
            if word.startswith("--"):
                assert word in known, f"{line}: {word}"

"""The five commands of the page on training lead from three endpoints and two hundred prompts to a router that routes."""

import re
import shlex
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv
from typer.testing import CliRunner

from routoo_core.testing import Reply
from routoo_integrations.cli import app

PAGE = (Path(__file__).parent.parent / "docs" / "training.md").read_text(encoding="utf-8")
COMMANDS = re.search(r"```console\n(.*?)```", PAGE, re.S)[1].strip().splitlines()
EXPERT = """
[experts.{name}]
base_url = "{url}"
input_usd_per_1m = {usd}
output_usd_per_1m = {usd}
"""
TRAIN_TOML = """
width = 8
members = 2
epochs = 25
learning_rate = 0.01
[encoder]
model = "{model}"
layers = [1, 2]
"""


def sums(body):
    found = re.search(r"(\d+) \+ (\d+)", body["messages"][-1]["content"])
    return Reply(str(int(found[1]) + int(found[2])) if found else "no idea")


def greetings(body):
    return Reply("no idea" if "+" in body["messages"][-1]["content"] else "hello")


@pytest.fixture
def folder(endpoint, tiny_model, tmp_path, monkeypatch):
    """What the page's reader has: experts, prompts with answers, and routoo.toml for the router to come."""
    endpoint.replies = {"calculator": sums, "talker": greetings, "mute": Reply("no idea")}
    prices = {"calculator": 3, "talker": 1, "mute": 2}
    experts = [
        EXPERT.format(name=name, url=endpoint.base_url, usd=usd) for name, usd in prices.items()
    ]
    (tmp_path / "experts.toml").write_text("".join(experts))
    rows = [(f"what is {i} + {i + 7} ?", str(2 * i + 7), "sums") for i in range(10, 110)]
    rows += [(f"hello there, dear friend number {i}", "hello", "greetings") for i in range(100)]
    columns = dict(
        zip(("prompt", "answer", "domain"), map(list, zip(*rows, strict=True)), strict=True)
    )
    csv.write_csv(
        pa.table({"prompt_id": [f"p{i}" for i in range(200)], **columns}), tmp_path / "mine.csv"
    )
    (tmp_path / "routoo.toml").write_text('router = "my-router"\npolicy = "best"\n')
    (tmp_path / "train.toml").write_text(
        TRAIN_TOML.format(model=tiny_model)
    )  # instead of 93 MB of weights
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_five_commands_lead_to_a_router_that_routes(folder):
    assert [shlex.split(command)[1] for command in COMMANDS] == [
        "score",
        "universe",
        "train",
        "evaluate",
        "route",
    ]
    for command in COMMANDS:
        words = shlex.split(command)[1:] + (
            ["--config", "train.toml"] if " train " in command else []
        )
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, (command, done.output)
    assert "calculator: predicted quality" in done.stdout
    hello = CliRunner().invoke(app, ["route", "hello there, dear friend"], catch_exceptions=False)
    assert "talker: predicted quality" in hello.stdout
    assert set(csv.read_csv(folder / "chosen.csv")["model"].to_pylist()) == {"calculator", "talker"}

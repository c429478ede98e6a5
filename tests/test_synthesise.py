"""``routoo data synthesise``: more prompts like the seeds, read strictly, paid within a budget, asked for once."""

import json
import re

import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from typer.testing import CliRunner

from routoo_core.data.seeds import Seed, parse_reply
from routoo_core.data.synthesise import SYNTHESIS_PRESETS, SynthesisSettings, synthesis_request
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.scoring.graders import Letter
from routoo_core.testing import Reply
from routoo_integrations.cli import app

ITEM = "##Question:\nWhat is {n} and 1?\n##Choices:\nA. {n}\nB. {m}\nC. none\nD. all\n##Answer: B"
CHOICES = 4


@pytest.fixture
def folder(tmp_path, monkeypatch, endpoint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experts.toml").write_text(
        f'[experts.writer]\nbase_url = "{endpoint.base_url}"\ninput_usd_per_1m = 10\noutput_usd_per_1m = 10\n'
        "context_window = 32768\n"
    )
    seeds = {
        "prompt_id": [f"s{i}" for i in range(12)],
        "prompt": [f"What is seed {i}?" for i in range(12)],
        "domain": ["law"] * 6 + ["physics"] * 6,
        "choices": ['["one", "two", "three", "four"]'] * 12,
        "answer": ["C"] * 12,
    }
    csv.write_csv(pa.table(seeds), tmp_path / "seeds.csv")
    return tmp_path


def run(*options, budget="1.00"):
    command = [
        "data",
        "synthesise",
        "--prompts",
        "seeds.csv",
        "--expert",
        "writer",
        "--out",
        "new.parquet",
    ]
    return CliRunner().invoke(app, [*command, "--budget", budget, "--json", *options])


def asked(body):
    return body["messages"][0]["content"]


def set_of(body):
    return int(re.search(r"set (\d+) of", asked(body))[1])


def questions(body):
    """Two new questions a set, one that repeats a seed, and one cut short."""
    n = 10 * set_of(body)
    repeated = "##Question:\nwhat is SEED 3\n##Choices:\nA. a\nB. b\nC. c\nD. d\n##Answer: A"
    items = [
        ITEM.format(n=n, m=n + 1),
        ITEM.format(n=n + 1, m=n + 2),
        repeated,
        "##Question:\nWhat is cut sh",
    ]
    return Reply("Here they are:\n\n" + "\n\n".join(items))


def test_questions_are_written_read_and_counted(folder, endpoint):
    endpoint.replies["writer"] = questions
    done = run("--requests", "6", "--each", "4")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {k: told[k] for k in ("written", "malformed", "repeated", "unanswered")} == {
        "written": 12,
        "malformed": 6,
        "repeated": 6,
        "unanswered": 0,
    }
    rows = parquet.read_table("new.parquet").to_pylist()
    assert rows[0]["prompt"] == "What is 10 and 1?"
    assert (json.loads(rows[0]["choices"]), rows[0]["answer"]) == (["10", "11", "none", "all"], "B")
    assert len({row["prompt_id"] for row in rows}) == 12
    Letter().check(rows[0])  # what is written can be scored as it is
    manifest = json.loads((folder / "new.parquet.manifest.json").read_text())
    assert manifest["settings"]["temperature"] == 0.7
    assert manifest["counts"]["written"] == 12


def test_each_request_shows_five_seeds_of_one_subject_and_names_it(folder, endpoint):
    endpoint.replies["writer"] = questions
    run("--requests", "8", "--each", "7")
    assert {body["temperature"] for body in endpoint.requests} == {0.7}
    for body in endpoint.requests:
        shown = [int(n) for n in re.findall(r"What is seed (\d+)", asked(body))]
        subject = "law" if shown[0] < 6 else "physics"
        assert len(set(shown)) == 5
        assert {n < 6 for n in shown} == {subject == "law"}
        assert f"Make up 7 difficult multiple-choice questions on {subject}" in asked(body)
        assert asked(body).count("##Answer: C") == 5
    assert len({asked(body) for body in endpoint.requests}) == 8
    domains = {row["domain"] for row in parquet.read_table("new.parquet").to_pylist()}
    assert domains == {"law", "physics"}


def test_a_run_that_stopped_goes_on_and_asks_nothing_twice(folder, endpoint):
    endpoint.replies["writer"] = questions
    done = run("--requests", "10", "--each", "4", "--concurrency", "1", budget="0.02")
    assert done.exit_code == 3
    told = json.loads(done.stdout)
    assert 0 < told["unanswered"] < 10
    assert "the budget is exhausted" in next(iter(told["missing"]))
    assert run("--requests", "10", "--each", "4").exit_code == 0
    assert len(endpoint.requests) == 10
    again = parquet.read_table("new.parquet")
    assert run("--requests", "10", "--each", "4", budget="0.00").exit_code == 0
    assert parquet.read_table("new.parquet").equals(again)
    assert len(endpoint.requests) == 10


def test_a_few_prompts_of_ones_own_domain_are_enough(folder, endpoint):
    seeds = {
        "prompt_id": ["a", "b"],
        "prompt": ["Where is my parcel?", "Cancel my order\n\nplease"],
    }
    csv.write_csv(pa.table(seeds), folder / "seeds.csv")
    endpoint.replies["writer"] = lambda body: Reply(
        f"##Prompt:\nCan I return set {set_of(body)}?\n\n##Prompt:\nwhere is my parcel\n\n##Prompt:\n\n"
    )
    done = run("--requests", "3")
    told = json.loads(done.stdout)
    assert (told["written"], told["repeated"], told["malformed"]) == (3, 3, 3)
    rows = parquet.read_table("new.parquet").to_pylist()
    assert [row["prompt"] for row in rows] == [f"Can I return set {n}?" for n in (1, 2, 3)]
    assert "choices" not in rows[0]
    assert "Cancel my order" in asked(endpoint.requests[0])


@pytest.mark.parametrize(
    "piece",
    [
        ITEM.format(n=1, m=2).replace("##Answer: B", ""),
        ITEM.format(n=1, m=2).replace("Answer: B", "Answer: E"),
        ITEM.format(n=1, m=2).replace("D. all\n", ""),
        ITEM.format(n=1, m=2).replace("D. all", "D. all\nE. more"),
        ITEM.format(n=1, m=2).replace("C. none", "D. none"),
        ITEM.format(n=1, m=2).replace("C. none", "C. 1"),
        ITEM.format(n=1, m=2).replace("What is 1 and 1?", ""),
        ITEM.format(n=1, m=2).replace("C. none", "C."),
    ],
)
def test_a_piece_of_another_form_is_malformed(piece):
    assert list(parse_reply(piece, CHOICES)) == [None]
    *_, last = parse_reply(f"{piece}\n\n{ITEM.format(n=7, m=8)}", CHOICES)
    assert last.prompt == "What is 7 and 1?"


def test_a_request_is_the_same_every_time_and_another_for_another_seed():
    seeds = [Seed(f"p{i}") for i in range(9)]
    settings = SynthesisSettings()
    other = SynthesisSettings(seed=1)
    first = synthesis_request(seeds, 3, settings, 4096)
    assert first == synthesis_request(seeds, 3, settings, 4096)
    assert first != synthesis_request(seeds, 3, other, 4096)


def test_the_papers_preset_is_the_papers():
    paper = SYNTHESIS_PRESETS["paper"]
    assert (paper.each, paper.requests, paper.seeds, paper.temperature) == (100, 200, 5, 0.7)


def test_bad_input_is_refused_before_anything_is_spent(folder, endpoint):
    for options, message in (
        (("--preset", "huge"), "--preset: 'huge'"),
        (("--each", "0"), "synthesise: each"),
    ):
        refused = run(*options)
        assert isinstance(refused.exception, ConfigurationError)
        assert message in str(refused.exception)
    text = (folder / "seeds.csv").read_text().replace('"C"', '"Z"', 1)
    (folder / "seeds.csv").write_text(text)
    refused = run()
    assert isinstance(refused.exception, OutcomesError)
    assert "seeds.csv: row 1: answer: 'Z' is none of the 4 choices" in str(refused.exception)
    assert not endpoint.requests

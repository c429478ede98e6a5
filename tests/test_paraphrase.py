"""``routoo data paraphrase``: prompts in other words, read strictly, paid within a budget, asked for once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from typer.testing import CliRunner

from routoo_core.data.paraphrase import FAULTS, find_fault, paraphrase_request
from routoo_core.errors import OutcomesError
from routoo_core.prompts import read_prompts
from routoo_core.testing import Reply
from routoo_integrations.cli import app

ROOT = Path(__file__).parent.parent
CHOICES = "\nA. one\nB. two\nC. three"
COMMAND = [
    "data",
    "paraphrase",
    "--prompts",
    "p.csv",
    "--expert",
    "writer",
    "--out",
    "new.parquet",
    "--json",
]
KEY = "sk-not-to-be-seen"


@pytest.fixture
def folder(tmp_path, monkeypatch, endpoint):
    """Twelve dev prompts and as many train ones, every other with choices, and an expert that says them anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WRITER_KEY", KEY)
    (tmp_path / "experts.toml").write_text(
        f'[experts.writer]\nbase_url = "{endpoint.base_url}"\napi_key_env = "WRITER_KEY"\ninput_usd_per_1m = 10\n'
        "output_usd_per_1m = 10\ncontext_window = 32768\n"
    )
    table = {
        "prompt_id": list(range(24)),
        "prompt": [f"What comes after {n}?{CHOICES if n % 4 < 2 else ''}" for n in range(24)],
        "domain": ["sums"] * 24,
        "split": ["dev", "train"] * 12,
    }
    csv.write_csv(pa.table(table), tmp_path / "p.csv")
    endpoint.replies["writer"] = lambda body: Reply(f"Name what follows {number(body)}, please.")
    return tmp_path


def run(*options, budget="1.00"):
    return CliRunner().invoke(app, [*COMMAND, "--budget", budget, *options])


def asked(body):
    return body["messages"][0]["content"]


def number(body):
    return int(asked(body).rsplit("after ", 1)[1].rstrip("?"))


def written():
    return parquet.read_table("new.parquet").to_pylist()


def test_dev_prompts_are_said_in_other_words_under_their_own_ids(folder):
    done = run()
    assert done.exit_code == 0, done.output
    assert [row["prompt_id"] for row in written()] == [str(n) for n in range(0, 24, 2)]
    assert {row["split"] for row in written()} == {"dev"}
    assert {row["domain"] for row in written()} == {"sums"}
    told = json.loads(done.stdout)
    assert (told["written"], told["unanswered"], told["missing"]) == (12, 0, {})
    assert {told[reason] for reason in FAULTS} == {0}
    assert float(told["spent_usd"]) > 0
    manifest = json.loads((folder / "new.parquet.manifest.json").read_text())
    assert (manifest["step"], manifest["counts"]["written"]) == ("routoo data paraphrase", 12)
    assert (manifest["settings"]["seed"], manifest["settings"]["temperature"]) == (0, 0.7)


def test_choices_are_not_shown_and_stay_as_they_are(folder, endpoint):
    run()
    assert written()[0]["prompt"] == f"Name what follows 0, please.{CHOICES}"
    assert written()[1]["prompt"] == "Name what follows 2, please."
    assert not any("A. one" in asked(body) for body in endpoint.requests)
    assert ["choices" in asked(body) for body in endpoint.requests].count(True) == 6


def test_some_are_drawn_by_seed_and_fewer_are_part_of_more(folder):
    drawn = {}
    for options in (("--n", "3"), ("--n", "6"), ("--n", "3", "--seed", "1")):
        assert run(*options, "--overwrite").exit_code == 0
        drawn[options] = {row["prompt_id"] for row in written()}
    few, more, others = drawn.values()
    assert (len(few), len(more)) == (3, 6)
    assert few < more
    assert few != others


def test_of_a_table_without_splits_those_are_drawn_that_are_evaluated_on(folder):
    table = csv.read_csv("p.csv").drop_columns(["split", "domain"])
    csv.write_csv(table, "p.csv")
    assert run().exit_code == 0
    prompts = read_prompts(Path("p.csv"))
    held_out = set(prompts.take(prompts.rows("dev")).ids)
    assert {row["prompt_id"] for row in written()} == held_out
    assert list(written()[0]) == ["prompt_id", "prompt"]


def test_what_cannot_be_used_is_dropped_and_counted_by_reason(folder, endpoint):
    bad = {
        0: "",
        2: "what comes AFTER (2)",
        4: "Name what follows 5, please.",
        6: "Name what follows 6 and 6.",
        8: f"Name what follows 8.{CHOICES}",
        10: "Sure! Here it is:\n\nName what follows 10.",
        12: "Name what follows 12. " * 1000,
        14: "<think>They want 15",
    }
    endpoint.replies["writer"] = lambda body: Reply(
        bad.get(number(body), f"<think>Hm.</think>\nAfter {number(body)}?")
    )
    done = run()
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {name: told[name] for name in ("written", *FAULTS)} == {
        "written": 4,
        "cut_off": 1,
        "empty": 2,
        "same_words": 1,
        "changed_numbers": 2,
        "changed_choices": 1,
        "added_paragraphs": 1,
    }
    assert [row["prompt"].splitlines()[0] for row in written()] == [
        f"After {n}?" for n in (16, 18, 20, 22)
    ]


@pytest.mark.parametrize(
    ("prompt", "said", "why"),
    [
        ("Is 1,000 more than 3/4?", "Does 1000 exceed 3 / 4?", None),
        ("Add 2, 3 and 3.", "What do 3, 2 and 3 make?", None),
        ("Add 2, 3 and 3.", "What do 2 and 3 make?", "changed_numbers"),
        ("Add two and three.", "What do 2 and three make?", "changed_numbers"),
        ("Is -5 less than 5?", "Is 5 below 5?", "changed_numbers"),
        ("One.\n\nTwo.", "First.\n\nSecond.", None),
        ("Who was it?\n(A) I\n(B) you", "Who did it?\n(A) he\n(B) she", "changed_choices"),
        ("…", "...", "same_words"),
    ],
)
def test_a_paraphrase_keeps_numbers_choices_and_paragraphs(prompt, said, why):
    assert find_fault(prompt, said) == why


def test_a_request_has_room_for_the_text_and_never_more_than_the_expert_can_say():
    assert paraphrase_request("Why? " * 1000, 8192).max_tokens > 4000
    assert paraphrase_request("Why? " * 1000, 64).max_tokens == 64
    assert paraphrase_request(f"Why?{CHOICES}", 4096).messages[0][1].endswith("\n\nWhy?")


def test_a_budget_too_small_keeps_what_it_has_and_goes_on_later(folder, endpoint):
    endpoint.replies["writer"] = lambda body: Reply(f"After {number(body)}?", prompt_tokens=100)
    done = run("--concurrency", "1", budget="0.014")
    assert done.exit_code == 3
    told = json.loads(done.stdout)
    assert 0 < told["unanswered"] < 12
    assert "the budget is exhausted" in next(iter(told["missing"]))
    assert len(written()) == told["written"] == 12 - told["unanswered"]
    assert run().exit_code == 0
    assert len(endpoint.requests) == 12
    whole = written()
    assert run(budget="0.00").exit_code == 0
    assert written() == whole
    assert len(endpoint.requests) == 12


@pytest.mark.slow
def test_a_killed_run_asks_again_only_what_was_in_flight(folder, endpoint):
    endpoint.replies["writer"] = lambda body: Reply(
        f"After {number(body)}?", delay_s=30 if len(endpoint.requests) == 5 else 0
    )
    command = [sys.executable, "-m", "routoo_core", *COMMAND, "--budget", "1", "--concurrency", "1"]
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, env=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(endpoint.requests) < 5 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert run().exit_code == 0
    texts = [asked(body) for body in endpoint.requests]
    assert (len(texts), len(set(texts))) == (13, 12)
    assert texts.count(texts[4]) == 2


def test_the_key_is_nowhere_in_what_is_written_or_said(folder, endpoint):
    endpoint.replies["writer"] = Reply(status=401)
    said = [run().output]
    endpoint.replies["writer"] = lambda body: Reply(f"After {number(body)}?")
    said.append(run().output)
    assert "it refuses calls" in said[0]
    files = [path.read_bytes() for path in folder.iterdir()]
    assert len(files) >= 5
    assert not any(KEY.encode() in content for content in (*files, *map(str.encode, said)))


def test_a_table_that_cannot_be_used_is_refused_before_anything_is_spent(folder, endpoint):
    text = (folder / "p.csv").read_text()
    for changed, message in (
        (
            text.replace('"dev"', '"test"'),
            r"p\.csv: split: no prompt is 'dev'; write the column anew",
        ),
        (text.replace("prompt_id", "name"), r"p\.csv: row 1: column 'prompt_id' is missing"),
    ):
        (folder / "p.csv").write_text(changed)
        with pytest.raises(OutcomesError, match=message):
            raise run().exception
    assert not endpoint.requests

"""``routoo data``: each step reads a table, writes one, and says in a manifest what it did to what."""

import hashlib
import json
from dataclasses import replace

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet
from typer.testing import CliRunner

from routoo_core.data.collection import read_source
from routoo_core.data.decontamination import LeakRule, decontaminate
from routoo_core.data.rows import PromptRow
from routoo_core.data.sources import SOURCES
from routoo_core.data.splitting import sample_prompts
from routoo_core.errors import OutcomesError
from routoo_core.monitoring.ratings import FeedbackScale
from routoo_core.monitoring.tables import read_log_tables
from routoo_core.outcomes import read_outcomes
from routoo_integrations import cli
from routoo_integrations.cli import app

ROWS = {  # as the sets hold them; the texts are made up
    "arc-easy": {
        "id": "1",
        "question": "Wet?",
        "choices": {"text": ["sun", "sea"], "label": ["1", "2"]},
        "answerKey": "2",
    },
    "openbookqa": {
        "question_stem": "Hot?",
        "choices": {"text": ["ice", "fire"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "mctest-160": {
        "story": "Tom has a cat.",
        "question": "Whose cat?",
        "answer_options": {"A": "Ann's", "B": "Tom's", "C": "none", "D": "all"},
        "answer": "B",
    },
    "race": {
        "article": "It rained.",
        "question": "What fell?",
        "options": ["snow", "rain", "hail", "ash"],
        "answer": "B",
    },
    "truthfulqa": {
        "question": "Do fish fly?",
        "mc1_targets": {"choices": ["Some glide", "Yes", "All"], "labels": [1, 0, 0]},
    },
    "mmlu-dev": {
        "question": "1+1?",
        "subject": "algebra",
        "choices": ["1", "2", "3", "4"],
        "answer": 1,
    },
}
RIGHT = {
    "arc-easy": "sea",
    "openbookqa": "fire",
    "mctest-160": "Tom's",
    "race": "rain",
    "truthfulqa": "Some glide",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    done = CliRunner().invoke(app, ["data", *map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["routoo", "data", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def prompts(folder, count=200, name="p.csv"):
    texts = "".join(f'q{i},"What is {i} plus {i * 7}?",sums\n' for i in range(count))
    (folder / name).write_text("prompt_id,prompt,domain\n" + texts)
    return name


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_each_public_set_becomes_a_question_with_its_right_answer(name):
    (row,) = read_source(name, "test", Dataset.from_list([ROWS[name]]))
    choices = json.loads(row.choices)
    assert choices["ABCD".index(row.answer)] == RIGHT.get(name, "2")
    assert row.prompt.endswith("?")
    assert row.licence


def test_a_passage_comes_before_its_question_and_a_subject_is_the_domain():
    (row,) = read_source("race", "test", [ROWS["race"]])
    assert row.prompt == "It rained.\n\nWhat fell?"
    (row,) = read_source("mmlu-dev", "dev", [ROWS["mmlu-dev"]])
    assert (row.domain, row.prompt_id) == ("algebra", "mmlu-dev-dev-1")


def test_a_public_set_is_loaded_by_datasets_and_what_does_not_look_like_it_is_refused(
    here, monkeypatch
):
    Dataset.from_list([ROWS["arc-easy"]] * 2).to_parquet(here / "hub" / "ARC" / "test.parquet")
    local = replace(
        SOURCES["arc-easy"],
        hub_id=str(here / "hub" / "ARC"),
        subset=None,
        splits=("test",),
    )
    monkeypatch.setitem(SOURCES, "arc-easy", local)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", here / "cache")
    manifest = run("collect", "--source", "arc-easy", "--out", "pool.parquet")
    assert manifest["counts"] == {"arc-easy": 2, "repeated": 1}
    assert manifest["inputs"][0]["hub_id"] == local.hub_id
    with pytest.raises(OutcomesError, match="race: test, row 1: KeyError"):
        list(read_source("race", "test", [{"question": "?"}]))


def test_ones_own_files_come_through_the_same_door_under_their_own_column_names(here):
    (here / "a.jsonl").write_text(
        '{"question": "Red?", "options": ["blood", "snow"], "label": "A", "license": "MIT"}\n'
    )
    (here / "b.csv").write_text("id,body,subject\n7,Blue?,colours\n8,red!,colours\n")
    parquet.write_table(csv.read_csv("b.csv"), "c.parquet")
    manifest = run(
        "collect",
        "--file",
        "b.csv",
        "--file",
        "c.parquet",
        "--column",
        "prompt=body",
        "--out",
        "o.csv",
    )
    assert csv.read_csv("o.csv")["prompt_id"].to_pylist() == [7, 8]
    assert manifest["counts"] == {"b": 2, "c": 2, "repeated": 2}
    manifest = run("collect", "--file", "a.jsonl", "--out", "a.parquet")
    (row,) = parquet.read_table("a.parquet").to_pylist()
    assert (row["prompt"], json.loads(row["choices"]), row["answer"]) == (
        "Red?",
        ["blood", "snow"],
        "A",
    )
    assert manifest["licences"] == {"MIT": 1}


def test_a_manifest_names_what_went_in_and_came_out_by_its_hash(here):
    manifest = run(
        "sample", "--prompts", prompts(here), "--n", "10", "--seed", "3", "--out", "s.csv"
    )
    assert json.loads((here / "s.csv.manifest.json").read_text()) == manifest
    assert manifest["step"] == "routoo data sample"
    assert manifest["settings"]["seed"] == 3
    assert manifest["inputs"] == [
        {"path": "p.csv", "sha256": hashlib.sha256((here / "p.csv").read_bytes()).hexdigest()}
    ]
    assert manifest["output"]["sha256"] == hashlib.sha256((here / "s.csv").read_bytes()).hexdigest()
    assert manifest["output"]["rows"] == 10
    again = ("sample", "--prompts", "p.csv", "--n", "10", "--seed", "3", "--out", "s.csv")
    assert run(*again, "--overwrite") == manifest


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5), st.randoms())
def test_a_smaller_sample_is_part_of_a_larger_one_whatever_the_order(few, many, seed, random):
    rows = [PromptRow.of(f"q{i}", "?") for i in range(40)]
    few, many = sorted((few, many))
    small = sample_prompts(rows, few, seed).rows
    random.shuffle(rows)
    large = sample_prompts(rows, many, seed).rows
    assert {row.prompt_id for row in small} <= {row.prompt_id for row in large}
    assert (len(small), len(large)) == (few, many)


def test_a_question_is_on_the_same_side_with_and_without_its_choices(here):
    texts = [f"Which number comes after {i}" for i in range(300)]
    (here / "p.csv").write_text(
        "prompt_id,prompt\n" + "".join(f"{i},{t}?\n" for i, t in enumerate(texts))
    )
    listed = "".join(f'{i},"{t.upper()}?\nA. {i}\nB. {i + 1}"\n' for i, t in enumerate(texts))
    (here / "listed.csv").write_text("prompt_id,prompt\n" + listed)
    counts = run("split", "--prompts", "p.csv", "--dev-share", "0.3", "--out", "one.parquet")[
        "counts"
    ]
    run("split", "--prompts", "listed.csv", "--dev-share", "0.3", "--out", "two.parquet")
    one, two = (
        parquet.read_table(f"{name}.parquet")["split"].to_pylist() for name in ("one", "two")
    )
    assert one == two
    assert 60 < counts["dev"] < 120


def test_what_the_reference_fails_is_kept_with_some_of_the_others(here):
    scores = "".join(f"q{i},small,{0 if i < 50 else 1}\nq{i},big,1\n" for i in range(180))
    (here / "o.csv").write_text("prompt_id,model,score\n" + scores)
    arguments = ("filter", "--prompts", prompts(here), "--outcomes", "o.csv", "--out", "hard.csv")
    counts = run(*arguments, "--expert", "small", "--random", "30")["counts"]
    assert counts == {"given": 200, "failed": 50, "random": 30, "not_scored": 20}
    kept = csv.read_csv("hard.csv")["prompt_id"].to_pylist()
    assert len(kept) == 80
    assert {f"q{i}" for i in range(50)} <= set(kept)
    assert not {f"q{i}" for i in range(180, 200)} & set(kept)
    assert kept == sorted(kept, key=lambda name: int(name[1:]))


def test_the_papers_preset_is_its_reference_and_ten_thousand_others(here, monkeypatch, capsys):
    (here / "o.csv").write_text(
        "prompt_id,model,score\nq1,SOLAR-10.7B-v1.0,1\nq2,SOLAR-10.7B-v1.0,0\n"
    )
    arguments = (
        "filter",
        "--prompts",
        prompts(here),
        "--outcomes",
        "o.csv",
        "--out",
        "hard.csv",
        "--preset",
        "paper",
    )
    assert "so 10000 are too many" in refused(monkeypatch, capsys, *arguments)
    assert run(*arguments, "--random", "1")["counts"]["failed"] == 1


QUESTION = "A crate of nine kilograms is pulled along a rough floor by a rope at an angle of thirty degrees"
SHORT = "Name the largest moon of the planet Saturn"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (QUESTION, "exact"),
        (QUESTION.upper() + " ?!", "exact"),
        (f"{QUESTION}\nA. 3\nB. 4", "exact"),
        (QUESTION.replace("nine", "seven"), "ngram"),
        (f"Please help me. {QUESTION}. Thanks.", "ngram"),
        (f"Tell me this: {SHORT}, quickly", "ngram"),
        ("Name the largest moon of a planet Saturn", "near"),
        ("Name teh largest moon of the planet Saturn", "near"),
        ("Name the capital of the largest country in Africa", None),
        ("Explain how a rope pulls a crate", None),
    ],
)
def test_leaks_are_found_however_they_are_written_and_others_left_alone(text, reason):
    against = [PromptRow.of("e1", QUESTION), PromptRow.of("e2", SHORT)]
    result = decontaminate([PromptRow.of("x", text)], against)
    assert [leak.reason for leak in result.leaks] == ([reason] if reason else [])
    assert len(result.clean) == (reason is None)
    matched = "e1" if "crate" in text.lower() else "e2"
    assert all(leak.matched == matched for leak in result.leaks)


def test_choices_in_the_text_and_in_a_column_are_the_same_question():
    evaluation = [PromptRow.of("e", "Which is red?\nA. Blood\nB. Snow\nC. Coal")]
    same = PromptRow.of("x", "Which is RED?", choices='["blood", "snow", "coal"]')
    choices = '["grass", "a fire engine", "the night sky"]'
    different = PromptRow.of("y", "Which is red?", choices=choices)
    result = decontaminate([same, different], evaluation)
    assert [leak.prompt_id for leak in result.leaks] == ["x"]
    assert result.clean == [different]


def test_lists_of_figures_are_no_shared_words():
    figures = "\n".join(f"{letter}. {n}" for n, letter in enumerate("ABCDEFGHIJKLMNOP"))
    evaluation = [PromptRow.of("e", f"How many eggs are there in all the baskets?\n{figures}")]
    rows = [PromptRow.of("x", f"Find the determinant of this matrix.\n{figures}")]
    assert decontaminate(rows, evaluation).leaks == []


def test_decontamination_reports_what_was_removed_and_why(here):
    (here / "test.csv").write_text(f"prompt_id,prompt\ne1,{QUESTION}\n")
    rows = f"q1,{QUESTION}\nq2,{SHORT}\nq3,{SHORT}!\nq4,Something else entirely\n"
    (here / "mine.csv").write_text("prompt_id,prompt\n" + rows)
    arguments = (
        "decontaminate",
        "--prompts",
        "mine.csv",
        "--against",
        "test.csv",
        "--out",
        "clean.csv",
    )
    counts = run(*arguments, "--removed", "why.csv", "--repeats")["counts"]
    assert counts == {"given": 4, "kept": 2, "exact": 1, "ngram": 0, "near": 0, "repeated": 1}
    why = csv.read_csv("why.csv").to_pylist()
    assert [(row["prompt_id"], row["matched"]) for row in why] == [("q1", "test:e1"), ("q3", "q2")]
    assert len(csv.read_csv("clean.csv")) == 2
    assert run(*arguments, "--overwrite")["counts"]["kept"] == 3


HUMAN = {
    "id": ["langchain", "schema", "messages", "HumanMessage"],
    "kwargs": {"content": "Is 91 prime?", "type": "human"},
}
SYSTEM = {
    "id": ["langchain", "schema", "messages", "SystemMessage"],
    "kwargs": {"content": "Be brief."},
}
LANGSMITH = {
    "run_type": "llm",
    "inputs": {"messages": [[SYSTEM, HUMAN]]},
    "extra": {"metadata": {"ls_model_name": "small"}},
    "feedback_stats": {"correctness": {"n": 1, "avg": 0.0}, "tone": {"n": 1, "avg": 1.0}},
    "prompt_tokens": 12,
    "completion_tokens": 3,
    "total_cost": "0.0001",
}
OPENAI = {
    "request": {"model": "big", "messages": [{"role": "user", "content": "Is 91 prime?"}]},
    "response": {"model": "big-2024", "usage": {"prompt_tokens": 10, "completion_tokens": 5}},
    "feedback": "up",
}
PLAIN = {
    "model": "big-2024",
    "messages": [{"role": "user", "content": "Is 91 prime?"}],
    "score": False,
}


def logs(folder, *rows):
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "log.jsonl"


def test_logs_of_both_kinds_become_prompts_and_outcomes_that_training_reads(here):
    aside = [
        {**LANGSMITH, "run_type": "chain"},
        {**LANGSMITH, "error": "timeout"},
        {**OPENAI, "feedback": None},
    ]
    logs(here, LANGSMITH, OPENAI, PLAIN, *aside)
    arguments = ("--prompts", "p.csv", "--outcomes", "o.csv", "--feedback", "correctness")
    counts = run("from-logs", "--log", "log.jsonl", *arguments)["counts"]
    expected = {
        "lines": 6,
        "other_runs": 1,
        "failed": 1,
        "without_feedback": 1,
        "prompts": 1,
        "outcomes": 2,
    }
    assert counts == expected
    table = read_outcomes("p.csv", "o.csv")
    assert table.prompts == ("Is 91 prime?",)
    assert dict(zip(table.experts, table.scores[0], strict=True)) == {"small": 0.0, "big-2024": 0.5}
    assert json.loads((here / "o.csv.manifest.json").read_text())["counts"] == expected


def test_ratings_are_scaled_and_an_object_of_one_rating_needs_no_name(here):
    path = logs(here, {**PLAIN, "score": None, "feedback": {"stars": 4}})
    assert read_log_tables([path], FeedbackScale(None, 1, 5)).outcomes[0].score == 0.75


def test_every_bad_line_is_named_and_nothing_is_written(here, monkeypatch, capsys):
    logs(
        here,
        PLAIN,
        {**PLAIN, "score": 7},
        {**PLAIN, "model": None},
        {**PLAIN, "messages": "Hi"},
        LANGSMITH,
    )
    told = refused(
        monkeypatch,
        capsys,
        "from-logs",
        "--log",
        "log.jsonl",
        "--prompts",
        "p.csv",
        "--outcomes",
        "o.csv",
    )
    assert "log.jsonl: line 2: feedback: 7 is not a number from 0 to 1" in told
    assert "log.jsonl: line 3: no model" in told
    assert "log.jsonl: line 4: no messages" in told
    assert "log.jsonl: line 5: feedback: there are several kinds, correctness, tone" in told
    assert "name one of them" in told
    assert "needs its worst and best value" in told
    assert [path.name for path in here.iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("collect", "--out", "o.csv"), "pass at least one --source or --file"),
        (("collect", "--source", "squad", "--out", "o.csv"), "--source: 'squad' is unknown"),
        (
            ("collect", "--file", "p.csv", "--column", "body", "--out", "o.csv"),
            "is not OURS=THEIRS",
        ),
        (("collect", "--file", "bad.jsonl", "--out", "o.csv"), "bad.jsonl: line 2: no JSON"),
        (
            ("collect", "--file", "e.csv", "--out", "o.csv"),
            "e.csv: row 1: no prompt in prompt or question",
        ),
        (
            ("sample", "--prompts", "p.csv", "--n", "201", "--out", "o.csv"),
            "--n: 201 of 200 prompts",
        ),
        (("sample", "--prompts", "p.csv", "--out", "o.xlsx"), "o.xlsx ends in"),
        (
            ("sample", "--prompts", "twice.csv", "--n", "1", "--out", "o.csv"),
            "twice.csv: row 2: prompt_id 'a' was",
        ),
        (
            ("sample", "--prompts", "e.csv", "--n", "1", "--out", "o.csv"),
            "column 'prompt' is missing",
        ),
        (
            ("split", "--prompts", "p.csv", "--dev-share", "1", "--out", "o.csv"),
            "--dev-share: 1.0 is not between",
        ),
        (
            ("filter", "--prompts", "p.csv", "--outcomes", "x.csv", "--out", "o.csv"),
            "pass --expert and --random",
        ),
        (
            (
                "filter",
                "--prompts",
                "p.csv",
                "--outcomes",
                "x.csv",
                "--expert",
                "z",
                "--random",
                "1",
                "--out",
                "o.csv",
            ),
            "no outcome of 'z' on these prompts; it has m",
        ),
        (
            (
                "filter",
                "--prompts",
                "p.csv",
                "--outcomes",
                "y.csv",
                "--expert",
                "m",
                "--random",
                "1",
                "--out",
                "o.csv",
            ),
            "y.csv: row 1: score 'good' is not a number",
        ),
        (
            ("decontaminate", "--prompts", "c.csv", "--against", "p.csv", "--out", "o.csv"),
            "choices: 'red, blue' is no list",
        ),
        (
            ("decontaminate", "--prompts", "p.csv", "--against", "p.csv", "--out", "o.csv"),
            "no row is left",
        ),
        (
            (
                "decontaminate",
                "--prompts",
                "p.csv",
                "--against",
                "p.csv",
                "--ngram",
                "3",
                "--out",
                "o.csv",
            ),
            "--ngram: 3 is below 6",
        ),
        (
            (
                "from-logs",
                "--log",
                "bad.jsonl",
                "--prompts",
                "o.csv",
                "--outcomes",
                "q.csv",
                "--best",
                "0",
            ),
            "--worst: 0 is not below best 0",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    here, monkeypatch, capsys, arguments, message
):
    prompts(here)
    (here / "bad.jsonl").write_text('{"prompt": "fine"}\nnot json\n')
    (here / "e.csv").write_text("prompt_id,title\na,b\n")
    (here / "twice.csv").write_text("prompt_id,prompt\na,b\na,c\n")
    (here / "x.csv").write_text("prompt_id,model,score\nq1,m,1\n")
    (here / "y.csv").write_text("prompt_id,model,score\nq1,m,good\n")
    (here / "c.csv").write_text('prompt_id,prompt,choices\na,Which colour?,"red, blue"\n')
    assert message in refused(monkeypatch, capsys, *arguments)
    assert not list(here.glob("o.*"))


def test_a_rule_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="similarity: 0.1"):
        LeakRule(similarity=0.1)

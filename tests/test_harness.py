"""What EleutherAI's harness logs becomes prompts and outcomes; the files here have the form its 0.4 writes."""

import importlib.util
import json

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from routoo_core import Expert
from routoo_core.errors import ConfigurationError, MissingDependency, OutcomesError
from routoo_core.outcomes import read_outcomes
from routoo_core.scoring.harness import read_samples, run_harness
from routoo_integrations.cli import app

DATE = "2026-01-31T10-20-30.123456"


def choice(i, right, **more):
    """A document of a task like arc_challenge."""
    context = f"Question: Why {i}?\nAnswer:"
    arguments = {f"gen_args_{k}": {"arg_0": context, "arg_1": f" choice {k}"} for k in range(2)}
    return {
        "doc_id": i,
        "doc": {"id": f"d{i}", "question": f"Why {i}?"},
        "target": "1",
        "arguments": arguments,
        "resps": [[["-4.5", "False"]], [["-3.5", "False"]]],
        "filtered_resps": [["-4.5", "False"]] * 2,
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": f"h{i}",
        "prompt_hash": "p",
        "target_hash": "t",
        "acc": 0.0,
        "acc_norm": float(right),
        **more,
    }


def written(i, right, kind="strict-match"):
    """A document of a task like gsm8k, which is logged once for each filter."""
    arguments = {
        "gen_args_0": {
            "arg_0": f"Q: 1?\nA: 1\n\nQ: {i}?\nA:",
            "arg_1": {"until": ["Q:"], "temperature": 0.0},
        }
    }
    return {
        "doc_id": i,
        "doc": {"stem": f"{i}?"},
        "target": "#### 7",
        "arguments": arguments,
        "resps": [["It is 7."]],
        "filtered_resps": ["7"],
        "filter": kind,
        "metrics": ["exact_match"],
        "exact_match": right,
    }


def log(folder, task, samples, date=DATE):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"samples_{task}_{date}.jsonl"
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples), encoding="utf-8")
    return path


@pytest.fixture
def logs(tmp_path):
    """Two models; the first was run twice on a task, and both wrote another."""
    old, first, second = (
        "2025-12-31T00-00-00.000001",
        tmp_path / "logs" / "org__first",
        tmp_path / "logs" / "second",
    )
    log(first, "arc_challenge", [choice(i, False) for i in range(4)], old)
    log(first, "arc_challenge", [choice(i, i % 2) for i in range(4)])
    log(second, "arc_challenge", [choice(i, True) for i in range(3)])
    twice = [
        written(i, score, kind)
        for i in range(2)
        for kind, score in (("strict-match", 0.0), ("flexible", 1.0))
    ]
    log(first, "gsm8k", twice)
    (first / f"results_{DATE}.json").write_text(json.dumps({"model_name": "org/first"}))
    return tmp_path / "logs"


def test_logged_samples_become_prompts_and_outcomes_that_train_takes(logs, tmp_path):
    command = ["score", "--from-harness", str(logs), "--prompts-out", str(tmp_path / "p.parquet")]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "o.parquet"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"prompts": 6, "scores": 9, "models": ["org/first", "second"]}
    found = read_outcomes(tmp_path / "p.parquet", tmp_path / "o.parquet")
    assert found.experts == ("org/first", "second")
    assert found.prompts[:2] == ("Why 0?", "Why 1?")
    assert found.domains == ("arc_challenge",) * 4 + ("gsm8k",) * 2
    assert found.scores[:4, 0].tolist() == [0, 1, 0, 1]
    assert found.scores[:3, 1].tolist() == [1, 1, 1]
    assert (
        parquet.read_table(tmp_path / "o.parquet")["completion_chars"].to_pylist()
        == [None] * 4 + [8, 8] + [None] * 3
    )


def test_metric_filter_and_field_can_be_named(logs):
    arc = sorted((logs / "org__first").glob(f"samples_arc*{DATE}*"))
    assert {score for score, _ in read_samples(arc, metric="acc").outcomes.values()} == {0.0}
    gsm8k = sorted((logs / "org__first").glob("samples_gsm8k*"))
    assert [score for score, _ in read_samples(gsm8k).outcomes.values()] == [0.0, 0.0]
    flexible = read_samples(gsm8k, filter_name="flexible", field_name="stem")
    assert [score for score, _ in flexible.outcomes.values()] == [1.0, 1.0]
    assert [text for text, _ in flexible.prompts.values()] == ["0?", "1?"]
    assert (
        "Q: 1?" in read_samples(gsm8k).prompts["gsm8k-0"][0]
    )  # no field is known: what the model was given


def test_the_form_of_older_versions_is_read_too(tmp_path):
    sample = choice(0, True)
    sample["arguments"] = [[one["arg_0"], one["arg_1"]] for one in sample["arguments"].values()]
    for key in ("filter", "metrics", "doc_hash"):
        del sample[key]
    path = log(tmp_path / "m", "arc_challenge", [sample])
    assert read_samples([path]).outcomes == {("arc_challenge-0", "m"): (1.0, None)}


@pytest.mark.parametrize(
    ("name", "samples", "message"),
    [
        ("t", [{"doc_id": 0}], "line 1: 'doc' is missing; is this lm_eval's --log_samples"),
        ("t", [choice(0, True), choice(1, 7)], "line 2: acc_norm: 7.0 is not a number of 0 to 1"),
    ],
)
def test_what_is_no_sample_is_refused_with_its_line(tmp_path, name, samples, message):
    with pytest.raises(OutcomesError, match=message):
        read_samples([log(tmp_path / "m", name, samples)])


def test_files_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(OutcomesError, match=r"no samples_\*.jsonl; run lm_eval with --log_samples"):
        read_samples([tmp_path])
    (tmp_path / "other.jsonl").write_text("{}\n")
    with pytest.raises(OutcomesError, match="is not named samples_<task>_<date>"):
        read_samples([tmp_path / "other.jsonl"])
    paths = [
        log(tmp_path / "a", "t", [choice(0, 1)]),
        log(tmp_path / "b", "t", [choice(0, 1, doc_hash="other")]),
    ]
    with pytest.raises(OutcomesError, match="document t-0 is another than an earlier file's"):
        read_samples(paths)


def test_running_the_harness_says_what_it_needs(tmp_path, monkeypatch):
    expert = Expert(name="e", model="m", input_usd_per_1m=0, output_usd_per_1m=0)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "lm_eval" else found(name)
    )
    with pytest.raises(MissingDependency, match=r"pip install 'routoo\[harness\]'"):
        run_harness(expert, ["arc_easy"], tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found("json"))
    with pytest.raises(ConfigurationError, match='provider = "huggingface"'):
        run_harness(expert, ["arc_easy"], tmp_path)

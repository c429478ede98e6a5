"""A general router learns from graded calls, and the one it started from stays."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from routoo_core import Pool, Router
from routoo_core.abilities import describe_pool
from routoo_core.catalogue.skills import SKILLS
from routoo_core.errors import ConfigurationError
from routoo_core.loading import load_predictor
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.predictor.general import describe_prompt
from routoo_core.predictor.general_checkpoint import load_general
from routoo_core.request import RoutedRequest
from routoo_core.training.grades import GradedCall, learn_from_grades
from routoo_integrations.cli import app

FAST = find_router("general-fast")
OURS = {
    "base_url": "http://127.0.0.1:9/v1",
    "input_usd_per_1m": 1,
    "output_usd_per_1m": 1,
    "like": "gpt-5-nano",
}
PROMPTS = [
    "Write a Python function that merges two sorted lists.",
    "Prove that there is no largest prime number.",
    "Write a short poem about the sea in winter.",
    "Who was the second king of Norway?",
]


@pytest.fixture(scope="module")
def pool():
    return Pool.read("experts.toml", {"ours": OURS, "gpt-5.5": {}})


def graded(scores, expert="ours", kind="maths", first=0, foreign=0.0):
    """Calls with these grades; their fingerprints count up from ``first``."""
    calls = []
    for number, score in enumerate(scores):
        kinds = {kind: 0.8, "science": 0.2}
        calls.append(GradedCall(expert, kinds, 0.1, score, foreign, first + number))
    return calls


def qualities(router, pool):
    predictor = load_predictor(router, pool)
    return dict(zip(predictor.experts, predictor.predict(PROMPTS).T, strict=True))


def test_more_agreeing_grades_move_the_prediction_further_and_leave_less_doubt(pool, tmp_path):
    predicted = []
    doubts = []
    for count in (2, 10, 50, 250):
        (learnt,) = learn_from_grades(
            FAST, pool, graded([0.0] * count), tmp_path / str(count)
        ).experts
        assert (learnt.expert, learnt.calls, learnt.mean_score) == ("ours", count, 0.0)
        predicted.append(learnt.predicted_after)
        doubts.append(learnt.doubt_after)
    assert predicted == sorted(predicted, reverse=True)
    assert predicted[0] < learnt.predicted_before
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[0] < learnt.doubt_before


def test_grades_of_one_expert_change_no_other_and_not_the_router_they_started_from(pool, tmp_path):
    before = qualities(FAST, pool)
    learn_from_grades(FAST, pool, graded([1.0, 0.0, 0.0] * 10), tmp_path / "new")
    after = qualities(tmp_path / "new", pool)
    np.testing.assert_array_equal(after["gpt-5.5"], before["gpt-5.5"])
    assert not np.array_equal(after["ours"], before["ours"])
    np.testing.assert_array_equal(qualities(FAST, pool)["ours"], before["ours"])


def test_an_expert_that_is_described_in_other_words_later_loses_what_was_learnt(pool, tmp_path):
    learn_from_grades(FAST, pool, graded([0.0] * 30), tmp_path / "new")
    other = Pool.read("experts.toml", {"ours": {**OURS, "like": "gpt-5.5"}})
    (expert,) = describe_pool(other, load_general(tmp_path / "new"))
    assert expert.label_names == ()


def test_it_learns_on_from_what_it_learnt(pool, tmp_path):
    (first,) = learn_from_grades(FAST, pool, graded([0.0] * 20), tmp_path / "one").experts
    (second,) = learn_from_grades(
        tmp_path / "one", pool, graded([0.0] * 20, first=20), tmp_path / "two"
    ).experts
    assert second.predicted_before == pytest.approx(first.predicted_after, abs=1e-3)
    assert second.predicted_after < first.predicted_after
    learnt = json.loads((tmp_path / "two" / "metrics.json").read_text())["learnt"]
    assert [entry["from"] for entry in learnt] == ["general-fast", str(tmp_path / "one")]


def test_each_call_counts_once_although_its_log_grows(pool, tmp_path):
    learn_from_grades(FAST, pool, graded([0.0] * 20), tmp_path / "one")
    grown = learn_from_grades(tmp_path / "one", pool, graded([0.0] * 25), tmp_path / "two")
    assert [expert.calls for expert in grown.experts] == [5]
    assert grown.repeated == 20
    only_new = learn_from_grades(
        tmp_path / "one", pool, graded([0.0] * 5, first=20), tmp_path / "three"
    )
    assert grown.experts == only_new.experts
    twice = learn_from_grades(FAST, pool, graded([0.0] * 9) * 2, tmp_path / "four")
    assert [expert.calls for expert in twice.experts] == [9]
    with pytest.raises(ConfigurationError, match="not learnt from already"):
        learn_from_grades(tmp_path / "two", pool, graded([0.0] * 25), tmp_path / "five")
    assert not (tmp_path / "five").exists()


def test_grades_of_foreign_prompts_are_read_with_the_skills_they_were_served_with(pool, tmp_path):
    (foreign,) = learn_from_grades(
        FAST, pool, graded([0.0] * 20, foreign=1.0), tmp_path / "one"
    ).experts
    (english,) = learn_from_grades(FAST, pool, graded([0.0] * 20), tmp_path / "two").experts
    assert foreign.predicted_before != english.predicted_before


def test_a_record_says_how_much_of_its_prompt_is_foreign(pool):
    model = load_general(FAST).bind(describe_pool(pool, load_general(FAST)))
    japanese = describe_prompt(model.forecast(["日本の首都はどこですか。詳しく説明してください。"]))
    assert japanese.foreign > 0.5
    assert describe_prompt(model.forecast([PROMPTS[0]])).foreign < 0.5


def test_no_shipped_router_has_two_rows_of_a_name():
    for router in ("general-fast", "general"):
        config = json.loads((find_router(router) / "config.json").read_text())
        assert len(set(config["labels"])) == len(config["labels"])


def test_without_a_graded_call_nothing_is_written(pool, tmp_path):
    with pytest.raises(ConfigurationError, match="has no graded call"):
        learn_from_grades(FAST, pool, graded([1.0], expert="another"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_grades_of_simulated_calls_lower_the_calibration_error_on_others(pool, tmp_path):
    """An expert that is far worse in mathematics and better at writing than its description says."""
    random = np.random.default_rng(0)
    true_quality = {"maths": 0.35, "writing": 0.97}
    calls = []
    for kind, quality in true_quality.items():
        grades = (random.random(150) < quality).astype(float).tolist()
        calls += graded(grades, kind=kind, first=len(calls))
    learn_from_grades(FAST, pool, calls, tmp_path / "new")
    prompts = {"maths": PROMPTS[1], "writing": PROMPTS[2]}
    errors = []
    for router in (FAST, tmp_path / "new"):
        predictor = load_predictor(router, pool)
        column = predictor.experts.index("ours")
        error = 0.0
        for kind, prompt in prompts.items():
            error += abs(float(predictor.predict([prompt])[0, column]) - true_quality[kind])
        errors.append(error)
    assert errors[1] < errors[0] / 2


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with both files and a log of graded calls, as an application would write it."""
    monkeypatch.chdir(tmp_path)
    lines = ['router = "general-fast"', "[budget]", 'limit = "5"', 'ledger = "memory://"', ""]
    (tmp_path / "routoo.toml").write_text("\n".join(lines))
    table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in OURS.items())
    (tmp_path / "experts.toml").write_text(f'[experts.ours]\n{table}\n[experts."gpt-5.5"]\n')
    router = Router.from_toml("routoo.toml")
    time = datetime(2026, 11, 1, tzinfo=UTC)
    with (tmp_path / "calls.jsonl").open("w") as file:
        for number in range(40):
            request = RoutedRequest.from_text(PROMPTS[number % len(PROMPTS)], max_tokens=100)
            line = {
                "time": (time + timedelta(hours=number)).isoformat(),
                "routoo": router.decide(request).record().to_dict(),
                "answered_by": "ours",
                "cost_usd": 0.001,
                "feedback": "down" if number % 4 else "up",
            }
            file.write(json.dumps(line) + "\n")
    return tmp_path


def test_the_command_learns_only_when_asked_to(here):
    run = CliRunner()
    plain = run.invoke(app, ["feedback", "calls.jsonl"])
    assert plain.exit_code == 0, plain.output
    assert sorted(path.name for path in here.iterdir()) == [
        "calls.jsonl",
        "experts.toml",
        "routoo.toml",
    ]
    done = run.invoke(app, ["feedback", "calls.jsonl", "--learn", "learnt"])
    assert done.exit_code == 0, done.output
    assert 'router = "learnt" in routoo.toml' in done.output
    card = (here / "learnt" / "README.md").read_text()
    assert "ours learnt from 40 graded calls" in card
    again = run.invoke(app, ["feedback", "calls.jsonl", "--learn", "learnt"])
    assert "exists already" in str(again.exception)
    told = run.invoke(app, ["feedback", "calls.jsonl", "--learn", "other", "--json"])
    assert json.loads(told.stdout)["learnt"][0]["expert"] == "ours"


def test_the_command_counts_only_the_new_lines_of_a_grown_log(here):
    run = CliRunner()
    lines = (here / "calls.jsonl").read_text().splitlines()
    (here / "early.jsonl").write_text("\n".join(lines[:30]))
    early = run.invoke(app, ["feedback", "early.jsonl", "--learn", "early"])
    assert early.exit_code == 0, early.output
    toml = (here / "routoo.toml").read_text().replace("general-fast", "early")
    (here / "routoo.toml").write_text(toml)
    late = run.invoke(app, ["feedback", "calls.jsonl", "--learn", "late"])
    assert late.exit_code == 0, late.output
    assert "30 graded calls were learnt from before" in late.output
    assert "ours learnt from 10 graded calls" in (here / "late" / "README.md").read_text()


def test_a_router_of_one_table_says_that_it_does_not_learn_so(here):
    text = (here / "routoo.toml").read_text().replace("general-fast", "zeroeval")
    (here / "routoo.toml").write_text(text)
    done = CliRunner().invoke(app, ["feedback", "calls.jsonl", "--learn", "learnt"])
    assert "only general routers can" in str(done.exception)


def test_every_skill_of_a_record_is_one_of_the_catalogue(here):
    record = json.loads((here / "calls.jsonl").read_text().splitlines()[0])["routoo"]
    assert set(record["prompt"]["kinds"]) <= set(SKILLS)


def test_learning_needs_no_package_that_only_training_from_scratch_needs():
    code = (
        "import sys, routoo_core.training.grades, routoo_core.training.general_labels\n"
        "assert not {'scipy', 'datasets', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

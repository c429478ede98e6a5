"""HybridLLM's and Zooter's targets, MT-Bench's files, and how near prompts are to those of the training."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from routoo_core.data.closeness import closeness
from routoo_core.data.mt_bench import read_mt_bench
from routoo_core.errors import OutcomesError
from routoo_core.outcomes import read_outcomes
from routoo_core.predictor.checkpoint import load_checkpoint
from routoo_core.predictor.distilled import Sufficiency
from routoo_core.predictor.pair_classifier import LinearMap
from routoo_core.progress import SILENT
from routoo_core.training.classifiers import score_loss, three_class_loss
from routoo_core.training.distillation import (
    best_gap,
    probabilistic_labels,
    reference_expert,
    reward_loss,
    smooth_by_tag,
    soft_label_loss,
    transformed_labels,
)
from routoo_core.training.run import train_router
from routoo_core.training.settings import preset
from routoo_integrations.cli import app

NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "settings"),
    [("zooter", {}), ("hybrid", {}), ("hybrid", {"labels": "probabilistic"})],
)
def test_each_is_trained_saved_and_served_like_any_router(
    name, settings, toy_outcomes, tmp_path, monkeypatch
):
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))
    changes = {"encoder": {"model": "ngrams:256"}, "learning_rate": 1e-2, **settings}
    train_router(toy_outcomes, preset(name, changes=changes), tmp_path / "r", {}, SILENT)
    sums, greetings = load_checkpoint(tmp_path / "r").predict(
        ["what is 31 + 44 ?", "hello there, dear friend number 1234"]
    )
    assert sums[0] - sums[1] > greetings[0] - greetings[1] + 0.3


def test_probabilistic_labels_are_the_chance_that_one_answer_is_no_worse():
    scores = np.array([[0.8, 0.5], [1.0, 0.0], [0.0, 0.0]], dtype=np.float32)
    random = np.random.default_rng(0)
    best = random.random(100_000) < 0.8
    other = random.random(100_000) < 0.5
    labels = probabilistic_labels(scores, best=0)
    assert labels[0, 1] == pytest.approx((other >= best).mean(), abs=0.01)
    np.testing.assert_allclose(labels[:, 0], 1)
    np.testing.assert_allclose(labels[1:, 1], [0, 1])


def test_transformed_labels_forgive_the_gap():
    scores = np.array([[0.9, 0.7], [0.9, 0.5], [0.5, 0.9], [0.9, NAN]], dtype=np.float32)
    assert transformed_labels(scores, 0, 0.2)[:3, 1].tolist() == [1, 0, 1]
    assert transformed_labels(scores, 0, 0.0)[:3, 1].tolist() == [0, 0, 1]
    assert np.isnan(transformed_labels(scores, 0, 0.2)[3, 1])


def test_the_gap_is_the_one_that_tells_most_prompts_apart():
    lead = np.linspace(-0.8, 0.0, 401)
    scores = np.stack([np.full(401, 0.9), 0.9 + lead], axis=1).astype(np.float32)
    assert best_gap(scores, 0) == pytest.approx(0.4, abs=0.03)


def test_rewards_are_smoothed_by_the_tag_over_the_training_prompts():
    scores = np.array([[1.0], [0.0], [1.0], [NAN]], dtype=np.float32)
    tags = np.array([0, 0, 1, 1])
    smooth = smooth_by_tag(scores, tags, train=np.array([0, 1, 2]), own_share=0.3)
    np.testing.assert_allclose(smooth[:3, 0], [0.3 + 0.7 * 0.5, 0.7 * 0.5, 1.0], rtol=1e-6)
    assert np.isnan(smooth[3, 0])


def test_the_reward_loss_is_the_cross_entropy_of_two_softmaxes_over_the_observed():
    logits = torch.tensor([[1.0, 0.0, 9.0]])
    rewards = torch.tensor([[1.0, 0.5, NAN]])
    target = torch.softmax(torch.tensor([2.0, 1.0]), dim=0)
    expected = -(target * torch.log_softmax(torch.tensor([1.0, 0.0]), dim=0)).sum()
    assert float(reward_loss(logits, rewards, 0.5)) == pytest.approx(float(expected), rel=1e-5)


def test_where_every_expert_suffices_the_prompt_is_not_taken_for_an_easy_one():
    linear = LinearMap(np.zeros(1), np.ones(1), np.array([[1.0, 1.0]]), np.array([4.0, 2.0]))
    rates = Sufficiency(linear).win_rates(np.array([[0.0], [3.0]], dtype=np.float32))
    np.testing.assert_allclose(rates.mean(axis=1), 0.5, atol=1e-6)
    assert rates[0, 0] - rates[0, 1] > rates[1, 0] - rates[1, 1] > 0


def test_nobody_is_compared_with_an_expert_that_has_answered_few_prompts():
    scores = np.full((10, 3), 0.5, dtype=np.float32)
    scores[:, 1] = 0.7
    scores[:, 2] = [1.0, *[NAN] * 9]
    assert reference_expert(scores) == 1


def test_an_expert_that_shares_no_prompt_with_the_best_one_does_not_decide_the_gap():
    lead = np.linspace(-0.8, 0.0, 401)
    scores = np.stack([np.full(401, 0.9), 0.9 + lead, np.full(401, NAN)], axis=1)
    assert best_gap(scores.astype(np.float32), 0) == pytest.approx(0.4, abs=0.03)
    assert best_gap(np.array([[0.9, NAN], [NAN, 0.5]], dtype=np.float32), 0) == 0


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        (three_class_loss, 4),
        (score_loss, 15),
        (soft_label_loss, 3),
        (lambda logits, scores: reward_loss(logits, scores, 0.5), 3),
    ],
)
def test_a_batch_in_which_nothing_was_observed_teaches_nothing(loss, outputs):
    logits = torch.ones(2, outputs, requires_grad=True)
    loss(logits, torch.full((2, 3), NAN)).backward()
    assert logits.grad is not None
    assert not logits.grad.any()


# MT-Bench


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


QUESTIONS = [{"question_id": 81, "category": "writing", "turns": ["Write a blog.", "Again."]}]
GRADES = [
    {"question_id": 81, "model": "gpt-4", "turn": 1, "score": 10},
    {"question_id": 81, "model": "gpt-4", "turn": 2, "score": 1.0},
    {"question_id": 81, "model": "vicuna", "turn": 1, "score": 5.5},
    {"question_id": 81, "model": "vicuna", "turn": 2, "score": -1},
]


def test_the_mean_grade_of_both_turns_is_the_score(tmp_path):
    outcomes = read_mt_bench(
        write(tmp_path / "q.jsonl", QUESTIONS), write(tmp_path / "j.jsonl", GRADES)
    )
    assert outcomes.experts == ("gpt-4", "vicuna")
    assert outcomes.prompts == ("Write a blog.",)
    assert outcomes.domains == ("writing",)
    np.testing.assert_allclose(outcomes.scores, [[0.5, 0.5]])


def test_the_command_writes_tables_that_evaluation_reads(tmp_path):
    questions = write(tmp_path / "q.jsonl", QUESTIONS)
    judgements = write(tmp_path / "j.jsonl", GRADES)
    files = ["--questions", str(questions), "--judgements", str(judgements)]
    tables = ["--prompts", str(tmp_path / "p.csv"), "--outcomes", str(tmp_path / "o.csv")]
    done = CliRunner().invoke(app, ["data", "from-mt-bench", *files, *tables])
    assert done.exit_code == 0, done.output
    outcomes = read_outcomes(tmp_path / "p.csv", tmp_path / "o.csv")
    assert outcomes.splits == ("dev",)
    np.testing.assert_allclose(outcomes.scores, [[0.5, 0.5]])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"score": 11}, "line 1: score: 11 is not a number from 1 to 10"),
        ({"question_id": 99}, "line 1: question_id '99' is not in"),
        ({"model": None}, "line 1: model: None is no name"),
    ],
)
def test_a_grade_that_cannot_be_read_is_named(tmp_path, change, reason):
    questions = write(tmp_path / "q.jsonl", QUESTIONS)
    judgements = write(tmp_path / "j.jsonl", [{**GRADES[0], **change}])
    with pytest.raises(OutcomesError, match=reason):
        read_mt_bench(questions, judgements)


def test_prompts_of_the_training_are_nearest_and_opposite_ones_farthest():
    trained = np.array([[1.0, 0.0], [0.0, 2.0]], dtype=np.float32)
    assert closeness(trained, trained) == pytest.approx(1.0)
    assert closeness(np.array([[1.0, 1.0]], dtype=np.float32), trained) == pytest.approx(0.5**0.5)

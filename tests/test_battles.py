"""Battles: read from files, made of outcomes, and what they say of the experts' strength."""

import itertools
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from routoo_core.battles import Battles, fit_ratings, from_outcomes
from routoo_core.data.arena import read_battles
from routoo_core.data.tiers import by_tier, cut_by_variance, rate_tiers
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.expert_table import ExpertTable
from routoo_core.outcomes import Outcomes, read_outcomes
from routoo_core.prompts import Prompts
from routoo_integrations.cli import app

LONG = "Explain why the sky is blue, please."


def prompts_of(count):
    ids = tuple(f"q{i}" for i in range(count))
    texts = tuple(f"{LONG} {i}" for i in range(count))
    return Prompts(ids, texts, ("",) * count, ("train",) * count)


def planted_battles(ratings, count, seed=0):
    random = np.random.default_rng(seed)
    size = len(ratings)
    first = random.integers(0, size, count)
    second = (first + random.integers(1, size, count)) % size
    chance = 1 / (1 + np.exp(ratings[second] - ratings[first]))
    result = (random.random(count) < chance).astype(float)
    names = tuple(f"m{i}" for i in range(size))
    return Battles(prompts_of(count), names, np.arange(count), first, second, result)


def test_every_two_observed_experts_fight_over_a_prompt_and_equal_scores_tie():
    scores = np.array([[1.0, 0.5, np.nan], [0.0, 0.0, 1.0]], dtype=np.float32)
    prompts = prompts_of(2)
    outcomes = Outcomes(prompts, ExpertTable(prompts.ids, ("a", "b", "c"), scores))
    battles = from_outcomes(outcomes)
    fought = set(zip(battles.row, battles.first, battles.second, battles.result, strict=True))
    assert fought == {(0, 0, 1, 1.0), (1, 0, 1, 0.5), (1, 0, 2, 0.0), (1, 1, 2, 0.0)}


def test_only_the_prompts_of_a_split_are_fought_over(toy_outcomes):
    battles = from_outcomes(toy_outcomes, "dev")
    assert {toy_outcomes.splits[row] for row in battles.row} == {"dev"}


def test_battles_written_as_outcomes_are_the_same_battles():
    battles = planted_battles(np.array([1.0, 0.0, -1.0]), 50)
    again = from_outcomes(battles.to_outcomes())
    np.testing.assert_array_equal(again.counts(), battles.counts())
    assert len(again) == len(battles)


def test_planted_ratings_are_recovered():
    planted = np.array([1.2, 0.5, 0.0, -0.6, -1.1])
    ratings = fit_ratings(planted_battles(planted, 40_000).counts(), ties_added=0)
    np.testing.assert_allclose(ratings, planted - planted.mean(), atol=0.06)


def test_of_two_experts_the_rating_is_the_log_odds_of_the_share_of_wins():
    ratings = fit_ratings(np.array([[0.0, 30.0], [10.0, 0.0]]), ties_added=0)
    assert ratings[0] - ratings[1] == pytest.approx(np.log(3))


def test_an_expert_that_always_wins_has_a_finite_rating():
    ratings = fit_ratings(np.array([[0.0, 9.0], [0.0, 0.0]]))
    assert np.isfinite(ratings).all()
    assert ratings[0] > ratings[1]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_tiers_have_the_least_variance_of_all_cuts(count):
    values = np.sort(np.random.default_rng(count).normal(size=8))[::-1]
    numbers = cut_by_variance(values, count)

    def total(cuts):
        ends = [0, *cuts, len(values)]
        return sum(values[a:b].var() for a, b in itertools.pairwise(ends))

    least = min(total(cuts) for cuts in itertools.combinations(range(1, len(values)), count - 1))
    own = sum(values[numbers == number].var() for number in range(count))
    assert own == pytest.approx(least)
    assert (np.diff(numbers) >= 0).all()


def test_tier_0_holds_the_strongest_and_battles_within_a_tier_are_left_out():
    battles = planted_battles(np.array([-1.0, 2.0, 2.1, -1.1]), 8000)
    tiers = rate_tiers(battles, 2)
    assert tiers.tier.tolist() == [1, 0, 0, 1]
    between = by_tier(battles, tiers)
    assert between.experts == ("tier-0", "tier-1")
    assert len(between) < len(battles)
    assert between.counts()[0, 1] > 5 * between.counts()[1, 0]


def test_more_tiers_than_experts_are_refused():
    with pytest.raises(ConfigurationError, match="tiers: 5 is not from 2 to the number of experts"):
        rate_tiers(planted_battles(np.zeros(3), 10), 5)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"result": [0.7]}, "none of 1, 0.5 and 0"),
        ({"second": [0]}, "meets itself"),
        ({"row": [0, 0]}, "have lengths"),
    ],
)
def test_battles_that_cannot_be_are_refused(columns, reason):
    values = {"row": [0], "first": [0], "second": [1], "result": [1.0], **columns}
    arrays = {name: np.array(value) for name, value in values.items()}
    with pytest.raises(OutcomesError, match=reason):
        Battles(prompts_of(1), ("a", "b"), **arrays)


# Files

ROWS = [
    {"model_a": "a", "model_b": "b", "prompt": LONG, "winner": "model_a"},
    {"model_a": "a", "model_b": "b", "prompt": LONG, "winner": "tie (bothbad)"},
    {
        "model_a": "b",
        "model_b": "c",
        "prompt": json.dumps([LONG, "What is the capital city of Portugal?"]),
        "winner_model_a": 0,
        "winner_model_b": 1,
        "winner_tie": 0,
    },
    {
        "model_a": "c",
        "model_b": "a",
        "conversation_a": [
            {"role": "user", "content": "Write a poem about two rivers."},
            {"role": "assistant", "content": "No."},
        ],
        "winner": "model_b",
    },
    {"model_a": "a", "model_b": "b", "prompt": "hi", "winner": "model_a"},
    {"model_a": "a", "model_b": "a", "prompt": LONG, "winner": "tie"},
]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_published_form_of_a_battle_is_read(tmp_path):
    arena = read_battles([write_lines(tmp_path / "arena.jsonl", ROWS)])
    battles = arena.battles
    assert arena.counts == {"given": 6, "kept": 4, "short_prompt": 1, "same_model": 1}
    assert battles.experts == ("a", "b", "c")
    assert battles.result.tolist() == [1.0, 0.5, 0.0, 0.0]
    texts = [battles.prompts.texts[row] for row in battles.row]
    assert texts[0] == texts[1] == LONG
    assert texts[2] == "What is the capital city of Portugal?"
    assert texts[3] == "Write a poem about two rivers."


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"winner": "nobody"}, "row 1: winner: 'nobody' is none of model_a, model_b and tie"),
        ({"winner": None}, "row 1: no winner"),
        ({"model_b": ""}, "row 1: model_b: '' is no name"),
        ({"prompt": None}, "row 1: no prompt and no conversation_a"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path, change, reason):
    path = write_lines(tmp_path / "arena.jsonl", [{**ROWS[0], **change}])
    with pytest.raises(OutcomesError, match=reason):
        read_battles([path])


def test_the_command_writes_tables_that_training_reads(tmp_path):
    path = write_lines(tmp_path / "arena.jsonl", ROWS)
    tables = ["--prompts", str(tmp_path / "p.csv"), "--outcomes", str(tmp_path / "o.csv")]
    arguments = ["data", "from-battles", "--battles", str(path), *tables]
    done = CliRunner().invoke(app, [*arguments, "--tiers", "2"])
    assert done.exit_code == 0, done.output
    assert "tier-0: a" in done.output

    outcomes = read_outcomes(tmp_path / "p.csv", tmp_path / "o.csv")
    assert outcomes.experts == ("tier-0", "tier-1")
    assert np.nanmean(outcomes.scores[:, 0]) > np.nanmean(outcomes.scores[:, 1])
    manifest = json.loads((tmp_path / "p.csv.manifest.json").read_text())
    assert manifest["counts"]["given"] == 6

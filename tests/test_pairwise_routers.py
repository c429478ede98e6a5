"""Routers that learn from battles: planted truths are found again, and the formulas are the published ones."""

import numpy as np
import pytest
import torch

from routoo_core.battles import Battles
from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.expert_table import ExpertTable
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.base import Encoder, Predictor
from routoo_core.predictor.checkpoint import load_checkpoint
from routoo_core.predictor.encoder import EncoderSettings, encoder_fingerprint, load_encoder
from routoo_core.predictor.matrix_factorisation import MatrixFactorisation
from routoo_core.predictor.pairwise import mean_win_rates
from routoo_core.predictor.random_router import RandomModel
from routoo_core.progress import SILENT
from routoo_core.prompts import Prompts
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.head_ensemble import no_updates
from routoo_core.training.matrix_factorisation import (
    FactorisationSettings,
    battle_loss,
    train_factors,
)
from routoo_core.training.pairwise import PairwiseSettings, fit_scale
from routoo_core.training.run import train_router
from routoo_core.training.settings import TrainingConfig, preset
from routoo_core.training.similarity_ranking import RankingTrainingSettings, rank_by_similarity

TEXTS = ["what is 31 + 44 ?", "hello there, dear friend number 1234"]
NGRAMS = {"model": "ngrams:256"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def prompts_of(count, dev=0):
    ids = tuple(f"q{i}" for i in range(count))
    splits = ("train",) * (count - dev) + ("dev",) * dev
    return Prompts(ids, ids, ("",) * count, splits)


def encoded(vectors, scores, dev=0):
    prompts = prompts_of(len(scores), dev)
    names = tuple(f"m{i}" for i in range(scores.shape[1]))
    table = ExpertTable(prompts.ids, names, scores.astype(np.float32))
    return EncodedOutcomes(Outcomes(prompts, table), vectors.astype(np.float32))


def train(outcomes, folder, name, **settings):
    config = preset(name, changes={"encoder": NGRAMS, **settings})
    metrics = train_router(outcomes, config, folder, {}, SILENT)
    return metrics, load_checkpoint(folder)


@pytest.mark.parametrize("name", ["sw-ranking", "mf"])
def test_each_is_trained_saved_and_served_like_any_router(name, toy_outcomes, tmp_path):
    metrics, predictor = train(toy_outcomes, tmp_path / name, name)
    assert isinstance(predictor, Predictor)
    sums, greetings = predictor.predict(TEXTS)
    assert sums[0] > 0.7 > 0.3 > sums[1]
    assert greetings[1] > 0.7 > 0.3 > greetings[0]
    assert metrics.auc > 0.95


def test_the_random_router_draws_evenly_and_the_same_for_the_same_prompt(toy_outcomes, tmp_path):
    _, predictor = train(toy_outcomes, tmp_path / "random", "random")
    once = predictor.predict(TEXTS)
    np.testing.assert_array_equal(once, predictor.predict(TEXTS))
    assert (once[0] != once[1]).all()

    vectors = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    quality = RandomModel(experts=2).quality(vectors)
    assert np.abs(np.quantile(quality, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.03
    assert abs(np.corrcoef(quality.T)[0, 1]) < 0.06


@pytest.mark.parametrize("name", ["sw-ranking", "mf"])
def test_battles_of_many_experts_train_a_router_of_all(name, tmp_path):
    random = np.random.default_rng(0)
    strength = np.array([2.0, 1.0, 0.0, -1.0, -2.0])
    count = 1500
    first = random.integers(0, 5, count)
    second = (first + random.integers(1, 5, count)) % 5
    result = (random.random(count) < sigmoid(strength[first] - strength[second])).astype(float)
    texts = tuple(f"tell me about the number {n} and its friends" for n in range(count))
    splits = tuple("dev" if n % 5 == 0 else "train" for n in range(count))
    prompts = Prompts(tuple(map(str, range(count))), texts, ("",) * count, splits)
    names = ("a", "b", "c", "d", "e")
    battles = Battles(prompts, names, np.arange(count), first, second, result)
    _, predictor = train(battles.to_outcomes(), tmp_path / name, name)
    quality = predictor.predict(texts).mean(axis=0)
    assert np.argsort(-quality).tolist() == [0, 1, 2, 3, 4]


# Similarity-weighted ranking


@pytest.mark.parametrize("gamma", [1.0, 10.0, 10_000.0])
def test_for_two_experts_the_ranking_is_the_weighted_share_of_wins(gamma):
    random = np.random.default_rng(1)
    vectors = random.normal(size=(80, 6)).astype(np.float32)
    result = random.choice([0.0, 0.5, 1.0], 80)
    ones = np.ones(80, dtype=int)
    battles = Battles(prompts_of(80), ("strong", "weak"), np.arange(80), 0 * ones, ones, result)
    settings = RankingTrainingSettings(gamma=gamma, prior=0, clusters=0)
    ranking = rank_by_similarity(battles, vectors, settings)

    asked = random.normal(size=(9, 6)).astype(np.float32)
    strengths = ranking.strengths(asked)
    standard = (vectors - vectors.mean(0)) / (vectors.std(0) + 1e-6)
    asked = (asked - vectors.mean(0)) / (vectors.std(0) + 1e-6)
    cosines = (asked / np.linalg.norm(asked, axis=1, keepdims=True)) @ (
        standard / np.linalg.norm(standard, axis=1, keepdims=True)
    ).T
    weights = gamma ** (1 + cosines / cosines.max(axis=1, keepdims=True))
    expected = (weights * result).sum(1) / weights.sum(1)
    np.testing.assert_allclose(sigmoid(strengths[:, 0] - strengths[:, 1]), expected, atol=2e-3)


def test_planted_ratings_of_two_regions_are_recovered():
    random = np.random.default_rng(2)
    planted = np.array([[1.0, 0.0, -1.0], [-1.0, 0.5, 0.5]])
    centres = np.array([[5.0, 0, 0, 1], [-5.0, 0, 0, 1]])
    count = 30_000
    region = random.integers(0, 2, count)
    vectors = (centres[region] + random.normal(size=(count, 4)) * 0.1).astype(np.float32)
    first = random.integers(0, 3, count)
    second = (first + random.integers(1, 3, count)) % 3
    chance = sigmoid(planted[region, first] - planted[region, second])
    result = (random.random(count) < chance).astype(float)
    battles = Battles(prompts_of(count), ("a", "b", "c"), np.arange(count), first, second, result)
    settings = RankingTrainingSettings(gamma=1e6, clusters=16)
    strengths = rank_by_similarity(battles, vectors, settings).strengths(centres.astype(np.float32))
    found = strengths - strengths.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found, planted - planted.mean(1, keepdims=True), atol=0.15)


# Matrix factorisation


def factors(seed=0, dim=5, experts=3, size=4):
    random = np.random.default_rng(seed)

    def draw(*shape):
        return random.normal(size=shape).astype(np.float32)

    v = draw(experts, size)
    return MatrixFactorisation(
        mean=draw(dim),
        scale=np.abs(draw(dim)) + 0.5,
        projection=draw(dim, size),
        bias=draw(size),
        experts=v / np.linalg.norm(v, axis=1, keepdims=True),
        output=draw(size),
    )


def test_the_forward_pass_is_the_published_formula():
    model = factors()
    query = np.random.default_rng(3).normal(size=(2, 5)).astype(np.float32)
    strengths = model.strengths(query)
    for row, vector in enumerate(query):
        hidden = model.projection.T @ ((vector - model.mean) / model.scale) + model.bias
        for expert in range(3):
            delta = model.output @ (model.experts[expert] * hidden)
            assert strengths[row, expert] == pytest.approx(delta, rel=1e-4)


def test_planted_factors_are_recovered():
    random = np.random.default_rng(4)
    planted = factors(seed=5, dim=6, experts=4)
    vectors = random.normal(size=(6000, 6)).astype(np.float32)
    strengths = planted.strengths(vectors)
    noise = random.gumbel(size=strengths.shape)  # differences of these are logistic
    pair = np.array([random.permutation(4)[:2] for _ in vectors])
    scores = np.full(strengths.shape, np.nan)
    rows = np.arange(len(vectors))
    ahead = (strengths + noise)[rows, pair[:, 0]] > (strengths + noise)[rows, pair[:, 1]]
    scores[rows, pair[:, 0]] = ahead
    scores[rows, pair[:, 1]] = ~ahead
    settings = FactorisationSettings(factors=16, noise=0.0, learning_rate=3e-3)
    model = train_factors(encoded(vectors, scores, dev=1000), settings, 0, no_updates)

    asked = random.normal(size=(500, 6)).astype(np.float32)
    expected = mean_win_rates(planted.strengths(asked))
    found = mean_win_rates(model.strengths(asked))
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97
    assert np.abs(found - expected).mean() < 0.05


def test_the_loss_is_the_mean_over_the_battles():
    strengths = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.0, 0.0]])
    scores = torch.tensor([[1.0, 0.0, float("nan")], [1.0, 1.0, 0.0]])
    tie = -(np.log(sigmoid(0.5)) + np.log(sigmoid(-0.5))) / 2
    wins = [-np.log(sigmoid(1.0)), -np.log(sigmoid(0.5)), -np.log(sigmoid(0.0))]
    assert float(battle_loss(strengths, scores, ties=False)) == pytest.approx(np.mean(wins))
    with_tie = float(battle_loss(strengths, scores, ties=True))
    assert with_tie == pytest.approx(np.mean([*wins, tie]))


# The scale of quality


def test_an_expert_counts_itself_as_half_a_win():
    rates = mean_win_rates(np.array([[0.0, 0.0], [np.log(3), 0.0]]))
    np.testing.assert_allclose(rates, [[0.5, 0.5], [(0.5 + 0.75) / 2, (0.5 + 0.25) / 2]], rtol=1e-6)


def test_level_and_spread_are_those_of_the_scores():
    random = np.random.default_rng(6)
    vectors = random.normal(size=(4000, 5)).astype(np.float32)
    model = factors(seed=7)
    rates = mean_win_rates(model.strengths(vectors))
    chance = np.clip(0.5 + 0.08 * vectors[:, :1] + 0.4 * (2 * rates - 1), 0, 1)
    scores = (random.random(chance.shape) < chance).astype(np.float32)
    scores[::7, 1] = np.nan
    fitted = fit_scale(encoded(vectors, scores, dev=2000), model, PairwiseSettings())
    assert fitted.scale.spread == pytest.approx(0.4, abs=0.05)
    assert fitted.scale.weight[0] == pytest.approx(0.08, abs=0.03)


def test_the_scale_chosen_on_dev_is_kept_when_all_rows_are_fitted(toy_outcomes, tmp_path):
    train(toy_outcomes, tmp_path / "a", "sw-ranking")
    _, set_by_hand = train(toy_outcomes, tmp_path / "b", "sw-ranking", spread=0.25)
    assert set_by_hand.quality_model.scale.spread == pytest.approx(0.25)
    assert load_checkpoint(tmp_path / "a").quality_model.scale.spread > 0.3


@pytest.mark.parametrize("name", ["sw-ranking", "mf"])
def test_weights_of_other_experts_are_refused(name, toy_outcomes, tmp_path):
    train(toy_outcomes, tmp_path / name, name)
    config = tmp_path / name / "config.json"
    changed = config.read_text().replace('"calculator",', '"calculator", "third",')
    config.write_text(changed)
    with pytest.raises(CheckpointError, match="does not fit config.json"):
        load_checkpoint(tmp_path / name)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigurationError, match="gamma"):
        TrainingConfig(algorithm="sw_ranking", gamma=0.5)


# Vectors of n-grams


def test_ngram_vectors_need_no_model_and_are_always_the_same():
    settings = EncoderSettings(model="ngrams:128")
    encoder = load_encoder(settings)
    assert isinstance(encoder, Encoder)
    vectors = encoder.encode([*TEXTS, TEXTS[0]])
    assert vectors.shape == (3, 128)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1
    assert encoder.fingerprint == encoder_fingerprint(settings) == "ngrams:128"


@pytest.mark.parametrize("model", ["ngrams:", "ngrams:many", "ngrams:8"])
def test_a_length_that_is_none_is_refused(model):
    with pytest.raises(ConfigurationError, match="needs a length of at least 64"):
        load_encoder(EncoderSettings(model=model))

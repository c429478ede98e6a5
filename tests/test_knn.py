"""k-NN and cluster profiles, behind the same contract as the trained heads."""

import json
from dataclasses import replace

import numpy as np
import pytest

from routoo_core.predictor.base import Predictor
from routoo_core.predictor.checkpoint import load_checkpoint
from routoo_core.predictor.checkpoint_config import CheckpointConfig
from routoo_core.predictor.neighbours import Neighbours, load_neighbours
from routoo_core.progress import SILENT
from routoo_core.training.neighbours import fit_profiles
from routoo_core.training.run import train_router
from routoo_core.training.settings import TrainingConfig


@pytest.fixture(params=[0, 8], ids=["every prompt", "eight clusters"])
def router(request, tiny_model, toy_outcomes, tmp_path, monkeypatch):
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))
    encoder = {"model": str(tiny_model), "layers": (2,)}
    config = TrainingConfig(
        algorithm="knn",
        neighbours=20 if not request.param else 1,
        clusters=request.param,
        encoder=encoder,
    )
    train_router(
        toy_outcomes,
        config,
        tmp_path / "knn",
        {"calculator": 2.0, "talker": 1.0},
        SILENT,
    )
    return tmp_path / "knn"


def test_it_is_trained_saved_and_loaded_like_any_router(router):
    predictor = load_checkpoint(router)
    assert isinstance(predictor, Predictor)
    sums, greetings = predictor.predict(
        ["what is 31 + 44 ?", "hello there, dear friend number 1234"]
    )
    assert sums[0] > 0.8 > 0.2 > sums[1]
    assert greetings[1] > 0.8 > 0.2 > greetings[0]
    assert json.loads((router / "metrics.json").read_text())["auc"] > 0.95


def test_an_expert_seldom_observed_is_near_its_own_mean(toy_outcomes):
    scores = toy_outcomes.scores.copy()
    scores[:, 1] = np.nan
    scores[3, 1] = 1.0
    vectors = np.random.default_rng(0).normal(size=(len(scores), 6)).astype(np.float32)
    quality = fit_profiles(toy_outcomes.with_scores(scores), vectors).quality(vectors, 5)
    assert np.isfinite(quality).all()
    assert quality[:, 1].std() < 0.05


def test_more_neighbours_than_prompts_is_no_error(toy_outcomes):
    vectors = np.random.default_rng(0).normal(size=(240, 6)).astype(np.float32)
    assert fit_profiles(toy_outcomes, vectors, clusters=4).quality(vectors[:2], 1000).shape == (
        2,
        2,
    )


def test_counts_above_what_half_precision_holds_survive_saving(toy_outcomes):
    vectors = np.random.default_rng(0).normal(size=(240, 6)).astype(np.float32)
    profiles = fit_profiles(toy_outcomes, vectors, clusters=4)
    many = Neighbours(
        replace(profiles, sums=profiles.sums + 2049, counts=profiles.counts + 4099), count=2
    )
    config = CheckpointConfig(
        training={"algorithm": "knn", "encoder": {}, "neighbours": 2},
        dim=6,
        experts=("calculator", "talker"),
        encoder_fingerprint="",
        data_fingerprint="",
        versions={},
    )
    loaded = load_neighbours(many.weights(), config)
    np.testing.assert_array_equal(loaded.profiles.counts, many.profiles.counts)
    np.testing.assert_array_equal(loaded.profiles.sums, many.profiles.sums)

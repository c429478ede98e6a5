"""An algorithm, a head or an encoder is added from outside: one class or function, and one line that registers it."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.predictor.base import Encoder, Predictor
from routoo_core.predictor.checkpoint import PREDICTORS, find_router, load_checkpoint
from routoo_core.predictor.encoder import ENCODERS
from routoo_core.predictor.heads import HEADS, Head
from routoo_core.progress import SILENT
from routoo_core.settings import Settings
from routoo_core.testing import FakePredictor
from routoo_core.training.algorithms import ALGORITHMS, Algorithm, register_algorithm
from routoo_core.training.run import train_router
from routoo_core.training.settings import TrainingConfig, preset

TEXTS = ["what is 31 + 44 ?", "hello there, dear friend number 1234"]
PRICES = {"calculator": 2.0, "talker": 1.0}


class MeansSettings(Settings):
    """Settings of :func:`fit_means`."""

    prior: float = 1.0


@dataclass(frozen=True)
class Means:
    """Every expert's mean score on prompts whose first feature is above, or below, a threshold."""

    threshold: float
    means: np.ndarray

    def quality(self, vectors):
        above = (vectors[:, 0] > self.threshold).astype(int)
        return self.means[above]

    def weights(self):
        return {
            "threshold": torch.tensor([self.threshold]),
            "means": torch.from_numpy(self.means),
        }


def fit_means(data, settings, seed, progress):
    rows = data.outcomes.rows("train")
    feature = data.vectors[rows, 0]
    scores = data.outcomes.scores[rows]
    threshold = float(np.median(feature))
    means = []
    for side in (feature <= threshold, feature > threshold):
        counts = (~np.isnan(scores[side])).sum(0)
        sums = np.nansum(scores[side], axis=0)
        means.append((sums + 0.5 * settings.prior) / (counts + settings.prior))
    return Means(threshold, np.array(means, dtype=np.float32))


def load_means(weights, config):
    return Means(float(weights["threshold"]), weights["means"].numpy())


@dataclass(frozen=True)
class CountingEncoder:
    """An encoder without a language model: two counts of a text's characters."""

    fingerprint: str = "counts-1"
    dim: int = 2

    def encode(self, prompts, *, progress=None):
        counts = [[sum(c.isdigit() for c in text), len(text)] for text in prompts]
        if progress:
            progress(len(prompts))
        return np.array(counts, dtype=np.float32).reshape(len(prompts), 2)


REGISTRIES = (ALGORITHMS, PREDICTORS, ENCODERS, HEADS)


@pytest.fixture(autouse=True)
def registries(tmp_path, monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))
    before = [dict(registry) for registry in REGISTRIES]
    yield
    for registry, entries in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(entries)


def train(outcomes, folder, **settings):
    metrics = train_router(outcomes, TrainingConfig(**settings), folder, PRICES, SILENT)
    return metrics, load_checkpoint(find_router(folder))


def assert_knows_who_is_good_at_what(predictor):
    sums, greetings = predictor.predict(TEXTS)
    assert sums[0] > sums[1]
    assert greetings[1] > greetings[0]


def test_an_algorithm_from_outside_is_trained_saved_and_served_like_any(
    tiny_model, toy_outcomes, tmp_path
):
    register_algorithm("means", Algorithm(MeansSettings, fit_means, load_means))
    encoder = {"model": str(tiny_model), "layers": (2,)}
    metrics, predictor = train(
        toy_outcomes, tmp_path / "means", algorithm="means", prior=2.0, encoder=encoder
    )
    assert isinstance(predictor, Predictor)
    assert predictor.experts == ("calculator", "talker")
    assert metrics.train_prompts == 192
    assert "routoo" in metrics.pool.routers
    quality = predictor.predict(TEXTS)
    assert quality.shape == (2, 2)
    assert ((quality >= 0) & (quality <= 1)).all()
    assert "- Algorithm: `means`" in (tmp_path / "means" / "README.md").read_text()


def test_its_settings_are_read_from_the_training_file_and_refused_by_their_field():
    register_algorithm("means", Algorithm(MeansSettings, fit_means, load_means))
    config = preset("default", "t.toml", {"algorithm": "means", "prior": 3, "members": 2})
    assert config.algorithm_settings == MeansSettings(prior=3.0)  # members are of another algorithm
    with pytest.raises(ConfigurationError, match="t.toml: prior: .*number"):
        preset("default", "t.toml", {"algorithm": "means", "prior": "much"})
    with pytest.raises(ConfigurationError, match="t.toml: piror: unknown key"):
        preset("default", "t.toml", {"algorithm": "means", "piror": 3})
    with pytest.raises(ConfigurationError, match="t.toml: lora: 'means' has no heads"):
        preset("default", "t.toml", {"algorithm": "means", "lora": {}})


def test_a_checkpoint_of_an_algorithm_that_is_not_registered_says_what_to_do(
    tiny_model, toy_outcomes, tmp_path
):
    register_algorithm("means", Algorithm(MeansSettings, fit_means, load_means))
    encoder = {"model": str(tiny_model), "layers": (2,)}
    train(toy_outcomes, tmp_path / "means", algorithm="means", encoder=encoder)
    del PREDICTORS["means"]
    with pytest.raises(CheckpointError, match="training.algorithm: 'means' is unknown .* import"):
        load_checkpoint(tmp_path / "means")


def test_an_algorithm_that_is_not_registered_is_refused_with_those_that_are():
    with pytest.raises(ConfigurationError, match="algorithm: 'means' is unknown; .*performance"):
        TrainingConfig(algorithm="means")


def test_a_predictor_without_encoder_is_served_from_a_checkpoint_of_its_own_kind(
    checkpoint, tmp_path
):
    (tmp_path / "config.json").write_text('{"format": 1, "training": {"algorithm": "fixed"}}')
    PREDICTORS["fixed"] = lambda folder, device: FakePredictor({"a": 0.25, "b": 0.75})
    np.testing.assert_array_equal(load_checkpoint(tmp_path).predict(["any"]), [[0.25, 0.75]])


def test_a_head_from_outside_is_trained_and_served_by_its_name(tiny_model, toy_outcomes, tmp_path):
    class LinearHead(Head):
        def __init__(self, shape):
            super().__init__(shape)
            self.experts = shape.experts
            self.linear = nn.Linear(shape.dim, shape.experts * shape.levels)

        def interact(self, query):
            return self.linear(query).view(len(query), self.experts, self.levels)

    HEADS["linear"] = LinearHead
    encoder = {"model": str(tiny_model), "layers": (2,)}
    heads = {"head": "linear", "members": 1, "epochs": 25, "learning_rate": 1e-2}
    _, predictor = train(toy_outcomes, tmp_path / "linear", encoder=encoder, **heads)
    assert_knows_who_is_good_at_what(predictor)


def test_a_head_that_is_not_registered_is_refused_with_those_that_are():
    with pytest.raises(ConfigurationError, match="head: 'linear' is unknown; choose one of domain"):
        TrainingConfig(head="linear")


def test_an_encoder_that_is_no_local_model_is_trained_on_and_served(toy_outcomes, tmp_path):
    ENCODERS["counts"] = lambda settings: CountingEncoder()
    assert isinstance(CountingEncoder(), Encoder)
    encoder = {"model": "counts:of characters"}
    _, predictor = train(toy_outcomes, tmp_path / "knn", algorithm="knn", encoder=encoder)
    assert_knows_who_is_good_at_what(predictor)
    assert predictor.encoder == CountingEncoder()


def test_another_version_of_an_encoder_than_at_training_is_refused(toy_outcomes, tmp_path):
    ENCODERS["counts"] = lambda settings: CountingEncoder()
    encoder = {"model": "counts:of characters"}
    train(toy_outcomes, tmp_path / "knn", algorithm="knn", encoder=encoder)
    ENCODERS["counts"] = lambda settings: CountingEncoder(fingerprint="counts-2")
    with pytest.raises(CheckpointError, match="trained with encoder counts-1, but .* is counts-2"):
        load_checkpoint(tmp_path / "knn")


def test_an_encoder_that_is_no_local_model_is_not_trained_by_lora(toy_outcomes, tmp_path):
    ENCODERS["counts"] = lambda settings: CountingEncoder()
    encoder = {"model": "counts:of characters"}
    with pytest.raises(ConfigurationError, match="lora: encoder 'counts:.*' is not a local model"):
        train(toy_outcomes, tmp_path / "r", encoder=encoder, members=1, epochs=1, lora={})

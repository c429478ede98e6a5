"""RouteLLM's two classifiers, on tiny transformers built in code, with adapters and with all weights."""

import numpy as np
import pytest
import torch

from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.predictor.adapter import Adapter, FullWeights
from routoo_core.predictor.checkpoint import load_checkpoint
from routoo_core.predictor.pair_classifier import classified_win_rates
from routoo_core.predictor.score_tokens import sufficient
from routoo_core.progress import SILENT
from routoo_core.training.classifiers import score_loss, three_class_loss
from routoo_core.training.run import train_router
from routoo_core.training.settings import TrainingConfig, preset

TEXTS = ["what is 31 + 44 ?", "hello there, dear friend number 1234"]
TUNING = {
    "frozen": None,
    "adapters": {"first_layer": 1, "rank": 4, "epochs": 1, "batch_size": 32},
    "all weights": {"all_weights": True, "learning_rate": 1e-3, "epochs": 1, "batch_size": 32},
}


@pytest.mark.parametrize("lora", TUNING.values(), ids=TUNING)
@pytest.mark.parametrize(("algorithm", "pooling"), [("bert", "mean"), ("causal", "last")])
def test_each_is_trained_saved_and_served_like_any_router(
    algorithm, pooling, lora, tiny_model, toy_outcomes, tmp_path, monkeypatch
):
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))
    encoder = {"model": str(tiny_model), "layers": (), "pooling": pooling}
    config = TrainingConfig(
        algorithm=algorithm,
        encoder=encoder,
        lora=lora,
        open_questions=False,
        epochs=60,
        patience=9,
        learning_rate=1e-2,
    )
    metrics = train_router(toy_outcomes, config, tmp_path / "r", {}, SILENT)
    predictor = load_checkpoint(tmp_path / "r")
    sums, greetings = predictor.predict(TEXTS)
    assert sums[0] > sums[1]
    assert greetings[1] > greetings[0]
    assert metrics.auc > 0.9
    assert (predictor.folder / "adapter").is_dir() == (lora is not None)


def test_three_classes_of_a_battle_and_the_tie_counts_for_the_weak():
    probabilities = np.array([0.5, 0.2, 0.3])  # strong wins, weak wins, tie
    logits = np.log(probabilities)[None, :].astype(np.float32)
    rates = classified_win_rates(logits, np.array([1.0, -1.0], dtype=np.float32))
    strong = 1 - (0.3 + 0.2)
    np.testing.assert_allclose(rates, [[(0.5 + strong) / 2, (0.5 + 1 - strong) / 2]], rtol=1e-5)


def test_with_three_experts_each_battle_has_classes_of_its_own():
    logits = np.array([[1.0, 0.0, -1.0, 0.5]], dtype=np.float32)
    rates = classified_win_rates(logits, np.array([2.0, 1.0, 0.0], dtype=np.float32))[0]
    e = np.exp(logits[0])
    best = (0.5 + e[0] / (e[0] + e[3] + e[1]) + e[0] / (e[0] + e[3] + e[2])) / 3
    last = (0.5 + (e[2] + e[3]) / (e[0] + e[3] + e[2]) + (e[2] + e[3]) / (e[1] + e[3] + e[2])) / 3
    assert rates[0] == pytest.approx(best, rel=1e-5)
    assert rates[2] == pytest.approx(last, rel=1e-5)
    assert rates.mean() == pytest.approx(0.5, abs=1e-6)


def test_the_loss_of_battles_is_the_cross_entropy_of_what_happened():
    logits = torch.tensor([[2.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
    scores = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    log_probability = torch.log_softmax(torch.tensor([2.0, 1.0, 0.0]), dim=0)
    expected = -(log_probability[0] + log_probability[1]) / 2
    assert float(three_class_loss(logits, scores)) == pytest.approx(float(expected))


def test_an_expert_suffices_with_the_probability_of_scores_four_and_five():
    probabilities = np.array([[0.1, 0.2, 0.3, 0.15, 0.25], [0.0001, 0.0001, 0.0001, 0.9, 0.0997]])
    logits = np.log(probabilities).reshape(1, -1).astype(np.float32)
    np.testing.assert_allclose(sufficient(logits), [[0.4, 0.9997]], atol=1e-4)


def test_scores_become_the_nearest_of_five_and_unobserved_ones_say_nothing():
    logits = torch.zeros(1, 10)
    logits[0, 4] = 3.0
    scores = torch.tensor([[1.0, float("nan")]])
    expected = -torch.log_softmax(logits[0, :5], dim=0)[4]
    assert float(score_loss(logits, scores)) == pytest.approx(float(expected))


def test_all_weights_are_saved_loaded_and_put_back(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    FullWeights.of({"0.weight": torch.ones(2, 3)}).save(tmp_path / "adapter", "m")
    loaded = Adapter.load(tmp_path / "adapter")
    loaded.merge_into(model)
    assert torch.equal(model[0].weight, torch.ones(2, 3))
    with pytest.raises(CheckpointError, match="does not fit the encoder"):
        loaded.merge_into(torch.nn.Sequential(torch.nn.Linear(4, 2)))


def test_the_default_heads_do_not_train_all_weights():
    with pytest.raises(ConfigurationError, match="trains adapters alone"):
        TrainingConfig(lora={"all_weights": True})


@pytest.mark.parametrize("name", ["bert", "causal"])
def test_the_presets_are_the_published_settings(name):
    config = preset(name)
    assert config.algorithm == name
    assert config.lora is not None
    assert config.encoder.pooling == ("cls" if name == "bert" else "last")

"""Train the two classifiers: a linear map on the encoder's vectors, and where ``lora`` is set the encoder with it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from routoo_core.battles import fit_ratings, from_outcomes
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.pair_classifier import LinearMap, PairClassifier
from routoo_core.predictor.pairwise import PairwiseModel
from routoo_core.predictor.score_tokens import SCORES, ScoreTokens
from routoo_core.progress import Update
from routoo_core.training.early_stopping import (
    Loss,
    ScheduleSettings,
    mean_of,
    train_with_early_stopping,
)
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.labels import nearest_levels
from routoo_core.training.lora import EncoderTuning, FineTuning
from routoo_core.training.pairwise import PairwiseSettings, fit_scale


class PairClassifierSettings(ScheduleSettings, PairwiseSettings):
    """Settings of ``bert``."""


class StandardisedLinear(nn.Module):
    """A linear map of standardised vectors, while it is trained."""

    def __init__(self, vectors: Vectors, outputs: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.from_numpy(vectors.mean(0)))
        self.register_buffer("scale", torch.from_numpy(vectors.std(0) + 1e-6))
        self.linear = nn.Linear(vectors.shape[1], outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        """(prompts, outputs)."""
        logits: Tensor = self.linear((vectors - self.mean) / self.scale)
        return logits

    def to_map(self) -> LinearMap:
        """The map as it is served."""
        return LinearMap(
            mean=self.mean.cpu().numpy(),
            scale=self.scale.cpu().numpy(),
            weight=np.ascontiguousarray(self.linear.weight.detach().cpu().numpy().T),
            bias=self.linear.bias.detach().cpu().numpy(),
        )


def module_of(linear: LinearMap) -> StandardisedLinear:
    """A map, to train it further."""
    module = StandardisedLinear(np.stack([linear.mean, linear.mean]), len(linear.bias))
    module.scale.copy_(torch.from_numpy(linear.scale))
    with torch.no_grad():
        module.linear.weight.copy_(torch.from_numpy(linear.weight.T))
        module.linear.bias.copy_(torch.from_numpy(linear.bias))
    return module


def fit_linear_map(
    data: EncodedOutcomes,
    outputs: int,
    loss: Loss,
    settings: ScheduleSettings,
    seed: int,
    progress: Update,
) -> LinearMap:
    """Train a map with early stopping on dev; without dev prompts for all epochs.

    Args:
        data: N prompts.
        outputs: How many numbers the map gives.
        loss: Outputs and the outcomes' scores → what is minimised.
        settings: Of the optimiser.
        seed: Of everything that is drawn.
        progress: Called with a line after each epoch.
    """
    train_vectors = data.vectors[data.outcomes.rows("train")]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = StandardisedLinear(train_vectors, outputs)
        train_with_early_stopping(module, data, loss, settings, progress)
    return module.to_map()


# Wins, ties and losses


def fit_pair_classifier(
    data: EncodedOutcomes, settings: PairClassifierSettings, seed: int, progress: Update
) -> PairwiseModel:
    """Train the classes of battles on the vectors, and fit their scale."""
    outputs = len(data.outcomes.experts) + 1
    linear = fit_linear_map(data, outputs, three_class_loss, settings, seed, progress)
    return _scaled_classifier(data, linear, settings)


def _scaled_classifier(
    data: EncodedOutcomes, linear: LinearMap, settings: PairwiseSettings
) -> PairwiseModel:
    ratings = fit_ratings(from_outcomes(data.outcomes, "train").counts()).astype(np.float32)
    return fit_scale(data, PairClassifier(linear, ratings), settings)


def three_class_loss(logits: Tensor, scores: Tensor) -> Tensor:
    """Mean cross-entropy of (first wins, tie, second wins) over all battles; logits (prompts, experts + 1)."""
    experts = scores.shape[1]
    first, second = torch.triu_indices(experts, experts, 1)
    lead = scores[:, first] - scores[:, second]
    is_battle = ~torch.isnan(lead)
    classes = (1 - torch.sign(torch.nan_to_num(lead))).long()

    tie = logits[:, experts:].expand(-1, len(first))
    of_classes = torch.stack([logits[:, first], tie, logits[:, second]], dim=-1)
    return mean_of(
        functional.cross_entropy(of_classes[is_battle], classes[is_battle], reduction="none")
    )


def tune_pair_classifier(
    model: PairwiseModel, data: EncodedOutcomes, plan: FineTuning, progress: Update
) -> EncoderTuning:
    """Train the encoder with the classifier."""
    from routoo_core.training.encoder_tuning import tune_encoder

    classifier = model.strength
    settings = plan.algorithm_settings
    assert isinstance(classifier, PairClassifier)  # noqa: S101
    assert isinstance(settings, PairClassifierSettings)  # noqa: S101
    module = module_of(classifier.linear)
    tuning = tune_encoder(module, three_class_loss, data, plan, progress)
    tuned_data = EncodedOutcomes(data.outcomes, tuning.vectors)
    return EncoderTuning(_scaled_classifier(tuned_data, module.to_map(), settings), tuning.adapter)


# Score tokens


def fit_score_tokens(
    data: EncodedOutcomes, settings: ScheduleSettings, seed: int, progress: Update
) -> ScoreTokens:
    """Train the score tokens on the vectors."""
    outputs = SCORES * len(data.outcomes.experts)
    return ScoreTokens(fit_linear_map(data, outputs, score_loss, settings, seed, progress))


def score_loss(logits: Tensor, scores: Tensor) -> Tensor:
    """Mean cross-entropy of the nearest of five scores over the observed pairs; logits (prompts, experts · 5)."""
    observed = ~torch.isnan(scores)
    levels = nearest_levels(scores, SCORES)
    by_score = logits.reshape(len(logits), -1, SCORES)
    return mean_of(functional.cross_entropy(by_score[observed], levels[observed], reduction="none"))


def tune_score_tokens(
    model: ScoreTokens, data: EncodedOutcomes, plan: FineTuning, progress: Update
) -> EncoderTuning:
    """Train the language model with the score tokens."""
    from routoo_core.training.encoder_tuning import tune_encoder

    module = module_of(model.linear)
    tuning = tune_encoder(module, score_loss, data, plan, progress)
    return EncoderTuning(ScoreTokens(module.to_map()), tuning.adapter)

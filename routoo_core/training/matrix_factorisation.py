"""Train the matrix factorisation on battles: cross-entropy of who won, stopping early on dev."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from routoo_core.predictor.base import Vectors
from routoo_core.predictor.matrix_factorisation import MatrixFactorisation
from routoo_core.predictor.pairwise import PairwiseModel
from routoo_core.progress import Update
from routoo_core.training.early_stopping import ScheduleSettings, train_with_early_stopping
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.pairwise import PairwiseSettings, fit_scale, with_scale_of


class FactorisationSettings(ScheduleSettings, PairwiseSettings):
    """Settings of ``mf``.

    Attributes:
        factors: Length of an expert's vector.
        ties: Whether a tie counts as half a win for both; the paper's code leaves ties out.
        noise: Standard deviation of what is added to a standardised vector in training.
    """

    factors: Annotated[int, Field(ge=1)] = 128
    ties: bool = True
    noise: Annotated[float, Field(ge=0)] = 1.0
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] = 5


def fit_factorisation(
    data: EncodedOutcomes, settings: FactorisationSettings, seed: int, progress: Update
) -> PairwiseModel:
    """Train on the battles over the ``train`` rows, and fit their scale."""
    factors = train_factors(data, settings, seed, progress)
    return fit_scale(data, factors, settings)


def factorisation_settings_for_all_rows(
    settings: FactorisationSettings, model: PairwiseModel
) -> FactorisationSettings:
    """As many epochs as were best on ``dev``, and the scale that was fitted there."""
    factors = model.strength
    assert isinstance(factors, MatrixFactorisation)  # noqa: S101
    new_settings = with_scale_of(settings, model)
    return new_settings.model_copy(update={"epochs": max(1, factors.epochs)})


class _Factors(nn.Module):
    """The factors while they are trained.

    Args:
        vectors: Of the training prompts, (prompts, dim), to standardise by.
        experts: How many.
        settings: Length of the factors, and the noise in training.
    """

    def __init__(self, vectors: Vectors, experts: int, settings: FactorisationSettings) -> None:
        super().__init__()
        dim = vectors.shape[1]
        factors = settings.factors
        self.noise = settings.noise
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.from_numpy(vectors.mean(0)))
        self.register_buffer("scale", torch.from_numpy(vectors.std(0) + 1e-6))
        self.projection = nn.Linear(dim, factors)
        self.experts = nn.Embedding(experts, factors)
        self.output = nn.Parameter(torch.randn(factors))

    def forward(self, vectors: Tensor) -> Tensor:
        """Strengths, log-odds, (prompts, experts)."""
        z_scores = (vectors - self.mean) / self.scale
        if self.training:
            z_scores = z_scores + self.noise * torch.randn_like(z_scores)
        unit_experts = functional.normalize(self.experts.weight, dim=1)
        strengths: Tensor = self.projection(z_scores) @ (unit_experts * self.output).T
        return strengths


def train_factors(
    data: EncodedOutcomes, settings: FactorisationSettings, seed: int, progress: Update
) -> MatrixFactorisation:
    """Train the factors alone; where there is no dev prompt, all epochs are run."""
    train_vectors = data.vectors[data.outcomes.rows("train")]

    def loss(strengths: Tensor, scores: Tensor) -> Tensor:
        return battle_loss(strengths, scores, settings.ties)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _Factors(train_vectors, len(data.outcomes.experts), settings)
        epochs = train_with_early_stopping(module, data, loss, settings, progress)

    with torch.no_grad():
        unit_experts = functional.normalize(module.experts.weight, dim=1)
    return MatrixFactorisation(
        mean=module.mean.numpy(),
        scale=module.scale.numpy(),
        projection=np.ascontiguousarray(module.projection.weight.detach().numpy().T),
        bias=module.projection.bias.detach().numpy(),
        experts=unit_experts.numpy(),
        output=module.output.detach().numpy(),
        epochs=epochs,
    )


def battle_loss(strengths: Tensor, scores: Tensor, ties: bool) -> Tensor:
    """Mean cross-entropy of all battles about some prompts.

    Args:
        strengths: Log-odds, (prompts, experts).
        scores: Observed, (prompts, experts), NaN where not; the better one of two wins.
        ties: Whether equal scores count, as half a win for both.
    """
    first, second = torch.triu_indices(scores.shape[1], scores.shape[1], 1)
    lead = scores[:, first] - scores[:, second]
    is_battle = ~torch.isnan(lead)
    if not ties:
        is_battle = is_battle & (lead != 0)
    result = (torch.sign(torch.nan_to_num(lead)) + 1) / 2

    logits = strengths[:, first] - strengths[:, second]
    losses = functional.binary_cross_entropy_with_logits(logits, result, reduction="none")
    weights = is_battle.to(losses.dtype)
    return (losses * weights).sum() / weights.sum().clamp_min(1)

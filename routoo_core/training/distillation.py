"""Two targets in place of scores: rewards shared out among the experts (Zooter), and good enough or not (HybridLLM)."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from routoo_core.measures.simple_routers import mean_scores
from routoo_core.predictor.distilled import RewardDistillation, Sufficiency
from routoo_core.predictor.pairwise import PairwiseModel
from routoo_core.progress import Update
from routoo_core.training.classifiers import fit_linear_map
from routoo_core.training.early_stopping import ScheduleSettings, mean_of
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.labels import prompt_domains
from routoo_core.training.pairwise import PairwiseSettings, fit_scale

Scores = NDArray[np.float32]

GAPS = np.linspace(0.0, 1.0, 21)
"""Gaps that are tried."""


class DistillationSettings(ScheduleSettings, PairwiseSettings):
    """Settings of ``zooter``.

    Attributes:
        temperature: Of the softmax over the rewards of a prompt.
        own_share: β: how much a prompt's own rewards count beside the mean of its tag, 0–1; the paper has 0.3. Tags
            are the table's domains, or clusters of the prompts.
        clusters: How many clusters stand in for tags; 0 is 16.
    """

    temperature: Annotated[float, Field(gt=0)] = 0.25
    own_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    clusters: Annotated[int, Field(ge=0)] = 0


def fit_distillation(
    data: EncodedOutcomes, settings: DistillationSettings, seed: int, progress: Update
) -> PairwiseModel:
    """Teach the student what the rewards say, and fit its scale on the scores."""
    tags = prompt_domains(data, settings.clusters, seed).number
    train = data.outcomes.rows("train")
    smooth = smooth_by_tag(data.outcomes.scores, tags, train, settings.own_share)
    rewards = EncodedOutcomes(data.outcomes.with_scores(smooth), data.vectors)

    def loss(logits: Tensor, scores: Tensor) -> Tensor:
        return reward_loss(logits, scores, settings.temperature)

    experts = len(data.outcomes.experts)
    linear = fit_linear_map(rewards, experts, loss, settings, seed, progress)
    return fit_scale(data, RewardDistillation(linear), settings)


def smooth_by_tag(
    scores: Scores, tags: NDArray[np.int64], train: NDArray[np.int64], own_share: float
) -> Scores:
    """Each reward, averaged with what the expert got on ``train`` prompts of the same tag; unobserved ones stay NaN.

    Args:
        scores: Prompts × experts, 0–1 or NaN.
        tags: Of each prompt; -1 where unknown.
        train: Rows that means are taken over.
        own_share: β, 0–1.
    """
    overall = mean_scores(scores[train])
    smooth = scores.copy()
    for tag in np.unique(tags):
        mean = mean_scores(scores[train[tags[train] == tag]], overall)
        of_tag = tags == tag
        smooth[of_tag] = own_share * scores[of_tag] + (1 - own_share) * mean
    return smooth


def reward_loss(logits: Tensor, rewards: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of the experts' softmax with that of their rewards, over the observed experts of a prompt."""
    observed = ~torch.isnan(rewards)
    some = observed.any(dim=1)
    lowest = torch.finfo(logits.dtype).min
    target_logits = (rewards.nan_to_num() / temperature).masked_fill(~observed, lowest)
    target = functional.softmax(target_logits[some], dim=1)
    log_share = functional.log_softmax(logits.masked_fill(~observed, lowest)[some], dim=1)
    return mean_of(-(target * log_share.masked_fill(~observed[some], 0)).sum(dim=1))


class SufficiencySettings(ScheduleSettings, PairwiseSettings):
    """Settings of ``hybrid``.

    Attributes:
        labels: ``transformed``: is the expert's score at most the gap below the best expert's? ``probabilistic``: how
            probable is it that a single answer is no worse, if scores are shares of right answers?
        gap: t, 0–1; by default the one that tells most prompts apart. Only for ``transformed`` labels.
    """

    labels: Literal["transformed", "probabilistic"] = "transformed"
    gap: Annotated[float, Field(ge=0, le=1)] | None = None


def fit_sufficiency(
    data: EncodedOutcomes, settings: SufficiencySettings, seed: int, progress: Update
) -> PairwiseModel:
    """Teach the router which experts are good enough, compared with the best single one, and fit its scale."""
    scores = data.outcomes.scores
    best = reference_expert(scores[data.outcomes.rows("train")])
    if settings.labels == "probabilistic":
        labels = probabilistic_labels(scores, best)
    else:
        gap = settings.gap
        if gap is None:
            gap = best_gap(scores[data.outcomes.rows("train")], best)
        progress(f"gap {gap:.2f}")
        labels = transformed_labels(scores, best, gap)
    targets = EncodedOutcomes(data.outcomes.with_scores(labels), data.vectors)
    experts = len(data.outcomes.experts)
    linear = fit_linear_map(targets, experts, soft_label_loss, settings, seed, progress)
    return fit_scale(data, Sufficiency(linear), settings)


def reference_expert(scores: Scores) -> int:
    """The expert with the best mean score; of those alone that were observed at least half as often as any.

    An expert that has answered few prompts, perhaps easy ones, would leave most prompts without a label.
    """
    counts = (~np.isnan(scores)).sum(axis=0)
    is_known = 2 * counts >= counts.max()
    return int(np.argmax(np.where(is_known, mean_scores(scores), -np.inf)))


def probabilistic_labels(scores: Scores, best: int) -> Scores:
    """``P(S ≥ L) = 1 - p_L (1 - p_S)`` for answers that are right with probability p; 1 for the best expert itself."""
    labels = 1 - scores[:, best : best + 1] * (1 - scores)
    labels[:, best] = np.where(np.isnan(scores[:, best]), np.nan, 1.0)
    return labels.astype(np.float32)


def transformed_labels(scores: Scores, best: int, gap: float) -> Scores:
    """``1[S ≥ L - t]``; NaN where either was not observed."""
    lead = scores - scores[:, best : best + 1]
    labels = (lead >= -gap - 1e-6).astype(np.float32)
    labels[np.isnan(lead)] = np.nan
    return labels


def best_gap(scores: Scores, best: int) -> float:
    """The gap at which labels of two prompts differ most often on average: the paper's choice of t; 0 without any."""
    others = np.arange(scores.shape[1]) != best
    is_compared = others & ~np.isnan(scores - scores[:, best : best + 1]).all(axis=0)
    if not is_compared.any():
        return 0.0
    differences = []
    for gap in GAPS:
        share = np.nanmean(transformed_labels(scores, best, float(gap))[:, is_compared], axis=0)
        differences.append(float((2 * share * (1 - share)).mean()))
    return float(GAPS[int(np.argmax(differences))])


def soft_label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of labels from 0 to 1 over the observed pairs."""
    observed = ~torch.isnan(labels)
    return mean_of(
        functional.binary_cross_entropy_with_logits(
            logits[observed], labels[observed], reduction="none"
        )
    )

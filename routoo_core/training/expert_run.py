"""``routoo suggest-prompts`` and ``routoo add-expert``: a trained checkpoint learns one more expert from few labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.measures.metrics import prediction_metrics
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.adapter import Adapter
from routoo_core.predictor.base import Quality, Vectors
from routoo_core.predictor.checkpoint import (
    CARD_FILE,
    Checkpoint,
    load_adapter,
    load_parts,
    save_checkpoint,
)
from routoo_core.predictor.checkpoint_config import CheckpointConfig, read_config
from routoo_core.predictor.head_ensemble import HeadEnsemble
from routoo_core.predictor.performance import PredictorParts
from routoo_core.predictor.reference import read_reference
from routoo_core.progress import Progress
from routoo_core.training.algorithms import ALGORITHMS
from routoo_core.training.calibration import fit_calibration
from routoo_core.training.lengths import add_expert_lengths
from routoo_core.training.metrics import AddedExpert, read_metrics
from routoo_core.training.new_expert import add_expert
from routoo_core.training.suggestion import check_count, suggest_prompts
from routoo_core.training.vectors import encode_cached


@dataclass(frozen=True)
class NewExpert:
    """The expert that a checkpoint is to learn.

    Attributes:
        name: As in the outcomes.
        prior: The known expert to start from; by default the mean of all.
    """

    name: str
    prior: str | None = None


def add_expert_to(
    checkpoint: Path, outcomes: Outcomes, expert: NewExpert, out: Path, progress: Progress
) -> AddedExpert:
    """Write to ``out`` the checkpoint with one more expert; the others' parameters stay the same to the bit.

    Their predictions may move by a rounding error (below 1e-6), since a larger product is summed in another order.

    Args:
        checkpoint: The folder to start from.
        outcomes: Prompts on which the expert was observed; other experts' columns are not used.
        expert: The new one.
        out: The folder to write; may be ``checkpoint`` itself.
        progress: Where progress goes.

    Returns:
        What was learnt from, and how well it is predicted.

    Raises:
        ConfigurationError: The checkpoint knows the name already, does not know the prior, or is not of heads.
    """
    config = read_config(checkpoint)
    prior = _check_names(checkpoint, config, expert)
    parts, ensemble = _load_ensemble(checkpoint, config)

    labels = labels_of(outcomes, expert.name)
    vectors = _encode_labels(labels, config, parts.adapter, progress)
    heads = add_expert(list(ensemble.heads), vectors, labels.scores, prior=prior)
    new_ensemble = HeadEnsemble(heads)
    quality = new_ensemble.quality(vectors)[:, -1:]
    auc = _auc_of(quality, labels.scores[:, None])
    addition = AddedExpert(expert.name, len(labels.scores), auc)

    metrics = read_metrics(checkpoint)
    metrics = replace(metrics, added_experts=(*metrics.added_experts, addition))
    card = (checkpoint / CARD_FILE).read_text(encoding="utf-8").rstrip()
    grown_checkpoint = Checkpoint(
        config=config.model_copy(update={"experts": (*config.experts, expert.name)}),
        parts=_grow_parts(parts, new_ensemble, vectors, labels),
        reference=read_reference(checkpoint),
        metrics=metrics.to_dict(),
        card=f"{card}\n- {expert.name} (added from {addition.labels} labels)\n",
    )
    save_checkpoint(out, grown_checkpoint)
    return addition


def suggest_for(
    checkpoint: Path, prompts: tuple[str, ...], count: int, seed: int, progress: Progress
) -> NDArray[np.int64]:
    """Rows of the prompts to label for an expert that a checkpoint is to learn; see :func:`suggest_prompts`.

    Raises:
        ConfigurationError: ``count`` is not between 1 and the number of prompts.
    """
    check_count(count, len(prompts))
    config = read_config(checkpoint)
    adapter = load_adapter(checkpoint, config)
    vectors = encode_cached(prompts, config.training.encoder, progress, adapter)
    return suggest_prompts(vectors, count, seed)


def _load_ensemble(
    checkpoint: Path, config: CheckpointConfig
) -> tuple[PredictorParts, HeadEnsemble]:
    """The parts of a checkpoint, and the heads among them."""
    algorithm = ALGORITHMS.get(config.training.algorithm)
    if algorithm is not None:
        parts = load_parts(checkpoint, config, algorithm.load)
        if isinstance(parts.quality_model, HeadEnsemble):
            return parts, parts.quality_model
    raise ConfigurationError(
        f"{checkpoint}: algorithm: {config.training.algorithm!r} learns no embeddings; train again"
    )


def _check_names(checkpoint: Path, config: CheckpointConfig, expert: NewExpert) -> int | None:
    """The column of the prior, if there is one."""
    if expert.name in config.experts:
        raise ConfigurationError(
            f"name: {checkpoint} knows {expert.name!r} already; choose another name"
        )
    if expert.prior is None:
        return None
    if expert.prior not in config.experts:
        raise ConfigurationError(
            f"prior: {expert.prior!r} is unknown; choose one of {', '.join(config.experts)}"
        )
    return config.experts.index(expert.prior)


@dataclass(frozen=True)
class ExpertLabels:
    """Observations of one expert.

    Attributes:
        prompts: On which it was observed.
        scores: 0–1, (prompts,).
        lengths: Tokens of its answers, (prompts,), NaN where unknown.
    """

    prompts: tuple[str, ...] = field(repr=False)
    scores: NDArray[np.float32] = field(repr=False)
    lengths: NDArray[np.float32] = field(repr=False)


def labels_of(outcomes: Outcomes, name: str) -> ExpertLabels:
    """The observations of an expert; none when the table lacks it.

    Args:
        outcomes: The table.
        name: Of the expert.
    """
    if name not in outcomes.experts:
        none = np.empty(0, dtype=np.float32)
        return ExpertLabels((), none, none)

    scores = outcomes.score_table.column(name)
    lengths = np.full_like(scores, np.nan)
    if outcomes.length_table is not None:
        lengths = outcomes.length_table.column(name)
    rows = np.flatnonzero(~np.isnan(scores))
    prompts = tuple(outcomes.prompts[row] for row in rows)
    return ExpertLabels(prompts, scores[rows], lengths[rows])


def _grow_parts(
    parts: PredictorParts, ensemble: HeadEnsemble, vectors: Vectors, labels: ExpertLabels
) -> PredictorParts:
    """The parts of a checkpoint with one more expert, whose heads are ``ensemble``."""
    quality = ensemble.quality(vectors)[:, -1:]
    own_calibration = fit_calibration(quality, labels.scores[:, None])
    lengths = parts.lengths
    if lengths is not None:
        lengths = add_expert_lengths(lengths, vectors, labels.lengths)
    return PredictorParts(
        quality_model=ensemble,
        calibration=np.concatenate([parts.calibration, own_calibration]),
        lengths=lengths,
        adapter=parts.adapter,
    )


def _encode_labels(
    labels: ExpertLabels, config: CheckpointConfig, adapter: Adapter | None, progress: Progress
) -> Vectors:
    if not labels.prompts:
        return np.empty((0, config.dim), dtype=np.float32)
    return encode_cached(labels.prompts, config.training.encoder, progress, adapter)


def _auc_of(quality: Quality, scores: NDArray[np.float32]) -> float | None:
    """``None`` where all answers are correct or all are wrong."""
    if len(np.unique(scores >= 0.5)) < 2:
        return None
    return prediction_metrics(quality.astype(np.float64), scores.astype(np.float64)).auc

"""``routoo train``: outcomes → vectors → a fitted model → held-out figures → a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core import embedded
from routoo_core.errors import OutcomesError
from routoo_core.expert_table import ExpertTable
from routoo_core.measures.metrics import prediction_metrics
from routoo_core.measures.simple_routers import DOMAIN_LOOKUP, domain_lookup
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.adapter import Adapter
from routoo_core.predictor.base import Lengths, Quality, Vectors
from routoo_core.predictor.checkpoint import Checkpoint, library_versions, save_checkpoint
from routoo_core.predictor.checkpoint_config import CheckpointConfig, TrainingTable
from routoo_core.predictor.encoder import encoder_fingerprint
from routoo_core.predictor.lengths import LengthModel
from routoo_core.predictor.performance import PredictorParts
from routoo_core.predictor.quality_model import QualityModel
from routoo_core.predictor.reference import Reference, reference_rows
from routoo_core.progress import Progress
from routoo_core.text import question_fingerprints
from routoo_core.training.algorithms import ALGORITHMS
from routoo_core.training.calibration import cross_calibrated, fit_calibration
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.lengths import fit_lengths, length_error
from routoo_core.training.lora import FineTuning
from routoo_core.training.metrics import LengthErrors, TrainingMetrics, measure_pool
from routoo_core.training.model_card import model_card
from routoo_core.training.processes import is_main_process, main_process_first
from routoo_core.training.settings import TrainingConfig
from routoo_core.training.simple_routers import predict_simple_routers
from routoo_core.training.vectors import encode_cached

ROUTOO = "routoo"
"""The trained router among those of the figures."""


def train_router(
    outcomes: Outcomes,
    config: TrainingConfig,
    out: Path,
    prices: Mapping[str, float],
    progress: Progress,
) -> TrainingMetrics:
    """Train on the ``train`` rows, measure on the ``dev`` rows, write the checkpoint to ``out``.

    With ``config.refit`` the written model was then trained on all rows. The figures, the calibration and the
    reference are those of the same training without the ``dev`` rows.

    Args:
        outcomes: All rows; both splits must be there.
        config: What to train.
        out: The folder to write.
        prices: USD by expert, for the quality–cost figures; experts without a price are left out of those.
        progress: Where progress goes.

    Returns:
        The metrics, as written to ``metrics.json``.

    Raises:
        OutcomesError: A split is empty.
    """
    _check_splits(outcomes)
    data = _encode(outcomes, config, progress)
    fit = _fit(data.training, config, progress)
    serving = _encode_as_served(data.table, fit.adapter, config, progress)
    lengths = _fit_lengths(serving)
    held_out = _predict_held_out(data.table, fit.model, serving, progress)
    metrics = _measure(outcomes, held_out, lengths, serving, prices)
    final = _refit(data.training, fit, config, progress)

    if is_main_process():
        calibration = fit_calibration(held_out.raw_quality, held_out.outcomes.scores)
        checkpoint = Checkpoint(
            config=_checkpoint_config(outcomes, config, serving.dim),
            parts=PredictorParts(final.model, calibration, lengths, final.adapter),
            reference=_reference(held_out, final.prompts, config.seed),
            metrics=metrics.to_dict(),
            card=model_card(config, outcomes, metrics),
        )
        save_checkpoint(out, checkpoint)
    return metrics


def _check_splits(outcomes: Outcomes) -> None:
    dev_prompts = len(outcomes.rows("dev"))
    if not 0 < dev_prompts < len(outcomes.prompts):
        raise OutcomesError(
            "split: both 'train' and 'dev' prompts are needed; add rows or leave the column out"
        )


@dataclass(frozen=True)
class _Encoded:
    """What is learnt from, with the vectors of the frozen encoder.

    Attributes:
        table: The outcomes.
        training: The same rows, and after them the open questions made of them.
    """

    table: EncodedOutcomes
    training: EncodedOutcomes


def _encode(outcomes: Outcomes, config: TrainingConfig, progress: Progress) -> _Encoded:
    with main_process_first():
        vectors = encode_cached(outcomes.prompts, config.encoder, progress)
        table = EncodedOutcomes(outcomes, vectors)
        if not config.open_questions:
            return _Encoded(table, training=table)

        training = outcomes.with_open_questions()
        added_prompts = training.prompts[len(vectors) :]
        if added_prompts:
            added_vectors = encode_cached(added_prompts, config.encoder, progress)
            vectors = np.concatenate([vectors, added_vectors])
    return _Encoded(table, training=EncodedOutcomes(training, vectors))


@dataclass(frozen=True)
class _ModelFit:
    """A model that was fitted.

    Attributes:
        model: Vector → quality.
        adapter: The encoder's; ``None`` when it stayed frozen.
        prompts: What it was fitted on.
    """

    model: QualityModel
    adapter: Adapter | None
    prompts: tuple[str, ...] = field(repr=False)


def _fit(data: EncodedOutcomes, config: TrainingConfig, progress: Progress) -> _ModelFit:
    """Fit the ``train`` rows; with ``config.lora`` the encoder too."""
    algorithm = ALGORITHMS[config.algorithm]
    with progress.status("Training …") as update:

        def update_training(message: str, /) -> None:
            update(f"Training: {message}")

        model = algorithm.fit(data, config.algorithm_settings, config.seed, update_training)

    adapter = None
    if config.lora is not None and algorithm.fine_tune is not None:
        plan = FineTuning(
            encoder=config.encoder,
            lora=config.lora,
            algorithm_settings=config.algorithm_settings,
            seed=config.seed,
            resume_file=_resume_file(config, data.outcomes),
        )
        with progress.status("Training the encoder …") as update:
            tuning = algorithm.fine_tune(model, data, plan, update)
        model = tuning.model
        adapter = tuning.adapter

    prompts = data.outcomes.prompts
    train_prompts = tuple(prompts[row] for row in data.outcomes.rows("train"))
    return _ModelFit(model, adapter, train_prompts)


def _resume_file(config: TrainingConfig, outcomes: Outcomes) -> Path:
    """Where a killed run with just this configuration and data goes on from."""
    table = json.dumps(config.to_table(), sort_keys=True)
    digest = hashlib.sha256(f"{table} {outcomes.fingerprint()}".encode())
    key = digest.hexdigest()[:24]
    return embedded.cache_folder() / "training" / f"{key}.safetensors"


def _refit(
    data: EncodedOutcomes, fit: _ModelFit, config: TrainingConfig, progress: Progress
) -> _ModelFit:
    """Fit all rows in the same way; without ``config.refit``, and with an adapter, nothing changes."""
    if not config.refit or fit.adapter is not None:
        return fit
    algorithm = ALGORITHMS[config.algorithm]
    with progress.status("Training on all prompts …") as update:
        model = algorithm.refit(data, config.algorithm_settings, fit.model, config.seed, update)
    return _ModelFit(model, adapter=None, prompts=data.outcomes.prompts)


@dataclass(frozen=True)
class _ServedVectors:
    """Vectors as the encoder will give them when it serves, with its adapter.

    Attributes:
        dev: Of the held-out prompts, (n, dim).
        with_lengths: Of the ``train`` prompts some of whose answers' lengths were observed, (m, dim).
        lengths: Of these answers, (m, experts); ``None`` when no lengths were observed.
    """

    dev: Vectors = field(repr=False)
    with_lengths: Vectors = field(repr=False)
    lengths: Lengths | None = field(repr=False)

    @property
    def dim(self) -> int:
        return int(self.dev.shape[1])


def _encode_as_served(
    table: EncodedOutcomes, adapter: Adapter | None, config: TrainingConfig, progress: Progress
) -> _ServedVectors:
    outcomes = table.outcomes
    dev = outcomes.rows("dev")
    with_lengths = _rows_with_lengths(outcomes)
    rows = np.concatenate([dev, with_lengths])
    if adapter is None:
        vectors = table.vectors[rows]
    else:
        prompts = tuple(outcomes.prompts[row] for row in rows)
        vectors = encode_cached(prompts, config.encoder, progress, adapter)

    lengths = None if outcomes.lengths is None else outcomes.lengths[with_lengths]
    return _ServedVectors(vectors[: len(dev)], vectors[len(dev) :], lengths)


def _rows_with_lengths(outcomes: Outcomes) -> NDArray[np.int64]:
    """The ``train`` rows in which the length of at least one answer was observed."""
    if outcomes.lengths is None:
        return np.empty(0, dtype=np.int64)
    rows = outcomes.rows("train")
    return rows[~np.isnan(outcomes.lengths[rows]).all(axis=1)]


def _fit_lengths(serving: _ServedVectors) -> LengthModel | None:
    if serving.lengths is None:
        return None
    return fit_lengths(serving.with_lengths, serving.lengths)


@dataclass(frozen=True)
class _HeldOut:
    """The ``dev`` rows, which the model did not learn from, and its predictions.

    Attributes:
        outcomes: What was observed.
        raw_quality: The model's quality, prompts × experts.
        quality: Calibrated, each half of the prompts by the other.
        simple: The same from simple routers, by their names.
        domain_lookup: The same from each expert's mean in the prompt's domain.
        fingerprints: Of the questions.
    """

    outcomes: Outcomes
    raw_quality: Quality = field(repr=False)
    quality: Quality = field(repr=False)
    simple: dict[str, Quality] = field(repr=False)
    domain_lookup: NDArray[np.float64] = field(repr=False)
    fingerprints: NDArray[np.uint64] = field(repr=False)


def _predict_held_out(
    table: EncodedOutcomes, model: QualityModel, serving: _ServedVectors, progress: Progress
) -> _HeldOut:
    dev = table.outcomes.rows("dev")
    outcomes = table.outcomes.take(dev)
    fingerprints = question_fingerprints(outcomes.prompts)
    raw_quality = model.quality(serving.dev)
    quality = cross_calibrated(raw_quality, outcomes.scores, fingerprints)

    with progress.status("Training simple routers to stand beside …"):
        simple = predict_simple_routers(table.outcomes, table.vectors, dev)
    return _HeldOut(
        outcomes=outcomes,
        raw_quality=raw_quality,
        quality=_in_checkpoint_precision(quality),
        simple={name: _in_checkpoint_precision(values) for name, values in simple.items()},
        domain_lookup=domain_lookup(table.outcomes, dev),
        fingerprints=fingerprints,
    )


def _in_checkpoint_precision(quality: NDArray[np.floating]) -> Quality:
    """So that a report made from the checkpoint shows the figures that training measured."""
    return quality.astype(np.float16).astype(np.float32)


def _measure(
    outcomes: Outcomes,
    held_out: _HeldOut,
    lengths: LengthModel | None,
    serving: _ServedVectors,
    prices: Mapping[str, float],
) -> TrainingMetrics:
    scores = held_out.outcomes.scores.astype(np.float64)
    figures = prediction_metrics(held_out.quality.astype(np.float64), scores)
    raw_figures = prediction_metrics(held_out.raw_quality.astype(np.float64), scores)

    length_errors = None
    if lengths is not None:
        length_errors = _measure_lengths(lengths.lengths(serving.dev), outcomes)
    pool = None
    if prices:
        qualities: dict[str, NDArray[np.floating]] = {
            ROUTOO: held_out.quality,
            DOMAIN_LOOKUP: held_out.domain_lookup,
            **held_out.simple,
        }
        pool = measure_pool(qualities, held_out.outcomes, prices)

    dev_prompts = len(held_out.outcomes.prompts)
    return TrainingMetrics(
        experts=len(outcomes.experts),
        train_prompts=len(outcomes.prompts) - dev_prompts,
        dev_prompts=dev_prompts,
        auc=figures.auc,
        ece=figures.ece,
        ece_uncalibrated=raw_figures.ece,
        lengths=length_errors,
        pool=pool,
    )


def _measure_lengths(predicted: Lengths, outcomes: Outcomes) -> LengthErrors:
    """Error of the predicted lengths on the held-out prompts, beside that of each expert's mean."""
    assert outcomes.lengths is not None  # noqa: S101
    train = outcomes.lengths[outcomes.rows("train")]
    observed = outcomes.lengths[outcomes.rows("dev")]

    counts = np.maximum((~np.isnan(train)).sum(0), 1)
    mean = (np.nansum(train, axis=0) / counts).astype(np.float32)
    always_the_mean = np.tile(mean, (len(observed), 1))
    return LengthErrors(length_error(predicted, observed), length_error(always_the_mean, observed))


def _checkpoint_config(outcomes: Outcomes, config: TrainingConfig, dim: int) -> CheckpointConfig:
    return CheckpointConfig(
        training=TrainingTable(**config.to_table()),
        dim=dim,
        experts=outcomes.experts,
        encoder_fingerprint=encoder_fingerprint(config.encoder),
        data_fingerprint=outcomes.fingerprint(),
        versions=library_versions(),
    )


def _reference(held_out: _HeldOut, trained_prompts: tuple[str, ...], seed: int) -> Reference:
    """The held-out predictions in an order that says nothing of the table's."""
    order = np.random.default_rng(seed).permutation(len(held_out.fingerprints))
    fingerprints = held_out.fingerprints[order]
    row_ids = reference_rows(fingerprints)

    def table(values: NDArray[Any]) -> ExpertTable:
        return ExpertTable(row_ids, held_out.outcomes.experts, values[order])

    return Reference(
        quality_table=table(held_out.quality),
        score_table=table(held_out.outcomes.scores),
        prompts=fingerprints,
        trained=question_fingerprints(trained_prompts),
        simple={name: table(quality) for name, quality in held_out.simple.items()},
    )

"""``routoo train``: outcomes → vectors → heads → held-out figures → a checkpoint folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core import embedded
from routoo_core.errors import OutcomesError
from routoo_core.measures.curve import serve, sweep
from routoo_core.measures.figures import (
    PoolFigures,
    bootstrap_weights,
    pool_figures,
)
from routoo_core.measures.metrics import prediction_metrics
from routoo_core.measures.simple_routers import DOMAIN_LOOKUP, ORACLE, blind_routers, domain_lookup
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.adapter import Adapter
from routoo_core.predictor.base import Lengths, Quality
from routoo_core.predictor.calibration import calibrated
from routoo_core.predictor.checkpoint import (
    Learnt,
    encoder_fingerprint,
    library_versions,
    save_checkpoint,
)
from routoo_core.predictor.checkpoint_config import CheckpointConfig
from routoo_core.predictor.encoder import Encoder, Vectors
from routoo_core.predictor.lengths import LengthModel
from routoo_core.predictor.quality_model import SCORERS, HeadEnsemble, Neighbours
from routoo_core.predictor.reference import Reference
from routoo_core.progress import Progress
from routoo_core.text import question_fingerprints
from routoo_core.training.calibration import fit_calibration
from routoo_core.training.lengths import fit_lengths, length_error
from routoo_core.training.model_card import model_card
from routoo_core.training.processes import _main_process_first, is_main_process
from routoo_core.training.settings import TrainingConfig
from routoo_core.training.simple_routers import predict_simple_routers
from routoo_core.training.vectors import encode_cached


def train_router(
    outcomes: Outcomes,
    config: TrainingConfig,
    out: Path,
    prices: Mapping[str, float],
    progress: Progress,
) -> dict[str, Any]:
    """Train on the ``train`` rows, measure on the ``dev`` rows, write the checkpoint to ``out``.

    With ``config.refit`` what is written was then trained on all rows; the figures, the calibration and the reference
    are those of the same training without the ``dev`` rows.

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
    dev = outcomes.rows("dev")
    if not len(dev) or len(dev) == len(outcomes.prompts):
        raise OutcomesError(
            "split: both 'train' and 'dev' prompts are needed; add rows or leave the column out"
        )
    seen, seen_vectors = _encode(outcomes, config, progress)
    frozen = seen_vectors[: len(outcomes.prompts)]
    scorer, adapter = _learn(seen, seen_vectors, config, progress)
    served = np.concatenate([dev, _with_lengths(outcomes)])
    vectors = frozen[served]
    if adapter:
        vectors = encode_cached(
            tuple(outcomes.prompts[row] for row in served), config.encoder, progress, adapter
        )
    held_out, raw = outcomes.take(dev), scorer.quality(vectors[: len(dev)])
    prints = question_fingerprints(held_out.prompts)
    quality = _as_kept(_honestly_calibrated(raw, held_out.scores, prints))
    with progress.status("Training simple routers to stand beside …"):
        taught = predict_simple_routers(outcomes, frozen, dev, config.encoder)
    simple = {name: _as_kept(found) for name, found in taught.items()}
    lengths = _fit_lengths(vectors[len(dev) :], outcomes)
    metrics: dict[str, Any] = {
        "experts": len(outcomes.experts),
        "train_prompts": len(outcomes.prompts) - len(dev),
        "dev_prompts": len(dev),
        **prediction_metrics(
            quality.astype(np.float64), held_out.scores.astype(np.float64)
        ).to_dict(),
        "ece_uncalibrated": prediction_metrics(
            raw.astype(np.float64), held_out.scores.astype(np.float64)
        ).ece,
    }
    if lengths:
        metrics |= _length_metrics(lengths.lengths(vectors[: len(dev)]), outcomes)
    if prices:
        routers: dict[str, Any] = {
            "routoo": quality,
            DOMAIN_LOOKUP: domain_lookup(outcomes, dev),
            **simple,
        }
        metrics["pool"] = pool_metrics(routers, held_out, prices).to_dict()
    final, learnt_from = scorer, seen.rows("train")
    if config.refit and not adapter:
        learnt_from = np.arange(len(seen.prompts))
        whole = seen.with_splits(["train"] * len(seen.prompts))
        with progress.status("Training on all prompts …") as status:
            final = scorer.refit(whole, seen_vectors, config, status)
    shuffled = np.random.default_rng(config.seed).permutation(len(dev))
    if is_main_process():
        save_checkpoint(
            out,
            CheckpointConfig(
                training=config,
                dim=vectors.shape[1],
                experts=outcomes.experts,
                encoder_fingerprint=encoder_fingerprint(config.encoder.model),
                data_fingerprint=outcomes.fingerprint(),
                versions=library_versions(),
            ),
            Learnt(final, fit_calibration(raw, held_out.scores), lengths, adapter),
            Reference(
                outcomes.experts,
                quality[shuffled],
                held_out.scores[shuffled],
                prints[shuffled],
                question_fingerprints([seen.prompts[row] for row in learnt_from]),
                {name: found[shuffled] for name, found in simple.items()},
            ),
            metrics,
            model_card(config, outcomes, metrics),
        )
    return metrics


def _encode(
    outcomes: Outcomes, config: TrainingConfig, progress: Progress
) -> tuple[Outcomes, Vectors]:
    """What is learnt from, the table's own prompts first, and the frozen encoder's vectors of it."""
    with _main_process_first():
        vectors = encode_cached(outcomes.prompts, config.encoder, progress)
        seen = outcomes.with_open_questions() if config.open_questions else outcomes
        if added := seen.prompts[len(vectors) :]:
            vectors = np.concatenate([vectors, encode_cached(added, config.encoder, progress)])
    return seen, vectors


def _learn(
    seen: Outcomes, vectors: Vectors, config: TrainingConfig, progress: Progress
) -> tuple[HeadEnsemble | Neighbours, Adapter | None]:
    """What was learnt, and the adapter if one was trained."""
    with progress.status("Training …") as status:
        learn = SCORERS[config.algorithm].train
        scorer = learn(seen, vectors, config, lambda line: status(f"Training: {line}"))
    if not config.lora or not isinstance(scorer, HeadEnsemble):
        return scorer, None
    from routoo_core.training.fine_tuning import fine_tune, resume_file

    saved = resume_file(embedded.cache_folder() / "training", config, seen)
    encoder = Encoder.load(config.encoder)
    with progress.status("Training the encoder …") as status:
        return scorer, fine_tune(encoder, scorer.heads, seen, vectors, config, saved, status)


def _with_lengths(outcomes: Outcomes) -> NDArray[np.int64]:
    """The ``train`` rows whose answers' lengths are known of somebody."""
    if outcomes.lengths is None:
        return np.empty(0, dtype=np.int64)
    rows = outcomes.rows("train")
    return rows[~np.isnan(outcomes.lengths[rows]).all(axis=1)]


def _fit_lengths(vectors: Vectors, outcomes: Outcomes) -> LengthModel | None:
    return (
        None
        if outcomes.lengths is None
        else fit_lengths(vectors, outcomes.lengths[_with_lengths(outcomes)])
    )


def _length_metrics(predicted: Lengths, outcomes: Outcomes) -> dict[str, float]:
    """Error of the predicted lengths on the held-out prompts, beside that of each expert's mean."""
    assert outcomes.lengths is not None  # noqa: S101
    known, observed = (
        outcomes.lengths[outcomes.rows("train")],
        outcomes.lengths[outcomes.rows("dev")],
    )
    counts = np.maximum((~np.isnan(known)).sum(0), 1)
    mean = np.tile((np.nansum(known, axis=0) / counts).astype(np.float32), (len(observed), 1))
    return {
        "length_error": length_error(predicted, observed),
        "length_error_of_mean": length_error(mean, observed),
    }


def _honestly_calibrated(quality: Quality, scores: Quality, prints: NDArray[np.uint64]) -> Quality:
    """Each half of the held-out prompts calibrated by the other, so that the figures are not flattered.

    A question that is asked twice is in one half.
    """
    half = prints % 2 == 0
    result = quality.copy()
    for mine, other in ((half, ~half), (~half, half)):
        result[mine] = calibrated(quality[mine], fit_calibration(quality[other], scores[other]))
    return result


def _as_kept(quality: NDArray[np.floating]) -> Quality:
    """In the precision of the checkpoint, so that a report from it shows the figures measured here."""
    return quality.astype(np.float16).astype(np.float32)


def pool_metrics(
    routers: Mapping[str, NDArray[np.floating]], held_out: Outcomes, prices: Mapping[str, float]
) -> PoolFigures:
    """Figures of routers, the first one held against the others, in the pool that has prices.

    Args:
        routers: Name → predicted quality, prompts × experts of ``held_out``.
        held_out: What was observed; prompts not observed with the whole pool are left out.
        prices: USD by expert.
    """
    columns = [held_out.experts.index(name) for name in prices]
    complete = ~np.isnan(held_out.scores[:, columns]).any(axis=1)
    scores = held_out.scores[complete][:, columns].astype(np.float64)
    cost = np.array(list(prices.values()))
    policies = sweep(cost)
    quality = {
        name: found[complete][:, columns].astype(np.float64) for name, found in routers.items()
    }
    served = {
        name: serve(found, scores, cost, policies)
        for name, found in {**quality, ORACLE: scores}.items()
    }
    everyone = {**served, **blind_routers(scores, cost)}
    return pool_figures(list(prices), everyone, scores, cost, bootstrap_weights(len(scores)))

"""``routoo train``: outcomes → vectors → heads → held-out figures → a checkpoint folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from routoo_core import embedded
from routoo_core.errors import OutcomesError
from routoo_core.files import replacing
from routoo_core.measures.curve import serve, sweep
from routoo_core.measures.figures import (
    PoolFigures,
    bootstrap_weights,
    format_figure,
    pool_figures,
)
from routoo_core.measures.metrics import prediction_metrics
from routoo_core.measures.simple_routers import (
    DOMAIN_LOOKUP,
    ORACLE,
    blind_routers,
    by_vectors,
    domain_lookup,
)
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.adapter import Adapter
from routoo_core.predictor.base import Lengths, Quality
from routoo_core.predictor.calibration import calibrated, fit_calibration
from routoo_core.predictor.checkpoint import (
    CheckpointConfig,
    Learnt,
    Reference,
    encoder_fingerprint,
    library_versions,
    save_checkpoint,
)
from routoo_core.predictor.encoder import Encoder, EncoderSettings, Vectors
from routoo_core.predictor.lengths import LengthModel, fit_lengths, length_error
from routoo_core.predictor.scorer import SCORERS, HeadEnsemble, Neighbours
from routoo_core.progress import Progress
from routoo_core.text import question_fingerprints
from routoo_core.training.settings import TrainingConfig

_BLOCK = 1024
_PATIENCE = timedelta(days=1)


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
        taught = by_vectors(outcomes, frozen, dev, config.encoder)
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


def is_main_process() -> bool:
    """Whether this is the process that writes: the only one, or the first under ``accelerate launch``."""
    return os.environ.get("RANK", "0") == "0"


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


@contextmanager
def _main_process_first() -> Iterator[None]:
    """Under ``accelerate launch`` the others wait, and then find the vectors in the cache."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    from accelerate import PartialState  # type: ignore[import-untyped]

    with PartialState(timeout=_PATIENCE).main_process_first():
        yield


def encode_cached(
    prompts: tuple[str, ...],
    settings: EncoderSettings,
    progress: Progress,
    adapter: Adapter | None = None,
) -> Vectors:
    """Encode prompts, or read their vectors from the cache: heads then train in seconds.

    Vectors are kept in blocks of prompts, so that a run that was killed goes on with the block it was in.
    """
    blocks = [prompts[start : start + _BLOCK] for start in range(0, len(prompts), _BLOCK)]
    described = settings.model_dump_json() + (adapter.fingerprint() if adapter else "")
    paths = [_block_path(described, block) for block in blocks]
    missing = sum(
        len(block) for block, path in zip(blocks, paths, strict=True) if not path.is_file()
    )
    if missing:
        encoder = Encoder.load(settings, adapter=adapter)
        with progress.bar("Encoding prompts", missing) as advance:
            for block, path in zip(blocks, paths, strict=True):
                if not path.is_file():
                    _write_block(path, encoder.encode(block, progress=advance))
    return np.concatenate([load_file(path)["vectors"].astype(np.float32) for path in paths])


def _block_path(described: str, block: tuple[str, ...]) -> Path:
    key = hashlib.sha256("\x00".join((described, *block)).encode()).hexdigest()[:24]
    return embedded.cache_folder() / "vectors" / f"{key}.safetensors"


def _write_block(path: Path, vectors: Vectors) -> None:
    with replacing(path) as partial:
        save_file({"vectors": vectors.astype(np.float16)}, partial)


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


def model_card(config: TrainingConfig, outcomes: Outcomes, metrics: Mapping[str, Any]) -> str:
    """What the router is, what it was trained on, and how good it is on held-out prompts."""
    lines = [
        "# Router checkpoint",
        "",
        f"Predicts how well each of {len(outcomes.experts)} experts would answer a prompt, without running any.",
        "",
        f"- Encoder: `{config.encoder.model}`, layers {list(config.encoder.layers) or 'last'}, "
        f"{config.encoder.pooling} pooling, "
        + (
            f"LoRA from layer {config.lora.first_layer} up, rank {config.lora.rank}"
            if config.lora
            else "frozen"
        ),
        f"- Algorithm: `{config.algorithm}`"
        + (
            f", head `{config.head}`, {config.members} members averaged"
            if config.algorithm == "performance"
            else ""
        ),
        f"- Trained on {metrics['train_prompts']:,} prompts, measured on {metrics['dev_prompts']:,} held-out ones"
        + (
            "; then trained in the same way on all of them"
            if config.refit and not config.lora
            else ""
        ),
        f"- Mean AUC {format_figure(metrics['auc'])}, mean calibration error {metrics['ece']:.3f}",
    ]
    if "length_error" in metrics:
        lines.append(
            f"- Lengths of the answers: mean error {metrics['length_error']:.0%} of the mean length "
            f"({metrics['length_error_of_mean']:.0%} for each expert's mean)"
        )
    if "pool" in metrics:
        pool = PoolFigures.from_dict(metrics["pool"])
        lines += [
            "",
            f"Held-out quality–cost figures, {len(pool.experts)} experts, 95 % intervals in brackets.",
            "",
        ]
        lines += figures_table(pool)
    return "\n".join(
        [*lines, "", "## Experts", "", *(f"- {name}" for name in outcomes.experts), ""]
    )


def figures_table(pool: PoolFigures) -> list[str]:
    """Markdown rows of area, half and match for each router; of two experts RouteLLM's figures too."""
    columns = {
        "area": "area",
        "half": "quality at half the cost",
        "match": "cost to match the best",
    }
    if len(pool.experts) == 2:
        columns |= {"apgr": "APGR", "cpt50": "CPT(50 %)"}
    rows = [f"| router | {' | '.join(columns.values())} |", "|---" * (len(columns) + 1) + "|"]
    for name, figures in pool.routers.items():
        cells = [figures.describe(key) for key in columns]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows

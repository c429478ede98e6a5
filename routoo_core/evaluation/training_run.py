"""``routoo train``: outcomes → vectors → heads → held-out figures → a checkpoint folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from safetensors.numpy import load_file, save_file

from routoo_core import embedded
from routoo_core.errors import OutcomesError
from routoo_core.evaluation.metrics import baselines, pool_figures, prediction_metrics
from routoo_core.evaluation.progress import progress_bar
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.base import Quality
from routoo_core.predictor.calibration import calibrated, fit_calibration
from routoo_core.predictor.checkpoint import (
    CheckpointConfig,
    Reference,
    encoder_fingerprint,
    library_versions,
    save_checkpoint,
)
from routoo_core.predictor.encoder import Encoder, EncoderSettings, Vectors
from routoo_core.predictor.scorer import SCORERS
from routoo_core.predictor.training import TrainingConfig


def train_router(
    outcomes: Outcomes, config: TrainingConfig, out: Path, prices: Mapping[str, float], console: Console
) -> dict[str, Any]:
    """Train on the ``train`` rows, measure on the ``dev`` rows, write the checkpoint to ``out``.

    Args:
        outcomes: All rows; both splits must be there.
        config: What to train.
        out: The folder to write.
        prices: USD by expert, for the quality–cost figures; experts without a price are left out of those.
        console: Where progress goes.

    Returns:
        The metrics, as written to ``metrics.json``.

    Raises:
        OutcomesError: A split is empty.
    """
    dev = outcomes.rows("dev")
    if not len(dev) or len(dev) == len(outcomes.prompts):
        raise OutcomesError("split: both 'train' and 'dev' prompts are needed; add rows or leave the column out")
    vectors = encode_cached(outcomes.prompts, config.encoder, console)
    seen, seen_vectors = outcomes.with_open_questions() if config.open_questions else outcomes, vectors
    if added := seen.prompts[len(vectors) :]:
        seen_vectors = np.concatenate([vectors, encode_cached(added, config.encoder, console)])
    with console.status("Training …") as status:
        learn = SCORERS[config.algorithm].train
        scorer = learn(seen, seen_vectors, config, lambda line: status.update(f"Training: {line}"))
    held_out, raw = outcomes.take(dev), scorer.quality(vectors[dev])
    quality = _honestly_calibrated(raw, held_out.scores)
    metrics: dict[str, Any] = {
        "experts": len(outcomes.experts),
        "train_prompts": len(outcomes.prompts) - len(dev),
        "dev_prompts": len(dev),
        **prediction_metrics(quality.astype(np.float64), held_out.scores.astype(np.float64)),
        "ece_uncalibrated": prediction_metrics(raw.astype(np.float64), held_out.scores.astype(np.float64))["ece"],
    }
    if prices:
        routers = {"routoo": quality.astype(np.float64), **baselines(outcomes, vectors)}
        metrics["pool"] = _pool_metrics(routers, held_out, prices)
    shuffled = np.random.default_rng(config.seed).permutation(len(dev))
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
        scorer,
        fit_calibration(raw, held_out.scores),
        Reference(outcomes.experts, quality[shuffled], held_out.scores[shuffled]),
        metrics,
        model_card(config, outcomes, metrics),
    )
    return metrics


def encode_cached(prompts: tuple[str, ...], settings: EncoderSettings, console: Console) -> Vectors:
    """Encode prompts, or read their vectors from the cache: heads then train in seconds."""
    key = hashlib.sha256("\x00".join((settings.model_dump_json(), *prompts)).encode()).hexdigest()[:24]
    path = embedded.cache_folder() / "vectors" / f"{key}.safetensors"
    if path.is_file():
        return load_file(path)["vectors"].astype(np.float32)
    encoder = Encoder.load(settings)
    with progress_bar(console, "Encoding prompts", len(prompts)) as advance:
        vectors = encoder.encode(prompts, progress=advance)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({"vectors": vectors.astype(np.float16)}, partial)
    partial.replace(path)
    return vectors.astype(np.float16).astype(np.float32)


def _honestly_calibrated(quality: Quality, scores: Quality) -> Quality:
    """Each half of the held-out prompts calibrated by the other, so that the figures are not flattered."""
    half = np.arange(len(quality)) % 2 == 0
    result = quality.copy()
    for mine, other in ((half, ~half), (~half, half)):
        result[mine] = calibrated(quality[mine], fit_calibration(quality[other], scores[other]))
    return result


def _pool_metrics(routers: Mapping[str, Any], held_out: Outcomes, prices: Mapping[str, float]) -> dict[str, Any]:
    columns = [held_out.experts.index(name) for name in prices]
    complete = ~np.isnan(held_out.scores[:, columns]).any(axis=1)
    scores = held_out.scores[complete][:, columns].astype(np.float64)
    chosen = {name: quality[complete][:, columns] for name, quality in routers.items()}
    return {"experts": list(prices), **pool_figures(chosen, scores, np.array(list(prices.values())))}


def model_card(config: TrainingConfig, outcomes: Outcomes, metrics: Mapping[str, Any]) -> str:
    """What the router is, what it was trained on, and how good it is on held-out prompts."""
    lines = [
        "# Router checkpoint",
        "",
        f"Predicts how well each of {len(outcomes.experts)} experts would answer a prompt, without running any.",
        "",
        f"- Encoder: `{config.encoder.model}`, layers {list(config.encoder.layers) or 'last'}, "
        f"{config.encoder.pooling} pooling, frozen",
        f"- Algorithm: `{config.algorithm}`"
        + (f", head `{config.head}`, {config.members} members averaged" if config.algorithm == "performance" else ""),
        f"- Trained on {metrics['train_prompts']:,} prompts, measured on {metrics['dev_prompts']:,} held-out ones",
        f"- Mean AUC {metrics['auc']:.3f}, mean calibration error {metrics['ece']:.3f}",
    ]
    if pool := metrics.get("pool"):
        lines += ["", f"Held-out quality–cost figures, {len(pool['experts'])} experts, 95 % intervals in brackets.", ""]
        lines += figures_table(pool)
    return "\n".join([*lines, "", "## Experts", "", *(f"- {name}" for name in outcomes.experts), ""])


def figures_table(pool: Mapping[str, Any]) -> list[str]:
    """Markdown rows of area, half and match for each router."""
    rows = ["| router | area | quality at half the cost | cost to match the best |", "|---|---|---|---|"]
    for name, found in pool["routers"].items():
        cells = [_cell(found[key], found["interval"][key]) for key in ("area", "half", "match")]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def _cell(value: float | None, interval: list[float | None]) -> str:
    low, high = (f"{end:.3f}" if end is not None else "never" for end in interval)
    return f"{value:.3f} [{low}, {high}]" if value is not None else f"never [{low}, {high}]"

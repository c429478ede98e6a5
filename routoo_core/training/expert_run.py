"""``routoo suggest-prompts`` and ``routoo add-expert``: a router learns one more expert from few labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.measures.metrics import prediction_metrics
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.checkpoint import load_learnt, read_metrics, save_checkpoint
from routoo_core.predictor.checkpoint_config import read_config
from routoo_core.predictor.quality_model import HeadEnsemble
from routoo_core.predictor.reference import read_reference
from routoo_core.progress import Progress
from routoo_core.training.calibration import fit_calibration
from routoo_core.training.new_expert import add_expert
from routoo_core.training.suggestion import suggest_prompts
from routoo_core.training.vectors import encode_cached


def add_expert_to(
    router: Path, outcomes: Outcomes, name: str, out: Path, prior: str | None, progress: Progress
) -> dict[str, Any]:
    """Write to ``out`` the router with one more expert; the others' parameters stay the same to the bit.

    Their predictions may move by a rounding error (below 1e-6), since a larger product is summed in another order.

    Args:
        router: The checkpoint to start from.
        outcomes: Prompts on which ``name`` was observed; other experts' columns are not used.
        name: The new expert's, as in the outcomes.
        out: The folder to write; may be ``router`` itself.
        prior: The known expert to start from; by default the mean of all.
        progress: Where progress goes.

    Returns:
        What was learnt from: ``labels``, and ``auc`` on them where both outcomes occur.

    Raises:
        ConfigurationError: The router knows the name already, does not know the prior, or is not of heads.
    """
    config = read_config(router)
    learnt = load_learnt(router, config)
    if not isinstance(learnt.scorer, HeadEnsemble):
        raise ConfigurationError(
            f"{router}: algorithm: {config.training.algorithm!r} learns no embeddings; train again"
        )
    if name in config.experts:
        raise ConfigurationError(f"--name: {router} knows {name!r} already; choose another name")
    if prior is not None and prior not in config.experts:
        raise ConfigurationError(
            f"--prior: {prior!r} is unknown; choose one of {', '.join(config.experts)}"
        )
    prompts, scores, lengths = _labels(outcomes, name)
    none = np.empty((0, config.dim), dtype=np.float32)
    vectors = (
        encode_cached(prompts, config.training.encoder, progress, learnt.adapter)
        if prompts
        else none
    )
    resembling = None if prior is None else config.experts.index(prior)
    grown = HeadEnsemble(add_expert(learnt.scorer.heads, vectors, scores, prior=resembling))
    quality = grown.quality(vectors)[:, -1:]
    summary = {"name": name, "labels": len(scores), **_fit(quality, scores)}
    metrics = read_metrics(router)
    metrics["added_experts"] = [*metrics.get("added_experts", []), summary]
    save_checkpoint(
        out,
        config.model_copy(update={"experts": (*config.experts, name)}),
        replace(
            learnt,
            scorer=grown,
            calibration=np.concatenate(
                [learnt.calibration, fit_calibration(quality, scores[:, None])]
            ),
            lengths=learnt.lengths and learnt.lengths.with_expert(vectors, lengths),
        ),
        read_reference(router),
        metrics,
        (router / "README.md").read_text(encoding="utf-8").rstrip()
        + f"\n- {name} (added from {len(scores)} labels)\n",
    )
    return summary


def suggest_for(
    router: Path, prompts: tuple[str, ...], count: int, seed: int, progress: Progress
) -> NDArray[np.int64]:
    """Rows of the prompts to label for an expert that ``router`` is to learn; see :func:`suggest_prompts`."""
    config = read_config(router)
    adapter = load_learnt(router, config).adapter
    return suggest_prompts(
        encode_cached(prompts, config.training.encoder, progress, adapter), count, seed
    )


def _labels(
    outcomes: Outcomes, name: str
) -> tuple[tuple[str, ...], NDArray[np.float32], NDArray[np.float32]]:
    """The prompts the expert was observed on, its scores and its answers' lengths; none when the table lacks it."""
    if name not in outcomes.experts:
        return (), np.empty(0, dtype=np.float32), np.empty(0, dtype=np.float32)
    own = outcomes.select([name])
    scores = own.scores[:, 0]
    lengths = np.full_like(scores, np.nan) if own.lengths is None else own.lengths[:, 0]
    rows = np.flatnonzero(~np.isnan(scores))
    return tuple(outcomes.prompts[row] for row in rows), scores[rows], lengths[rows]


def _fit(quality: NDArray[np.float32], scores: NDArray[np.float32]) -> dict[str, float]:
    if len(np.unique(scores >= 0.5)) < 2:
        return {}
    return {
        "auc": prediction_metrics(
            quality.astype(np.float64), scores[:, None].astype(np.float64)
        ).auc
    }

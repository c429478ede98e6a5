"""``routoo add-expert``: a router learns one more expert from few labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from routoo_core.errors import ConfigurationError
from routoo_core.evaluation.metrics import prediction_metrics
from routoo_core.evaluation.training_run import encode_cached
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.calibration import fit_calibration
from routoo_core.predictor.checkpoint import load_scorer, read_config, read_metrics, read_reference, save_checkpoint
from routoo_core.predictor.new_expert import add_expert
from routoo_core.predictor.scorer import HeadEnsemble


def add_expert_to(
    router: Path, outcomes: Outcomes, name: str, out: Path, prior: str | None, console: Console
) -> dict[str, Any]:
    """Write to ``out`` the router with one more expert; the others' parameters stay the same to the bit.

    Their predictions may move by a rounding error (below 1e-6), since a larger product is summed in another order.

    Args:
        router: The checkpoint to start from.
        outcomes: Prompts on which ``name`` was observed; other experts' columns are not used.
        name: The new expert's, as in the outcomes.
        out: The folder to write; may be ``router`` itself.
        prior: The known expert to start from; by default the mean of all.
        console: Where progress goes.

    Returns:
        What was learnt from: ``labels``, and ``auc`` on them where both outcomes occur.

    Raises:
        ConfigurationError: The router knows the name already, does not know the prior, or is not of heads.
    """
    config = read_config(router)
    scorer, calibration = load_scorer(router, config)
    if not isinstance(scorer, HeadEnsemble):
        raise ConfigurationError(
            f"{router}: algorithm: {config.training.algorithm!r} learns no embeddings; train again"
        )
    if name in config.experts:
        raise ConfigurationError(f"--name: {router} knows {name!r} already; choose another name")
    if prior is not None and prior not in config.experts:
        raise ConfigurationError(f"--prior: {prior!r} is unknown; choose one of {', '.join(config.experts)}")
    prompts, scores = _labels(outcomes, name)
    none = np.empty((0, config.dim), dtype=np.float32)
    vectors = encode_cached(prompts, config.training.encoder, console) if prompts else none
    heads = add_expert(scorer.heads, vectors, scores, prior=None if prior is None else config.experts.index(prior))
    grown = HeadEnsemble(heads)
    quality = grown.quality(vectors)[:, -1:]
    learnt = {"name": name, "labels": len(scores), **_fit(quality, scores)}
    metrics = read_metrics(router)
    metrics["added_experts"] = [*metrics.get("added_experts", []), learnt]
    save_checkpoint(
        out,
        config.model_copy(update={"experts": (*config.experts, name)}),
        grown,
        np.concatenate([calibration, fit_calibration(quality, scores[:, None])]),
        read_reference(router),
        metrics,
        (router / "README.md").read_text(encoding="utf-8").rstrip() + f"\n- {name} (added from {len(scores)} labels)\n",
    )
    return learnt


def _labels(outcomes: Outcomes, name: str) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """The prompts the expert was observed on, and its scores; none when the table does not know it."""
    if name not in outcomes.experts:
        return (), np.empty(0, dtype=np.float32)
    column = outcomes.scores[:, outcomes.experts.index(name)]
    rows = np.flatnonzero(~np.isnan(column))
    return tuple(outcomes.prompts[row] for row in rows), column[rows]


def _fit(quality: NDArray[np.float32], scores: NDArray[np.float32]) -> dict[str, float]:
    if len(np.unique(scores >= 0.5)) < 2:
        return {}
    return {"auc": prediction_metrics(quality.astype(np.float64), scores[:, None].astype(np.float64))["auc"]}

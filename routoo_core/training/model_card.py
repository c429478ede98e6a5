"""The README of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routoo_core.measures.figures import (
    PoolFigures,
    format_figure,
)
from routoo_core.outcomes import Outcomes
from routoo_core.training.settings import TrainingConfig


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

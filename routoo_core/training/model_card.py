"""The README of a checkpoint: what it is, what it was trained on, and how good it is on held-out prompts."""

from __future__ import annotations

from routoo_core.measures.figures import PoolFigures, format_figure
from routoo_core.outcomes import Outcomes
from routoo_core.training.head_ensemble import HeadTrainingSettings
from routoo_core.training.metrics import TrainingMetrics
from routoo_core.training.settings import TrainingConfig

FIGURE_COLUMNS = {
    "area": "area",
    "half": "quality at half the cost",
    "match": "cost to match the best",
}
ROUTELLM_COLUMNS = {"apgr": "APGR", "cpt50": "CPT(50 %)"}
"""RouteLLM's figures, which are of two experts."""


def model_card(config: TrainingConfig, outcomes: Outcomes, metrics: TrainingMetrics) -> str:
    """The card in Markdown."""
    lines = [
        "# Router checkpoint",
        "",
        f"Predicts how well each of {metrics.experts} experts would answer a prompt, without running any.",
        "",
        f"- Encoder: {_describe_encoder(config)}",
        f"- Algorithm: {_describe_algorithm(config)}",
        f"- Trained on {_describe_prompts(config, metrics)}",
        f"- Mean AUC {format_figure(metrics.auc)}, mean calibration error {metrics.ece:.3f}",
    ]
    if metrics.lengths is not None:
        lines.append(
            f"- Lengths of the answers: mean error {metrics.lengths.predicted:.0%} of the mean length "
            f"({metrics.lengths.mean:.0%} for each expert's mean)"
        )
    if metrics.pool is not None:
        experts = len(metrics.pool.experts)
        lines += [
            "",
            f"Held-out quality–cost figures, {experts} experts, 95 % intervals in brackets.",
            "",
            *figures_table(metrics.pool),
        ]
    lines += ["", "## Experts", ""]
    lines += [f"- {name}" for name in outcomes.experts]
    return "\n".join(lines) + "\n"


def _describe_encoder(config: TrainingConfig) -> str:
    encoder = config.encoder
    layers = list(encoder.layers) or "last"
    training = "frozen"
    if config.lora is not None:
        training = f"LoRA from layer {config.lora.first_layer} up, rank {config.lora.rank}"
    return f"`{encoder.model}`, layers {layers}, {encoder.pooling} pooling, {training}"


def _describe_algorithm(config: TrainingConfig) -> str:
    settings = config.algorithm_settings
    if isinstance(settings, HeadTrainingSettings):
        return f"`{config.algorithm}`, head `{settings.head}`, {settings.members} members averaged"
    return f"`{config.algorithm}`"


def _describe_prompts(config: TrainingConfig, metrics: TrainingMetrics) -> str:
    prompts = (
        f"{metrics.train_prompts:,} prompts, measured on {metrics.dev_prompts:,} held-out ones"
    )
    if config.refit and config.lora is None:
        return f"{prompts}; then trained in the same way on all of them"
    return prompts


def figures_table(pool: PoolFigures) -> list[str]:
    """Markdown rows of area, half and match for each router; of two experts RouteLLM's figures too."""
    columns = dict(FIGURE_COLUMNS)
    if len(pool.experts) == 2:
        columns |= ROUTELLM_COLUMNS

    rows = [
        f"| router | {' | '.join(columns.values())} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, figures in pool.routers.items():
        cells = [figures.describe(column) for column in columns]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows

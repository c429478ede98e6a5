"""How few labels a new expert needs: python benchmarks/new_expert.py --prompts P --outcomes O (as for 'routoo train').

Leaves one expert out at a time, trains heads on the others, adds it back with few labels from ``train``, and measures
it on ``dev`` beside the same expert trained with all labels. Prompts are encoded once, then cached.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from routoo_core.measures.metrics import auc, expected_calibration_error
from routoo_core.outcomes import read_outcomes
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.predictor.head_ensemble import HeadEnsemble
from routoo_core.predictor.heads import HEADS
from routoo_core.progress import SILENT
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.head_ensemble import HeadTrainingSettings, fit_head_ensemble
from routoo_core.training.new_expert import add_expert
from routoo_core.training.suggestion import suggest_prompts
from routoo_core.training.vectors import encode_cached

Scores = NDArray[np.float32]
Figures = NDArray[np.float64]
"""AUC and calibration error, (2,)."""

RANDOM = "random"
SUGGESTED = "suggested"


@dataclass(frozen=True)
class Labelling:
    """Which prompts are labelled.

    Attributes:
        count: How many.
        picked: :data:`RANDOM` or :data:`SUGGESTED`.
    """

    count: int
    picked: str

    def rows(self, vectors: Vectors, seed: int) -> NDArray[np.int64]:
        """Rows to label."""
        if self.picked == RANDOM:
            return np.random.default_rng(seed).permutation(len(vectors))[: self.count]
        return suggest_prompts(vectors, self.count, seed)


NO_LABELS = Labelling(0, "–")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--outcomes", required=True)
    parser.add_argument("--labels", type=int, nargs="+", default=[20, 50, 200, 1000])
    parser.add_argument(
        "--experts", type=int, default=8, help="how many to leave out, spread over the table"
    )
    parser.add_argument("--seeds", type=int, default=3, help="draws of the prompts to label")
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--head", choices=sorted(HEADS), default="mlp")
    return parser.parse_args()


def measure(quality: Scores, scores: Scores) -> Figures:
    """Figures of one expert, both inputs (prompts,); prompts it was not observed on are left out."""
    observed = ~np.isnan(scores)
    expert_quality = quality[observed].astype(np.float64)
    expert_scores = scores[observed].astype(np.float64)
    error = expected_calibration_error(expert_quality, expert_scores)
    return np.array([auc(expert_quality, expert_scores), error])


class LeftOut:
    """One expert, and heads that were trained on all others.

    Args:
        data: All experts.
        expert: The one that is left out.
        settings: Of the heads.
    """

    def __init__(self, data: EncodedOutcomes, expert: str, settings: HeadTrainingSettings) -> None:
        outcomes = data.outcomes
        other_experts = [name for name in outcomes.experts if name != expert]
        other_data = EncodedOutcomes(outcomes.select(other_experts), data.vectors)
        ensemble = fit_head_ensemble(other_data, settings)
        self.heads = list(ensemble.heads)
        self.vectors = data.vectors
        self.scores = outcomes.score_table.column(expert)
        self.dev = outcomes.rows("dev")
        train = outcomes.rows("train")
        self.train = train[~np.isnan(self.scores[train])]

    def measure_added(self, rows: NDArray[np.int64]) -> Figures:
        """Held-out figures of the expert, added back with labels of these rows."""
        grown = HeadEnsemble(add_expert(self.heads, self.vectors[rows], self.scores[rows]))
        quality = grown.quality(self.vectors[self.dev])[:, -1]
        return measure(quality, self.scores[self.dev])

    def measure_labelling(self, labelling: Labelling, seeds: int) -> Figures:
        """The mean over several draws of the labels."""
        candidates = self.vectors[self.train]
        figures = []
        for seed in range(seeds):
            rows = labelling.rows(candidates, seed)
            figures.append(self.measure_added(self.train[rows]))
        mean: Figures = np.stack(figures).mean(0)
        return mean


def make_table(all_labels: Sequence[Figures], few_labels: dict[Labelling, list[Figures]]) -> Table:
    """Means over the experts that were left out, one entry for each."""
    whole = np.stack(all_labels)
    table = Table("labels", "picked", "AUC", "of the AUC with all labels", "calibration error")
    table.add_row("all", "–", f"{whole[:, 0].mean():.4f}", "100.00%", f"{whole[:, 1].mean():.3f}")
    for labelling, figures in few_labels.items():
        few = np.stack(figures)
        share = (few[:, 0] / whole[:, 0]).mean()
        table.add_row(
            str(labelling.count),
            labelling.picked,
            f"{few[:, 0].mean():.4f}",
            f"{share:.2%}",
            f"{few[:, 1].mean():.3f}",
        )
    return table


def main() -> None:
    """Print the table."""
    options = arguments()
    console = Console()
    warnings.filterwarnings("ignore", message="no labels")
    outcomes = read_outcomes(options.prompts, options.outcomes)
    data = EncodedOutcomes(outcomes, encode_cached(outcomes.prompts, EncoderSettings(), SILENT))
    settings = HeadTrainingSettings(head=options.head, members=options.members)

    labellings = []
    for count in options.labels:
        labellings += [Labelling(count, RANDOM), Labelling(count, SUGGESTED)]
    few_labels: dict[Labelling, list[Figures]] = {NO_LABELS: []}
    for labelling in labellings:
        few_labels[labelling] = []

    dev = outcomes.rows("dev")
    all_labels = []
    columns = np.linspace(0, len(outcomes.experts) - 1, options.experts).round().astype(int)
    with console.status("Training on all experts …") as status:
        quality = fit_head_ensemble(data, settings).quality(data.vectors[dev])
        for column in columns:
            all_labels.append(measure(quality[:, column], outcomes.scores[dev, column]))

            name = outcomes.experts[column]
            status.update(f"Leaving out {name} …")
            left_out = LeftOut(data, name, settings)
            few_labels[NO_LABELS].append(left_out.measure_added(left_out.train[:0]))
            for labelling in labellings:
                few_labels[labelling].append(left_out.measure_labelling(labelling, options.seeds))
    console.print(make_table(all_labels, few_labels))


if __name__ == "__main__":
    main()

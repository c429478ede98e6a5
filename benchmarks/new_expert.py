"""How few labels a new expert needs: python benchmarks/new_expert.py --prompts P --outcomes O (as for 'routoo train').

Leaves one expert out at a time, trains heads on the others, adds it back with few labels from ``train``, and measures
it on ``dev`` beside the same expert trained with all labels. Prompts are encoded once, then cached.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from routoo_core.measures.metrics import auc, expected_calibration_error
from routoo_core.outcomes import Outcomes, read_outcomes
from routoo_core.predictor.encoder import Vectors
from routoo_core.predictor.heads import HEADS
from routoo_core.progress import SILENT
from routoo_core.training.head_ensemble import train_heads
from routoo_core.training.new_expert import add_expert
from routoo_core.training.settings import TrainingConfig, ensemble_quality
from routoo_core.training.suggestion import suggest_prompts
from routoo_core.training.vectors import encode_cached

Scores = NDArray[np.float32]
Figures = NDArray[np.float64]
PICKED = ("random", "suggested")


def arguments() -> argparse.Namespace:
    """What the command line says."""
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


def figures(quality: Scores, scores: Scores) -> Figures:
    """AUC and calibration error of one expert, both inputs (prompts,); prompts it was not observed on are left out."""
    seen = ~np.isnan(scores)
    predicted, observed = quality[seen].astype(np.float64), scores[seen].astype(np.float64)
    return np.array([auc(predicted, observed), expected_calibration_error(predicted, observed)])


def pick(picked: str, count: int, seed: int, vectors: Vectors) -> NDArray[np.int64]:
    """Rows to label."""
    if picked == "random":
        return np.random.default_rng(seed).permutation(len(vectors))[:count]
    return suggest_prompts(vectors, count, seed)


def add_back(
    outcomes: Outcomes,
    vectors: Vectors,
    expert: str,
    config: TrainingConfig,
    counts: list[int],
    seeds: int,
) -> dict[tuple[int, str], Figures]:
    """(labels, how they were picked) → held-out figures of the expert, the mean over seeds; 0 labels is the prior."""
    heads = train_heads(
        outcomes.select([name for name in outcomes.experts if name != expert]), vectors, config
    )
    scores, dev = outcomes.scores[:, outcomes.experts.index(expert)], outcomes.rows("dev")
    train = np.array([row for row in outcomes.rows("train") if not np.isnan(scores[row])])

    def measure(rows: NDArray[np.int64]) -> Figures:
        grown = add_expert(heads, vectors[rows], scores[rows])
        return figures(ensemble_quality(grown, vectors[dev])[:, -1], scores[dev])

    def mean(count: int, picked: str) -> Figures:
        drawn = [train[pick(picked, count, seed, vectors[train])] for seed in range(seeds)]
        figures_of_all: Figures = np.stack([measure(rows) for rows in drawn]).mean(0)
        return figures_of_all

    return {
        (0, "–"): measure(train[:0]),
        **{(count, way): mean(count, way) for count in counts for way in PICKED},
    }


def show(whole: Figures, found: dict[tuple[int, str], Figures]) -> Table:
    """Means over the experts left out; ``whole`` and each value are (experts, 2)."""
    table = Table("labels", "picked", "AUC", "of the AUC with all labels", "calibration error")
    table.add_row("all", "–", f"{whole[:, 0].mean():.4f}", "100.00%", f"{whole[:, 1].mean():.3f}")
    for (count, picked), few in found.items():
        share = (few[:, 0] / whole[:, 0]).mean()
        table.add_row(
            str(count), picked, f"{few[:, 0].mean():.4f}", f"{share:.2%}", f"{few[:, 1].mean():.3f}"
        )
    return table


def main() -> None:
    """Print the table."""
    given, console = arguments(), Console()
    warnings.filterwarnings("ignore", message="no labels")
    outcomes = read_outcomes(given.prompts, given.outcomes)
    config = TrainingConfig(head=given.head, members=given.members)
    vectors, dev = encode_cached(outcomes.prompts, config.encoder, SILENT), outcomes.rows("dev")
    columns = np.linspace(0, len(outcomes.experts) - 1, given.experts).round().astype(int)
    with console.status("Training on all experts …") as status:
        quality = ensemble_quality(train_heads(outcomes, vectors, config), vectors[dev])
        whole = np.stack(
            [figures(quality[:, column], outcomes.scores[dev, column]) for column in columns]
        )
        added = []
        for name in (outcomes.experts[column] for column in columns):
            status.update(f"Leaving out {name} …")
            added.append(add_back(outcomes, vectors, name, config, given.labels, given.seeds))
    console.print(show(whole, {key: np.stack([one[key] for one in added]) for key in added[0]}))


if __name__ == "__main__":
    main()

"""The simple routers that every other is held against: blind to the prompt, told its domain, or taught in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from routoo_core.measures.curve import Array, ServedSweep, serve
from routoo_core.outcomes import Outcomes

if TYPE_CHECKING:
    from routoo_core.predictor.encoder import EncoderSettings, Vectors

NEIGHBOURS = 40
DOMAIN_LOOKUP, KNN, PRINTED_HEAD, ORACLE = "domain lookup", "kNN", "printed head", "oracle"
RANDOM_MIX, ZERO_ROUTER = "random mix", "zero router"

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Always:
    """Chooses one expert for every prompt.

    Attributes:
        column: The column of that expert.
    """

    column: int

    def __call__(
        self, quality: NDArray[np.floating], cost: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Preference of each expert: 1 for the chosen one, 0 for the others."""
        preference = np.zeros_like(quality)
        preference[..., self.column] = 1
        return preference


def best_and_cheapest(scores: Array, cost: Array) -> tuple[int, int]:
    """The best single expert and the cheapest one; of equals the cheaper, and the better.

    Args:
        scores: Observed, prompts × experts, no NaN.
        cost: USD for each expert.
    """
    mean = scores.mean(0)
    return int(np.lexsort((cost, -mean))[0]), int(np.lexsort((-mean, cost))[0])


def blind_routers(scores: Array, cost: Array) -> dict[str, ServedSweep]:
    """Routers that do not look at the prompt.

    ``random mix`` the cheapest and the best single expert, drawn at random (RouteLLM's random router) · ``zero router``
    any experts, drawn at random: the hull of the single experts (RouterBench).

    Args:
        scores: Observed, prompts × experts, no NaN.
        cost: USD for each expert.
    """

    def mixed(columns: list[int]) -> ServedSweep:
        return serve(scores, scores, cost, [Always(column) for column in columns])

    best, cheapest = best_and_cheapest(scores, cost)
    return {RANDOM_MIX: mixed([cheapest, best]), ZERO_ROUTER: mixed(list(range(len(cost))))}


def domain_lookup(outcomes: Outcomes, rows: Rows) -> Array:
    """Each expert's mean in the prompt's domain, which it is told, over the ``train`` rows; (rows, experts)."""
    train, domains = outcomes.rows("train"), np.asarray(outcomes.domains)
    known = outcomes.scores[train]
    mean = _mean(known)
    by_domain = {
        domain: _mean(known[domains[train] == domain], mean) for domain in np.unique(domains[train])
    }
    return np.stack([by_domain.get(domain, mean) for domain in domains[rows]])


def by_vectors(
    outcomes: Outcomes, vectors: Vectors, rows: Rows, encoder: EncoderSettings
) -> dict[str, Array]:
    """What simple routers on the encoder's vectors predict, taught by the ``train`` rows; (rows, experts) each.

    ``kNN`` each expert's mean over the nearest prompts · ``printed head`` the paper's ``Linear(h_q - h_m)``.

    Args:
        outcomes: N prompts.
        vectors: The encoder's, (N, dim).
        rows: Which prompts to predict.
        encoder: Where the vectors come from.
    """
    from routoo_core.predictor.neighbours import fit_profiles
    from routoo_core.predictor.scorer import HeadEnsemble
    from routoo_core.training.settings import TrainingConfig

    known = outcomes.scores[outcomes.rows("train")]
    near = fit_profiles(outcomes, vectors).near(vectors[rows], NEIGHBOURS)
    config = TrainingConfig(encoder=encoder, head="difference", members=1)
    head = HeadEnsemble.train(outcomes, vectors, config, lambda line: None)
    return {
        KNN: np.stack([_mean(known[places], _mean(known)) for places in near]),
        PRINTED_HEAD: head.quality(vectors[rows]).astype(np.float64),
    }


def _mean(scores: NDArray[np.float32], fallback: Array | float = 0.5) -> Array:
    counts = (~np.isnan(scores)).sum(0)
    return np.where(counts > 0, np.nansum(scores, axis=0) / np.maximum(counts, 1), fallback)

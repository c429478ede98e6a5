"""``routoo universe``: outcomes (and prices) → the experts that complement one another best.

What makes a set of experts good is an *objective*. Those in :data:`OBJECTIVES` can be chosen by name; another one is a
function of the form of :class:`Objective`, entered there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.expert_table import ExpertTable
from routoo_core.outcomes import Outcomes
from routoo_core.progress import Progress
from routoo_core.prompts import Prompts, read_prompts
from routoo_core.tables import read_columns
from routoo_core.text import choices_listed, parse_choices
from routoo_core.universe.chance import coverage_without_luck, guess_rates
from routoo_core.universe.observed import ObservedScores, read_observed
from routoo_core.universe.plots import plot_coverage
from routoo_core.universe.routed import held_out_area, select_routed
from routoo_core.universe.selection import select_universe

Cell = str | float | None


@dataclass(frozen=True)
class UniverseInput:
    """What a universe is chosen from.

    Attributes:
        observed: Scores of the experts in the pool.
        outcomes: The same with texts, domains and splits; ``None`` without a table of prompts.
        choices: Number of choices of each prompt, 0 where none are listed; empty without a table of prompts.
    """

    observed: ObservedScores
    outcomes: Outcomes | None = None
    choices: tuple[int, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class UniverseSettings:
    """How a universe is chosen.

    Attributes:
        size: The most experts to choose, must-haves included.
        must_have: Chosen first, in this order.
        prices: USD per million tokens of each expert; empty when unknown.
        guess_rate: Chance of a lucky answer, 0 to below 1; ``None`` for 1 / choices, or an estimate.
        plot: The PNG to draw; ``None`` for none.
    """

    size: int
    must_have: tuple[str, ...] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    guess_rate: float | None = None
    plot: Path | None = None


@dataclass(frozen=True)
class Construction:
    """The experts chosen, and what can be said about the choice.

    Attributes:
        figures: Figures of the whole set by name.
        columns: What is known of each expert by name, in the order chosen; ``model`` is the first.
    """

    figures: Mapping[str, Cell]
    columns: Mapping[str, Sequence[Cell]]

    def rows(self) -> list[tuple[Cell, ...]]:
        """The cells of each expert."""
        columns = self.columns.values()
        return list(zip(*columns, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        choice = []
        for row in self.rows():
            choice.append(dict(zip(self.columns, row, strict=True)))
        return {**self.figures, "chosen": choice}


class Objective(Protocol):
    """Chooses experts by one measure of how good a set is."""

    def __call__(
        self, data: UniverseInput, settings: UniverseSettings, progress: Progress
    ) -> Construction:
        """Choose.

        Raises:
            ConfigurationError: The data or the settings do not suffice for the objective.
        """
        ...


def read_universe_input(
    outcomes: Path, prompts: Path | None, experts: Collection[str] = ()
) -> UniverseInput:
    """Read outcomes, and the prompts on which they count.

    Args:
        outcomes: See :func:`~routoo_core.universe.observed.read_observed`.
        prompts: Only these prompts count, with their domains and splits; all that have outcomes when ``None``. Choices
            are lettered lines at the end of a prompt, or the column ``choices``, a list in JSON.
        experts: Only these; all when empty.

    Raises:
        OutcomesError: A row is wrong, or none of the experts or prompts has an outcome.
    """
    table = read_prompts(prompts) if prompts else None
    row_of = {name: row for row, name in enumerate(table.ids)} if table else {}
    observed, prompt_ids = read_observed(outcomes, row_of)
    if experts:
        observed = observed.select([name for name in observed.experts if name in experts])
    if not observed.experts:
        raise OutcomesError(
            f"{outcomes}: no outcome of any expert with a price; check the names in the price list"
        )
    if prompts is None or table is None:
        return UniverseInput(observed)

    subset = table.take([row_of[prompt_id] for prompt_id in prompt_ids])
    scores = ExpertTable(prompt_ids, observed.experts, observed.scores())
    choices = _choice_counts(prompts, table, subset)
    return UniverseInput(observed, Outcomes(subset, scores), choices)


def _choice_counts(path: Path, table: Prompts, subset: Prompts) -> tuple[int, ...]:
    """Number of choices of each selected prompt, by the column ``choices`` or else by the text; 0 for none.

    Args:
        path: The table of prompts.
        table: All its prompts.
        subset: The prompts whose choices are counted.
    """
    columns = read_columns(path, (), optional=("choices",))
    cells = columns.get("choices", [None] * len(table))
    cell_of = dict(zip(table.ids, cells, strict=True))
    counts = []
    for prompt_id, text in zip(subset.ids, subset.texts, strict=True):
        choices = parse_choices(cell_of[prompt_id])
        counts.append(len(choices) or choices_listed(text))
    return tuple(counts)


def construct_by_coverage(
    data: UniverseInput, settings: UniverseSettings, progress: Progress
) -> Construction:
    """The paper's objective (Eq. 2): the mean over prompts of the best expert's score."""
    observed = data.observed
    rates = guess_rates(observed, data.choices, settings.guess_rate)
    universe = select_universe(observed, settings.size, settings.must_have, settings.prices)
    experts = universe.experts

    without_luck: tuple[float, ...] = ()
    if rates is not None:
        without_luck = coverage_without_luck(observed, experts, rates.rates)
    if settings.plot:
        plot_coverage(settings.plot, universe, without_luck)

    figures: dict[str, Cell] = {
        "coverage": universe.total_coverage,
        "upper_bound": universe.bound,
        "gap": universe.gap,
        "everyone": universe.pool_coverage,
        "without_luck": without_luck[-1] if without_luck else None,
        "guess_rate": rates.source if rates else None,
    }
    columns: dict[str, Sequence[Cell]] = {
        "model": experts,
        "gain": universe.gains,
        "coverage": universe.coverage,
        "without_luck": without_luck or [None] * len(experts),
        "alone": universe.alone,
        "observed": _observed_shares(observed, experts),
        **_price_column(experts, settings.prices),
    }
    return Construction(figures, columns)


def construct_by_routing(
    data: UniverseInput, settings: UniverseSettings, progress: Progress
) -> Construction:
    """What a router gains from the experts; chosen on the ``train`` prompts, measured on the ``dev`` prompts."""
    if settings.plot:
        raise ConfigurationError("plot: the objective 'routed' draws nothing; leave it out")
    if settings.guess_rate is not None:
        raise ConfigurationError("guess_rate: the objective 'routed' has none; leave it out")
    if data.outcomes is None:
        raise ConfigurationError(
            "objective: 'routed' needs a table of prompts with a 'domain' column, which its predictor reads"
        )
    train = data.outcomes.take(data.outcomes.rows("train"))
    dev = data.outcomes.take(data.outcomes.rows("dev"))
    prices = settings.prices
    selection = select_routed(train, prices, settings.size, settings.must_have, progress)
    train_scores = ObservedScores.from_scores(train.scores, train.experts)
    covering = select_universe(train_scores, settings.size, settings.must_have, prices)

    figures: dict[str, Cell] = {
        "area": selection.area,
        "held_out_area": None,
        "held_out_area_of_coverage": None,
    }
    if dev.prompts:
        figures["held_out_area"] = held_out_area(train, dev, prices, selection.experts)
        figures["held_out_area_of_coverage"] = held_out_area(train, dev, prices, covering.experts)
    columns: dict[str, Sequence[Cell]] = {
        "model": selection.experts,
        "area": selection.areas,
        **_price_column(selection.experts, prices),
    }
    return Construction(figures, columns)


def _observed_shares(observed: ObservedScores, experts: Sequence[str]) -> list[float]:
    """The share of the prompts on which each expert was observed."""
    rows = observed.rows_of(experts)
    is_observed = observed.is_observed(rows)
    shares: list[float] = is_observed.mean(axis=1).tolist()
    return shares


def _price_column(
    experts: Sequence[str], prices: Mapping[str, float]
) -> dict[str, list[float | None]]:
    """The column ``usd_per_1m``; none without prices."""
    if not prices:
        return {}
    return {"usd_per_1m": [prices.get(name) for name in experts]}


OBJECTIVES: dict[str, Objective] = {
    "coverage": construct_by_coverage,
    "routed": construct_by_routing,
}
"""Objectives by name."""

"""``routoo universe``: outcomes (and prices) → the experts that complement one another best."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.expert_table import ExpertTable
from routoo_core.measures.curve import Array, Curve
from routoo_core.outcomes import Outcomes
from routoo_core.prompts import read_prompts
from routoo_core.tables import read_batches, read_columns
from routoo_core.text import choices_listed, parse_choices
from routoo_core.universe.selection import ObservedScores, estimated_guess_rate, must_have_rows

FOLDS = 5
PRIOR = 20.0  # prompts that an expert's mean over all domains is worth in each
PRICES: tuple[float, ...] = (
    0.0,
    *np.geomspace(1e-2, 1e3, 48).tolist(),
)  # λ, in units of 1 / dearest cost


def read_observed(path: Path, only: Collection[str] = ()) -> tuple[ObservedScores, tuple[str, ...]]:
    """Read an outcomes table in batches, and the ids of its prompts; the file is read twice, never held whole.

    Args:
        path: Parquet or CSV: ``prompt_id, model, score`` (0–1), one row for each observation.
        only: Only these prompts; all when empty.

    Raises:
        OutcomesError: A score that is no number from 0 to 1, a repeated pair, no outcome at all.
        MissingDependency: ``pyarrow`` is not installed.
    """
    ids, experts, binary = _names(path)
    ids = [prompt_id for prompt_id in ids if not only or prompt_id in only]
    if not ids:
        raise OutcomesError(
            f"{path}: no outcome of any of the prompts; check that prompt_id is the same in both"
        )
    observed = ObservedScores.empty(experts, len(ids), binary)
    given = _enter(path, observed, ids)
    if given != int(np.bitwise_count(observed.seen).sum()):
        raise OutcomesError(f"{path}: {_repeated(path)} was given before; give each pair once")
    return observed, tuple(ids)


def _names(path: Path) -> tuple[list[str], list[str], bool]:
    """Prompts and experts in the order of the file, and whether every score is 0 or 1."""
    ids: dict[str, None] = {}
    experts: dict[str, None] = {}
    binary, start = True, 1
    for batch in read_batches(path):
        scores = batch["score"].to_numpy(zero_copy_only=False)
        if len(wrong := np.flatnonzero(~((scores >= 0) & (scores <= 1)))):
            row, score = start + wrong[0], scores[wrong[0]]
            raise OutcomesError(f"{path}: row {row}: score {score} is not a number from 0 to 1")
        binary = binary and bool(((scores == 0) | (scores == 1)).all())
        ids.update(dict.fromkeys(batch["prompt_id"].unique().to_pylist()))
        experts.update(dict.fromkeys(batch["model"].unique().to_pylist()))
        start += len(scores)
    return list(ids), list(experts), binary


def _enter(path: Path, observed: ObservedScores, ids: list[str]) -> int:
    """Enter every row of the prompts wanted; how many there were."""
    import pyarrow as pa
    from pyarrow import compute

    prompts, experts, given = pa.array(ids, pa.string()), pa.array(observed.experts, pa.string()), 0
    for batch in read_batches(path):
        wanted = batch.filter(compute.is_in(batch["prompt_id"], value_set=prompts))
        rows = compute.index_in(wanted["model"], value_set=experts).to_numpy(zero_copy_only=False)
        columns = compute.index_in(wanted["prompt_id"], value_set=prompts).to_numpy(
            zero_copy_only=False
        )
        observed.observe(rows, columns, wanted["score"].to_numpy(zero_copy_only=False))
        given += len(rows)
    return given


def _repeated(path: Path) -> str:
    seen: set[tuple[str, str]] = set()
    for batch in read_batches(path):
        for prompt_id, model in zip(
            batch["prompt_id"].to_pylist(), batch["model"].to_pylist(), strict=True
        ):
            if (prompt_id, model) in seen:
                return f"{prompt_id!r} × {model!r}"
            seen.add((prompt_id, model))
    return "a pair"


def guess_rates(
    observed: ObservedScores, choices: Sequence[int], given: float | None
) -> tuple[Array, str] | None:
    """The chance of a lucky answer at each prompt, and where it is from; ``None`` where it cannot be told.

    A rate that is given holds everywhere. Else it is 1 / choices where a prompt is known to have some, and elsewhere
    what :func:`~routoo_core.universe.selection.estimated_guess_rate` finds.

    Args:
        observed: Scores.
        choices: How many each prompt offers, in the order of the scores, 0 where unknown; empty when all are.
        given: A rate, 0 to below 1.

    Raises:
        ConfigurationError: The rate is outside its range.
    """
    if given is not None and not 0 <= given < 1:
        raise ConfigurationError(f"--guess-rate: {given} is not from 0 to below 1")
    if not observed.binary:
        return None
    if given is not None:
        return np.full(observed.prompts, given), f"{given:g}, as given"
    offered = np.array([*choices] or [0] * observed.prompts, dtype=np.float64)
    listed, estimate = offered > 0, estimated_guess_rate(observed)
    if listed.all():
        return 1 / offered, "1 / choices"
    if estimate is None or estimate >= 1:
        return None
    source = f"{estimate:.3f}, estimated on the hardest prompts"
    return np.where(listed, 1 / np.maximum(offered, 1), estimate), (
        f"1 / choices where there are some, else {source}" if listed.any() else source
    )


@dataclass(frozen=True)
class UniverseInput:
    """What a universe is chosen from.

    Attributes:
        observed: Scores of the experts in the pool.
        outcomes: The same with texts, domains and splits; ``None`` without a table of prompts.
        choices: How many each prompt offers, 0 where none are listed; empty without a table of prompts.
    """

    observed: ObservedScores
    outcomes: Outcomes | None
    choices: tuple[int, ...] = ()


def read_universe_input(
    outcomes: Path, prompts: Path | None, experts: Collection[str] = ()
) -> UniverseInput:
    """Read outcomes, and the prompts they are to be read on.

    Args:
        outcomes: See :func:`read_observed`.
        prompts: Only these prompts count, with their domains and splits; all that have outcomes when ``None``. Choices
            are lettered lines at the end of a prompt, or the column ``choices``, a list in JSON.
        experts: Only these; all when empty.

    Raises:
        OutcomesError: A bad row, or none of the experts or prompts has an outcome.
    """
    table = read_prompts(prompts) if prompts else None
    row_of = {name: row for row, name in enumerate(table.ids)} if table else {}
    observed, kept = read_observed(outcomes, row_of)
    if experts:
        observed = observed.select([name for name in observed.experts if name in experts])
    if not observed.experts:
        raise OutcomesError(
            f"{outcomes}: no outcome of any expert with a price; check the names against --price"
        )
    if not prompts or not table:
        return UniverseInput(observed, None)
    rows = [row_of[prompt_id] for prompt_id in kept]
    told = read_columns(prompts, (), optional=("choices",)).get("choices", [None] * len(table))
    choices = tuple(
        len(parse_choices(told[row])) or choices_listed(table.texts[row]) for row in rows
    )
    scores = ExpertTable(kept, observed.experts, observed.scores())
    return UniverseInput(observed, Outcomes(table.take(rows), scores), choices)


def predict_by_domain(known: Outcomes, domains: Sequence[str]) -> Array:
    """The cheapest router there is: each expert's mean score in a domain, pulled towards its mean over all.

    Args:
        known: What to learn from.
        domains: Of the prompts to predict.

    Returns:
        Prompts × experts, 0–1; NaN for an expert that was never observed.
    """
    seen, scores = ~np.isnan(known.scores), np.nan_to_num(known.scores).astype(np.float64)
    counts = seen.sum(axis=0)
    mean = np.where(counts > 0, scores.sum(axis=0) / np.maximum(counts, 1), np.nan)
    of = np.asarray(known.domains)
    table = {
        domain: (scores[of == domain].sum(axis=0) + PRIOR * mean)
        / (seen[of == domain].sum(axis=0) + PRIOR)
        for domain in set(domains)
    }
    return np.stack([table[domain] for domain in domains])


def cross_validated(outcomes: Outcomes, seed: int = 0) -> Array:
    """Qualities that the router by domain predicts for each prompt from the other folds, prompts × experts."""
    rows = np.random.default_rng(seed).permutation(len(outcomes.prompts))
    quality = np.empty(outcomes.scores.shape)
    for fold in np.array_split(rows, FOLDS):
        known = outcomes.take(np.setdiff1d(rows, fold))
        quality[fold] = predict_by_domain(known, [outcomes.domains[row] for row in fold])
    return quality


@dataclass(frozen=True)
class RoutedUniverse:
    """Experts chosen for what routing among them gains.

    Attributes:
        experts: In the order chosen.
        areas: Area under the quality–cost curve after each, 0–1.
    """

    experts: tuple[str, ...]
    areas: tuple[float, ...]


class Serving:
    """What serving every prompt among some experts costs and scores, at each λ; grows by one expert at a time.

    A prompt goes to the expert of the largest ``quality - λ cost``, or to nobody, for nothing, where that is negative.
    A pair that was not observed is no candidate: nothing is imputed.

    Args:
        quality: Predicted, prompts × experts; NaN is no candidate.
        scores: Observed, prompts × experts; NaN is no candidate.
        cost: Of a call to each expert.
    """

    def __init__(self, quality: Array, scores: NDArray[np.floating], cost: Array) -> None:
        absent = np.isnan(quality) | np.isnan(scores)
        self.quality, self.scores = np.where(absent, -np.inf, quality).T, np.nan_to_num(scores).T
        self.cost, self.price = cost, np.array(PRICES)[:, None] / cost.max()
        mean = np.nanmean(np.where(absent, np.nan, scores), axis=0)
        self.range = float(cost.min()), float(cost[np.nanargmax(mean)])
        self.value, self.spent, self.scored = (
            np.zeros((len(PRICES), len(scores))) for _ in range(3)
        )

    def add(self, expert: int) -> None:
        """Serve among one more."""
        value = self.quality[expert] - self.price * self.cost[expert]
        taken = value > self.value
        self.value = np.where(taken, value, self.value)
        self.spent = np.where(taken, self.cost[expert], self.spent)
        self.scored = np.where(taken, self.scores[expert], self.scored)

    def area_with(self, expert: int) -> float:
        """Area under the curve among one more, from the pool's cheapest cost to that of its best single expert."""
        taken = self.quality[expert] - self.price * self.cost[expert] > self.value
        spent = np.where(taken, self.cost[expert], self.spent).mean(axis=1)
        return self._area(spent, np.where(taken, self.scores[expert], self.scored).mean(axis=1))

    def area(self) -> float:
        """Area under the curve as it is."""
        return self._area(self.spent.mean(axis=1), self.scored.mean(axis=1))

    def _area(self, spent: Array, scored: Array) -> float:
        return Curve(np.append(spent, 0.0), np.append(scored, 0.0)).area(*self.range)


def select_routed(
    outcomes: Outcomes,
    prices: Mapping[str, float],
    size: int,
    must_have: Sequence[str] = (),
    advance: Callable[[int], None] = lambda done: None,
) -> RoutedUniverse:
    """Beyond the paper: add the expert that lets a cross-validated router gain the most over the range of costs.

    Greedy like Algorithm 1, with early stop; but the objective is what a router makes of the experts, not what an
    oracle would. It is not submodular, so nothing is known about how far from the best set it is. Equals go to the
    cheaper expert.

    Args:
        outcomes: With domains; what is chosen is good for prompts like these.
        prices: Of every expert of the outcomes.
        size: The most experts to choose, must-haves included.
        must_have: Chosen first.
        advance: Called with 1 after each choice.

    Raises:
        ConfigurationError: No domains, an expert without a price, or see :func:`~routoo_core.universe.selection.must_have_rows`.
    """
    if not any(outcomes.domains):
        raise ConfigurationError(
            "--objective routed: the prompts have no 'domain' column, which its router reads"
        )
    if missing := [name for name in outcomes.experts if name not in prices]:
        raise ConfigurationError(
            f"--price: no price of {missing[0]!r}; --objective routed needs one for each expert"
        )
    cost = np.array([prices[name] for name in outcomes.experts])
    serving = Serving(cross_validated(outcomes), outcomes.scores, cost)
    chosen: list[int] = []
    areas = [0.0]
    first = must_have_rows(outcomes.experts, size, must_have)
    rest = sorted(set(range(len(cost))) - set(first), key=lambda expert: (cost[expert], expert))
    while len(chosen) < size and (first or rest):
        expert = first.pop(0) if first else max(rest, key=serving.area_with)
        serving.add(expert)
        if expert in rest:
            if serving.area() <= areas[-1] + 1e-12:
                break
            rest.remove(expert)
        chosen.append(expert)
        areas.append(serving.area())
        advance(1)
    return RoutedUniverse(tuple(outcomes.experts[expert] for expert in chosen), tuple(areas[1:]))


def held_out_area(
    train: Outcomes, dev: Outcomes, prices: Mapping[str, float], chosen: Sequence[str]
) -> float:
    """Area on ``dev`` when the router by domain, learnt on ``train``, serves among ``chosen``; 0–1.

    The range of costs is the whole pool's, so that sets compare.
    """
    cost = np.array([prices[name] for name in dev.experts])
    serving = Serving(predict_by_domain(train, dev.domains), dev.scores, cost)
    for name in chosen:
        serving.add(dev.experts.index(name))
    return serving.area()

"""Offline: which few of many experts complement one another best (paper §3.4, Algorithm 1 and Eq. 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, lgamma, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError

LEVELS = (
    55_440  # divides by every K - 1 up to 12: sums of scores are exact integers, so ties are ties
)
Values = NDArray[np.unsignedinteger[Any]]
Floats = NDArray[np.float64]
_CHUNK = 1 << 23  # bytes looked at together
_BATCH = 64  # bounds brought up to date together
_SURE = 0.05  # counts of lucky answers that are rarer say too little
_WITNESSES = 1_000  # experts that a guess rate is estimated from


@dataclass(frozen=True)
class ObservedScores:
    """Who answered what how well, small enough for tens of thousands of experts; an unobserved pair covers nothing.

    Attributes:
        experts: One for each row.
        prompts: How many.
        values: Where every score is 0 or 1, 64 of them to a word (uint64, experts × words); else in 55,440ths
            (uint16, experts × prompts).
        seen: Which pairs were observed, packed in the same way.
    """

    experts: tuple[str, ...]
    prompts: int
    values: Values = field(repr=False)
    seen: Values = field(repr=False)

    @classmethod
    def empty(cls, experts: Sequence[str], prompts: int, binary: bool) -> ObservedScores:
        """Nothing observed yet; see :meth:`observe`."""
        seen = np.zeros((len(experts), -(-prompts // 64)), dtype=np.uint64)
        values = (
            np.zeros_like(seen) if binary else np.zeros((len(experts), prompts), dtype=np.uint16)
        )
        return cls(tuple(experts), prompts, values, seen)

    @classmethod
    def from_scores(cls, scores: NDArray[np.floating], experts: Sequence[str]) -> ObservedScores:
        """Pack a matrix, prompts × experts, 0–1 or NaN."""
        seen, right = ~np.isnan(scores), scores == 1
        binary = bool((right | (scores == 0) | ~seen).all())
        values = (
            _pack(right) if binary else np.rint(np.nan_to_num(scores).T * LEVELS).astype(np.uint16)
        )
        return cls(tuple(experts), len(scores), values, _pack(seen))

    @property
    def binary(self) -> bool:
        """Whether every score is 0 or 1."""
        return self.values.dtype == np.uint64

    def observe(
        self, rows: NDArray[np.integer], columns: NDArray[np.integer], scores: NDArray[np.floating]
    ) -> None:
        """Enter scores (0–1) of experts ``rows`` on prompts ``columns``, each pair once."""
        _set(self.seen, rows, columns)
        if self.binary:
            _set(self.values, rows[scores > 0], columns[scores > 0])
        else:
            self.values[rows, columns] = np.rint(scores * LEVELS)

    def select(self, experts: Sequence[str]) -> ObservedScores:
        """These experts only, in this order; each must be known."""
        rows = [self.experts.index(name) for name in experts]
        return ObservedScores(tuple(experts), self.prompts, self.values[rows], self.seen[rows])

    def scores(self) -> NDArray[np.float32]:
        """The matrix again, prompts × experts, 0–1 or NaN."""
        everybody = range(len(self.experts))
        scores = (
            self.right(everybody).astype(np.float32)
            if self.binary
            else (self.values / LEVELS).astype(np.float32)
        )
        return np.where(self.answered(everybody), scores, np.float32("nan")).T

    def right(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Whether each of these experts answered rightly, experts × prompts; for scores of 0 and 1."""
        return _unpack(self.values[rows], self.prompts)

    def answered(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Whether each of these experts was observed, experts × prompts."""
        return _unpack(self.seen[rows], self.prompts)

    def gains(self, rows: NDArray[np.intp] | slice, best: Values) -> NDArray[np.int64]:
        """What each of these experts would add to ``best``, the highest score at each prompt so far."""
        values = self.values[rows]
        added = (
            np.bitwise_count(values & ~best) if self.binary else values - np.minimum(values, best)
        )
        gains: NDArray[np.int64] = added.sum(axis=1, dtype=np.int64)
        return gains

    def better(self, best: Values, row: int) -> Values:
        """``best`` with one more expert."""
        both: Values = (
            best | self.values[row] if self.binary else np.maximum(best, self.values[row])
        )
        return both

    def share(self, total: float) -> float:
        """A sum of gains as a share of all prompts."""
        return float(total) / (self.prompts * (1 if self.binary else LEVELS))

    def chunks(self) -> Iterator[slice]:
        """Rows that fit into the cache together."""
        step = max(1, _CHUNK // max(1, self.values[:1].nbytes))
        return (slice(start, start + step) for start in range(0, len(self.experts), step))


@dataclass(frozen=True)
class Universe:
    """The experts chosen, in the order chosen, and what is known about how good the choice is.

    Attributes:
        experts: Names.
        gains: What each added to the coverage when it was chosen, 0–1.
        coverage: Eq. 2 after each: the mean over prompts of the highest observed score, 0–1.
        alone: What the coverage would lose without each; 0 where the others have all it has.
        bound: No set of as many experts, with the same must-haves, covers more.
        everyone: The coverage of the whole pool.
    """

    experts: tuple[str, ...]
    gains: tuple[float, ...]
    coverage: tuple[float, ...]
    alone: tuple[float, ...]
    bound: float
    everyone: float

    @property
    def gap(self) -> float:
        """Share of the bound that is missing; the optimum is no further away."""
        return (
            max(0.0, 1 - self.coverage[-1] / self.bound)
            if self.coverage and self.bound > 0
            else 0.0
        )


def select_universe(
    observed: ObservedScores,
    size: int,
    must_have: Sequence[str] = (),
    prices: Mapping[str, float] | None = None,
) -> Universe:
    """Algorithm 1: add the expert that adds the most, until there are ``size`` or nobody adds anything.

    The gain of an expert never grows while others are chosen, so an old gain is a bound of the new one and only experts
    whose bound leads are looked at again (lazy greedy); the choice is that of the plain loop. Equal gains go to the
    cheaper expert where prices are known, else to the first in the table. An expert that another dominates is thus
    never chosen before it, unless it is as good and cheaper.

    The bound is Nemhauser's at every prefix: the coverage of a prefix plus the largest gains that could still be added
    to it, and at most everyone's.

    Args:
        observed: Scores; missing pairs cover nothing.
        size: The most experts to choose, must-haves included.
        must_have: Chosen first, in this order, whatever they add.
        prices: USD of each expert, in any unit; experts without one come last among equals.

    Raises:
        ConfigurationError: ``size`` is less than 1 or than the must-haves, or a must-have is unknown or repeated.
    """
    forced = must_have_rows(observed.experts, size, must_have)
    price = np.array([(prices or {}).get(name, np.inf) for name in observed.experts])
    rank = np.argsort(price, kind="stable")
    best: Values = np.zeros_like(observed.values[0])
    chosen, gains = list(forced), list[int]()
    for row in forced:
        gains.append(int(observed.gains(slice(row, row + 1), best)[0]))
        best = observed.better(best, row)
    limits = _all_gains(observed, best)[rank]
    bound = _bound(sum(gains), limits, size - len(forced))
    while len(chosen) < size:
        place = _leader(observed, best, limits, rank)
        if not limits[place]:
            break
        chosen.append(int(rank[place]))
        gains.append(int(limits[place]))
        best = observed.better(best, chosen[-1])
        limits[place] = 0
        bound = min(bound, _bound(sum(gains), limits, size - len(forced)))
    bound = min(bound, _bound(sum(gains), _all_gains(observed, best), size - len(forced)))
    everyone = observed.share(_everyone(observed))
    return Universe(
        tuple(observed.experts[row] for row in chosen),
        tuple(observed.share(gain) for gain in gains),
        tuple(observed.share(total) for total in np.cumsum(gains)),
        _alone(observed, chosen),
        min(observed.share(bound), everyone),
        everyone,
    )


def must_have_rows(experts: Sequence[str], size: int, must_have: Sequence[str]) -> list[int]:
    """Where the must-haves are.

    Raises:
        ConfigurationError: ``size`` is less than 1 or than the must-haves, or a must-have is unknown or repeated.
    """
    if size < max(1, len(must_have)):
        raise ConfigurationError(
            f"--size: {size} is too few; choose at least {max(1, len(must_have))}"
        )
    if unknown := [name for name in must_have if name not in experts]:
        raise ConfigurationError(
            f"--must-have: no outcomes of {unknown[0]!r}; check the name against the table"
        )
    if len(set(must_have)) < len(must_have):
        raise ConfigurationError("--must-have: an expert is given twice; give each once")
    return [experts.index(name) for name in must_have]


def _leader(
    observed: ObservedScores, best: Values, limits: NDArray[np.int64], rank: NDArray[np.intp]
) -> int:
    """Where the largest gain is; bounds that could lead are brought up to date, a few at a time."""
    order, lead = np.argsort(-limits, kind="stable"), 0
    for start in range(0, len(order), _BATCH):
        must_have_rows = order[start : start + _BATCH]
        if limits[must_have_rows[0]] < max(1, lead):
            break
        limits[must_have_rows] = observed.gains(rank[must_have_rows], best)
        lead = max(lead, int(limits[must_have_rows].max()))
    return int(limits.argmax())


def _bound(total: int, limits: NDArray[np.int64], more: int) -> int:
    """At most what is had and the ``more`` largest of what could be added."""
    return total + int(np.sort(limits)[::-1][:more].sum())


def _all_gains(observed: ObservedScores, best: Values) -> NDArray[np.int64]:
    return np.concatenate([observed.gains(rows, best) for rows in observed.chunks()])


def _everyone(observed: ObservedScores) -> int:
    best: Values = np.zeros_like(observed.values[0])
    reduce = np.bitwise_or.reduce if observed.binary else np.maximum.reduce
    for rows in observed.chunks():
        best = reduce((best, reduce(observed.values[rows], axis=0)))
    return int(np.bitwise_count(best).sum()) if observed.binary else int(best.sum(dtype=np.int64))


def _alone(observed: ObservedScores, chosen: Sequence[int]) -> tuple[float, ...]:
    """What each of the chosen adds to the others: its gain over the best of those before and after it."""
    before: list[Values] = [np.zeros_like(observed.values[0])]
    after: list[Values] = [before[0]]
    for row, last in zip(chosen, reversed(chosen), strict=True):
        before.append(observed.better(before[-1], row))
        after.append(observed.better(after[-1], last))
    merge = np.bitwise_or if observed.binary else np.maximum
    others = [merge(before[i], after[len(chosen) - 1 - i]) for i in range(len(chosen))]
    return tuple(
        observed.share(observed.gains(slice(row, row + 1), rest)[0])
        for row, rest in zip(chosen, others, strict=True)
    )


def coverage_without_luck(
    observed: ObservedScores, chosen: Sequence[str], guess: Floats
) -> tuple[float, ...]:
    """Coverage after each expert, corrected for chance; for scores of 0 and 1.

    On a prompt that none of n experts knows, the right answers are guesses and their number is Binomial(n, guess). If a
    share u of the prompts were such, at least u · P(Binomial ≤ t) of all prompts would have t right answers or fewer;
    the largest u that what was observed allows, at any t, is the unknown share, and 1 - u is known. For one expert this
    is the usual correction (score - guess) / (1 - guess). What some experts know, more of them know too, so the curve
    never falls. It takes guesses as independent; where experts share their mistakes, there is less luck than it says.

    Args:
        observed: Scores.
        chosen: Names in the order chosen.
        guess: Chance that an expert that does not know answers rightly, one for each prompt, 0 to below 1.
    """
    rows = [observed.experts.index(name) for name in chosen]
    rates, kind = np.unique(guess, return_inverse=True)
    right = np.cumsum(observed.right(rows), axis=0, dtype=np.int64)
    answered = np.cumsum(observed.answered(rows), axis=0, dtype=np.int64)
    known = [_known(*counts, rates, kind) for counts in zip(right, answered, strict=True)]
    return tuple(np.maximum.accumulate(known).tolist())


def _known(
    right: NDArray[np.int64], answered: NDArray[np.int64], rates: Floats, kind: NDArray[np.intp]
) -> float:
    most = int(answered.max(initial=0))
    pairs, counts = np.unique(np.stack([answered, kind]), axis=1, return_counts=True)
    lucky = np.zeros(most + 1)
    for (n, k), count in zip(pairs.T, counts, strict=True):
        lucky[: n + 1] += count * _binomial(int(n), float(rates[k]))
    at_most = np.cumsum(lucky) / len(right)
    found = np.cumsum(np.bincount(right, minlength=most + 1)) / len(right)
    return 1 - min(1.0, float((found / np.maximum(at_most, _SURE))[at_most >= _SURE].min()))


def _binomial(n: int, p: float) -> Floats:
    if p == 0:
        return np.array([1.0, *[0.0] * n])
    steps = range(n + 1)
    return np.array(
        [
            exp(
                lgamma(n + 1)
                - lgamma(t + 1)
                - lgamma(n - t + 1)
                + t * log(p)
                + (n - t) * log(1 - p)
            )
            for t in steps
        ]
    )


def estimated_guess_rate(observed: ObservedScores) -> float | None:
    """How often an expert is right where hardly anybody knows: the mean score on the hardest tenth of the prompts.

    Which prompts are hardest is told by every other expert, and the score is that of the rest, so that a prompt is not
    among the hardest for want of luck. Some of them do know, so this is rather too high than too low. From at most
    1,000 experts, evenly spread; ``None`` with fewer than 4, or where scores are not 0 and 1.
    """
    rows = np.unique(
        np.linspace(0, len(observed.experts) - 1, min(len(observed.experts), _WITNESSES)).astype(
            int
        )
    )
    if len(rows) < 4 or not observed.binary:
        return None
    judges, others = rows[::2].tolist(), rows[1::2].tolist()
    judged, right = (observed.right(part).sum(axis=0) for part in (judges, others))
    asked, answered = (observed.answered(part).sum(axis=0) for part in (judges, others))
    both = np.flatnonzero((asked > 0) & (answered > 0))
    hardest = both[np.argsort(judged[both] / asked[both], kind="stable")[: max(1, len(both) // 10)]]
    return float(right[hardest].sum() / answered[hardest].sum()) if len(hardest) else None


def _set(bits: Values, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> None:
    np.bitwise_or.at(
        bits.view(np.uint8), (rows, columns >> 3), (128 >> (columns & 7)).astype(np.uint8)
    )


def _pack(pairs: NDArray[np.bool_]) -> Values:
    """Prompts × experts as bits, experts × words."""
    padded = np.zeros((pairs.shape[1], -(-len(pairs) // 64) * 64), dtype=np.bool_)
    padded[:, : len(pairs)] = pairs.T
    return np.packbits(padded, axis=1).view(np.uint64)


def _unpack(bits: Values, count: int) -> NDArray[np.bool_]:
    return np.unpackbits(np.ascontiguousarray(bits).view(np.uint8), axis=1, count=count).view(
        np.bool_
    )

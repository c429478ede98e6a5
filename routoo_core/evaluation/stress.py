"""The stress test: does a router choose another expert when only the wording of a question changes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routoo_core.assignment.predictions import predict_all
from routoo_core.evaluation.report import StressRow
from routoo_core.evaluation.rewording import REWRITES
from routoo_core.measures.curve import Array
from routoo_core.predictor.base import Predictor
from routoo_core.progress import Progress
from routoo_core.selector import PreferenceRule

PARAPHRASE = "paraphrase"
GADGET = "a gadget searched for each prompt"
GADGET_WORDS = 6
GADGET_TRIES = 12

_TERMS = """
theorem integral proof jurisdiction enzyme quantum recursion plaintiff equilibrium isotope syntax dividend axiom ligand
covariance tort oxidation compiler manifold subpoena allele entropy kernel liability Fourier
"""
_VOCABULARY = tuple(_TERMS.split())

Columns = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """A predictor and the preference rule it serves with at one λ: what is stressed.

    Attributes:
        predictor: Predicts the quality of its experts.
        experts: The pool, all known to the predictor.
        cost: Of each expert of the pool.
        rule: Chooses the expert of the highest preference.
        progress: Where the progress of predictions goes.
    """

    predictor: Predictor
    experts: Sequence[str]
    cost: Array
    rule: PreferenceRule
    progress: Progress

    @property
    def dearest(self) -> int:
        """Column of the dearest expert."""
        return int(self.cost.argmax())

    def preferences(self, texts: Sequence[str]) -> Array:
        """The preference of each expert, texts × experts; the highest is chosen."""
        columns = [self.predictor.experts.index(name) for name in self.experts]
        predicted = predict_all(self.predictor, texts, self.progress)
        quality = predicted[:, columns].astype(np.float64)
        cost = np.broadcast_to(self.cost, quality.shape)
        preferences: Array = self.rule(quality, cost).astype(np.float64)
        return preferences

    def choose(self, texts: Sequence[str]) -> Columns:
        """Column of the expert that is chosen for each text."""
        columns: Columns = self.preferences(texts).argmax(axis=1)
        return columns


def stress(
    point: OperatingPoint,
    prompts: Sequence[str],
    paraphrases: Mapping[str, str] | None = None,
    seed: int = 0,
) -> list[StressRow]:
    """Measure how often another wording changes the chosen expert.

    Besides rewording by rules, a *gadget* is searched for each prompt: words behind it that push the router towards
    the dearest expert, as in the attacks on RouteLLM's routers (arXiv 2501.01818).

    Args:
        point: What is stressed.
        prompts: The prompts.
        paraphrases: Prompt → the same in other words; one more way of rewording.
        seed: Of the rules and of the search.

    Returns:
        One row for each way of rewording, over the prompts that it changes.
    """
    random = np.random.default_rng(seed)
    compare = _Comparison(point, prompts)

    rows = []
    for way, rewrite in REWRITES.items():
        rewordings = [rewrite(prompt, random) for prompt in prompts]
        rows.append(compare(way, rewordings))
    if paraphrases:
        rewordings = [paraphrases.get(prompt, prompt) for prompt in prompts]
        rows.append(compare(PARAPHRASE, rewordings))
    rows.append(compare(GADGET, _attack(point, prompts, random)))
    return rows


class _Comparison:
    """Compares the choices for reworded prompts with those for the prompts as they are."""

    def __init__(self, point: OperatingPoint, prompts: Sequence[str]) -> None:
        self._point = point
        self._prompts = prompts
        self._choices = point.choose(prompts)

    def __call__(self, way: str, rewordings: Sequence[str]) -> StressRow:
        positions = []
        for position, prompt in enumerate(self._prompts):
            if rewordings[position] != prompt:
                positions.append(position)
        if not positions:
            return StressRow(way, prompts=0, flips=0.0, upgrades=0.0, cost=1.0)

        before = self._choices[positions]
        after = self._point.choose([rewordings[position] for position in positions])
        cost_before = self._point.cost[before]
        cost_after = self._point.cost[after]

        return StressRow(
            way=way,
            prompts=len(positions),
            flips=float((after != before).mean()),
            upgrades=float((cost_after > cost_before).mean()),
            cost=_relative_cost(float(cost_after.mean()), float(cost_before.mean())),
        )


def _relative_cost(after: float, before: float) -> float | None:
    if after == before:
        return 1.0
    if before > 0:
        return after / before
    return None


def _attack(
    point: OperatingPoint, prompts: Sequence[str], random: np.random.Generator
) -> list[str]:
    """Each prompt with the gadget behind it that pushes the router most towards the dearest expert.

    The search is random: each try replaces one word of the best gadget so far.
    """
    best_gadgets = [""] * len(prompts)
    best_margins = np.full(len(prompts), -np.inf)

    for _ in range(GADGET_TRIES):
        gadgets = [_mutate(gadget, random) for gadget in best_gadgets]
        margins = _margins_of_dearest(point, _append_gadgets(prompts, gadgets))
        for position in np.flatnonzero(margins > best_margins):
            best_margins[position] = margins[position]
            best_gadgets[position] = gadgets[position]

    return _append_gadgets(prompts, best_gadgets)


def _append_gadgets(prompts: Sequence[str], gadgets: Sequence[str]) -> list[str]:
    pairs = zip(prompts, gadgets, strict=True)
    return [f"{prompt}\n{gadget}" for prompt, gadget in pairs]


def _mutate(gadget: str, random: np.random.Generator) -> str:
    """A gadget with one word replaced; random words to start with."""
    words = gadget.split()
    if not words:
        words = list(random.choice(_VOCABULARY, GADGET_WORDS))

    position = int(random.integers(len(words)))
    words[position] = str(random.choice(_VOCABULARY))
    return " ".join(words)


def _margins_of_dearest(point: OperatingPoint, texts: Sequence[str]) -> Array:
    """How far the dearest expert is preferred to the best of the others, for each text."""
    preferences = point.preferences(texts)
    dearest = preferences[:, point.dearest]
    cheaper = np.delete(preferences, point.dearest, axis=1)
    best_cheaper = cheaper.max(axis=1, initial=-np.inf)  # a pool may have only one expert
    margins: Array = dearest - best_cheaper
    return margins

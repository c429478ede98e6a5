"""From what was read of prompts to quality: the answers' parameters, and what labels add to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from routoo_core.catalogue.skills import SKILL_NUMBER
from routoo_core.predictor.general import AnswerModel, LabelTable, skill_weights
from routoo_core.predictor.prompt_reader import FORMS, KINDS, TASTES, Floats, PromptReading
from routoo_core.training.general_corpus import DIFFICULTY_UNIT, GeneralSource

TASTE_UNIT = 3.0

_TEXTS_ENOUGH = 30
"""Labelled prompts of a kind from which its difficulty can be learnt."""

_JUDGED_KINDS = ("writing", "chat", "summaries", "languages")
_JUDGED_SLOPE = 0.6
_JUDGED_EASE = 1.0
"""An assumption, not a measurement: most models hold a conversation well, and what sets them apart are hard ones."""
_PRIOR_SLOPE = 1.3
_PRIOR_GUESS = -2.5
_LEAST = 1e-5
_MOST_GUESSED = 0.5
_LOSS_UNIT = 1000
"""Brings the loss of a table's labels to about 1, where the optimiser's tolerances are meant."""


@dataclass(frozen=True, eq=False)
class _SourceTensors:
    """One source, ready for fitting."""

    kinds: Tensor
    skills: Tensor
    difficulty: Tensor
    forms: Tensor
    tastes: Tensor
    abilities: Tensor
    scores: Tensor
    observed: Tensor

    @classmethod
    def of(cls, source: GeneralSource, reading: PromptReading) -> _SourceTensors:
        """Tensors of a source and what was read of it."""
        scores = torch.from_numpy(source.scores)
        return cls(
            kinds=torch.from_numpy(reading.kinds),
            skills=torch.from_numpy(skill_weights(reading)),
            difficulty=torch.from_numpy(np.ascontiguousarray(reading.difficulty)),
            forms=torch.from_numpy(reading.forms),
            tastes=torch.from_numpy(np.ascontiguousarray(reading.tastes)),
            abilities=torch.from_numpy(source.abilities),
            scores=torch.nan_to_num(scores),
            observed=torch.isfinite(scores),
        )

    def loss(self, log_odds: Tensor, guess: Tensor) -> Tensor:
        """Cross-entropy of the observed scores, summed."""
        quality = guess[:, None] + (1 - guess[:, None]) * torch.sigmoid(log_odds)
        quality = quality.clamp(_LEAST, 1 - _LEAST)
        entropy = self.scores * quality.log() + (1 - self.scores) * (1 - quality).log()
        return -(entropy * self.observed).sum()


class _AnswerParameters:
    """Slope, ease, difficulty and guessing of each kind, and how much easier each source is than they say."""

    def __init__(self, sources: int) -> None:
        self.slope = torch.full((KINDS,), _PRIOR_SLOPE, requires_grad=True)
        self.ease = torch.zeros(KINDS, requires_grad=True)
        self.unit = torch.tensor([DIFFICULTY_UNIT], requires_grad=True)
        self.difficulty = torch.zeros(KINDS, requires_grad=True)
        self.guess = torch.full((KINDS,), _PRIOR_GUESS, requires_grad=True)
        self.offset = torch.zeros(sources, requires_grad=True)

    def all(self) -> list[Tensor]:
        """Every parameter."""
        return [self.slope, self.ease, self.unit, self.difficulty, self.guess, self.offset]

    def penalty(self) -> Tensor:
        """How unlikely the parameters are a priori."""
        slopes = 5.0 * (self.slope - self.slope.mean()).square().sum()
        eases = 0.1 * self.ease.square().sum()
        difficulties = 0.5 * self.difficulty.square().sum()
        guesses = (self.guess - _PRIOR_GUESS).square().sum()
        return slopes + eases + difficulties + guesses + self.offset.square().sum()

    def loss(self, table: _SourceTensors, number: int) -> Tensor:
        """Of the observed scores of one source; large sources count less than in proportion to their size."""
        effect = (self.unit + table.kinds @ self.difficulty) * table.difficulty
        prompt_log_odds = table.kinds @ self.ease + effect + self.offset[number]
        log_odds = (table.skills * self.slope) @ table.abilities.T + prompt_log_odds[:, None]
        share = _MOST_GUESSED * torch.sigmoid(table.kinds @ self.guess)
        return table.loss(log_odds, share) / table.observed.sum().sqrt()

    def answers(self, sources: Sequence[GeneralSource]) -> AnswerModel:
        """Their values, and assumptions where the sources have no data."""
        effect = (self.unit + self.difficulty).detach().numpy()
        is_judged = _is_judged(sources)
        slope_share = np.where(is_judged, _JUDGED_SLOPE, 1.0).astype(np.float32)
        added_ease = np.where(is_judged, _JUDGED_EASE, 0.0).astype(np.float32)
        return AnswerModel(
            slope=slope_share * self.slope.detach().numpy(),
            ease=added_ease + self.ease.detach().numpy(),
            difficulty=np.where(_has_difficulty(sources), effect, 0.0).astype(np.float32),
            guess=(_MOST_GUESSED * torch.sigmoid(self.guess)).detach().numpy(),
        )


@dataclass(frozen=True, eq=False)
class AnswerFit:
    """The answers' parameters, and how much easier each source is than they say."""

    answers: AnswerModel
    offsets: dict[str, float]


def fit_answers(sources: Sequence[GeneralSource], readings: Sequence[PromptReading]) -> AnswerFit:
    """From kind, difficulty and ability to quality, by all experts of all sources."""
    tables = []
    for source, reading in zip(sources, readings, strict=True):
        tables.append(_SourceTensors.of(source, reading))
    parameters = _AnswerParameters(len(tables))

    def loss() -> Tensor:
        total = parameters.penalty()
        for number, table in enumerate(tables):
            total = total + parameters.loss(table, number)
        return total

    _minimise(loss, parameters.all())
    names = [source.name for source in sources]
    offsets = dict(zip(names, parameters.offset.tolist(), strict=True))
    return AnswerFit(parameters.answers(sources), offsets)


def _has_difficulty(sources: Sequence[GeneralSource]) -> NDArray[np.bool_]:
    """The kinds of which enough prompts were answered to learn how hard they are."""
    counts = np.zeros(KINDS)
    for source in sources:
        for kind in source.kinds:
            if kind is not None:
                counts[SKILL_NUMBER[kind]] += 1
    return counts >= _TEXTS_ENOUGH


def _is_judged(sources: Sequence[GeneralSource]) -> NDArray[np.bool_]:
    """The kinds without data whose answers are good or less good, rather than right or wrong."""
    is_of_judge = np.zeros(KINDS, dtype=bool)
    for kind in _JUDGED_KINDS:
        is_of_judge[SKILL_NUMBER[kind]] = True
    return is_of_judge & ~_has_difficulty(sources)


_VARIANCES = {"constant": 0.1, "kinds": 0.1, "forms": 0.1, "tastes": 0.25, "difficulty": 0.003}
"""How far labels may move an expert's parameters from the catalogue's, a priori."""


def fit_labels(
    sources: Sequence[GeneralSource], readings: Sequence[PromptReading], answers: AnswerModel
) -> LabelTable:
    """What the labels of every source's experts add; of an expert of several sources the first one counts."""
    tables: list[LabelTable] = []
    names: set[str] = set()
    for source, reading in zip(sources, readings, strict=True):
        table = fit_source_labels(source, reading, answers).without(names)
        names.update(table.names)
        tables.append(table)
    return LabelTable.join(tables)


def fit_source_labels(
    source: GeneralSource, reading: PromptReading, answers: AnswerModel
) -> LabelTable:
    """What each expert's own labels add, with the catalogue's ability as the prior.

    Args:
        source: The labels.
        reading: What a reader that has not learnt from them says of the prompts.
        answers: From kind, difficulty and ability to quality.
    """
    table = _SourceTensors.of(source, reading)
    expert_labels = _fit_expert_labels(table, answers)
    return LabelTable(
        names=tuple(source.experts),
        abilities=source.abilities,
        log_length=np.array(_longer_than_read(source.lengths, reading.log_length), np.float32),
        doubt=np.zeros(len(source.experts), np.float32),
        **expert_labels,
    )


def correct_labels(
    start: LabelTable,
    scores: Floats,
    lengths: Floats,
    reading: PromptReading,
    answers: AnswerModel,
) -> LabelTable:
    """What labels say once more scores of the same experts are known; those known before are the prior.

    Args:
        start: What labels said so far.
        scores: Observed, 0–1 or NaN, prompts × experts.
        lengths: Tokens of the answers, or NaN, prompts × experts; an expert without any keeps its length.
        reading: What was read of the prompts.
        answers: From kind, difficulty and ability to quality.
    """
    source = GeneralSource(
        name="",
        texts=[""] * len(scores),
        kinds=[None] * len(scores),
        experts=start.names,
        scores=scores,
        lengths=lengths,
        abilities=start.abilities,
        languages=[""] * len(scores),
    )
    expert_labels = _fit_expert_labels(_SourceTensors.of(source, reading), answers, start)
    arrays = {name: getattr(start, name) + values for name, values in expert_labels.items()}
    longer = np.array(_longer_than_read(lengths, reading.log_length), np.float32)
    has_lengths = np.isfinite(lengths).any(axis=0)
    log_length = np.where(has_lengths, longer, start.log_length)
    return replace(start, log_length=log_length, **arrays)


class _LabelParameters:
    """What labels add for each of some experts, by the names of :class:`LabelTable`."""

    def __init__(self, experts: int) -> None:
        self.values = {
            "constant": torch.zeros(experts, requires_grad=True),
            "kinds": torch.zeros(experts, KINDS, requires_grad=True),
            "forms": torch.zeros(experts, FORMS, requires_grad=True),
            "tastes": torch.zeros(experts, TASTES, requires_grad=True),
            "difficulty": torch.zeros(experts, requires_grad=True),
        }

    @classmethod
    def of(cls, labels: LabelTable) -> _LabelParameters:
        """Those of a table, as they are."""
        parameters = cls(len(labels.names))
        for name in parameters.values:
            parameters.values[name] = torch.from_numpy(np.array(getattr(labels, name)))
        parameters.values["tastes"] = parameters.values["tastes"] / TASTE_UNIT
        return parameters

    def penalty(self) -> Tensor:
        """How unlikely the parameters are a priori."""
        total = torch.zeros(())
        for name, values in self.values.items():
            total = total + values.square().sum() / (2 * _VARIANCES[name])
        return total

    def log_odds(self, table: _SourceTensors, effect: Tensor) -> Tensor:
        """What they add, (prompts, experts).

        Args:
            table: The prompts.
            effect: Of their difficulty in log-odds, (prompts,).
        """
        by_kind = table.kinds @ self.values["kinds"].T
        by_form = table.forms @ self.values["forms"].T
        by_taste = TASTE_UNIT * table.tastes @ self.values["tastes"].T
        by_difficulty = effect[:, None] * self.values["difficulty"]
        return self.values["constant"] + by_kind + by_form + by_taste + by_difficulty

    def arrays(self) -> dict[str, Floats]:
        """Their values."""
        arrays = {name: values.detach().numpy() for name, values in self.values.items()}
        arrays["tastes"] *= TASTE_UNIT
        return arrays


def _fit_expert_labels(
    table: _SourceTensors, answers: AnswerModel, start: LabelTable | None = None
) -> dict[str, Floats]:
    """The label parameters of one source's experts, by maximum a posteriori; beside those of ``start``."""
    slope = torch.from_numpy(answers.slope)
    effect = table.kinds @ torch.from_numpy(answers.difficulty) * table.difficulty
    prompt_log_odds = table.kinds @ torch.from_numpy(answers.ease) + effect
    base = (table.skills * slope) @ table.abilities.T + prompt_log_odds[:, None]
    guess = table.kinds @ torch.from_numpy(answers.guess)
    if start is not None:
        base = base + _LabelParameters.of(start).log_odds(table, effect)
    parameters = _LabelParameters(table.scores.shape[1])

    def loss() -> Tensor:
        log_odds = base + parameters.log_odds(table, effect)
        return (table.loss(log_odds, guess) + parameters.penalty()) / _LOSS_UNIT

    _minimise(loss, list(parameters.values.values()))
    return parameters.arrays()


def _longer_than_read(lengths: Floats, log_length: Floats) -> list[float]:
    """How much longer each expert's answers are than what was read, in logarithms; 0 where none is known."""
    differences = []
    for column in lengths.T:
        has_length = np.isfinite(column)
        if not has_length.any():
            differences.append(0.0)
            continue
        # The ratio of means, not of logarithms: a mean in tokens is what costs.
        ratio = column[has_length].mean() / np.exp(log_length[has_length]).mean()
        differences.append(float(np.log(max(ratio, 1e-3))))
    return differences


def _minimise(loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> None:
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=100, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]

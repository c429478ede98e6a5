"""Training the general predictor on tables of several sources, whose experts the catalogue puts on one scale."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from routoo_core.catalogue.skills import SKILL_NUMBER
from routoo_core.predictor.general import AnswerModel, LabelTable, skill_weights
from routoo_core.predictor.prompt_reader import (
    FORMS,
    KINDS,
    OUTPUTS,
    TASTES,
    PromptReader,
    PromptReading,
)
from routoo_core.training.prompt_reader import ReaderTargets, fit_reader

Floats = NDArray[np.float32]

DIFFICULTY_UNIT = 6.0
"""Log-odds for a unit of difficulty, about the slope of the logistic curve where the experts are."""
TASTE_UNIT = 3.0

_TEXTS_ENOUGH = 30
"""Labelled prompts of a kind from which its difficulty can be learnt."""
_EXPERTS_ENOUGH = 8.0
"""Experts whose answers tell a prompt's difficulty about as well as a guess does."""
_SAMPLE_OF_KIND = 400
_EXAMPLE_SHARE = 5.0
_STEM_LETTERS = 60
_NOT_LETTERS = re.compile(r"[\W_]+")

_JUDGED_KINDS = ("writing", "chat", "summaries", "languages")
_JUDGED_SLOPE = 0.6
_JUDGED_EASE = 1.0
"""An assumption, not a measurement: most models hold a conversation well, and what sets them apart are hard ones."""
_PRIOR_SLOPE = 1.3
_PRIOR_GUESS = -2.5
_LEAST = 1e-5
_MOST_GUESSED = 0.5


@dataclass(frozen=True, eq=False)
class GeneralSource:
    """One table of outcomes to learn from.

    Attributes:
        name: Of the source.
        texts: Its prompts.
        kinds: The skill each asks for; ``None`` where that is not known.
        experts: Names, one for each column.
        scores: Observed, float32, 0–1 or NaN, prompts × experts.
        lengths: Tokens of the answers, or NaN, prompts × experts.
        abilities: The experts' abilities by the catalogue, (experts, skills).
        languages: Of the prompts, two letters each.
    """

    name: str
    texts: Sequence[str] = field(repr=False)
    kinds: Sequence[str | None] = field(repr=False)
    experts: Sequence[str] = field(repr=False)
    scores: Floats = field(repr=False)
    lengths: Floats = field(repr=False)
    abilities: Floats = field(repr=False)
    languages: Sequence[str] = field(repr=False)


@dataclass(frozen=True)
class KindExample:
    """A prompt of which only the kind is known."""

    text: str
    kind: str
    language: str


@dataclass(frozen=True, eq=False)
class GeneralFit:
    """What was fitted."""

    reader: PromptReader
    answers: AnswerModel
    labels: LabelTable
    reading: PromptReading


def fit_general(
    sources: Sequence[GeneralSource],
    examples: Sequence[KindExample],
    taste_source: str,
    advance: Callable[[int], None] = lambda steps: None,
) -> GeneralFit:
    """Fit reader, answers and labels.

    The difficulty of a prompt is how much better or worse than usual its experts did. What a whole source is easier or
    harder by is found by a first fit of the answers, and added for a second one.

    Args:
        sources: Tables of outcomes.
        examples: Prompts of which only the kind is known.
        taste_source: The source whose experts' differences become the tastes.
        advance: Called with 1 after each of eight steps.
    """
    texts = [text for source in sources for text in source.texts]
    texts += [example.text for example in examples]
    targets = _make_targets(sources, examples, taste_source, {})
    reading = fit_reader(texts, targets, advance=advance).reading
    offsets = _fit_answers(sources, _split_reading(reading, sources)).offsets

    targets = _make_targets(sources, examples, taste_source, offsets)
    fitted = fit_reader(texts, targets, advance=advance)
    readings = _split_reading(fitted.reading, sources)
    answers = _fit_answers(sources, readings).answers
    labels = _fit_labels(sources, readings, answers)
    return GeneralFit(fitted.reader, answers, labels, fitted.reading)


# What the reader should say


def _make_targets(
    sources: Sequence[GeneralSource],
    examples: Sequence[KindExample],
    taste_source: str,
    offsets: Mapping[str, float],
) -> ReaderTargets:
    count = sum(len(source.texts) for source in sources) + len(examples)
    values = np.full((count, OUTPUTS), np.nan, np.float32)
    weights = np.ones(count, np.float32)
    kinds: list[str | None] = []
    languages: list[str] = []
    texts: list[str] = []
    start = 0
    for source in sources:
        rows = slice(start, start + len(source.texts))
        start = rows.stop
        values[rows, 0] = _surprise(source.scores) + offsets.get(source.name, 0.0) / DIFFICULTY_UNIT
        observed = np.isfinite(source.scores).sum(axis=1)
        weights[rows] = observed / (observed + _EXPERTS_ENOUGH) * 1.6
        values[rows, -2] = _mean_log_length(source.lengths)
        if source.name == taste_source:
            values[rows, 1 + KINDS : 1 + KINDS + TASTES] = _principal_tastes(source.scores)
        kinds += source.kinds
        languages += source.languages
        texts += source.texts

    kinds += [example.kind for example in examples]
    languages += [example.language for example in examples]
    texts += [example.text for example in examples]
    values[:, 1 : 1 + KINDS] = _one_hot(kinds)
    values[:, -1] = [float(language != "en") for language in languages]
    kind_weights = _kind_weights(kinds, len(examples))
    return ReaderTargets(values, weights, kind_weights, _groups(texts))


def _surprise(scores: Floats) -> Floats:
    """How much better than usual the experts did on each prompt, (prompts,)."""
    surprise: Floats = np.nanmean(scores - np.nanmean(scores, axis=0), axis=1)
    return surprise


def _mean_log_length(lengths: Floats) -> Floats:
    """Of the answers to each prompt, experts that are always longer taken off; NaN where none is known."""
    known = np.isfinite(lengths)
    logs = np.log(np.where(known, np.maximum(lengths, 1.0), np.nan))
    counts = known.sum(axis=0)
    if not counts.any():
        return np.full(len(lengths), np.nan, np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        expert_means = np.nansum(logs, axis=0) / counts
        centre = np.nanmean(expert_means)
        centred = logs - expert_means + centre
        mean: Floats = (np.nansum(centred, axis=1) / known.sum(axis=1)).astype(np.float32)
    return mean


def _principal_tastes(scores: Floats) -> Floats:
    """The directions in which experts differ most, beside being good, (prompts, TASTES)."""
    residual = scores - np.nanmean(scores, axis=0)
    residual = np.nan_to_num(residual - np.nanmean(residual, axis=1, keepdims=True))
    _, _, directions = np.linalg.svd(residual, full_matrices=False)
    tastes: Floats = residual @ directions[:TASTES].T
    return tastes


def _one_hot(kinds: Sequence[str | None]) -> Floats:
    values = np.zeros((len(kinds), KINDS), np.float32)
    for row, kind in enumerate(kinds):
        if kind is None:
            values[row] = np.nan
        else:
            values[row, SKILL_NUMBER[kind]] = 1.0
    return values


def _kind_weights(kinds: Sequence[str | None], examples: int) -> Floats:
    """Each kind counts the same: a sample of its prompts in tables once, the examples written for it five times.

    Args:
        kinds: Of all prompts, those of the examples last.
        examples: How many examples there are.
    """
    numbers = np.array([-1 if kind is None else SKILL_NUMBER[kind] for kind in kinds])
    is_example = np.arange(len(kinds)) >= len(kinds) - examples
    weights = np.zeros(len(kinds), np.float32)
    random = np.random.default_rng(0)
    for number in range(KINDS):
        in_tables = np.flatnonzero((numbers == number) & ~is_example)
        sample = random.permutation(in_tables)[:_SAMPLE_OF_KIND]
        weights[sample] = 1 / max(1, len(sample))
        own = np.flatnonzero((numbers == number) & is_example)
        weights[own] = _EXAMPLE_SHARE / max(1, len(own))
    return weights


def _groups(texts: Sequence[str]) -> NDArray[np.intp]:
    """Texts that begin alike are about one question."""
    number_of_stem: dict[str, int] = {}
    numbers = []
    for text in texts:
        first_line = text[: 2 * _STEM_LETTERS].partition("\n")[0]
        stem = _NOT_LETTERS.sub("", first_line.lower())[:_STEM_LETTERS]
        numbers.append(number_of_stem.setdefault(stem, len(number_of_stem)))
    return np.array(numbers, dtype=np.intp)


# From readings to quality


def _split_reading(reading: PromptReading, sources: Sequence[GeneralSource]) -> list[PromptReading]:
    """The part of each source."""
    parts = []
    start = 0
    for source in sources:
        rows = slice(start, start + len(source.texts))
        start = rows.stop
        parts.append(PromptReading(*(values[rows] for values in reading)))
    return parts


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


@dataclass(frozen=True, eq=False)
class _AnswerFit:
    """The answers' parameters, and how much easier each source is than they say."""

    answers: AnswerModel
    offsets: dict[str, float]


def _fit_answers(sources: Sequence[GeneralSource], readings: Sequence[PromptReading]) -> _AnswerFit:
    """Slope, ease, difficulty and guessing of each kind, by all experts of all sources."""
    tables = [
        _SourceTensors.of(source, reading)
        for source, reading in zip(sources, readings, strict=True)
    ]
    slope = torch.full((KINDS,), _PRIOR_SLOPE, requires_grad=True)
    ease = torch.zeros(KINDS, requires_grad=True)
    unit = torch.tensor([DIFFICULTY_UNIT], requires_grad=True)
    difficulty = torch.zeros(KINDS, requires_grad=True)
    guess = torch.full((KINDS,), _PRIOR_GUESS, requires_grad=True)
    offset = torch.zeros(len(tables), requires_grad=True)

    def loss() -> Tensor:
        total = 5.0 * (slope - slope.mean()).square().sum()
        total = total + 0.1 * ease.square().sum() + 0.5 * difficulty.square().sum()
        total = total + (guess - _PRIOR_GUESS).square().sum() + offset.square().sum()
        for number, table in enumerate(tables):
            log_odds = (table.skills * slope) @ table.abilities.T
            shared = table.kinds @ ease + (unit + table.kinds @ difficulty) * table.difficulty
            log_odds = log_odds + (shared + offset[number])[:, None]
            share = _MOST_GUESSED * torch.sigmoid(table.kinds @ guess)
            total = total + table.loss(log_odds, share) / table.observed.sum().sqrt()
        return total

    _minimise(loss, [slope, ease, unit, difficulty, guess, offset])
    effect = (unit + difficulty).detach().numpy()
    is_judged = _is_judged(sources)
    answers = AnswerModel(
        slope=np.where(is_judged, _JUDGED_SLOPE, 1.0).astype(np.float32) * slope.detach().numpy(),
        ease=np.where(is_judged, _JUDGED_EASE, 0.0).astype(np.float32) + ease.detach().numpy(),
        difficulty=np.where(_has_difficulty(sources), effect, 0.0).astype(np.float32),
        guess=(_MOST_GUESSED * torch.sigmoid(guess)).detach().numpy(),
    )
    names = [source.name for source in sources]
    return _AnswerFit(answers, dict(zip(names, offset.tolist(), strict=True)))


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
    judged = np.zeros(KINDS, dtype=bool)
    for kind in _JUDGED_KINDS:
        judged[SKILL_NUMBER[kind]] = True
    return judged & ~_has_difficulty(sources)


_VARIANCES = {"constant": 0.1, "kinds": 0.1, "forms": 0.1, "tastes": 0.25, "difficulty": 0.003}
"""How far labels may move an expert's parameters from the catalogue's, a priori."""


def _fit_labels(
    sources: Sequence[GeneralSource], readings: Sequence[PromptReading], answers: AnswerModel
) -> LabelTable:
    """What the labels of every source's experts add."""
    tables = [
        fit_source_labels(source, reading, answers)
        for source, reading in zip(sources, readings, strict=True)
    ]
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
    fitted = _fit_expert_labels(table, answers)
    return LabelTable(
        names=tuple(source.experts),
        abilities=source.abilities,
        log_length=np.array(_longer_than_read(source.lengths, reading.log_length), np.float32),
        **fitted,
    )


def _fit_expert_labels(table: _SourceTensors, answers: AnswerModel) -> dict[str, Floats]:
    """The label parameters of one source's experts, by maximum a posteriori."""
    slope = torch.from_numpy(answers.slope)
    effect = table.kinds @ torch.from_numpy(answers.difficulty) * table.difficulty
    base = (table.skills * slope) @ table.abilities.T
    base = base + (table.kinds @ torch.from_numpy(answers.ease) + effect)[:, None]
    guess = table.kinds @ torch.from_numpy(answers.guess)

    experts = table.scores.shape[1]
    parameters = {
        "constant": torch.zeros(experts, requires_grad=True),
        "kinds": torch.zeros(experts, KINDS, requires_grad=True),
        "forms": torch.zeros(experts, FORMS, requires_grad=True),
        "tastes": torch.zeros(experts, TASTES, requires_grad=True),
        "difficulty": torch.zeros(experts, requires_grad=True),
    }

    def loss() -> Tensor:
        log_odds = base + parameters["constant"] + table.kinds @ parameters["kinds"].T
        log_odds = log_odds + table.forms @ parameters["forms"].T
        log_odds = log_odds + TASTE_UNIT * table.tastes @ parameters["tastes"].T
        log_odds = log_odds + effect[:, None] * parameters["difficulty"]
        total = table.loss(log_odds, guess)
        for name, values in parameters.items():
            total = total + values.square().sum() / (2 * _VARIANCES[name])
        return total / 1000

    _minimise(loss, list(parameters.values()))
    fitted = {name: values.detach().numpy() for name, values in parameters.items()}
    fitted["tastes"] *= TASTE_UNIT
    return fitted


def _longer_than_read(lengths: Floats, log_length: Floats) -> list[float]:
    """How much longer each expert's answers are than what was read, in logarithms; 0 where none is known."""
    differences = []
    for column in lengths.T:
        known = np.isfinite(column)
        if not known.any():
            differences.append(0.0)
            continue
        # The ratio of means, not of logarithms: a mean in tokens is what costs.
        ratio = column[known].mean() / np.exp(log_length[known]).mean()
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

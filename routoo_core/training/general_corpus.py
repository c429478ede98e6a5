"""The prompts that a general router learns from, and what its reader should say of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routoo_core.catalogue.skills import SKILL_NUMBER
from routoo_core.predictor.prompt_reader import (
    DIFFICULTY_OUTPUT,
    FOREIGN_OUTPUT,
    KIND_OUTPUTS,
    KINDS,
    LENGTH_OUTPUT,
    OUTPUTS,
    TASTE_OUTPUTS,
    TASTES,
    Floats,
    PromptReading,
)
from routoo_core.training.reader_targets import ReaderTargets

DIFFICULTY_UNIT = 6.0
"""Log-odds for a unit of difficulty, about the slope of the logistic curve where the experts are."""

_EXPERTS_ENOUGH = 8.0
"""Experts whose answers tell a prompt's difficulty about as well as a guess does."""
_ANSWERED_WEIGHT = 1.6
"""How much a prompt counts that very many experts answered; an example counts 1."""
_SAMPLE_OF_KIND = 400
_EXAMPLE_SHARE = 5.0
_STEM_LETTERS = 60
_NOT_LETTERS = re.compile(r"[\W_]+")


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
    """A prompt with a known kind and no scores."""

    text: str
    kind: str
    language: str


@dataclass(frozen=True, eq=False)
class Corpus:
    """All prompts one after the other: those of the sources, then the examples.

    Attributes:
        texts: The prompts.
        kinds: The skill each asks for; ``None`` where that is not known.
        languages: Two letters each.
        rows: Of each source.
        examples: How many of the last ones are examples.
    """

    texts: tuple[str, ...] = field(repr=False)
    kinds: tuple[str | None, ...] = field(repr=False)
    languages: tuple[str, ...] = field(repr=False)
    rows: tuple[slice, ...]
    examples: int

    @classmethod
    def join(cls, sources: Sequence[GeneralSource], examples: Sequence[KindExample]) -> Corpus:
        """Put them in a row."""
        texts: list[str] = []
        kinds: list[str | None] = []
        languages: list[str] = []
        rows = []
        for source in sources:
            rows.append(slice(len(texts), len(texts) + len(source.texts)))
            texts += source.texts
            kinds += source.kinds
            languages += source.languages
        for example in examples:
            texts.append(example.text)
            kinds.append(example.kind)
            languages.append(example.language)
        return cls(tuple(texts), tuple(kinds), tuple(languages), tuple(rows), len(examples))

    def split(self, reading: PromptReading) -> list[PromptReading]:
        """The part of each source of what was read of the whole corpus."""
        return [PromptReading(*(values[rows] for values in reading)) for rows in self.rows]


def make_targets(
    corpus: Corpus,
    sources: Sequence[GeneralSource],
    taste_source: str,
    offsets: Mapping[str, float],
) -> ReaderTargets:
    """What a reader should say of every prompt of the corpus."""
    values = np.full((len(corpus.texts), OUTPUTS), np.nan, np.float32)
    weights = np.ones(len(corpus.texts), np.float32)
    for source, rows in zip(sources, corpus.rows, strict=True):
        offset = offsets.get(source.name, 0.0) / DIFFICULTY_UNIT
        values[rows, DIFFICULTY_OUTPUT] = _surprise(source.scores) + offset
        weights[rows] = _trust(source.scores)
        values[rows, LENGTH_OUTPUT] = _mean_log_length(source.lengths)
        if source.name == taste_source:
            values[rows, TASTE_OUTPUTS] = _principal_tastes(source.scores)
    values[:, KIND_OUTPUTS] = _one_hot(corpus.kinds)
    values[:, FOREIGN_OUTPUT] = [float(language != "en") for language in corpus.languages]
    kind_weights = _kind_weights(corpus.kinds, corpus.examples)
    return ReaderTargets(values, weights, kind_weights, _groups(corpus.texts))


def _trust(scores: Floats) -> Floats:
    """How much each prompt counts: the more, the more experts answered it."""
    answers = np.isfinite(scores).sum(axis=1)
    trust: Floats = _ANSWERED_WEIGHT * answers / (answers + _EXPERTS_ENOUGH)
    return trust


def _surprise(scores: Floats) -> Floats:
    """How much better than usual the experts did on each prompt, (prompts,)."""
    surprise: Floats = np.nanmean(scores - np.nanmean(scores, axis=0), axis=1)
    return surprise


def _mean_log_length(lengths: Floats) -> Floats:
    """Of the answers to each prompt, experts that are always longer taken off; NaN where none is known."""
    has_length = np.isfinite(lengths)
    logs = np.log(np.where(has_length, np.maximum(lengths, 1.0), np.nan))
    counts = has_length.sum(axis=0)
    if not counts.any():
        return np.full(len(lengths), np.nan, np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        expert_means = np.nansum(logs, axis=0) / counts
        centre = np.nanmean(expert_means)
        adjusted_logs = logs - expert_means + centre
        mean: Floats = (np.nansum(adjusted_logs, axis=1) / has_length.sum(axis=1)).astype(
            np.float32
        )
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

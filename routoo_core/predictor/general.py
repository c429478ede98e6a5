"""The general predictor: for any prompt, and any expert whose ability comes from the catalogue, a file or labels.

    log-odds of a good answer = Σ_k P(kind k) · (slope_k · ability_k + ease_k) + difficulty + what labels add

as in item-response theory: what is learnt from prompts is what kind they are and how hard, which all experts share.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routoo_core.catalogue.entries import Ability
from routoo_core.catalogue.names import read_model_name
from routoo_core.catalogue.skills import SKILL_NUMBER, SKILL_TITLES, SKILLS
from routoo_core.expert_table import ExpertTable
from routoo_core.predictor.base import Forecast, Quality
from routoo_core.predictor.prompt_reader import (
    FORMS,
    KINDS,
    TASTES,
    Floats,
    PromptReader,
    PromptReading,
    Reader,
)

FOREIGN_SHARE = 0.5
"""How much the ability in other languages counts for a prompt that is in one."""

_PROBIT = np.pi / 8
"""How a standard deviation of log-odds pulls a probability to one half (MacKay's approximation)."""
_LONGEST_REPLY = 32_000.0
_KINDS_SHOWN = 3
_LEAST_SHOWN = 0.1
_LEAST_KEPT = 0.02
"""Likelihood of a kind below which a description leaves it out."""
_HALF = 0.5
_SURE = 0.005
"""Stands for a share of good answers of 0, and 1 less it for one of 1."""
_USUAL = 0.5
"""Log-odds within which a prompt is about as hard as usual."""


@dataclass(frozen=True, eq=False)
class AnswerModel:
    """From kind, difficulty and ability to quality.

    Attributes:
        slope: What a unit of ability is worth in log-odds, for each kind, (KINDS,).
        ease: Log-odds of an expert of ability 0, (KINDS,).
        difficulty: Log-odds for a unit of the reader's difficulty, for each kind; 0 where no data say how hard prompts
            of the kind are, (KINDS,).
        guess: Share of good answers that need no ability, for each kind, (KINDS,).
    """

    slope: Floats = field(repr=False)
    ease: Floats = field(repr=False)
    difficulty: Floats = field(repr=False)
    guess: Floats = field(repr=False)

    def ability_for(self, skill: str, quality: float) -> float:
        """The ability at which prompts of a kind and of usual difficulty are answered so well.

        Args:
            skill: The kind.
            quality: 0–1; the ends are pulled in, since no finite ability reaches them.
        """
        number = SKILL_NUMBER[skill]
        guess = float(self.guess[number])
        share = (quality - guess) / (1 - guess)
        share = min(max(share, _SURE), 1 - _SURE)
        log_odds = math.log(share / (1 - share))
        return (log_odds - float(self.ease[number])) / float(self.slope[number])


LABEL_ARRAYS = (
    "abilities",
    "constant",
    "kinds",
    "forms",
    "tastes",
    "difficulty",
    "log_length",
    "doubt",
)
"""The arrays of a :class:`LabelTable`."""


@dataclass(frozen=True, eq=False)
class LabelTable:
    """What labels add to the catalogue, expert by expert, in log-odds.

    Attributes:
        names: The experts that have labels, each once.
        abilities: What the catalogue said when the labels were learnt, (experts, KINDS); they add to that.
        constant: (experts,).
        kinds: For each kind, (experts, KINDS).
        forms: For texts with a few and with many answers to choose from, (experts, FORMS).
        tastes: (experts, TASTES).
        difficulty: What more a unit of difficulty is worth, (experts,).
        log_length: How much longer its answers are than others', in logarithms, (experts,).
        doubt: Share that is left of the ability's standard deviation: 0 once labels are many, (experts,).
    """

    names: tuple[str, ...]
    abilities: Floats = field(repr=False)
    constant: Floats = field(repr=False)
    kinds: Floats = field(repr=False)
    forms: Floats = field(repr=False)
    tastes: Floats = field(repr=False)
    difficulty: Floats = field(repr=False)
    log_length: Floats = field(repr=False)
    doubt: Floats = field(repr=False)

    @classmethod
    def join(cls, tables: Sequence[LabelTable]) -> LabelTable:
        """The rows of several tables, one after the other.

        Raises:
            ValueError: A name stands in two of them.
        """
        names: list[str] = []
        for table in tables:
            names += table.names
        check_label_names(names)
        arrays = {}
        for array in LABEL_ARRAYS:
            arrays[array] = np.concatenate([getattr(table, array) for table in tables])
        return cls(tuple(names), **arrays)

    def row(self, name: str) -> LabelTable:
        """A table of one expert's row.

        Raises:
            ValueError: It has none.
        """
        number = self.names.index(name)
        arrays = {array: getattr(self, array)[number : number + 1] for array in LABEL_ARRAYS}
        return LabelTable((name,), **arrays)

    def without(self, names: Collection[str]) -> LabelTable:
        """The table without the rows of some experts."""
        rows = [number for number, name in enumerate(self.names) if name not in names]
        arrays = {array: getattr(self, array)[rows] for array in LABEL_ARRAYS}
        return LabelTable(tuple(self.names[number] for number in rows), **arrays)

    def find(self, *names: str) -> tuple[str, ...]:
        """The rows of an expert, none where it has no labels.

        Args:
            names: What it may be called: a row's own name, else another spelling of the same model.
        """
        for name in names:
            if name in self.names:
                return (name,)
        keys = {read_model_name(name).key for name in names}
        return tuple(name for name in self.names if self.keys[name] in keys)

    @cached_property
    def keys(self) -> dict[str, str]:
        """Row → the key of its model."""
        return {name: read_model_name(name).key for name in self.names}


def check_label_names(names: Sequence[str]) -> None:
    """A name stands for one row.

    Raises:
        ValueError: One stands for two.
    """
    earlier: set[str] = set()
    for name in names:
        if name in earlier:
            raise ValueError(f"labels has two rows of {name!r}")
        earlier.add(name)


@dataclass(frozen=True, eq=False)
class DescribedExpert:
    """An expert to predict for.

    Attributes:
        name: The column of the prediction.
        ability: Of the expert.
        label_names: Its rows of :class:`LabelTable`; several are averaged.
        log_length: How much longer its answers are than those of others, in logarithms; labels know better.
    """

    name: str
    ability: Ability
    label_names: tuple[str, ...] = ()
    log_length: float = 0.0


@dataclass(frozen=True, eq=False)
class GeneralModel:
    """A checkpoint that predicts for any experts; :meth:`bind` names them.

    Attributes:
        reader: Prompt → kind and difficulty.
        answers: Kind, difficulty and ability → quality.
        labels: What labels add.
        reference: Readings of typical prompts, without their texts.
        trained: ``question_fingerprint`` of every prompt it learnt from.
        fingerprint: Of the files.
        folder: The checkpoint's.
        graded: Fingerprint of every graded call that it learnt from.
    """

    reader: Reader
    answers: AnswerModel
    labels: LabelTable
    reference: PromptReading
    trained: NDArray[np.uint64] = field(repr=False)
    fingerprint: str
    folder: Path
    graded: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64), repr=False)

    def bind(self, experts: Sequence[DescribedExpert]) -> GeneralPredictor:
        """The predictor of a pool."""
        return GeneralPredictor(self, experts)


class PromptDescription(NamedTuple):
    """What is read of one prompt.

    Attributes:
        kinds: The skills that it may ask for and their probabilities, likeliest first.
        difficulty: In log-odds, below 0 where it is harder than usual; ``None`` where nothing is known of such prompts.
        foreign: Share of it that is in another language than English, 0–1.
    """

    kinds: tuple[tuple[str, float], ...]
    difficulty: float | None
    foreign: float = 0.0

    def explain(self) -> str:
        """In a sentence."""
        parts = []
        for kind, share in self.kinds[:_KINDS_SHOWN]:
            if share >= _LEAST_SHOWN:
                parts.append(f"{SKILL_TITLES[kind]} {share:.0%}")
        kinds = ", ".join(parts)
        if self.difficulty is None:
            return f"Kind: {kinds}; how hard such prompts are is not known."
        return f"Kind: {kinds}; {self._beside_usual()}."

    def in_words(self) -> str:
        """In two or three words: the likeliest kind, and whether the prompt is harder or easier than usual."""
        likeliest, _ = self.kinds[0]
        name = likeliest.replace("_", " ")
        if self.difficulty is None or abs(self.difficulty) < _USUAL:
            return name
        return f"{name}, {'easier' if self.difficulty > 0 else 'harder'}"

    def _beside_usual(self) -> str:
        if self.difficulty is None or abs(self.difficulty) < _USUAL:
            return "about as hard as usual"
        return f"{'easier' if self.difficulty > 0 else 'harder'} than usual"


class GeneralPredictor:
    """Predicts for the experts that a :class:`GeneralModel` was bound to.

    Args:
        model: The checkpoint.
        experts: One for each column of the prediction.
    """

    def __init__(self, model: GeneralModel, experts: Sequence[DescribedExpert]) -> None:
        self.model = model
        self.described = tuple(experts)
        self.experts = tuple(expert.name for expert in experts)
        self.folder = model.folder
        self._labels = select_labels(model.labels, experts)
        self._ability = self._labels.abilities
        deviations = np.stack([expert.ability.deviation for expert in experts])
        self._variance = np.square(deviations * self._labels.doubt[:, None])
        digest = hashlib.sha256(model.fingerprint.encode())
        for expert in experts:
            digest.update(expert.name.encode())
            digest.update(expert.ability.mean.tobytes())
            digest.update(str(expert.label_names).encode())
        self.fingerprint = digest.hexdigest()[:16]

    @property
    def is_quick(self) -> bool:
        """Whether a prediction takes less time than gathering calls into batches would."""
        return isinstance(self.model.reader, PromptReader)

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Quality 0–1, shape (prompts, experts)."""
        return self.forecast(prompts).quality

    def forecast(self, prompts: Sequence[str]) -> Forecast:
        """Quality and lengths."""
        return self.forecast_reading(self.model.reader.read(prompts))

    def forecast_reading(self, reading: PromptReading) -> Forecast:
        """Quality and lengths of prompts that were read."""
        lengths = np.exp(reading.log_length[:, None] + self._labels.log_length)
        doubt = self._doubt(self._weighted_skills(reading))
        return Forecast(
            quality=self._quality(reading),
            lengths=np.clip(lengths, 1.0, _LONGEST_REPLY),
            kinds=reading.kinds,
            difficulty=self._difficulty(reading),
            deviation=np.sqrt(doubt),
            foreign=reading.foreign,
        )

    def reference_table(self) -> ExpertTable:
        """Predicted quality of typical prompts, prompts × experts, float32."""
        quality = self._quality(self.model.reference)
        row_ids = tuple(str(number) for number in range(len(quality)))
        return ExpertTable(row_ids, self.experts, quality)

    def _quality(self, reading: PromptReading) -> Quality:
        answers = self.model.answers
        skill_weights = self._weighted_skills(reading)
        log_odds = skill_weights @ self._ability.T
        doubt = self._doubt(skill_weights)
        kinds = reading.kinds
        effect = kinds @ answers.difficulty
        prompt_log_odds = kinds @ answers.ease + effect * reading.difficulty
        log_odds += prompt_log_odds[:, None]

        labels = self._labels
        log_odds += labels.constant + kinds @ labels.kinds.T + reading.forms @ labels.forms.T
        log_odds += reading.tastes @ labels.tastes.T
        log_odds += (effect * reading.difficulty)[:, None] * labels.difficulty

        log_odds /= np.sqrt(1 + _PROBIT * doubt)
        guess = (kinds @ answers.guess)[:, None]
        quality: Quality = (guess + (1 - guess) / (1 + np.exp(-log_odds))).astype(np.float32)
        return quality

    def _difficulty(self, reading: PromptReading) -> Floats:
        """In log-odds, NaN where most of the kinds have no data, (prompts,)."""
        has_data = self.model.answers.difficulty > 0
        effect = reading.kinds @ self.model.answers.difficulty
        is_known = reading.kinds @ has_data > _HALF
        difficulty: Floats = np.where(is_known, effect * reading.difficulty, np.nan)
        return difficulty

    def _weighted_skills(self, reading: PromptReading) -> Floats:
        """Log-odds that a unit of each ability is worth, (prompts, skills)."""
        return skill_weights(reading) * self.model.answers.slope

    def _doubt(self, skill_weights: Floats) -> Floats:
        """Variance of the log-odds by what is not known of the abilities, (prompts, experts)."""
        doubt: Floats = (skill_weights**2) @ self._variance.T
        return doubt


def describe_prompt(forecast: Forecast) -> PromptDescription | None:
    """What a general router read of the one prompt of a forecast; ``None`` from other predictors."""
    if forecast.kinds is None or forecast.difficulty is None:
        return None
    shares = forecast.kinds[0]
    kinds = []
    for number in np.argsort(-shares):
        share = round(float(shares[number]), 3)
        if share >= _LEAST_KEPT:
            kinds.append((SKILLS[number], share))
    difficulty = round(float(forecast.difficulty[0]), 3)
    return PromptDescription(
        kinds=tuple(kinds),
        difficulty=None if np.isnan(difficulty) else difficulty,
        foreign=0.0 if forecast.foreign is None else round(float(forecast.foreign[0]), 3),
    )


def skill_weights(reading: PromptReading) -> Floats:
    """How much each skill counts for each prompt: its kind, and other languages where it is in one."""
    share = FOREIGN_SHARE * reading.foreign[:, None]
    weights = reading.kinds * (1 - share)
    weights[:, SKILL_NUMBER["languages"]] += share[:, 0]
    return weights


def select_labels(labels: LabelTable, experts: Sequence[DescribedExpert]) -> LabelTable:
    """The rows of these experts; zeros, and all doubt, where one has no labels."""
    table = LabelTable(
        names=tuple(expert.name for expert in experts),
        abilities=np.stack([expert.ability.mean for expert in experts]),
        constant=np.zeros(len(experts), np.float32),
        kinds=np.zeros((len(experts), KINDS), np.float32),
        forms=np.zeros((len(experts), FORMS), np.float32),
        tastes=np.zeros((len(experts), TASTES), np.float32),
        difficulty=np.zeros(len(experts), np.float32),
        log_length=np.array([expert.log_length for expert in experts], np.float32),
        doubt=np.ones(len(experts), np.float32),
    )
    for number, expert in enumerate(experts):
        rows = [labels.names.index(name) for name in expert.label_names]
        if not rows:
            continue
        for name in LABEL_ARRAYS:
            getattr(table, name)[number] = getattr(labels, name)[rows].mean(axis=0)
    return table

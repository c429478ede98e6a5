"""The general predictor: any prompt, any expert of which the catalogue, a file or labels say how able it is.

    log-odds of a good answer = Σ_k P(kind k) · (slope_k · ability_k + ease_k) + difficulty + what labels add

as in item-response theory: what is learnt from prompts is what kind they are and how hard, which all experts share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from routoo_core.catalogue.entries import Ability
from routoo_core.catalogue.names import read_model_name
from routoo_core.catalogue.skills import SKILL_NUMBER, SKILL_TITLES, SKILLS
from routoo_core.errors import CheckpointError
from routoo_core.expert_table import ExpertTable
from routoo_core.predictor.base import Forecast, Quality
from routoo_core.predictor.checkpoint_folder import (
    CONFIG_FILE,
    REFERENCE_FILE,
    WEIGHTS_FILE,
    read_config_values,
)
from routoo_core.predictor.prompt_reader import (
    FORMS,
    KINDS,
    TASTES,
    Floats,
    PromptReader,
    PromptReading,
    check_reader,
)

FOREIGN_SHARE = 0.5
"""How much the ability in other languages counts for a prompt that is in one."""

_PROBIT = np.pi / 8
"""How a standard deviation of log-odds pulls a probability to one half (MacKay's approximation)."""
_LONGEST_REPLY = 32_000.0
_KINDS_SHOWN = 3
_LEAST_SHOWN = 0.1
_HALF = 0.5
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


@dataclass(frozen=True, eq=False)
class LabelTable:
    """What labels add to the catalogue, expert by expert, in log-odds.

    Attributes:
        names: The experts that have labels.
        abilities: What the catalogue said when the labels were learnt, (experts, KINDS); they add to that.
        constant: (experts,).
        kinds: For each kind, (experts, KINDS).
        forms: For texts with a few and with many answers to choose from, (experts, FORMS).
        tastes: (experts, TASTES).
        difficulty: What more a unit of difficulty is worth, (experts,).
        log_length: How much longer its answers are than others', in logarithms, (experts,).
    """

    names: tuple[str, ...]
    abilities: Floats = field(repr=False)
    constant: Floats = field(repr=False)
    kinds: Floats = field(repr=False)
    forms: Floats = field(repr=False)
    tastes: Floats = field(repr=False)
    difficulty: Floats = field(repr=False)
    log_length: Floats = field(repr=False)

    @classmethod
    def join(cls, tables: Sequence[LabelTable]) -> LabelTable:
        """The rows of several tables, one after the other."""
        names = tuple(name for table in tables for name in table.names)
        arrays = {}
        for array in _LABEL_ARRAYS:
            arrays[array] = np.concatenate([getattr(table, array) for table in tables])
        return cls(names, **arrays)

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
    """

    reader: PromptReader
    answers: AnswerModel
    labels: LabelTable
    reference: PromptReading
    trained: NDArray[np.uint64] = field(repr=False)
    fingerprint: str
    folder: Path

    def bind(self, experts: Sequence[DescribedExpert]) -> GeneralPredictor:
        """The predictor of a pool."""
        return GeneralPredictor(self, experts)


class PromptDescription(NamedTuple):
    """What is read of one prompt.

    Attributes:
        kinds: The likeliest skills that it asks for and their probabilities, likeliest first.
        difficulty: In log-odds, below 0 where it is harder than usual; ``None`` where nothing is known of such prompts.
        deviation: Expert → standard deviation of its quality in log-odds, by what the catalogue does not know.
    """

    kinds: tuple[tuple[str, float], ...]
    difficulty: float | None
    deviation: dict[str, float]

    def explain(self) -> str:
        """In a sentence."""
        kinds = ", ".join(f"{SKILL_TITLES[kind]} {share:.0%}" for kind, share in self.kinds)
        if self.difficulty is None:
            return f"Kind: {kinds}; how hard such prompts are is not known."
        if abs(self.difficulty) < _USUAL:
            return f"Kind: {kinds}; about as hard as usual."
        return f"Kind: {kinds}; {'easier' if self.difficulty > 0 else 'harder'} than usual."


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
        self._labels = _select_labels(model.labels, experts)
        self._ability = self._labels.abilities
        doubts = []
        for expert in experts:
            doubts.append(expert.ability.deviation * float(not expert.label_names))
        self._variance = np.square(np.stack(doubts))
        digest = hashlib.sha256(model.fingerprint.encode())
        for expert in experts:
            digest.update(expert.name.encode())
            digest.update(expert.ability.mean.tobytes())
            digest.update(str(expert.label_names).encode())
        self.fingerprint = digest.hexdigest()[:16]

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Quality 0–1, shape (prompts, experts)."""
        return self.forecast(prompts).quality

    def forecast(self, prompts: Sequence[str]) -> Forecast:
        """Quality and lengths."""
        return self.forecast_reading(self.model.reader.read(prompts))

    def forecast_reading(self, reading: PromptReading) -> Forecast:
        """Quality and lengths of prompts that were read."""
        lengths = np.exp(reading.log_length[:, None] + self._labels.log_length)
        return Forecast(self._quality(reading), np.clip(lengths, 1.0, _LONGEST_REPLY))

    def describe(self, prompt: str) -> PromptDescription:
        """What is read of a prompt, for people."""
        reading = self.model.reader.read([prompt])
        answers = self.model.answers
        kinds = reading.kinds[0]
        shown = []
        for number in np.argsort(-kinds)[:_KINDS_SHOWN]:
            if kinds[number] >= _LEAST_SHOWN:
                shown.append((SKILLS[number], float(kinds[number])))
        effect = float(kinds @ answers.difficulty)
        known = float(kinds @ (answers.difficulty > 0))
        difficulty = effect * float(reading.difficulty[0]) if known > _HALF else None
        deviations = np.sqrt(self._doubt(self._weighted_skills(reading))[0])
        deviation = dict(zip(self.experts, deviations.tolist(), strict=True))
        return PromptDescription(tuple(shown), difficulty, deviation)

    def reference_table(self) -> ExpertTable:
        """Predicted quality of typical prompts, prompts × experts, float32."""
        quality = self._quality(self.model.reference)
        row_ids = tuple(str(number) for number in range(len(quality)))
        return ExpertTable(row_ids, self.experts, quality)

    def _quality(self, reading: PromptReading) -> Quality:
        answers = self.model.answers
        weighted = self._weighted_skills(reading)
        log_odds = weighted @ self._ability.T
        doubt = self._doubt(weighted)
        kinds = reading.kinds
        effect = kinds @ answers.difficulty
        shared = kinds @ answers.ease + effect * reading.difficulty
        log_odds += shared[:, None]

        labels = self._labels
        log_odds += labels.constant + kinds @ labels.kinds.T + reading.forms @ labels.forms.T
        log_odds += reading.tastes @ labels.tastes.T
        log_odds += (effect * reading.difficulty)[:, None] * labels.difficulty

        log_odds /= np.sqrt(1 + _PROBIT * doubt)
        guess = (kinds @ answers.guess)[:, None]
        quality: Quality = (guess + (1 - guess) / (1 + np.exp(-log_odds))).astype(np.float32)
        return quality

    def _weighted_skills(self, reading: PromptReading) -> Floats:
        """Log-odds that a unit of each ability is worth, (prompts, skills)."""
        return skill_weights(reading) * self.model.answers.slope

    def _doubt(self, weighted: Floats) -> Floats:
        """Variance of the log-odds by what is not known of the abilities, (prompts, experts)."""
        doubt: Floats = (weighted**2) @ self._variance.T
        return doubt


def skill_weights(reading: PromptReading) -> Floats:
    """How much each skill counts for each prompt: its kind, and other languages where it is in one."""
    share = FOREIGN_SHARE * reading.foreign[:, None]
    weights = reading.kinds * (1 - share)
    weights[:, SKILL_NUMBER["languages"]] += share[:, 0]
    return weights


def _select_labels(labels: LabelTable, experts: Sequence[DescribedExpert]) -> LabelTable:
    """The rows of these experts; zeros where one has no labels."""
    table = LabelTable(
        names=tuple(expert.name for expert in experts),
        abilities=np.stack([expert.ability.mean for expert in experts]),
        constant=np.zeros(len(experts), np.float32),
        kinds=np.zeros((len(experts), KINDS), np.float32),
        forms=np.zeros((len(experts), FORMS), np.float32),
        tastes=np.zeros((len(experts), TASTES), np.float32),
        difficulty=np.zeros(len(experts), np.float32),
        log_length=np.array([expert.log_length for expert in experts], np.float32),
    )
    for number, expert in enumerate(experts):
        rows = [labels.names.index(name) for name in expert.label_names]
        if not rows:
            continue
        for name in _LABEL_ARRAYS:
            getattr(table, name)[number] = getattr(labels, name)[rows].mean(axis=0)
    return table


_LABEL_ARRAYS = ("abilities", "constant", "kinds", "forms", "tastes", "difficulty", "log_length")
_ANSWER_ARRAYS = ("slope", "ease", "difficulty", "guess")
_TRAINED = "trained"
_READER_ARRAYS = ("idf", "weight", "bucket_scale", "scale", "shape_weight", "bias")


def save_general(folder: Path, model: GeneralModel) -> None:
    """Write the weights and the reference; ``config.json``, card and metrics are the caller's."""
    arrays: dict[str, NDArray[np.generic]] = {}
    groups: Sequence[tuple[str, object, Sequence[str]]] = (
        ("reader", model.reader, _READER_ARRAYS),
        ("answers", model.answers, _ANSWER_ARRAYS),
        ("labels", model.labels, _LABEL_ARRAYS),
    )
    for group, values, names in groups:
        for name in names:
            arrays[f"{group}.{name}"] = np.ascontiguousarray(getattr(values, name))
    save_file(arrays, folder / WEIGHTS_FILE)

    reference: dict[str, NDArray[np.generic]] = {}
    for name, values in model.reference._asdict().items():
        reference[name] = np.ascontiguousarray(values.astype(np.float16))
    reference[_TRAINED] = np.unique(model.trained)
    save_file(reference, folder / REFERENCE_FILE)


def read_trained(folder: Path) -> NDArray[np.uint64]:
    """``question_fingerprint`` of every prompt that a checkpoint learnt from, without loading the rest.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    path = folder / REFERENCE_FILE
    try:
        with safe_open(path, framework="numpy") as stored:
            trained: NDArray[np.uint64] = stored.get_tensor(_TRAINED)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); copy the folder again") from error
    return trained


def load_general(folder: Path) -> GeneralModel:
    """Load a checkpoint of the general predictor; no PyTorch is needed.

    Raises:
        CheckpointError: A part is missing or damaged.
    """
    config = read_config_values(folder)
    path = folder / WEIGHTS_FILE
    try:
        arrays = load_file(path)
        reader = PromptReader(**_arrays_of(arrays, "reader", _READER_ARRAYS))
        check_reader(reader)
        answers = AnswerModel(**_arrays_of(arrays, "answers", _ANSWER_ARRAYS))
        names = tuple(str(name) for name in config["labels"])
        labels = LabelTable(names, **_arrays_of(arrays, "labels", _LABEL_ARRAYS))
        if len(labels.constant) != len(names):
            raise ValueError(
                f"labels.constant has {len(labels.constant)} rows for {len(names)} names"
            )
        path = folder / REFERENCE_FILE
        stored = load_file(path)
        trained = stored.pop(_TRAINED).astype(np.uint64)
        readings = PromptReading(
            **{name: array.astype(np.float32) for name, array in stored.items()}
        )
    except (OSError, SafetensorError, LookupError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: does not fit config.json ({reason}); copy the folder again"
        ) from error
    return GeneralModel(reader, answers, labels, readings, trained, _fingerprint(folder), folder)


def _arrays_of(
    arrays: Mapping[str, NDArray[np.generic]], group: str, names: Sequence[str]
) -> dict[str, Any]:
    return {name: arrays[f"{group}.{name}"] for name in names}


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]

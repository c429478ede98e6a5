"""Prompt → what kind it is, how hard, and how long its answer: linear in hashed n-grams, well below a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from routoo_core.catalogue.skills import SKILLS
from routoo_core.predictor.ngrams import (
    BUCKETS,
    WORD_BUCKETS,
    ngrams,
    shorten,
    text_shape,
)

Floats = NDArray[np.float32]

KINDS = len(SKILLS)
TASTES = 6
"""Directions in which experts differ beside the skills."""
OUTPUTS = 1 + KINDS + TASTES + 2
"""Difficulty, kinds, tastes, length and whether the text is in another language than English."""
DIFFICULTY_OUTPUT = 0
KIND_OUTPUTS = slice(1, 1 + KINDS)
TASTE_OUTPUTS = slice(1 + KINDS, 1 + KINDS + TASTES)
LENGTH_OUTPUT = OUTPUTS - 2
FOREIGN_OUTPUT = OUTPUTS - 1
FORMS = 2
"""Whether a text offers a few answers to choose from, or many."""

_CHARACTER_WEIGHT = 0.5
_SHAPE_WEIGHT = 0.3
_FIRST_FORM = 7
"""Where :func:`~routoo_core.predictor.ngrams.text_shape` has the forms."""


class PromptReading(NamedTuple):
    """What is read off some prompts, float32.

    Attributes:
        kinds: Probability of each skill, (prompts, skills), rows that sum to 1.
        difficulty: On the scale of log-odds, divided by six, (prompts,).
        tastes: (prompts, TASTES).
        forms: (prompts, FORMS), 0 or 1.
        log_length: Logarithm of the tokens of a typical expert's answer, (prompts,).
        foreign: How sure it is that the text is in another language than English, 0–1, (prompts,).
    """

    kinds: Floats
    difficulty: Floats
    tastes: Floats
    forms: Floats
    log_length: Floats
    foreign: Floats


class Reader(Protocol):
    """Says of prompts what they are."""

    def read(self, prompts: Sequence[str]) -> PromptReading:
        """Read prompts; thread-safe."""
        ...


class ReaderOutputs(NamedTuple):
    """What a reader computes for some prompts.

    Attributes:
        values: (prompts, OUTPUTS).
        forms: (prompts, FORMS).
    """

    values: Floats
    forms: Floats


@dataclass(frozen=True, eq=False)
class PromptReader:
    """The weights, as a checkpoint holds them.

    Attributes:
        idf: How rare each bucket is, float16, (BUCKETS,); 0 where it is not used.
        weight: int8, (BUCKETS, OUTPUTS).
        bucket_scale: Unit of each bucket's weights, float32, (BUCKETS,).
        scale: Unit of each output, float32, (OUTPUTS,).
        shape_weight: float32, (SHAPES, OUTPUTS).
        bias: float32, (OUTPUTS,).
    """

    idf: NDArray[np.float16] = field(repr=False)
    weight: NDArray[np.int8] = field(repr=False)
    bucket_scale: Floats = field(repr=False)
    scale: Floats = field(repr=False)
    shape_weight: Floats = field(repr=False)
    bias: Floats = field(repr=False)

    def read(self, prompts: Sequence[str]) -> PromptReading:
        """Read prompts; thread-safe."""
        outputs = self.outputs(prompts)
        return split_outputs(outputs.values, outputs.forms)

    def outputs(self, prompts: Sequence[str]) -> ReaderOutputs:
        """The figures that a reading is made of."""
        outputs = np.empty((len(prompts), OUTPUTS), dtype=np.float32)
        forms = np.empty((len(prompts), FORMS), dtype=np.float32)
        for number, prompt in enumerate(prompts):
            features = bag_of_ngrams(prompt, self.idf)
            rows = self.weight[features.buckets]
            values = features.values * self.bucket_scale[features.buckets]
            outputs[number] = (values @ rows.astype(np.float32)) * self.scale
            outputs[number] += features.shape @ self.shape_weight
            forms[number] = features.forms
        return ReaderOutputs(outputs + self.bias, forms)


class Features(NamedTuple):
    """What a reader computes with.

    Attributes:
        buckets: Those of the text's n-grams that are used, (n,).
        values: Their weights, float32, (n,).
        shape: Figures of the text's form, weighted, (SHAPES,).
        forms: (FORMS,).
    """

    buckets: NDArray[np.int64]
    values: Floats
    shape: Floats
    forms: Floats


def bag_of_ngrams(prompt: str, idf: NDArray[np.float16]) -> Features:
    """The n-grams of a text: more of the rare ones, and the same in total for texts of any length."""
    text = shorten(prompt)
    bag = ngrams(text)
    rarity = idf[bag.buckets].astype(np.float32)
    is_used = rarity > 0
    buckets = bag.buckets[is_used]
    values = (1 + np.log(bag.counts[is_used])) * rarity[is_used]

    words = int(np.searchsorted(buckets, WORD_BUCKETS))
    _normalise(values[:words], 1.0)
    _normalise(values[words:], _CHARACTER_WEIGHT)
    shape = text_shape(text)
    forms = shape[_FIRST_FORM : _FIRST_FORM + FORMS]
    return Features(buckets, values, shape * np.float32(_SHAPE_WEIGHT), forms)


def _normalise(values: Floats, length: float) -> None:
    norm = float(np.linalg.norm(values))
    if norm > 0:
        values *= length / norm


def split_outputs(outputs: Floats, forms: Floats) -> PromptReading:
    """What the outputs of a reader mean.

    Args:
        outputs: (prompts, OUTPUTS).
        forms: (prompts, FORMS).
    """
    kinds = outputs[:, KIND_OUTPUTS] - outputs[:, KIND_OUTPUTS].max(axis=1, keepdims=True)
    np.exp(kinds, out=kinds)
    kinds /= kinds.sum(axis=1, keepdims=True)
    return PromptReading(
        kinds=kinds,
        difficulty=outputs[:, DIFFICULTY_OUTPUT],
        tastes=outputs[:, TASTE_OUTPUTS],
        forms=forms,
        log_length=outputs[:, LENGTH_OUTPUT],
        foreign=np.clip(outputs[:, FOREIGN_OUTPUT], 0.0, 1.0),
    )


def check_reader(reader: PromptReader) -> None:
    """Refuse weights that do not fit this version.

    Raises:
        ValueError: A shape is another; the message names it.
    """
    if reader.weight.shape != (BUCKETS, OUTPUTS) or reader.idf.shape != (BUCKETS,):
        raise ValueError(
            f"reader.weight of shape {reader.weight.shape} is not {BUCKETS} buckets × {OUTPUTS}"
        )

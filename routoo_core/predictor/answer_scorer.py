"""How probably an answer is right: a small model that reads a prompt and an answer to it, in about a millisecond.

A cascade asks it after each step (FrugalGPT, arXiv 2305.05176, §3). It is a logistic regression on hashed n-grams of
both texts and on what form the answer has, with weights for each expert.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from routoo_core.answer import Answer
from routoo_core.comparison import Comparison, Form, comparison_of
from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.files import replacing_all
from routoo_core.predictor.calibration import logistic
from routoo_core.predictor.checkpoint_folder import CONFIG_FILE, read_config_values
from routoo_core.predictor.ngram_encoder import NgramEncoder, read_ngram_encoder
from routoo_core.request import RoutedRequest
from routoo_core.stated_answers import without_thoughts

SCORER = "answer-scorer"
"""In config.json: what kind of model the folder holds."""
SCORER_FILE = "scorer.safetensors"
SCORER_FILES = (CONFIG_FILE, SCORER_FILE)
_CONFIG_COPY = "config"
"""In the metadata of the weights: the text of the config.json that belongs to them."""

_FORMS: tuple[Form, ...] = ("choice", "number", "json")
_FIGURES = len(_FORMS) + 2

_PROMPT_ENCODER = NgramEncoder(256)
_ANSWER_ENCODER = NgramEncoder(64)

_DAMAGE = (OSError, SafetensorError, LookupError, ValueError, TypeError, ConfigurationError)
"""What is raised where a scorer's files are missing, damaged or do not belong together."""
_REASON_CHARACTERS = 200

Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class PromptFeatures:
    """A prompt as numbers.

    Attributes:
        vector: float32, (prompt_encoder.dim,).
        comparison: How answers to it are compared; ``None`` where they cannot be.
    """

    vector: Features = field(repr=False)
    comparison: Comparison | None


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Prompts and answers as numbers.

    Attributes:
        prompt_encoder: Reads prompts.
        answer_encoder: Reads answers.
    """

    prompt_encoder: NgramEncoder = _PROMPT_ENCODER
    answer_encoder: NgramEncoder = _ANSWER_ENCODER

    @property
    def dim(self) -> int:
        """How many numbers there are for a prompt and an answer together."""
        return self.prompt_encoder.dim + self.answer_encoder.dim + _FIGURES

    def read_prompt(self, request: RoutedRequest) -> PromptFeatures:
        """Of a prompt, which is read once for all answers to it."""
        vector: Features = self.prompt_encoder.encode([request.text])[0]
        return PromptFeatures(vector, comparison_of(request))

    def read_answer(self, prompt: PromptFeatures, answer: Answer) -> Features:
        """Of an answer, float32, (dim - prompt_encoder.dim,): its n-grams, its form, and whether it states anything."""
        comparison = prompt.comparison
        text = without_thoughts(answer.text)
        statement = None if comparison is None else comparison.statement(answer)
        figures = np.zeros(_FIGURES, dtype=np.float32)
        if comparison is not None:
            figures[_FORMS.index(comparison.form)] = 1.0
            figures[-2] = statement is None
        figures[-1] = not text.strip()
        # What is stated stands first, so that it is not lost among the words around it.
        vector = self.answer_encoder.encode([f"{statement or ''}\n{text}"])[0]
        return np.concatenate([vector, figures])


@dataclass(frozen=True)
class AnswerScorer:
    """Probabilities that answers are right; two of one fingerprint are equal.

    Attributes:
        experts: Whose answers it has learnt.
        weight: (experts, reader.dim).
        bias: (experts,).
        reader: Makes numbers of texts.
        folder: Where it is stored; ``None`` before that.
        fingerprint: Of its files.
    """

    experts: tuple[str, ...] = field(compare=False)
    weight: Features = field(repr=False, compare=False)
    bias: Features = field(repr=False, compare=False)
    reader: AnswerReader = field(default_factory=AnswerReader)
    folder: Path | None = field(default=None, compare=False)
    fingerprint: str = ""

    def for_prompt(self, request: RoutedRequest) -> PromptScorer:
        """Scores the answers to one call, whose prompt is read here."""
        return PromptScorer(self, self.reader.read_prompt(request))

    def check_experts(self, experts: Sequence[str]) -> None:
        """Refuse experts whose answers it has not learnt.

        Raises:
            ConfigurationError: The message names the first of them.
        """
        for expert in experts:
            if expert not in self.experts:
                raise ConfigurationError(
                    f"{self.folder}: has not learnt answers of {expert!r}, but of {', '.join(self.experts)}; fit it "
                    "again with `routoo plans fit-cascade`"
                )


@dataclass(frozen=True, slots=True)
class PromptScorer:
    """Scores the answers to one prompt.

    Attributes:
        scorer: The model.
        prompt: The prompt as it was read.
    """

    scorer: AnswerScorer
    prompt: PromptFeatures

    def probability(self, answer: Answer, expert: str) -> float:
        """How probably an answer is right, 0–1.

        Args:
            answer: What an expert said.
            expert: Its name; one of the scorer's.
        """
        scorer = self.scorer
        answer_features = scorer.reader.read_answer(self.prompt, answer)
        features = np.concatenate([self.prompt.vector, answer_features])
        row = scorer.experts.index(expert)
        return float(logistic(np.asarray(scorer.weight[row] @ features + scorer.bias[row])))


def save_scorer(folder: Path, scorer: AnswerScorer) -> None:
    """Write a scorer's two files, once both are whole; the folder is made where it is missing."""
    with replacing_all(folder, SCORER_FILES) as scratch:
        write_scorer_files(scratch, scorer)


def write_scorer_files(folder: Path, scorer: AnswerScorer) -> None:
    """Write a scorer's two files to a folder that nobody reads yet.

    The weights hold a copy of config.json, so that files of two fits do not pass for one scorer.
    """
    config = {
        "format": 1,
        "kind": SCORER,
        "experts": list(scorer.experts),
        "prompt_encoder": scorer.reader.prompt_encoder.fingerprint,
        "answer_encoder": scorer.reader.answer_encoder.fingerprint,
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    arrays = {
        "weight": np.ascontiguousarray(scorer.weight, dtype=np.float32),
        "bias": np.ascontiguousarray(scorer.bias, dtype=np.float32),
    }
    save_file(arrays, folder / SCORER_FILE, metadata={_CONFIG_COPY: text})


def load_scorer(folder: Path) -> AnswerScorer:
    """Load what :func:`save_scorer` wrote.

    Raises:
        CheckpointError: A file is missing or damaged, is another kind of model's, or the two are of different fits;
            the message names it.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: there is no such folder; `routoo plans fit-cascade --out {folder}` writes it"
        )
    config = read_config_values(folder)
    if config.get("kind") != SCORER:
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: kind: is not {SCORER!r}; name a folder that `routoo plans fit-cascade` wrote"
        )
    path = folder / SCORER_FILE
    try:
        scorer = _scorer_of(config, path)
        _check_scorer(scorer)
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:_REASON_CHARACTERS]
        raise CheckpointError(
            f"{path}: cannot be used ({reason}); copy the folder again, or fit it again"
        ) from error
    return replace(scorer, folder=folder, fingerprint=_fingerprint(folder))


def _scorer_of(config: Mapping[str, Any], path: Path) -> AnswerScorer:
    """The scorer of a config and its weights.

    Raises:
        ValueError: The weights were not written with this config; further errors are those of :data:`_DAMAGE`.
    """
    reader = AnswerReader(
        read_ngram_encoder(str(config["prompt_encoder"])),
        read_ngram_encoder(str(config["answer_encoder"])),
    )
    with safe_open(path, framework="numpy") as tensors:
        metadata = tensors.metadata() or {}
        weight = tensors.get_tensor("weight")
        bias = tensors.get_tensor("bias")
    if json.loads(metadata.get(_CONFIG_COPY, "null")) != config:
        raise ValueError(f"it was not written with this {CONFIG_FILE}")
    experts = tuple(str(name) for name in config["experts"])
    return AnswerScorer(experts, weight, bias, reader)


def _check_scorer(scorer: AnswerScorer) -> None:
    """Refuse weights of another shape, and such as are no numbers.

    Raises:
        ValueError: They are.
    """
    count = len(scorer.experts)
    if scorer.weight.shape != (count, scorer.reader.dim) or scorer.bias.shape != (count,):
        raise ValueError(f"weight has the shape {scorer.weight.shape}")
    if not np.isfinite(scorer.weight).all() or not np.isfinite(scorer.bias).all():
        raise ValueError("it holds values that are no finite numbers")


def _fingerprint(folder: Path) -> str:
    """Of a scorer's files."""
    digest = hashlib.sha256()
    for name in SCORER_FILES:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]

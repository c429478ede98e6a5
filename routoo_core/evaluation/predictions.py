"""What a checkpoint predicts for prompts that it did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routoo_core.assignment.predictions import PredictorLoader, predict_all
from routoo_core.errors import ConfigurationError
from routoo_core.evaluation.report import PromptCounts
from routoo_core.expert_table import ExpertTable
from routoo_core.loading import is_general, load_predictor
from routoo_core.measures.curve import Array
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.checkpoint_config import read_config
from routoo_core.predictor.general_checkpoint import read_trained
from routoo_core.predictor.reference import Reference, read_reference
from routoo_core.progress import Progress
from routoo_core.text import question_fingerprints

_NOT_HELD_OUT = -1


@dataclass(frozen=True, eq=False)
class CheckpointPredictions:
    """What a checkpoint predicts for prompts.

    Attributes:
        quality: Prompts × experts of the pool, 0–1.
        simple: What simple routers that learnt from the same prompts predicted, by name; empty unless all prompts
            were held out when the checkpoint was trained.
        seen: How the checkpoint knows the prompts.
    """

    quality: Array = field(repr=False)
    simple: Mapping[str, Array] = field(repr=False)
    seen: PromptCounts


def predict(
    folder: Path,
    outcomes: Outcomes,
    progress: Progress,
    force: bool = False,
    load: PredictorLoader = load_predictor,
) -> CheckpointPredictions:
    """What a checkpoint predicts for prompts that it did not learn from.

    A checkpoint keeps the predictions for the prompts that were held out when it was trained, made before it learnt
    from them too. Those are taken; for all other prompts it predicts now.

    Args:
        folder: The checkpoint.
        outcomes: The prompts, and the experts of the pool.
        progress: Where progress goes.
        force: Also predict for prompts it learnt from.
        load: Loads its predictor, if that is needed.

    Raises:
        ConfigurationError: It does not know an expert, or learnt from some of the prompts.
    """
    reference = _open_reference(folder)
    match = _match_prompts(reference, outcomes)
    _check(folder, outcomes, match, force)

    quality = np.empty((len(outcomes.prompts), len(outcomes.experts)))
    held_out = match.held_out
    if held_out.any():
        quality[held_out] = _read_held_out(reference, reference.quality, match, outcomes.experts)
    if not held_out.all():
        rows = np.flatnonzero(~held_out)
        prompts = [outcomes.prompts[row] for row in rows]
        quality[rows] = _predict_now(
            load(folder, tuple(outcomes.experts)), prompts, outcomes.experts, progress
        )

    simple = {}
    if held_out.all():
        for name, predicted in reference.simple.items():
            simple[name] = _read_held_out(reference, predicted.values, match, outcomes.experts)

    return CheckpointPredictions(quality, simple, match.counts())


def check_predictable(folder: Path, outcomes: Outcomes, force: bool = False) -> None:
    """Refuse what :func:`predict` would, without loading a model.

    Raises:
        ConfigurationError: See :func:`predict`.
    """
    _check(folder, outcomes, _match_prompts(_open_reference(folder), outcomes), force)


def _open_reference(folder: Path) -> Reference:
    """The held-out predictions of a checkpoint; a general one keeps none, only what it learnt from."""
    if not is_general(folder):
        return read_reference(folder)
    nothing = ExpertTable.empty((), ())
    prompts = np.empty(0, dtype=np.uint64)
    return Reference(nothing, nothing, prompts, read_trained(folder))


def _check(folder: Path, outcomes: Outcomes, match: _MatchedPrompts, force: bool) -> None:
    unknown = []
    if not is_general(folder):
        checkpoint_experts = read_config(folder).experts
        unknown = [name for name in outcomes.experts if name not in checkpoint_experts]
    if unknown:
        raise ConfigurationError(
            f"{folder}: does not know {', '.join(unknown)}; choose another pool"
        )
    trained_on = int(match.trained_on.sum())
    if trained_on and not force:
        raise ConfigurationError(
            f"{folder}: learnt from {trained_on} of these {len(outcomes.prompts)} prompts, so its figures "
            "would flatter; measure on others, or force a report that says so"
        )


@dataclass(frozen=True, eq=False)
class _MatchedPrompts:
    """Which prompts a checkpoint knows.

    Attributes:
        reference_row: Row of each prompt in the reference; ``_NOT_HELD_OUT`` where it has none.
        trained_on: Whether the checkpoint learnt from the prompt without predicting it before.
    """

    reference_row: NDArray[np.int64]
    trained_on: NDArray[np.bool_]

    @property
    def held_out(self) -> NDArray[np.bool_]:
        return np.not_equal(self.reference_row, _NOT_HELD_OUT)

    def counts(self) -> PromptCounts:
        held_out = int(self.held_out.sum())
        trained_on = int(self.trained_on.sum())
        new = len(self.reference_row) - held_out - trained_on
        return PromptCounts(held_out, new, trained_on)


def _match_prompts(reference: Reference, outcomes: Outcomes) -> _MatchedPrompts:
    fingerprints = question_fingerprints(outcomes.prompts)
    reference_row = _reference_rows(reference, fingerprints, outcomes.experts)
    learnt_from = np.isin(fingerprints, reference.trained)
    trained_on = learnt_from & (reference_row == _NOT_HELD_OUT)
    return _MatchedPrompts(reference_row, trained_on)


def _reference_rows(
    reference: Reference, fingerprints: NDArray[np.uint64], experts: Sequence[str]
) -> NDArray[np.int64]:
    """Row of each prompt in the reference; ``_NOT_HELD_OUT`` where it has none.

    Experts that were added later have no held-out predictions, so a pool with one of them has no rows at all.
    """
    if not set(experts) <= set(reference.experts):
        return np.full(len(fingerprints), _NOT_HELD_OUT)

    row_of = {}
    for row, fingerprint in enumerate(reference.prompts.tolist()):
        row_of[fingerprint] = row
    rows = [row_of.get(fingerprint, _NOT_HELD_OUT) for fingerprint in fingerprints.tolist()]
    return np.array(rows, dtype=np.int64)


def _read_held_out(
    reference: Reference,
    predicted: NDArray[np.float32],
    match: _MatchedPrompts,
    experts: Sequence[str],
) -> Array:
    """Predictions of a reference for the held-out prompts, held-out prompts × ``experts``."""
    rows = match.reference_row[match.held_out]
    columns = [reference.experts.index(name) for name in experts]
    held_out = predicted[rows][:, columns]
    return held_out.astype(np.float64)


def _predict_now(
    predictor: Predictor, prompts: Sequence[str], experts: Sequence[str], progress: Progress
) -> Array:
    """Predicted quality, prompts × ``experts``."""
    columns = [predictor.experts.index(name) for name in experts]
    quality = predict_all(predictor, prompts, progress)
    return quality[:, columns].astype(np.float64)

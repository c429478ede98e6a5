"""Loading the predictor that a name or a folder stands for, for the experts of a pool or of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from routoo_core.abilities import describe_names, describe_pool
from routoo_core.expert_table import ExpertTable
from routoo_core.experts import Pool
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.checkpoint_folder import GENERAL, read_algorithm_name
from routoo_core.predictor.general import GeneralPredictor
from routoo_core.predictor.general_checkpoint import load_general


def is_general(folder: Path) -> bool:
    """Whether a checkpoint predicts for any expert.

    Raises:
        CheckpointError: ``config.json`` is missing, damaged or of another format.
    """
    return read_algorithm_name(folder) == GENERAL


def load_predictor(folder: Path, experts: Pool | Sequence[str], device: str = "auto") -> Predictor:
    """Load a checkpoint; PyTorch only where it needs it.

    Args:
        folder: See :func:`~routoo_core.predictor.checkpoint_folder.find_router`.
        experts: Whom to predict for: a pool, or names. A checkpoint of the other algorithms has its own.
        device: Where an encoder runs.

    Raises:
        CheckpointError: A part of the checkpoint is missing or damaged.
        ConfigurationError: Nothing says how able an expert is.
    """
    if is_general(folder):
        model = load_general(folder, device)
        if isinstance(experts, Pool):
            return model.bind(describe_pool(experts, model.labels))
        return model.bind(describe_names(experts, model.labels))
    from routoo_core.predictor.checkpoint import load_checkpoint

    return load_checkpoint(folder, device)


def reference_table(folder: Path, predictor: Predictor) -> ExpertTable:
    """What the checkpoint predicts for typical prompts.

    Raises:
        CheckpointError: It holds none.
    """
    if isinstance(predictor, GeneralPredictor):
        return predictor.reference_table()
    from routoo_core.predictor.reference import read_reference

    return read_reference(folder).quality_table

"""Loading the predictor that a name or a folder stands for, for the experts of a pool or of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from routoo_core.abilities import describe_names, describe_plans, describe_pool
from routoo_core.errors import ConfigurationError
from routoo_core.expert_table import ExpertTable
from routoo_core.experts import Pool
from routoo_core.extras import needed_to
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.checkpoint_folder import GENERAL, read_algorithm_name
from routoo_core.predictor.general import GeneralPredictor
from routoo_core.predictor.general_checkpoint import load_general

if TYPE_CHECKING:
    from routoo_core.predictor.reference import Reference


def check_expert_names(pool: Pool, predictor_names: Sequence[str] | None) -> None:
    """Refuse experts that a router does not know.

    Args:
        pool: The experts.
        predictor_names: Those of the router; ``None`` where it does not list them.

    Raises:
        ConfigurationError: One is unknown.
    """
    if predictor_names is None:
        return
    unknown = [expert.predicted_as for expert in pool if expert.predicted_as not in predictor_names]
    if unknown:
        raise ConfigurationError(
            f"router_name: the router does not know {', '.join(map(repr, unknown))}; set router_name to one of "
            f"{', '.join(predictor_names)}"
        )


def check_plan_names(plans: Sequence[str], learnt_plans: Sequence[str] | None) -> None:
    """Refuse plans whose value a router has not learnt.

    Args:
        plans: Their names.
        learnt_plans: What the router predicts for; ``None`` where it does not list that.

    Raises:
        ConfigurationError: One is unknown.
    """
    for plan in plans:
        if learnt_plans is not None and plan not in learnt_plans:
            raise ConfigurationError(
                f"plans.{plan}: the router does not know what this plan is worth; teach it by "
                "`routoo plans fit`, or remove the plan"
            )


def is_general(folder: Path) -> bool:
    """Whether a checkpoint predicts for any expert.

    Raises:
        CheckpointError: ``config.json`` is missing, damaged or of another format.
    """
    return read_algorithm_name(folder) == GENERAL


def load_predictor(
    folder: Path,
    experts: Pool | Sequence[str],
    device: str = "auto",
    plans: Sequence[str] = (),
) -> Predictor:
    """Load a checkpoint; PyTorch only where it needs it.

    Args:
        folder: See :func:`~routoo_core.predictor.checkpoint_folder.find_router`.
        experts: Whom to predict for: a pool, or names. A checkpoint of the other algorithms has its own.
        device: Where an encoder runs.
        plans: Plans to predict for as well; a general router must have labels of them.

    Raises:
        CheckpointError: A part of the checkpoint is missing or damaged.
        ConfigurationError: Nothing says how able an expert is.
        MissingDependency: The checkpoint needs PyTorch, which is not installed.
    """
    if is_general(folder):
        model = load_general(folder, device)
        if isinstance(experts, Pool):
            check_plan_names(plans, model.labels.names)
            descriptions = describe_pool(experts, model)
            return model.bind([*descriptions, *describe_plans(plans, model.labels)])
        return model.bind(describe_names(experts, model.labels))
    with needed_to(f"load the router in {folder}"):
        from routoo_core.predictor.checkpoint import load_checkpoint

    return load_checkpoint(folder, device)


def reference_table(folder: Path, predictor: Predictor) -> ExpertTable:
    """What the checkpoint predicts for typical prompts.

    Raises:
        CheckpointError: It holds none.
    """
    if isinstance(predictor, GeneralPredictor):
        return predictor.reference_table()
    return held_out_reference(folder).quality_table


def held_out_reference(folder: Path) -> Reference:
    """The held-out predictions of a checkpoint that was trained on outcomes, with the observed scores.

    Raises:
        CheckpointError: An array is missing.
    """
    from routoo_core.predictor.reference import read_reference

    return read_reference(folder)

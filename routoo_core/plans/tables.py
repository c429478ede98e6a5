"""``[plans.NAME]`` in routoo.toml: the kinds that there are, how they are read, checked and written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from routoo_core.errors import ConfigurationError
from routoo_core.plans.cascade import Cascade
from routoo_core.plans.consensus import Consensus
from routoo_core.plans.mixture import Mixture
from routoo_core.plans.plan import Plan

PLANS: dict[str, type[Plan]] = {plan.kind: plan for plan in (Consensus, Cascade, Mixture)}
"""Kind in routoo.toml → plan."""


def read_plans(
    origin: str,
    tables: Mapping[str, Any],
    experts: Sequence[str],
    taken: Collection[str] = (),
    beside: Path | None = None,
) -> tuple[Plan, ...]:
    """The plans of ``[plans.NAME]`` tables.

    Args:
        origin: The file they stand in, for errors.
        tables: Name → table.
        experts: The names in the pool.
        taken: Other names that a call may give an expert.
        beside: The folder that relative paths start from; by default the current one.

    Raises:
        ConfigurationError: A kind or an expert is unknown, a field is out of range, or a scorer cannot be loaded.
    """
    plans = []
    for name, table in tables.items():
        place = f"{origin}: plans.{name}"
        if not isinstance(table, Mapping):
            raise ConfigurationError(f"{place}: is no table; write [plans.{name}]")
        values = dict(table)
        kind = PLANS.get(str(values.pop("kind", "")))
        if kind is None:
            raise ConfigurationError(f"{place}.kind: choose of {', '.join(PLANS)}")
        scorer = values.get("scorer")
        if isinstance(scorer, str) and beside is not None:
            values["scorer"] = str(beside / scorer)
        plans.append(kind.read(place, {"name": name, **values}))
    check_plans(plans, experts, origin, taken)
    return tuple(plans)


def check_plans(
    plans: Sequence[Plan],
    experts: Sequence[str],
    origin: str = "plans",
    taken: Collection[str] = (),
) -> None:
    """Refuse plans whose experts are not in the pool, whose names are taken, or that this machine cannot carry out.

    Args:
        plans: The plans.
        experts: The names in the pool.
        origin: The file they stand in, for errors.
        taken: Other names that a call may give an expert.

    Raises:
        ConfigurationError: The message names the plan and the remedy.
    """
    names = {*experts, *taken}
    for plan in plans:
        if plan.name in names:
            raise ConfigurationError(
                f"{origin}: plans.{plan.name}: an expert, its model or a plan has this name; choose another"
            )
        names.add(plan.name)
        plan.check_machine()
        for step in plan.steps:
            if step.expert not in experts:
                raise ConfigurationError(
                    f"{origin}: plans.{plan.name}: {step.expert!r} is not among the experts {', '.join(experts)}"
                )


def describe_plan(plan: Plan) -> dict[str, Any]:
    """A plan's table, as routoo.toml writes it, without its name.

    Raises:
        ConfigurationError: It is of a kind that no file can name, or its scorer is in no folder.
    """
    if PLANS.get(plan.kind) is not type(plan):
        kind = type(plan).__name__
        raise ConfigurationError(
            f"plans.{plan.name}: a {kind} object cannot be saved to a file; list its class in PLANS under its kind"
        )
    if isinstance(plan, Cascade) and plan.scorer is not None and plan.scorer.folder is None:
        raise ConfigurationError(
            f"plans.{plan.name}.scorer: is in no folder, so no file can name it; write it by save_scorer and load it"
        )
    table = plan.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
    return {"kind": plan.kind, **table}

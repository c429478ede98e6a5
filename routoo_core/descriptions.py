"""The parts of a router in routoo.toml's words: plain JSON values, no secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from routoo_core.budget.account import Budget
from routoo_core.budget.alerts import AlertRule
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Pool
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.batching import without_batching
from routoo_core.predictor.checkpoint_folder import name_of
from routoo_core.redaction import redacted_url


def describe_experts(pool: Pool) -> dict[str, Any]:
    """The experts' tables, by name.

    Raises:
        ConfigurationError: One is a native model object.
    """
    tables = {}
    for expert in pool:
        if expert.client is not None:
            part = f"expert {expert.name!r}"
            raise _no_description(part, expert.client, "describe it by its settings")
        tables[expert.name] = expert.model_dump(mode="json", exclude={"name"}, exclude_none=True)
    return tables


def describe_predictor(predictor: Predictor) -> str:
    """The name or the folder of a predictor's checkpoint.

    Raises:
        ConfigurationError: It has none.
    """
    predictor = without_batching(predictor)
    folder = getattr(predictor, "folder", None)
    if not isinstance(folder, Path):
        raise _no_description("router", predictor, "train one and name its folder")
    return name_of(folder)


def describe_alerts(rule: AlertRule) -> dict[str, Any]:
    """``[alerts]``.

    Raises:
        ConfigurationError: It holds a function or a secret.
    """
    if rule.callback is not None:
        raise _no_description("alerts.callback", rule.callback, "use a webhook")
    if rule.webhook is not None and redacted_url(rule.webhook) != rule.webhook:
        raise ConfigurationError(
            "alerts.webhook: the address contains a secret, and secrets are never written to a file. Put it in an "
            "environment variable and write ${NAME}"
        )
    return rule.model_dump(mode="json", exclude_none=True)


def describe_budget(budget: Budget) -> dict[str, Any]:
    """``[budget]``, without what it says of the ledger."""
    table = budget.model_dump(
        mode="json", exclude={"within", "members", "run_id"}, exclude_none=True
    )
    if budget.within:
        table["within"] = describe_budget(budget.within)
    table["members"] = [describe_budget(member) for member in budget.members]
    return table


def _no_description(part: str, value: object, remedy: str) -> ConfigurationError:
    kind = type(value).__name__
    return ConfigurationError(f"{part}: a {kind} object cannot be saved to a file; {remedy}")

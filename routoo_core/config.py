"""``routoo.toml`` → Router: the one file that knows every concrete class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.budget.pacing import Paced
from routoo_core.budget.redis import RedisLedger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Pool
from routoo_core.files import replacing
from routoo_core.latency import LatencyRule
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.router import SWITCH_MARGIN, Router
from routoo_core.selector import Best, Cheapest, Lagrangian, Policy, QualityFloor, Ratio
from routoo_core.settings import Settings, read_toml

POLICIES: dict[str, Callable[..., Policy | Paced]] = {
    "paced": Paced,
    "ratio": Ratio,
    "lagrangian": Lagrangian,
    "quality_floor": QualityFloor,
    "best": Best,
    "cheapest": Cheapest,
}
LEDGERS: dict[str, Callable[[str, Path], Ledger]] = {
    "memory": lambda url, beside: SqliteLedger(),
    "sqlite": lambda url, beside: SqliteLedger(
        str(beside / url.partition("://")[2].removeprefix("/"))
    ),
    "redis": lambda url, beside: RedisLedger(url),
    "rediss": lambda url, beside: RedisLedger(url),
    "unix": lambda url, beside: RedisLedger(url),
}
"""Scheme of ``budget.ledger`` → ledger, given the URL and the folder that relative paths start from."""
POLICY_WITHOUT_LIMIT = "ratio"
STARTER = Path(__file__).parent / "starter"  # a whole configuration: routoo.toml and experts.toml


class BudgetTable(Settings):
    """``[budget]`` in routoo.toml: the fields of Budget, and where the ledger lives."""

    account: str = "default"
    limit: Any = None
    period: str = "day"
    timezone: str = "UTC"
    expected_calls: int = 1000
    rolling: bool = False
    carry_over: bool = False
    within: Any = None
    ledger: str = "sqlite:///routoo.db"


class RoutooToml(Settings):
    """Everything ``routoo.toml`` may say."""

    router: str
    experts: str | dict[str, Any] = "experts.toml"
    policy: str | dict[str, Any] = "paced"
    on_exhausted: str = "refuse"
    strict: bool = False
    latency: LatencyRule | None = None
    switch_margin: float = SWITCH_MARGIN
    budget: BudgetTable = Field(default_factory=BudgetTable)


def read_config(path: str | Path) -> RoutooToml:
    """Read and check ``routoo.toml`` alone.

    Raises:
        ConfigurationError: The message names file, field and remedy.
    """
    return RoutooToml.read(str(path), read_toml(path))


def router_from_toml(
    path: str | Path, ledger: str | None = None, pool: Pool | None = None
) -> Router:
    """Build a router; relative paths in the file start from its folder.

    Args:
        path: ``routoo.toml``.
        ledger: Used instead of the one the file names.
        pool: Used instead of the experts the file names.

    Raises:
        ConfigurationError: Something in the file, or in a file it names, is wrong.
    """
    return _built(read_config(path), path, ledger, pool)


def router_from_config(config: Mapping[str, Any]) -> Router:
    """Build a router from what :func:`config_of` wrote; the same as routoo.toml, with the experts' tables inside.

    Raises:
        ConfigurationError: Something in it is wrong.
    """
    return _built(RoutooToml.read("config", config), "config")


def config_of(router: Router) -> dict[str, Any]:
    """A router in routoo.toml's words, with the experts' tables inside: plain JSON values, no secrets.

    Raises:
        ConfigurationError: The predictor, the policy or an expert is an object that has no words.
    """
    for expert in router.pool:
        if expert.client is not None:
            raise _wordless(f"expert {expert.name!r}", expert.client, "describe it by its settings")
    experts = {
        expert.name: expert.model_dump(mode="json", exclude={"name"}, exclude_none=True)
        for expert in router.pool
    }
    return {
        "router": _checkpoint_of(router.predictor),
        "experts": experts,
        "policy": _table_of(router.policy),
        "on_exhausted": router.on_exhausted,
        "strict": router.strict,
        "latency": router.latency and router.latency.model_dump(mode="json"),
        "switch_margin": router.switch_margin,
        "budget": {**_words_of(router.budget), "ledger": router.ledger.url},
    }


def read_pool(path: str | Path, config: RoutooToml) -> Pool:
    """The experts that routoo.toml holds, or those of the file it names.

    Raises:
        ConfigurationError: The message names file, expert and field.
    """
    if isinstance(config.experts, str):
        return Pool.from_toml(Path(path).parent / config.experts)
    return Pool.read(str(path), config.experts)


def _built(
    config: RoutooToml, path: str | Path, ledger: str | None = None, pool: Pool | None = None
) -> Router:
    budget, store = account_from_config(path, config, ledger)
    return build_router(
        pool or read_pool(path, config),
        router=config.router,
        policy=config.policy,
        budget=budget,
        ledger=store,
        on_exhausted=config.on_exhausted,
        strict=config.strict,
        latency=config.latency,
        switch_margin=config.switch_margin,
        beside=Path(path).parent,
    )


def _checkpoint_of(predictor: Predictor) -> str:
    inner = predictor.predictor if isinstance(predictor, BatchingPredictor) else predictor
    folder = getattr(inner, "folder", None)
    if not isinstance(folder, Path):
        raise _wordless("router", inner, "train one and name its folder")
    from routoo_core.predictor.checkpoint import name_of

    return name_of(folder)


def _table_of(policy: Policy | Paced) -> dict[str, Any]:
    name = next((name for name, kind in POLICIES.items() if type(policy) is kind), None)
    if name is None:
        raise _wordless("policy", policy, f"use one of {', '.join(POLICIES)}")
    return {"name": name, **(asdict(policy) if is_dataclass(policy) else {})}


def _words_of(budget: Budget) -> dict[str, Any]:
    within = budget.within and _words_of(budget.within)
    words = budget.model_dump(mode="json", exclude={"within", "run_id"}, exclude_none=True)
    return words if within is None else {**words, "within": within}


def _wordless(part: str, found: Any, remedy: str) -> ConfigurationError:
    return ConfigurationError(
        f"{part}: a {type(found).__name__} object cannot be written down; {remedy}"
    )


def account_from_config(
    path: str | Path, config: RoutooToml, ledger: str | None = None
) -> tuple[Budget, Ledger]:
    """The budget and the ledger a file names, without loading the predictor."""
    values = config.budget.model_dump(exclude={"ledger"})
    return Budget.read(f"{path}: budget", values), open_ledger(
        ledger or config.budget.ledger, Path(path).parent
    )


def build_router(
    pool: Pool,
    *,
    router: str | Path | Predictor,
    policy: str | Mapping[str, Any] | Policy | Paced | None = None,
    budget: Budget | None = None,
    ledger: str | Ledger = "memory://",
    on_exhausted: str = "refuse",
    strict: bool = False,
    latency: LatencyRule | None = None,
    switch_margin: float = SWITCH_MARGIN,
    beside: Path | None = None,
) -> Router:
    """Put the parts together, each given as an object or as routoo.toml would name it.

    Args:
        pool: The experts.
        router: A shipped router's name, a checkpoint's folder, or any predictor.
        policy: A name, a table with ``name`` and parameters, or a policy; by default ``paced`` where the budget
            has a limit, else the paper's ratio.
        budget: By default everything is booked and nothing limited.
        ledger: ``memory://``, ``sqlite:///path``, ``redis://…``, or a ledger.
        on_exhausted: ``refuse``, ``cheapest`` or an expert's name.
        strict: Refuse calls without ``max_tokens``.
        latency: What slow experts lose by it.
        switch_margin: Predicted quality by which another expert must be better than that of the turn before.
        beside: Folder that relative paths start from.
    """
    budget = budget or Budget()
    folder = None
    if isinstance(router, str | Path):
        from routoo_core.predictor.checkpoint import find_router, load_checkpoint

        folder = find_router(router, beside)
        predictor: Predictor = BatchingPredictor(load_checkpoint(folder))
    else:
        predictor = router
    chosen = make_policy(policy or ("paced" if budget.limit is not None else POLICY_WITHOUT_LIMIT))
    if isinstance(chosen, Paced) and folder is not None:
        chosen = _paced_with_reference(folder)
    store = open_ledger(ledger, beside) if isinstance(ledger, str) else ledger
    return Router(
        pool, predictor, chosen, budget, store, on_exhausted, strict, latency, switch_margin
    )


def make_policy(policy: str | Mapping[str, Any] | Policy | Paced) -> Policy | Paced:
    """A policy from its name, or from a table such as ``{name = "ratio", alpha = 0.1}``.

    Raises:
        ConfigurationError: Unknown name, or a parameter that is unknown, missing or out of range.
    """
    if not isinstance(policy, str | Mapping):
        return policy
    table = {"name": policy} if isinstance(policy, str) else dict(policy)
    name = table.pop("name", None)
    if name not in POLICIES:
        raise ConfigurationError(
            f"policy: {name!r} is unknown; choose one of {', '.join(POLICIES)}"
        )
    try:
        return POLICIES[name](**table)
    except TypeError as error:
        raise ConfigurationError(
            f"policy: {name}: {str(error).partition(') ')[2] or error}"
        ) from error


def set_budget(path: Path, changes: Mapping[str, Any]) -> Budget:
    """Change fields of ``[budget]`` in routoo.toml; comments and everything else stay as they are.

    Raises:
        ConfigurationError: The file would not be valid any more; it is left as it is.
    """
    import tomlkit

    read_config(path)
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    document.setdefault("budget", tomlkit.table()).update(changes)
    changed = RoutooToml.read(str(path), document.unwrap())
    budget = Budget.read(f"{path}: budget", changed.budget.model_dump(exclude={"ledger"}))
    with replacing(path) as partial:
        partial.write_text(tomlkit.dumps(document), encoding="utf-8")
    return budget


def open_ledger(url: str, beside: Path | None = None) -> Ledger:
    """Open ``memory://``, ``sqlite:///relative.db`` (``sqlite:////absolute.db``) or ``redis://host:6379/0``.

    Raises:
        ConfigurationError: Unknown kind, or the file or the server cannot be opened.
    """
    kind, separator, _ = url.partition("://")
    if not separator or kind not in LEDGERS:
        raise ConfigurationError(
            f"budget.ledger: {url!r} is unknown; use {', '.join(f'{k}://' for k in LEDGERS)}"
        )
    return LEDGERS[kind](url, beside or Path())


def _paced_with_reference(folder: Path) -> Paced:
    from routoo_core.predictor.checkpoint import read_reference

    reference = read_reference(folder)
    return Paced(reference.quality, reference.experts)

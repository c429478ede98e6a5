"""Tables of experts.toml that stand for several experts: one for each adapter of a model, or for each effort."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from routoo_core.catalogue.store import open_catalogue
from routoo_core.errors import ConfigurationError

_ABILITY_FIELDS = ("like", "scores", "ability")
"""What a table says of an ability that an adapter inherits."""


def expand_table(origin: str, name: str, values: Any) -> dict[str, Any]:
    """The tables that one table stands for, by the names of their experts; most stand for themselves.

    Args:
        origin: What errors name, such as a file.
        name: Of the table.
        values: What it says.

    Raises:
        ConfigurationError: ``adapters`` or ``efforts`` cannot be read.
    """
    tables = {}
    for own_name, own_values in _adapters_of(origin, name, values):
        tables.update(_efforts_of(origin, own_name, own_values))
    return tables


def _adapters_of(origin: str, name: str, values: Any) -> Iterator[tuple[str, Any]]:
    """A table, without its adapters, and one for each adapter, ``name-adapter``."""
    if not isinstance(values, dict) or "adapters" not in values:
        yield name, values
        return
    place = f"{origin}: experts.{name}: adapters"
    adapters = _read_adapters(place, values["adapters"])
    base = {field: value for field, value in values.items() if field != "adapters"}
    base = {"model": name, "server": name, **base}
    yield name, base
    heritage = {**base, **_inherited_ability(base)}
    for adapter, own in adapters.items():
        yield f"{name}-{adapter}", {**heritage, "model": adapter, **own}


def _read_adapters(place: str, adapters: Any) -> dict[str, dict[str, Any]]:
    """Adapter → what its own table says.

    Raises:
        ConfigurationError: They are neither a list of different names nor a table of tables.
    """
    if isinstance(adapters, dict):
        tables = dict(adapters)
    elif isinstance(adapters, list) and all(isinstance(name, str) for name in adapters):
        tables = {name: {} for name in adapters}
    else:
        tables = {}
    is_whole = len(tables) == len(adapters) if isinstance(adapters, list | dict) else False
    if is_whole and tables and all(name and isinstance(own, dict) for name, own in tables.items()):
        return tables
    raise ConfigurationError(
        f'{place}: write a list of different names, such as ["sql", "law"], or a table for each, such as '
        '{ sql = { model = "small-8b-sql" } }'
    )


def _inherited_ability(base: dict[str, Any]) -> dict[str, Any]:
    """An adapter is as able as the model it is trained on, where the catalogue knows that one."""
    if any(base.get(field) is not None for field in _ABILITY_FIELDS):
        return {}
    model = str(base["model"])
    return {"like": model} if open_catalogue().find(model) is not None else {}


def _efforts_of(origin: str, name: str, values: Any) -> dict[str, Any]:
    """A table with ``efforts`` as one for each of them, ``"name (effort)"``; any other as it is.

    Raises:
        ConfigurationError: ``efforts`` is no list of different words.
    """
    if not isinstance(values, dict) or "efforts" not in values:
        return {name: values}
    efforts = values["efforts"]
    is_list = isinstance(efforts, list) and all(isinstance(effort, str) for effort in efforts)
    if not is_list or not efforts or len(set(efforts)) < len(efforts):
        raise ConfigurationError(
            f'{origin}: experts.{name}: efforts: write a list without repetitions, such as ["low", "high"]'
        )
    if "effort" in values:
        raise ConfigurationError(f"{origin}: experts.{name}: set effort or efforts, not both")
    common_fields = {field: value for field, value in values.items() if field != "efforts"}
    tables = {}
    for effort in efforts:
        tables[f"{name} ({effort})"] = {"model": name, **common_fields, "effort": effort}
    return tables

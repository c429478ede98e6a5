"""The output of a step: its table, and a manifest that records the inputs, the settings and the counts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routoo_core import __version__
from routoo_core.errors import OutcomesError
from routoo_core.files import replacing
from routoo_core.tables import check_table_format, write_table

TableRow = Mapping[str, object]
"""Column → value; a row may lack columns that others have."""


@dataclass(frozen=True)
class Step:
    """What was done, for the manifest.

    Attributes:
        name: The command, such as ``"routoo data sample"``.
        settings: Its options; a seed is among them where there is one.
        inputs: The files it read, or what is known of what came from elsewhere.
        counts: What was kept, dropped and why.
    """

    name: str
    settings: Mapping[str, object]
    inputs: Sequence[Path | Mapping[str, object]] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What was done to what: ``<table>.manifest.json``.

    Attributes:
        step: What was done.
        inputs: Each with its SHA-256, or what is known of it.
        table: The table that was written.
        rows: How many it has.
        columns: Their names.
        sha256: Of its bytes.
        licences: Licence → rows.
    """

    step: Step
    inputs: Sequence[Mapping[str, object]]
    table: Path
    rows: int
    columns: Sequence[str]
    sha256: str
    licences: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        output = {
            "path": str(self.table),
            "rows": self.rows,
            "columns": list(self.columns),
            "sha256": self.sha256,
        }
        return {
            "step": self.step.name,
            "settings": _plain_settings(self.step),
            "routoo": __version__,
            "inputs": [dict(source) for source in self.inputs],
            "output": output,
            "counts": dict(self.step.counts),
            "licences": dict(self.licences),
        }


def write_step(
    path: Path, rows: Sequence[TableRow], step: Step, columns: Sequence[str] = ()
) -> Manifest:
    """Write rows, and beside them ``<path>.manifest.json``; each file whole or not at all.

    Args:
        path: Ends in .parquet or .csv.
        rows: What is left.
        step: What was done.
        columns: In this order; by default all there are, as they come.

    Raises:
        OutcomesError: No row is left.
        ConfigurationError: The suffix is another, or the file cannot be written.
    """
    check_table_format(path)
    if not rows:
        raise OutcomesError(f"{path}: no row is left to write; loosen the step's options")

    inputs = [_describe_input(source) for source in step.inputs]
    names = columns or _column_names(rows)
    table = {}
    for name in names:
        table[name] = [row.get(name) for row in rows]
    write_table(path, table)

    manifest = Manifest(
        step=step,
        inputs=inputs,
        table=path,
        rows=len(rows),
        columns=names,
        sha256=file_sha256(path),
        licences=_count_licences(rows),
    )
    text = json.dumps(manifest.to_dict(), indent=2, ensure_ascii=False)
    with replacing(manifest_path(path)) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
    return manifest


def is_written_by(path: Path, step: Step, exceptions: Collection[str] = ()) -> bool:
    """Whether an earlier run of the same step wrote a table that is unchanged since.

    Args:
        path: The table.
        step: The step; its counts do not matter.
        exceptions: Settings that may differ, such as the budget.
    """
    try:
        text = manifest_path(path).read_text(encoding="utf-8")
        manifest = json.loads(text)
        earlier = (manifest["step"], manifest["settings"], manifest["inputs"])
        sha256 = manifest["output"]["sha256"]
        is_unchanged = sha256 == file_sha256(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False

    inputs = [dict(_describe_input(source)) for source in step.inputs]
    now = (step.name, _comparable_settings(_plain_settings(step), exceptions), inputs)
    return is_unchanged and now == (
        earlier[0],
        _comparable_settings(earlier[1], exceptions),
        earlier[2],
    )


def _comparable_settings(
    settings: Mapping[str, object], exceptions: Collection[str]
) -> dict[str, object]:
    return {name: value for name, value in settings.items() if name not in exceptions}


def manifest_path(table: Path) -> Path:
    """Where the manifest of a table is."""
    name = f"{table.name}.manifest.json"
    return table.with_name(name)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe_input(source: Path | Mapping[str, object]) -> Mapping[str, object]:
    if isinstance(source, Path):
        return {"path": str(source), "sha256": file_sha256(source)}
    return source


def _column_names(rows: Sequence[TableRow]) -> list[str]:
    """Every column that a row has, in the order they first come."""
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return list(names)


def _count_licences(rows: Sequence[TableRow]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        licence = row.get("licence") or "unknown"
        counts[str(licence)] += 1
    return dict(counts.most_common())


def _plain_settings(step: Step) -> dict[str, object]:
    """The settings that a step has, as JSON has them."""
    settings = {}
    for name, value in step.settings.items():
        if value is not None:
            settings[name] = _plain_setting(value)
    return settings


def _plain_setting(value: object) -> object:
    """A setting as JSON has it: paths are text."""
    if isinstance(value, list | tuple):
        return [_plain_setting(item) for item in value]
    if isinstance(value, str | int | float | bool):
        return value
    return str(value)

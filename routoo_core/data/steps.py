"""What the steps share: rows in, rows out, a manifest beside them that says what was done to what."""

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
from routoo_core.tables import check_table_format, read_lines, read_table, write_table

Row = dict[str, Any]


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
    settings: Mapping[str, Any]
    inputs: Sequence[Path | Mapping[str, Any]] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


def read_rows(path: Path) -> list[Row]:
    """The rows of a Parquet, CSV or JSONL table, all columns as they are.

    Raises:
        OutcomesError: The file cannot be read, a line is no JSON object, or there is no row.
        MissingDependency: ``pyarrow`` is not installed.
    """
    rows: list[Row] = (
        read_lines(path) if path.suffix in {".jsonl", ".ndjson"} else read_table(path).to_pylist()
    )
    if not rows:
        raise OutcomesError(f"{path}: holds no row")
    return rows


def read_prompt_rows(path: Path) -> list[Row]:
    """The rows of a table of prompts, all columns kept, ``prompt_id`` as text.

    Raises:
        OutcomesError: No ``prompt_id`` or ``prompt``, an empty prompt, an id given twice.
    """
    rows, seen = read_rows(path), set[str]()
    for number, row in enumerate(rows, start=1):
        for name in ("prompt_id", "prompt"):
            if name not in row:
                raise OutcomesError(
                    f"{path}: row {number}: column {name!r} is missing; found {', '.join(row)}"
                )
        if row["prompt_id"] is None or not str(row["prompt"] or "").strip():
            raise OutcomesError(f"{path}: row {number}: prompt_id or prompt is empty")
        row["prompt_id"], row["prompt"] = str(row["prompt_id"]), str(row["prompt"])
        if row["prompt_id"] in seen:
            raise OutcomesError(
                f"{path}: row {number}: prompt_id {row['prompt_id']!r} was given before"
            )
        seen.add(row["prompt_id"])
    return rows


def write_step(
    path: Path, rows: Sequence[Row], step: Step, columns: Collection[str] = ()
) -> dict[str, Any]:
    """Write rows, and beside them ``<path>.manifest.json``; each file whole or not at all.

    Args:
        path: Ends in .parquet or .csv.
        rows: What is left.
        step: What was done.
        columns: In this order; by default all there are, as they come.

    Returns:
        The manifest: step, settings, version, inputs and output with SHA-256 and rows, counts, licences.

    Raises:
        OutcomesError: No row is left.
        ConfigurationError: The suffix is another, or the file cannot be written.
    """
    check_table_format(path)
    if not rows:
        raise OutcomesError(f"{path}: no row is left to write; loosen the step's options")
    names = list(columns or dict.fromkeys(name for row in rows for name in row))
    inputs = [
        {"path": str(source), "sha256": sha256(source)}
        if isinstance(source, Path)
        else dict(source)
        for source in step.inputs
    ]
    write_table(path, {name: [row.get(name) for row in rows] for name in names})
    licences = Counter(str(row["licence"]) if row.get("licence") else "unknown" for row in rows)
    manifest = {
        "step": step.name,
        "settings": {
            key: _plain(value) for key, value in step.settings.items() if value is not None
        },
        "routoo": __version__,
        "inputs": inputs,
        "output": {"path": str(path), "rows": len(rows), "columns": names, "sha256": sha256(path)},
        "counts": dict(step.counts),
        "licences": dict(licences.most_common()),
    }
    with replacing(manifest_of(path)) as partial:
        partial.write_text(
            json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    return manifest


def manifest_of(path: Path) -> Path:
    """Where the manifest of a table is."""
    return path.with_name(path.name + ".manifest.json")


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def drawn(rows: Sequence[Row], count: int, seed: int) -> set[str]:
    """Ids of ``count`` rows, by a hash of seed and id: neither order nor other rows change whether one comes first."""
    ids = [str(row["prompt_id"]) for row in rows]
    return set(
        sorted(ids, key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest())[:count]
    )


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) else str(value)

"""CSV, Parquet and JSONL tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routoo_core.errors import MissingDependency, OutcomesError

if TYPE_CHECKING:
    import pyarrow as pa


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file, one a line.

    Raises:
        OutcomesError: The file cannot be read, or a line is no JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OutcomesError(
            f"{path}: cannot be read ({error}); give a JSONL file in UTF-8"
        ) from error
    rows = []
    for number, line in enumerate(text.rstrip().split("\n") if text.strip() else [], start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise OutcomesError(f"{path}: line {number}: no JSON ({error})") from error
        if not isinstance(row, dict):
            raise OutcomesError(f"{path}: line {number}: no JSON object but {type(row).__name__}")
        rows.append(row)
    return rows


def read_columns(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """Columns of a Parquet or CSV table.

    Raises:
        OutcomesError: The file cannot be read, or a required column is missing.
        MissingDependency: ``pyarrow`` is not installed.
    """
    table = read_table(path)
    if missing := [name for name in required if name not in table.column_names]:
        raise OutcomesError(
            f"{path}: column {missing[0]!r} is missing; found {', '.join(table.column_names)}"
        )
    wanted = [*required, *(name for name in optional if name in table.column_names)]
    return {name: table[name].to_pylist() for name in wanted}


def read_table(path: Path) -> pa.Table:
    """A Parquet or CSV table as it is.

    Raises:
        OutcomesError: The file cannot be read.
        MissingDependency: ``pyarrow`` is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError as error:
        raise MissingDependency("pyarrow", "data", "read tables of outcomes") from error
    try:
        return parquet.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
    except (OSError, pa.ArrowException) as error:
        raise OutcomesError(
            f"{path}: cannot be read ({error}); give a Parquet or CSV file"
        ) from error


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """``prompt_id, model`` (text) and ``score`` (float64) of an outcomes table that may be larger than memory.

    Raises:
        OutcomesError: The file cannot be read, or a column is missing.
        MissingDependency: ``pyarrow`` is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError as error:
        raise MissingDependency("pyarrow", "data", "read tables of outcomes") from error
    schema = pa.schema(
        [("prompt_id", pa.string()), ("model", pa.string()), ("score", pa.float64())]
    )
    try:
        if path.suffix == ".parquet":
            batches = parquet.ParquetFile(path).iter_batches(columns=schema.names)
        else:
            convert = csv.ConvertOptions(include_columns=schema.names, column_types=schema)
            batches = iter(csv.open_csv(path, convert_options=convert))
        for batch in batches:
            if missing := [name for name in schema.names if name not in batch.schema.names]:
                raise OutcomesError(
                    f"{path}: column {missing[0]!r} is missing; found {', '.join(batch.schema.names)}"
                )
            yield batch.select(schema.names).cast(schema)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise OutcomesError(
            f"{path}: cannot be read ({error}); give prompt_id, model, score"
        ) from error

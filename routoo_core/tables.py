"""Tables of prompts, outcomes and results: CSV, Parquet and JSONL files, read and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routoo_core.errors import ConfigurationError, MissingDependency, OutcomesError
from routoo_core.files import replacing
from routoo_core.text import first_duplicate, parse_json

if TYPE_CHECKING:
    import pyarrow as pa

_FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")
FORMATS = (".parquet", ".csv")
NAME_COLUMNS = ("prompt_id", "model")
"""Columns that name something. They are text, also where a file holds numbers in them."""
TEXT_COLUMNS = (*NAME_COLUMNS, "prompt", "domain", "split", "benchmark")
"""Columns that are text in a CSV file, whatever they look like: ``007`` stays ``007``."""


# Reading


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file, one a line.

    Raises:
        OutcomesError: The file cannot be read, or a line is not a JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OutcomesError(
            f"{path}: cannot be read ({error}); give a JSONL file in UTF-8"
        ) from error
    if not text.strip():
        return []

    rows = []
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        try:
            row = parse_json(line)
        except ValueError as error:
            raise OutcomesError(f"{path}: line {number}: no JSON ({error})") from error
        if not isinstance(row, dict):
            raise OutcomesError(f"{path}: line {number}: no JSON object but {type(row).__name__}")
        rows.append(row)
    return rows


def read_columns(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """Columns of a Parquet or CSV table by name; an optional column may be absent.

    Raises:
        OutcomesError: The file cannot be read, or a required column is missing.
        MissingDependency: ``pyarrow`` is not installed.
    """
    table = read_table(path)
    for name in required:
        if name not in table.column_names:
            raise _missing_column(path, name, table.column_names)

    present = [name for name in optional if name in table.column_names]
    return {name: table[name].to_pylist() for name in (*required, *present)}


def read_table(path: Path) -> pa.Table:
    """A Parquet or CSV table; ``prompt_id`` and ``model`` are text, everything else is as it is.

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
        if path.suffix == ".parquet":
            table = parquet.read_table(path)
        else:
            text_columns = dict.fromkeys(TEXT_COLUMNS, pa.string())
            options = csv.ConvertOptions(column_types=text_columns)
            table = csv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowException) as error:
        raise OutcomesError(
            f"{path}: cannot be read ({error}); give a Parquet or CSV file"
        ) from error
    duplicate = first_duplicate(table.column_names)
    if duplicate is not None:
        raise OutcomesError(f"{path}: column {duplicate!r} is there twice; rename one of them")
    return _with_text_names(table) if path.suffix == ".parquet" else table


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Batches of an outcomes table that may be larger than memory.

    Yields:
        Batches of the columns ``prompt_id``, ``model`` (text) and ``score`` (float64).

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
            options = csv.ConvertOptions(include_columns=schema.names, column_types=schema)
            batches = iter(csv.open_csv(path, convert_options=options))

        for batch in batches:
            for name in schema.names:
                if name not in batch.schema.names:
                    raise _missing_column(path, name, batch.schema.names)
            yield batch.select(schema.names).cast(schema)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise OutcomesError(
            f"{path}: cannot be read ({error}); give prompt_id, model, score"
        ) from error


def _with_text_names(table: pa.Table) -> pa.Table:
    """The table with numbers among its names as text."""
    import pyarrow as pa

    for name in NAME_COLUMNS:
        index = table.schema.get_field_index(name)
        if index >= 0 and pa.types.is_primitive(table.schema.field(index).type):
            text = table.column(index).cast(pa.string())
            table = table.set_column(index, name, text)
    return table


def _missing_column(path: Path, name: str, present: Sequence[str]) -> OutcomesError:
    columns = ", ".join(present)
    return OutcomesError(f"{path}: column {name!r} is missing; found {columns}")


# Writing


def check_table_format(path: Path) -> None:
    """Refuse a file that :func:`write_table` could not write.

    Raises:
        ConfigurationError: The suffix is neither ``.parquet`` nor ``.csv``.
    """
    if path.suffix not in FORMATS:
        raise ConfigurationError(
            f"{path} ends in {path.suffix!r}; end it in {' or '.join(FORMATS)}"
        )


def spreadsheet_text(text: str) -> str:
    """A text that no spreadsheet takes for a formula: what could begin one is put behind an apostrophe.

    >>> spreadsheet_text("=1+1"), spreadsheet_text("alice")
    ("'=1+1", 'alice')
    """
    return f"'{text}" if text.startswith(_FORMULA_BEGINNINGS) else text


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of equal length as Parquet or CSV, by the suffix; whole or not at all.

    Args:
        path: Replaced if it is there; its folder is made.
        columns: Lists, NumPy arrays or Arrow arrays by name.

    Raises:
        ConfigurationError: The suffix is another, or the file cannot be written.
        MissingDependency: ``pyarrow`` is not installed.
    """
    check_table_format(path)
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError as error:
        raise MissingDependency("pyarrow", "data", "write tables") from error

    table = pa.table(dict(columns))
    try:
        with replacing(path) as partial:
            if path.suffix == ".parquet":
                parquet.write_table(table, partial)
            else:
                csv.write_csv(table, partial)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written ({error}); choose another place"
        ) from error


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows as :func:`write_table` does; a row without a column has no value there.

    Args:
        path: Replaced if it is there; its folder is made.
        rows: Values by column.
        columns: In this order; by default all there are, in the order they come.

    Raises:
        ConfigurationError: See :func:`write_table`.
        MissingDependency: ``pyarrow`` is not installed.
    """
    names = columns or column_names(rows)
    table = {}
    for name in names:
        table[name] = [row.get(name) for row in rows]
    write_table(path, table)


def column_names(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The columns of rows, in the order they come."""
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return tuple(names)

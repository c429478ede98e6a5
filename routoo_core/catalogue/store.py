"""The catalogue's file: one SQLite database, read without a network."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_data_path

from routoo_core.catalogue.ability_fit import Scale
from routoo_core.catalogue.entries import Ability, BenchmarkColumn, ModelFacts, PublishedScore
from routoo_core.catalogue.names import EFFORTS, Effort, looser_keys, read_model_name
from routoo_core.catalogue.skills import SKILLS
from routoo_core.errors import ConfigurationError
from routoo_core.files import replacing

SHIPPED = Path(__file__).parent / "catalogue.sqlite"
FORMAT = 1

_FACT_NAMES = tuple(field.name for field in fields(ModelFacts))
_SCALE_NAMES = tuple(field.name for field in fields(Scale))
_SCHEMA = f"""
CREATE TABLE models ({", ".join(_FACT_NAMES)}, PRIMARY KEY (key)) WITHOUT ROWID;
CREATE TABLE aliases (alias PRIMARY KEY, key) WITHOUT ROWID;
CREATE TABLE benchmarks (number INTEGER PRIMARY KEY, benchmark, category, kind, unit, collection);
CREATE TABLE sources (number INTEGER PRIMARY KEY, source UNIQUE);
CREATE TABLE scores (key, effort, benchmark INTEGER, score REAL, date, source INTEGER);
CREATE INDEX scores_of_model ON scores (key, effort);
CREATE TABLE abilities (key, effort, mean BLOB, deviation BLOB, scores INTEGER, latest, PRIMARY KEY (key, effort))
    WITHOUT ROWID;
CREATE TABLE scale (name PRIMARY KEY, shape, content BLOB) WITHOUT ROWID;
"""
_SCORES = (
    "SELECT key, effort, benchmarks.benchmark, category, kind, score, unit, collection, date, sources.source"
    " FROM scores JOIN benchmarks ON scores.benchmark = benchmarks.number"
    " JOIN sources ON scores.source = sources.number"
)
"""The fields of :class:`PublishedScore`, in their order."""


@dataclass(frozen=True, eq=False)
class CatalogueContent:
    """Everything that a catalogue's file is written from.

    Attributes:
        models: A row for each model.
        aliases: Another key of a model → its key.
        scores: Those that were used.
        columns: The benchmarks' columns, in the order of the scale.
        abilities: Model and effort → ability.
        scale: The fitted model.
    """

    models: Sequence[ModelFacts]
    aliases: dict[str, str]
    scores: Sequence[PublishedScore]
    columns: Sequence[BenchmarkColumn]
    abilities: dict[tuple[str, Effort], Ability]
    scale: Scale


class Catalogue:
    """Looks models up by name. Thread-safe; a look-up takes well under a millisecond.

    ::

        catalogue = open_catalogue()
        catalogue.find("anthropic/claude-haiku-4.5").context_window

    Args:
        path: The file.

    Raises:
        ConfigurationError: It cannot be read, or is of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = _open(path)

    def find(self, name: str) -> ModelFacts | None:
        """The model of a name, however it is written; ``None`` where the catalogue has none like it."""
        key = self.key_of(name)
        return None if key is None else self._facts(key)

    def key_of(self, name: str) -> str | None:
        """The key of a model of the catalogue."""
        key = read_model_name(name).key
        for candidate in (key, *looser_keys(key)):
            row = self._one("SELECT key FROM aliases WHERE alias = ?", candidate)
            if row is not None:
                return str(row[0])
        return None

    def ability(self, name: str, effort: Effort | None = None) -> Ability | None:
        """How able a model is; ``None`` where the catalogue does not have it.

        Args:
            name: However it is written; ``gpt-5.4-high`` names an effort too.
            effort: Counts before that in the name.
        """
        key = self.key_of(name)
        if key is None:
            return None
        own_effort = effort or read_model_name(name).effort
        for candidate in (own_effort, "default", *EFFORTS):
            row = self._one(
                "SELECT mean, deviation, scores, latest FROM abilities WHERE key = ? AND effort = ?",
                key,
                candidate,
            )
            if row is not None:
                return _read_ability(row, key, candidate)
        return None

    def scores(self, name: str) -> list[PublishedScore]:
        """The published scores of a model, newest first."""
        key = self.key_of(name)
        rows = self._all(f"{_SCORES} WHERE key = ? ORDER BY date DESC", key)
        return [PublishedScore(*row) for row in rows]

    def columns(self) -> list[BenchmarkColumn]:
        """The columns of comparable scores, in the order of the scale."""
        rows = self._all("SELECT benchmark, category, kind FROM benchmarks ORDER BY number")
        return [BenchmarkColumn(*map(str, row)) for row in rows]

    def scale(self) -> Scale:
        """The fitted model behind the abilities."""
        arrays = {}
        for name, shape, content in self._all("SELECT name, shape, content FROM scale"):
            sizes = [int(size) for size in str(shape).split()]
            arrays[name] = (
                np.frombuffer(content, dtype=np.float32).astype(np.float64).reshape(sizes)
            )
        return Scale(**arrays)

    def models(self) -> Iterator[ModelFacts]:
        """Every model, by key."""
        for row in self._all(f"SELECT {', '.join(_FACT_NAMES)} FROM models ORDER BY key"):  # noqa: S608
            yield _read_facts(row)

    def nearest_names(self, name: str, count: int = 3) -> list[str]:
        """Titles of the models whose names are most like another."""
        key = read_model_name(name).key
        keys = [str(row[0]) for row in self._all("SELECT key FROM models")]
        titles = []
        for near in get_close_matches(key, keys, count, cutoff=0.5):
            titles.append(self._facts(near).title)
        return titles

    def all_scores(self) -> list[PublishedScore]:
        """Every score it holds."""
        return [PublishedScore(*row) for row in self._all(_SCORES)]

    def _facts(self, key: str) -> ModelFacts:
        row = self._one(f"SELECT {', '.join(_FACT_NAMES)} FROM models WHERE key = ?", key)  # noqa: S608
        if row is None:
            raise ConfigurationError(f"{self.path}: model {key!r} is missing; build the file again")
        return _read_facts(row)

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._all(query, *values)
        return rows[0] if rows else None

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            with closing(self._connection.execute(query, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise ConfigurationError(f"{self.path}: cannot be read ({error}); {_REMEDY}") from error


_REMEDY = "install Routoo again, or remove the file if you made it by 'routoo catalogue update'"


def own_catalogue_path() -> Path:
    """Where ``routoo catalogue update`` writes: ``$ROUTOO_CATALOGUE``, else the user's data folder."""
    path = os.environ.get("ROUTOO_CATALOGUE")
    if path:
        return Path(path)
    return user_data_path("routoo", appauthor=False) / SHIPPED.name


def open_catalogue() -> Catalogue:
    """The user's own catalogue where there is one, else the one that ships.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    own = own_catalogue_path()
    path = own if own.is_file() else SHIPPED
    return _cached_catalogue(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _cached_catalogue(path: Path, changed_ns: int) -> Catalogue:
    return Catalogue(path)


def _open(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise ConfigurationError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
    if version != FORMAT:
        connection.close()
        raise ConfigurationError(
            f"{path}: is of format {version}, this Routoo reads {FORMAT}; {_REMEDY}"
        )
    return connection


def _read_facts(row: Sequence[Any]) -> ModelFacts:
    values = dict(zip(_FACT_NAMES, row, strict=True))
    for name in ("is_open", "reasons", "calls_tools"):
        if values[name] is not None:
            values[name] = bool(values[name])
    return ModelFacts(**values)


def _read_ability(row: Sequence[Any], key: str, effort: str) -> Ability:
    mean, deviation, scores, latest = row
    variant = key if effort == "default" else f"{key}, effort {effort}"
    return Ability(
        np.frombuffer(mean, dtype=np.float16).astype(np.float32),
        np.frombuffer(deviation, dtype=np.float16).astype(np.float32),
        scores,
        latest,
        f"catalogue: {variant}",
    )


def write_catalogue(path: Path, content: CatalogueContent) -> None:
    """Write a catalogue's file; an older one is replaced only when the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch, closing(sqlite3.connect(scratch)) as connection:
        connection.executescript(_SCHEMA)
        _insert(connection, "models", map(_fact_row, content.models))
        _insert(connection, "aliases", sorted(content.aliases.items()))
        _insert_scores(connection, content)
        _insert(connection, "abilities", _ability_rows(content.abilities))
        _insert(connection, "scale", _scale_rows(content.scale))
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.commit()
        connection.execute("VACUUM")


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[Sequence[object]]) -> None:
    entries = list(rows)
    if entries:
        places = ", ".join("?" * len(entries[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({places})", entries)  # noqa: S608


def _fact_row(facts: ModelFacts) -> list[object]:
    return [getattr(facts, name) for name in _FACT_NAMES]


def _insert_scores(connection: sqlite3.Connection, content: CatalogueContent) -> None:
    number_of_column = {column: number for number, column in enumerate(content.columns)}
    first_of_column: dict[int, PublishedScore] = {}
    number_of_source: dict[str, int] = {}
    rows = []
    for score in content.scores:
        column = number_of_column[score.column]
        first_of_column.setdefault(column, score)
        source = number_of_source.setdefault(score.source, len(number_of_source))
        rows.append((score.key, score.effort, column, score.score, score.date, source))

    benchmarks = []
    for number, (benchmark, category, kind) in enumerate(content.columns):
        first = first_of_column[number]
        benchmarks.append((number, benchmark, category, kind, first.unit, first.collection))
    _insert(connection, "benchmarks", benchmarks)
    _insert(connection, "sources", [(number, text) for text, number in number_of_source.items()])
    _insert(connection, "scores", rows)


def _ability_rows(abilities: dict[tuple[str, Effort], Ability]) -> Iterator[Sequence[object]]:
    for (key, effort), ability in sorted(abilities.items()):
        if len(ability.mean) != len(SKILLS):
            raise ValueError(f"{key}: {len(ability.mean)} abilities for {len(SKILLS)} skills")
        mean = ability.mean.astype(np.float16).tobytes()
        deviation = ability.deviation.astype(np.float16).tobytes()
        yield key, effort, mean, deviation, ability.scores, ability.latest


def _scale_rows(scale: Scale) -> Iterator[Sequence[object]]:
    for name in _SCALE_NAMES:
        values = getattr(scale, name)
        shape = " ".join(str(size) for size in values.shape)
        yield name, shape, values.astype(np.float32).tobytes()

"""From tables of models and published scores to a catalogue with abilities."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.catalogue.ability_fit import (
    FEWEST_SCORES,
    Abilities,
    Floats,
    ScoreTable,
    fit_abilities,
)
from routoo_core.catalogue.entries import Ability, BenchmarkColumn, ModelFacts, PublishedScore
from routoo_core.catalogue.names import EFFORTS, Effort, looser_keys, read_effort, read_model_name
from routoo_core.catalogue.skills import SKILL_NUMBER, SKILLS, skills_of
from routoo_core.catalogue.store import CatalogueContent
from routoo_core.errors import ConfigurationError
from routoo_core.tables import read_table

Variant = tuple[str, Effort]
"""A model's key and how much it reasons."""

VENDOR = "vendor-reported"
UNITS = ("0..1", "elo")

_MODEL_CALLED_MAX = re.compile(r"qwen.*-max$|.*codex-max$")
_REQUIRED_COLUMNS = ("model", "benchmark", "score")
_LEAST_SHARE = 0.015
"""Scores nearer to 0 or 1 count as this near; the last per cent says little of ability."""
_MEAN_ELO = 1200.0
_ELO_OF_TEN_TO_ONE = 400.0
_FIRST_YEAR = 2025.0
_NUMBERS = ("release", "price", "size")
"""Facts that may be missing; see :func:`_facts_of`."""


def read_scores(path: Path) -> list[PublishedScore]:
    """Read a table of published scores.

    Args:
        path: Parquet or CSV with ``model, benchmark, score`` (0–1, or Elo points where ``unit`` is ``elo``) and
            optionally ``base_model, setting, category, unit, kind, family, date, source``.

    Raises:
        ConfigurationError: A column is missing, or a score is out of range; the message names file and row.
    """
    scores = []
    for number, row in enumerate(read_table(path).to_pylist(), start=1):
        for column in _REQUIRED_COLUMNS:
            if row.get(column) in (None, ""):
                raise ConfigurationError(f"{path}: row {number}: {column} is missing")
        score = _read_score(path, number, row)
        if score is not None:
            scores.append(score)
    return scores


def _read_score(path: Path, number: int, row: Mapping[str, Any]) -> PublishedScore | None:
    unit = str(row.get("unit") or UNITS[0])
    if unit not in UNITS:
        return None
    try:
        value = float(row["score"])
    except ValueError as error:
        raise ConfigurationError(f"{path}: row {number}: score: {error}") from error
    if unit == UNITS[0] and not 0 <= value <= 1:
        raise ConfigurationError(f"{path}: row {number}: score {value:g} is not between 0 and 1")

    base = _base_name(row)
    name = read_model_name(base)
    setting = "default" if base == row["model"] else read_effort(row.get("setting"))
    kind = str(row.get("kind") or "published (third party)")
    category = "" if kind == VENDOR else str(row.get("category") or "")
    benchmark = str(row["benchmark"])
    return PublishedScore(
        key=name.key,
        effort=name.effort if setting == "default" else setting,
        benchmark=benchmark,
        category=category,
        kind=kind,
        score=value,
        unit=unit,
        collection=str(row.get("family") or benchmark).lower(),
        date=str(row.get("date") or ""),
        source=str(row.get("source") or path.name),
    )


def _base_name(row: Mapping[str, Any]) -> str:
    """The model that a row is of; some are called "max" without that being an effort."""
    model = str(row["model"])
    if _MODEL_CALLED_MAX.match(model.lower()):
        return model
    return str(row.get("base_model") or model)


def read_models(path: Path) -> list[ModelFacts]:
    """Read a table of models: ``model`` and optionally what :class:`ModelFacts` holds.

    Of several names of one model the first that says something counts, fact by fact; the model's own name first.

    Raises:
        ConfigurationError: The table has no column ``model``.
    """
    rows_of_key: dict[str, list[Mapping[str, Any]]] = {}
    for number, row in enumerate(read_table(path).to_pylist(), start=1):
        if not row.get("model"):
            raise ConfigurationError(f"{path}: row {number}: model is missing")
        key = read_model_name(_base_name(row)).key
        rows_of_key.setdefault(key, []).append(row)
    return [_merge_rows(key, rows) for key, rows in sorted(rows_of_key.items())]


def _merge_rows(key: str, rows: Sequence[Mapping[str, Any]]) -> ModelFacts:
    def is_alias(row: Mapping[str, Any]) -> bool:
        return row["model"] != row.get("base_model") or bool(row.get("inherited"))

    own_names_first = sorted(rows, key=is_alias)

    def first(column: str) -> Any:
        for row in own_names_first:
            if row.get(column) not in (None, ""):
                return row[column]
        return None

    def whole(column: str) -> int | None:
        value = first(column)
        return None if value is None else int(float(value))

    weights = first("open_or_closed")
    return ModelFacts(
        key=key,
        title=str(own_names_first[0].get("base_model") or own_names_first[0]["model"]),
        provider=first("provider"),
        release=first("release_month"),
        context_window=whole("context_window"),
        max_output_tokens=whole("max_output"),
        input_usd_per_1m=first("input_usd_per_1m"),
        output_usd_per_1m=first("output_usd_per_1m"),
        price_from=first("price_from"),
        billions_of_parameters=first("parameters_b"),
        is_open=None if weights is None else weights == "open",
        reasons=first("reasoning"),
        calls_tools=first("tool_call"),
        reply_tokens=first("livebench_avg_output_tokens"),
        source=first("sources"),
    )


def build_catalogue(
    models: Iterable[ModelFacts],
    scores: Iterable[PublishedScore],
    keep: Callable[[PublishedScore], bool] = lambda score: True,
) -> CatalogueContent:
    """Fit the abilities of all models.

    Args:
        models: What is known of them; models that only have scores are added.
        scores: Everything published. Benchmarks of no skill, or of too few models, are left out.
        keep: Which scores to use.
    """
    usable = [
        score for score in scores if skills_of(score.benchmark, score.category) and keep(score)
    ]
    models_of_column = Counter(score.column for score in usable)
    basis = [score for score in usable if models_of_column[score.column] >= FEWEST_SCORES]

    facts_of_key = {facts.key: facts for facts in models}
    for score in basis:
        facts_of_key.setdefault(score.key, ModelFacts(score.key, score.key))
    columns = sorted({score.column for score in basis})
    variants = _variants(facts_of_key, basis)
    table = make_score_table(basis, columns, variants, facts_of_key)
    fit = fit_abilities(table)
    return CatalogueContent(
        models=[facts_of_key[key] for key in sorted(facts_of_key)],
        aliases=_aliases(facts_of_key, basis),
        scores=basis,
        columns=columns,
        abilities=_abilities(fit, variants, basis),
        scale=fit.scale,
    )


def _variants(
    facts_of_key: Mapping[str, ModelFacts], scores: Sequence[PublishedScore]
) -> list[Variant]:
    """Every model as it is by default, with every effort that has scores, and with all where it reasons."""
    variants: dict[Variant, None] = {}
    for key, facts in facts_of_key.items():
        efforts = EFFORTS if facts.reasons else EFFORTS[:1]
        variants.update(dict.fromkeys((key, effort) for effort in efforts))
    variants.update(dict.fromkeys((score.key, score.effort) for score in scores))
    return list(variants)


def make_score_table(
    scores: Sequence[PublishedScore],
    columns: Sequence[BenchmarkColumn],
    variants: Sequence[Variant],
    facts_of_key: Mapping[str, ModelFacts],
) -> ScoreTable:
    """Put numbers in the place of names.

    Scores of one collection, skill and variant are not independent: n of them count as much as √n.
    """
    number_of_variant = {variant: number for number, variant in enumerate(variants)}
    number_of_column = {column: number for number, column in enumerate(columns)}
    variant_of_score = [number_of_variant[score.key, score.effort] for score in scores]
    column_of_score = [number_of_column[score.column] for score in scores]
    return ScoreTable(
        variant=np.array(variant_of_score, np.intp),
        benchmark=np.array(column_of_score, np.intp),
        value=np.array([log_odds(score.score, score.unit) for score in scores]),
        weight=_score_weights(scores),
        model=_model_numbers(variants),
        facts=_facts_matrix(variants, facts_of_key),
        loadings=_loadings(columns),
    )


def _score_weights(scores: Sequence[PublishedScore]) -> Floats:
    """How much each score counts, (scores,)."""
    groups = []
    for score in scores:
        skills = skills_of(score.benchmark, score.category)
        groups.append((score.key, score.effort, score.collection, skills))
    size_of_group = Counter(groups)
    return np.array([size_of_group[group] ** -0.5 for group in groups])


def _model_numbers(variants: Sequence[Variant]) -> NDArray[np.intp]:
    """Which variants are of one model, (variants,)."""
    number_of_model: dict[str, int] = {}
    numbers = []
    for key, _ in variants:
        numbers.append(number_of_model.setdefault(_stem(key), len(number_of_model)))
    return np.array(numbers, np.intp)


def _loadings(columns: Sequence[BenchmarkColumn]) -> Floats:
    """How much each benchmark measures each skill, (columns, skills), rows that sum to 1."""
    loadings = np.zeros((len(columns), len(SKILLS)))
    for number, (benchmark, category, _) in enumerate(columns):
        skills = skills_of(benchmark, category)
        for skill in skills:
            loadings[number, SKILL_NUMBER[skill]] = 1 / len(skills)
    return loadings


def log_odds(score: float, unit: str) -> float:
    """A score on the scale of log-odds, a rating in Elo points too."""
    if unit == "elo":
        return float((score - _MEAN_ELO) / _ELO_OF_TEN_TO_ONE * np.log(10))
    share = min(max(score, _LEAST_SHARE), 1 - _LEAST_SHARE)
    return float(np.log(share / (1 - share)))


def _stem(key: str) -> str:
    """What previews, snapshots and tunings of one model share."""
    return (key, *looser_keys(key))[-1]


def _facts_matrix(variants: Sequence[Variant], facts_of_key: Mapping[str, ModelFacts]) -> Floats:
    """One, release, price, size, whether it reasons, and the effort; what is missing is the mean of the others."""
    numbers = np.array([_numbers_of(facts_of_key[key]) for key, _ in variants])
    means = np.array([_mean_without_gaps(numbers[:, column]) for column in range(numbers.shape[1])])
    complete_numbers = np.where(np.isnan(numbers), means, numbers)
    return np.concatenate([complete_numbers, _effort_columns(variants)], axis=1)


def _mean_without_gaps(values: Floats) -> float:
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else 0.0


def _numbers_of(facts: ModelFacts) -> list[float]:
    release = np.nan
    if facts.release:
        year, _, month = facts.release.partition("-")
        release = int(year) + int(month or 6) / 12 - _FIRST_YEAR
    price = np.log(facts.output_usd_per_1m) if facts.output_usd_per_1m else np.nan
    size = np.log(facts.billions_of_parameters) if facts.billions_of_parameters else np.nan
    return [1.0, release, price, size, float(bool(facts.reasons))]


def _effort_columns(variants: Sequence[Variant]) -> Floats:
    columns = np.zeros((len(variants), len(EFFORTS) - 1))
    for number, (_, effort) in enumerate(variants):
        if effort != EFFORTS[0]:
            columns[number, EFFORTS.index(effort) - 1] = 1.0
    return columns


def _abilities(
    fit: Abilities, variants: Sequence[Variant], scores: Sequence[PublishedScore]
) -> dict[Variant, Ability]:
    count = Counter((score.key, score.effort) for score in scores)
    latest: dict[Variant, str] = {}
    for score in scores:
        variant = (score.key, score.effort)
        latest[variant] = max(latest.get(variant, ""), score.date)

    abilities = {}
    for number, variant in enumerate(variants):
        abilities[variant] = Ability(
            fit.mean[number].astype(np.float32),
            fit.deviation[number].astype(np.float32),
            count[variant],
            latest.get(variant, ""),
        )
    return abilities


def _aliases(
    facts_of_key: Mapping[str, ModelFacts], scores: Sequence[PublishedScore]
) -> dict[str, str]:
    """Every key, and every shorter form of it that is no key itself, → the model with the most scores."""
    count = Counter(score.key for score in scores)
    aliases: dict[str, str] = {}
    for key in sorted(facts_of_key, key=lambda key: (-count[key], len(key), key)):
        for alias in looser_keys(key):
            aliases.setdefault(alias, key)
    aliases.update({key: key for key in facts_of_key})
    return aliases

"""Abilities from published scores: benchmarks of every kind put on one scale by a fitted model.

A score of variant v of model m in benchmark b, which measures the skills K(b), is

    link(score) = location_b + slope_b · mean of ability[v, k] over K(b) + noise_b

where the abilities of a model are a priori normal around what its release date, price, size and effort predict:

    ability[v] = W · facts[v] + (what all variants of the model share) + (what is the variant's own)

The covariance of the skills is learnt as well, so a skill without scores is inferred from the others, with the width
that remains. The model is fitted by expectation–maximisation; every step has a closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

SHARED_BY_VARIANTS = 0.8
"""Share of a model's own variance that all its efforts have in common."""
FEWEST_SCORES = 5
"""A benchmark with fewer models says too little of its own scale."""

_ROUNDS = 60
_PRIOR_STRENGTH = 30.0
_PRIOR_VARIANCE = 0.4
_PRIOR_CORRELATION = 0.7
_SLOPE_STRENGTH = 0.8
_NOISE_STRENGTH = 8.0
_TYPICAL_NOISE = 0.05
_LEAST_NOISE = 0.01
_FIRST_NOISE = 0.6
_RIDGE = 2.0


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores with numbers in the place of names.

    Attributes:
        variant: Which variant each score is of, (scores,).
        benchmark: Which column of comparable scores it stands in, (scores,).
        value: The score on the scale of log-odds, (scores,).
        weight: How much it counts, 0–1, (scores,): scores of one collection are not independent.
        model: Which model each variant is of, (variants,).
        facts: What is known of each variant beside its scores, (variants, facts); the first column is 1.
        loadings: How much of each skill every benchmark measures, (benchmarks, skills), rows that sum to 1.
    """

    variant: Integers = field(repr=False)
    benchmark: Integers = field(repr=False)
    value: Floats = field(repr=False)
    weight: Floats = field(repr=False)
    model: Integers = field(repr=False)
    facts: Floats = field(repr=False)
    loadings: Floats = field(repr=False)


@dataclass(frozen=True, eq=False)
class Scale:
    """The fitted model, by which further scores are put beside the others.

    Attributes:
        location: Of each benchmark, (benchmarks,).
        slope: Of each benchmark, (benchmarks,).
        noise: Variance of each benchmark's noise, (benchmarks,).
        weights: What facts say of the abilities before any score, (facts, skills).
        covariance: Of the skills around that, (skills, skills).
        zero: The abilities that are called 0, (skills,).
        unit: The differences of ability that are called 1, (skills,).
    """

    location: Floats = field(repr=False)
    slope: Floats = field(repr=False)
    noise: Floats = field(repr=False)
    weights: Floats = field(repr=False)
    covariance: Floats = field(repr=False)
    zero: Floats = field(repr=False)
    unit: Floats = field(repr=False)


@dataclass(frozen=True, eq=False)
class Abilities:
    """What the scores say of every variant.

    Attributes:
        mean: Ability, (variants, skills); 0 is the mean of all models and 1 their spread, in each skill.
        deviation: Standard deviation of what is not known, (variants, skills).
        scale: The fitted model.
    """

    mean: Floats = field(repr=False)
    deviation: Floats = field(repr=False)
    scale: Scale = field(repr=False)


@dataclass(frozen=True, eq=False)
class _Benchmarks:
    """Location, slope and noise variance of every benchmark."""

    location: Floats
    slope: Floats
    noise: Floats


@dataclass(frozen=True, eq=False)
class _Prior:
    """What is expected of a variant before its scores are seen."""

    weights: Floats
    covariance: Floats


@dataclass(frozen=True, eq=False)
class _Posterior:
    """Moments of the abilities.

    Attributes:
        mean: (variants, skills).
        covariance: Of the skills of each variant, (variants, skills, skills).
        scatter: Of the models that have scores around what was expected of them, (skills, skills).
        variants: How many variants the scatter is of.
    """

    mean: Floats
    covariance: Floats
    scatter: Floats
    variants: int


def fit_abilities(table: ScoreTable, rounds: int = _ROUNDS) -> Abilities:
    """Fit the model to all scores.

    Args:
        table: The scores.
        rounds: Steps of expectation–maximisation.
    """
    skills = table.loadings.shape[1]
    benchmarks = _first_benchmarks(table)
    prior = _Prior(np.zeros((table.facts.shape[1], skills)), _prior_scatter(skills))
    groups = _groups(table)
    has_scores = np.zeros(len(table.model), dtype=bool)
    has_scores[table.variant] = True

    posterior = _expect(table, groups, benchmarks, prior)
    for _ in range(rounds):
        benchmarks = _fit_benchmarks(table, posterior)
        prior = _fit_prior(table, posterior, has_scores)
        posterior = _expect(table, groups, benchmarks, prior)
    return _standardise(posterior, has_scores, benchmarks, prior)


def _groups(table: ScoreTable) -> list[Integers]:
    """The variants of each model."""
    order = np.argsort(table.model, kind="stable")
    starts = np.flatnonzero(np.diff(table.model[order])) + 1
    return list(np.split(order, starts))


def _first_benchmarks(table: ScoreTable) -> _Benchmarks:
    """The mean and the spread of each benchmark's scores."""
    count = len(table.loadings)
    number = np.bincount(table.benchmark, minlength=count)
    location = np.bincount(table.benchmark, table.value, minlength=count) / number
    residual = table.value - location[table.benchmark]
    variance = np.bincount(table.benchmark, residual**2, minlength=count) / number
    return _Benchmarks(location, np.sqrt(variance + 0.1), np.full(count, _FIRST_NOISE))


def _prior_scatter(skills: int) -> Floats:
    correlation = np.full((skills, skills), _PRIOR_CORRELATION)
    np.fill_diagonal(correlation, 1.0)
    return _PRIOR_VARIANCE * correlation


def _expect(
    table: ScoreTable, groups: Sequence[Integers], benchmarks: _Benchmarks, prior: _Prior
) -> _Posterior:
    """The abilities of every model, given the benchmarks and the prior."""
    skills = len(prior.covariance)
    prior_mean = table.facts @ prior.weights
    mean = np.empty_like(prior_mean)
    covariance = np.empty((len(mean), skills, skills))
    scatter = np.zeros((skills, skills))
    variants = 0
    evidence = _collect_evidence(table, benchmarks)

    inverse = np.linalg.inv(prior.covariance)
    for group in groups:
        own_inverse = _inverse_of_variants(len(group))
        moments = _expect_model(group, evidence, prior_mean[group], np.kron(own_inverse, inverse))
        mean[group] = moments.mean
        covariance[group] = np.einsum("vkvl->vkl", moments.covariance)
        if evidence.target[group].any():
            deviation = moments.mean - prior_mean[group]
            scatter += deviation.T @ own_inverse @ deviation
            scatter += np.einsum("vw,vkwl->kl", own_inverse, moments.covariance)
            variants += len(group)
    return _Posterior(mean, covariance, scatter, variants)


def _inverse_of_variants(size: int) -> Floats:
    """Inverse of the correlation between the variants of one model, (size, size)."""
    correlation = np.full((size, size), SHARED_BY_VARIANTS)
    np.fill_diagonal(correlation, 1.0)
    return np.linalg.inv(correlation)


@dataclass(frozen=True, eq=False)
class _ModelMoments:
    """Moments of one model: mean (variants, skills), covariance (variants, skills, variants, skills)."""

    mean: Floats
    covariance: Floats


def _expect_model(
    group: Integers, evidence: _Evidence, prior_mean: Floats, prior_precision: Floats
) -> _ModelMoments:
    """The abilities of one model's variants.

    Args:
        group: The variants.
        evidence: Of all variants.
        prior_mean: Of these, (variants, skills).
        prior_precision: (variants · skills, variants · skills).
    """
    size, skills = prior_mean.shape
    precision = prior_precision.copy()
    blocks = precision.reshape(size, skills, size, skills)
    for number, variant in enumerate(group):
        blocks[number, :, number, :] += evidence.precision[variant]
    target = prior_precision @ prior_mean.ravel() + evidence.target[group].ravel()
    covariance: Floats = np.linalg.inv(precision).astype(np.float64)
    mean: Floats = (covariance @ target).reshape(size, skills)
    by_variant: Floats = covariance.reshape(size, skills, size, skills)
    return _ModelMoments(mean, by_variant)


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What the scores of each variant say by themselves: precision (variants, skills, skills) and target."""

    precision: Floats
    target: Floats


def _collect_evidence(table: ScoreTable, benchmarks: _Benchmarks) -> _Evidence:
    variants = len(table.model)
    skills = table.loadings.shape[1]
    precision = np.zeros((variants, skills, skills))
    target = np.zeros((variants, skills))

    slopes = benchmarks.slope[table.benchmark, None] * table.loadings[table.benchmark]
    certainty = table.weight / benchmarks.noise[table.benchmark]
    residual = table.value - benchmarks.location[table.benchmark]
    np.add.at(target, table.variant, slopes * (residual * certainty)[:, None])
    squares = slopes[:, :, None] * slopes[:, None, :] * certainty[:, None, None]
    np.add.at(precision, table.variant, squares)
    return _Evidence(precision, target)


def _fit_benchmarks(table: ScoreTable, posterior: _Posterior) -> _Benchmarks:
    """Location, slope and noise of every benchmark by weighted regression on the abilities."""
    count = len(table.loadings)

    def total(values: Floats) -> Floats:
        sums = np.bincount(table.benchmark, values * table.weight, minlength=count)
        return sums.astype(np.float64)

    loadings = table.loadings[table.benchmark]
    ability = (posterior.mean[table.variant] * loadings).sum(axis=1)
    doubt = np.einsum("sk,skl,sl->s", loadings, posterior.covariance[table.variant], loadings)
    number = total(np.ones_like(ability))
    ability_sum = total(ability)
    value_sum = total(table.value)
    square_sum = total(ability**2 + doubt) + _SLOPE_STRENGTH
    product_sum = total(ability * table.value) + _SLOPE_STRENGTH
    determinant = np.maximum(number * square_sum - ability_sum**2, 1e-6)
    slope = np.clip((number * product_sum - ability_sum * value_sum) / determinant, 0.1, 6.0)
    location = (value_sum - slope * ability_sum) / number

    residual = table.value - location[table.benchmark] - slope[table.benchmark] * ability
    squares = total(residual**2 + slope[table.benchmark] ** 2 * doubt)
    noise = (squares + _NOISE_STRENGTH * _TYPICAL_NOISE) / (number + _NOISE_STRENGTH)
    return _Benchmarks(location, slope, np.maximum(noise, _LEAST_NOISE))


def _fit_prior(table: ScoreTable, posterior: _Posterior, has_scores: NDArray[np.bool_]) -> _Prior:
    facts = table.facts[has_scores]
    ridge = _RIDGE * np.eye(facts.shape[1])
    ridge[0, 0] = 1e-6
    solution = np.linalg.solve(facts.T @ facts + ridge, facts.T @ posterior.mean[has_scores])
    weights = solution.astype(np.float64)
    prior_scatter = _PRIOR_STRENGTH * _prior_scatter(len(posterior.scatter))
    covariance = (posterior.scatter + prior_scatter) / (posterior.variants + _PRIOR_STRENGTH)
    return _Prior(weights, covariance)


def _standardise(
    posterior: _Posterior, has_scores: NDArray[np.bool_], benchmarks: _Benchmarks, prior: _Prior
) -> Abilities:
    """Give every skill mean 0 and spread 1 over the variants that have scores."""
    ability = posterior.mean[has_scores]
    zero = ability.mean(axis=0)
    unit = ability.std(axis=0)
    variance = np.diagonal(posterior.covariance, axis1=1, axis2=2)
    scale = Scale(
        location=benchmarks.location,
        slope=benchmarks.slope,
        noise=benchmarks.noise,
        weights=prior.weights,
        covariance=prior.covariance,
        zero=zero,
        unit=unit,
    )
    return Abilities((posterior.mean - zero) / unit, np.sqrt(variance) / unit, scale)


def infer_ability(table: ScoreTable, scale: Scale) -> Abilities:
    """The abilities of further models on a scale that was fitted before.

    Args:
        table: Their scores, in benchmarks of the scale.
        scale: The fitted model.
    """
    benchmarks = _Benchmarks(scale.location, scale.slope, scale.noise)
    prior = _Prior(scale.weights, scale.covariance)
    posterior = _expect(table, _groups(table), benchmarks, prior)
    variance = np.diagonal(posterior.covariance, axis1=1, axis2=2)
    mean = (posterior.mean - scale.zero) / scale.unit
    return Abilities(mean, np.sqrt(variance) / scale.unit, scale)

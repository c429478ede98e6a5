"""An evaluation: routers beside simple ones, on prompts they did not learn from."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

from routoo_core.assignment.predictions import PredictorLoader
from routoo_core.errors import OutcomesError
from routoo_core.evaluation.predictions import (
    CheckpointPredictions,
    check_predictable,
    predict,
)
from routoo_core.evaluation.report import (
    CurveBand,
    PredictionRow,
    Report,
    StressRow,
    TierRow,
)
from routoo_core.evaluation.stress import OperatingPoint, stress
from routoo_core.evaluation.tables import (
    curve_band,
    domain_rows,
    expert_rows,
    oracle_table,
    rule_points,
    tier_bounds,
    tier_rows,
)
from routoo_core.evaluation.training_overlap import (
    count_near_duplicates,
    similarity_to_training,
)
from routoo_core.loading import is_general, load_predictor
from routoo_core.measures.call_costs import COST_MODELS, MEASURED, PAPER, CallCosts
from routoo_core.measures.curve import Array, ServedSweep, serve, sweep
from routoo_core.measures.figures import (
    Baseline,
    bootstrap_weights,
    measure_baseline,
    pool_figures,
)
from routoo_core.measures.metrics import log_loss, prediction_metrics, reliability
from routoo_core.measures.simple_routers import (
    DOMAIN_LOOKUP,
    ORACLE,
    SIMPLE_ROUTERS,
    Rows,
    best_and_cheapest,
    blind_routers,
    domain_lookup,
)
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.checkpoint_config import read_config
from routoo_core.predictor.checkpoint_folder import folders_by_name
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.prices import PriceList
from routoo_core.progress import Progress
from routoo_core.selector import Lagrangian
from routoo_core.training.simple_routers import predict_simple_routers
from routoo_core.training.vectors import encode_cached

TIMED_PROMPTS = 20
"""On so many prompts the time of a decision is measured."""

COMPARISON_BUDGET = 0.5
"""Budget of the stress test and of the figures by domain, as a share of what the best single expert costs."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured, and how.

    Attributes:
        title: Of the report.
        split: Which prompts are measured; simple routers learn from ``train``.
        guess: Rate of lucky guesses, 0–1, to correct the oracle for: 0.25 with four choices.
        force: Also measure on prompts a router learnt from; the report says so.
        stressed: On how many prompts to run the stress test; 0 leaves it out.
        cost_model: What calls cost, of :data:`routoo_core.measures.call_costs.COST_MODELS`.
        paraphrases: ``prompt_id`` → that prompt in other words, for the stress test; these prompts come first.
    """

    title: str = ""
    split: str = "dev"
    guess: float = 0.0
    force: bool = False
    stressed: int = 0
    cost_model: str = MEASURED
    paraphrases: Mapping[str, str] = field(default_factory=dict, repr=False)


def evaluate(
    checkpoints: Sequence[Path],
    outcomes: Outcomes,
    prices: PriceList,
    progress: Progress,
    settings: EvaluationSettings = EvaluationSettings(),
    load: PredictorLoader = load_predictor,
) -> Report:
    """Measure routers on the prompts of one split of a table, beside simple routers.

    Args:
        checkpoints: Folders of the routers; the others are compared with the first.
        outcomes: What was observed.
        prices: The pool: the experts that have a price.
        progress: Where progress goes.
        settings: What is measured.
        load: Loads a router.

    Raises:
        OutcomesError: No prompt of the split was observed with every expert of the pool, or an expert is not in the
            table.
        ConfigurationError: A router does not know an expert, or learnt from some of the prompts.
    """
    folders = folders_by_name(checkpoints, SIMPLE_ROUTERS)
    load = cache(load)

    selection = select_prompts(outcomes, prices, settings.split, settings.cost_model)
    predicted = predict_prompts(folders, selection, progress, settings.force, load)
    sweeps = serve_prompts(selection, predicted)
    report = measure(selection, predicted, sweeps, prices.sizes, settings)
    first = folders[report.first_router]
    experts = tuple(selection.table.experts)
    stress_rows = stress_first_router(load(first, experts), selection, sweeps, settings, progress)
    resembling = count_near_duplicates(selection.table, settings.split, progress)
    similarity = similarity_to_training(selection.table, selection.rows)

    return replace(report, stress=stress_rows, resembling=resembling, similarity=similarity)


# 1. Select the prompts


@dataclass(frozen=True, eq=False)
class SelectedPrompts:
    """The prompts that are measured.

    Attributes:
        table: All prompts, with the experts of the pool.
        split_rows: Rows of the split in it.
        rows: Those of them that every expert was observed on.
        measured: The outcomes of these.
        scores: Their scores in double precision, prompts × experts, no NaN.
        costs: What calls cost.
    """

    table: Outcomes = field(repr=False)
    split_rows: Rows = field(repr=False)
    rows: Rows = field(repr=False)
    measured: Outcomes = field(repr=False)
    scores: Array = field(repr=False)
    costs: CallCosts

    @property
    def cost(self) -> Array:
        """The mean cost of each expert if it answers every prompt, (experts,)."""
        return self.costs.mean


def select_prompts(
    outcomes: Outcomes, prices: PriceList, split: str, cost_model: str = PAPER
) -> SelectedPrompts:
    """The prompts of a split that every expert of the pool was observed on.

    Raises:
        OutcomesError: There is none, or an expert is not in the table.
    """
    table = outcomes.select(prices.models)
    split_rows = table.rows(split)
    if len(split_rows) == 0:
        counts = sorted(Counter(table.splits).items())
        splits = ", ".join(f"{count:,} {name}" for name, count in counts)
        raise OutcomesError(f"split {split!r} has no prompts; the table has {splits}")

    observed = ~np.isnan(table.scores[split_rows])
    rows = split_rows[observed.all(axis=1)]
    if len(rows) == 0:
        raise OutcomesError(
            f"no {split!r} prompt was observed with every expert of the pool; choose a smaller pool"
        )

    sample = table.take(rows)
    scores = sample.scores.astype(np.float64)
    costs = COST_MODELS[cost_model](sample, prices)
    return SelectedPrompts(table, split_rows, rows, sample, scores, costs)


# 2. Predict


@dataclass(frozen=True, eq=False)
class PredictedPrompts:
    """What routers predict for the selected prompts.

    Attributes:
        routers: Name → the predictions of an evaluated router; the first comes first.
        decision_ms: Name → median time of one of its predictions on this machine.
        simple: Name → the quality a simple router predicts, prompts × experts.
    """

    routers: Mapping[str, CheckpointPredictions]
    decision_ms: Mapping[str, float]
    simple: Mapping[str, Array] = field(repr=False)

    @property
    def any_trained_on(self) -> bool:
        """Whether a router learnt from some of the prompts, so that its figures flatter."""
        return any(predictions.seen.trained_on for predictions in self.routers.values())


def predict_prompts(
    folders: Mapping[str, Path],
    selection: SelectedPrompts,
    progress: Progress,
    force: bool,
    load: PredictorLoader,
) -> PredictedPrompts:
    """Predict with every router; see :func:`predict`.

    Args:
        folders: Name → checkpoint.
        selection: The prompts.
        progress: Where progress goes.
        force: Also on prompts a router learnt from.
        load: Loads a predictor.
    """
    for folder in folders.values():
        check_predictable(folder, selection.measured, force)

    routers = {}
    for name, folder in folders.items():
        routers[name] = predict(folder, selection.measured, progress, force, load)

    first = next(iter(folders.values()))
    simple = _predict_simple(first, list(routers.values()), selection, progress)

    decision_ms = {}
    timed_prompts = selection.measured.prompts[:TIMED_PROMPTS]
    for name, folder in folders.items():
        decision_ms[name] = _median_decision_ms(
            load(folder, tuple(selection.table.experts)), timed_prompts
        )

    return PredictedPrompts(routers, decision_ms, simple)


def _predict_simple(
    first: Path,
    predictions: Sequence[CheckpointPredictions],
    selection: SelectedPrompts,
    progress: Progress,
) -> dict[str, Array]:
    """What simple routers that learn from the ``train`` prompts predict; none without such prompts.

    If a checkpoint keeps what they predicted for all of the prompts, that is taken and nothing is encoded.
    """
    table = selection.table
    if len(table.rows("train")) == 0:
        return {}
    by_domain = domain_lookup(table, selection.rows)

    for prediction in predictions:
        if prediction.simple:
            return {DOMAIN_LOOKUP: by_domain, **prediction.simple}

    encoder = EncoderSettings() if is_general(first) else read_config(first).training.encoder
    vectors = encode_cached(table.prompts, encoder, progress)
    return {
        DOMAIN_LOOKUP: by_domain,
        **predict_simple_routers(table, vectors, selection.rows),
    }


def _median_decision_ms(predictor: Predictor, prompts: Sequence[str]) -> float:
    durations = []
    for prompt in prompts:
        start = time.perf_counter()
        predictor.predict([prompt])
        durations.append((time.perf_counter() - start) * 1e3)
    return float(np.median(durations))


# 3. Serve


@dataclass(frozen=True, eq=False)
class ServedPrompts:
    """What serving the prompts by every router over the whole range of budgets would have cost and scored.

    Attributes:
        predicting: Name → sweep of a router that looks at the prompt: the evaluated ones, the simple ones, the oracle.
        blind: Name → sweep of a router that does not.
    """

    predicting: Mapping[str, ServedSweep]
    blind: Mapping[str, ServedSweep]

    @property
    def all_routers(self) -> dict[str, ServedSweep]:
        """All sweeps by name; that of the first evaluated router comes first."""
        return {**self.predicting, **self.blind}

    @property
    def first_router(self) -> ServedSweep:
        """The sweep of the first evaluated router."""
        return next(iter(self.predicting.values()))


def serve_prompts(selection: SelectedPrompts, predicted: PredictedPrompts) -> ServedPrompts:
    """Serve every prompt by each rule of a sweep, by every router and by an oracle."""
    quality_of: dict[str, Array] = {}
    for name, predictions in predicted.routers.items():
        quality_of[name] = predictions.quality
    quality_of.update(predicted.simple)
    quality_of[ORACLE] = selection.scores  # it predicts the very scores

    rules = sweep(selection.cost)
    costs = selection.costs.paid
    predicting = {}
    for name, quality in quality_of.items():
        predicting[name] = serve(quality, selection.scores, selection.cost, rules, costs)

    return ServedPrompts(predicting, blind_routers(selection.scores, selection.cost, costs))


# 4. Measure


def measure(
    selection: SelectedPrompts,
    predicted: PredictedPrompts,
    sweeps: ServedPrompts,
    sizes: Mapping[str, float],
    settings: EvaluationSettings,
) -> Report:
    """Compute all figures of the report but those of the stress test and the near-duplicates.

    Args:
        selection: The prompts.
        predicted: What routers predict for them.
        sweeps: What serving them would have cost and scored.
        sizes: Expert → billions of parameters, where they are known.
        settings: What is measured.
    """
    table = selection.table
    sample = selection.measured
    scores = selection.scores
    cost = selection.cost
    split = table.take(selection.split_rows)

    baseline = measure_baseline(scores, cost)
    best, cheapest = best_and_cheapest(scores, cost)
    resamples = bootstrap_weights(len(scores))
    figures = pool_figures(table.experts, sweeps.all_routers, scores, cost, resamples)
    budget = COMPARISON_BUDGET * baseline.best_cost

    return Report(
        title=settings.title,
        cost_unit=selection.costs.unit,
        split=settings.split,
        prompts=len(sample.prompts),
        left_out=len(selection.split_rows) - len(selection.rows),
        missing_pairs=int(np.isnan(split.scores).sum()),
        predictions=_prediction_rows(predicted, scores),
        stamped=predicted.any_trained_on,
        experts=expert_rows(split, sample, cost, sizes),
        best_single=table.experts[best],
        cheapest=table.experts[cheapest],
        figures=figures.routers,
        tiers=_tiers(selection, sweeps, baseline),
        domains=domain_rows(sweeps.predicting, scores, sample.domains, budget, best),
        oracle=oracle_table(scores, cost, settings.guess),
        curves=_curves(selection, sweeps, resamples),
        rules=rule_points(sweeps.first_router),
    )


def _tiers(
    selection: SelectedPrompts, sweeps: ServedPrompts, baseline: Baseline
) -> dict[str, tuple[TierRow, ...]]:
    """Where each router that looks at the prompt stands at each budget."""
    cost = selection.cost
    domains = selection.measured.domains
    bounds = tier_bounds(selection.scores, selection.costs.paid, baseline)

    tiers = {}
    for name, served_sweep in sweeps.predicting.items():
        tiers[name] = tier_rows(served_sweep, cost, baseline, bounds, domains)
    return tiers


def _curves(
    selection: SelectedPrompts, sweeps: ServedPrompts, resamples: Sequence[Array]
) -> dict[str, CurveBand]:
    """The curve of each router."""
    curves = {}
    for name, served_sweep in sweeps.all_routers.items():
        curves[name] = curve_band(served_sweep, selection.cost, resamples)
    return curves


def _prediction_rows(predicted: PredictedPrompts, scores: Array) -> dict[str, PredictionRow]:
    rows = {}
    for name, predictions in predicted.routers.items():
        metrics = prediction_metrics(predictions.quality, scores)
        rows[name] = PredictionRow(
            seen=predictions.seen,
            auc=metrics.auc,
            ece=metrics.ece,
            log_loss=log_loss(predictions.quality, scores),
            decision_ms=predicted.decision_ms[name],
            reliability=tuple(reliability(predictions.quality, scores)),
        )
    return rows


# 5. Stress


def stress_first_router(
    predictor: Predictor,
    selection: SelectedPrompts,
    sweeps: ServedPrompts,
    settings: EvaluationSettings,
    progress: Progress,
) -> tuple[StressRow, ...]:
    """Reword prompts and see how the choices of the first router change, at half the best single expert's cost.

    Args:
        predictor: The first router's.
        selection: The prompts.
        sweeps: Tells which λ spends so much.
        settings: How many prompts, and paraphrases of some of them.
        progress: Where progress goes.
    """
    if not settings.stressed:
        return ()

    sample = selection.measured
    baseline = measure_baseline(selection.scores, selection.cost)
    budget = COMPARISON_BUDGET * baseline.best_cost
    lagrangian = sweeps.first_router.of_kind(Lagrangian)
    rule = lagrangian.rules[lagrangian.row_within(budget)]
    point = OperatingPoint(predictor, sample.experts, selection.cost, rule, progress)

    prompts = []
    paraphrases = {}
    for row in _stressed_rows(sample, settings):
        prompt = sample.prompts[row]
        prompts.append(prompt)
        paraphrase = settings.paraphrases.get(sample.prompt_ids[row])
        if paraphrase is not None:
            paraphrases[prompt] = paraphrase

    return tuple(stress(point, prompts, paraphrases))


def _stressed_rows(sample: Outcomes, settings: EvaluationSettings) -> list[int]:
    """Random rows; those with a paraphrase come first."""
    random = np.random.default_rng(0)
    order = random.permutation(len(sample.prompts)).tolist()
    with_paraphrase = []
    without_paraphrase = []
    for row in order:
        if sample.prompt_ids[row] in settings.paraphrases:
            with_paraphrase.append(row)
        else:
            without_paraphrase.append(row)
    return [*with_paraphrase, *without_paraphrase][: settings.stressed]

"""Learn a scorer of answers: a logistic regression whose weights for each expert lie near those of all, calibrated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from routoo_core.errors import OutcomesError
from routoo_core.measures.curve import Array
from routoo_core.measures.plan_replay import AnswerTable
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.answer_scorer import AnswerReader, AnswerScorer, Features
from routoo_core.predictor.calibration import logistic
from routoo_core.progress import SILENT, Progress
from routoo_core.training.calibration import fit_calibration

_PENALTY = 3.0
"""On the squares of the weights that all experts have in common."""
_OWN_PENALTY = 30.0
"""On the squares of what an expert's own weights differ from them."""
_ROUNDS = 100
_SMALLEST = 1e-12
_FEWEST_ANSWERS = 20

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AnswerFeatures:
    """Prompts and answers as numbers, with what the answers scored.

    Attributes:
        prompts: (prompts, prompt features).
        answers: (experts, prompts, answer features).
        scores: Observed, prompts × experts, 0–1 or NaN.
    """

    prompts: Features
    answers: Features
    scores: NDArray[np.float32]

    def of(self, expert: int, rows: Rows) -> Features:
        """One expert's answers to some prompts, (rows, features)."""
        return np.hstack([self.prompts[rows], self.answers[expert, rows]])

    def score_rows(self, expert: int, rows: Rows) -> Rows:
        """Those of the rows in which an expert has a score."""
        score_rows: Rows = rows[~np.isnan(self.scores[rows, expert])]
        return score_rows


@dataclass(frozen=True, eq=False)
class _Lesson:
    """What one expert's weights are learnt from.

    Attributes:
        features: (answers, features).
        scores: 0–1, (answers,).
    """

    features: Features
    scores: Array


def read_answer_features(
    outcomes: Outcomes, answers: AnswerTable, reader: AnswerReader, progress: Progress = SILENT
) -> AnswerFeatures:
    """Read every prompt, and every answer to it."""
    prompts = []
    by_prompt = []
    with progress.bar("Reading answers", len(outcomes.prompts)) as advance:
        for prompt_id, prompt in zip(outcomes.prompt_ids, outcomes.prompts, strict=True):
            prompt_features = reader.read_prompt(answers.request(prompt_id, prompt))
            prompts.append(prompt_features.vector)
            replies = [answers.of(prompt_id, expert) for expert in outcomes.experts]
            # Many experts say the same, which is read once.
            features = {reply: reader.read_answer(prompt_features, reply) for reply in set(replies)}
            by_prompt.append([features[reply] for reply in replies])
            advance(1)
    answer_features = np.array(by_prompt, dtype=np.float32).transpose(1, 0, 2)
    return AnswerFeatures(np.array(prompts), answer_features, outcomes.scores)


def fit_scorer(
    outcomes: Outcomes,
    features: AnswerFeatures,
    reader: AnswerReader,
    learning: Rows,
    calibrating: Rows,
    progress: Progress = SILENT,
) -> AnswerScorer:
    """Learn from some prompts, and calibrate on others.

    Args:
        outcomes: Whose experts are learnt.
        features: Their answers, of the same prompts.
        reader: What read them.
        learning: Rows that the weights are learnt from.
        calibrating: Rows that say how far probabilities are to be trusted.
        progress: Where progress goes.

    Raises:
        OutcomesError: An expert has fewer than 20 scores on the prompts to learn from.
    """
    lessons = [
        _lesson_of(expert, column, features, learning)
        for column, expert in enumerate(outcomes.experts)
    ]
    parameters = _fit_parameters(lessons, progress)
    scorer = AnswerScorer(outcomes.experts, parameters.expert_weights, parameters.bias, reader)
    return _calibrated(scorer, features, calibrating)


def probabilities(scorer: AnswerScorer, features: AnswerFeatures, rows: Rows) -> Array:
    """What a scorer says of answers that are read already, rows × experts."""
    columns = []
    for expert in range(len(scorer.experts)):
        odds = features.of(expert, rows) @ scorer.weight[expert] + scorer.bias[expert]
        columns.append(logistic(odds.astype(np.float64)))
    return np.column_stack(columns)


def _lesson_of(expert: str, column: int, features: AnswerFeatures, learning: Rows) -> _Lesson:
    """What one expert's weights are learnt from.

    Raises:
        OutcomesError: It has too few scores.
    """
    rows = features.score_rows(column, learning)
    if len(rows) < _FEWEST_ANSWERS:
        raise OutcomesError(
            f"{expert}: has {len(rows)} scores on the prompts that the scorer learns from; it needs "
            f"{_FEWEST_ANSWERS}, on prompts of the split train"
        )
    scores = features.scores[rows, column].astype(np.float64)
    return _Lesson(features.of(column, rows), scores)


def _calibrated(scorer: AnswerScorer, features: AnswerFeatures, calibrating: Rows) -> AnswerScorer:
    """A scorer whose probabilities are as often right as they say, on the prompts that calibrate it."""
    calibration = fit_calibration(
        probabilities(scorer, features, calibrating).astype(np.float32),
        features.scores[calibrating],
    )
    # A scale and a shift of the log-odds are a scale and a shift of the weights.
    scale = calibration[:, 0]
    shift = calibration[:, 1]
    return replace(scorer, weight=scorer.weight * scale[:, None], bias=scorer.bias * scale + shift)


# The weights: the most probable ones a posteriori


class _Parameters:
    """All parameters as one vector, and its parts; each part shares the vector's memory.

    Args:
        vector: (parameters,); see :meth:`count`.
        experts: How many there are.

    Attributes:
        common: Weights that all experts have in common, (features,).
        own: What each expert's weights differ from these, (experts, features).
        own_bias: The bias of each expert, (experts,).
    """

    def __init__(self, vector: Array, experts: int) -> None:
        table = vector.reshape(experts + 1, -1)
        self.common = table[0, :-1]  # The last number of this row is not used.
        self.own = table[1:, :-1]
        self.own_bias = table[1:, -1]

    @staticmethod
    def count(experts: int, features: int) -> int:
        """The length of the vector."""
        return (experts + 1) * (features + 1)

    @property
    def expert_weights(self) -> Features:
        """The weights of each expert, (experts, features)."""
        weights: Features = (self.common + self.own).astype(np.float32)
        return weights

    @property
    def bias(self) -> Features:
        """The bias of each expert, (experts,)."""
        bias: Features = self.own_bias.astype(np.float32)
        return bias


def _fit_parameters(lessons: Sequence[_Lesson], progress: Progress) -> _Parameters:
    """The parameters of the smallest loss, by L-BFGS."""
    experts = len(lessons)
    start = np.zeros(_Parameters.count(experts, lessons[0].features.shape[1]))
    with progress.bar("Fitting the scorer", _ROUNDS) as advance:
        rounds = 0

        def note_round(_: Array) -> None:
            nonlocal rounds
            rounds += 1
            advance(1)

        result = minimize(
            _loss_of(lessons),
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _ROUNDS},
            callback=note_round,
        )
        advance(_ROUNDS - rounds)  # It may need fewer.
    return _Parameters(result.x, experts)


def _loss_of(lessons: Sequence[_Lesson]) -> Callable[[Array], tuple[float, Array]]:
    """The mean negative log posterior of a vector of parameters, and its gradient."""
    experts = len(lessons)
    answers = sum(len(lesson.scores) for lesson in lessons)

    def loss(vector: Array) -> tuple[float, Array]:
        parameters = _Parameters(vector, experts)
        slopes = np.zeros_like(vector)
        gradient = _Parameters(slopes, experts)
        value = _PENALTY / 2 * np.square(parameters.common).sum()
        value += _OWN_PENALTY / 2 * np.square(parameters.own).sum()
        weights = parameters.expert_weights
        for expert, lesson in enumerate(lessons):
            odds = lesson.features @ weights[expert] + parameters.own_bias[expert]
            right: Array = logistic(odds).astype(np.float64)
            value -= _log_likelihood(right, lesson.scores)
            error = right - lesson.scores
            slope = lesson.features.T @ error.astype(np.float32)
            gradient.common += slope
            gradient.own[expert] = slope + _OWN_PENALTY * parameters.own[expert]
            gradient.own_bias[expert] = error.sum()
        gradient.common += _PENALTY * parameters.common
        return float(value) / answers, slopes / answers

    return loss


def _log_likelihood(probability: Array, scores: Array) -> float:
    """Of scores from 0 to 1, by the probability of each to be right."""
    likelihood = scores * np.log(probability + _SMALLEST)
    likelihood += (1 - scores) * np.log(1 - probability + _SMALLEST)
    return float(likelihood.sum())

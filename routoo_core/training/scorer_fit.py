"""Learn a scorer of answers: a logistic regression whose weights for each expert lie near those of all, calibrated."""

from __future__ import annotations

from collections.abc import Sequence
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
from routoo_core.request import RoutedRequest
from routoo_core.training.calibration import fit_calibration

_PENALTY = 3.0
"""On the squares of the weights that all experts have in common."""
_OWN_PENALTY = 30.0
"""On the squares of what an expert's own weights differ from them."""
_ROUNDS = 100
_SMALLEST = 1e-12
_FEWEST_ANSWERS = 20


@dataclass(frozen=True, eq=False)
class ReadAnswers:
    """Prompts and answers as numbers.

    Attributes:
        prompts: (prompts, prompt features).
        answers: (experts, prompts, answer features).
        scores: Observed, prompts × experts, 0–1 or NaN.
    """

    prompts: Features
    answers: Features
    scores: NDArray[np.float32]

    def features(self, expert: int, rows: NDArray[np.int64]) -> Features:
        """Of one expert's answers to some prompts, (rows, features)."""
        return np.hstack([self.prompts[rows], self.answers[expert, rows]])

    def observed(self, expert: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the rows in which an expert has a score."""
        observed: NDArray[np.int64] = rows[~np.isnan(self.scores[rows, expert])]
        return observed


def read_answer_features(
    outcomes: Outcomes, answers: AnswerTable, reader: AnswerReader, progress: Progress = SILENT
) -> ReadAnswers:
    """Read every prompt, and every answer to it."""
    prompts = []
    by_prompt = []
    with progress.bar("Reading answers", len(outcomes.prompts)) as advance:
        for prompt_id, prompt in zip(outcomes.prompt_ids, outcomes.prompts, strict=True):
            request = RoutedRequest.from_text(prompt)
            reading = reader.read_prompt(request)
            prompts.append(reading.features)
            said = [answers.of(prompt_id, expert) for expert in outcomes.experts]
            # Many experts say the same, which is read once.
            features = {answer: reader.read_answer(reading, answer) for answer in set(said)}
            by_prompt.append([features[answer] for answer in said])
            advance(1)
    answer_features = np.array(by_prompt, dtype=np.float32).transpose(1, 0, 2)
    return ReadAnswers(np.array(prompts), answer_features, outcomes.scores)


def fit_scorer(
    outcomes: Outcomes,
    read: ReadAnswers,
    reader: AnswerReader,
    learning: NDArray[np.int64],
    calibrating: NDArray[np.int64],
) -> AnswerScorer:
    """Learn from some prompts, and calibrate on others.

    Args:
        outcomes: Whose experts are learnt.
        read: Their answers, of the same prompts.
        reader: What read them.
        learning: Rows that the weights are learnt from.
        calibrating: Rows that say how far probabilities are to be trusted.

    Raises:
        OutcomesError: An expert has fewer than 20 scores on the prompts to learn from.
    """
    features = []
    scores = []
    for column, expert in enumerate(outcomes.experts):
        rows = read.observed(column, learning)
        if len(rows) < _FEWEST_ANSWERS:
            raise OutcomesError(
                f"{expert}: has {len(rows)} scores on the prompts that the scorer learns from; it needs "
                f"{_FEWEST_ANSWERS}, on prompts of the split train"
            )
        features.append(read.features(column, rows))
        scores.append(read.scores[rows, column].astype(np.float64))
    weight, bias = _fit_weights(features, scores)
    scorer = AnswerScorer(outcomes.experts, weight, bias, reader)
    calibration = fit_calibration(
        probabilities(scorer, read, calibrating).astype(np.float32), read.scores[calibrating]
    )
    # A scale and a shift of the log-odds are a scale and a shift of the weights.
    scale = calibration[:, 0]
    return replace(scorer, weight=weight * scale[:, None], bias=bias * scale + calibration[:, 1])


def probabilities(scorer: AnswerScorer, read: ReadAnswers, rows: NDArray[np.int64]) -> Array:
    """What a scorer says of answers that are read already, rows × experts."""
    columns = []
    for expert in range(len(scorer.experts)):
        odds = read.features(expert, rows) @ scorer.weight[expert] + scorer.bias[expert]
        columns.append(logistic(odds.astype(np.float64)))
    return np.column_stack(columns)


def _fit_weights(
    features: Sequence[Features], scores: Sequence[Array]
) -> tuple[Features, Features]:
    """Maximum a posteriori: weights of each expert, (experts, features), and its bias, (experts,)."""
    experts = len(features)
    width = features[0].shape[1]
    count = sum(len(rows) for rows in features)

    def loss(flat: Array) -> tuple[float, Array]:
        parameters = flat.reshape(experts + 1, width + 1)
        common = parameters[0, :-1]
        own = parameters[1:, :-1]
        value = _PENALTY / 2 * np.square(common).sum() + _OWN_PENALTY / 2 * np.square(own).sum()
        gradient = np.zeros_like(parameters)
        for expert, (rows, score) in enumerate(zip(features, scores, strict=True)):
            weight = (common + own[expert]).astype(np.float32)
            right = logistic(rows @ weight + parameters[expert + 1, -1])
            likelihood = score * np.log(right + _SMALLEST)
            likelihood += (1 - score) * np.log(1 - right + _SMALLEST)
            value -= float(likelihood.sum())
            error = right - score
            slope = rows.T @ error.astype(np.float32)
            gradient[0, :-1] += slope
            gradient[expert + 1, :-1] = slope + _OWN_PENALTY * own[expert]
            gradient[expert + 1, -1] = error.sum()
        gradient[0, :-1] += _PENALTY * common
        return value / count, gradient.ravel() / count

    start = np.zeros((experts + 1) * (width + 1))
    result = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _ROUNDS})
    parameters = result.x.reshape(experts + 1, width + 1)
    weight = (parameters[0, :-1] + parameters[1:, :-1]).astype(np.float32)
    return weight, parameters[1:, -1].astype(np.float32)

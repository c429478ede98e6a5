"""An estimate of what a scoring will cost, before any expert is called."""

from __future__ import annotations

from dataclasses import dataclass

from routoo_core.asking.asker import Asker
from routoo_core.asking.calls import Answer, Call, Chat
from routoo_core.errors import NoCapableExpert
from routoo_core.experts import Expert
from routoo_core.limits import TYPICAL_OUTPUT_TOKENS
from routoo_core.money import NanoUsd
from routoo_core.router import Router
from routoo_core.scoring.task import ScoringTask


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What asking an expert is expected to cost, nano-USD.

    Attributes:
        calls: Calls still to be made.
        stored: Calls that were answered before.
        expected: Cost with answers of the usual length.
        maximum: Cost with answers as long as allowed.
    """

    calls: int = 0
    stored: int = 0
    expected: NanoUsd = 0
    maximum: NanoUsd = 0

    def __add__(self, other: CostEstimate) -> CostEstimate:
        return CostEstimate(
            self.calls + other.calls,
            self.stored + other.stored,
            self.expected + other.expected,
            self.maximum + other.maximum,
        )


def estimate_costs(task: ScoringTask, asker: Asker) -> dict[str, CostEstimate]:
    """The calls that are still to be made and their cost, by expert; no expert is asked.

    A judge's calls are estimated with answers of the usual length where there are none yet.

    Args:
        task: Prompts, experts and grader.
        asker: Has the stored answers and the prices; it asks nobody here.
    """
    estimates = {expert.name: CostEstimate() for expert in task.pool}
    for row in task.rows:
        for expert in task.experts:
            answers = []
            for call in task.grader.calls(row):
                answer = asker.store.get(expert, call)
                estimates[expert.name] += _estimate_call(asker.router, expert, call, answer)
                answers.append(answer or _typical_answer(call))

            if task.judge is None:
                continue
            for call in task.grader.judge_calls(row, answers):
                answer = asker.store.get(task.judge, call)
                estimates[task.judge.name] += _estimate_call(asker.router, task.judge, call, answer)
    return estimates


def _estimate_call(
    router: Router, expert: Expert, call: Call, answer: Answer | None
) -> CostEstimate:
    """What one call will cost; nothing where the expert cannot serve it."""
    if answer is not None:
        return CostEstimate(stored=1)
    try:
        decision = router.decide(call.request(expert.name))
    except NoCapableExpert:
        return CostEstimate()
    candidate = decision.candidates[0]
    return CostEstimate(calls=1, expected=candidate.expected_cost, maximum=candidate.maximum_cost)


def _typical_answer(call: Call) -> Answer:
    """An answer of the usual length, for a judge to be asked about."""
    words = 0
    if isinstance(call, Chat):
        words = min(call.max_tokens, TYPICAL_OUTPUT_TOKENS)
    return Answer(" answer" * words, 0.0, 0, 0, 0, 0.0)

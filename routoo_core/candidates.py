"""Step 3 of the path: the experts that can serve a request, with predicted quality and cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from routoo_core.answer import QUOTED_BYTES
from routoo_core.errors import ContextWindowExceeded, NoCapableExpert
from routoo_core.experts import Expert
from routoo_core.latency import Latencies
from routoo_core.limits import TYPICAL_OUTPUT_TOKENS
from routoo_core.money import NANO_PER_USD, NanoUsd, format_usd, plain_usd
from routoo_core.plans.plan import Ask, Plan
from routoo_core.predictor.base import Forecast
from routoo_core.prices import TokenPrices
from routoo_core.request import RoutedRequest
from routoo_core.usage import Usage

AMPLE_FACTOR = 4
"""A reply that may be so many times as long as expected is hardly ever cut short."""
CACHED_PREFIX_TOKENS = 1024
"""The shortest prompt, or prefix of one, that providers cache."""
_SHOWN_TOKENS = 500
"""Tokens that an expert probably is shown of what others answered."""
_SHOWN_TOKEN_BOUND = QUOTED_BYTES + 1000
"""The most tokens that it is shown, with what it is told about them."""
_TOKENS_AROUND_ANSWER = 100
"""The most tokens that stand around one of several answers: its number, a mark that it is cut."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An expert, or a plan, that could answer.

    Attributes:
        expert: The expert; of a plan, the one that is asked first.
        quality: Predicted, 0–1.
        expected_cost: What the call will probably cost, nano-USD.
        maximum_cost: The most it can cost, nano-USD.
        latency: Seconds its replies took lately; ``None`` before the first.
        minimum_cost: The least worth holding for it, nano-USD; below ``maximum_cost`` where the
            router may limit the reply.
        ample_cost: What must be held for a reply that is hardly ever cut short, nano-USD; between ``minimum_cost`` and
            ``maximum_cost``.
        continued_cost: The expected cost had it answered the conversation's last turn, nano-USD; ``None`` where that
            changes nothing.
        deviation: Standard deviation of the quality in log-odds; ``None`` where the predictor does not say.
        plan: The plan; ``None`` for an expert alone.
        steps: A candidate for each step of the plan, whose money is held together.
    """

    expert: Expert
    quality: float
    expected_cost: int
    maximum_cost: int
    latency: float | None = None
    minimum_cost: int = 0
    ample_cost: int = 0
    continued_cost: int | None = None
    deviation: float | None = None
    plan: Plan | None = None
    steps: tuple[Candidate, ...] = ()

    @property
    def name(self) -> str:
        """What it is called: the plan's name, or the expert's."""
        return self.plan.name if self.plan else self.expert.name

    @property
    def predicted_as(self) -> str:
        """What the predictor calls it."""
        return self.plan.name if self.plan else self.expert.predicted_as

    @property
    def expert_names(self) -> frozenset[str]:
        """Everyone who may be asked for it."""
        if not self.plan:
            return frozenset({self.expert.name})
        return frozenset(step.expert.name for step in self.steps)


@dataclass(frozen=True, slots=True)
class CallCost:
    """What one call to an expert costs, nano-USD.

    Attributes:
        expected: What it will probably cost.
        minimum: The least worth holding: the maximum where the caller set a limit on the reply,
            else the cost of a typical reply.
        ample: The cost of a reply :data:`AMPLE_FACTOR` times as long as a typical one; never above the maximum.
        maximum: The most it can cost.
        continued: What it would probably cost had the expert answered the last turn; ``None`` where that changes
            nothing.
    """

    expected: int
    minimum: int
    ample: int
    maximum: int
    continued: int | None = None


def capable_experts(experts: Iterable[Expert], request: RoutedRequest) -> list[Expert]:
    """The experts that can serve a request.

    An expert's window must have room for the prompt and a reply of the caller's limit. If no window has, experts with
    room for a shorter reply are capable: a shorter reply keeps the caller's limit, too.

    Raises:
        ContextWindowExceeded: None of them can, but one could if the prompt were shorter.
        NoCapableExpert: None of them can; the error says what each one lacks.
    """
    candidates = list(experts)
    capable, lacking = _sort_by_ability(candidates, request)
    if not capable and request.max_tokens is not None:
        unlimited_request = replace(request, max_tokens=None)
        capable, _ = _sort_by_ability(candidates, unlimited_request)
    if not capable:
        has_only_short_window = [_lacks_only_window(expert, request) for expert in candidates]
        kind = ContextWindowExceeded if any(has_only_short_window) else NoCapableExpert
        raise kind(lacking)
    return capable


def _sort_by_ability(
    experts: Iterable[Expert], request: RoutedRequest
) -> tuple[list[Expert], dict[str, list[str]]]:
    """Those that can serve a request, and what each one lacks."""
    capable: list[Expert] = []
    lacking: dict[str, list[str]] = {}
    for expert in experts:
        lacks = missing_abilities(expert, request)
        lacking[expert.name] = lacks
        if not lacks:
            capable.append(expert)
    return capable, lacking


def _lacks_only_window(expert: Expert, request: RoutedRequest) -> bool:
    """Whether an expert could serve a request if its prompt were shorter."""
    return not _has_room(expert, request) and len(missing_abilities(expert, request)) == 1


def _has_room(expert: Expert, request: RoutedRequest) -> bool:
    """Whether the prompt and the reply that is needed fit an expert's window."""
    tokens = expert.prompt_tokens(request) + expert.needed_output_tokens(request)
    return tokens <= expert.context_window


def missing_abilities(expert: Expert, request: RoutedRequest) -> list[str]:
    """What an expert lacks to serve a request, in words."""
    lacks = expert.lacks(request.needs)

    unpriced_names = request.unpriced - expert.pass_through
    if unpriced_names and not expert.is_free:
        for name in sorted(unpriced_names):
            lacks.append(f"{name!r} in its pass_through (it may cost more than is held)")

    if not _has_room(expert, request):
        prompt_tokens = expert.prompt_tokens(request)
        lacks.append(f"a context window of {prompt_tokens} tokens and the reply")

    limit = request.overrides.max_cost
    if limit is not None:
        least_cost = call_cost(expert, request).minimum
        if least_cost > limit:
            lacks.append(
                f"a price of at most {plain_usd(limit)} (it needs {format_usd(least_cost)})"
            )
    return lacks


def call_cost(
    expert: Expert,
    request: RoutedRequest,
    predicted_length: float | None = None,
    min_reply_tokens: int = 0,
) -> CallCost:
    """What a call costs.

    Args:
        expert: The expert.
        request: The call.
        predicted_length: Predicted tokens of this prompt's reply; ``None`` where no length is known.
        min_reply_tokens: A reply must be allowed at least so many tokens, as far as other limits permit.
    """
    max_tokens = expert.reply_limit(request) * request.completions
    typical_tokens = _typical_length(expert, predicted_length) * request.completions
    typical_tokens = min(max_tokens, typical_tokens)

    prompt_bound = expert.prompt_token_bound(request)
    prices = expert.dearest_prices(prompt_bound)
    maximum = TokenPrices.maximum_cost(prices, prompt_bound, max_tokens)
    minimum = maximum
    ample = maximum
    if request.max_tokens is None:
        least_tokens = max(typical_tokens, min_reply_tokens * request.completions)
        ample_tokens = max(least_tokens, typical_tokens * AMPLE_FACTOR)
        minimum = TokenPrices.maximum_cost(prices, prompt_bound, min(max_tokens, least_tokens))
        ample = TokenPrices.maximum_cost(prices, prompt_bound, min(max_tokens, ample_tokens))

    expected = expert.cost(_expected_usage(expert, request, typical_tokens))
    continuation = _continued_cost(expert, request, typical_tokens)
    return CallCost(
        expected=expected,
        minimum=minimum,
        ample=ample,
        maximum=maximum,
        continued=None if continuation == expected else continuation,
    )


def _continued_cost(expert: Expert, request: RoutedRequest, typical_tokens: int) -> NanoUsd | None:
    """What a call would probably cost had the expert answered the last turn; ``None`` where that changes nothing."""
    if request.previous is None or expert.prompt_tokens(request) < CACHED_PREFIX_TOKENS:
        return None
    turn = request.previous._replace(expert=expert.name)
    return expert.cost(_expected_usage(expert, replace(request, previous=turn), typical_tokens))


def _expected_usage(expert: Expert, request: RoutedRequest, typical_tokens: int) -> Usage:
    """What a call will probably use: what the provider has cached is read from there, and it caches the rest."""
    prompt_tokens = expert.prompt_tokens(request)
    is_cached = request.caches_prompt or not expert.caches_on_request
    if not is_cached or prompt_tokens < CACHED_PREFIX_TOKENS:
        return Usage(prompt_tokens, typical_tokens)
    cached_tokens = min(prompt_tokens, _cached_prefix(expert, request))
    return Usage(
        prompt_tokens,
        typical_tokens,
        cached_tokens,
        cache_write_tokens=prompt_tokens - cached_tokens,
    )


def _typical_length(expert: Expert, predicted_length: float | None) -> int:
    """Expected tokens of a reply: the expert's setting, else what is predicted, else a constant."""
    if expert.expected_output_tokens:
        return expert.expected_output_tokens
    if predicted_length:
        return round(predicted_length)
    return TYPICAL_OUTPUT_TOKENS


def _cached_prefix(expert: Expert, request: RoutedRequest) -> int:
    """Prompt tokens that the expert's provider has probably cached since the last turn."""
    turn = request.previous
    if turn is None or turn.expert != expert.name or turn.tokens < CACHED_PREFIX_TOKENS:
        return 0
    return turn.tokens


def make_candidate(
    expert: Expert,
    request: RoutedRequest,
    quality: float,
    latency: float | None,
    cost: CallCost,
) -> Candidate:
    """A candidate of an expert, whose cost the caller may have limited; see :class:`Candidate`."""
    maximum = cost.maximum
    if request.overrides.max_cost is not None:
        maximum = min(maximum, request.overrides.max_cost)
    return Candidate(
        expert=expert,
        quality=quality,
        expected_cost=cost.expected,
        maximum_cost=maximum,
        latency=latency,
        minimum_cost=min(cost.minimum, maximum),
        ample_cost=min(cost.ample, maximum),
        continued_cost=cost.continued,
    )


@dataclass(frozen=True, slots=True)
class PredictedCall:
    """A call, and what is predicted of it.

    Attributes:
        request: The call.
        prediction: Predicted for its prompt, one row.
        columns: Expert or plan → column of the prediction.
        latencies: How long experts took lately.
        min_reply_tokens: See :func:`call_cost`.
    """

    request: RoutedRequest
    prediction: Forecast
    columns: Mapping[str, int]
    latencies: Latencies
    min_reply_tokens: int = 0


def make_candidates(experts: Sequence[Expert], call: PredictedCall) -> tuple[Candidate, ...]:
    """The candidates of a call, in the order of the experts.

    Args:
        experts: Those that can serve it.
        call: What is predicted of it.
    """
    request = call.request
    prediction = call.prediction
    candidates = []
    for expert in experts:
        column = call.columns[expert.name]
        quality = float(prediction.quality[0, column])
        length = None if prediction.lengths is None else float(prediction.lengths[0, column])
        latency = call.latencies.of(expert.name)
        cost = call_cost(expert, request, length, call.min_reply_tokens)
        candidate = make_candidate(expert, request, quality, latency, cost)
        if prediction.deviation is not None:
            deviation = float(prediction.deviation[0, column])
            candidate = replace(candidate, deviation=deviation)
        candidates.append(candidate)
    return tuple(candidates)


def make_plan_candidates(
    plans: Sequence[Plan], capable: Sequence[Expert], call: PredictedCall
) -> tuple[Candidate, ...]:
    """The candidates of the plans that can serve a call: those whose experts all can.

    Args:
        plans: Those that are offered.
        capable: The experts that can serve it.
        call: What is predicted of it.
    """
    request = call.request
    expert_of = {expert.name: expert for expert in capable}
    candidates = []
    for plan in plans:
        names = {step.expert for step in plan.steps}
        if not names <= expert_of.keys() or not plan.suits(request):
            continue
        steps: list[Candidate] = []
        for step in plan.steps:
            step_request = _continued_by(plan, step.expert, request)
            if step.sees_answers:
                step_request = _with_answers_shown(step_request, len(plan.steps))
            experts = [expert_of[step.expert]]
            if step.sees_answers and missing_abilities(experts[0], step_request):
                break
            steps += make_candidates(experts, replace(call, request=step_request))
        if len(steps) < len(plan.steps):
            continue
        quality = float(call.prediction.quality[0, call.columns[plan.name]])
        candidate = _plan_candidate(plan, tuple(steps), quality, request)
        if candidate.minimum_cost <= candidate.maximum_cost:
            candidates.append(candidate)
    return tuple(candidates)


def _first_round(plan: Plan, request: RoutedRequest) -> tuple[int, ...]:
    """The places of the steps that a plan asks in any case."""
    first = plan.verdict(request, ())
    return first.steps if isinstance(first, Ask) else ()


def _continued_by(plan: Plan, expert: str, request: RoutedRequest) -> RoutedRequest:
    """The call to an expert; one that the plan asked in the last turn as well has read that turn's prompt."""
    turn = request.previous
    if turn is None or turn.plan != plan.name or turn.expert == expert:
        return request
    readers = {plan.steps[place].expert for place in _first_round(plan, request)}
    if expert not in readers:
        return request
    return replace(request, previous=turn._replace(expert=expert, tokens=turn.prompt_tokens))


def _with_answers_shown(request: RoutedRequest, answers: int) -> RoutedRequest:
    """A call that goes on with what so many others answered, as long as that may be."""
    around_answers = answers * _TOKENS_AROUND_ANSWER
    return replace(
        request,
        prompt_tokens=request.prompt_tokens + _SHOWN_TOKENS,
        prompt_token_bound=request.prompt_token_bound + _SHOWN_TOKEN_BOUND + around_answers,
    )


def _plan_candidate(
    plan: Plan, steps: tuple[Candidate, ...], quality: float, request: RoutedRequest
) -> Candidate:
    """A plan's candidate: what its steps cost together, each as often as it is asked."""
    expected = 0.0
    for step, candidate in zip(plan.steps, steps, strict=True):
        expected += step.share * candidate.expected_cost
    maximum = sum(candidate.maximum_cost for candidate in steps)
    if request.overrides.max_cost is not None:
        maximum = min(maximum, request.overrides.max_cost)
    return Candidate(
        expert=steps[0].expert,
        quality=quality,
        expected_cost=round(expected),
        maximum_cost=maximum,
        latency=_plan_latency(plan, steps, request),
        minimum_cost=sum(candidate.minimum_cost for candidate in steps),
        ample_cost=sum(candidate.ample_cost for candidate in steps),
        plan=plan,
        steps=steps,
    )


def _plan_latency(
    plan: Plan, candidates: Sequence[Candidate], request: RoutedRequest
) -> float | None:
    """Seconds that a plan takes: the slowest of its first round, and the steps behind it; ``None`` before the first.

    A later step that was not measured yet counts as nothing.
    """
    together = _first_round(plan, request)
    slowest = 0.0
    seconds = 0.0
    for place, (step, candidate) in enumerate(zip(plan.steps, candidates, strict=True)):
        if place in together:
            if candidate.latency is None:
                return None
            slowest = max(slowest, candidate.latency)
        else:
            seconds += step.share * (candidate.latency or 0.0)
    return slowest + seconds


def qualities(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Predicted quality of each candidate, 0–1."""
    return np.array([candidate.quality for candidate in candidates])


def costs(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Expected cost of each candidate in USD."""
    return np.array([candidate.expected_cost / NANO_PER_USD for candidate in candidates])

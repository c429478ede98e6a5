"""Calls as spans and metrics of OpenTelemetry, by its conventions for generative AI; never a prompt, a reply or a key.

Everything goes to the providers that the application has set up. Without any, or without the package, nothing is
recorded. What is Routoo's own stands under ``routoo.``.

Names are those of the semantic conventions for generative AI 0.1 (``gen_ai.client.inference``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from routoo_core.experts import Expert
from routoo_core.failures import Failure
from routoo_core.usage import Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from routoo_core.record import AttemptRecord, DecisionRecord

CHAT = "chat"
EMBEDDINGS = "embeddings"
"""Names of operations."""

_NAME = "routoo"
_API = ("opentelemetry.metrics", "opentelemetry.trace")
_NS_PER_S = 1e9
_DURATIONS_S = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
"""Boundaries of the convention's histograms."""
_DECISIONS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_PROVIDERS = {
    "anthropic": "anthropic",
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "groq": "groq",
    "ibm": "ibm.watsonx.ai",
    "mistralai": "mistral_ai",
    "perplexity": "perplexity",
    "xai": "x_ai",
}
"""``provider`` of an expert → its name in the conventions; others are what they say, and none is ``openai``."""


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """An attempt that has ended.

    Attributes:
        expert: Who was asked.
        record: How it ended, and for how much.
        account: Whose money.
        started_ns: When it began, nanoseconds since the epoch.
        first_shown_ns: When the caller had the first piece of a stream; ``None`` where it had none.
        max_tokens: The limit on the reply.
        usage: As reported; ``None`` for nothing.
        failure: Why it failed; ``None`` where it did not.
    """

    expert: Expert
    record: AttemptRecord
    account: str
    started_ns: int
    first_shown_ns: int | None
    max_tokens: int
    usage: Usage | None
    failure: Failure | None

    @property
    def error_type(self) -> str | None:
        """Why it failed or was rejected, a status or a word; ``None`` where it was not."""
        if self.record.outcome == "failed" and self.failure is not None:
            return str(self.failure.status or self.failure.reason)
        return "rejected" if self.record.outcome == "rejected" else None


@dataclass(frozen=True)
class _Instruments:
    """Where spans and figures go."""

    tracer: Tracer
    inference_s: Any
    operation_s: Any
    first_chunk_s: Any
    input_tokens: Any
    output_tokens: Any
    cost_usd: Any
    decision_s: Any


@lru_cache(maxsize=1)
def _instruments() -> _Instruments | None:
    """Those of the application's providers, whenever it sets them up; ``None`` without the package."""
    try:
        from opentelemetry import metrics, trace
    except ImportError:
        return None
    meter = metrics.get_meter(_NAME)

    def seconds(name: str, about: str, bounds: tuple[float, ...] = _DURATIONS_S) -> Any:
        return meter.create_histogram(name, "s", about, explicit_bucket_boundaries_advisory=bounds)

    return _Instruments(
        tracer=trace.get_tracer(_NAME),
        inference_s=seconds("gen_ai.client.inference.duration", "Duration of a call to an expert."),
        operation_s=seconds("gen_ai.client.operation.duration", "Duration of other operations."),
        first_chunk_s=seconds(
            "gen_ai.client.inference.time_to_first_chunk", "Time to the first piece of a stream."
        ),
        input_tokens=meter.create_counter(
            "gen_ai.client.inference.usage.input_tokens", "{token}", "Tokens of prompts."
        ),
        output_tokens=meter.create_counter(
            "gen_ai.client.inference.usage.output_tokens", "{token}", "Tokens of replies."
        ),
        cost_usd=meter.create_counter("routoo.cost", "{USD}", "USD booked."),
        decision_s=seconds("routoo.decision.duration", "Time of predictions.", _DECISIONS_S),
    )


def _is_set_up() -> bool:
    """Whether the application has set a provider up: those of the API's own packages do nothing."""
    if _instruments() is None:
        return False
    from opentelemetry import metrics, trace

    providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
    return any(not type(provider).__module__.startswith(_API) for provider in providers)


class CallTrace:
    """One call: a span for all of it, and one for each attempt, under whatever span is current when it begins.

    Args:
        operation: What is done.
    """

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._instruments = _instruments() if _is_set_up() else None
        self._span: Span | None = None
        if self._instruments is not None:
            tracer = self._instruments.tracer
            span = tracer.start_span(
                f"{_NAME} {operation}", attributes={"routoo.operation": operation}
            )
            self._span = span

    def note_attempt(self, facts: AttemptFacts) -> None:
        """Record an attempt that has ended."""
        if self._instruments is None or self._span is None:
            return
        common = self._common_attributes(facts)
        ended_ns = time.time_ns()
        self._measure(self._instruments, facts, common, ended_ns)
        if self._span.is_recording():
            self._record_span(self._instruments, facts, common, ended_ns)

    def end(
        self, predict_ms: float, record: Callable[[], DecisionRecord], error_type: str | None
    ) -> None:
        """Record how the call ended.

        Args:
            predict_ms: Milliseconds that the prediction took.
            record: Makes the record of its last attempt.
            error_type: Why it failed; ``None`` where an expert answered.
        """
        if self._instruments is None or self._span is None:
            return
        if self._operation == CHAT:
            self._instruments.decision_s.record(predict_ms / 1e3)
        if self._span.is_recording():
            self._span.set_attributes(_decision_attributes(record()))
            self._end_span(self._span, error_type)

    def fail(self, error_type: str) -> None:
        """Record a call for which no expert was called."""
        if self._span is not None and self._span.is_recording():
            self._end_span(self._span, error_type)

    def _common_attributes(self, facts: AttemptFacts) -> dict[str, Any]:
        """What spans and figures of an attempt both say."""
        expert = facts.expert
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": self._operation,
            "gen_ai.provider.name": _provider_of(expert),
            "gen_ai.request.model": expert.model,
            "routoo.expert": expert.name,
            **_server_of(expert.base_url),
        }
        if facts.record.answered_model is not None:
            attributes["gen_ai.response.model"] = facts.record.answered_model
        if facts.error_type is not None:
            attributes["error.type"] = facts.error_type
        return attributes

    def _measure(
        self,
        instruments: _Instruments,
        facts: AttemptFacts,
        common: Mapping[str, Any],
        ended_ns: int,
    ) -> None:
        is_inference = self._operation != EMBEDDINGS
        duration = instruments.inference_s if is_inference else instruments.operation_s
        duration.record((ended_ns - facts.started_ns) / _NS_PER_S, common)
        instruments.cost_usd.add(float(Decimal(facts.record.settled_usd)), common)
        if facts.first_shown_ns is not None:
            waited_ns = facts.first_shown_ns - facts.started_ns
            instruments.first_chunk_s.record(waited_ns / _NS_PER_S, common)
        if facts.usage is not None and is_inference:
            instruments.input_tokens.add(facts.usage.prompt_tokens, common)
            instruments.output_tokens.add(facts.usage.completion_tokens, common)

    def _record_span(
        self,
        instruments: _Instruments,
        facts: AttemptFacts,
        common: Mapping[str, Any],
        ended_ns: int,
    ) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context

        assert self._span is not None  # noqa: S101
        span = instruments.tracer.start_span(
            f"{self._operation} {facts.expert.model}",
            context=set_span_in_context(self._span),
            kind=SpanKind.CLIENT,
            attributes={**common, **_attempt_attributes(facts)},
            start_time=facts.started_ns,
        )
        self._end_span(span, facts.error_type, ended_ns)

    def _end_span(self, span: Span, error_type: str | None, ended_ns: int | None = None) -> None:
        from opentelemetry.trace import StatusCode

        if error_type is not None:
            span.set_attribute("error.type", error_type)
            span.set_status(StatusCode.ERROR)
        span.end(ended_ns)


@contextmanager
def caller_trace(headers: Mapping[str, str]) -> Iterator[None]:
    """Let calls of the block be part of the trace that a request's headers name.

    Args:
        headers: Their names in lower case.
    """
    if _instruments() is None or "traceparent" not in headers:
        yield
        return
    from opentelemetry import context, propagate

    token = context.attach(propagate.extract(headers))
    try:
        yield
    finally:
        context.detach(token)


def _attempt_attributes(facts: AttemptFacts) -> dict[str, Any]:
    record = facts.record
    attributes: dict[str, Any] = {
        "gen_ai.request.max_tokens": facts.max_tokens,
        "routoo.account": facts.account,
        "routoo.outcome": record.outcome,
        "routoo.held_usd": record.held_usd,
        "routoo.settled_usd": record.settled_usd,
        "routoo.estimated": record.estimated,
    }
    if facts.first_shown_ns is not None:
        waited_ns = facts.first_shown_ns - facts.started_ns
        attributes["gen_ai.request.stream"] = True
        attributes["gen_ai.response.time_to_first_chunk"] = waited_ns / _NS_PER_S
    if facts.usage is not None:
        usage = facts.usage
        attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        attributes["gen_ai.usage.output_tokens"] = usage.completion_tokens
        for name, tokens in (
            ("cache_read.input_tokens", usage.cached_tokens),
            ("cache_write.input_tokens", usage.cache_write_tokens),
            ("reasoning.output_tokens", usage.reasoning_tokens),
        ):
            if tokens:
                attributes[f"gen_ai.usage.{name}"] = tokens
    return attributes


def _decision_attributes(record: DecisionRecord) -> dict[str, Any]:
    """The decision, with the candidates in their order; ``None`` is left out."""
    values: dict[str, Any] = {
        "routoo.expert": record.expert,
        "routoo.plan": record.plan,
        "routoo.policy": record.policy.name,
        "routoo.lambda": record.lambda_,
        "routoo.router": record.router,
        "routoo.account": record.account,
        "routoo.candidates": [candidate.expert for candidate in record.candidates],
        "routoo.qualities": [float(candidate.quality) for candidate in record.candidates],
        "routoo.expected_usd": [candidate.expected_usd for candidate in record.candidates],
        "routoo.attempts": len(record.attempts),
        "routoo.total_usd": record.total_usd,
        "routoo.remaining_usd": record.remaining_usd,
        "routoo.predict_ms": record.predict_ms,
        "routoo.previous": record.previous,
    }
    return {name: value for name, value in values.items() if value is not None}


def _provider_of(expert: Expert) -> str:
    if expert.provider is None:
        return "openai"
    return _PROVIDERS.get(expert.provider, expert.provider)


@lru_cache(maxsize=1024)
def _server_of(base_url: str | None) -> dict[str, Any]:
    """Host and port of an address that was set."""
    if base_url is None:
        return {}
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname or "", "server.port": port}

"""Figures of a running gateway in Prometheus' text: calls, tokens, money, times, refusals, experts that cool down.

Workers of one machine keep their figures in files of a common folder, as ``prometheus_client`` does where
:data:`SHARED_FOLDER_VARIABLE` names one; each of them tells the figures of all.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from routoo_core.record import DecisionRecord
from routoo_core.router import Router
from routoo_core.usage import Usage

CONTENT_TYPE = CONTENT_TYPE_LATEST
SHARED_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Of the environment; ``prometheus_client`` reads it when it is imported."""

_SHORT_TIMES_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_LONG_TIMES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
_MOST_ACCOUNTS = 1000
_OTHERS = "(others)"
"""Stands for the accounts beyond :data:`_MOST_ACCOUNTS`: callers may name them, and each takes memory."""


class GatewayMetrics:
    """Counts what a gateway does; safe from any thread.

    Args:
        router: Whose experts are looked at when the figures are read.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._accounts: set[str] = set()
        self._lock = threading.Lock()
        self.registry = CollectorRegistry()
        by_payer = ("expert", "account")
        self._calls = self._counter(
            "routoo_calls", "Calls to experts, by how they ended.", (*by_payer, "outcome")
        )
        self._tokens = self._counter(
            "routoo_tokens", "Tokens that experts reported.", (*by_payer, "kind")
        )
        self._usd = self._counter("routoo_usd", "USD booked.", by_payer)
        self._cached_replies = self._counter(
            "routoo_cached_replies", "Calls that were answered from the cache.", ("account",)
        )
        self._refusals = self._counter(
            "routoo_refusals", "Requests that were answered with an error.", ("code",)
        )
        self._remaining = Gauge(
            "routoo_remaining_usd",
            "USD left to an account after its last call.",
            ("account",),
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self._cooling = Gauge(
            "routoo_expert_cooling_down",
            "1 for an expert that failed lately and is asked last.",
            ("expert",),
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self._prediction = self._histogram(
            "routoo_prediction_seconds", "Time that predictions took.", _SHORT_TIMES_S
        )
        self._first = self._histogram(
            "routoo_first_event_seconds", "Time to the first event of a stream.", _LONG_TIMES_S
        )
        self._whole = self._histogram(
            "routoo_reply_seconds", "Time to a whole reply.", _LONG_TIMES_S
        )

    # What happens

    def note_end(self, record: DecisionRecord, usages: Mapping[str, Usage]) -> None:
        """Count the attempts of a call that has ended.

        Args:
            record: Of the attempt that ended it.
            usages: Expert → what it reported.
        """
        account = self._label(record.account or "")
        for attempt in record.attempts:
            self._calls.labels(attempt.expert, account, attempt.outcome).inc()
            self._usd.labels(attempt.expert, account).inc(float(Decimal(attempt.settled_usd)))
        if record.remaining_usd is not None:
            self._remaining.labels(account).set(float(Decimal(record.remaining_usd)))
        for expert, usage in usages.items():
            for kind, tokens in _kinds_of(usage):
                self._tokens.labels(expert, account, kind).inc(tokens)
        self._prediction.observe(record.predict_ms / 1e3)

    def note_cached_reply(self, record: DecisionRecord) -> None:
        """Count a call that was answered from the cache."""
        self._cached_replies.labels(self._label(record.account or "")).inc()

    def note_refusal(self, code: str) -> None:
        """Count a request that was answered with an error."""
        self._refusals.labels(code).inc()

    def note_first_event(self, seconds: float) -> None:
        """Note how long a stream's first event took."""
        self._first.observe(seconds)

    def note_reply(self, seconds: float) -> None:
        """Note how long a whole reply took."""
        self._whole.observe(seconds)

    # What they come to

    def text(self) -> bytes:
        """All figures, as Prometheus reads them."""
        cooling = self._router.cooldowns.current()
        for expert in self._router.pool:
            self._cooling.labels(expert.name).set(expert.name in cooling)
        if SHARED_FOLDER_VARIABLE not in os.environ:
            return generate_latest(self.registry)
        of_all_workers = CollectorRegistry()
        MultiProcessCollector(of_all_workers)  # type: ignore[no-untyped-call]
        return generate_latest(of_all_workers)

    def _label(self, account: str) -> str:
        with self._lock:
            if account in self._accounts:
                return account
            if len(self._accounts) >= _MOST_ACCOUNTS:
                return _OTHERS
            self._accounts.add(account)
        return account

    def _counter(self, name: str, about: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, about, buckets=buckets, registry=self.registry)


@contextmanager
def shared_figures() -> Iterator[None]:
    """Processes that are started in this block keep their figures together."""
    with tempfile.TemporaryDirectory(prefix="routoo-figures-") as folder:
        os.environ[SHARED_FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[SHARED_FOLDER_VARIABLE]


def _kinds_of(usage: Usage) -> Iterator[tuple[str, int]]:
    """The kinds of tokens that there are any of."""
    for kind, tokens in (
        ("prompt", usage.prompt_tokens),
        ("cached", usage.cached_tokens),
        ("completion", usage.completion_tokens),
        ("reasoning", usage.reasoning_tokens),
    ):
        if tokens:
            yield kind, tokens

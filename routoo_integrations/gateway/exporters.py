"""Where the gateway's spans and metrics go: as OpenTelemetry's own variables (``OTEL_…``) say, else nowhere."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from routoo_core.errors import ConfigurationError, MissingDependency

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
_HTTP = "http/protobuf"
_SERVICE = "routoo"
_KINDS = ("otlp", "console", "none")


@contextmanager
def exporting(environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Export spans and metrics in the block, and what is left at its end, also where SIGTERM ends the process.

    Providers that are there already, such as those of ``opentelemetry-instrument``, stay as they are.

    Args:
        environment: Variables; by default the process's.

    Raises:
        ConfigurationError: A variable has a value that is not supported.
        MissingDependency: Something is to be exported, and the package is not installed.
    """
    variables = os.environ if environment is None else environment
    shutdowns: list[Callable[[], Any]] = []
    if variables.get("OTEL_SDK_DISABLED", "").lower() != "true":
        traces = _exporter_kind(variables, "TRACES")
        metrics = _exporter_kind(variables, "METRICS")
        if traces != "none":
            shutdowns += _export_traces(traces, variables)
        if metrics != "none":
            shutdowns += _export_metrics(metrics, variables)
    with _unwinding_at_sigterm():
        try:
            yield
        finally:
            for shutdown in shutdowns:
                shutdown()


class _Termination(BaseException):
    """SIGTERM as an exception, so that open blocks come to their end."""


@contextmanager
def _unwinding_at_sigterm() -> Iterator[None]:
    """End the block by an exception at SIGTERM, and then the process as the signal would have.

    A server of uvicorn stops at SIGTERM, and raises it again when it has stopped.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _raise_termination)
    is_terminated = False
    try:
        yield
    except _Termination:
        is_terminated = True
    finally:
        signal.signal(signal.SIGTERM, previous)
    if is_terminated:
        signal.raise_signal(signal.SIGTERM)


def _raise_termination(number: int, frame: FrameType | None) -> None:
    raise _Termination


def _exporter_kind(variables: Mapping[str, str], signal: str) -> str:
    """How a signal is exported.

    Raises:
        ConfigurationError: In a way that is not supported.
    """
    name = f"OTEL_{signal}_EXPORTER"
    has_endpoint = variables.get(_ENDPOINT) or variables.get(
        f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    )
    kind = variables.get(name, "").strip() or ("otlp" if has_endpoint else "none")
    if kind not in _KINDS:
        raise ConfigurationError(
            f"{name}: {kind!r} is not supported; write one of {', '.join(_KINDS)}, or "
            "start with opentelemetry-instrument"
        )
    protocol = variables.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or variables.get(_PROTOCOL)
    if kind == "otlp" and protocol not in {None, _HTTP}:
        raise ConfigurationError(
            f"{_PROTOCOL}: {protocol!r} is not supported; write {_HTTP}, or start with opentelemetry-instrument"
        )
    return kind


def _export_traces(kind: str, variables: Mapping[str, str]) -> list[Callable[[], Any]]:
    """Set the provider of spans up; what is to be done at the end."""
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ImportError as error:
        raise _missing() from error
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return []
    provider = TracerProvider(resource=_resource(variables), shutdown_on_exit=False)
    exporter = OTLPSpanExporter() if kind == "otlp" else ConsoleSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return [provider.shutdown]


def _export_metrics(kind: str, variables: Mapping[str, str]) -> list[Callable[[], Any]]:
    """Set the provider of metrics up; what is to be done at the end."""
    try:
        from opentelemetry import metrics
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import (
            ConsoleMetricExporter,
            PeriodicExportingMetricReader,
        )
    except ImportError as error:
        raise _missing() from error
    if isinstance(metrics.get_meter_provider(), MeterProvider):
        return []
    exporter = OTLPMetricExporter() if kind == "otlp" else ConsoleMetricExporter()
    reader = PeriodicExportingMetricReader(exporter)
    provider = MeterProvider([reader], resource=_resource(variables), shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return [provider.shutdown]


def _resource(variables: Mapping[str, str]) -> Any:
    """Who exports: as ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` say, else ``routoo``."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    has_name = variables.get("OTEL_SERVICE_NAME") or "service.name=" in variables.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({} if has_name else {SERVICE_NAME: _SERVICE})


def _missing() -> MissingDependency:
    return MissingDependency(
        "opentelemetry-exporter-otlp-proto-http", "otel", "export spans and metrics"
    )

"""Spans and metrics: what an application's own providers of OpenTelemetry get, and that no prompt is among it."""

import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from gateway_parts import (
    HELLO,
    bearer,
    make_router,
    post,
    secret_of,
    state_of,
    stream_events,
    team_router,
)
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from waiting import wait_until

from routoo_core.errors import ConfigurationError
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.embeddings import read_embeddings
from routoo_integrations.gateway.exporters import exporting
from routoo_integrations.gateway.keys import KeyTerms
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

BODY = {"model": "routoo", "messages": HELLO}
SECRET = "My secret plan"


@pytest.fixture(scope="module")
def exporter():
    """The application's own provider, which a process can have but one of."""
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    yield memory
    memory.shutdown()


@pytest.fixture(scope="module")
def reader():
    memory = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([memory]))
    return memory


@pytest.fixture
def spans(exporter):
    exporter.clear()
    return exporter.get_finished_spans


@pytest.fixture
def router(endpoint):
    return team_router(endpoint)


@pytest.fixture
def server(router, keys, endpoint):
    table = {"base_url": endpoint.base_url, "input_usd_per_1m": "20"}
    embeddings = read_embeddings("x", {"vectors": table}, router.pool)
    with GatewayServer(Gateway(router, keys, embeddings=embeddings), port=0) as running:
        yield running


def by_name(spans):
    return {span.name: span for span in spans()}


def test_a_call_is_a_span_with_one_for_each_attempt(server, endpoint, spans):
    endpoint.replies["dear"] = Reply(status=500)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert post(server, BODY, headers={"traceparent": parent}).status_code == 200
    names = [span.name for span in spans()]
    assert names == ["chat dear", "chat cheap", "routoo chat"]
    dear, cheap, call = spans()
    assert format(call.parent.span_id, "016x") == "b7ad6b7169203331"
    assert format(call.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    for attempt in (dear, cheap):
        assert attempt.parent.span_id == call.context.span_id
        assert attempt.kind is SpanKind.CLIENT
        assert attempt.attributes["gen_ai.operation.name"] == "chat"
        assert attempt.attributes["gen_ai.provider.name"] == "openai"
        assert attempt.attributes["server.address"] == "127.0.0.1"
        assert attempt.end_time >= attempt.start_time
    assert dear.attributes["error.type"] == "500"
    assert dear.status.status_code is StatusCode.ERROR
    assert dear.attributes["routoo.settled_usd"] == "0.000000000"
    assert cheap.attributes["gen_ai.request.model"] == "cheap"
    assert cheap.attributes["gen_ai.usage.input_tokens"] == 10
    assert cheap.attributes["gen_ai.usage.output_tokens"] == 4
    assert call.attributes["routoo.expert"] == "cheap"
    assert call.attributes["routoo.candidates"] == ("dear", "cheap")
    assert call.attributes["routoo.qualities"] == pytest.approx((0.9, 0.4))
    assert call.attributes["routoo.total_usd"] == "0.000014000"
    assert call.status.status_code is StatusCode.UNSET


def test_a_stream_says_when_its_first_piece_came(server, spans):
    stream_events(server, BODY)
    wait_until(lambda: "routoo chat" in by_name(spans))
    attributes = by_name(spans)["chat dear"].attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert attributes["gen_ai.usage.output_tokens"] == 4


def test_a_stream_that_is_held_back_says_when_its_first_piece_was_shown(server, endpoint, spans):
    endpoint.replies["dear"] = Reply('{"sum": 4}', word_delay_s=0.1)
    schema = {"name": "S", "schema": {"type": "object"}}
    stream_events(
        server, {**BODY, "response_format": {"type": "json_schema", "json_schema": schema}}
    )
    wait_until(lambda: "routoo chat" in by_name(spans))
    attributes = by_name(spans)["chat dear"].attributes
    assert attributes["gen_ai.response.time_to_first_chunk"] >= 0.1


def test_a_stream_that_breaks_off_is_an_error(server, endpoint, spans):
    endpoint.replies["dear"] = Reply("word " * 20, drop_after=3)
    stream_events(server, BODY)
    wait_until(lambda: "routoo chat" in by_name(spans))
    assert by_name(spans)["routoo chat"].status.status_code is StatusCode.ERROR
    assert "error.type" in by_name(spans)["chat dear"].attributes


def test_a_refused_call_is_a_span_that_says_why(endpoint, spans):
    router = make_router(endpoint, limit="0.0000001")
    with GatewayServer(Gateway(router), port=0) as server:
        assert post(server, BODY).status_code == 429
    (span,) = spans()
    assert span.attributes["error.type"] == "BudgetExceeded"


def test_embeddings_are_an_operation_of_their_own(server, spans):
    assert post(server, {"model": "vectors", "input": "one"}, "/v1/embeddings").status_code == 200
    attempt = by_name(spans)["embeddings vectors"]
    assert attempt.attributes["gen_ai.operation.name"] == "embeddings"


def test_no_prompt_reply_or_key_is_in_any_attribute(server, keys, endpoint, spans):
    key = keys.create("alice", KeyTerms())
    body = {**BODY, "messages": [{"role": "user", "content": SECRET}]}
    endpoint.replies["dear"] = Reply(status=400, error={"message": f"bad: {SECRET}"})
    endpoint.replies["cheap"] = Reply("Confidential answer")
    post(server, body, headers=bearer(key))
    assert spans()
    text = "".join(span.to_json() for span in spans())
    for secret in ("secret plan", "Confidential", key, secret_of(key)):
        assert secret not in text
    assert '"routoo.account": "alice"' in text


def test_the_adapters_calls_are_part_of_the_applications_trace(endpoint, spans):
    experts = {"m": endpoint.expert("m")}
    chat_model = RoutooChatModel(FakePredictor({"m": 0.9}), experts, policy="best")
    llm = RoutooLLM(FakePredictor({"m": 0.9}), experts, policy="best")
    tracer = trace.get_tracer("application")
    for call in (
        lambda: chat_model.invoke("Hello"),
        lambda: list(chat_model.stream("Hello")),
        lambda: llm.complete("Hello"),
    ):
        with tracer.start_as_current_span("request") as request:
            call()
        assert by_name(spans)["routoo chat"].parent.span_id == request.context.span_id
        assert by_name(spans)["chat m"].attributes["gen_ai.usage.input_tokens"] == 10


def test_figures_are_what_was_booked(server, reader, endpoint, router):
    reader.get_metrics_data()
    before = points(reader)
    endpoint.replies["dear"] = Reply(status=500)
    post(server, BODY)
    after = points(reader)

    def grown(name, expert, field="value"):
        return after[name, expert][field] - before.get((name, expert), {}).get(field, 0)

    spent_usd = state_of(router).spent / 1e9
    assert grown("routoo.cost", "cheap") == pytest.approx(spent_usd)
    assert grown("gen_ai.client.inference.usage.input_tokens", "cheap") == 10
    assert grown("gen_ai.client.inference.usage.output_tokens", "cheap") == 4
    for expert in ("cheap", "dear"):
        assert grown("gen_ai.client.inference.duration", expert, "count") == 1
    assert ("routoo.decision.duration", None) in after


def points(reader):
    """(metric, expert) → its figures so far."""
    found = {}
    data = reader.get_metrics_data()
    for resource in json.loads(data.to_json())["resource_metrics"] if data else ():
        for scope in resource["scope_metrics"]:
            for metric in scope["metrics"]:
                for point in metric["data"]["data_points"]:
                    key = (metric["name"], point["attributes"].get("routoo.expert"))
                    value = found.setdefault(key, {"value": 0, "count": 0})
                    value["value"] += point.get("value", 0)
                    value["count"] += point.get("count", 0)
    return found


# Exporting


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.received.append(self.path)
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


CALL = """
from routoo_core import Budget, Pool
from routoo_core.config import build_router
from routoo_core.request import RoutedRequest
from routoo_core.testing import FakeEndpoint, FakePredictor
from routoo_integrations.gateway.exporters import exporting
with exporting(), FakeEndpoint() as endpoint:
    pool = Pool([endpoint.expert("m")])
    router = build_router(pool, router=FakePredictor({"m": 0.5}), policy="best", budget=Budget())
    for attempt in router.attempts(RoutedRequest.from_text("My secret plan")):
        with attempt:
            attempt.settle()
"""


def test_the_usual_variables_name_a_collector(monkeypatch):
    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        collector.received = []
        collector.bodies = []
        Thread(target=collector.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{collector.server_address[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        subprocess.run([sys.executable, "-c", CALL], check=True, timeout=100)
        collector.shutdown()
    assert sorted(set(collector.received)) == ["/v1/metrics", "/v1/traces"]
    sent = b"".join(collector.bodies)
    assert b"chat m" in sent
    assert b"secret plan" not in sent


SERVER = """
import sys
from routoo_core.testing import FakeEndpoint
from gateway_parts import make_router
from opentelemetry import trace
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.exporters import exporting
from routoo_integrations.gateway.server import GatewayServer
with FakeEndpoint() as endpoint, exporting():
    server = GatewayServer(Gateway(make_router(endpoint)), port=0)
    with trace.get_tracer("test").start_as_current_span("the last one"):
        pass
    print(server.address, flush=True)
    server.run()
"""


def test_what_is_left_is_exported_when_a_gateway_is_terminated(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    monkeypatch.syspath_prepend(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, env=environment
    )
    address = process.stdout.readline().strip()
    wait_until(lambda: is_live(address))
    process.terminate()
    exported, _ = process.communicate(timeout=60)
    assert "the last one" in exported
    assert process.returncode == -signal.SIGTERM


def is_live(address):
    try:
        return httpx.get(f"{address}/health/live", timeout=1).is_success
    except httpx.TransportError:
        return False


def test_without_a_variable_nothing_is_exported():
    providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
    for environment in (
        {},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ):
        with exporting(environment):
            assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == providers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ],
)
def test_what_is_not_supported_is_named(name, value):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value}
    with pytest.raises(ConfigurationError, match=name), exporting(environment):
        pass

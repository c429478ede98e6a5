"""The gateway's application: its addresses, and the way of a call through the driver."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from routoo_core.calling.attempt import Attempt
from routoo_core.calling.driver import arun, astream
from routoo_core.errors import RoutooError
from routoo_core.experts import Expert
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.router import Router
from routoo_core.threads import off_loop
from routoo_integrations.gateway.access import Access, Caller
from routoo_integrations.gateway.authors import Authors
from routoo_integrations.gateway.calls import ExpertEvent, ExpertReply, GatewayCall
from routoo_integrations.gateway.chat import ChatCompletion
from routoo_integrations.gateway.connections import ExpertConnections, check_pool
from routoo_integrations.gateway.decision_headers import decision_headers
from routoo_integrations.gateway.decisions import explain, read_posted, read_question
from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.keys import KeyStore
from routoo_integrations.gateway.messages import MessagesCall, count_tokens
from routoo_integrations.gateway.metrics import CONTENT_TYPE, GatewayMetrics
from routoo_integrations.gateway.model_list import list_models
from routoo_integrations.gateway.problems import CallRefused, Problem, invalid_request, problem_of
from routoo_integrations.gateway.requests import BODY_TIMEOUT_S, LARGEST_BODY, read_body
from routoo_integrations.gateway.responses import ResponsesCall
from routoo_integrations.gateway.streaming import EventStream, EventWriter

Endpoint = Callable[[Request], Awaitable[Any]]
"""Answers a request with a response of Starlette's, or another ASGI application."""
ProblemBody = Callable[[Problem], JsonObject]
"""Writes a problem in the form of a protocol."""


class CallerCall(Protocol):
    """A call in the protocol of its caller."""

    @property
    def model(self) -> str:
        """What its body names as its model."""
        ...

    @property
    def is_streamed(self) -> bool:
        """Whether the reply is to come in pieces."""
        ...

    def forwarded_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers of the request that experts of the caller's own protocol are sent."""
        ...

    def may_be_answered_by(self, expert: Expert) -> bool:
        """Whether it can be put into a form that an expert speaks."""
        ...

    def routed(self, overrides: Overrides) -> RoutedRequest:
        """The call as the router reads it."""
        ...

    def body_for(self, attempt: Attempt) -> JsonObject:
        """The body for an attempt's expert."""
        ...

    def note_reply(self, expert: str, text: str) -> None:
        """Remember who answered, so that the conversation's next turn is recognised."""
        ...

    def whole(self, reply: ExpertReply) -> bytes:
        """The body of a whole reply."""
        ...

    def writer(self) -> EventWriter:
        """Writes a streamed reply."""
        ...


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """What the gateway takes from a caller.

    Attributes:
        largest_body: Bytes of a request's body.
        body_timeout_s: Seconds within which it must have come.
        send_timeout_s: Seconds for which a caller may leave a stream unread.
    """

    largest_body: int = LARGEST_BODY
    body_timeout_s: float = BODY_TIMEOUT_S
    send_timeout_s: float = 30.0


class Gateway:
    """Serves a router over HTTP.

    Args:
        router: Decides, and keeps the money.
        keys: Those of its callers; ``None`` where whoever reaches it may call.
        limits: What it takes from a caller.

    Raises:
        ConfigurationError: An expert cannot be called, or its key is missing.
    """

    def __init__(
        self,
        router: Router,
        keys: KeyStore | None = None,
        limits: GatewayLimits | None = None,
    ) -> None:
        check_pool(router.pool)
        self.router = router
        self.keys = keys
        self.access = Access(router, keys)
        self.limits = limits or GatewayLimits()
        self.connections = ExpertConnections(router.pool)
        self.authors = Authors(router.pool)
        self.metrics = GatewayMetrics(router)
        self.started_at = int(time.time())

    def app(self) -> ASGIApp:
        """The application, for any ASGI server."""
        anthropic = Problem.anthropic_body
        routes = [
            self._post("/v1/chat/completions", self._chat_completions),
            self._post("/v1/responses", self._responses),
            self._post("/v1/messages", self._messages, anthropic),
            self._post("/v1/messages/count_tokens", self._count_tokens, anthropic),
            self._get("/v1/models", self._models),
            self._get("/v1/decisions", self._decide),
            self._post("/v1/decisions", self._decide_posted),
            self._get("/metrics", self._figures),
            self._get("/health/live", self._live),
            self._get("/health/ready", self._ready),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan, exception_handlers=_HANDLERS)

    def _post(
        self, path: str, answer: Endpoint, body_of: ProblemBody = Problem.openai_body
    ) -> Route:
        return Route(path, self._guarded(answer, body_of), methods=["POST"])

    def _get(self, path: str, answer: Endpoint) -> Route:
        return Route(path, self._guarded(answer, Problem.openai_body))

    def _guarded(self, answer: Endpoint, body_of: ProblemBody) -> Endpoint:
        """An endpoint whose errors become bodies: none reaches the server, whose log could quote a prompt.

        Args:
            answer: The endpoint.
            body_of: The body of an error in the caller's protocol.
        """

        async def guarded(request: Request) -> Any:
            try:
                return await answer(request)
            except Exception as error:  # noqa: BLE001 (the caller is told what may be said of it)
                problem = problem_of(error)
                self.metrics.note_refusal(problem.code or problem.kind)
                return JSONResponse(body_of(problem), problem.status, headers=problem.headers)

        return guarded

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.connections.close()

    # Calls

    async def _chat_completions(self, request: Request) -> Any:
        return await self._answer(request, self._read_chat)

    def _read_chat(self, body: JsonObject) -> CallerCall:
        return ChatCompletion.read(body, self.authors)

    async def _responses(self, request: Request) -> Any:
        return await self._answer(request, self._read_response_call)

    def _read_response_call(self, body: JsonObject) -> CallerCall:
        return ResponsesCall.read(body, self.authors)

    async def _messages(self, request: Request) -> Any:
        return await self._answer(request, self._read_messages)

    def _read_messages(self, body: JsonObject) -> CallerCall:
        return MessagesCall.read(body, self.authors)

    async def _count_tokens(self, request: Request) -> Response:
        """How many tokens a prompt has, about: nobody is called and nothing is charged."""
        self.access.caller(request.headers)
        body = await self._read_body(request)
        tokens = await off_loop(lambda: count_tokens(body, self.authors))
        return JSONResponse({"input_tokens": tokens})

    async def _answer(self, request: Request, read: Callable[[JsonObject], CallerCall]) -> Any:
        """A whole or a streamed reply.

        Raises:
            CallRefused: There is none; it says what the caller is told.
        """
        caller = self.access.caller(request.headers)
        self.access.count_call(caller)
        try:
            return await self._answer_caller(caller, request, read)
        except RoutooError as error:
            raise CallRefused(problem_of(error, caller.account)) from error

    async def _answer_caller(
        self, caller: Caller, request: Request, read: Callable[[JsonObject], CallerCall]
    ) -> Any:
        started = time.monotonic()
        call = read(await self._read_body(request))
        overrides = self.access.overrides(caller, call.model, request.headers)
        overrides = self._among_able(call, overrides)
        headers = call.forwarded_headers(request.headers)
        gateway_call = GatewayCall(self.connections, call.body_for, headers, call.note_reply)

        def routed() -> RoutedRequest:
            return call.routed(overrides)

        def on_end(attempt: Attempt) -> None:
            self.metrics.note_end(attempt, gateway_call.usages)

        if call.is_streamed:
            pieces = astream(self.router, routed, gateway_call, on_end=on_end)
            stream = await self._start_stream(call, pieces)
            self.metrics.note_first_event(time.monotonic() - started)
            return stream
        reply = await arun(self.router, routed, gateway_call, on_end=on_end)
        self.metrics.note_reply(time.monotonic() - started)
        reply_headers = decision_headers(reply.attempt, reply.record)
        return Response(call.whole(reply), media_type="application/json", headers=reply_headers)

    async def _read_body(self, request: Request) -> JsonObject:
        return await read_body(request, self.limits.largest_body, self.limits.body_timeout_s)

    def _among_able(self, call: CallerCall, overrides: Overrides) -> Overrides:
        """What a call sets for itself, with the experts that can be sent it.

        Raises:
            CallRefused: There are none.
        """
        able = {expert.name for expert in self.router.pool if call.may_be_answered_by(expert)}
        if not able:
            raise invalid_request(
                "No expert can be sent this call: it has parts, or is in a protocol, that they do not speak.",
                "no_capable_expert",
            )
        if len(able) == len(self.router.pool):
            return overrides
        allowed = able if overrides.experts is None else able & overrides.experts
        return replace(overrides, experts=frozenset(allowed))

    async def _start_stream(
        self, call: CallerCall, pieces: AsyncGenerator[ExpertEvent, None]
    ) -> EventStream:
        """A stream whose first piece is there: until then an error still has a status."""
        first = await anext(pieces)
        headers = decision_headers(first.attempt, first.record)
        return EventStream(first, pieces, call.writer(), headers, self.limits.send_timeout_s)

    # Questions

    async def _models(self, request: Request) -> Response:
        caller = self.access.caller(request.headers)
        return JSONResponse(list_models(self.router, self.started_at, caller.experts))

    async def _decide(self, request: Request) -> Response:
        """Who would answer the prompt that stands in the address."""
        caller = self.access.caller(request.headers)
        call = ChatCompletion.read(read_question(request.query_params), self.authors)
        return await self._explain(caller, call, request)

    async def _decide_posted(self, request: Request) -> Response:
        """Who would answer the chat that is posted."""
        caller = self.access.caller(request.headers)
        call = read_posted(await self._read_body(request), self.authors)
        return await self._explain(caller, call, request)

    async def _explain(self, caller: Caller, call: ChatCompletion, request: Request) -> Response:
        overrides = self.access.overrides(caller, call.model, request.headers)
        decision = await off_loop(lambda: explain(self.router, call.routed(overrides), overrides))
        return JSONResponse(decision)

    async def _figures(self, request: Request) -> Response:
        """Everybody's figures, for Prometheus."""
        self.access.caller(request.headers).check_admin()
        text = await off_loop(self.metrics.text)
        return Response(text, media_type=CONTENT_TYPE)

    async def _live(self, request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def _ready(self, request: Request) -> Response:
        """Whether the ledger answers."""
        await off_loop(lambda: self.router.ledger.state(self.router.budget))
        return JSONResponse({"status": "ready"})


async def _answer_wrong_address(request: Request, error: Any) -> Response:
    message = f"{request.method} {request.url.path} is not served here"
    problem = Problem(error.status_code, "invalid_request_error", message, "unknown_url")
    return JSONResponse(problem.openai_body(), problem.status, headers=problem.headers)


_HANDLERS: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
    404: _answer_wrong_address,
    405: _answer_wrong_address,
}

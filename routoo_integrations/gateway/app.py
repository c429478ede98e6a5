"""The gateway's application: its addresses, and the way of a call through the driver."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from routoo_core.calling.driver import arun, astream
from routoo_core.errors import RoutooError
from routoo_core.experts import Pool
from routoo_core.monitoring.ratings import ZERO_TO_ONE
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.router import Router
from routoo_core.telemetry import caller_trace
from routoo_core.threads import off_loop
from routoo_integrations.gateway.access import Access, Caller
from routoo_integrations.gateway.activity import ActivityLog
from routoo_integrations.gateway.authors import Author, Authors, ReplyMemory
from routoo_integrations.gateway.call_notes import CallNotes
from routoo_integrations.gateway.caller_calls import CALL_HEADER, CallerCall, CallerStream
from routoo_integrations.gateway.calls import GatewayCall
from routoo_integrations.gateway.chat import ChatCompletion
from routoo_integrations.gateway.completions import TextCompletion
from routoo_integrations.gateway.connections import ExpertConnections, check_pool
from routoo_integrations.gateway.decision_headers import headers_of
from routoo_integrations.gateway.decisions import explain, read_decision_call, read_question
from routoo_integrations.gateway.embeddings import Embeddings, no_embeddings
from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.keys import KeyStore
from routoo_integrations.gateway.messages import MessagesCall, count_tokens
from routoo_integrations.gateway.metrics import CONTENT_TYPE, GatewayMetrics
from routoo_integrations.gateway.model_list import list_models
from routoo_integrations.gateway.openapi import openapi_document
from routoo_integrations.gateway.page import Page
from routoo_integrations.gateway.problems import (
    NO_MONEY,
    CallRefused,
    Problem,
    invalid_request,
    problem_of,
)
from routoo_integrations.gateway.requests import BODY_TIMEOUT_S, LARGEST_BODY, read_body
from routoo_integrations.gateway.response_archive import ResponseArchive
from routoo_integrations.gateway.responses import ResponsesCall
from routoo_integrations.gateway.stored_responses import ResponseStore
from routoo_integrations.gateway.streaming import SILENCE_S, EventStream

Endpoint = Callable[[Request], Awaitable[Any]]
"""Answers a request with a response of Starlette's, or another ASGI application."""
ProblemBody = Callable[[Problem], JsonObject]
"""Writes a problem in the form of a protocol."""


ReadCall = Callable[[JsonObject, Caller], Awaitable[CallerCall]]
"""Reads a body of a caller as a call."""


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """What the gateway takes from a caller.

    Attributes:
        largest_body: Bytes of a request's body.
        body_timeout_s: Seconds within which it must have come.
        send_timeout_s: Seconds for which a caller may leave a stream unread.
        no_money_status: Of HTTP, for a call that its account cannot pay: 429 or 402.
        silence_s: Seconds of a stream without an event after which its caller is sent a sign of life.
    """

    largest_body: int = LARGEST_BODY
    body_timeout_s: float = BODY_TIMEOUT_S
    send_timeout_s: float = 30.0
    no_money_status: int = 429
    silence_s: float = SILENCE_S


class Gateway:
    """Serves a router over HTTP.

    Args:
        router: Decides, and keeps the money.
        keys: Those of its callers; ``None`` where whoever reaches it may call.
        limits: What it takes from a caller.
        activity: Remembers the last calls for the page; by default in memory.
        config: routoo.toml, into which the page writes limits; ``None`` leaves them to the ledger alone.
        replies: Who gave which reply; by default this process's own memory.
        responses: Stores responses that calls may go on from; ``None`` where none are stored.
        embeddings: Endpoints for embeddings; ``None`` where none are served.

    Raises:
        ConfigurationError: An expert cannot be called, or its key is missing.
    """

    def __init__(
        self,
        router: Router,
        keys: KeyStore | None = None,
        limits: GatewayLimits | None = None,
        activity: ActivityLog | None = None,
        config: Path | None = None,
        replies: ReplyMemory | None = None,
        responses: ResponseStore | None = None,
        embeddings: Pool | None = None,
    ) -> None:
        check_pool(router.pool)
        self.router = router
        self.keys = keys
        self.access = Access(router, keys)
        self.limits = limits or GatewayLimits()
        self.connections = ExpertConnections(router.pool)
        self.authors = Authors(router.pool, replies)
        self.metrics = GatewayMetrics(router)
        self.activity = activity or ActivityLog()
        self.page = Page(router, keys, self.access, self.activity, config)
        self.responses = responses
        self.archive = ResponseArchive(self.access, responses)
        self.embeddings = None if embeddings is None else Embeddings(router, embeddings)
        self.started_at = int(time.time())

    def app(self) -> ASGIApp:
        """The application, for any ASGI server."""
        anthropic = Problem.anthropic_body
        routes = [
            self._post("/v1/chat/completions", self._chat_completions),
            self._post("/v1/completions", self._completions),
            self._post("/v1/embeddings", self._embeddings),
            self._post("/v1/responses", self._responses),
            self._get("/v1/responses/{id}", self.archive.show),
            self._get("/v1/responses/{id}/input_items", self.archive.list_input),
            self._route("/v1/responses/{id}", self.archive.delete, "DELETE"),
            self._post("/v1/messages", self._messages, anthropic),
            self._post("/v1/messages/count_tokens", self._count_tokens, anthropic),
            self._get("/v1/models", self._models),
            self._get("/v1/decisions", self._decide),
            self._post("/v1/decisions", self._decide_on_body),
            self._post("/v1/feedback", self._feedback),
            self._get("/metrics", self._figures),
            self._get("/openapi.json", self._openapi),
            self._get("/health/live", self._live),
            self._get("/health/ready", self._ready),
            *self.page.routes(),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan, exception_handlers=_HANDLERS)

    def _post(
        self, path: str, answer: Endpoint, body_of: ProblemBody = Problem.openai_body
    ) -> Route:
        return self._route(path, answer, "POST", body_of)

    def _get(self, path: str, answer: Endpoint) -> Route:
        return self._route(path, answer, "GET")

    def _route(
        self, path: str, answer: Endpoint, method: str, body_of: ProblemBody = Problem.openai_body
    ) -> Route:
        return Route(path, self._guarded(answer, body_of), methods=[method])

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
                problem = self._with_status(problem_of(error))
                self.metrics.note_refusal(problem.code or problem.kind)
                return JSONResponse(body_of(problem), problem.status, headers=problem.headers)

        return guarded

    def _with_status(self, problem: Problem) -> Problem:
        """A problem with the status that is set for an account without money."""
        if problem.code == NO_MONEY:
            return replace(problem, status=self.limits.no_money_status)
        return problem

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.connections.close()
            if self.embeddings is not None:
                await self.embeddings.connections.close()
            self.close_files()

    def close_files(self) -> None:
        """Close the files of calls and responses, of a gateway that serves no more."""
        self.activity.close()
        if self.responses is not None:
            self.responses.close()

    # Calls

    async def _chat_completions(self, request: Request) -> Any:
        return await self._answer(request, self._read_chat)

    async def _read_chat(self, body: JsonObject, caller: Caller) -> CallerCall:
        return ChatCompletion.read(body, self.authors)

    async def _completions(self, request: Request) -> Any:
        return await self._answer(request, self._read_text)

    async def _read_text(self, body: JsonObject, caller: Caller) -> CallerCall:
        return TextCompletion.read(body, self.authors)

    async def _embeddings(self, request: Request) -> Response:
        """Vectors of the endpoint that is named: those of different models cannot be compared, so nothing is routed."""
        caller = self.access.caller(request.headers)
        embeddings = self.embeddings
        if embeddings is None:
            raise no_embeddings()

        async def answer() -> Response:
            body = await self._read_body(request)
            model = body.get("model")
            name = model if isinstance(model, str) else ""
            overrides = self.access.embedding_overrides(
                caller, embeddings.router, name, request.headers
            )
            return await embeddings.answer(body, overrides, self.metrics.note_end)

        notes = CallNotes(self.metrics, self.activity, caller.owner)
        response: Response = await self._for_caller(caller, request, answer, notes)
        return response

    async def _responses(self, request: Request) -> Any:
        return await self._answer(request, self._read_response_call)

    async def _read_response_call(self, body: JsonObject, caller: Caller) -> CallerCall:
        def read() -> CallerCall:
            return ResponsesCall.read(body, self.authors, self.responses, caller.owner)

        goes_on = self.responses is not None and body.get("previous_response_id")
        return await off_loop(read) if goes_on else read()

    async def _messages(self, request: Request) -> Any:
        return await self._answer(request, self._read_messages)

    async def _read_messages(self, body: JsonObject, caller: Caller) -> CallerCall:
        return MessagesCall.read(body, self.authors)

    async def _count_tokens(self, request: Request) -> Response:
        """How many tokens a prompt has, about: nobody is called and nothing is charged."""
        self.access.caller(request.headers)
        body = await self._read_body(request)
        tokens = await off_loop(lambda: count_tokens(body, self.authors))
        return JSONResponse({"input_tokens": tokens})

    async def _answer(self, request: Request, reader: ReadCall) -> Any:
        """A whole or a streamed reply.

        Raises:
            CallRefused: There is none; it says what the caller is told.
        """
        caller = self.access.caller(request.headers)
        notes = CallNotes(self.metrics, self.activity, caller.owner)
        answer = partial(self._answer_caller, caller, request, reader, notes)
        return await self._for_caller(caller, request, answer, notes)

    async def _for_caller(
        self,
        caller: Caller,
        request: Request,
        answer: Callable[[], Awaitable[Any]],
        notes: CallNotes,
    ) -> Any:
        """What is answered to a caller, within its rate.

        Raises:
            CallRefused: Nothing is; it says what the caller is told.
        """
        try:
            if caller.key is not None and caller.key.terms.rate is not None:
                await off_loop(lambda: self.access.count_call(caller))
            with caller_trace(request.headers):
                return await answer()
        except RoutooError as error:
            problem = self._with_status(problem_of(error, caller.account))
            notes.note_refusal(problem)
            raise CallRefused(problem) from error

    def _describe_refused_stream(
        self, caller: Caller, notes: CallNotes, error: Exception
    ) -> Problem:
        """What a caller is told of an error before a stream's first piece; it is noted as for a whole reply."""
        problem = self._with_status(problem_of(error, caller.account))
        if isinstance(error, RoutooError):
            notes.note_refusal(problem)
        self.metrics.note_refusal(problem.code or problem.kind)
        return problem

    async def _answer_caller(
        self, caller: Caller, request: Request, reader: ReadCall, notes: CallNotes
    ) -> Any:
        call = await reader(await self._read_body(request), caller)
        overrides = self.access.overrides(caller, call.model, request.headers)
        overrides = self._among_able(call, overrides)
        headers = call.forwarded_headers(request.headers)

        def note_reply(author: Author, text: str) -> None:
            notes.later(lambda: call.note_reply(author, text))

        gateway_call = GatewayCall(
            self.connections, call.body_for, headers, note_reply, call.cache_query, notes.usages
        )

        def routed_request() -> RoutedRequest:
            return call.routed_request(overrides)

        if call.is_streamed:
            pieces = astream(self.router, routed_request, gateway_call, on_end=notes.note_end)
            describe = partial(self._describe_refused_stream, caller, notes)
            answer = CallerStream(call, pieces, notes, request.headers, describe)
            return EventStream(answer, self.limits.send_timeout_s, self.limits.silence_s)
        reply = await arun(self.router, routed_request, gateway_call, on_end=notes.note_end)
        notes.note_cached_reply(reply.record)
        notes.later(notes.note_whole_reply)
        reply_headers = {**headers_of(reply), CALL_HEADER: notes.id}
        body = call.whole(reply)
        if call.pending_response is not None:
            await off_loop(call.pending_response.save)
        return Response(body, media_type="application/json", headers=reply_headers)

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
        experts = able if overrides.experts is None else able & overrides.experts
        return replace(overrides, experts=frozenset(experts))

    # Questions

    async def _models(self, request: Request) -> Response:
        caller = self.access.caller(request.headers)
        endpoints = () if self.embeddings is None else self.embeddings.endpoints_for(caller)
        models = list_models(self.router, self.started_at, caller.experts, endpoints)
        return JSONResponse(models)

    async def _decide(self, request: Request) -> Response:
        """Who would answer the prompt that stands in the address."""
        caller = self.access.caller(request.headers)
        call = ChatCompletion.read(read_question(request.query_params), self.authors)
        return await self._explain(caller, call, request)

    async def _decide_on_body(self, request: Request) -> Response:
        """Who would answer the chat that is posted."""
        caller = self.access.caller(request.headers)
        call = read_decision_call(await self._read_body(request), self.authors)
        return await self._explain(caller, call, request)

    async def _explain(self, caller: Caller, call: ChatCompletion, request: Request) -> Response:
        overrides = self.access.overrides(caller, call.model, request.headers)
        decision = await off_loop(
            lambda: explain(self.router, call.routed_request(overrides), overrides)
        )
        return JSONResponse(decision)

    async def _feedback(self, request: Request) -> Response:
        """How good a reply was, for the page: quality observed beside quality predicted."""
        caller = self.access.caller(request.headers)
        body = await self._read_body(request)
        call_id = body.get("call")
        try:
            score = ZERO_TO_ONE.score(body.get("score"))
        except ValueError as error:
            raise invalid_request(f"score: {error}") from None
        if not isinstance(call_id, str):
            raise invalid_request(f"call: give what the header {CALL_HEADER} of the reply said")
        if not await off_loop(lambda: self.activity.rate(call_id, score, caller.account)):
            message = "call: it is none of yours, or no longer remembered"
            raise invalid_request(message, "call_not_found", 404)
        return JSONResponse({"call": call_id, "score": score})

    async def _figures(self, request: Request) -> Response:
        """Everybody's figures, for Prometheus."""
        self.access.caller(request.headers).check_admin()
        text = await off_loop(self.metrics.text)
        return Response(text, media_type=CONTENT_TYPE)

    async def _openapi(self, request: Request) -> Response:
        self.access.caller(request.headers)
        return JSONResponse(openapi_document())

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

"""``POST /v1/embeddings``: passed on to the endpoint that is configured, and paid for like any other call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.responses import Response

from routoo_core.asking.direct import UniformPredictor
from routoo_core.calling.attempt import Attempt
from routoo_core.calling.driver import arun
from routoo_core.calling.readings import Reading
from routoo_core.endpoint import Endpoint
from routoo_core.errors import ConfigurationError, NoReply
from routoo_core.experts import Expert, Pool
from routoo_core.record import DecisionRecord
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.router import Router
from routoo_core.selector import Best
from routoo_core.telemetry import EMBEDDINGS
from routoo_core.threads import off_loop
from routoo_core.tokens import bound_tokens, count_tokens
from routoo_core.usage import Usage, read_usage
from routoo_integrations.call_arguments import without_parameters
from routoo_integrations.gateway.access import Caller, experts_of
from routoo_integrations.gateway.calls import ExpertReply, parsed_object
from routoo_integrations.gateway.connections import ANTHROPIC, ExpertConnections, check_pool
from routoo_integrations.gateway.decision_headers import headers_of
from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.problems import CallRefused, invalid_request

_PRICE = "input_usd_per_1m"
_FIELDS = frozenset(Endpoint.model_fields) | {_PRICE, "usd_per_call"}
_OF_A_CHAT = {"output_usd_per_1m": 0, "context_window": 1 << 40, "max_output_tokens": 1}
"""What an expert has and an embedding has not: nothing is written, and each text has a window of its own."""
_OVERHEAD = 16
"""Tokens that an endpoint may add to each text: marks of its beginning and end, an instruction."""
_WITHOUT_COST = frozenset(
    {
        "dimensions",
        "encoding_format",
        "input",
        "input_type",
        "model",
        "output_dimension",
        "output_dtype",
        "truncate",
        "truncation",
        "user",
    }
)
"""Fields of a call that add nothing to what it costs."""
NoteEnd = Callable[[DecisionRecord, Mapping[str, Usage]], None]
_OF_DECISIONS = ("Routoo-Quality", "Routoo-Why")
"""Headers that say why an expert was chosen."""
_OF_CALLERS = frozenset({"account", "max_cost"})
"""What a call may set for itself, where the router allows it: there is nothing to rank."""


def read_embeddings(origin: str, tables: Mapping[str, Any], experts: Pool) -> Pool | None:
    """The endpoints of ``[gateway.embeddings]``; ``None`` for none.

    Args:
        origin: Where the tables stand, for errors.
        tables: Name → its settings: those of an endpoint, and a price.
        experts: The router's, whose names are taken.

    Raises:
        ConfigurationError: A field is missing, unknown or out of range; the message names it.
    """
    if not tables:
        return None
    expert_names = {expert.name for expert in experts}
    endpoints = []
    for name, values in tables.items():
        place = f"{origin}.{name}"
        if not isinstance(values, dict):
            raise ConfigurationError(f'{place}: write it as a table [gateway.embeddings."{name}"]')
        if name in expert_names:
            raise ConfigurationError(
                f"{place}: an expert has this name; give the embeddings another, and the model as 'model'"
            )
        if _PRICE not in values:
            raise ConfigurationError(f"{place}: {_PRICE}: missing; write 0 for what is free")
        unknown = sorted(set(values) - _FIELDS)
        if unknown:
            raise ConfigurationError(f"{place}: {unknown[0]}: unknown key; remove or correct it")
        endpoint = Expert.read(place, {"name": name, "model": name, **values, **_OF_A_CHAT})
        if endpoint.provider == ANTHROPIC:
            raise ConfigurationError(f"{place}: provider: {ANTHROPIC} has no embeddings")
        endpoints.append(endpoint)
    pool = Pool(endpoints)
    check_pool(pool)
    return pool


def embedding_router(router: Router, pool: Pool) -> Router:
    """A router for calls that name their endpoint: the same accounts and ledger, and nothing to decide.

    Args:
        router: The gateway's own.
        pool: The endpoints.
    """
    names = tuple(endpoint.name for endpoint in pool)
    own = Router(
        pool,
        UniformPredictor(names),
        Best(),
        router.budget,
        router.ledger,
        overrides=(router.overrides & _OF_CALLERS) | {"expert"},
        alerts=router.alert_rule,
    )
    own.operation = EMBEDDINGS
    return own


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """A call for the driver.

    Attributes:
        connections: Reach the endpoints.
        body: The caller's.
        inputs: What is to be embedded: texts, or lists of tokens.
        usages: Endpoint → what it reported.
    """

    connections: ExpertConnections
    body: JsonObject = field(repr=False)
    inputs: list[Any] = field(repr=False)
    usages: dict[str, Usage] = field(default_factory=dict)

    @classmethod
    def of_body(cls, body: JsonObject, connections: ExpertConnections) -> EmbeddingCall:
        """A call with this body.

        Raises:
            CallRefused: Its input is neither a text, nor tokens, nor a list of either.
        """
        content = body.get("input")
        inputs = [content] if isinstance(content, str) or _are_tokens(content) else content
        if not isinstance(inputs, list) or not inputs:
            raise invalid_request("input: give a text, a list of texts, or tokens")
        for index, part in enumerate(inputs):
            if not isinstance(part, str) and not _are_tokens(part):
                raise invalid_request(f"input[{index}]: it is neither a text nor a list of tokens")
        return cls(connections, body, inputs)

    def routed_request(self, overrides: Overrides) -> RoutedRequest:
        """The call as the router reads it."""
        tokens = 0
        bound = 0
        for part in self.inputs:
            is_text = isinstance(part, str)
            tokens += count_tokens(part) if is_text else len(part)
            bound += _OVERHEAD + (bound_tokens(part) if is_text else len(part))
        rest = without_parameters(self.body, _WITHOUT_COST)
        unpriced_names = frozenset(name for name, value in rest.items() if value is not None)
        return RoutedRequest(
            text="",
            prompt_tokens=tokens,
            prompt_token_bound=bound,
            max_tokens=1,
            unpriced=unpriced_names,
            overrides=overrides,
        )

    async def asend(self, attempt: Attempt) -> ExpertReply:
        """The endpoint's reply to the caller's own body, with its own model.

        Raises:
            NoReply: What came has no vectors.
        """
        endpoint = attempt.expert
        with attempt.preparation():
            body = json.dumps({**self.body, "model": endpoint.model}, allow_nan=False).encode()
        payload = await self.connections.send(endpoint, body, {})
        text = payload.decode(errors="replace")
        value = await off_loop(lambda: parsed_object(text, endpoint))  # it may have megabytes
        if not isinstance(value.get("data"), list):
            attempt.reported(read_usage(value))
            raise NoReply(endpoint.name, "no embeddings")
        return ExpertReply(endpoint, "openai", attempt, payload, value)

    def read(self, reply: ExpertReply) -> Reading:
        """What the reply reports."""
        usage = read_usage(reply.value)
        if usage is not None:
            self.usages[reply.expert.name] = usage
        model = reply.value.get("model")
        return Reading("", usage, model if isinstance(model, str) and model else None)

    def stamp(self, reply: ExpertReply, record: DecisionRecord) -> ExpertReply:
        """The reply with its record."""
        return replace(reply, record=record)


class Embeddings:
    """Answers calls of embeddings.

    Args:
        router: The gateway's own, whose accounts pay.
        pool: The endpoints.
    """

    def __init__(self, router: Router, pool: Pool) -> None:
        self.router = embedding_router(router, pool)
        self.connections = ExpertConnections(pool, "embeddings")

    def endpoints_for(self, caller: Caller) -> list[Expert]:
        """The endpoints that a caller may name."""
        names = None if caller.key is None else experts_of(caller.key.terms, self.router.pool)
        return [
            endpoint for endpoint in self.router.pool if names is None or endpoint.name in names
        ]

    async def answer(self, body: JsonObject, overrides: Overrides, note_end: NoteEnd) -> Response:
        """The endpoint's own reply, untouched.

        Args:
            body: The caller's.
            overrides: What it sets for itself.
            note_end: Takes the record and what was reported.

        Raises:
            CallRefused: The body has not the protocol's form.
            RoutingError: Nothing is affordable, or the endpoint failed.
        """
        call = EmbeddingCall.of_body(body, self.connections)

        def on_end(attempt: Attempt) -> None:
            note_end(attempt.record(), call.usages)

        reply = await arun(self.router, lambda: call.routed_request(overrides), call, on_end=on_end)
        headers = headers_of(reply)
        for name in _OF_DECISIONS:
            headers.pop(name, None)
        return Response(reply.payload, media_type="application/json", headers=headers)


def no_embeddings() -> CallRefused:
    """The refusal where no endpoint for embeddings is configured."""
    return invalid_request(
        "Embeddings are not served: a vector store needs one model for all, so they are not routed. Point the "
        "embeddings client at its own endpoint, or name one in [gateway.embeddings] of routoo.toml.",
        "embeddings_not_served",
        404,
    )


def _are_tokens(value: Any) -> bool:
    """Whether a value is a list of tokens."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(token, int) and not isinstance(token, bool) for token in value)

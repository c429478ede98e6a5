"""Responses that later calls may name.

They hold prompts and replies, so nothing is stored unless it is asked for, each account sees its own alone, and what
is deleted or too old is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.problems import CallRefused, Problem, invalid_request

DEFAULT_ACCOUNT_MB = 100.0
BYTES_PER_MB = 1_000_000
LARGEST_CONVERSATION = 32 * 1024 * 1024
"""Bytes of all that a call goes on from."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it was given.

    Attributes:
        response: In OpenAI's form.
        input: The items that its call added to the conversation.
    """

    response: JsonObject = field(repr=False)
    input: list[JsonObject] = field(repr=False)


class ResponseStore(Protocol):
    """Stores responses; safe from any thread."""

    def put(
        self, owner: str, response: JsonObject, items: list[JsonObject], previous: str | None
    ) -> None:
        """Store a response; what cannot be written is missing later, and the log of the process says so.

        Args:
            owner: Whose it is.
            response: In OpenAI's form.
            items: What its call added to the conversation.
            previous: The id of the response that the call went on from.
        """
        ...

    def get(self, owner: str, response_id: str) -> StoredResponse | None:
        """The response of an id; ``None`` where the owner has none.

        Raises:
            CallRefused: The store cannot be read.
        """
        ...

    def conversation(self, owner: str, response_id: str) -> list[JsonObject]:
        """Everything that was said up to and with a response; from now on it is kept for as long again.

        Raises:
            CallRefused: The owner has no such response, an earlier one is gone, all together are too long, or the store
                cannot be read.
        """
        ...

    def delete(self, owner: str, response_id: str) -> bool:
        """Forget a response; whether the owner had it.

        Raises:
            CallRefused: The store cannot be written.
        """
        ...

    def close(self) -> None:
        """Close it."""
        ...


@dataclass(slots=True)
class PendingResponse:
    """A response that is stored once it is whole.

    Attributes:
        store: Where.
        owner: Whose it is.
        items: What its call adds to the conversation.
        previous: The id of the response that the call goes on from.
        response: As it was written; ``None`` before.
    """

    store: ResponseStore
    owner: str
    items: list[JsonObject] = field(repr=False)
    previous: str | None
    response: JsonObject | None = field(default=None, repr=False)

    def save(self) -> None:
        """Store the response if it is complete."""
        if self.response is not None:
            self.store.put(self.owner, self.response, self.items, self.previous)


def not_stored(name: str, status: int = 400) -> CallRefused:
    """The refusal of a call that names a response where none are stored.

    Args:
        name: What names it.
        status: Of HTTP.
    """
    return invalid_request(
        f"{name}: this gateway stores no responses. Send the whole conversation as 'input', or start it with "
        "'routoo serve --store-responses 30d'",
        "responses_not_stored",
        status,
    )


def store_failed() -> CallRefused:
    """The refusal of a call whose stored response cannot be read now."""
    message = "Stored responses cannot be read now. Ask again later."
    return CallRefused(Problem(503, "server_error", message, "responses_failed", is_retryable=True))


def unknown_previous(response_id: Any) -> CallRefused:
    """The refusal of a call that goes on from what is not stored."""
    message = (
        f"Previous response with id {str(response_id)[:80]!r} not found: it is unknown, deleted or too old. "
        "Send the whole conversation as 'input'"
    )
    details = {"param": "previous_response_id"}
    kind = "invalid_request_error"
    return CallRefused(Problem(400, kind, message, "previous_response_not_found", details=details))


def too_long() -> CallRefused:
    """The refusal of a call that goes on from more than may be read."""
    return invalid_request(
        f"previous_response_id: the conversation has more than {LARGEST_CONVERSATION:,} bytes; begin a new one",
        "request_too_large",
        413,
    )

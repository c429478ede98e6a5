"""``/v1/responses/{id}``: a stored response is read, its input is listed, and it is deleted."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from routoo_core.threads import off_loop
from routoo_integrations.gateway.access import Access
from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.problems import CallRefused, invalid_request
from routoo_integrations.gateway.response_form import listed_items
from routoo_integrations.gateway.stored_responses import ResponseStore, StoredResponse, not_stored

_USUAL_LIMIT = 20
_LARGEST_LIMIT = 100


class ResponseArchive:
    """Answers requests about stored responses; each caller's own exist, and no others.

    Args:
        access: Knows the callers.
        store: Where they are; ``None`` where none are stored.
    """

    def __init__(self, access: Access, store: ResponseStore | None) -> None:
        self._access = access
        self._store = store

    async def show(self, request: Request) -> Response:
        """The response as it was given."""
        entry = await self._find(request)
        if request.query_params.get("stream") == "true":
            raise invalid_request("stream: a stored response comes as a whole; leave it out")
        return JSONResponse(entry.response)

    async def list_input(self, request: Request) -> Response:
        """The items that the response's call added to the conversation, a page of them."""
        entry = await self._find(request)
        items = listed_items(entry.input, entry.response["id"])
        return JSONResponse(_page_of(items, request.query_params))

    async def delete(self, request: Request) -> Response:
        """Forget the response."""
        owner = self._access.caller(request.headers).owner
        response_id = request.path_params["id"]
        store = self._store
        if store is None:
            raise not_stored("response_id", 404)
        if not await off_loop(lambda: store.delete(owner, response_id)):
            raise _unknown(response_id)
        return JSONResponse({"id": response_id, "object": "response", "deleted": True})

    async def _find(self, request: Request) -> StoredResponse:
        """The response that an address names.

        Raises:
            CallRefused: The caller has none of this id.
        """
        owner = self._access.caller(request.headers).owner
        response_id = request.path_params["id"]
        store = self._store
        if store is None:
            raise not_stored("response_id", 404)
        entry = await off_loop(lambda: store.get(owner, response_id))
        if entry is None:
            raise _unknown(response_id)
        return entry


def _page_of(items: list[JsonObject], parameters: Any) -> JsonObject:
    """A page of items, as OpenAI's clients ask for it: by default the last ones first.

    Raises:
        CallRefused: A parameter is none.
    """
    order = parameters.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise invalid_request("order: write asc or desc")
    text = parameters.get("limit", str(_USUAL_LIMIT))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _LARGEST_LIMIT:
        raise invalid_request(f"limit: write a number from 1 to {_LARGEST_LIMIT}")
    sequence = items if order == "asc" else items[::-1]
    after = parameters.get("after")
    if after is not None:
        ids = [item["id"] for item in sequence]
        if after not in ids:
            raise invalid_request("after: it is the id of no item of this response")
        sequence = sequence[ids.index(after) + 1 :]
    page = sequence[: int(text)]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(sequence) > len(page),
    }


def _unknown(response_id: str) -> CallRefused:
    message = f"Response with id {response_id[:80]!r} not found: it is unknown, deleted or too old."
    return invalid_request(message, "response_not_found", 404)

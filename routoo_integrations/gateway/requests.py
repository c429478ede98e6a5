"""What the gateway reads of a request: a body of bounded size, that came in bounded time."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from routoo_core.text import parse_standard_json
from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.problems import CallRefused, Problem, invalid_request

BODY_TIMEOUT_S = 30.0
"""Seconds within which a body must have come."""
LARGEST_BODY = 32 * 1024 * 1024
"""Bytes of a body, images in it included."""
_MOST_FIELDS = 20
"""Of a form."""


async def read_body(request: Request, largest: int, timeout_s: float) -> JsonObject:
    """The JSON object of a request; arguments and errors as in :func:`read_bytes`.

    Raises:
        CallRefused: It is no JSON object.
    """
    return _parse(await read_bytes(request, largest, timeout_s))


async def read_form(request: Request, largest: int, timeout_s: float) -> dict[str, str]:
    """The fields of a form, the last value of each; arguments and errors as in :func:`read_bytes`."""
    payload = await read_bytes(request, largest, timeout_s)
    return dict(parse_qsl(payload.decode(errors="replace"), max_num_fields=_MOST_FIELDS))


async def read_bytes(request: Request, largest: int, timeout_s: float) -> bytes:
    """The body of a request.

    Args:
        request: The request.
        largest: Bytes that it may have.
        timeout_s: Seconds within which it must have come.

    Raises:
        CallRefused: It is too large or too slow.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > largest:
        raise _too_large(largest)
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_payload(request, largest)
    except TimeoutError:
        message = f"body: it had not come within {timeout_s:g} seconds"
        raise CallRefused(Problem(408, "invalid_request_error", message, "timeout")) from None
    except ClientDisconnect:
        raise invalid_request("body: the connection was closed") from None


async def _read_payload(request: Request, largest: int) -> bytes:
    payload = bytearray()
    async for chunk in request.stream():
        payload += chunk
        if len(payload) > largest:
            raise _too_large(largest)
    return bytes(payload)


def _parse(payload: bytes) -> JsonObject:
    try:
        value: Any = parse_standard_json(payload)
    except ValueError:
        raise invalid_request("body: it is no JSON; send an object") from None
    if not isinstance(value, dict):
        raise invalid_request("body: send a JSON object")
    return value


def _too_large(largest: int) -> CallRefused:
    message = f"body: it has more than {largest:,} bytes; send a smaller one"
    return CallRefused(Problem(413, "invalid_request_error", message, "request_too_large"))

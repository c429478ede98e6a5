"""What the gateway reads of a request: a body of bounded size, that came in bounded time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.problems import CallRefused, Problem, invalid_request

BODY_TIMEOUT_S = 30.0
"""Seconds within which a body must have come."""
LARGEST_BODY = 32 * 1024 * 1024
"""Bytes of a body, images in it included."""


async def read_body(request: Request, largest: int, timeout_s: float) -> JsonObject:
    """The JSON object of a request.

    Args:
        request: The request.
        largest: Bytes that it may have.
        timeout_s: Seconds within which it must have come.

    Raises:
        CallRefused: It is too large, too slow, or no JSON object.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > largest:
        raise _too_large(largest)
    try:
        async with asyncio.timeout(timeout_s):
            payload = await _read_payload(request, largest)
    except TimeoutError:
        message = f"body: it had not come within {timeout_s:g} seconds"
        raise CallRefused(Problem(408, "invalid_request_error", message, "timeout")) from None
    except ClientDisconnect:
        raise invalid_request("body: the connection was closed") from None
    return _parse(payload)


async def _read_payload(request: Request, largest: int) -> bytes:
    payload = bytearray()
    async for chunk in request.stream():
        payload += chunk
        if len(payload) > largest:
            raise _too_large(largest)
    return bytes(payload)


def _parse(payload: bytes) -> JsonObject:
    try:
        value: Any = json.loads(payload, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise invalid_request("body: it is no JSON; send an object") from None
    if not isinstance(value, dict):
        raise invalid_request("body: send a JSON object")
    return value


def _refuse_constant(name: str) -> Any:
    """JSON has no such numbers, although Python reads them."""
    raise ValueError(name)


def _too_large(largest: int) -> CallRefused:
    message = f"body: it has more than {largest:,} bytes; send a smaller one"
    return CallRefused(Problem(413, "invalid_request_error", message, "request_too_large"))

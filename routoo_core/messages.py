"""One chat message in OpenAI's form: its text, what it counts as in tokens, what it needs of an expert."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from routoo_core.errors import InvalidRequest
from routoo_core.tokens import bound_tokens, count_tokens

Message = Mapping[str, Any]
"""A chat message in OpenAI's form: ``{"role": …, "content": str | parts, …}``. An assistant's may also say which
``expert`` wrote it, so that a conversation can stay with its expert; a user's what the ``question`` in it is."""

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MEDIA = {
    "image_url": "images",
    "image": "images",
    "input_image": "images",
    "input_audio": "audio",
    "audio": "audio",
    "file": "files",
    "input_file": "files",
    "document": "files",
    "video": "video",
    "video_url": "video",
}
"""Type of a content part → the capability it needs."""

_FEWEST_BYTES_PER_TOKEN = {"audio": 100, "video": 100, "files": 2}
"""The fewest bytes that providers make a token of."""
_UNSIZED_MEDIA_TOKENS = 20_000
"""Stands for media given by URL or id; what is billed beyond it is booked as an overshoot."""
_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]{256,}")


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """What the router knows of one message.

    Attributes:
        role: One of :data:`ROLES`.
        text: Its text parts, one a line, stripped.
        tokens: Estimated tokens of everything in it but images.
        token_bound: The most tokens that can be.
        images: How many it holds.
        needs: Capabilities that its media need.
        expert: Who wrote it, where it says so.
        calls_tools: Whether it asks for tools.
        question: The question in it, where it says so.
    """

    role: str
    text: str
    tokens: int
    token_bound: int
    images: int
    needs: frozenset[str]
    expert: str | None
    calls_tools: bool
    question: str | None


def parse_message(message: Message, index: int) -> ParsedMessage:
    """Read a message.

    Args:
        message: In OpenAI's form.
        index: Its place in the conversation, for errors.

    Raises:
        InvalidRequest: Unknown role, or a part that is no text, image, audio, video or file.
    """
    location = f"messages[{index}]"
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequest(f"{location}.role: {role!r} is none of {', '.join(sorted(ROLES))}")

    content = _read_content(message, location)
    tool_calls = message.get("tool_calls")
    if tool_calls:
        content.unread.append(json.dumps(tool_calls, default=str))

    text = "\n".join(content.texts)
    counted = [part for part in (text, *content.unread) if part]
    expert = message.get("expert")
    return ParsedMessage(
        role=role,
        text=text.strip(),
        tokens=content.media_tokens + sum(map(count_tokens, counted)),
        token_bound=content.media_tokens + sum(map(bound_tokens, counted)),
        images=content.needs.count("images"),
        needs=frozenset(content.needs),
        expert=str(expert) if expert else None,
        calls_tools=bool(tool_calls),
        question=message.get("question") or None,
    )


@dataclass(slots=True)
class _Content:
    """The parts of a message by kind.

    Attributes:
        texts: What is read.
        unread: What travels along and counts, but is not read: reasoning and tool calls, as JSON.
        needs: The capability that each medium needs.
        media_tokens: The most tokens that the media are.
    """

    texts: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    media_tokens: int = 0


def _read_content(message: Message, location: str) -> _Content:
    content = _Content()
    for number, part in enumerate(_message_parts(message, location)):
        kind = part.get("type") if isinstance(part, Mapping) else "text"
        text = _part_text(part)
        if kind in MEDIA:
            content.needs.append(MEDIA[kind])
            content.media_tokens += _media_tokens(part, MEDIA[kind])
        elif text is not None:
            content.texts.append(text)
        elif message["role"] == "assistant":
            content.unread.append(json.dumps(part, default=str))
        else:
            raise InvalidRequest(
                f"{location}.content[{number}]: a {kind!r} part cannot be routed; "
                "send text, images, audio, video or files"
            )
    return content


def _message_parts(message: Message, location: str) -> Sequence[Any]:
    """The parts of a message; a plain text is one part."""
    content = message.get("content")
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (content,)
    if isinstance(content, Sequence):
        return content
    raise InvalidRequest(
        f"{location}.content: {type(content).__name__} is neither text nor a list of parts"
    )


def _part_text(part: Any) -> str | None:
    """The text of a part; ``None`` where it has none."""
    if isinstance(part, Mapping):
        part = part.get("text")
    return part if isinstance(part, str) else None


def _media_tokens(part: Mapping[str, Any], capability: str) -> int:
    """The most tokens of audio, video or a file by its size; images are counted, not weighed."""
    if capability == "images":
        return 0
    encoded = _BASE64.findall(json.dumps(part, default=str))
    size = sum(map(len, encoded)) * 3 // 4  # base64 writes 3 bytes as 4 characters
    return size // _FEWEST_BYTES_PER_TOKEN[capability] or _UNSIZED_MEDIA_TOKENS

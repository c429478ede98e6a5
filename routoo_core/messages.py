"""One chat message in OpenAI's form: its text, what it counts as in tokens, what it needs of an expert."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from routoo_core.errors import InvalidRequest
from routoo_core.text import well_formed
from routoo_core.tokens import bound_tokens, count_tokens

Message = Mapping[str, Any]
"""A chat message in OpenAI's form: ``{"role": …, "content": str | parts, …}``. An assistant's may also say which
``expert`` wrote it, and whose ``plan`` asked for it, so that a conversation can stay with them; a user's what the
``question`` in it is."""

MEDIA = {
    "image_url": "images",
    "image": "images",
    "input_image": "images",
    "input_audio": "audio",
    "audio": "audio",
    "audio_url": "audio",
    "file": "files",
    "input_file": "files",
    "document": "files",
    "video": "video",
    "video_url": "video",
    "input_video": "video",
}
"""Type of a content part → the capability it needs. A part without a type has its kind as its only field (Bedrock)."""
MIME_MEDIA = {"image": "images", "audio": "audio", "video": "video"}
"""Main type of a part of any medium (Google's ``media``) → the capability it needs; any other is a file."""

_MIME_PART = "media"
_FEWEST_BYTES_PER_TOKEN = {"audio": 100, "video": 100, "files": 2}
"""The fewest bytes that providers make a token of."""
_UNSIZED_MEDIA_TOKENS = 20_000
"""Stands for media given by URL or id; what is billed beyond it is booked as an overshoot."""
_SHORTEST_DATA = 256
"""Characters of encoded data that are told from a text."""
_DATA_FIELDS = frozenset({"base64", "bytes", "data", "file_data"})
"""Fields of a medium that hold its data."""
_DATA_URL = "data:"
_ADDRESS_FIELDS = ("file_id", "fileid", "uri", "url")
"""How the names of fields end that say where a medium is."""
_BASE64 = re.compile(
    r"(?:data:[^,]{0,200}+,)?(?:[A-Za-z0-9+/=_-]{60,}+\s*+)++[A-Za-z0-9+/=_-]*+\s*+"
)
"""Encoded data, also in lines and as a URL; the groups are possessive, so that the time is linear."""
_CACHE_MARKS = frozenset({"cache_control", "cachePoint"})
"""Fields by which a part says that the prompt is to be cached up to it (Anthropic's, Bedrock's)."""
_WRITTEN_SOURCES = ("text", "content")
_NESTED_PARTS = ("tool_result", "search_result")
"""Types of parts whose ``content`` is a list of parts. Not a set, since a type may be no text."""


class ParsedMessage(NamedTuple):
    """What the router knows of one message.

    Attributes:
        role: ``user``, ``assistant``, ``system``, ``tool``, or another that some provider knows.
        text: Its text parts, one a line, stripped; well formed.
        tokens: Estimated tokens of everything in it but images.
        token_bound: The most tokens that can be.
        images: How many it holds.
        needs: Capabilities that its media need.
        expert: Who wrote it, where it says so.
        plan: The plan whose reply it is, where it says so.
        calls_tools: Whether it asks for tools.
        caches: Whether it marks where a provider shall cache the prompt.
        question: The question in it, where it says so.
    """

    role: str
    text: str
    tokens: int
    token_bound: int
    images: int
    needs: frozenset[str]
    expert: str | None
    plan: str | None
    calls_tools: bool
    caches: bool
    question: str | None


def parse_message(message: Message, index: int) -> ParsedMessage:
    """Read a message.

    A part of a kind that is not known here counts as prompt and needs nothing: it is for the expert to understand.

    Args:
        message: In OpenAI's form.
        index: Its place in the conversation, for errors.

    Raises:
        InvalidRequest: A role that is no text, or content that is neither text nor a list.
    """
    role = message.get("role")
    if not isinstance(role, str):
        raise InvalidRequest(
            f"messages[{index}].role: {role!r} is not a text; write 'user', for example"
        )

    content = _Content()
    for part in _message_parts(message, index):
        content.add(part)
    tool_calls = message.get("tool_calls")
    if tool_calls:
        content.add_unread(tool_calls)

    text = well_formed("\n".join(content.texts))
    tokens = content.media_tokens + count_tokens(text)
    token_bound = content.media_tokens + bound_tokens(text)
    for unread in content.unread:
        tokens += count_tokens(unread)
        token_bound += bound_tokens(unread)
    question = message.get("question")
    expert = message.get("expert")
    plan = message.get("plan")
    return ParsedMessage(
        role=role,
        text=text.strip(),
        tokens=tokens,
        token_bound=token_bound,
        images=content.needs.count("images"),
        needs=frozenset(content.needs),
        expert=str(expert) if expert else None,
        plan=str(plan) if plan else None,
        calls_tools=bool(tool_calls),
        caches=content.caches,
        question=well_formed(question) if question else None,
    )


@dataclass(slots=True)
class _Content:
    """The parts of a message by kind.

    Attributes:
        texts: What is read.
        unread: What travels along and counts, but is not read: reasoning, tool calls, parts of unknown kinds, as JSON.
        needs: The capability that each medium needs.
        media_tokens: The most tokens that the media are.
        caches: Whether a part marks where a provider shall cache the prompt.
    """

    texts: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    media_tokens: int = 0
    caches: bool = False

    def add(self, part: Any) -> None:
        """Add a part."""
        if isinstance(part, str):
            self.texts.append(part)
            return
        if isinstance(part, Mapping) and not part.keys().isdisjoint(_CACHE_MARKS):
            self.caches = True
        need = _needed_capability(part)
        text = part.get("text") if isinstance(part, Mapping) else None
        if need is not None:
            self.needs.append(need)
            self._add_medium(part, need)
        elif isinstance(text, str):
            self.texts.append(text)
        else:
            self._add_other(part)

    def add_unread(self, value: Any) -> None:
        """Add what counts by its JSON; encoded data in it counts by its size."""
        sizes: list[int] = []
        self.unread.append(_as_json(_without_data(value, sizes)))
        self.media_tokens += sum(sizes) // _FEWEST_BYTES_PER_TOKEN["files"]

    def _add_medium(self, part: Mapping[str, Any], capability: str) -> None:
        """Count audio, video or a file by its size; images are counted, not weighed."""
        if capability == "images":
            return
        if _is_written_out(part):
            self.add_unread(part)
            return
        sizes: list[int] = []
        _without_data(part, sizes)
        if not sizes and not _is_elsewhere(part):
            sizes = _short_data_sizes(part)
        if not sizes:
            self.media_tokens += _UNSIZED_MEDIA_TOKENS
            return
        self.media_tokens += -(-sum(sizes) // _FEWEST_BYTES_PER_TOKEN[capability])  # rounded up

    def _add_other(self, part: Any) -> None:
        """Add a part of another kind; the media of a part that holds parts are needs as well."""
        if not isinstance(part, Mapping) or part.get("type") not in _NESTED_PARTS:
            self.add_unread(part)
            return
        inner = _Content()
        parts = part.get("content")
        for inner_part in parts if isinstance(parts, list) else [parts]:
            inner.add(inner_part)
        rest = {name: value for name, value in part.items() if name != "content"}
        self.add_unread(rest)
        self.unread += [*inner.texts, *inner.unread]
        self.needs += inner.needs
        self.media_tokens += inner.media_tokens


def _message_parts(message: Message, index: int) -> Sequence[Any]:
    """The parts of a message; a plain text is one part."""
    content = message.get("content")
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (content,)
    if isinstance(content, Sequence):
        return content
    raise InvalidRequest(
        f"messages[{index}].content: {type(content).__name__} is neither text nor a list of parts"
    )


def _needed_capability(part: Any) -> str | None:
    """The capability that a medium needs; ``None`` for a part that is no medium."""
    if not isinstance(part, Mapping):
        return None
    kind = part.get("type")
    if kind is None and part:
        kind = next(iter(part))
    if kind == _MIME_PART:
        main_type = str(part.get("mime_type") or "").partition("/")[0]
        return MIME_MEDIA.get(main_type, "files")
    return MEDIA.get(kind) if isinstance(kind, str) else None


def _is_written_out(part: Mapping[str, Any]) -> bool:
    """Whether a document stands in the part as text, as Anthropic's may."""
    source = part.get("source")
    return isinstance(source, Mapping) and source.get("type") in _WRITTEN_SOURCES


# Encoded data inside of parts


def _without_data(value: Any, sizes: list[int]) -> Any:
    """A value without encoded data, whose bytes are added to ``sizes``."""
    if isinstance(value, str):
        if len(value) < _SHORTEST_DATA or not _BASE64.fullmatch(value):
            return value
        sizes.append(len(value) * 3 // 4)  # base64 writes 3 bytes as 4 characters
        return ""
    if isinstance(value, bytes | bytearray):
        sizes.append(len(value))
        return ""
    if isinstance(value, Mapping):
        return {name: _without_data(item, sizes) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_data(item, sizes) for item in value]
    return value


def _is_elsewhere(part: Mapping[str, Any]) -> bool:
    """Whether a part names a medium by its address or its number at a provider."""
    for name, value in part.items():
        if isinstance(value, Mapping) and _is_elsewhere(value):
            return True
        is_name = isinstance(value, str) and not value.startswith(_DATA_URL)
        if is_name and str(name).lower().endswith(_ADDRESS_FIELDS):
            return True
    return False


def _short_data_sizes(part: Mapping[str, Any]) -> list[int]:
    """The bytes of data in a medium that is too short to be told from a text by itself, by the names of its fields."""
    sizes = []
    for name, value in part.items():
        if isinstance(value, Mapping):
            sizes += _short_data_sizes(value)
        elif isinstance(value, str) and (name in _DATA_FIELDS or value.startswith(_DATA_URL)):
            payload = value.rpartition(",")[2]
            sizes.append(len(payload) * 3 // 4)
    return sizes


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):  # keys that are no texts, or a circle
        return str(value)

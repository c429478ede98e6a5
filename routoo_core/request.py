"""Step 1 of the path: chat messages become one request the router can price and predict."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from routoo_core.errors import InvalidRequest
from routoo_core.question import question
from routoo_core.tokens import bound_tokens, count_tokens

if TYPE_CHECKING:
    from routoo_core.selector import Policy, PreferenceRule

Message = Mapping[str, Any]
"""A chat message in OpenAI's form: ``{"role": …, "content": str | parts, …}``. An assistant's may also say which
``expert`` wrote it, so that a conversation can stay with its expert; a user's what the ``question`` in it is."""

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MAX_TEXT_CHARS = 16_000  # what the predictor is given at most; it truncates further, in tokens
SHORT_TURN_WORDS = 6
_PROMPT_OVERHEAD = 64  # what chat templates add on their own: a default system prompt, the date, the reply's opening
_MESSAGE_OVERHEAD = 16  # role markers and separators of the widest chat templates in use
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
_BYTES_PER_TOKEN = {
    "audio": 100,
    "video": 100,
    "files": 2,
}  # the fewest that providers make a token of
_UNSIZED_TOKENS = 20_000  # stands for media given by URL or id; what is billed beyond it is booked as an overshoot
_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]{256,}")
_REFERS_BACK = re.compile(
    r"^\s*(and|but|also|or|so|then|why|again|the (other|second|first|third|last|same)|"
    r"what about|how about|it|that|this|those|these|they)\b",
    re.IGNORECASE,
)


_OBSERVED = (
    "Observation:"  # opens what a tool said, where an agent works in text; it is in the user's name
)


@dataclass(frozen=True, slots=True)
class Overrides:
    """What one call may set for itself.

    Attributes:
        account: Whose budget pays; ``None`` is the router's own account.
        policy: Ranks this call's candidates instead of the router's policy.
        expert: The only one that may answer.
        max_cost: The most the call may cost, nano-USD.
    """

    account: str | None = None
    policy: Policy | PreferenceRule | None = None
    expert: str | None = None
    max_cost: int | None = None


class Turn(NamedTuple):
    """The expert's reply that a request goes on from.

    Attributes:
        expert: Who gave it.
        open_tool_call: Whether it asked for tools and no user has spoken since.
        tokens: Estimated tokens of the conversation up to and with it, which its provider may have cached.
    """

    expert: str
    open_tool_call: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class RoutedRequest:
    """What the router knows of one call; the messages themselves stay with the adapter.

    Attributes:
        text: What the predictor reads.
        prompt_tokens: Estimated tokens of the whole prompt without its images, for the expected cost.
        prompt_token_bound: The most tokens that can be under any byte-level tokenizer, for the hold.
        images: How many images the prompt holds; what one counts as is the expert's.
        max_tokens: The caller's limit on the reply; ``None`` lets the router choose one.
        needs: Capabilities an expert must have.
        previous: The turn this one follows, where the messages say who answered it.
        overrides: What this call sets for itself.
    """

    text: str = field(repr=False)
    prompt_tokens: int
    prompt_token_bound: int
    images: int = 0
    max_tokens: int | None = None
    needs: frozenset[str] = frozenset()
    previous: Turn | None = None
    overrides: Overrides = Overrides()

    @classmethod
    def from_text(
        cls, text: str, *, max_tokens: int | None = None, overrides: Overrides | None = None
    ) -> RoutedRequest:
        """Build the request of a single user turn."""
        return cls.from_messages(
            [{"role": "user", "content": text}], max_tokens=max_tokens, overrides=overrides
        )

    @classmethod
    def from_messages(
        cls,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        tools: Sequence[Any] = (),
        response_format: Mapping[str, Any] | None = None,
        overrides: Overrides | None = None,
    ) -> RoutedRequest:
        """Read chat messages in OpenAI's form.

        Args:
            messages: At least one.
            max_tokens: The caller's limit on the reply, at least 1.
            tools: Tool definitions that travel with the call; they count as prompt.
            response_format: OpenAI's ``response_format``; a schema is a need.
            overrides: What this call sets for itself.

        Raises:
            InvalidRequest: Empty list, unknown role, a part that is no text, image, audio, video or file, nothing to
                read, or a limit below 1.
        """
        if not messages:
            raise InvalidRequest("messages: the list is empty; send at least one user message")
        if max_tokens is not None and max_tokens < 1:
            raise InvalidRequest(
                f"max_tokens: {max_tokens} is below 1; give a positive number or leave it out"
            )
        contents = [_read(message, index) for index, message in enumerate(messages)]
        extras = [json.dumps(extra, default=str) for extra in (*tools, response_format) if extra]
        overhead = _PROMPT_OVERHEAD + _MESSAGE_OVERHEAD * (len(messages) + len(extras))
        tokens = [content.tokens for content in contents]
        return cls(
            text=_routed_text(messages, contents),
            prompt_tokens=sum(tokens) + sum(map(count_tokens, extras)) + overhead // 4,
            prompt_token_bound=sum(c.bound for c in contents)
            + sum(map(bound_tokens, extras))
            + overhead,
            images=sum(content.images for content in contents),
            max_tokens=max_tokens,
            needs=_needs(tools, response_format).union(*(content.needs for content in contents)),
            previous=_previous_turn(messages, tokens),
            overrides=overrides or Overrides(),
        )


def _needs(tools: Sequence[Any], response_format: Mapping[str, Any] | None) -> frozenset[str]:
    kind = response_format.get("type") if response_format else None
    form = {"json_schema": {"json_schema"}, "json_object": {"json_mode"}}.get(str(kind), set())
    return frozenset(form | ({"tools"} if tools else set()))


def _previous_turn(messages: Sequence[Message], tokens: Sequence[int]) -> Turn | None:
    """The last reply that says who wrote it, unless a later one does not."""
    last = max(
        (i for i, message in enumerate(messages) if message["role"] == "assistant"), default=None
    )
    if last is None or not messages[last].get("expert"):
        return None
    spoken = any(message["role"] == "user" for message in messages[last:])
    open_tool_call = bool(messages[last].get("tool_calls")) and not spoken
    return Turn(str(messages[last]["expert"]), open_tool_call, sum(tokens[: last + 1]))


class _Content(NamedTuple):
    """One message, read: its text, the tokens it counts as, and what it needs."""

    text: str
    tokens: int
    bound: int
    images: int
    needs: frozenset[str]


def _read(message: Message, index: int) -> _Content:
    role, content = message.get("role"), message.get("content")
    where = f"messages[{index}]"
    if role not in ROLES:
        raise InvalidRequest(f"{where}.role: {role!r} is none of {', '.join(sorted(ROLES))}")
    if content is None or isinstance(content, str):
        parts: Sequence[Any] = [content] if content else []
    elif isinstance(content, Sequence):
        parts = content
    else:
        raise InvalidRequest(
            f"{where}.content: {type(content).__name__} is neither text nor a list of parts"
        )
    texts, hidden, needs, tokens, images = [], [], set[str](), 0, 0
    for k, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, Mapping) else "text"
        if kind in MEDIA:
            needs.add(MEDIA[kind])
            images += MEDIA[kind] == "images"
            tokens += _media_tokens(part, MEDIA[kind])
        elif (text := _part_text(part)) is not None:
            texts.append(text)
        elif role == "assistant":  # reasoning and calls travel along and count, but are not read
            hidden.append(json.dumps(part, default=str))
        else:
            raise InvalidRequest(
                f"{where}.content[{k}]: a {kind!r} part cannot be routed; send text, images, audio, video or files"
            )
    if calls := message.get("tool_calls"):
        hidden.append(json.dumps(calls, default=str))
    said = "\n".join(texts)
    counted = [text for text in (said, *hidden) if text]
    return _Content(
        said,
        tokens + sum(map(count_tokens, counted)),
        tokens + sum(map(bound_tokens, counted)),
        images,
        frozenset(needs),
    )


def _part_text(part: Any) -> str | None:
    text = (
        part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
    )
    return text if isinstance(text, str) else None


def _media_tokens(part: Mapping[str, Any], kind: str) -> int:
    """The most tokens of audio, video or a file by its size; images are counted, not weighed."""
    if kind == "images":
        return 0
    encoded = sum(len(found) for found in _BASE64.findall(json.dumps(part, default=str)))
    return encoded * 3 // 4 // _BYTES_PER_TOKEN[kind] or _UNSIZED_TOKENS


def _routed_text(messages: Sequence[Message], contents: Sequence[_Content]) -> str:
    """The last user turn; with the turns before it when it is short or refers back (not the system's)."""
    said = [
        (message, content.text.strip()) for message, content in zip(messages, contents, strict=True)
    ]
    turns = [(m, text) for m, text in said if m["role"] in {"user", "assistant"} and text]
    last = max(
        (i for i, (message, text) in enumerate(turns) if _asks(message, text, i)), default=None
    )
    if last is None:
        return _stand_in([text for _, text in said if text], contents)
    text = turns[last][0].get("question") or question(turns[last][1])
    if last and (len(text.split()) < SHORT_TURN_WORDS or _REFERS_BACK.match(text)):
        text = "\n".join([turn for _, turn in turns[:last]] + [text])
    return text[-MAX_TEXT_CHARS:]


def _asks(message: Message, text: str, turn: int) -> bool:
    return message["role"] == "user" and not (turn and text.startswith(_OBSERVED))


def _stand_in(texts: Sequence[str], contents: Sequence[_Content]) -> str:
    """What to read when no user said a word: the last text there is, else what was sent."""
    if texts:
        return texts[-1][-MAX_TEXT_CHARS:]
    sent = sorted(frozenset[str]().union(*(content.needs for content in contents)))
    if not sent:
        raise InvalidRequest("messages: no message with text; the router has nothing to read")
    return f"[{', '.join(sent)}]"

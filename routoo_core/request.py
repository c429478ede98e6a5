"""Step 1 of the path: chat messages become one request the router can price and predict."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from routoo_core.errors import InvalidRequest
from routoo_core.tokens import bound_tokens, count_tokens

Message = Mapping[str, Any]
"""A chat message in OpenAI's form: ``{"role": …, "content": str | parts, …}``."""

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MAX_TEXT_CHARS = 16_000  # what the predictor is given at most; it truncates further, in tokens
SHORT_TURN_WORDS = 6
_PROMPT_OVERHEAD = 64  # what chat templates add on their own: a default system prompt, the date, the reply's opening
_MESSAGE_OVERHEAD = 16  # role markers and separators of the widest chat templates in use
_REFERS_BACK = re.compile(
    r"^\s*(and|but|also|or|so|then|why|again|the (other|second|first|third|last|same)|"
    r"what about|how about|it|that|this|those|these|they)\b",
    re.IGNORECASE,
)
_QUESTION_IN_RAG = (
    re.compile(r"Context information.*?\n-{5,}\n.*\n-{5,}\n.*?Query:\s*(?P<question>.+?)\s*\nAnswer:\s*$", re.S),
    re.compile(r"original query is as follows:\s*(?P<question>.+?)\s*\nWe have provided", re.S),
    re.compile(r"\nQuestion:\s*(?P<question>[^\n]+?)\s*\n+Context:.*\nAnswer:\s*$", re.S),
    re.compile(r"\nContext:.*\n+Question:\s*(?P<question>[^\n]+?)\s*(\n+(Helpful )?Answer:\s*)?$", re.S),
)


@dataclass(frozen=True, slots=True)
class RoutedRequest:
    """What the router knows of one call; the messages themselves stay with the adapter.

    Attributes:
        text: What the predictor reads.
        prompt_tokens: Estimated tokens of the whole prompt, for the expected cost.
        prompt_token_bound: The most tokens the prompt can be under any byte-level tokenizer, for the hold.
        max_tokens: The caller's limit on the reply; ``None`` lets the router choose one.
        needs: Capabilities an expert must have: ``tools``, ``json_schema``.
        account: Whose budget pays; ``None`` is the router's own account.
    """

    text: str = field(repr=False)
    prompt_tokens: int
    prompt_token_bound: int
    max_tokens: int | None = None
    needs: frozenset[str] = frozenset()
    account: str | None = None

    @classmethod
    def from_text(cls, text: str, *, max_tokens: int | None = None, account: str | None = None) -> RoutedRequest:
        """Build the request of a single user turn."""
        return cls.from_messages([{"role": "user", "content": text}], max_tokens=max_tokens, account=account)

    @classmethod
    def from_messages(
        cls,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        tools: Sequence[Any] = (),
        response_format: Mapping[str, Any] | None = None,
        account: str | None = None,
    ) -> RoutedRequest:
        """Read chat messages in OpenAI's form.

        Args:
            messages: At least one, with at least one user turn that has text.
            max_tokens: The caller's limit on the reply, at least 1.
            tools: Tool definitions that travel with the call; they count as prompt.
            response_format: OpenAI's ``response_format``; a schema is a need.
            account: Whose budget pays.

        Raises:
            InvalidRequest: Empty list, unknown role, content that is not text, or a limit below 1.
        """
        if not messages:
            raise InvalidRequest("messages: the list is empty; send at least one user message")
        if max_tokens is not None and max_tokens < 1:
            raise InvalidRequest(f"max_tokens: {max_tokens} is below 1; give a positive number or leave it out")
        texts = [_text(message, index) for index, message in enumerate(messages)]
        extras = [json.dumps(extra, default=str) for extra in (*tools, response_format) if extra]
        extras += [json.dumps(m["tool_calls"], default=str) for m in messages if m.get("tool_calls")]
        overhead = _PROMPT_OVERHEAD + _MESSAGE_OVERHEAD * (len(messages) + len(extras))
        return cls(
            text=_routed_text(messages, texts),
            prompt_tokens=sum(map(count_tokens, texts + extras)) + overhead // 4,
            prompt_token_bound=sum(map(bound_tokens, texts + extras)) + overhead,
            max_tokens=max_tokens,
            needs=_needs(tools, response_format),
            account=account,
        )


def _needs(tools: Sequence[Any], response_format: Mapping[str, Any] | None) -> frozenset[str]:
    needs = {"tools"} if tools else set()
    if response_format and response_format.get("type") == "json_schema":
        needs.add("json_schema")
    return frozenset(needs)


def _text(message: Message, index: int) -> str:
    """The text of one message: a string, text parts joined, or nothing beside tool calls."""
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise InvalidRequest(f"messages[{index}].role: {role!r} is none of {', '.join(sorted(ROLES))}")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise InvalidRequest(f"messages[{index}].content: {type(content).__name__} is neither text nor a list of parts")
    return "\n".join(_part_text(part, f"messages[{index}].content[{k}]") for k, part in enumerate(content))


def _part_text(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    if kind == "text" and isinstance(part["text"], str):
        return str(part["text"])
    raise InvalidRequest(f"{where}: a {kind!r} part cannot be routed, only text; call that expert directly")


def _routed_text(messages: Sequence[Message], texts: Sequence[str]) -> str:
    """The last user turn; with the turns before it when it is short or refers back (not the system's)."""
    turns = [
        (message["role"], text.strip())
        for message, text in zip(messages, texts, strict=True)
        if message["role"] in {"user", "assistant"} and text.strip()
    ]
    last = max((i for i, (role, _) in enumerate(turns) if role == "user"), default=None)
    if last is None:
        raise InvalidRequest("messages: no user message with text; the router has nothing to read")
    text = question(turns[last][1])
    if last and (len(text.split()) < SHORT_TURN_WORDS or _REFERS_BACK.match(text)):
        text = "\n".join([turn for _, turn in turns[:last]] + [text])
    return text[-MAX_TEXT_CHARS:]


def question(text: str) -> str:
    """The question of a retrieval prompt in LlamaIndex's or LangChain's usual shapes, else the text itself."""
    for pattern in _QUESTION_IN_RAG:
        if found := pattern.search(text):
            return found["question"]
    return text

"""Step 1 of the path: chat messages become one request that the router can price and predict."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from routoo_core.errors import InvalidRequest
from routoo_core.expected_form import ANY_FORM, ExpectedForm, expected_form
from routoo_core.messages import Message, ParsedMessage, parse_message
from routoo_core.money import NanoUsd
from routoo_core.question import question
from routoo_core.tokens import bound_tokens, count_tokens

MAX_TEXT_CHARS = 16_000
"""What the predictor is given at most; it truncates further, in tokens."""
SHORT_TURN_WORDS = 6
"""A turn of fewer words is read with what the user wrote before it."""
USER_TURNS_BEFORE = 2
"""How many of the user's earlier turns are read with one that refers back."""

_PROMPT_OVERHEAD = 64
"""Tokens that chat templates add on their own: a default system prompt, the date, the reply's opening."""
_MESSAGE_OVERHEAD = 16
"""Tokens of role markers and separators of the widest chat templates in use."""
_REFERS_BACK = re.compile(
    r"^\s*(and|but|also|or|so|then|why|again|the (other|second|first|third|last|same)|"
    r"what about|how about|it|that|this|those|these|they)\b",
    re.IGNORECASE,
)
_OBSERVATION = "Observation:"
"""Opens the result of a tool where an agent works in plain text; the message is in the user's name."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What one call may set for itself.

    Attributes:
        account: Whose budget pays; ``None`` is the router's own account.
        policy: A policy or preference rule of ``selector`` that ranks this call's candidates instead of the router's.
        expert: The only one that may answer.
        max_cost: The most the call may cost.
        max_retries: How often an expert is asked again before another takes over, instead of its own ``max_retries``.
        payer: The budget that pays, instead of the router's own and of ``account``; set by programs that keep accounts
            of their own.
        experts: Those that may answer; ``None`` for all.
        check: A :data:`routoo_core.calling.checks.Check` of every reply.
        repair: Whether the expert of a rejected reply is asked once more; ``None`` leaves that to the router.
        probes: Python expressions by whose results the code of replies is compared.
        no_cache: Whether it is neither answered from the cache of answers nor stored there.
    """

    account: str | None = None
    policy: Any = None
    expert: str | None = None
    max_cost: NanoUsd | None = None
    max_retries: int | None = None
    payer: Any = None
    experts: frozenset[str] | None = None
    check: Any = None
    repair: bool | None = None
    probes: tuple[str, ...] = ()
    no_cache: bool = False


@dataclass(frozen=True, slots=True)
class EarlierAnswer:
    """The answer to an earlier question that asks for the same in other words.

    Attributes:
        question: The earlier one.
        text: The answer.
        expert: Who gave it.
        rewriter: The expert that may rewrite it.
    """

    question: str = field(repr=False)
    text: str = field(repr=False)
    expert: str
    rewriter: str


class Turn(NamedTuple):
    """The expert's reply that a request goes on from.

    Attributes:
        expert: Who gave it.
        open_tool_call: Whether it asked for tools and no user has spoken since.
        tokens: Estimated tokens of the conversation up to and with it, which its provider may have cached.
        prompt_tokens: Those of the conversation before it, which everyone read who was asked then.
        plan: The plan whose reply it was; ``None`` for an expert alone.
    """

    expert: str
    open_tool_call: bool
    tokens: int
    prompt_tokens: int = 0
    plan: str | None = None


@dataclass(frozen=True, slots=True)
class RoutedRequest:
    """What the router knows of one call; the messages themselves stay with the adapter.

    Attributes:
        text: What the predictor reads.
        prompt_tokens: Estimated tokens of the whole prompt without its images, for the expected cost.
        prompt_token_bound: The most tokens that can be under any byte-level tokenizer, for the hold.
        images: How many images the prompt holds; what one counts as is the expert's.
        max_tokens: The caller's limit on the reply; ``None`` lets the router choose one.
        completions: How many replies the call asks for, each of up to the limit; at least 1.
        needs: Capabilities an expert must have.
        unpriced: Arguments of the call that may cost more than is held; an expert must allow them.
        caches_prompt: Whether the call asks providers to cache its prompt, which some charge for.
        previous: The turn this one follows, where the messages say who answered it.
        form: What the call asks its reply to be.
        is_prefilled: Whether it ends with the beginning of the reply, so that no turn can be put behind it.
        overrides: What this call sets for itself.
        earlier: An answer that may be rewritten, where the cache has one.
    """

    text: str = field(repr=False)
    prompt_tokens: int
    prompt_token_bound: int
    images: int = 0
    max_tokens: int | None = None
    completions: int = 1
    needs: frozenset[str] = frozenset()
    unpriced: frozenset[str] = frozenset()
    caches_prompt: bool = False
    previous: Turn | None = None
    form: ExpectedForm = ANY_FORM
    is_prefilled: bool = False
    overrides: Overrides = Overrides()
    earlier: EarlierAnswer | None = None

    @classmethod
    def from_text(
        cls, text: str, *, max_tokens: int | None = None, overrides: Overrides | None = None
    ) -> RoutedRequest:
        """Build the request of a single user turn."""
        message = {"role": "user", "content": text}
        return cls.from_messages([message], max_tokens=max_tokens, overrides=overrides)

    @classmethod
    def from_messages(
        cls,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        completions: int = 1,
        tools: Sequence[Any] = (),
        must_call: bool = False,
        response_format: Mapping[str, Any] | None = None,
        unpriced: frozenset[str] = frozenset(),
        caches_prompt: bool = False,
        overrides: Overrides | None = None,
    ) -> RoutedRequest:
        """Read chat messages in OpenAI's form.

        Args:
            messages: The conversation; whether one without a text is of use is for the expert to say.
            max_tokens: The caller's limit on the reply, at least 1.
            completions: How many replies the call asks for, at least 1.
            tools: Tool definitions that travel with the call; they count as prompt.
            must_call: Whether the call insists on a tool.
            response_format: OpenAI's ``response_format``; a schema is a need.
            unpriced: Further arguments that may cost; see :func:`routoo_core.arguments.unpriced_arguments`.
            caches_prompt: Whether an argument asks for a cache; the messages' own marks are seen anyway.
            overrides: What this call sets for itself.

        Raises:
            InvalidRequest: A role that is no text, content that is neither text nor a list of parts, a response format
                of another form, or a limit or a number of replies below 1.
        """
        if max_tokens is not None and max_tokens < 1:
            raise InvalidRequest(
                f"max_tokens: {max_tokens} is below 1; give a positive number or leave it out"
            )
        if completions < 1:
            raise InvalidRequest(f"n: {completions} is below 1; ask for at least one reply")
        if response_format is not None and not isinstance(response_format, Mapping):
            kind = type(response_format).__name__
            raise InvalidRequest(
                f"response_format: a {kind} is none; give {{'type': 'json_schema', 'json_schema': …}}"
            )

        conversation = [parse_message(message, index) for index, message in enumerate(messages)]
        definitions = _definitions(tools, response_format)
        tokens, bound = _prompt_tokens(conversation, definitions)
        return cls(
            text=_routed_text(conversation),
            prompt_tokens=tokens,
            prompt_token_bound=bound,
            images=sum(message.images for message in conversation),
            max_tokens=max_tokens,
            completions=completions,
            needs=_needs(conversation, tools, response_format),
            unpriced=unpriced,
            caches_prompt=caches_prompt or any(message.caches for message in conversation),
            previous=_previous_turn(conversation),
            form=expected_form(tools, response_format, must_call),
            is_prefilled=bool(conversation) and conversation[-1].role == "assistant",
            overrides=overrides or Overrides(),
        )

    def followed_by(self, messages: Sequence[Message]) -> RoutedRequest:
        """The same call with more messages at its end. They add to the cost; the router's question stays the same."""
        conversation = [parse_message(message, index) for index, message in enumerate(messages)]
        tokens, bound = _prompt_tokens(conversation, ())
        return replace(
            self,
            prompt_tokens=self.prompt_tokens + tokens,
            prompt_token_bound=self.prompt_token_bound + bound,
        )


# What the prompt counts as


def _definitions(tools: Sequence[Any], response_format: Mapping[str, Any] | None) -> list[str]:
    """What travels beside the messages, as JSON."""
    definitions = [*tools, response_format]
    return [json.dumps(definition, default=str) for definition in definitions if definition]


def _prompt_tokens(
    conversation: Sequence[ParsedMessage], definitions: Sequence[str]
) -> tuple[int, int]:
    """Estimated tokens of the prompt, and the most they can be."""
    overhead = _PROMPT_OVERHEAD + _MESSAGE_OVERHEAD * (len(conversation) + len(definitions))
    estimate = overhead // 4
    bound = overhead
    for message in conversation:
        estimate += message.tokens
        bound += message.token_bound
    for definition in definitions:
        estimate += count_tokens(definition)
        bound += bound_tokens(definition)
    return estimate, bound


# What the call needs


def _needs(
    conversation: Sequence[ParsedMessage],
    tools: Sequence[Any],
    response_format: Mapping[str, Any] | None,
) -> frozenset[str]:
    """Capabilities that an expert must have."""
    needs: set[str] = set()
    for message in conversation:
        needs |= message.needs
    if tools:
        needs.add("tools")

    kind = response_format.get("type") if response_format else None
    if kind == "json_schema":
        needs.add("json_schema")
    elif kind == "json_object":
        needs.add("json_mode")
    return frozenset(needs)


def _previous_turn(conversation: Sequence[ParsedMessage]) -> Turn | None:
    """The last reply that says who wrote it, unless a later one does not."""
    tokens = 0
    turn = None
    for message in conversation:
        prompt_tokens = tokens
        tokens += message.tokens
        if message.role == "assistant":
            turn = None
            if message.expert is not None:
                turn = Turn(
                    message.expert, message.calls_tools, tokens, prompt_tokens, message.plan
                )
        elif message.role == "user" and turn is not None:
            turn = turn._replace(open_tool_call=False)
    return turn


# What the predictor reads


def _routed_text(conversation: Sequence[ParsedMessage]) -> str:
    """The last user turn; with the two user turns before it when it is short or refers back.

    Replies are left out: they are long, and say more about the expert than about what is asked.
    """
    turns: list[ParsedMessage] = []
    asking = None  # place of the last turn in which the user asks something
    for message in conversation:
        if message.role not in {"user", "assistant"} or not message.text:
            continue
        if message.role == "user" and not (turns and message.text.startswith(_OBSERVATION)):
            asking = len(turns)
        turns.append(message)
    if asking is None:
        return _text_without_user(conversation)

    text = turns[asking].question or question(turns[asking].text)
    if _needs_context(text):
        text = "\n".join([*_user_texts(turns[:asking])[-USER_TURNS_BEFORE:], text])
    return text[-MAX_TEXT_CHARS:]


def _user_texts(turns: Sequence[ParsedMessage]) -> list[str]:
    """What the user asked in these turns; results of tools in the user's name are left out."""
    texts = []
    for turn in turns:
        if turn.role == "user" and not turn.text.startswith(_OBSERVATION):
            texts.append(turn.question or question(turn.text))
    return texts


def _needs_context(text: str) -> bool:
    """Whether a turn cannot be understood without the turns before it."""
    if len(text.split()) < SHORT_TURN_WORDS:
        return True
    return _REFERS_BACK.match(text) is not None


def _text_without_user(conversation: Sequence[ParsedMessage]) -> str:
    """What to read when no user wrote anything: the last text there is, else the kinds of media, else nothing."""
    for message in reversed(conversation):
        if message.text:
            return message.text[-MAX_TEXT_CHARS:]

    media: set[str] = set()
    for message in conversation:
        media |= message.needs
    if not media:
        return ""
    return f"[{', '.join(sorted(media))}]"

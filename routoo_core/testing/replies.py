"""Scripted behaviour of a fake endpoint: what it does with a call."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from routoo_core.testing.bills import NOTHING, JsonObject
from routoo_core.usage import Usage

WORD = re.compile(r"\s*\S+")


class Auto(Enum):
    """What a reply works out by itself where a test says nothing."""

    AUTO = "auto"


AUTO = Auto.AUTO


@dataclass(frozen=True, slots=True)
class Reply:
    """What a fake endpoint does with a call: by default it answers as OpenAI does.

    ::

        Reply("Four.", usage=reasoning_beside, reasoning_tokens=500)  # as xAI counts
        Reply("word " * 50, usage={})                                 # billed, and not said
        Reply(status=429, headers={"Retry-After": "7"})
        Reply(body="<html>Bad gateway</html>", content_type="text/html")
        Reply(opening="role", drop_after=0)                           # a first chunk, then death

    What it bills is one thing, what it says of it another: see ``bill`` and ``usage``.

    Attributes:
        text: Said word by word; cut at the call's ``max_tokens`` words.
        status: Anything but 200 is answered as an error.
        delay_s: Waited before answering.
        drop_after: Words streamed before the connection is cut; 0 cuts before the first.
        prompt_tokens: Billed for the prompt.
        cached_tokens: Of these, read from the prompt cache.
        report_usage: ``False`` leaves the usage out.
        tool_calls: Calls it makes after the text, each ``{"name": …, "arguments": {…}}``; arguments that are a text are
            sent as they are.
        word_delay_s: Waited before each word of a stream.
        headers: Sent along with an error or a body, such as ``{"Retry-After": "1"}``.
        logprob: Reported for every word of a text it is to echo (completions); ``None`` reports none.
        reasoning_tokens: Billed as output beside the words of each choice.
        bill: Tokens billed instead of those counted.
        usage: Reported as it is, or made from the tokens billed; by default OpenAI's form of these.
        usage_at: Where a stream reports it: in a chunk after the end if the caller asked for it, with the finish
            reason, or in every chunk with the words so far.
        model: Whom it names as the one that answered; by default the one that was asked.
        finish_reason: As it is; ``None`` for none, by default what fits.
        refusal: Said in ``refusal`` instead of the text.
        choices: How many completions it gives; by default the ``n`` of the call.
        body: Sent instead of any answer or error: bytes and text as they are, anything else as JSON. It bills nothing
            unless ``bill`` says so.
        content_type: Of such a body, or of a whole answer.
        cut_bytes: Bytes of a whole answer that are sent; the body ends there.
        streams: ``False`` answers with a whole reply where a stream was asked for.
        opening: What a stream says before its first word: a chunk with the role only, or Azure's verdict of the prompt
            and then the role.
        events: Sent as the whole stream, instead of any: objects as JSON, texts as they are. It bills as a body does.
        done: ``False`` ends a stream without ``[DONE]``.
        error: The error object, of an error status or in mid-stream.
        error_after: Words streamed before an error event ends the stream.
        hang_after: Words streamed before it falls silent until the caller gives up; 0 gives no sign at all. It works
            on unheard, so that the bill is of the whole text.
    """

    text: str = "The answer is four."
    status: int = 200
    delay_s: float = 0.0
    drop_after: int | None = None
    prompt_tokens: int = 10
    cached_tokens: int = 0
    report_usage: bool = True
    tool_calls: Sequence[Mapping[str, Any]] = ()
    word_delay_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    logprob: float | None = None
    reasoning_tokens: int = 0
    bill: Usage | None = None
    usage: Any | Callable[[Usage], Any] = AUTO
    usage_at: Literal["end", "finish", "every chunk"] = "end"
    model: str | None = None
    finish_reason: str | Auto | None = AUTO
    refusal: str | None = None
    choices: int | None = None
    body: Any = AUTO
    content_type: str = "application/json"
    cut_bytes: int | None = None
    streams: bool = True
    opening: Literal["role", "filter"] | None = None
    events: Sequence[JsonObject | str] | None = None
    done: bool = True
    error: Mapping[str, Any] | None = None
    error_after: int | None = None
    hang_after: int | None = None

    @property
    def answers(self) -> bool:
        """Whether it is an answer in the protocol's own form, rather than an error or a body of its own."""
        return self.status == 200 and self.body is AUTO and self.events is None

    def words(self, body: Mapping[str, Any]) -> tuple[list[str], str | None]:
        """The words of the text up to the call's stop sequences and limit, and the finish reason."""
        stops = body.get("stop")
        if not isinstance(stops, list):
            stops = [stops]
        text = self.text if self.refusal is None else self.refusal
        for stop in stops:
            if isinstance(stop, str) and stop:
                text = text.partition(stop)[0]

        words = WORD.findall(text.strip())
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or len(words)
        if not isinstance(self.finish_reason, Auto):
            finish_reason = self.finish_reason
        elif self.tool_calls:
            finish_reason = "tool_calls"
        elif len(words) > limit:
            finish_reason = "length"
        else:
            finish_reason = "stop"
        return words[:limit], finish_reason

    def count(self, body: Mapping[str, Any]) -> int:
        """How many completions it gives."""
        return (body.get("n") or 1) if self.choices is None else self.choices

    def tokens_of(self, written_tokens: int) -> Usage:
        """The usage billed for a number of written tokens: text and tool calls of all choices together."""
        if self.bill is not None:
            return self.bill
        reasoning = self.reasoning_tokens
        return Usage(
            self.prompt_tokens,
            written_tokens + reasoning,
            cached_tokens=self.cached_tokens,
            reasoning_tokens=reasoning,
        )

    def tokens_without_answer(self) -> Usage:
        """What it bills for an error or a body of its own."""
        return self.bill or NOTHING

    def report(self, tokens: Usage) -> Any:
        """The usage it reports of these tokens."""
        return self.usage(tokens) if callable(self.usage) else self.usage

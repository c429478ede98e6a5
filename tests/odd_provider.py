"""A provider that answers at random in every way that providers do; the same for the same seed and call."""

import random
import re
from dataclasses import dataclass, replace

from routoo_core.testing import Reply
from routoo_core.testing.bills import as_floats, as_texts, reasoning_beside, total_only
from routoo_core.tokens import count_tokens
from routoo_core.usage import Usage

TAG = re.compile(r"call-(\d+)")
NULLS = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}
ZEROS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@dataclass(frozen=True)
class OddReply:
    """A reply, and whether the caller can know what it was billed.

    Attributes:
        reply: What the endpoint does.
        is_told: Whether the usage is said to the caller in a form that has been seen in the field.
        hides_reasoning: Whether it is complete, says nothing of its usage, and bills more than its text.
    """

    reply: Reply
    is_told: bool = True
    hides_reasoning: bool = False


class OddProvider:
    """Answers the calls of any model, each with a reply drawn by the seed, the model and the call's tag.

    Args:
        seed: Of all replies.

    Attributes:
        drawn: (model, tag) → what each was answered.
    """

    def __init__(self, seed):
        self.drawn = {}
        self._seed = seed

    def __call__(self, body):
        """The reply to a request; its prompt carries the tag of its call."""
        tag = tag_of(body)
        key = (body["model"], tag)
        dice = random.Random(f"{self._seed} {key}")
        odd = draw(dice, body)
        self.drawn[key] = odd
        return odd.reply


def tag_of(body):
    """The number of the call that a request belongs to."""
    return int(TAG.search(str(body["messages"][-1]["content"]))[1])


def draw(dice, body):
    """A reply: to two calls of five an answer, to the others anything."""
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    words = dice.randrange(1, min(limit, 24))
    prompt = count_tokens(str(body["messages"][-1]["content"])) + 4
    text = " ".join(["word"] * words)
    base = Reply(text, prompt_tokens=prompt, delay_s=dice.choice([0, 0, 0.002, 0.01]))
    base = replace(base, opening=dice.choice([None, "role", "filter"]))
    room = limit - words
    draw_kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
    odd = draw_kind(dice, base, words, room)
    if body.get("stream") and not is_usage_read(odd.reply, body):
        return replace(odd, is_told=False, hides_reasoning=odd.reply.reasoning_tokens > 0)
    return odd


def is_usage_read(reply, body):
    """Whether the usage of a reply reaches whoever asked for a stream."""
    if not reply.streams:
        return False  # nobody reads a whole reply there
    asks_for_usage = (body.get("stream_options") or {}).get("include_usage")
    return asks_for_usage or reply.usage_at != "end" or reply.status != 200


# What it says of its usage


def told(dice, base, words, room):
    form = dice.choice(
        ["plain", "cached", "inside", "beside", "total", "floats", "texts", "chunks"]
    )
    reasoning = dice.randrange(0, room + 1)
    if form == "plain":
        return OddReply(base)
    if form == "cached":
        return OddReply(replace(base, cached_tokens=base.prompt_tokens // 2))
    if form == "inside":
        return OddReply(replace(base, reasoning_tokens=reasoning))
    if form == "beside":
        return OddReply(replace(base, reasoning_tokens=reasoning, usage=reasoning_beside))
    if form == "total":
        return OddReply(replace(base, reasoning_tokens=reasoning, usage=total_only))
    if form == "floats":
        return OddReply(replace(base, usage=as_floats))
    if form == "texts":
        return OddReply(replace(base, usage=as_texts))
    return OddReply(replace(base, usage_at="every chunk"))


def silent(dice, base, words, room):
    usage = dice.choice([{}, NULLS, ZEROS, None])
    spoken = replace(base, usage=usage, report_usage=dice.random() < 0.8)
    return OddReply(replace(spoken, done=dice.random() < 0.7), is_told=False)


# Failures


def refused(dice, base, words, room):
    status, error, headers = dice.choice(REFUSALS)
    return OddReply(replace(base, status=status, error=error, headers=headers))


def no_reply(dice, base, words, room):
    body = dice.choice(BODIES)
    kind = "text/html" if str(body).startswith("<") else "application/json"
    bill = dice.choice([None, Usage(base.prompt_tokens, 0)])
    return OddReply(replace(base, body=body, content_type=kind, bill=bill), is_told=False)


def empty_stream(dice, base, words, room):
    events = dice.choice([[], [{"choices": []}], [{"error": {"message": "overloaded"}}]])
    return OddReply(
        replace(base, events=events, done=dice.random() < 0.5, bill=Usage(base.prompt_tokens, 0)),
        is_told=False,
    )


def wrong_form(dice, base, words, room):
    """Whole JSON where a stream may be asked for, or a cut one."""
    if dice.random() < 0.5:
        return OddReply(replace(base, streams=False))
    cut = dice.randrange(0, 120)
    return OddReply(replace(base, cut_bytes=cut, streams=False), is_told=False)


def death(dice, base, words, room):
    """By a cut or an error event; a caller of a whole reply sees the cut alone."""
    at = dice.randrange(0, words + 1)
    usage_at = dice.choice(["end", "end", "every chunk"])
    dying = dice.choice([{"drop_after": at}, {"error_after": at}])
    return OddReply(replace(base, usage_at=usage_at, **dying), is_told=False)


def unfinished(dice, base, words, room):
    """No finish reason: of a stream, cut off; of a whole reply, an oddity."""
    reply = replace(base, finish_reason=None, done=dice.random() < 0.3, report_usage=False)
    return OddReply(reply, is_told=False)


def silence(dice, base, words, room):
    return OddReply(replace(base, hang_after=0), is_told=False)


KINDS = {
    told: 44,
    silent: 12,
    refused: 14,
    no_reply: 8,
    empty_stream: 5,
    wrong_form: 5,
    death: 7,
    unfinished: 3,
    silence: 2,
}
"""Kind → how often, of a hundred."""

REFUSALS = [
    (500, None, {}),
    (502, None, {}),
    (503, {"message": "overloaded"}, {"Retry-After": "0"}),
    (529, {"type": "overloaded_error", "message": "Overloaded"}, {}),
    (408, None, {}),
    (401, {"message": "Incorrect API key provided", "code": "invalid_api_key"}, {}),
    (402, {"message": "Insufficient credits", "code": 402}, {}),
    (403, {"message": "Your account is not active"}, {}),
    (404, {"message": "The model does not exist", "code": "model_not_found"}, {}),
    (429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}, {"Retry-After": "0"}),
    (429, {"message": "Rate limit reached"}, {"retry-after-ms": "3"}),
    (429, {"message": "quota", "code": "insufficient_quota"}, {}),
    (400, {"message": "Your credit balance is too low", "type": "invalid_request_error"}, {}),
    (400, {"message": "filtered by the content management policy", "code": "content_filter"}, {}),
    (400, {"message": "maximum context length is 9 tokens", "code": "context_length_exceeded"}, {}),
    (422, {"message": "Extra inputs are not permitted: stream_options"}, {}),
]
"""Status, error object, headers: each of one provider alone."""

BODIES = [
    {"error": {"message": "overloaded", "code": 503}},
    {"choices": None},
    {"choices": []},
    {},
    [],
    None,
    "",
    "<html><body>Bad gateway</body></html>",
    "upstream connect error",
    '{"id": "chatcmpl-1", "choi',
]

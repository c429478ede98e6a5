"""What providers really send, over HTTP: booked to the nano-dollar where they say it, replaced where they fail."""

import pytest
from eight_ways import QUESTION, STREAMED, WAYS, WHOLE, answer, billed, call, model_for

from routoo_core.errors import RoutooError, StreamInterrupted
from routoo_core.testing import Reply
from routoo_core.testing.bills import as_floats, as_texts, reasoning_beside, total_only
from routoo_core.usage import Usage

ANSWER = "The answer is four."
IN_EVERY_WAY = pytest.mark.parametrize("way", WAYS)
IN_STREAMS = pytest.mark.parametrize("way", STREAMED)
WHOLE_WAYS = pytest.mark.parametrize("way", WHOLE)
FIFTY_WORDS = "word " * 50


def cheap_cost(endpoint, router):
    """Nano-USD that the cheap expert billed."""
    return sum(
        bill.tokens.prompt_tokens * 1000 + bill.tokens.completion_tokens * 1000
        for bill in endpoint.bills
        if bill.model == "cheap"
    )


# What is billed is what is booked


SAID = {
    "OpenAI's": Reply(),
    "a finish reason with it": Reply(usage_at="finish"),
    "a null beside it": Reply(usage=lambda t: {**total_only(t), "prompt_tokens_details": None}),
    "cached": Reply(prompt_tokens=500, cached_tokens=200),
    "reasoning inside": Reply(reasoning_tokens=80),
    "reasoning beside": Reply(reasoning_tokens=80, usage=reasoning_beside),
    "a total that exceeds": Reply(reasoning_tokens=80, usage=total_only),
    "floats": Reply(usage=as_floats),
    "texts": Reply(usage=as_texts),
    "cumulative": Reply("word " * 20, prompt_tokens=300, usage_at="every chunk"),
    "cumulative reasoning beside": Reply(
        "word " * 20, reasoning_tokens=60, usage=reasoning_beside, usage_at="every chunk"
    ),
}


@IN_EVERY_WAY
@pytest.mark.parametrize("form", SAID)
async def test_usage_is_booked_to_the_nano_dollar_in_whatever_form_it_is_said(
    endpoint, make_router, way, form
):
    endpoint.replies["dear"] = SAID[form]
    router = make_router()
    ending = await call(way, router)
    assert ending.error is None
    assert (ending.booked, ending.held) == (billed(endpoint, router), 0)
    assert ending.record["settled_usd"] == f"{ending.booked / 1e9:.9f}"


SILENT = {
    "absent": Reply(FIFTY_WORDS, report_usage=False),
    "null": Reply(FIFTY_WORDS, usage=None),
    "empty": Reply(FIFTY_WORDS, usage={}),
    "nulls": Reply(
        FIFTY_WORDS,
        usage={"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
    ),
    "zeros": Reply(
        FIFTY_WORDS, usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    ),
    "no completion": Reply(FIFTY_WORDS, usage={"prompt_tokens": 10, "completion_tokens": None}),
}


@IN_EVERY_WAY
@pytest.mark.parametrize("form", SILENT)
async def test_usage_that_says_nothing_is_estimated_and_never_free(
    endpoint, make_router, way, form
):
    endpoint.replies["dear"] = SILENT[form]
    router = make_router()
    ending = await call(way, router)
    assert ending.error is None
    assert ending.booked >= billed(endpoint, router)


@IN_EVERY_WAY
async def test_an_expert_that_reasoned_once_is_never_booked_at_its_text_alone(
    endpoint, make_router, way
):
    router = make_router()
    endpoint.replies["dear"] = Reply(reasoning_tokens=80)
    await call(way, router)
    endpoint.replies["dear"] = Reply(reasoning_tokens=80, report_usage=False)
    ending = await call(way, router)
    assert ending.record["estimated"]
    assert ending.booked >= billed(endpoint, router)


@WHOLE_WAYS
@pytest.mark.parametrize(
    "reply",
    [
        Reply("word " * 50, cut_bytes=200),
        Reply("word " * 50, bill=Usage(50, 60), drop_after=0),
        Reply(body={"choices": None}, bill=Usage(10, 0)),
    ],
    ids=["cut JSON", "cut connection", "no choices"],
)
async def test_what_failed_after_it_was_billed_is_booked_as_an_estimate(
    endpoint, make_router, way, reply
):
    endpoint.replies["dear"] = reply
    router = make_router()
    ending = await call(way, router)
    assert ending.expert == "cheap"
    assert ending.booked - cheap_cost(endpoint, router) >= 10 * 10_000


@WHOLE_WAYS
@pytest.mark.parametrize(
    "body",
    [
        {"choices": []},
        {"choices": None},
        {"error": {"message": "overloaded", "code": 503}},
        {"choices": [{"index": 0, "message": None, "finish_reason": "error"}]},
    ],
    ids=["no choice", "null", "error", "no message"],
)
async def test_a_200_without_a_reply_is_booked_at_no_less_than_it_was_billed(
    endpoint, make_router, way, body
):
    usage = {"prompt_tokens": 50, "completion_tokens": 90, "total_tokens": 140}
    endpoint.replies["dear"] = Reply(body={**body, "usage": usage}, bill=Usage(50, 90))
    router = make_router()
    ending = await call(way, router)
    assert ending.expert == "cheap"
    assert ending.booked >= billed(endpoint, router)
    assert ending.held == 0


@IN_EVERY_WAY
async def test_several_completions_are_booked_or_refused(endpoint, make_router, way):
    router = make_router(limit="0.02")
    try:
        await answer(way, model_for(way, router), QUESTION, n=3)
    except RoutooError:
        assert endpoint.bills == []
    state = router.ledger.state(router.budget)
    assert (state.spent, state.held) == (billed(endpoint, router), 0)


# Failures that another expert would not share


OWN_REFUSALS = {
    "no credit": (402, {"message": "Insufficient credits", "code": 402}),
    "no credit, as a 400": (
        400,
        {
            "message": "Your credit balance is too low to access the API.",
            "type": "invalid_request_error",
        },
    ),
    "no quota": (
        429,
        {"message": "You exceeded your current quota", "code": "insufficient_quota"},
    ),
    "bad key": (401, {"message": "Incorrect API key provided", "code": "invalid_api_key"}),
    "bad key, as a 400": (
        400,
        {"message": "API key not valid. Please pass a valid API key.", "status": "INVALID"},
    ),
    "no access": (403, {"message": "Project does not have access to model"}),
    "no such model": (404, {"message": "The model does not exist", "code": "model_not_found"}),
    "content filter": (
        400,
        {
            "message": "The response was filtered due to Azure OpenAI's content management policy.",
            "code": "content_filter",
            "param": "prompt",
        },
    ),
    "a parameter": (
        400,
        {
            "message": "Unsupported parameter: 'stream_options' is not supported with this model.",
            "code": "unsupported_parameter",
            "param": "stream_options",
        },
    ),
    "a parameter, as a 422": (422, {"message": "Extra inputs are not permitted: stream_options"}),
    "a smaller window": (
        400,
        {
            "message": "This model's maximum context length is 16 tokens. However, you requested 90.",
            "code": "context_length_exceeded",
            "param": "messages",
        },
    ),
    "throttled": (429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}),
    "unavailable": (503, {"message": "The engine is currently overloaded"}),
}


@IN_EVERY_WAY
@pytest.mark.parametrize("kind", OWN_REFUSALS)
async def test_what_one_expert_refuses_another_answers(endpoint, make_router, way, kind):
    status, error = OWN_REFUSALS[kind]
    endpoint.replies["dear"] = Reply(status=status, error=error)
    router = make_router()
    ending = await call(way, router)
    assert (ending.text, ending.expert) == (ANSWER, "cheap")
    assert (ending.booked, ending.held) == (billed(endpoint, router), 0)


NO_REPLIES = {
    "an error body": Reply(body={"error": {"message": "overloaded", "code": 503}}),
    "choices null": Reply(body={"id": "x", "model": "dear", "choices": None}),
    "no choices": Reply(body={"id": "x", "model": "dear", "choices": []}),
    "an empty object": Reply(body={}),
    "null": Reply(body=None),
    "a list": Reply(body=[]),
    "an HTML page": Reply(body="<html><body>Bad gateway</body></html>", content_type="text/html"),
    "an HTML page as JSON": Reply(body="<html><body>Bad gateway</body></html>"),
    "nothing": Reply(body=""),
    "cut JSON": Reply(FIFTY_WORDS, cut_bytes=100, streams=False),
}


@IN_EVERY_WAY
@pytest.mark.parametrize("kind", NO_REPLIES)
async def test_a_200_that_is_no_reply_is_replaced(endpoint, make_router, way, kind):
    endpoint.replies["dear"] = NO_REPLIES[kind]
    router = make_router()
    ending = await call(way, router)
    assert (ending.text, ending.expert) == (ANSWER, "cheap")
    assert ending.booked >= billed(endpoint, router)
    assert ending.held == 0


EMPTY_STREAMS = {
    "no chunk": Reply(events=[], done=False),
    "only [DONE]": Reply(events=[]),
    "only a verdict": Reply("", opening="filter", finish_reason=None),
    "only a role": Reply("", opening="role", finish_reason=None),
    "only a role, then nothing": Reply("", opening="role", finish_reason=None, done=False),
    "an error event": Reply(error_after=0),
    "an error event after a role": Reply(opening="role", error_after=0),
    "an error event after a verdict": Reply(opening="filter", error_after=0),
    "a cut": Reply(drop_after=0),
    "a cut after a role": Reply(opening="role", drop_after=0),
    "a cut after a verdict": Reply(opening="filter", drop_after=0),
}


@IN_STREAMS
@pytest.mark.parametrize("kind", EMPTY_STREAMS)
async def test_a_stream_that_ends_before_its_first_word_is_replaced(
    endpoint, make_router, way, kind
):
    endpoint.replies["dear"] = EMPTY_STREAMS[kind]
    router = make_router()
    ending = await call(way, router)
    assert ending.error is None
    assert (ending.text, ending.expert) == (ANSWER, "cheap")
    assert ending.booked >= billed(endpoint, router)
    assert ending.held == 0


CUT_STREAMS = {
    "no finish reason": Reply(finish_reason=None, done=False, report_usage=False),
    "a cut": Reply(drop_after=2),
    "an error event": Reply(error_after=2),
    "an error as the reason": Reply(finish_reason="error"),
    "an error event at the end": Reply(error_after=4),
    "a cut at the end": Reply(drop_after=4, report_usage=False),
}


@IN_STREAMS
@pytest.mark.parametrize("kind", CUT_STREAMS)
async def test_a_stream_that_breaks_off_after_a_word_is_interrupted_and_booked(
    endpoint, make_router, way, kind
):
    endpoint.replies["dear"] = CUT_STREAMS[kind]
    router = make_router()
    ending = await call(way, router)
    assert isinstance(ending.error, StreamInterrupted)
    assert ending.booked >= billed(endpoint, router)
    assert ending.held == 0


COMPLETE_STREAMS = {
    "without [DONE]": Reply(done=False),
    "without usage": Reply(report_usage=False),
    "without [DONE] and usage": Reply(done=False, report_usage=False),
    "after Azure's verdict": Reply(opening="filter"),
    "after a role": Reply(opening="role"),
}


@IN_STREAMS
@pytest.mark.parametrize("kind", COMPLETE_STREAMS)
async def test_a_stream_with_a_finish_reason_is_complete(endpoint, make_router, way, kind):
    endpoint.replies["dear"] = COMPLETE_STREAMS[kind]
    router = make_router()
    ending = await call(way, router)
    assert (ending.text, ending.expert) == (ANSWER, "dear")
    assert ending.booked >= billed(endpoint, router)


@IN_STREAMS
async def test_whole_json_where_a_stream_was_asked_for_is_a_reply_or_replaced(
    endpoint, make_router, way
):
    endpoint.replies["dear"] = Reply(streams=False)
    router = make_router()
    ending = await call(way, router)
    assert ending.text == ANSWER
    assert ending.booked >= billed(endpoint, router)
    assert ending.held == 0


@IN_EVERY_WAY
async def test_a_silent_expert_is_replaced_and_booked(endpoint, make_router, way):
    endpoint.replies["dear"] = Reply(hang_after=0)
    router = make_router(timeout_s=1.5)
    ending = await call(way, router)
    assert (ending.text, ending.expert) == (ANSWER, "cheap")
    assert ending.booked >= billed(endpoint, router)
    assert ending.held == 0

"""The shipped endpoint does what it is told on the wire, and bills to the token whatever it says of it."""

import json

import httpx
import pytest

from routoo_core.testing import Reply
from routoo_core.testing.bills import as_floats, as_texts, reasoning_beside, total_only
from routoo_core.usage import Usage

ASK = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**ASK, "stream": True, "stream_options": {"include_usage": True}}


def post(endpoint, body, timeout=60):
    return httpx.post(f"{endpoint.base_url}/chat/completions", json=body, timeout=timeout)


def events(response):
    texts = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def text_of(pieces):
    choices = [piece["choices"][0] for piece in pieces if piece != "[DONE]" and piece["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.parametrize("body", [ASK, STREAM], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("reply", "tokens"),
    [
        (Reply(), Usage(10, 4)),
        (Reply(report_usage=False), Usage(10, 4)),
        (Reply(usage=None), Usage(10, 4)),
        (Reply(usage={}), Usage(10, 4)),
        (Reply(prompt_tokens=50, cached_tokens=20), Usage(50, 4, 20)),
        (Reply(reasoning_tokens=500), Usage(10, 504, reasoning_tokens=500)),
        (Reply(bill=Usage(7, 8)), Usage(7, 8)),
        (Reply(choices=3), Usage(10, 12)),
        (Reply(status=503), Usage(0, 0)),
        (Reply(body="<html></html>"), Usage(0, 0)),
        (Reply(body={"choices": None}, bill=Usage(10, 4)), Usage(10, 4)),
        (Reply(drop_after=4), Usage(10, 4)),
    ],
)
def test_every_request_is_billed_whatever_is_said_of_it(endpoint, body, reply, tokens):
    endpoint.replies["m"] = reply
    try:
        post(endpoint, body)
    except httpx.TransportError:
        assert reply.drop_after is not None
    [bill] = endpoint.bills
    assert (bill.model, bill.tokens, bill.request) == ("m", tokens, body)


@pytest.mark.parametrize("body", [ASK, STREAM], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("form", "usage"),
    [
        (
            reasoning_beside,
            {
                "prompt_tokens": 10,
                "completion_tokens": 4,
                "total_tokens": 514,
                "completion_tokens_details": {"reasoning_tokens": 500},
            },
        ),
        (total_only, {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 514}),
        (as_floats, {"prompt_tokens": 10.0, "completion_tokens": 504.0, "total_tokens": 514.0}),
        (as_texts, {"prompt_tokens": "10", "completion_tokens": "504", "total_tokens": "514"}),
        ({"prompt_tokens": None}, {"prompt_tokens": None}),
        (None, None),
    ],
)
def test_usage_is_reported_in_any_form(endpoint, body, form, usage):
    endpoint.replies["m"] = Reply(reasoning_tokens=500, usage=form)
    response = post(endpoint, body)
    answer = response.json() if body is ASK else events(response)[-2]
    assert answer["usage"] == usage == endpoint.bills[0].reported


def test_usage_stands_in_every_chunk_or_with_the_finish_reason(endpoint):
    endpoint.replies["m"] = Reply("one two", usage_at="every chunk")
    said = [piece["usage"]["completion_tokens"] for piece in events(post(endpoint, STREAM))[:-1]]
    assert said == [1, 2, 2]
    endpoint.replies["m"] = Reply("one two", usage_at="finish")
    pieces = events(post(endpoint, {**ASK, "stream": True}))
    assert ["usage" in piece for piece in pieces[:-1]] == [False, False, True]


def test_an_answer_names_another_model_and_any_finish_reason(endpoint):
    endpoint.replies["m"] = Reply(model="m-2026", finish_reason="content_filter")
    answer = post(endpoint, ASK).json()
    assert (answer["model"], answer["choices"][0]["finish_reason"]) == ("m-2026", "content_filter")

    endpoint.replies["m"] = Reply(finish_reason=None, done=False)
    pieces = events(post(endpoint, {**ASK, "stream": True}))
    assert {piece["choices"][0]["finish_reason"] for piece in pieces} == {None}
    assert text_of(pieces) == "The answer is four."


def test_a_refusal_stands_beside_a_null_content(endpoint):
    endpoint.replies["m"] = Reply(refusal="I cannot help.")
    message = post(endpoint, ASK).json()["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "I cannot help.")


@pytest.mark.parametrize("body", [ASK, STREAM], ids=["whole", "streamed"])
def test_there_are_as_many_choices_as_were_asked_for(endpoint, body):
    response = post(endpoint, {**body, "n": 3})
    pieces = [response.json()] if body is ASK else events(response)[:-1]
    indices = {choice["index"] for piece in pieces for choice in piece["choices"]}
    assert indices == {0, 1, 2}


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (Reply(body="<html>Bad</html>", content_type="text/html"), "<html>Bad</html>"),
        (Reply(body={"error": {"code": 1}}), '{"error": {"code": 1}}'),
        (Reply(body=None), "null"),
        (Reply(cut_bytes=9), '{"id": "c'),
    ],
)
def test_a_200_has_any_body(endpoint, reply, text):
    endpoint.replies["m"] = reply
    response = post(endpoint, ASK)
    assert (response.status_code, response.text) == (200, text)
    assert response.headers["content-type"] == reply.content_type


def test_an_error_status_has_any_body_and_headers(endpoint):
    endpoint.replies["m"] = Reply(
        status=429, headers={"retry-after-ms": "7"}, error={"code": "insufficient_quota"}
    )
    response = post(endpoint, ASK)
    assert (response.status_code, response.headers["retry-after-ms"]) == (429, "7")
    assert response.json() == {"error": {"code": "insufficient_quota"}}


def test_a_stream_has_any_events_or_none_or_is_no_stream(endpoint):
    endpoint.replies["m"] = Reply(events=[], done=False)
    assert events(post(endpoint, STREAM)) == []
    endpoint.replies["m"] = Reply(events=[{"choices": []}])
    assert events(post(endpoint, STREAM)) == [{"choices": []}, "[DONE]"]
    endpoint.replies["m"] = Reply(streams=False)
    assert post(endpoint, STREAM).json()["object"] == "chat.completion"


def test_a_stream_opens_with_the_role_or_with_azures_verdict(endpoint):
    endpoint.replies["m"] = Reply(opening="role")
    first = events(post(endpoint, STREAM))[0]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    endpoint.replies["m"] = Reply(opening="filter")
    first = events(post(endpoint, STREAM))[0]
    assert (first["choices"], len(first["prompt_filter_results"])) == ([], 1)


def test_a_stream_dies_by_an_error_event_and_is_billed_for_its_words(endpoint):
    endpoint.replies["m"] = Reply(opening="role", error_after=2)
    pieces = events(post(endpoint, STREAM))
    assert "error" in pieces[-2]
    assert text_of(pieces[:-2]) == "The answer"
    assert endpoint.bills[0].tokens == Usage(10, 2)


@pytest.mark.parametrize("body", [ASK, STREAM], ids=["whole", "streamed"])
@pytest.mark.parametrize("words", [0, 2])
def test_silence_lasts_until_the_caller_gives_up_and_is_billed_in_full(endpoint, body, words):
    endpoint.replies["m"] = Reply(hang_after=words)
    with pytest.raises(httpx.ReadTimeout):
        post(endpoint, body, timeout=0.1)
    assert endpoint.bills[0].tokens == Usage(10, 4)


def test_headers_and_paths_of_requests_can_be_looked_at(endpoint):
    httpx.post(
        f"{endpoint.base_url}/chat/completions?api-version=7", json=ASK, headers={"api-key": "k"}
    )
    assert endpoint.paths == ["/v1/chat/completions?api-version=7"]
    assert endpoint.headers[0]["api-key"] == "k"

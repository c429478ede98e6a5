"""A prompt that no window can take is LangChain's own error, so that middleware that summarises shortens it."""

import pytest
from langchain_core.exceptions import ContextOverflowError

from routoo_core.errors import ContextWindowExceeded, NoCapableExpert
from routoo_core.testing import Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

LONG = "word " * 5000
REFUSAL = {"message": "maximum context length is 10 tokens", "code": "context_length_exceeded"}


async def test_nobody_is_asked_where_no_window_is_large_enough(make_router, endpoint):
    model = RoutooChatModel(make_router(limit="1"))
    with pytest.raises(ContextOverflowError) as error:
        model.invoke(LONG)
    assert isinstance(error.value, NoCapableExpert)
    with pytest.raises(ContextOverflowError):
        await model.ainvoke(LONG)
    with pytest.raises(ContextOverflowError):
        list(model.stream(LONG))
    with pytest.raises(ContextOverflowError):
        [chunk async for chunk in model.astream(LONG)]
    assert endpoint.requests == []


async def test_so_it_is_where_all_that_were_asked_say_so(make_router, endpoint):
    for name in ("cheap", "dear"):
        endpoint.replies[name] = Reply(status=400, body={"error": REFUSAL})
    with pytest.raises(ContextOverflowError) as error:
        RoutooChatModel(make_router()).invoke("What is 2 + 2?")
    assert len(endpoint.requests) == 2
    assert sorted(error.value.excluded) == ["cheap", "dear"]

    with pytest.raises(ContextWindowExceeded):
        RoutooLLM(make_router()).complete("What is 2 + 2?")


def test_what_nobody_can_do_at_any_length_is_no_question_of_length(make_router):
    model = RoutooChatModel(make_router())
    with pytest.raises(NoCapableExpert) as error:
        model.invoke(LONG, response_format={"type": "json_object"})
    assert not isinstance(error.value, ContextOverflowError)

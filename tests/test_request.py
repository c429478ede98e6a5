"""Messages become what the predictor reads, what the call may cost, and what it needs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_core.errors import InvalidRequest
from routoo_core.question import question
from routoo_core.request import RoutedRequest
from routoo_core.tokens import bound_tokens, count_tokens


def user(text):
    return {"role": "user", "content": text}


def test_the_last_user_turn_is_read_and_the_system_prompt_is_not():
    messages = [
        {"role": "system", "content": "You are terse."},
        user("What is the capital of France, please?"),
        {"role": "assistant", "content": "Paris."},
        user("Explain the difference between TCP and UDP to a beginner."),
    ]
    request = RoutedRequest.from_messages(messages)
    assert request.text == "Explain the difference between TCP and UDP to a beginner."


@pytest.mark.parametrize(
    "follow_up", ["And the second one?", "What about its population in 1900, roughly speaking?"]
)
def test_a_turn_that_is_short_or_refers_back_brings_two_user_turns_and_no_reply(follow_up):
    messages = [
        user("Hello, I am planning a journey."),
        {"role": "assistant", "content": "Where to?"},
        user("What is the capital of France?"),
        {"role": "assistant", "content": "Paris, which has 2.1 million inhabitants."},
        user("What is the capital of Germany?"),
        {"role": "assistant", "content": "Berlin."},
        user(follow_up),
    ]
    text = RoutedRequest.from_messages(messages).text
    assert text.splitlines() == [
        "What is the capital of France?",
        "What is the capital of Germany?",
        follow_up,
    ]


def test_everything_sent_counts_as_prompt_even_if_it_is_not_read():
    long_system = RoutedRequest.from_messages(
        [{"role": "system", "content": "be kind " * 500}, user("Hello, who are you?")]
    )
    assert long_system.prompt_tokens > 900
    tools = RoutedRequest.from_messages(
        [user("Hi")], tools=[{"name": "search", "description": "look it up " * 100}]
    )
    assert tools.prompt_tokens > 200


def test_text_parts_are_joined():
    content = [
        {"type": "text", "text": "What is"},
        {"type": "text", "text": "the speed of light in vacuum?"},
    ]
    assert (
        RoutedRequest.from_messages([user(content)]).text
        == "What is\nthe speed of light in vacuum?"
    )


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([{"role": "user", "content": 3}], r"messages\[0\].content"),
        ([{"role": None, "content": "hi"}], r"messages\[0\].role: None"),
    ],
)
def test_a_request_that_cannot_be_routed_says_where_it_is_wrong(messages, named):
    with pytest.raises(InvalidRequest, match=named):
        RoutedRequest.from_messages(messages)


def test_a_reply_limit_below_one_is_refused():
    with pytest.raises(InvalidRequest, match="max_tokens: 0"):
        RoutedRequest.from_text("hello", max_tokens=0)


def test_tools_and_schemas_are_needs():
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
    request = RoutedRequest.from_messages(
        [user("hi")], tools=[{"name": "t"}], response_format=schema
    )
    assert request.needs == {"tools", "json_schema"}


RAG = """Context information is below.
---------------------
page_label: 1

Query: a trap inside the context
Answer: no
---------------------
Given the context information and not prior knowledge, answer the query.
Query: Who wrote the report?
Answer: """


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (RAG, "Who wrote the report?"),
        (
            "You are an assistant.\nQuestion: Who wrote it? \nContext: long text\nAnswer:",
            "Who wrote it?",
        ),
        (
            "Use this.\nContext: long text\n\nQuestion: Who wrote it?\nHelpful Answer:",
            "Who wrote it?",
        ),
        (
            "The original query is as follows: Who wrote it?\nWe have provided an existing answer: x",
            "Who wrote it?",
        ),
        (
            "Just a question about Context: and Answer:?",
            "Just a question about Context: and Answer:?",
        ),
    ],
)
def test_of_a_retrieval_prompt_the_question_is_read(prompt, expected):
    assert question(prompt) == expected


ASKED = "Which treaty ended the war?\nA. Westphalia\nB. Utrecht"
PASTED = "A passage.\n-----\nQuery: a trap\nAnswer: no\n\nQuestion: a trap\nContext: more\n" * 3


def prompts_of_llama_index():
    """Every default prompt of LlamaIndex that asks a question: its name and text."""
    from llama_index.core.chat_engine import condense_plus_context, condense_question
    from llama_index.core.prompts import chat_prompts, default_prompts
    from llama_index.core.query_engine import citation_query_engine
    from llama_index.core.question_gen import prompts as sub_questions
    from llama_index.core.selectors import prompts as selectors

    for module in (
        default_prompts, chat_prompts, condense_question, condense_plus_context, sub_questions, selectors,
        citation_query_engine,
    ):  # fmt: skip
        for name, value in vars(module).items():
            if name.endswith("MSGS"):
                yield name, value[-1].content
            elif isinstance(value, str) and name.isupper():
                yield name, value
            elif name.startswith("CITATION") and hasattr(value, "template"):
                yield name, value.template


def filled(template):
    def value(found):
        name = found[1]
        if name in {"query_str", "question", "query"}:
            return ASKED
        return (
            "It was long."
            if name == "existing_answer"
            else "2"
            if name.startswith(("num", "max"))
            else PASTED
        )

    return re.sub(r"\{(\w+)\}", value, template)


ASKING = {
    name: text
    for name, text in prompts_of_llama_index()
    if re.search(r"\{(query_str|question|query)\}", text)
    and name != "CHAT_REFINE_TABLE_CONTEXT_TMPL_MSGS"
}


@pytest.mark.parametrize("name", sorted(ASKING))
def test_of_every_prompt_of_llama_index_the_question_is_read(name):
    assert RoutedRequest.from_text(filled(ASKING[name])).text == ASKED


def test_so_many_prompts_are_known():
    assert len(ASKING) >= 25


def test_a_message_may_say_what_its_question_is():
    message = {**user("Kontext: lang. Frage: Wer?"), "question": "Wer hat den Bericht geschrieben?"}
    request = RoutedRequest.from_messages([message])
    assert request.text == "Wer hat den Bericht geschrieben?"


def test_what_a_tool_said_in_the_users_name_is_not_what_is_asked():
    said = [
        user("How much is two plus two, please?"),
        {"role": "assistant", "content": "Thought: I need a tool.\nAction: add"},
        user("Observation: 4"),
    ]
    assert RoutedRequest.from_messages(said).text == "How much is two plus two, please?"
    assert RoutedRequest.from_messages(
        [user("Observation: it rains. Why is that so?")]
    ).text.startswith("Observation")


@pytest.mark.timeout(5)
def test_a_context_full_of_marks_is_searched_quickly():
    text = "Context information\n------\nQuery: \nQuestion: \nContext:\n" * 20_000
    assert question(text) == text or len(question(text)) < len(text)


def test_the_prompt_text_is_not_in_the_repr():
    assert "secret plan" not in repr(RoutedRequest.from_text("my secret plan is this"))


@given(st.text())
def test_the_bound_is_never_below_the_count(text):
    assert bound_tokens(text) >= count_tokens(text)


def reply(text, expert=None, calls=None):
    return {"role": "assistant", "content": text, "expert": expert, "tool_calls": calls}


CALLS = [{"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]
RESULT = {"role": "tool", "tool_call_id": "1", "content": "3"}


@pytest.mark.parametrize(
    ("messages", "previous", "is_open"),
    [
        ([user("hi")], None, False),
        ([user("hi"), reply("hello")], None, False),
        ([user("hi"), reply("hello", "a"), user("and?")], "a", False),
        ([user("hi"), reply("", "a", CALLS), RESULT], "a", True),
        ([user("hi"), reply("", "a", CALLS), RESULT, reply("", "b", CALLS), RESULT], "b", True),
        ([user("hi"), reply("", "a", CALLS), RESULT, user("wait")], "a", False),
        ([user("hi"), reply("hello", "a"), user("and?"), reply("written by hand")], None, False),
    ],
)
def test_the_turn_before_says_who_answered_and_whether_tools_are_awaited(
    messages, previous, is_open
):
    turn = RoutedRequest.from_messages(messages).previous
    assert (turn and turn.expert, bool(turn and turn.open_tool_call)) == (previous, is_open)


def test_what_a_provider_may_have_cached_ends_with_its_last_reply():
    story = "once upon a time " * 50
    messages = [user(story), reply("a fox", "a"), user("more, please")]
    assert RoutedRequest.from_messages(messages).previous.tokens == count_tokens(
        story
    ) + count_tokens("a fox")


DATA = "A" * 4000


@pytest.mark.parametrize(
    ("part", "need"),
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}, "images"),
        ({"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}, "audio"),
        ({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{DATA}"}}, "files"),
        ({"type": "video", "base64": DATA}, "video"),
    ],
)
def test_media_are_needs_and_the_text_beside_them_is_read(part, need):
    request = RoutedRequest.from_messages(
        [user([{"type": "text", "text": "What is this about?"}, part])]
    )
    assert (request.text, request.needs) == ("What is this about?", {need})
    assert RoutedRequest.from_messages([user([part])]).text == f"[{need}]"


def test_images_are_counted_and_other_media_weighed():
    def tokens(part):
        request = RoutedRequest.from_messages([user([part])])
        return request.images, request.prompt_token_bound - RoutedRequest.from_text(
            "x"
        ).prompt_token_bound + 1

    assert tokens({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}) == (
        1,
        0,
    )
    assert tokens({"type": "file", "file": {"file_data": DATA}}) == (0, 1500)
    assert tokens({"type": "input_audio", "input_audio": {"data": DATA}}) == (0, 30)
    assert tokens({"type": "file", "file": {"file_id": "file-123"}})[1] == 20_000


def test_json_mode_is_a_need_and_a_schema_includes_it(endpoint):
    request = RoutedRequest.from_messages(
        [user("hi there")], response_format={"type": "json_object"}
    )
    assert endpoint.expert("plain").lacks(request.needs) == ["json_mode"]
    assert endpoint.expert("schema", capabilities={"json_schema"}).lacks(request.needs) == []


def test_without_a_user_the_last_text_is_read():
    assert (
        RoutedRequest.from_messages([{"role": "system", "content": "Say hello."}]).text
        == "Say hello."
    )

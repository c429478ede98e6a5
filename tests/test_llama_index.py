"""RoutooLLM behaves as one LlamaIndex LLM."""

import asyncio
import copy
import threading

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.base.llms.types import ImageBlock, TextBlock, ThinkingBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse, MockLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import ToolMetadata
from llama_index_suite import BERN, TOOLS, Listener, Place, structured
from openai import BadRequestError
from pydantic import ValidationError
from waiting import wait_until

from routoo_core import Budget, Expert, Pool, Usage
from routoo_core.config import build_router
from routoo_core.errors import (
    BudgetExceeded,
    ConfigurationError,
    InvalidRequest,
    NoCapableExpert,
    StreamInterrupted,
)
from routoo_core.testing import FakePredictor, Reply
from routoo_core.tokens import count_tokens
from routoo_core.usage import read_usage
from routoo_integrations.llama_index import RoutooLLM, RoutooSelector, routoo_settings
from routoo_integrations.llama_index.clients import PROTOCOLS

ADD = TOOLS[0]
ANSWER = "The answer is four."
DEAR = 10 * 10_000 + 4 * 30_000
CHEAP = 14 * 1_000
QUESTION = "What is two plus two?"


@pytest.fixture
def llm(make_router):
    return RoutooLLM(make_router(), max_tokens=20)


def spent(llm):
    state = llm.router.ledger.state(llm.router.budget)
    assert state.held == 0
    return state.spent


async def ask(llm, how):
    """One call in each of LlamaIndex's eight ways; returns the text and the decision record."""
    messages = [ChatMessage(QUESTION)] if "chat" in how else QUESTION
    answer = getattr(llm, how)(messages)
    if how.startswith("a"):
        answer = await answer
    if "stream" in how:
        pieces = [piece async for piece in answer] if how.startswith("a") else list(answer)
        answer = pieces[-1]
        assert "".join(piece.delta or "" for piece in pieces) == ANSWER
    text = answer.message.content if "chat" in how else answer.text
    return text, answer.additional_kwargs["routoo"]


WAYS = pytest.mark.parametrize(
    "how",
    [
        "chat",
        "complete",
        "stream_chat",
        "stream_complete",
        "achat",
        "acomplete",
        "astream_chat",
        "astream_complete",
    ],
)


@WAYS
async def test_a_call_is_answered_by_the_chosen_expert_and_booked_to_the_nano_dollar(llm, how):
    text, record = await ask(llm, how)
    assert (text, record["expert"], record["settled_usd"]) == (ANSWER, "dear", "0.000220000")
    assert spent(llm) == DEAR


@WAYS
async def test_an_expert_that_answers_an_error_is_replaced_and_costs_nothing(llm, endpoint, how):
    endpoint.replies["dear"] = Reply(status=500)
    text, record = await ask(llm, how)
    assert (text, record["expert"], record["attempts"][0]["expert"]) == (ANSWER, "cheap", "dear")
    assert spent(llm) == CHEAP


@pytest.mark.parametrize("how", ["stream_chat", "astream_complete"])
async def test_a_stream_that_breaks_off_is_an_error_and_booked_at_the_most_it_can_have_cost(
    llm, endpoint, how
):
    endpoint.replies["dear"] = Reply(drop_after=2)
    with pytest.raises(StreamInterrupted):
        await ask(llm, how)
    bound = llm.routed_request([ChatMessage(QUESTION)], {}).prompt_token_bound
    assert spent(llm) == llm.router.pool["dear"].maximum_cost(bound, 20)


def test_without_reported_usage_the_text_is_counted(llm, endpoint):
    endpoint.replies["dear"] = Reply(report_usage=False)
    llm.complete(QUESTION)
    prompt = llm.routed_request([ChatMessage(QUESTION)], {}).prompt_tokens
    assert spent(llm) == prompt * 10_000 + 5 * 30_000


def test_when_the_money_is_gone_nobody_is_called(make_router, endpoint):
    with pytest.raises(BudgetExceeded):
        RoutooLLM(make_router(limit="0.000001"), max_tokens=20).complete(QUESTION)
    assert endpoint.requests == []


def test_a_request_that_cannot_be_routed_is_refused_before_anything_is_charged(llm, endpoint):
    image = ImageBlock(url="http://127.0.0.1/x.png")
    with pytest.raises(InvalidRequest):
        llm.chat([ChatMessage("hi")], max_tokens=0)
    with pytest.raises(NoCapableExpert):
        llm.chat([ChatMessage([image])])
    assert (spent(llm), endpoint.requests) == (0, [])


def test_in_a_query_engine_the_question_is_read_and_the_context_is_paid_for(llm):
    index = SummaryIndex.from_documents([Document(text="Two plus two is four. " * 50)])
    response = index.as_query_engine(llm=llm).query(QUESTION)
    assert str(response) == ANSWER
    assert llm.router.predictor.prompts == [QUESTION]
    request = llm.routed_request([ChatMessage("Two plus two is four. " * 50)], {})
    assert request.prompt_tokens > 250


def test_a_decision_is_an_event_of_its_own(llm):
    with Listener() as listener:
        llm.chat([ChatMessage(QUESTION)])
    assert [event.record["expert"] for event in listener.named("RoutooDecisionEvent")] == ["dear"]
    assert len(listener.named("LLMChatEndEvent")) == 1


def test_any_llama_index_llm_can_be_an_expert_and_its_own_limit_is_lowered_to_what_is_held():
    mock = MockLLM(max_tokens=100)
    expert = Expert(
        name="a",
        model="a",
        client=mock,
        input_usd_per_1m=1,
        output_usd_per_1m=1,
        max_output_tokens=100,
    )
    llm = RoutooLLM(FakePredictor({"a": 1}), {"a": expert})
    assert len(llm.complete("word " * 50, max_tokens=7).text.split()) == 7
    assert mock.max_tokens == 100


def test_an_object_of_another_framework_is_refused():
    from langchain_openai import ChatOpenAI

    other = ChatOpenAI(model="gpt-4o-mini", api_key="x")
    with pytest.raises(ConfigurationError, match="client: ChatOpenAI is not a LLM"):
        RoutooLLM(FakePredictor({"a": 1}), {"a": other})


def test_metadata_promises_the_smallest_window_and_tools_where_any_expert_takes_them(
    make_router, endpoint
):
    metadata = RoutooLLM(make_router()).metadata
    assert (metadata.context_window, metadata.num_output) == (2048, -1)
    assert metadata.is_chat_model
    assert metadata.is_function_calling_model
    without = RoutooLLM(
        FakePredictor({"a": 1}),
        {"a": endpoint.expert("a", context_window=100, max_output_tokens=100)},
    )
    assert not without.metadata.is_function_calling_model


class TestTools:
    """The cheap expert takes none."""

    @pytest.mark.parametrize("policy", ["best", "cheapest"])
    def test_only_experts_that_take_tools_are_candidates(self, make_router, policy):
        response = RoutooLLM(make_router(policy=policy), max_tokens=20).chat_with_tools(
            [ADD], QUESTION
        )
        assert [c["expert"] for c in response.additional_kwargs["routoo"]["candidates"]] == ["dear"]

    def test_without_such_an_expert_the_error_names_the_lack(self, endpoint):
        llm = RoutooLLM(FakePredictor({"a": 1}), {"a": endpoint.expert("a")})
        with pytest.raises(NoCapableExpert, match="tools"):
            llm.chat_with_tools([ADD], QUESTION)

    @pytest.mark.parametrize("how", ["chat", "stream_chat"])
    def test_tools_may_be_descriptions_in_openais_form(self, llm, endpoint, how):
        endpoint.replies["dear"] = Reply(
            "", tool_calls=[{"name": "add", "arguments": {"a": 1, "b": 2}}]
        )
        given = {
            "tools": [ADD.metadata.to_openai_tool()],
            "tool_choice": "required",
            "parallel_tool_calls": True,
        }
        answer = getattr(llm, how)([ChatMessage(QUESTION)], **given)
        answer = list(answer)[-1] if how.startswith("stream") else answer
        assert llm.get_tool_calls_from_response(answer)[0].tool_kwargs == {"a": 1, "b": 2}
        sent = endpoint.requests[-1]
        assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("required", True)
        assert sent["tools"][0]["function"]["parameters"]["required"] == ["a", "b"]

    def test_what_is_no_tool_is_refused_before_anything_is_charged(self, llm, endpoint):
        with pytest.raises(InvalidRequest, match="tools: each is a LlamaIndex tool"):
            llm.chat([ChatMessage(QUESTION)], tools=[{"name": "add"}])
        assert endpoint.requests == []

    def test_arguments_without_reported_usage_are_counted(self, llm, endpoint):
        calls = [{"name": "add", "arguments": {"a": 1, "b": 2}}]
        endpoint.replies["dear"] = Reply("", tool_calls=calls, report_usage=False)
        list(llm.stream_chat_with_tools([ADD], QUESTION))
        prompt = llm.routed_request([ChatMessage(QUESTION)], {"tools": [ADD]}).prompt_tokens
        assert spent(llm) == prompt * 10_000 + count_tokens('{"a": 1, "b": 2}') * 30_000

    @pytest.mark.parametrize("stored", [False, True])
    def test_an_open_tool_call_stays_with_its_expert(self, endpoint, stored):
        """Though the other is predicted to be better for the loop's next turn."""
        experts = {name: endpoint.expert(name, capabilities={"tools"}) for name in ("one", "two")}
        quality = FakePredictor({"one": lambda text: float("two plus" in text), "two": 0.5})
        llm = RoutooLLM(quality, experts, policy="best", budget=Budget(limit="1"), max_tokens=20)
        endpoint.replies["one"] = Reply(
            "", tool_calls=[{"name": "add", "arguments": {"a": 2, "b": 2}}]
        )
        question = ChatMessage(QUESTION)
        reply = llm.chat_with_tools([ADD], chat_history=[question]).message
        if stored:
            reply = ChatMessage.model_validate_json(reply.model_dump_json())
        call = reply.blocks[-1].tool_call_id
        result = ChatMessage(role="tool", content="4", additional_kwargs={"tool_call_id": call})
        endpoint.replies["one"] = Reply()
        for asked, expert in ((ChatMessage("Of what colour is it?"), "two"), (question, "one")):
            response = llm.chat_with_tools([ADD], chat_history=[asked, reply, result])
            assert response.additional_kwargs["routoo"]["expert"] == "one", expert
        later = llm.chat_with_tools(
            [ADD], "Who painted the Mona Lisa, and when?", chat_history=[question, reply, result]
        )
        assert later.additional_kwargs["routoo"]["expert"] == "two"
        assert [message["role"] for message in endpoint.requests[-1]["messages"]] == [
            "user",
            "assistant",
            "tool",
            "user",
        ]
        assert "routoo" not in str(endpoint.requests)

    def test_another_experts_reasoning_and_objects_are_left_out(self, llm, endpoint):
        call = {
            "id": "c1",
            "type": "function",
            "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'},
        }
        reply = ChatMessage(
            role="assistant",
            blocks=[ThinkingBlock(content="hm"), TextBlock(text="Let me add.")],
            additional_kwargs={
                "tool_calls": [call],
                "signature": "s",
                "routoo": {"expert": "cheap"},
            },
        )
        result = ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": "c1"})
        llm.chat(
            [ChatMessage(QUESTION), reply, result, ChatMessage("Thank you very much, and now?")]
        )
        sent = endpoint.requests[-1]["messages"][1]
        assert sent == {"role": "assistant", "content": "Let me add.", "tool_calls": [call]}

    def test_calls_of_nobody_known_are_read_in_either_form(self, llm):
        block = ToolCallBlock(tool_call_id="c", tool_name="add", tool_kwargs='{"a": 1')
        call = {"id": "c", "function": {"name": "add", "arguments": '{"a": 1}'}}
        for message in (
            ChatMessage(role="assistant", blocks=[block]),
            ChatMessage(role="assistant", additional_kwargs={"tool_calls": [call]}),
        ):
            (found,) = llm.get_tool_calls_from_response(ChatResponse(message=message))
            assert (found.tool_id, found.tool_name, found.tool_kwargs) == ("c", "add", {"a": 1})


class TestSettingsOfACall:
    def test_a_call_names_its_account_policy_expert_and_limit(self, make_router, endpoint):
        llm = RoutooLLM(make_router(), max_tokens=20)
        for given, expert in (
            ({"routoo_policy": "cheapest"}, "cheap"),
            ({"routoo_expert": "cheap"}, "cheap"),
            ({"model": "cheap"}, "cheap"),
            ({"routoo_max_cost": "0.0002"}, "cheap"),
            ({"routoo_account": "alice"}, "dear"),
        ):
            record = llm.chat([ChatMessage(QUESTION)], **given).additional_kwargs["routoo"]
            assert record["expert"] == expert, given
        assert record["account"] == "alice"
        assert not any(key.startswith("routoo") for body in endpoint.requests for key in body)

    def test_an_unknown_one_is_refused(self, llm):
        with pytest.raises(InvalidRequest, match="routoo_acount: unknown"):
            llm.complete(QUESTION, routoo_acount="alice")

    async def test_a_block_sets_them_for_all_calls_within_and_a_calls_own_words_win(self, llm):
        with routoo_settings(account="alice", policy="cheapest"):
            with routoo_settings(account="bob"):
                inner = (await llm.acomplete(QUESTION)).additional_kwargs["routoo"]
            outer = llm.complete(QUESTION, routoo_policy="best").additional_kwargs["routoo"]
            stream = llm.stream_complete(QUESTION)
        streamed = list(stream)[-1].additional_kwargs["routoo"]
        after = llm.complete(QUESTION).additional_kwargs["routoo"]
        assert [(r["account"], r["expert"]) for r in (inner, outer, streamed, after)] == [
            ("bob", "cheap"),
            ("alice", "dear"),
            ("alice", "cheap"),
            (llm.router.budget.account, "dear"),
        ]

    def test_a_limit_in_openais_newer_word_is_held_to(self, llm):
        assert llm.complete(QUESTION, max_completion_tokens=2).text == "The answer"

    def test_temperature_and_limits_reach_the_expert(self, make_router, endpoint):
        RoutooLLM(make_router(), max_tokens=7, temperature=0.5).complete(QUESTION)
        assert (endpoint.requests[-1]["temperature"], endpoint.requests[-1]["max_tokens"]) == (
            0.5,
            7,
        )

    def test_a_rate_limiter_is_asked_once_for_each_call(self, make_router):
        class Limiter:
            acquired = 0

            def acquire(self):
                self.acquired += 1

        limiter = Limiter()
        llm = RoutooLLM(make_router(), max_tokens=20, rate_limiter=limiter)
        llm.complete(QUESTION)
        list(llm.stream_complete(QUESTION))
        assert limiter.acquired == 2


class TestWhatIsRead:
    def test_the_question_a_template_was_filled_with_in_any_language(self, llm):
        template = PromptTemplate("Kontext: {context_str}\nBeantworte: {query_str}\nAntwort:")
        llm.predict(template, context_str="foo " * 50, query_str=QUESTION)
        assert llm.router.predictor.prompts == [QUESTION]

    def test_the_caller_may_say(self, make_router):
        llm = RoutooLLM(
            make_router(), max_tokens=20, question_of=lambda text: text.partition("QUESTION=")[2]
        )
        llm.complete(f"long context\nQUESTION={QUESTION}")
        assert llm.router.predictor.prompts == [QUESTION]

    def test_images_are_a_need_and_count(self, make_router, endpoint):
        seeing = endpoint.expert("seeing", capabilities={"images"}, context_window=8192)
        blind = endpoint.expert("blind", context_window=8192)
        llm = RoutooLLM(
            FakePredictor({"seeing": 0, "blind": 1}),
            {"seeing": seeing, "blind": blind},
            policy="best",
        )
        message = ChatMessage([TextBlock(text=QUESTION), ImageBlock(url="http://127.0.0.1/x.png")])
        assert llm.chat([message]).additional_kwargs["routoo"]["expert"] == "seeing"
        assert llm.routed_request([message], {}).images == 1


class TestExperts:
    def test_a_provider_is_no_llm(self):
        expert = Expert(
            name="a", model="claude", provider="anthropic", input_usd_per_1m=1, output_usd_per_1m=1
        )
        with pytest.raises(
            ConfigurationError, match="expert 'a': provider: .*pass the object.*PROTOCOLS"
        ):
            RoutooLLM(FakePredictor({"a": 1}), {"a": expert})

    def test_a_protocol_is_added_by_one_entry(self, monkeypatch, endpoint):
        built = []

        def build(expert):
            built.append(expert.model)
            return MockLLM(max_tokens=100)

        monkeypatch.setitem(PROTOCOLS, "house", build)
        expert = endpoint.expert("mine", model="our-own", provider="house")
        llm = RoutooLLM(FakePredictor({"mine": 1}), {"mine": expert}, max_tokens=4)
        assert llm.complete("one two").text == "text text text text"
        assert asyncio.run(llm.acomplete("one two")).text == "text text text text"
        assert (set(built), endpoint.requests) == ({"our-own"}, [])

    def test_openais_protocol_may_be_named(self, endpoint):
        expert = endpoint.expert("a", provider="openai")
        llm = RoutooLLM(FakePredictor({"a": 1}), {"a": expert})
        assert llm.complete(QUESTION).text == ANSWER

    def test_an_llm_without_tools_cannot_be_said_to_take_them(self):
        expert = Expert(
            name="a",
            model="a",
            client=MockLLM(),
            input_usd_per_1m=1,
            output_usd_per_1m=1,
            capabilities={"tools"},
        )
        with pytest.raises(
            ConfigurationError, match="MockLLM is no FunctionCallingLLM; take 'tools' out"
        ):
            RoutooLLM(FakePredictor({"a": 1}), {"a": expert})

    def test_an_object_says_what_it_can_do(self):
        from llama_index.llms.openai import OpenAI

        llm = RoutooLLM(
            FakePredictor({"a": 1}), {"a": OpenAI("gpt-4o-mini", api_key="x", max_tokens=100)}
        )
        expert = llm.router.pool["a"]
        assert (expert.context_window, expert.max_output_tokens) == (128_000, 100)
        assert expert.capabilities == {"tools", "json_schema"}

    def test_one_that_does_not_know_itself_is_a_configuration_error(self):
        from llama_index.llms.openai import OpenAI

        with pytest.raises(ConfigurationError, match="experts: OpenAI: Unknown model 'new'"):
            RoutooLLM(FakePredictor({"a": 1}), {"a": OpenAI("new", api_key="x")})

    def test_their_own_objects_are_never_changed(self, endpoint):
        from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
        from llama_index.llms.openai import OpenAI

        given = OpenAI("gpt-4o-mini", api_key="x", api_base=endpoint.base_url, max_tokens=9)
        before = given.callback_manager
        counter = TokenCountingHandler(tokenizer=str.split)
        llm = RoutooLLM(
            FakePredictor({"a": 1}), {"a": given}, callback_manager=CallbackManager([counter])
        )
        for limit in (3, 2):
            assert llm.complete(QUESTION, max_tokens=limit).text == " ".join(ANSWER.split()[:limit])
        assert (given.max_tokens, given.callback_manager) == (9, before)
        assert len(counter.llm_token_counts) == 2
        asked = llm.client(llm.router.pool["a"]).llm
        assert asked._client is not None, "the copies of all calls share its connection"

    @pytest.mark.parametrize(
        ("raw", "beside", "expected"),
        [
            (
                {"usage": {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 3}},
                {},
                Usage(8, 2, 3),
            ),
            (
                {"usage_metadata": {"prompt_token_count": 5, "candidates_token_count": 2}},
                {},
                Usage(5, 2),
            ),
            ({"prompt_eval_count": 5, "eval_count": 2}, {}, Usage(5, 2)),
            ({}, {"prompt_tokens": 5, "completion_tokens": 2}, Usage(5, 2)),
            (
                {
                    "usage": {
                        "prompt_tokens": 5,
                        "completion_tokens": 2,
                        "prompt_tokens_details": {"cached_tokens": 4},
                    }
                },
                {},
                Usage(5, 2, 4),
            ),
            (None, {}, None),
            ({"usage": {"prompt_tokens": None}}, {}, None),
        ],
    )
    def test_usage_is_read_in_every_providers_words(self, raw, beside, expected):
        assert (
            read_usage(CompletionResponse(text="", raw=raw, additional_kwargs=beside)) == expected
        )


@pytest.mark.parametrize(
    ("capabilities", "how"),
    [
        (set(), "structured_predict"),
        ({"tools"}, "structured_predict"),
        ({"tools"}, "stream_structured_predict"),
        ({"json_schema"}, "structured_predict"),
        ({"json_schema"}, "stream_structured_predict"),
    ],
)
def test_an_object_is_begun_and_ended_once(endpoint, capabilities, how):
    endpoint.replies["a"] = structured
    llm = RoutooLLM(
        FakePredictor({"a": 1}),
        {"a": endpoint.expert("a", capabilities=capabilities)},
        policy="best",
    )
    with Listener() as listener:
        found = getattr(llm, how)(Place, PromptTemplate("The capital of {c}?"), c="Switzerland")
        assert (found if isinstance(found, Place) else list(found)[-1]) == BERN
    for when in ("Start", "End"):
        assert len(listener.named(f"LLMStructuredPredict{when}Event")) == 1
    sent = endpoint.requests[-1]
    assert [key in sent for key in ("tools", "response_format")] == [
        key in capabilities for key in ("tools", "json_schema")
    ]


def test_one_call_one_decision_even_when_the_caller_stops_listening(llm):
    with Listener() as listener:
        stream = llm.stream_chat([ChatMessage(QUESTION)])
        assert next(stream).additional_kwargs["routoo"] == {"expert": "dear"}
        stream.close()
        wait_until(lambda: listener.named("RoutooDecisionEvent") != [])
    (event,) = listener.named("RoutooDecisionEvent")
    assert spent(llm) == DEAR
    assert event.record["settled_usd"] == f"{spent(llm) / 1e9:.9f}"


def test_a_failed_expert_is_in_the_one_decision_of_the_call(llm, endpoint):
    endpoint.replies["dear"] = Reply(status=500)
    with Listener() as listener:
        llm.chat([ChatMessage(QUESTION)])
    assert [event.record["expert"] for event in listener.named("RoutooDecisionEvent")] == ["cheap"]


@WAYS
async def test_the_decision_event_is_sent_once_and_in_the_callers_thread(llm, how):
    with Listener() as listener:
        await ask(llm, how)
    assert listener.threads_of("RoutooDecisionEvent") == [threading.current_thread()]


def test_a_call_that_ends_in_an_error_sends_its_decision(llm, endpoint):
    fault = {"error": {"message": "messages: at least one message is required"}}
    endpoint.replies["dear"] = Reply(status=400, body=fault)
    with Listener() as listener, pytest.raises(BadRequestError):
        llm.chat([ChatMessage(QUESTION)])
    (event,) = listener.named("RoutooDecisionEvent")
    (attempt,) = event.record["attempts"]
    assert (attempt["outcome"], attempt["error"]) == ("failed", "BadRequestError (400)")
    assert event.record["settled_usd"] == "0.000000000"


def test_conversations_remember_little_of_a_decision(llm):
    """Memories count the tokens of what a message carries."""
    message = llm.chat([ChatMessage(QUESTION)]).message
    assert message.additional_kwargs == {
        "routoo": {"expert": "dear", "model": "dear", "settled_usd": "0.000220000"}
    }


async def test_a_hundred_calls_at_once_all_settle_to_the_nano_dollar(make_router, endpoint):
    endpoint.replies["dear"] = Reply(delay_s=0.2)
    llm = RoutooLLM(make_router(limit="1"), max_tokens=20)
    await asyncio.gather(*(llm.achat([ChatMessage(QUESTION)]) for _ in range(100)))
    assert spent(llm) == 100 * DEAR


def test_one_event_loop_after_another_may_be_used(llm):
    records = [asyncio.run(llm.acomplete(QUESTION)).additional_kwargs["routoo"] for _ in range(3)]
    assert [record["expert"] for record in records] == ["dear"] * 3
    assert [len(record["attempts"]) for record in records] == [1, 1, 1]


def test_a_copy_shares_the_budget(llm):
    copied = copy.deepcopy(llm)
    copied.complete(QUESTION)
    assert copied.router is llm.router
    assert spent(llm) == DEAR


def test_what_crosses_into_another_process_builds_its_own_clients(llm):
    duplicate = object.__new__(RoutooLLM)
    duplicate.__setstate__(llm.__getstate__())
    assert duplicate.complete(QUESTION).text == ANSWER
    assert duplicate.client(llm.router.pool["dear"]) is not llm.client(llm.router.pool["dear"])


@pytest.mark.parametrize(
    "update",
    [
        {"max_tokens": 0},
        {"max_tokens": "many"},
        {"temperature": "hot"},
        {"timeout": 0.0},
        {"max_retries": -1},
    ],
)
def test_a_copy_is_checked_as_the_constructor_checks(llm, update):
    with pytest.raises(ValidationError, match=next(iter(update))):
        llm.model_copy(update=update)
    with pytest.raises(ValidationError, match=next(iter(update))):
        RoutooLLM(llm.router, **update)


def test_a_copy_of_an_unknown_field_is_refused(llm):
    with pytest.raises(ValidationError, match="max_token\n"):
        llm.model_copy(update={"max_token": 5})
    with pytest.raises(TypeError, match="max_token"):
        RoutooLLM(llm.router, max_token=5)


def test_a_copy_with_another_limit_shares_the_router_and_the_connections(llm):
    copied = llm.model_copy(update={"max_tokens": 2})
    assert copied.complete(QUESTION).text == "The answer"
    assert llm.complete(QUESTION).text == ANSWER
    dear = llm.router.pool["dear"]
    assert copied.client(dear) is llm.client(dear)
    assert copied.router is llm.router


def test_a_copy_with_another_timeout_calls_experts_with_it(llm):
    copied = llm.model_copy(update={"timeout": 7.0})
    dear = llm.router.pool["dear"]
    assert copied.client(dear).llm.timeout == 7.0
    assert llm.client(dear).llm.timeout == dear.timeout_s
    assert copied.router is llm.router


def test_a_copy_with_another_router_calls_its_experts(llm, endpoint):
    other = endpoint.expert("other")
    router = build_router(Pool([other]), router=FakePredictor({"other": 1.0}), policy="best")
    response = llm.model_copy(update={"router": router}).complete(QUESTION)
    assert response.additional_kwargs["routoo"]["expert"] == "other"


class TestSelector:
    @pytest.fixture
    def selector(self, make_router):
        quality = FakePredictor({"cheap": 0.4, "dear": lambda text: 0.9 if "hard" in text else 0.1})
        router = make_router()
        return RoutooSelector(
            build_router(router.pool, router=quality, policy="best"), {"The deep engine": "dear"}
        )

    async def test_a_choice_is_made_by_its_expert(self, selector):
        choices = [ToolMetadata("shallow", name="cheap"), "The deep engine"]
        for query, index in (("A hard question", 1), ("An easy question", 0)):
            for result in (selector.select(choices, query), await selector.aselect(choices, query)):
                assert result.ind == index
        assert result.reason.startswith("cheap: predicted quality 0.40 for $")

    def test_an_expert_nobody_knows_is_named(self, selector, make_router):
        with pytest.raises(
            ConfigurationError, match="choice 'other': expert 'other' is not in the pool"
        ):
            selector.select(["other"], "A question")
        with pytest.raises(ConfigurationError, match="expert 'nobody'"):
            RoutooSelector(make_router(), {"a": "nobody"})


def test_predict_formats_and_routes(llm):
    assert llm.predict(PromptTemplate("{q}"), q=QUESTION) == ANSWER

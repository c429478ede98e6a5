"""What every function-calling LLM of LlamaIndex does, whoever made it; upstream has no such suite.

Subclass :class:`LLMBehaviour` in a test file and say how an LLM is made. The endpoint is a real server that speaks
OpenAI's protocol and answers as it is told; nothing else is faked.
"""

import asyncio
import copy
import json
import threading

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, PrivateAttr

from routoo_core.testing import FakeEndpoint, Reply

QUESTION = "What is two plus two, please?"
ANSWER = "The answer is four."
CHATS = ["chat", "achat", "stream_chat", "astream_chat"]
WAYS = [*CHATS, "complete", "acomplete", "stream_complete", "astream_complete"]
SUM = {"name": "add", "arguments": {"a": 2, "b": 2}}
WEATHER = {"name": "weather", "arguments": {"city": "Bern"}}


class Place(BaseModel):
    """A place."""

    city: str
    inhabitants: int


BERN = Place(city="Bern", inhabitants=134_000)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def weather(city: str) -> str:
    """Say what the weather is."""
    return f"sunny in {city}"


TOOLS = [FunctionTool.from_defaults(add), FunctionTool.from_defaults(weather)]


def structured(body):
    """What a model says that was given a schema, as a tool or as a response format."""
    if body.get("response_format"):
        return Reply(BERN.model_dump_json())
    if body.get("tools"):
        return Reply("", tool_calls=[{"name": "Place", "arguments": BERN.model_dump()}])
    return Reply(BERN.model_dump_json())


async def collected(llm, way, *args, **kwargs):
    """One call in any of the ways: every response it gave; those that are whole give one."""
    answer = getattr(llm, way)(*args, **kwargs)
    if way.startswith("a"):
        answer = await answer
    if "stream" not in way:
        return [answer]
    return [piece async for piece in answer] if way.startswith("a") else list(answer)


async def called(llm, way, **kwargs):
    return await collected(
        llm, way, QUESTION if "complete" in way else [ChatMessage(QUESTION)], **kwargs
    )


def text_of(response):
    return response.message.content if hasattr(response, "message") else response.text


class Listener(BaseEventHandler):
    """Keeps the events of LlamaIndex's instrumentation while the ``with`` block runs, and who sent them."""

    _events: list = PrivateAttr(default_factory=list)
    _threads: list = PrivateAttr(default_factory=list)

    def handle(self, event, **_):
        self._events.append(event)
        self._threads.append(threading.current_thread())

    def named(self, name):
        return [event for event in self._events if event.class_name() == name]

    def threads_of(self, name):
        pairs = zip(self._events, self._threads, strict=True)
        return [thread for event, thread in pairs if event.class_name() == name]

    def __enter__(self):
        get_dispatcher().add_event_handler(self)
        return self

    def __exit__(self, *_):
        get_dispatcher().event_handlers.remove(self)


class StructuredBehaviour:
    """How objects are predicted; override :meth:`make_llm`."""

    def make_llm(self, endpoint: FakeEndpoint):
        raise NotImplementedError

    def tell(self, endpoint: FakeEndpoint, reply) -> None:
        """Let every model answer so."""
        for name in ("first", "second"):
            endpoint.replies[name] = reply

    @pytest.fixture
    def llm(self, endpoint):
        return self.make_llm(endpoint)

    async def test_an_object_is_predicted_sync_and_async(self, llm, endpoint):
        self.tell(endpoint, structured)
        template = PromptTemplate("Name the capital of {country}.")
        assert llm.structured_predict(Place, template, country="Switzerland") == BERN
        assert await llm.astructured_predict(Place, template, country="Switzerland") == BERN
        assert endpoint.requests[-1]["messages"][-1]["content"].startswith(
            "Name the capital of Switzerland."
        )

    async def test_an_object_is_streamed_sync_and_async(self, llm, endpoint):
        self.tell(endpoint, structured)
        template = PromptTemplate("Name the capital of {country}.")
        assert (
            list(llm.stream_structured_predict(Place, template, country="Switzerland"))[-1] == BERN
        )
        stream = await llm.astream_structured_predict(Place, template, country="Switzerland")
        assert [part async for part in stream][-1] == BERN

    @pytest.mark.filterwarnings(
        "ignore::pydantic.warnings.PydanticDeprecatedSince20"
    )  # LlamaIndex's own
    async def test_a_structured_llm_answers_in_objects(self, llm, endpoint):
        self.tell(endpoint, structured)
        places = llm.as_structured_llm(Place)
        for way in CHATS:
            responses = await called(places, way)
            assert Place.model_validate_json(text_of(responses[-1])) == BERN
        assert places.complete(QUESTION).raw == BERN
        assert (await places.acomplete(QUESTION)).raw == BERN

    async def test_a_chat_template_becomes_an_object_too(self, llm, endpoint):
        self.tell(endpoint, structured)
        template = ChatPromptTemplate(
            [ChatMessage("Be brief.", role="system"), ChatMessage("The capital of {c}?")]
        )
        assert llm.structured_predict(Place, template, c="Switzerland") == BERN


class LLMBehaviour(StructuredBehaviour):
    """All behaviours; say below of the LLM what is otherwise with it."""

    takes_over = False  # whether a failing model is replaced by another

    # Text

    @pytest.mark.parametrize("way", WAYS)
    async def test_every_way_gives_the_same_text(self, llm, way):
        responses = await called(llm, way)
        assert text_of(responses[-1]) == ANSWER
        if "stream" in way:
            assert "".join(response.delta or "" for response in responses) == ANSWER
            assert len(responses) >= len(ANSWER.split())

    @pytest.mark.parametrize("way", CHATS)
    async def test_the_reply_is_the_assistants(self, llm, way):
        assert (await called(llm, way))[-1].message.role == "assistant"

    async def test_a_template_is_filled_whole_and_streamed_sync_and_async(self, llm):
        template = PromptTemplate("{q}")
        assert llm.predict(template, q=QUESTION) == ANSWER
        assert await llm.apredict(template, q=QUESTION) == ANSWER
        assert "".join(llm.stream(template, q=QUESTION)) == ANSWER
        assert "".join([token async for token in await llm.astream(template, q=QUESTION)]) == ANSWER

    async def test_what_is_said_arrives_in_order_with_its_roles(self, llm, endpoint):
        said = [
            ("system", "Be brief."),
            ("user", "Hello, who are you?"),
            ("assistant", "A model."),
            ("user", QUESTION),
        ]
        await llm.achat([ChatMessage(role=role, content=text) for role, text in said])
        assert [(m["role"], m["content"]) for m in endpoint.requests[-1]["messages"]] == said

    @pytest.mark.parametrize("way", WAYS)
    async def test_keywords_of_a_call_reach_the_model(self, llm, endpoint, way):
        responses = await called(llm, way, max_tokens=2, stop=["5"])
        assert text_of(responses[-1]) == "The answer"
        assert endpoint.requests[-1]["stop"] == ["5"]

    # Tools

    @pytest.mark.parametrize("way", CHATS)
    @pytest.mark.parametrize("calls", [[SUM], [SUM, WEATHER]], ids=["one", "many"])
    async def test_tools_are_offered_and_their_calls_are_read(self, llm, endpoint, way, calls):
        self.tell(endpoint, Reply("", tool_calls=calls))
        responses = await collected(
            llm, f"{way}_with_tools", TOOLS, QUESTION, allow_parallel_tool_calls=True
        )
        found = llm.get_tool_calls_from_response(responses[-1])
        assert [(call.tool_name, call.tool_kwargs) for call in found] == [
            (c["name"], c["arguments"]) for c in calls
        ]
        assert all(call.tool_id for call in found)
        assert [tool["function"]["name"] for tool in endpoint.requests[-1]["tools"]] == [
            "add",
            "weather",
        ]

    @pytest.mark.parametrize("way", ["stream_chat", "astream_chat"])
    async def test_every_piece_of_a_stream_can_be_read_for_calls(self, llm, endpoint, way):
        self.tell(endpoint, Reply("", tool_calls=[SUM]))
        for piece in await collected(llm, f"{way}_with_tools", TOOLS, QUESTION):
            llm.get_tool_calls_from_response(piece, error_on_no_tool_call=False)

    @pytest.mark.parametrize("way", CHATS)
    async def test_with_tools_a_model_may_still_just_answer(self, llm, way):
        response = (await collected(llm, f"{way}_with_tools", TOOLS, QUESTION))[-1]
        assert response.message.content == ANSWER
        assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
        with pytest.raises(ValueError, match="at least one tool call"):
            llm.get_tool_calls_from_response(response)

    @pytest.mark.parametrize("way", CHATS)
    async def test_a_tool_can_be_required(self, llm, endpoint, way):
        await collected(llm, f"{way}_with_tools", TOOLS, QUESTION, tool_required=True)
        assert endpoint.requests[-1]["tool_choice"] == "required"
        await collected(llm, f"{way}_with_tools", TOOLS, QUESTION, tool_choice="weather")
        assert endpoint.requests[-1]["tool_choice"]["function"]["name"] == "weather"

    @pytest.mark.parametrize("way", CHATS)
    async def test_a_tool_loop_is_told_whole(self, llm, endpoint, way):
        self.tell(endpoint, Reply("", tool_calls=[SUM]))
        said = [ChatMessage(QUESTION)]
        response = (await collected(llm, f"{way}_with_tools", TOOLS, chat_history=list(said)))[-1]
        (call,) = llm.get_tool_calls_from_response(response)
        result = ChatMessage(
            role="tool", content="4", additional_kwargs={"tool_call_id": call.tool_id}
        )
        self.tell(endpoint, Reply())
        history = [
            *said,
            ChatMessage.model_validate_json(response.message.model_dump_json()),
            result,
        ]
        last = (await collected(llm, f"{way}_with_tools", TOOLS, chat_history=history))[-1]
        assert last.message.content == ANSWER
        user, assistant, tool = endpoint.requests[-1]["messages"]
        assert set(assistant) <= {"role", "content", "tool_calls"}
        assert json.loads(assistant["tool_calls"][0]["function"]["arguments"]) == SUM["arguments"]
        assert (user["content"], tool["role"], tool["tool_call_id"]) == (
            QUESTION,
            "tool",
            call.tool_id,
        )

    async def test_a_tool_is_predicted_and_called(self, llm, endpoint):
        self.tell(endpoint, Reply("", tool_calls=[SUM]))
        assert llm.predict_and_call(TOOLS, QUESTION).response == "4"
        assert (await llm.apredict_and_call(TOOLS, QUESTION)).response == "4"

    # Failure

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize(
        "reply", [Reply(status=500), Reply(drop_after=0)], ids=["error", "hang-up"]
    )
    async def test_a_model_that_fails_raises_or_is_replaced(self, llm, endpoint, way, reply):
        endpoint.replies["first"] = reply
        if self.takes_over:
            assert text_of((await called(llm, way))[-1]) == ANSWER
        else:
            with pytest.raises(Exception, match="500|onnection|closed"):
                await called(llm, way)

    @pytest.mark.parametrize("way", CHATS)
    async def test_a_model_that_fails_with_tools_raises_or_is_replaced(self, llm, endpoint, way):
        endpoint.replies["first"], endpoint.replies["second"] = (
            Reply(status=500),
            Reply("", tool_calls=[SUM]),
        )
        if self.takes_over:
            response = (await collected(llm, f"{way}_with_tools", TOOLS, QUESTION))[-1]
            assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == SUM["arguments"]
        else:
            with pytest.raises(Exception, match="500"):
                await collected(llm, f"{way}_with_tools", TOOLS, QUESTION)

    @pytest.mark.parametrize("way", [way for way in WAYS if "stream" in way])
    async def test_a_stream_that_breaks_off_raises(self, llm, endpoint, way):
        self.tell(endpoint, Reply(drop_after=2))
        with pytest.raises(
            Exception, match="failed while streaming|broke|interrupted|onnection|closed"
        ):
            await called(llm, way)

    # Observability

    @pytest.mark.parametrize("way", [*WAYS, *(f"{way}_with_tools" for way in CHATS)])
    async def test_instrumentation_and_token_counters_see_each_call_once(self, endpoint, way):
        llm, counter = self.make_llm(endpoint), TokenCountingHandler(tokenizer=str.split)
        llm.callback_manager = CallbackManager([counter])
        with Listener() as listener:
            if way.endswith("_with_tools"):
                await collected(llm, way, TOOLS, QUESTION)
            else:
                await called(llm, way)
        kind = "LLMCompletion" if "complete" in way else "LLMChat"
        assert [len(listener.named(f"{kind}{when}Event")) for when in ("Start", "End")] == [1, 1]
        assert [
            (e.prompt_token_count, e.completion_token_count) for e in counter.llm_token_counts
        ] == [(10, 4)]

    # Being an LLM

    def test_it_says_what_it_is(self, llm):
        assert llm.metadata.is_chat_model
        assert llm.metadata.is_function_calling_model
        assert llm.metadata.context_window > 0
        assert llm.metadata.model_name
        assert llm.class_name() == llm.to_dict()["class_name"]

    def test_a_copy_answers_too(self, llm):
        assert copy.deepcopy(llm).complete(QUESTION).text == ANSWER

    @pytest.mark.parametrize("way", ["achat", "acomplete", "astream_chat", "astream_complete"])
    async def test_the_event_loop_runs_on_while_the_model_thinks(self, llm, endpoint, way):
        """The endpoint answers only once the loop has noticed that it was asked."""
        noticed = threading.Event()
        self.tell(endpoint, lambda body: Reply() if noticed.wait(60) else Reply(status=500))
        asked = asyncio.create_task(called(llm, way))
        while not endpoint.requests:
            await asyncio.sleep(0.001)
        noticed.set()
        assert text_of((await asked)[-1]) == ANSWER
        assert len(endpoint.requests) == 1

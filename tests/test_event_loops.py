"""One model in many event loops: in one after another, in threads at the same time, and within a loop that runs."""

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike

from routoo_core import Budget, Expert
from routoo_core.lifetimes import PerLoop
from routoo_core.testing import FakePredictor
from routoo_core.testing.wire import LoopbackServer, WireHandler
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.langchain.connections import ModelConnections
from routoo_integrations.llama_index import RoutooLLM
from tests.waiting import wait_until
from tests.ways import LANGCHAIN_WAYS, LLAMA_INDEX_WAYS, record_of

PREDICTOR = FakePredictor({"cheap": 0.4, "dear": 0.9})
QUESTION = "What is 2 + 2?"
REPORT_USAGE = {"stream_options": {"include_usage": True}}
PRICES = {"input_usd_per_1m": 1, "output_usd_per_1m": 1}


# Experts: built from settings, and objects that were given


def from_settings(endpoint):
    return {name: endpoint.expert(name) for name in PREDICTOR.experts}


def given(endpoint, make):
    """Experts around objects; their tokens cost 1 USD per million."""
    experts = {}
    for name in PREDICTOR.experts:
        limits = {"max_output_tokens": 256, "context_window": 2048}
        experts[name] = Expert(name=name, model=name, client=make(name), **PRICES, **limits)
    return experts


def chat_models(endpoint):
    return given(endpoint, lambda name: chat_openai(endpoint, name))


def chat_models_with_retries(endpoint):
    return given(endpoint, lambda name: chat_openai(endpoint, name).with_retry())


def chat_models_with_fallbacks(endpoint):
    model = chat_openai(endpoint, "cheap")
    return given(endpoint, lambda name: chat_openai(endpoint, name).with_fallbacks([model]))


def chat_openai(endpoint, name, **settings):
    settings = {"api_key": "x", "max_retries": 0, "stream_usage": True, **settings}
    return ChatOpenAI(model=name, base_url=endpoint.base_url, **settings)


def openai_like(endpoint):
    return given(
        endpoint,
        lambda name: OpenAILike(
            model=name,
            api_base=endpoint.base_url,
            api_key="x",
            is_chat_model=True,
            max_retries=0,
            additional_kwargs=REPORT_USAGE,
        ),
    )


def openai_llms(endpoint):
    models = {"cheap": "gpt-4o-mini", "dear": "gpt-4o"}
    return given(
        endpoint,
        lambda name: OpenAI(
            model=models[name],
            api_base=endpoint.base_url,
            api_key="x",
            max_retries=0,
            additional_kwargs=REPORT_USAGE,
        ),
    )


CHAT_MODELS = [from_settings, chat_models, chat_models_with_retries, chat_models_with_fallbacks]
LLMS = [from_settings, openai_like, openai_llms]


@pytest.fixture(params=[*CHAT_MODELS, *LLMS], ids=lambda make: make.__name__)
def chat(request, endpoint):
    """A model of either framework, whose calls are paid by one budget, and how to call it in a running loop."""
    index = request.param_index
    experts = request.param(endpoint)
    options = {"policy": "best", "max_tokens": 50, "budget": Budget(limit="1")}
    if index < len(CHAT_MODELS):
        return Chat(RoutooChatModel(PREDICTOR, experts, **options), LANGCHAIN_WAYS)
    return Chat(RoutooLLM(PREDICTOR, experts, **options), LLAMA_INDEX_WAYS)


@dataclass
class Chat:
    """A model, and the ways to call it."""

    model: Any
    ways: Mapping[str, Any]

    async def ask(self, way="async"):
        """Which expert answers."""
        return record_of(await self.ways[way](self.model, QUESTION))["expert"]

    async def ask_whole_and_streamed(self):
        whole = [await self.ask("async"), await self.ask("async")]
        streamed = [await self.ask("async streamed"), await self.ask("async streamed")]
        return [*whole, *streamed, *await asyncio.gather(self.ask(), self.ask())]

    def check(self, endpoint, answers):
        """Each of the answers is the best expert's, was asked for once and is booked as it was billed."""
        assert answers == ["dear"] * len(answers)
        assert len(endpoint.requests) == len(answers)
        assert {body["model"] for body in endpoint.requests} <= {"dear", "gpt-4o"}
        state = self.model.router.ledger.state(self.model.router.budget)
        assert state.held == 0
        assert state.calls == len(answers)
        assert state.spent == sum(bill_of(bill) for bill in endpoint.bills)


def bill_of(bill):
    return (bill.tokens.prompt_tokens + bill.tokens.completion_tokens) * 1000


def test_four_runs_of_asyncio_are_answered_by_the_same_expert_and_paid_once(chat, endpoint):
    answers = []
    for _ in range(4):
        answers += asyncio.run(chat.ask_whole_and_streamed())
    chat.check(endpoint, answers)


def test_synchronous_and_asynchronous_calls_take_turns(chat, endpoint):
    answers = []
    for _ in range(2):
        answers.append(asyncio.run(chat.ask("whole")))
        answers.append(asyncio.run(chat.ask("async")))
        answers.append(asyncio.run(chat.ask("streamed")))
    chat.check(endpoint, answers)


def test_threads_with_a_loop_each_call_at_the_same_time(chat, endpoint):
    answers = []

    def work():
        for _ in range(2):
            answers.extend(asyncio.run(chat.ask_whole_and_streamed()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 * 2 * 6
    chat.check(endpoint, answers)


def test_a_loop_that_runs_like_a_notebooks_takes_every_kind_of_call(chat, endpoint):
    async def cell():
        answers = [await chat.ask("whole"), await chat.ask("async")]
        answers.append(await asyncio.to_thread(asyncio.run, chat.ask("async")))
        answers.append(await asyncio.to_thread(asyncio.run, chat.ask("whole")))
        return [*answers, await chat.ask("async streamed")]

    with asyncio.Runner() as notebook:
        answers = notebook.run(cell())
        answers += notebook.run(cell())
    chat.check(endpoint, answers)


# Models of other packages, built from settings


class OtherProviders(WireHandler):
    """Answers in the forms of Anthropic and Google."""

    def post(self, body):
        self.endpoint.asked.append(self.path)
        is_google = "generateContent" in self.path
        self.send_body(200, GOOGLE_REPLY if is_google else ANTHROPIC_REPLY)


ANTHROPIC_REPLY = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "Four."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 4},
}
GOOGLE_REPLY = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "Four."}]},
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 4, "totalTokenCount": 14},
    "modelVersion": "gemini",
}


@pytest.fixture
def other_providers():
    with LoopbackServer(OtherProviders) as server:
        server.asked = []
        yield server


@pytest.mark.parametrize(
    ("provider", "path"),
    [("anthropic", ""), ("mistralai", "/v1")],
)
def test_a_model_of_another_package_answers_in_every_loop(
    provider, path, other_providers, endpoint, monkeypatch
):
    monkeypatch.setenv("OTHER_KEY", "k")
    server = endpoint if provider == "mistralai" else other_providers
    address = server.address + path
    expert = Expert(
        name="dear",
        model="dear",
        provider=provider,
        base_url=address,
        api_key_env="OTHER_KEY",
        answers_as=["claude"],
        **PRICES,
    )
    model = RoutooChatModel(FakePredictor({"dear": 0.9}), {"dear": expert}, max_tokens=50)

    async def ask_twice():
        return [(await model.ainvoke(QUESTION)).text, (await model.ainvoke(QUESTION)).text]

    answers = []
    for _ in range(4):
        answers += asyncio.run(ask_twice())
        answers.append(model.invoke(QUESTION).text)
    assert len(set(answers)) == 1
    asked = endpoint.requests if provider == "mistralai" else other_providers.asked
    assert len(asked) == len(answers) == 12


def test_a_model_that_is_built_anew_for_each_loop_is_closed_in_it(other_providers):
    built = []

    def build():
        built.append(
            ChatGoogleGenerativeAI(model="dear", base_url=other_providers.address, api_key="k")
        )
        return built[-1]

    connections = ModelConnections(build(), build)

    async def ask():
        result = await connections.of_loop()._agenerate([HumanMessage(QUESTION)])
        return result.generations[0].text

    assert [asyncio.run(ask()) for _ in range(3)] == ["Four."] * 3
    assert len(built) == 1 + 3
    assert len(other_providers.asked) == 3


def test_a_given_anthropic_model_answers_in_every_loop(other_providers):
    given_model = ChatAnthropic(
        model="dear", base_url=other_providers.address, api_key="k", max_retries=0
    )
    expert = Expert(
        name="dear",
        model="dear",
        client=given_model,
        context_window=2048,
        max_output_tokens=256,
        answers_as=["claude"],
        **PRICES,
    )
    model = RoutooChatModel(FakePredictor({"dear": 0.9}), {"dear": expert}, max_tokens=50)
    answers = [asyncio.run(model.ainvoke(QUESTION)).text for _ in range(4)]
    assert answers == ["Four."] * 4
    assert len(other_providers.asked) == 4


# Connections end with their loop, and only ours


def test_an_http_client_of_the_owners_is_used_and_left_open(endpoint):
    with httpx.Client() as http_client:
        http_async_client = httpx.AsyncClient()
        seen = []

        async def note(request):
            seen.append(request.url.path)

        http_async_client.event_hooks["request"].append(note)
        experts = given(
            endpoint,
            lambda name: chat_openai(
                endpoint, name, http_client=http_client, http_async_client=http_async_client
            ),
        )
        model = RoutooChatModel(PREDICTOR, experts, policy="best", max_tokens=50)

        async def ask_and_close():
            await model.ainvoke(QUESTION)
            assert not http_async_client.is_closed
            await http_async_client.aclose()

        asyncio.run(ask_and_close())
        assert seen == ["/v1/chat/completions"]
        assert not http_client.is_closed


def test_a_loop_that_has_ended_leaves_nothing_behind(chat):
    """Also a loop that is closed without being shut down."""
    loops = []

    async def ask():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await chat.ask("async")

    for _ in range(3):
        asyncio.run(ask())
    bare_loop = asyncio.new_event_loop()
    bare_loop.run_until_complete(ask())
    bare_loop.run_until_complete(asyncio.sleep(0))
    bare_loop.close()
    del bare_loop

    def are_forgotten():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # its owner did not shut it down
            gc.collect()
        return all(loop() is None for loop in loops)

    wait_until(are_forgotten)  # a thread may still be putting its last work away


def test_models_that_come_and_go_leave_nothing_in_a_loop_that_goes_on(endpoint):
    models = []

    async def ask_with_new_models():
        for _ in range(3):
            experts = chat_models(endpoint)
            model = RoutooChatModel(PREDICTOR, experts, policy="best", max_tokens=50)
            await model.ainvoke(QUESTION)
            models.extend(weakref.ref(client) for client in model._clients.values())
            del model, experts
        gc.collect()
        await asyncio.sleep(0.01)
        return [model() for model in models]

    assert set(asyncio.run(ask_with_new_models())) == {None}


def test_a_value_of_a_loop_is_built_once_and_closed_in_that_loop():
    events = []

    async def close(value):
        events.append(("closed", value, asyncio.get_running_loop()))

    def build():
        events.append(("built", len(events), asyncio.get_running_loop()))
        return len(events)

    per_loop = PerLoop(build, close)

    async def use():
        assert per_loop.get() == per_loop.get()
        return asyncio.get_running_loop()

    first = asyncio.run(use())
    second = asyncio.run(use())
    assert first is not second
    kinds = [(kind, loop) for kind, _, loop in events]
    assert kinds == [("built", first), ("closed", first), ("built", second), ("closed", second)]
    with pytest.raises(RuntimeError, match="no running event loop"):
        per_loop.get()


SCRIPT = textwrap.dedent("""
    import asyncio, gc, sys

    import nest_asyncio

    from tests.test_event_loops import CHAT_MODELS, LLMS, PREDICTOR, Chat
    from routoo_core.testing import FakeEndpoint
    from routoo_integrations.langchain import RoutooChatModel
    from routoo_integrations.llama_index import RoutooLLM
    from tests.ways import LANGCHAIN_WAYS, LLAMA_INDEX_WAYS

    def chats(endpoint):
        for make in CHAT_MODELS:
            yield Chat(RoutooChatModel(PREDICTOR, make(endpoint), policy="best"), LANGCHAIN_WAYS)
        for make in LLMS:
            yield Chat(RoutooLLM(PREDICTOR, make(endpoint), policy="best"), LLAMA_INDEX_WAYS)

    async def notebook(chat):
        answers = await chat.ask_whole_and_streamed()
        answers += asyncio.run(chat.ask_whole_and_streamed())  # nest_asyncio: within the same loop
        return answers

    with FakeEndpoint() as endpoint:
        for chat in chats(endpoint):
            if sys.argv[1] == "nested":
                nest_asyncio.apply()
            else:
                asyncio.run(chat.ask_whole_and_streamed())
                asyncio.run(chat.ask("whole"))
            if sys.argv[1] == "nested":
                answers = asyncio.new_event_loop().run_until_complete(notebook(chat))
                assert answers == ["dear"] * 12, answers
        del chat
        gc.collect()
    print("fine")
""")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["nested", "warned"])
def test_a_process_says_nothing_of_connections_left_open(way):
    """Each in a process of its own: nest_asyncio changes asyncio for good, and warnings come when Python ends."""
    options = ["-X", "dev", "-W", "default::ResourceWarning"] if way == "warned" else []
    done = subprocess.run(
        [sys.executable, *options, "-c", SCRIPT, way],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "fine\n", done.stderr
    if way == "warned":
        assert "ResourceWarning" not in done.stderr, done.stderr

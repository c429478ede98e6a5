"""LangGraph, supervisors, swarms and deep agents say the same with a pool as with the bare model."""

import sqlite3
from contextlib import closing

import pytest
from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm

from routoo_core.budget.account import Budget
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel

QUESTION = {"messages": [("human", "What is two plus three, please?")]}
MORE = {"messages": [("human", "And twice that, please?")]}
STREAM_MODES = ["values", "updates", "messages", "custom", "debug"]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def tool_call(name, **arguments):
    return Reply("", tool_calls=[{"name": name, "arguments": arguments}])


def answer(body):
    """Hands a question on where it can, calls ``add`` where it can, then answers."""
    names = [tool["function"]["name"] for tool in body.get("tools", [])]
    if body["messages"][-1]["role"] in {"tool", "assistant"}:
        return Reply("Five, I think.")
    for name in names:
        if name.startswith("transfer_to"):
            return tool_call(name)
    if "add" in names:
        return tool_call("add", a=2, b=3)
    return Reply("Nothing can be called.")


@pytest.fixture
def models(endpoint):
    """The bare model, a pool of it, and a pool of it and another one."""
    endpoint.replies = {"m": answer, "other": answer}
    settings = {"capabilities": {"tools"}, "context_window": 200_000, "max_output_tokens": 500}
    one = {"m": endpoint.expert("m", **settings)}
    two = {**one, "other": endpoint.expert("other", **settings)}
    predictor = FakePredictor({"m": 0.9, "other": 0.1})
    options = {"policy": "best", "budget": Budget(limit="1")}
    return [
        ChatOpenAI(model="m", base_url=endpoint.base_url, api_key="x"),
        RoutooChatModel(predictor, one, **options),
        RoutooChatModel(predictor, two, **options),
    ]


def facts(message):
    """What a message says, without what differs from run to run."""
    calls = [(call["name"], call["args"]) for call in getattr(message, "tool_calls", [])]
    return message.type, message.name, message.text, calls


def said(state):
    return [facts(message) for message in state["messages"]]


def same_for_all(models, run):
    """What a run returns, which must be the same for every model."""
    first, *others = [run(model) for model in models]
    for other in others:
        assert other == first
    for model in models[1:]:
        state = model.router.ledger.state(model.router.budget)
        assert state.held == 0
        assert state.spent > 0
    return first


def test_an_agent_with_tools(models):
    messages = same_for_all(models, lambda m: said(create_agent(m, [add]).invoke(QUESTION)))
    assert [kind for kind, *_ in messages] == ["human", "ai", "tool", "ai"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_checkpointer_and_a_fork(models, kind, tmp_path):
    def run(model):
        path = tmp_path / f"{id(model)}.db"
        with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
            saver = InMemorySaver() if kind == "memory" else SqliteSaver(connection)
            agent = create_agent(model, [add], checkpointer=saver)
            config = {"configurable": {"thread_id": "1"}}
            agent.invoke(QUESTION, config)
            begin = next(s for s in agent.get_state_history(config) if s.next == ("model",))
            first = said(agent.invoke(MORE, config))
            fork = said(agent.invoke(None, begin.config))
            return first, fork

    first, fork = same_for_all(models, run)
    assert len(first) > len(fork)


@pytest.mark.parametrize("mode", STREAM_MODES)
async def test_every_stream_mode(models, mode):
    def run(model):
        agent = create_agent(model, [add])
        return [shape(piece) for piece in agent.stream(QUESTION, stream_mode=mode)]

    pieces = same_for_all(models, run)
    assert pieces or mode == "custom"
    asynchronous = []
    for model in models:
        stream = create_agent(model, [add]).astream(QUESTION, stream_mode=mode)
        asynchronous.append([shape(piece) async for piece in stream])
    assert asynchronous[0] == asynchronous[1] == asynchronous[2]


def shape(value):
    """A piece of a stream: its messages by what they say, all else by where it stands."""
    if isinstance(value, AIMessageChunk):
        return value.text, [call["args"] for call in value.tool_call_chunks]
    if isinstance(value, BaseMessage):
        return facts(value)
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items() if name in SHOWN}
    if isinstance(value, list | tuple):
        return [shape(item) for item in value]
    return None


SHOWN = {"messages", "model", "tools", "payload", "input", "result", "values", "langgraph_node"}


def test_a_supervisor(models):
    def run(model):
        worker = create_agent(model, [add], name="adder")
        graph = create_supervisor([worker], model=model).compile()
        return said(graph.invoke(QUESTION))

    messages = same_for_all(models, run)
    assert ("transfer_to_adder", {}) in [call for *_, calls in messages for call in calls]
    assert len(messages) > 3


def test_a_swarm(models):
    def run(model):
        clerk = create_agent(model, [create_handoff_tool(agent_name="adder")], name="clerk")
        adder = create_agent(model, [add], name="adder")
        graph = create_swarm([clerk, adder], default_active_agent="clerk").compile()
        return said(graph.invoke(QUESTION))

    messages = same_for_all(models, run)
    assert len(messages) > 3


def test_a_deep_agent(models):
    def run(model):
        agent = create_deep_agent(model=model, tools=[add])
        return said(agent.invoke(QUESTION))

    messages = same_for_all(models, run)
    assert ("add", {"a": 2, "b": 3}) in [call for *_, calls in messages for call in calls]

"""Agents and conversations on RoutooChatModel: tool loops stay with their expert, and each call settles."""

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, wrap_model_call
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel
from scripted import scripted

from routoo_core.budget.account import Budget
from routoo_core.errors import NoCapableExpert
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel, RoutooMiddleware

CAN = {"tools", "json_schema"}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"Rain in {city}."


class Answer(BaseModel):
    """The answer."""

    value: int


def experts(endpoint, **settings):
    both = {"capabilities": CAN, "context_window": 64_000, "max_output_tokens": 256, **settings}
    return {
        "cheap": endpoint.expert("cheap", **both),
        "dear": endpoint.expert("dear", input_usd_per_1m=10, output_usd_per_1m=30, **both),
    }


def calls_then_answers(body):
    """Asks for two tools at once, then answers from what they said."""
    if body["messages"][-1]["role"] == "user" and body.get("tools"):
        return Reply(
            "",
            tool_calls=[
                {"name": "add", "arguments": {"a": 1, "b": 2}},
                {"name": "weather", "arguments": {"city": "Bern"}},
            ],
        )
    return Reply("Three, and rain.")


@pytest.fixture
def model(endpoint):
    endpoint.replies = {"cheap": calls_then_answers, "dear": calls_then_answers}
    predictor = FakePredictor(
        {"cheap": 0.4, "dear": lambda prompt: 0.9 if "hard" in prompt else 0.3}
    )
    return RoutooChatModel(
        predictor, experts(endpoint), policy="best", budget=Budget(limit="1"), max_tokens=50
    )


def writers(messages):
    return [m.response_metadata["routoo"]["expert"] for m in messages if isinstance(m, AIMessage)]


def spent(model):
    state = model.router.ledger.state(model.router.budget)
    assert state.held == 0
    return state.spent, state.calls


async def run(agent, how, prompt="a hard question", **config):
    given = {"messages": [HumanMessage(prompt)]}
    if how == "invoke":
        return agent.invoke(given, **config)["messages"]
    if how == "ainvoke":
        return (await agent.ainvoke(given, **config))["messages"]
    if how == "stream":
        return list(agent.stream(given, stream_mode="values", **config))[-1]["messages"]
    return [chunk async for chunk in agent.astream(given, stream_mode="values", **config)][-1][
        "messages"
    ]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_an_agent_calls_tools_in_parallel_and_each_call_settles(model, how):
    messages = await run(create_agent(model, [add, weather]), how)
    assert [message.content for message in messages if isinstance(message, ToolMessage)] == [
        "3",
        "Rain in Bern.",
    ]
    assert messages[-1].content == "Three, and rain."
    assert writers(messages) == ["dear", "dear"]
    assert spent(model)[1] == 2


async def test_an_agent_streams_its_tokens_as_they_come(model):
    agent = create_agent(model, [add, weather])
    pieces = [
        piece
        async for piece, _ in agent.astream({"messages": ["a hard one"]}, stream_mode="messages")
    ]
    assert [p.content for p in pieces if isinstance(p, AIMessage) and p.content] == [
        "Three,",
        " and",
        " rain.",
    ]
    assert spent(model)[1] == 2


def test_experts_switch_only_between_the_tool_loops_of_a_long_run(endpoint):
    """Twenty steps in four turns; the predictor would change its mind at every call."""
    minds = iter([0.9, 0.1] * 30)
    predictor = FakePredictor({"cheap": 0.5, "dear": lambda prompt: next(minds)})
    model = RoutooChatModel(predictor, experts(endpoint), policy="best", max_tokens=50)

    def four_calls_then_text(body):
        since = next(i for i, m in enumerate(reversed(body["messages"])) if m["role"] == "user")
        call = {"name": "add", "arguments": {"a": since, "b": 1}}
        return Reply("", tool_calls=[call]) if since < 8 else Reply("Done.")

    endpoint.replies = {"cheap": four_calls_then_text, "dear": four_calls_then_text}
    agent, messages = create_agent(model, [add]), []
    for turn in range(4):
        messages = agent.invoke({"messages": [*messages, HumanMessage(f"turn {turn}")]})["messages"]
    wrote = writers(messages)
    loops = [set(wrote[start : start + 5]) for start in range(0, 20, 5)]
    assert len(wrote) == 20
    assert all(len(loop) == 1 for loop in loops)
    assert len(set.union(*loops)) == 2
    held = [
        m.response_metadata["routoo"]["open_tool_call"]
        for m in messages
        if isinstance(m, AIMessage)
    ]
    assert held == ([False] + [True] * 4) * 4


def test_a_run_that_waits_for_a_person_goes_on_with_its_expert(model):
    asks = HumanInTheLoopMiddleware(interrupt_on={"add": True, "weather": False})
    agent = create_agent(model, [add, weather], middleware=[asks], checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    waiting = agent.invoke({"messages": ["a hard question"]}, thread)
    assert "__interrupt__" in waiting
    done = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), thread)
    assert writers(done["messages"]) == ["dear", "dear"]
    assert done["messages"][-1].content == "Three, and rain."
    later = agent.invoke({"messages": ["now something else entirely, please, and easy"]}, thread)
    assert writers(later["messages"]) == ["dear", "dear", "cheap"]


def test_an_expert_that_fails_inside_a_tool_loop_is_replaced(model, endpoint):
    endpoint.replies["dear"] = lambda body: (
        Reply(status=500) if body["messages"][-1]["role"] == "tool" else calls_then_answers(body)
    )
    messages = create_agent(model, [add, weather]).invoke({"messages": ["a hard question"]})[
        "messages"
    ]
    assert writers(messages) == ["dear", "cheap"]
    failed, _ = messages[-1].response_metadata["routoo"]["attempts"]
    assert (failed["expert"], failed["error"][-5:]) == ("dear", "(500)")


@pytest.mark.parametrize("strategy", [ProviderStrategy, ToolStrategy, lambda schema: schema])
def test_an_agent_gives_structured_answers(endpoint, strategy):
    endpoint.replies = {"cheap": scripted, "dear": scripted}
    model = RoutooChatModel(
        FakePredictor({"cheap": 0.4, "dear": 0.9}), experts(endpoint), policy="best"
    )
    done = create_agent(model, response_format=strategy(Answer)).invoke({"messages": ["How many?"]})
    assert done["structured_response"] == Answer(value=3)


def test_another_expert_must_be_better_by_a_margin_across_turns(endpoint):
    qualities = {"cheap": 0.515, "dear": 0.5}
    model = RoutooChatModel(
        FakePredictor(qualities),
        experts(endpoint),
        policy={"name": "best", "tie": 0},
        switch_margin=0.02,
    )
    first = model.invoke("What is two plus two?", routoo_expert="dear")
    history = [
        HumanMessage("What is two plus two?"),
        first,
        HumanMessage("And what is the capital of France?"),
    ]
    second = model.invoke(history)
    assert second.response_metadata["routoo"]["expert"] == "dear"
    assert second.response_metadata["routoo"]["previous"] == "dear"
    model.router.predictor.quality["cheap"] = 0.53
    assert model.invoke(history).response_metadata["routoo"]["expert"] == "cheap"


def test_a_prompt_the_provider_has_cached_makes_staying_cheaper(endpoint):
    """At the margin of the ratio rule, the discount on a long conversation keeps its expert."""
    pool = experts(endpoint, cached_usd_per_1m="0.1", max_output_tokens=16)
    pool["cheap"] = pool["cheap"].model_copy(
        update={"input_usd_per_1m": pool["dear"].input_usd_per_1m / 2}
    )
    model = RoutooChatModel(
        FakePredictor({"cheap": 0.5, "dear": 0.5}), pool, policy="cheapest", max_tokens=16
    )
    story = HumanMessage("once upon a time there was a fox " * 300)
    told = model.invoke([story], routoo_expert="dear")
    stays = model.invoke([story, told, HumanMessage("How does this story of the fox go on?")])
    assert stays.response_metadata["routoo"]["expert"] == "dear"
    assert model.invoke([story]).response_metadata["routoo"]["expert"] == "cheap"


def test_what_only_its_expert_can_read_is_taken_out_when_another_goes_on(endpoint, model):
    thinking = AIMessage(
        [
            {"type": "thinking", "thinking": "secret", "signature": "sig-of-dear"},
            {"type": "text", "text": "Two."},
            {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1, "b": 1}},
        ],
        tool_calls=[{"name": "add", "args": {"a": 1, "b": 1}, "id": "t1"}],
        response_metadata={"routoo": {"expert": "dear"}, "model_provider": "anthropic"},
    )
    history = [
        HumanMessage("one plus one?"),
        thinking,
        ToolMessage("2", tool_call_id="t1"),
        HumanMessage("sure?"),
    ]
    model.bind_tools([add, weather]).invoke(history, routoo_expert="cheap")
    (sent,) = [
        message for message in endpoint.requests[-1]["messages"] if message["role"] == "assistant"
    ]
    assert sent["content"] == "Two."
    assert sent["tool_calls"][0]["function"]["name"] == "add"
    assert "sig-of-dear" not in str(endpoint.requests[-1])
    assert thinking.content[0]["signature"] == "sig-of-dear"


def test_experts_without_tools_are_no_candidates_for_an_agent(endpoint):
    pool = {**experts(endpoint), "dear": endpoint.expert("dear")}
    endpoint.replies["cheap"] = calls_then_answers
    model = RoutooChatModel(FakePredictor({"cheap": 0.4, "dear": 0.9}), pool, policy="best")
    assert writers(
        create_agent(model, [add, weather]).invoke({"messages": ["go"]})["messages"]
    ) == ["cheap", "cheap"]
    bare = RoutooChatModel(
        FakePredictor({"dear": 0.9}), {"dear": endpoint.expert("dear")}, policy="best"
    )
    with pytest.raises(NoCapableExpert, match="dear lacks tools"):
        bare.bind_tools([add]).invoke("go")


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_middleware_routes_the_calls_of_an_agent_that_keeps_its_own_model(
    model, endpoint, how
):
    own = experts(endpoint)["cheap"]
    agent = create_agent(
        RoutooChatModel(FakePredictor({"cheap": 1}), {"cheap": own}),
        [add, weather],
        system_prompt="Be brief.",
        middleware=[RoutooMiddleware(model)],
    )
    messages = await run(agent, how)
    assert writers(messages) == ["dear", "dear"]
    assert [request["model"] for request in endpoint.requests] == ["dear", "dear"]
    assert endpoint.requests[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert spent(model)[1] == 2


def test_middleware_hears_what_the_run_sets_for_itself(model):
    agent = create_agent(model, [add, weather], middleware=[RoutooMiddleware(model)])
    config = {"configurable": {"routoo_account": "alice", "routoo_expert": "cheap"}}
    messages = agent.invoke({"messages": ["a hard question"]}, config)["messages"]
    assert writers(messages) == ["cheap", "cheap"]
    assert messages[-1].response_metadata["routoo"]["account"] == "alice"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_middleware_passes_the_settings_of_its_own_model(model, endpoint, how):
    own = model.model_copy(update={"temperature": 0.3, "stop": ["END"], "max_tokens": 17})
    agent = create_agent(model, [add, weather], middleware=[RoutooMiddleware(own)])
    await run(agent, how)
    for body in endpoint.requests:
        assert (body["temperature"], body["stop"], body["max_tokens"]) == (0.3, ["END"], 17)


def test_middleware_passes_the_settings_of_a_call_before_those_of_its_model(model, endpoint):
    @wrap_model_call
    def settings(request, handler):
        return handler(
            request.override(
                model_settings={"temperature": 0.9, "stop": ["X"], "max_completion_tokens": 9}
            )
        )

    own = model.model_copy(update={"temperature": 0.3, "stop": ["END"], "max_tokens": 17})
    agent = create_agent(model, [add, weather], middleware=[settings, RoutooMiddleware(own)])
    agent.invoke({"messages": ["a hard question"]})
    for body in endpoint.requests:
        assert (body["temperature"], body["stop"], body["max_tokens"]) == (0.9, ["X"], 9)
        assert "max_completion_tokens" not in body


def test_middleware_moves_on_when_an_expert_fails(model, endpoint):
    endpoint.replies["dear"] = Reply(status=503)
    agent = create_agent(model, [add, weather], middleware=[RoutooMiddleware(model)])
    messages = agent.invoke({"messages": ["a hard question"]})["messages"]
    assert writers(messages) == ["cheap", "cheap"]
    assert spent(model)[1] == 2


def test_one_call_of_a_graph_sets_its_own_account_policy_expert_and_price(model):
    agent = create_agent(model, [add, weather])

    def asked(**settings):
        return agent.invoke({"messages": ["a hard question"]}, {"configurable": settings})[
            "messages"
        ][-1]

    assert asked(routoo_policy="cheapest").response_metadata["routoo"]["expert"] == "cheap"
    assert (
        asked(routoo_policy={"name": "ratio", "alpha": 1}).response_metadata["routoo"]["expert"]
        == "cheap"
    )
    assert asked(routoo_account="alice").response_metadata["routoo"]["account"] == "alice"
    assert asked(routoo_expert="cheap").response_metadata["routoo"]["expert"] == "cheap"
    assert asked(routoo_max_cost="0.0015").response_metadata["routoo"]["expert"] == "cheap"


def test_the_system_prompt_is_not_what_is_routed_on(model):
    model.invoke(
        [SystemMessage("a hard system"), HumanMessage("What is the capital of Peru, pray?")]
    )
    assert model.router.predictor.prompts == ["What is the capital of Peru, pray?"]

"""The expert that is chosen binds the caller's own tools and schemas, as the bare model would."""

import copy
import pickle
from typing import TypedDict

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, custom_tool
from pydantic import BaseModel

from routoo_core import Expert
from routoo_core.errors import NoCapableExpert
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel, RoutooMiddleware

CAN = {"tools", "json_schema"}
CACHED = {"type": "ephemeral"}


class Weather(BaseModel):
    """Weather."""

    city: str
    temperature: float


class Place(TypedDict):
    """A place."""

    city: str


@tool
def get_weather(city: str) -> str:
    """Weather of a city."""
    return "20"


@tool(extras={"defer_loading": True, "cache_control": CACHED, "input_examples": [{"q": "cats"}]})
def search(q: str) -> str:
    """Search."""
    return q


@custom_tool
def execute(code: str) -> str:
    """Execute code."""
    return code


def routed(client, **settings):
    prices = {"input_usd_per_1m": 1, "output_usd_per_1m": 1, "capabilities": CAN, **settings}
    expert = Expert(name="m", model="m", client=client, **prices)
    return RoutooChatModel(FakePredictor({"m": 1}), {"m": expert}, policy="best", max_tokens=50)


def sent_tools(model, tools, **keywords):
    """What the expert's own class makes of tools that were bound to ours."""
    bound = model.bind_tools(tools, **keywords)
    return model.client(model.router.pool["m"]).arguments(None, bound.kwargs, 50)["tools"]


ANTHROPIC = ChatAnthropic(model_name="claude-sonnet-4-5", api_key="x")
RESPONSES = ChatOpenAI(model="gpt-5", api_key="x", use_responses_api=True)
COMPLETIONS = ChatOpenAI(model="gpt-5", api_key="x")


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize(
    "bare", [ANTHROPIC, RESPONSES, COMPLETIONS], ids=lambda m: type(m).__name__
)
@pytest.mark.parametrize("own", [search, execute, Weather, Place, get_weather.func])
def test_an_expert_binds_what_the_bare_model_would(bare, own, strict):
    if own is execute and bare is ANTHROPIC:
        pytest.skip("OpenAI's custom tools are OpenAI's")
    expected = bare.bind_tools([own], strict=strict).kwargs["tools"]
    assert sent_tools(routed(bare), [own], strict=strict) == expected


def test_settings_of_a_tool_survive_a_copy_and_count_as_prompt():
    model = routed(ANTHROPIC)
    bound = copy.deepcopy(model.bind_tools([search]))
    (definition,) = model.client(model.router.pool["m"]).arguments(None, bound.kwargs, 50)["tools"]
    assert definition["cache_control"] == CACHED
    assert definition["input_examples"] == [{"q": "cats"}]

    plain = tool(search.func)
    with_settings = model.routed_request([], model.bind_tools([search]).kwargs)
    without = model.routed_request([], model.bind_tools([plain]).kwargs)
    assert with_settings.prompt_token_bound > without.prompt_token_bound


def test_another_process_gets_the_form_of_a_tool():
    bound = routed(COMPLETIONS).bind_tools([get_weather])
    (form,) = pickle.loads(pickle.dumps(bound.kwargs["tools"]))
    assert form == bound.kwargs["tools"][0]
    assert type(form) is dict


@pytest.mark.parametrize("by_middleware", [False, True])
def test_a_tool_that_its_provider_runs_is_not_smuggled_in(by_middleware):
    @tool(
        extras={"provider_tool_definition": {"type": "web_search_20250305", "name": "web_search"}}
    )
    def harmless(q: str) -> str:
        """Harmless."""
        return q

    model = routed(ANTHROPIC)
    with pytest.raises(NoCapableExpert, match=r"tools\.web_search_20250305"):
        if by_middleware:
            agent = create_agent(ANTHROPIC, [harmless], middleware=[RoutooMiddleware(model)])
            agent.invoke({"messages": [("human", "Search the web, please.")]})
        else:
            model.bind_tools([harmless]).invoke("Search the web, please.")


def say(body):
    if body["messages"][-1]["role"] == "tool":
        return Reply(text='{"city": "Bern", "temperature": 20}')
    return Reply("", tool_calls=[{"name": "get_weather", "arguments": {"city": "Bern"}}])


def test_an_agent_with_tools_and_a_schema_answers_as_with_the_bare_model(endpoint):
    endpoint.replies["m"] = say
    bare = ChatOpenAI(
        model="m",
        base_url=endpoint.base_url,
        api_key="x",
        profile={"structured_output": True, "tool_calling": True},
    )
    named = endpoint.expert("m", capabilities=CAN)
    requests = []
    for model in (bare, routed(bare), RoutooChatModel(FakePredictor({"m": 1}), {"m": named})):
        endpoint.requests.clear()
        agent = create_agent(model, [get_weather], response_format=Weather)
        state = agent.invoke({"messages": [("human", "Weather in Bern?")]})
        assert state["structured_response"] == Weather(city="Bern", temperature=20)
        request = endpoint.requests[-1]
        requests.append((request["tools"], request["response_format"]))
    assert requests[0] == requests[1] == requests[2]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the bare model warns as well
@pytest.mark.parametrize("schema", [Weather, Place])
def test_a_class_is_a_response_format(endpoint, schema):
    endpoint.replies["m"] = Reply(text='{"city": "Bern", "temperature": 20}')
    model = RoutooChatModel(
        FakePredictor({"m": 1}), {"m": endpoint.expert("m", capabilities=CAN)}, max_tokens=50
    )
    reply = model.invoke("Weather in Bern?", response_format=schema)
    assert endpoint.requests[-1]["response_format"]["json_schema"]["name"] == schema.__name__
    if schema is Weather:
        assert reply.additional_kwargs["parsed"] == Weather(city="Bern", temperature=20)
    chunks = list(model.bind(response_format=schema).stream("Weather in Bern?"))
    assert "".join(chunk.text for chunk in chunks) == '{"city": "Bern", "temperature": 20}'
    assert model.routed_request([], {"response_format": schema}).needs == {"json_schema"}
    assert model.router.ledger.state(model.router.budget).held == 0

"""The limit on a reply and the number of replies: read by every name, held for, and fitted to the window."""

import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from ways import LANGCHAIN_WAYS, LLAMA_INDEX_WAYS, record_of

from routoo_core import Budget, Expert
from routoo_core.candidates import call_cost, capable_experts
from routoo_core.errors import (
    BudgetExceeded,
    ConfigurationError,
    InvalidRequest,
    NoCapableExpert,
)
from routoo_core.request import RoutedRequest
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens")
DIARY = "We walked along the river and had tea. " * 520
WINDOW = 8192


def adapter(kind, endpoint, client=None, budget=None, expert=None, **settings):
    """A model of either framework over one expert, named ``m``."""
    described = endpoint.expert("m", client=client, **(expert or {}))
    options = {"policy": "best", "budget": budget}
    return kind(FakePredictor({"m": 1.0}), {"m": described}, **options, **settings)


def limit_sent(endpoint):
    body = endpoint.requests[-1]
    sent = [body[name] for name in NAMES if body.get(name) is not None]
    assert len(sent) == 1
    return sent[0]


async def ask(model, way, prompt="Hello there, who are you?", **keywords):
    ways = LANGCHAIN_WAYS if isinstance(model, RoutooChatModel) else LLAMA_INDEX_WAYS
    return await ways[way](model, prompt, **keywords)


both_frameworks = pytest.mark.parametrize("kind", [RoutooChatModel, RoutooLLM])
every_way = pytest.mark.parametrize("way", ["whole", "async", "streamed", "async streamed"])


# One limit, however it is called


@both_frameworks
@every_way
@pytest.mark.parametrize("name", NAMES)
async def test_a_limit_counts_by_every_name_that_it_has(endpoint, kind, way, name):
    await ask(adapter(kind, endpoint), way, **{name: 7})
    assert limit_sent(endpoint) == 7


@both_frameworks
async def test_of_two_limits_the_smaller_one_counts(endpoint, kind):
    model = adapter(kind, endpoint, max_tokens=50)
    await ask(model, "whole", max_tokens=30, max_completion_tokens=20)
    assert limit_sent(endpoint) == 20


@both_frameworks
async def test_a_limit_in_the_extra_body_is_a_limit_as_well(endpoint, kind):
    await ask(adapter(kind, endpoint), "whole", extra_body={"max_tokens": 9, "top_k": 3})
    assert (limit_sent(endpoint), endpoint.requests[-1]["top_k"]) == (9, 3)


@both_frameworks
@every_way
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [0, -1, "x", 1.5, True])
async def test_a_limit_that_is_none_is_refused_by_its_name(endpoint, kind, way, name, wrong):
    with pytest.raises(InvalidRequest, match=f"{name}: "):
        await ask(adapter(kind, endpoint), way, **{name: wrong})
    assert endpoint.requests == []


def test_a_limit_that_is_bound_counts_in_every_place_it_can_be_bound(endpoint):
    bare = ChatOpenAI(model="m", base_url=endpoint.base_url, api_key="x")
    for name in NAMES:
        adapter(RoutooChatModel, endpoint).bind(**{name: 6}).invoke("Hello there, who are you?")
        assert limit_sent(endpoint) == 6
        own = adapter(RoutooChatModel, endpoint, client=bare.bind(**{name: 5}))
        own.invoke("Hello there, who are you?")
        assert limit_sent(endpoint) == 5


def test_a_limit_bound_to_a_model_object_is_its_experts_limit(endpoint):
    bare = ChatOpenAI(model="gpt-4o", base_url=endpoint.base_url, api_key="x")
    model = RoutooChatModel(
        FakePredictor({"gpt-4o": 1.0}), {"gpt-4o": bare.bind(max_completion_tokens=5)}
    )
    assert model.router.pool["gpt-4o"].max_output_tokens == 5


# Several replies


@both_frameworks
@pytest.mark.parametrize("way", ["whole", "async"])
async def test_several_replies_are_held_for_and_booked(endpoint, kind, way):
    endpoint.replies["m"] = Reply("word " * 200)
    budget = Budget(limit="0.01")
    model = adapter(kind, endpoint, budget=budget, expert={"output_usd_per_1m": 10})
    record = record_of(await ask(model, way, n=8, max_tokens=100))
    assert float(record["settled_usd"]) == pytest.approx(8 * 100 * 10e-6 + 10e-6)
    assert float(record["settled_usd"]) <= float(record["held_usd"])


@both_frameworks
async def test_what_is_left_is_divided_among_the_replies(endpoint, kind):
    endpoint.replies["m"] = Reply("word " * 5000)
    model = adapter(kind, endpoint, budget=Budget(limit="0.02"), expert={"output_usd_per_1m": 10})
    answer = await ask(model, "whole", n=4)
    assert limit_sent(endpoint) < 0.02 / 10e-6 / 4
    assert float(record_of(answer)["settled_usd"]) <= 0.02


@both_frameworks
async def test_the_text_of_every_reply_counts_where_no_usage_is_reported(endpoint, kind):
    endpoint.replies["m"] = Reply("word " * 100, report_usage=False)
    costs = {}
    for completions in (1, 5):
        answer = await ask(adapter(kind, endpoint), "whole", n=completions)
        costs[completions] = float(record_of(answer)["settled_usd"])
    assert costs[5] - costs[1] >= 4 * 95e-6


@both_frameworks
@every_way
@pytest.mark.parametrize("name", ["n", "best_of"])
@pytest.mark.parametrize("wrong", [0, -1, "x", 1.5])
async def test_a_number_of_replies_that_is_none_is_refused_by_its_name(
    endpoint, kind, way, name, wrong
):
    with pytest.raises(InvalidRequest, match=f"{name}: "):
        await ask(adapter(kind, endpoint), way, **{name: wrong})


@pytest.mark.parametrize("keywords", [{"n": 4}, {"n": 2, "best_of": 4}, {"extra_body": {"n": 4}}])
@both_frameworks
def test_the_dearest_number_of_replies_is_what_the_request_says(endpoint, kind, keywords):
    model = adapter(kind, endpoint)
    message = ChatMessage(role="user", content="hi") if kind is RoutooLLM else HumanMessage("hi")
    assert model.routed_request([message], keywords).completions == 4
    one = RoutedRequest.from_text("hi")
    four = RoutedRequest.from_messages([{"role": "user", "content": "hi"}], completions=4)
    expert = endpoint.expert("m", input_usd_per_1m=0)
    assert call_cost(expert, four).maximum == 4 * call_cost(expert, one).maximum
    assert call_cost(expert, four).minimum == 4 * call_cost(expert, one).minimum
    assert call_cost(expert, four).expected == 4 * call_cost(expert, one).expected


def test_a_model_object_that_asks_for_several_replies_in_every_call_is_refused(endpoint):
    settings = {"model": "m", "base_url": endpoint.base_url, "api_key": "x"}
    for client in (
        ChatOpenAI(n=3, **settings),
        ChatOpenAI(**settings).bind(n=3),
        ChatOpenAI(extra_body={"best_of": 3}, **settings),
    ):
        with pytest.raises(ConfigurationError, match="asks for 3 replies.*invoke"):
            adapter(RoutooChatModel, endpoint, client=client)
    llm = OpenAILike(model="m", api_base=endpoint.base_url, api_key="x", additional_kwargs={"n": 3})
    with pytest.raises(ConfigurationError, match="asks for 3 replies"):
        adapter(RoutooLLM, endpoint, client=llm)
    adapter(RoutooChatModel, endpoint, client=ChatOpenAI(n=1, **settings))


# The limit and the window


@both_frameworks
@every_way
async def test_prompt_and_limit_fit_the_window(endpoint, kind, way):
    model = adapter(kind, endpoint, expert={"context_window": WINDOW, "max_output_tokens": 4096})
    await ask(model, way, prompt=DIARY)
    assert 1000 < limit_sent(endpoint) <= WINDOW - len(DIARY) // 4


@both_frameworks
async def test_a_callers_limit_that_fits_no_window_becomes_what_fits(endpoint, kind):
    model = adapter(kind, endpoint, expert={"context_window": WINDOW, "max_output_tokens": 8000})
    await ask(model, "whole", prompt=DIARY, max_tokens=8000)
    assert 1000 < limit_sent(endpoint) <= WINDOW - len(DIARY) // 4


def test_an_expert_whose_window_has_room_for_the_callers_limit_goes_before_others(endpoint):
    small = endpoint.expert("small", context_window=WINDOW, max_output_tokens=8000)
    large = endpoint.expert("large", context_window=4 * WINDOW, max_output_tokens=8000)
    request = RoutedRequest.from_text(DIARY, max_tokens=4096)
    assert capable_experts([small, large], request) == [large]
    assert capable_experts([small], request) == [small]


def test_an_expert_without_room_for_a_useful_reply_is_not_capable(endpoint):
    full = endpoint.expert("full", context_window=4500, max_output_tokens=2000)
    tokens = RoutedRequest.from_text(DIARY).prompt_tokens
    almost = endpoint.expert("almost", context_window=tokens + 20, max_output_tokens=2000)
    for expert in (full, almost):
        with pytest.raises(NoCapableExpert, match="a context window of"):
            capable_experts([expert], RoutedRequest.from_text(DIARY))


def test_the_margin_for_other_tokenizers_leaves_room_for_a_short_reply():
    tokens = RoutedRequest.from_text(DIARY).prompt_tokens
    price = {"input_usd_per_1m": 1, "output_usd_per_1m": 1}
    expert = Expert(name="m", model="m", context_window=tokens + 200, **price)
    request = RoutedRequest.from_text(DIARY)
    assert capable_experts([expert], request) == [expert]
    assert 1 <= expert.reply_limit(request) <= 200


@pytest.mark.parametrize("max_tokens", [None, 1, 30, 4096])
@pytest.mark.parametrize("words", [1, 100, 700, 5000])
def test_no_more_is_held_than_the_reply_that_is_asked_for(words, max_tokens):
    price = {"input_usd_per_1m": 0, "output_usd_per_1m": 1}
    expert = Expert(name="m", model="m", context_window=WINDOW, max_output_tokens=4096, **price)
    request = RoutedRequest.from_text("word " * words, max_tokens=max_tokens)
    limit = expert.reply_limit(request)
    assert 1 <= limit <= (max_tokens or 4096)
    assert call_cost(expert, request).maximum == 1000 * limit
    assert expert.prompt_tokens(request) + limit <= WINDOW


# What the budget leaves of a reply


def model_of_two(kind, endpoint, limit, **settings):
    """A good expert at 10 USD per million tokens of a reply and a cheap one at 1, each with room for 4,000."""
    experts = {}
    for name, usd in (("good", "10"), ("cheap", "1")):
        experts[name] = endpoint.expert(
            name,
            input_usd_per_1m="0.1",
            output_usd_per_1m=usd,
            expected_output_tokens=100,
            max_output_tokens=4000,
        )
    predictor = FakePredictor({"good": 0.9, "cheap": 0.5})
    budget = Budget(limit=limit, period="run")
    return kind(predictor, experts, policy="best", budget=budget, **settings)


@both_frameworks
@every_way
async def test_a_reply_that_the_budget_shortens_says_so(endpoint, kind, way):
    """Of what is left an eighth may be held: here for 1,250 tokens of the good expert."""
    reply = await ask(model_of_two(kind, endpoint, "0.1"), way)
    record = record_of(reply)
    assert (record["expert"], record["limited_by"]) == ("good", "budget")
    assert 1000 < record["reply_limit"] == limit_sent(endpoint) < 1300


@pytest.mark.parametrize(
    ("arguments", "settings", "limited_by"),
    [
        ({"max_tokens": 30}, {}, "caller"),
        ({}, {}, "expert"),
        ({"max_tokens": 9000}, {}, "expert"),
        ({}, {"context_window": 4050}, "window"),
    ],
)
def test_a_record_names_what_else_limits_a_reply(endpoint, arguments, settings, limited_by):
    model = adapter(RoutooChatModel, endpoint, expert={"max_output_tokens": 4000, **settings})
    record = model.invoke("Hello there, who are you?", **arguments).response_metadata["routoo"]
    assert record["limited_by"] == limited_by
    assert record["reply_limit"] == limit_sent(endpoint)


@both_frameworks
async def test_a_cheaper_expert_with_an_ample_reply_comes_before_a_dear_one_cut_short(
    endpoint, kind
):
    """0.003 USD pay for 300 tokens of the good expert, which usually writes 100, and for all that the cheap one may need."""
    record = record_of(await ask(model_of_two(kind, endpoint, "0.003"), "whole"))
    assert record["expert"] == "cheap"
    assert record["candidates"][0]["expert"] == "good"
    assert record["reply_limit"] >= 4 * 100


@both_frameworks
async def test_where_nobody_has_room_for_an_ample_reply_the_best_gives_a_short_one(endpoint, kind):
    expert = endpoint.expert("good", output_usd_per_1m="10", expected_output_tokens=100)
    model = kind(
        FakePredictor({"good": 0.9}),
        {"good": expert},
        policy="best",
        budget=Budget(limit="0.003", period="run"),
    )
    record = record_of(await ask(model, "whole"))
    assert (record["expert"], record["limited_by"]) == ("good", "budget")
    assert 100 <= record["reply_limit"] < 300


@both_frameworks
async def test_a_reply_below_the_least_is_refused_instead(endpoint, kind):
    enough = model_of_two(kind, endpoint, "0.003", min_reply_tokens=2000)
    assert record_of(await ask(enough, "whole"))["reply_limit"] >= 2000
    short = model_of_two(kind, endpoint, "0.001", min_reply_tokens=2000)
    with pytest.raises(BudgetExceeded):
        await ask(short, "whole")
    assert record_of(await ask(short, "whole", max_tokens=10))["limited_by"] == "caller"


def test_a_least_reply_below_nothing_is_refused(endpoint):
    with pytest.raises(ConfigurationError, match="min_reply_tokens: -1 is below 0"):
        adapter(RoutooChatModel, endpoint, min_reply_tokens=-1)

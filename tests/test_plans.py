"""Several experts in one call: a plan is ranked, paid and recorded like an expert, and answers with one reply."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from eight_ways import STREAMED, WAYS, answer, billed, model_for
from gateway_parts import TOOL, bearer, post, state_of
from hypothesis import given
from hypothesis import strategies as st
from langchain_openai import ChatOpenAI
from waiting import wait_until

from routoo_core import Budget, Expert, Pool
from routoo_core.answer import Answer
from routoo_core.answer_cache.rule import CacheRule
from routoo_core.calling import together
from routoo_core.comparison import Comparison
from routoo_core.config import build_router
from routoo_core.errors import (
    AllExpertsFailed,
    BudgetExceeded,
    ConfigurationError,
    InvalidRequest,
    LedgerError,
)
from routoo_core.lifetimes import PerProcess
from routoo_core.money import decimal_usd
from routoo_core.plans import (
    Ask,
    Cascade,
    Consensus,
    Contribution,
    GiveUp,
    Mixture,
    Take,
    describe_plan,
    read_plans,
)
from routoo_core.request import RoutedRequest
from routoo_core.testing import FakePredictor, Reply
from routoo_core.usage import Usage
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.keys import KeyTerms
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.langchain import RoutooChatModel

QUESTION = "How many legs do three spiders and two cats have together? Reply with the number."
PAIR = Consensus(name="pair", experts=("left", "right"), then="dear")
QUALITY = {"left": 0.6, "right": 0.6, "dear": 0.8, "judge": 0.1}


def make_router(endpoint, *plans, limit="1", quality=None, settings=(), **options):
    shared = {"max_output_tokens": 256, "context_window": 20_000, **dict(settings)}
    pool = Pool(
        [
            endpoint.expert("left", **shared),
            endpoint.expert("right", **shared),
            endpoint.expert("dear", input_usd_per_1m=10, output_usd_per_1m=30, **shared),
            endpoint.expert("judge", **shared),
        ]
    )
    values = {**QUALITY, **{plan.name: 0.9 for plan in plans}, **(quality or {})}
    return build_router(
        pool,
        router=FakePredictor(values),
        policy=options.pop("policy", "best"),
        budget=Budget(limit=limit),
        plans=plans,
        **options,
    )


def replies(endpoint, **texts):
    for name, text in texts.items():
        endpoint.replies[name] = text if isinstance(text, Reply) else Reply(text)


def tries_of(record):
    return [(attempt["expert"], attempt["outcome"]) for attempt in record["attempts"]]


def check_money(router, endpoint, record):
    """Everything is booked as it was billed, and nothing is held any more."""
    state = state_of(router)
    assert state.held == 0
    assert state.spent == billed(endpoint, router)
    assert decimal_usd(state.spent) == record["total_usd"]


# Consensus


@pytest.mark.parametrize("way", WAYS)
async def test_two_that_agree_answer_and_nobody_else_is_asked(endpoint, way):
    replies(endpoint, left="I count 32.", right="24 + 8, so the answer is 32")
    router = make_router(endpoint, PAIR)
    text, record = await answer(way, model_for(way, router), QUESTION)
    assert text in {"I count 32.", "24 + 8, so the answer is 32"}
    assert record["plan"] == "pair"
    assert record["expert"] in {"left", "right"}
    assert record["candidates"][0]["expert"] == "pair"
    assert sorted(tries_of(record)) == sorted([("left", "answered"), ("right", "contributed")])
    assert {attempt["plan"] for attempt in record["attempts"]} == {"pair"}
    check_money(router, endpoint, record)


@pytest.mark.parametrize("way", WAYS)
async def test_where_they_differ_another_is_asked_and_the_weighted_vote_decides(endpoint, way):
    replies(endpoint, left="It is 31.", right="It is 32.", dear="There are 32 legs.")
    router = make_router(endpoint, PAIR)
    text, record = await answer(way, model_for(way, router), QUESTION)
    assert "32" in text
    assert "31" not in text
    assert len(endpoint.requests) == 3
    check_money(router, endpoint, record)


@pytest.mark.parametrize("way", WAYS)
async def test_an_expert_that_fails_has_no_vote(endpoint, way):
    replies(endpoint, left=Reply(status=500), right="It is 32.", dear="It is 33.")
    router = make_router(endpoint, PAIR)
    text, record = await answer(way, model_for(way, router), QUESTION)
    assert "33" in text  # the better one of the two that voted
    assert dict(tries_of(record)) == {
        "left": "failed",
        "right": "contributed",
        "dear": "answered",
    }
    assert state_of(router).held == 0


@pytest.mark.parametrize("way", WAYS)
async def test_where_all_of_a_plan_fail_the_next_candidate_is_asked(endpoint, way):
    replies(endpoint, left=Reply(status=400), right=Reply(status=400), dear=Reply(status=400))
    router = make_router(endpoint, PAIR)
    text, record = await answer(way, model_for(way, router), QUESTION)
    assert text
    assert record["plan"] is None
    assert record["expert"] == "judge"
    assert state_of(router).held == 0


@pytest.mark.parametrize("way", WAYS)
async def test_where_everybody_fails_the_error_names_everybody(endpoint, way):
    replies(endpoint, **{name: Reply(status=400) for name in QUALITY})
    router = make_router(endpoint, PAIR)
    with pytest.raises(AllExpertsFailed, match="left.*right.*dear.*judge"):
        await answer(way, model_for(way, router), QUESTION)
    assert state_of(router).held == 0


@pytest.mark.parametrize("way", STREAMED)
async def test_a_stream_shows_the_chosen_reply_alone(endpoint, way):
    replies(endpoint, left="wrong: 31", right="right: 32", dear="also right: 32")
    router = make_router(endpoint, PAIR)
    text, _ = await answer(way, model_for(way, router), QUESTION)
    assert text == "also right: 32"


def test_the_money_of_the_whole_plan_is_held_before_its_first_call(endpoint):
    router = make_router(endpoint, PAIR)
    held = []

    def note(body):
        held.append(state_of(router).held)
        return Reply("It is 32.")

    endpoint.replies["left"] = note
    endpoint.replies["right"] = Reply("It is 32.")
    model = model_for("langchain", router)
    model.invoke(QUESTION)
    request = RoutedRequest.from_text(QUESTION, max_tokens=100)
    plan = router.decide(request).candidates[0]
    alone = sum(step.maximum_cost for step in plan.steps)
    assert held[0] >= 0.9 * alone
    assert plan.maximum_cost == alone
    assert state_of(router).held == 0


def test_a_plan_that_is_not_affordable_gives_way_to_an_expert(endpoint):
    endpoint.replies["left"] = Reply("It is 32.")
    router = make_router(endpoint, PAIR, limit="0.0016", quality={"left": 0.7})
    reply = model_for("langchain", router).invoke(QUESTION)
    record = reply.response_metadata["routoo"]
    assert record["candidates"][0]["expert"] == "pair"
    assert (record["plan"], record["expert"]) == (None, "left")
    state = state_of(router)
    assert state.held == 0
    assert state.spent <= state.limit


def test_a_plan_alone_that_is_not_affordable_is_refused(endpoint):
    router = make_router(endpoint, PAIR, limit="0.0002", on_exhausted="cheapest")
    with pytest.raises(BudgetExceeded):
        model_for("langchain", router).invoke(QUESTION, routoo_expert="pair")
    assert endpoint.requests == []
    assert state_of(router).held == 0


@pytest.mark.parametrize(
    "settings",
    [{"tools": [TOOL]}, {"n": 2}],
    ids=["tools", "several replies"],
)
def test_calls_that_a_plan_cannot_serve_go_to_experts(endpoint, settings):
    request = RoutedRequest.from_messages(
        [{"role": "user", "content": QUESTION}],
        tools=settings.get("tools", ()),
        completions=settings.get("n", 1),
    )
    assert not PAIR.suits(request)


@pytest.mark.parametrize(
    ("prompt", "suits"),
    [
        (QUESTION, True),
        ("Which is a mammal?\nA. trout\nB. whale\nC. wasp", True),
        ("Write a poem about the sea.", False),
        ("Why is the sky blue?", False),
    ],
)
def test_replies_are_compared_only_where_they_can_be(prompt, suits):
    assert PAIR.suits(RoutedRequest.from_text(prompt)) is suits
    labels = Consensus(name="labels", experts=("left", "right"), compare="label")
    assert labels.suits(RoutedRequest.from_text(prompt))


@given(
    st.lists(st.sampled_from(["1", "2", "3", None]), min_size=2, max_size=5),
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
)
def test_the_vote_takes_an_answer_that_somebody_gave(answers, weights):
    names = tuple(f"expert {number}" for number in range(len(answers)))
    plan = Consensus(name="plan", experts=names, compare="number")
    request = RoutedRequest.from_text(QUESTION)
    appraise = plan.appraiser(request)
    contributions = []
    for place, text in enumerate(answers):
        if text is None:
            contributions.append(Contribution(place, names[place], weights[place], None))
            continue
        reply = Answer(f"It is {text}.")
        appraisal = appraise(place, reply)
        contributions.append(Contribution(place, names[place], weights[place], reply, appraisal))
    verdict = plan.verdict(request, contributions)
    if set(answers) == {None}:
        assert verdict == GiveUp()
        return
    assert isinstance(verdict, Take)
    assert answers[verdict.position] is not None
    usable = {text for text in answers if text is not None}
    if len(usable) == 1:
        assert answers[verdict.position] in usable


# Cascade


CASCADE = Cascade(name="ladder", experts=("left", "dear"), judge="judge")


@pytest.mark.parametrize("way", WAYS)
async def test_an_accepted_answer_stands_and_the_judge_is_paid(endpoint, way):
    replies(endpoint, left="It is 32.", judge="24 and 8 are 32.\nYes")
    router = make_router(endpoint, CASCADE)
    text, record = await answer(way, model_for(way, router), QUESTION)
    assert text == "It is 32."
    assert tries_of(record) == [("left", "answered"), ("judge", "contributed")]
    told = endpoint.requests[-1]["messages"]
    assert told[-2]["content"] == "It is 32."
    check_money(router, endpoint, record)


@pytest.mark.parametrize("way", WAYS)
async def test_the_stop_words_of_a_call_do_not_cut_its_judge_short(endpoint, way):
    replies(endpoint, left="It is 32.", judge="24 and 8 are 32.\nYes")
    model = model_for(way, make_router(endpoint, CASCADE))
    await answer(way, model, QUESTION, stop=["\n"])
    asked, judged = endpoint.requests
    assert asked["stop"] == ["\n"]
    assert "stop" not in judged


def test_a_judge_has_the_stop_words_of_its_owner(endpoint):
    replies(endpoint, left="It is 32.", judge="Yes")
    shared = {"max_output_tokens": 256, "context_window": 20_000}
    client = ChatOpenAI(model="judge", api_key="x", base_url=endpoint.base_url)
    prices = {"input_usd_per_1m": 1, "output_usd_per_1m": 1}
    judge = Expert(
        name="judge", model="judge", client=client.bind(stop=["<end>"]), **prices, **shared
    )
    experts = [endpoint.expert("left", **shared), endpoint.expert("dear", **shared), judge]
    router = build_router(
        Pool(experts),
        router=FakePredictor({"left": 0.6, "dear": 0.8, "judge": 0.1, "ladder": 0.9}),
        policy="best",
        plans=(CASCADE,),
    )
    RoutooChatModel(router, max_tokens=100).invoke(QUESTION, stop=["\n"])
    assert [request["stop"] for request in endpoint.requests] == [["\n"], ["<end>"]]


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_that_the_judge_did_not_accept_is_not_given_again(endpoint, way):
    replies(endpoint, left="It is 30.", judge="no", dear=Reply(status=400))
    model = model_for(way, make_router(endpoint, CASCADE, cache=CacheRule()))
    text, _ = await answer(way, model, QUESTION)
    assert text == "It is 30."
    replies(endpoint, dear="It is 32.")
    text, record = await answer(way, model, QUESTION)
    assert (text, record["cached"]) == ("It is 32.", False)
    text, record = await answer(way, model, QUESTION)
    assert (text, record["cached"]) == ("It is 32.", True)


def test_nor_is_a_proposal_that_nobody_has_weighed(endpoint):
    plan = Mixture(name="panel", experts=("left", "right"), aggregator="dear")
    replies(endpoint, left="ONE", right="TWO", dear=Reply(status=400))
    model = RoutooChatModel(make_router(endpoint, plan, cache=CacheRule()), max_tokens=100)
    assert model.invoke(QUESTION).text in {"ONE", "TWO"}
    replies(endpoint, dear="THREE")
    assert model.invoke(QUESTION).text == "THREE"


def test_nor_does_the_gateway_pass_them_on_to_a_judge(endpoint):
    replies(endpoint, left="It is 32.", judge="24 and 8 are 32.\nYes")
    body = {"model": "ladder", "messages": [{"role": "user", "content": QUESTION}], "stop": ["\n"]}
    with GatewayServer(Gateway(make_router(endpoint, CASCADE)), port=0) as server:
        assert post(server, body).is_success
    asked, judged = endpoint.requests
    assert asked["stop"] == ["\n"]
    assert "stop" not in judged


@pytest.mark.parametrize("judgement", ["No", "I cannot say", Reply(status=500), ""])
@pytest.mark.parametrize("way", ["langchain whole", "llama_index async streamed"])
async def test_what_the_judge_does_not_accept_goes_to_the_next_expert(endpoint, way, judgement):
    replies(endpoint, left="It is 30.", judge=judgement, dear="It is 32.")
    router = make_router(endpoint, CASCADE)
    text, record = await answer(way, model_for(way, router), QUESTION)
    assert text == "It is 32."
    assert record["expert"] == "dear"
    assert state_of(router).held == 0


async def test_where_the_last_expert_fails_an_answer_that_was_not_accepted_is_better_than_none(
    endpoint,
):
    replies(endpoint, left="It is 30.", judge="no", dear=Reply(status=400))
    router = make_router(endpoint, CASCADE)
    text, record = await answer("langchain whole", model_for("langchain", router), QUESTION)
    assert text == "It is 30."
    assert tries_of(record)[0] == ("left", "answered")
    check_money(router, endpoint, record)


def test_without_a_judge_the_check_of_the_call_accepts(endpoint):
    ladder = Cascade(name="ladder", experts=("left", "right", "dear"))
    replies(endpoint, left="no number", right="also none", dear="It is 32.")
    router = make_router(endpoint, ladder)
    reply = model_for("langchain", router).invoke(
        QUESTION, routoo_check=lambda answer: None if "32" in answer.text else "no 32"
    )
    assert reply.text == "It is 32."
    assert [request["model"] for request in endpoint.requests] == ["left", "right", "dear"]
    check_money(router, endpoint, reply.response_metadata["routoo"])


# Mixture


MIXTURE = Mixture(name="mix", experts=("left", "right"), aggregator="dear")


@pytest.mark.parametrize("way", WAYS)
async def test_the_aggregator_is_shown_the_proposals_and_its_reply_is_the_calls(endpoint, way):
    replies(endpoint, left="PROPOSAL ONE", right="PROPOSAL TWO", dear="the best of both")
    router = make_router(endpoint, MIXTURE)
    text, record = await answer(way, model_for(way, router), "Write about the sea.")
    assert text == "the best of both"
    assert record["expert"] == "dear"
    shown = json.dumps(endpoint.requests[-1]["messages"])
    assert "PROPOSAL ONE" in shown
    assert "PROPOSAL TWO" in shown
    check_money(router, endpoint, record)


async def test_a_ranker_chooses_which_proposals_are_shown(endpoint):
    ranked = Mixture(
        name="mix", experts=("left", "right"), aggregator="dear", ranker="judge", keep=1
    )
    replies(endpoint, left="PROPOSAL ONE", right="PROPOSAL TWO", judge="2, 1", dear="the best")
    router = make_router(endpoint, ranked)
    text, record = await answer("langchain async", model_for("langchain", router), "Write.")
    shown = json.dumps(endpoint.requests[-1]["messages"])
    assert text == "the best"
    assert "PROPOSAL TWO" in shown
    assert "PROPOSAL ONE" not in shown
    check_money(router, endpoint, record)


async def test_without_the_aggregator_the_best_proposal_stands(endpoint):
    replies(endpoint, left="one", right="two", dear=Reply(status=400))
    router = make_router(endpoint, MIXTURE, quality={"right": 0.7})
    text, record = await answer("langchain whole", model_for("langchain", router), "Write.")
    assert text == "two"
    check_money(router, endpoint, record)


def test_long_proposals_are_cut_to_what_is_held(endpoint):
    replies(endpoint, left="ä" * 9000, right="b" * 9000, dear="short")
    endpoint_router = make_router(endpoint, MIXTURE)
    reply = model_for("langchain", endpoint_router).invoke("Write about the sea.")
    shown = endpoint.requests[-1]["messages"]
    assert sum(len(turn["content"].encode()) for turn in shown) < 9000
    assert not reply.response_metadata["routoo"]["estimated"]


# The gateway


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", ["chat/completions", "messages", "responses"])
def test_plans_answer_through_the_gateway(endpoint, path, streamed):
    replies(endpoint, left="It is 31.", right="It is 32.", dear="It is 32.")
    router = make_router(endpoint, PAIR)
    turns = [{"role": "user", "content": QUESTION}]
    body = {"model": "routoo", "stream": streamed}
    body |= {"input": QUESTION} if path == "responses" else {"messages": turns, "max_tokens": 100}
    with GatewayServer(Gateway(router), port=0) as server:
        response = post(server, body, path=f"/v1/{path}")
        text = response.text
    assert response.status_code == 200
    assert "32" in text
    assert "It is 31" not in text
    assert len(endpoint.requests) == 3
    state = state_of(router)
    assert (state.held, state.spent) == (0, billed(endpoint, router))


# Configuration


def test_plans_are_read_from_the_file_and_written_back(endpoint):
    router = make_router(endpoint, PAIR, MIXTURE, CASCADE)
    tables = {plan.name: describe_plan(plan) for plan in router.plans}
    again = read_plans("routoo.toml", tables, ["left", "right", "dear", "judge"])
    assert again == router.plans


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "vote", "experts": ["left", "right"]}, "kind: choose of consensus, cascade"),
        ({"kind": "consensus", "experts": ["left"]}, "two experts or more"),
        ({"kind": "consensus", "experts": ["left", "who"]}, "'who' is not among the experts"),
        ({"kind": "consensus", "experts": ["left", "right"], "shares": [1]}, "1 numbers for 2"),
        ({"kind": "cascade", "experts": []}, "names nobody"),
        ({"kind": "mixture", "experts": ["left"]}, "aggregator: missing"),
        ({"kind": "consensus", "experts": ["left", "right"], "compare": "poem"}, "compare"),
        ("pair", "is no table"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(table, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_plans("routoo.toml", {"p": table}, ["left", "right"])
    assert "plans.p" in str(caught.value)


def test_a_plan_that_the_router_has_not_learnt_is_refused(endpoint):
    pool = Pool([endpoint.expert("left"), endpoint.expert("right"), endpoint.expert("dear")])
    with pytest.raises(ConfigurationError, match="routoo plans fit"):
        build_router(pool, router=FakePredictor({"left": 1, "right": 1, "dear": 1}), plans=[PAIR])


def test_a_plan_is_named_like_an_expert_and_refused_where_it_does_not_suit(endpoint):
    replies(endpoint, left="It is 32.", right="It is 32.")
    router = make_router(endpoint, PAIR, quality={"pair": 0.0})
    model = model_for("langchain", router)
    record = model.invoke(QUESTION, routoo_expert="pair").response_metadata["routoo"]
    assert record["plan"] == "pair"
    with pytest.raises(InvalidRequest, match="the plan 'pair' cannot serve this call"):
        model.invoke("Write a poem.", routoo_expert="pair")


def test_shares_make_the_expected_cost(endpoint):
    rarely = PAIR.model_copy(update={"shares": (1.0, 1.0, 0.25)})
    request = RoutedRequest.from_text(QUESTION, max_tokens=100)
    candidate = make_router(endpoint, rarely).decide(request).candidates[0]
    left, right, dear = candidate.steps
    expected = left.expected_cost + right.expected_cost + 0.25 * dear.expected_cost
    assert candidate.expected_cost == round(expected)


def test_next_says_whom_to_ask():
    assert PAIR.verdict(RoutedRequest.from_text(QUESTION), []) == Ask((0, 1))


# At the same time


@pytest.mark.parametrize("way", ["langchain whole", "langchain async", "llama_index whole"])
async def test_experts_of_one_round_are_asked_at_the_same_time(endpoint, way):
    """Each of the two replies only once both were asked."""
    both_asked = threading.Barrier(2, timeout=60)

    def wait_for_other(body):
        both_asked.wait()
        return Reply("It is 32.")

    endpoint.replies.update({"left": wait_for_other, "right": wait_for_other})
    router = make_router(endpoint, PAIR)
    text, record = await answer(way, model_for(way, router), QUESTION)
    assert text == "It is 32."
    check_money(router, endpoint, record)


async def test_a_caller_that_leaves_in_a_round_leaves_nothing_held(endpoint):
    slow = Reply("It is 32.", delay_s=1.0)
    replies(endpoint, left=slow, right=slow)
    router = make_router(endpoint, PAIR)
    model = model_for("langchain", router)
    task = asyncio.create_task(model.ainvoke(QUESTION))
    while len(endpoint.requests) < 2:
        assert not task.done(), task.result()
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until, lambda: state_of(router).held == 0)
    await asyncio.to_thread(wait_until, lambda: len(endpoint.bills) == 2)
    assert state_of(router).spent >= billed(endpoint, router)


def test_an_expert_for_which_no_thread_can_be_started_is_not_asked(endpoint, monkeypatch):
    class OneThread(ThreadPoolExecutor):
        def _adjust_thread_count(self):
            if self._threads:
                raise RuntimeError("can't start new thread")
            super()._adjust_thread_count()

    monkeypatch.setattr(together, "_THREADS", PerProcess(lambda: OneThread(max_workers=8)))
    replies(endpoint, left=Reply("It is 32.", delay_s=0.3), right="It is 32.", dear="It is 32.")
    router = make_router(endpoint, PAIR)
    reply = model_for("langchain whole", router).invoke(QUESTION)
    record = reply.response_metadata["routoo"]
    assert [request["model"] for request in endpoint.requests] == ["left", "dear"]
    assert ("right", "failed") in tries_of(record)
    check_money(router, endpoint, record)


async def test_a_round_that_is_cancelled_before_it_is_sent_costs_nothing(endpoint):
    class Unsent:
        async def asend(self, attempt):
            raise AssertionError("it was cancelled before")

        def read(self, reply):
            raise AssertionError("there is no reply")

    router = make_router(endpoint, PAIR)
    attempts = router.attempts_off_loop(lambda: RoutedRequest.from_text(QUESTION, max_tokens=100))
    attempt = await attempts.start_next()
    requests = together.AsyncSentTogether(Unsent())

    async def ask():
        async with attempt:
            await requests.reply(attempt)

    task = asyncio.create_task(ask())
    await asyncio.sleep(0)
    task.cancel()
    await requests.aclose()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until, lambda: state_of(router).held == 0)
    assert state_of(router).spent == 0


def test_an_error_that_ends_the_call_books_the_other_of_the_round(endpoint):
    """The check of the call itself fails, which is nobody's fault but the caller's."""
    replies(endpoint, left="It is 32.", right=Reply("It is 32.", delay_s=0.5))
    router = make_router(endpoint, PAIR)

    def broken(_):
        raise RuntimeError("of the caller's own")

    with pytest.raises(RuntimeError, match="of the caller's own"):
        model_for("langchain", router).invoke(QUESTION, routoo_check=broken)
    wait_until(lambda: state_of(router).held == 0)
    wait_until(lambda: len(endpoint.bills) == 2)
    assert state_of(router).spent == billed(endpoint, router)


# Killed at every step


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("store", "plan"), [("sqlite", "consensus"), ("redis", "consensus"), ("sqlite", "cascade")]
)
def test_a_program_that_is_killed_at_any_step_of_a_plan_loses_and_keeps_nothing(
    endpoint, store, plan, tmp_path, request
):
    replies(endpoint, left="It is 31.", right="It is 32.", dear="It is 32.")
    url = f"sqlite:///{tmp_path}/l.db"
    if store == "redis":
        url = request.getfixturevalue("redis_url")
    script = Path(__file__).parent / "kill_plans.py"
    command = [sys.executable, str(script), url, endpoint.base_url, plan]
    environment = {**os.environ, "OPENAI_API_KEY": "any"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert result["kills"] > 20
    wait_until(lambda: len(endpoint.bills) == len(endpoint.requests))
    prices = {"left": (1000, 2000), "right": (1000, 2000), "dear": (10_000, 30_000)}
    billed_in_all = 0
    for bill in endpoint.bills:
        prompt, completion = prices[bill.model]
        billed_in_all += prompt * bill.tokens.prompt_tokens
        billed_in_all += completion * bill.tokens.completion_tokens
    assert billed_in_all <= result["spent"]


def test_the_gateway_lists_plans_takes_their_names_and_shows_them_on_its_page(endpoint):
    replies(endpoint, left="It is 32.", right="It is 32.")
    router = make_router(endpoint, PAIR)
    body = {"model": "pair", "messages": [{"role": "user", "content": QUESTION}]}
    with GatewayServer(Gateway(router), port=0) as server:
        listed = httpx.get(f"{server.base_url}/models").json()["data"]
        assert {"kind": "plan", "plan": "consensus"} in [model["routoo"] for model in listed]
        response = post(server, body)
        assert response.status_code == 200
        assert response.headers["routoo-quality"] == "0.9"
        assert response.headers["routoo-plan"] == "pair"
        page = httpx.get(server.address)
        assert page.status_code == 200
        assert "pair" in page.text
        metrics = httpx.get(f"{server.address}/metrics").text
    assert "routoo" in metrics


def test_a_plan_that_gives_up_behind_a_reply_has_no_time_of_an_answer(endpoint):
    class GivesUp(Consensus):
        def verdict(self, request, contributions):
            return GiveUp() if contributions else super().verdict(request, contributions)

    replies(endpoint, left="It is 31.", right="It is 32.")
    router = make_router(endpoint, GivesUp(name="pair", experts=("left", "right"), then="dear"))
    body = {"model": "pair", "messages": [{"role": "user", "content": QUESTION}]}
    with GatewayServer(Gateway(router), port=0) as server:
        assert post(server, body).status_code >= 400
        wait_until(lambda: server.gateway.activity.recent())
        (call,) = server.gateway.activity.recent()
    assert not call.has_answer
    assert call.end.wait_s is None


def test_a_key_may_name_a_plan_all_of_whose_experts_it_allows(endpoint, keys):
    replies(endpoint, left="It is 32.", right="It is 32.")
    router = make_router(endpoint, PAIR)
    every = bearer(keys.create("every", KeyTerms(experts=("left", "right", "dear"))))
    some = bearer(keys.create("some", KeyTerms(experts=("left", "right"))))
    body = {"model": "pair", "messages": [{"role": "user", "content": QUESTION}]}
    with GatewayServer(Gateway(router, keys), port=0) as server:
        response = post(server, body, headers=every)
        assert response.status_code == 200
        assert response.headers["routoo-plan"] == "pair"
        assert post(server, body, headers=some).status_code in {403, 404}
    assert len(endpoint.requests) == 2


def test_a_ledger_that_fails_while_a_plan_is_held_keeps_nothing_held(endpoint, monkeypatch):
    router = make_router(endpoint, PAIR)
    reserve = router.settlements.reserve
    reserved = []

    def failing(*arguments, **keywords):
        if len(reserved) == 2:
            raise LedgerError("the disk is full")
        reserved.append(reserve(*arguments, **keywords))
        return reserved[-1]

    monkeypatch.setattr(router.settlements, "reserve", failing)
    with pytest.raises(LedgerError):
        model_for("langchain", router).invoke(QUESTION)
    assert endpoint.requests == []
    assert state_of(router).held == 0


async def test_a_refusal_that_nobody_waited_for_costs_nothing(endpoint):
    """Both experts refuse the call itself: the first refusal is the caller's, and neither costs anything."""
    replies(endpoint, left=Reply(status=401), right=Reply(status=401), dear=Reply(status=401))
    endpoint.replies["judge"] = Reply("It is 32.")
    router = make_router(endpoint, PAIR)
    text, record = await answer("langchain async", model_for("langchain", router), QUESTION)
    assert text == "It is 32."
    check_money(router, endpoint, record)


@pytest.mark.parametrize("raises_at", [0, 2])
def test_a_plan_whose_rule_fails_keeps_nothing_held(endpoint, raises_at):
    class Broken(Consensus):
        def verdict(self, request, contributions):
            if len(contributions) == raises_at:
                raise RuntimeError("a fault of the rule")
            return super().verdict(request, contributions)

    replies(endpoint, left="It is 31.", right="It is 32.")
    broken = Broken(name="pair", experts=("left", "right"), then="dear")
    router = make_router(endpoint, broken)
    with pytest.raises(RuntimeError, match="a fault of the rule"):
        model_for("langchain", router).invoke(QUESTION)
    wait_until(lambda: state_of(router).held == 0)


@pytest.mark.parametrize(
    ("asked", "message"), [((), "it names no step"), ((0,), "asked before"), ((3,), "asked before")]
)
def test_a_rule_that_asks_for_what_cannot_be_keeps_nothing_held(endpoint, asked, message):
    class Broken(Consensus):
        def verdict(self, request, contributions):
            return Ask(asked) if contributions else super().verdict(request, contributions)

    replies(endpoint, left="It is 31.", right="It is 32.")
    router = make_router(endpoint, Broken(name="pair", experts=("left", "right"), then="dear"))
    with pytest.raises(ValueError, match=message):
        model_for("langchain", router).invoke(QUESTION)
    state = state_of(router)
    assert state.held == 0
    assert state.spent == billed(endpoint, router)


def test_a_plan_is_over_with_nothing_held_whatever_its_rule_returns(endpoint):
    class Silent(Consensus):
        def verdict(self, request, contributions):
            return None if contributions else super().verdict(request, contributions)

    replies(endpoint, left="It is 31.", right="It is 31.", dear="It is 32.")
    router = make_router(endpoint, Silent(name="pair", experts=("left", "right"), then="dear"))
    assert model_for("langchain", router).invoke(QUESTION).text == "It is 32."
    assert state_of(router).held == 0


def test_a_call_whose_rule_fails_behind_paid_steps_is_in_the_gateways_list(endpoint):
    class Broken(Consensus):
        def verdict(self, request, contributions):
            if contributions:
                raise RuntimeError("a fault of the rule")
            return super().verdict(request, contributions)

    replies(endpoint, left="It is 31.", right="It is 32.")
    router = make_router(endpoint, Broken(name="pair", experts=("left", "right"), then="dear"))
    with GatewayServer(Gateway(router), port=0) as server:
        body = {"model": "routoo", "messages": [{"role": "user", "content": QUESTION}]}
        assert post(server, body).status_code == 500
        wait_until(lambda: server.gateway.activity.recent())
        (call,) = server.gateway.activity.recent()
    assert call.end.record.total_usd == decimal_usd(state_of(router).spent)


def test_a_ledger_that_fails_at_the_second_hold_reports_the_first_attempt_once(
    endpoint, monkeypatch
):
    router = make_router(endpoint)
    ended = []

    def failing(*arguments, **keywords):
        raise LedgerError("the disk is full")

    attempts = router.attempts(RoutedRequest.from_text(QUESTION, max_tokens=100), ended.append)
    with next(attempts) as first:
        first.settle(Usage(50, 10))
        first.reject("no number in it")
    monkeypatch.setattr(router.settlements, "reserve", failing)
    for _ in range(2):
        with pytest.raises(LedgerError):
            next(attempts)
    assert ended == [first]


def test_what_a_call_may_cost_holds_for_the_plan_as_a_whole(endpoint):
    replies(endpoint, left="It is 31.", right="It is 32.", dear="It is 32.")
    router = make_router(endpoint, PAIR)
    request = RoutedRequest.from_text(QUESTION, max_tokens=100)
    plan = router.decide(request).candidates[0]
    enough = plan.maximum_cost / 1e9
    model = model_for("langchain", router)
    reply = model.invoke(QUESTION, routoo_max_cost=f"{enough:.9f}", routoo_expert="pair")
    assert reply.response_metadata["routoo"]["plan"] == "pair"
    with pytest.raises(InvalidRequest, match="cannot serve this call"):
        model.invoke(QUESTION, routoo_max_cost=f"{enough / 2:.9f}", routoo_expert="pair")
    assert state_of(router).held == 0


async def test_a_cancel_behind_the_first_reply_leaves_nothing_held(endpoint):
    """Cancelled at every moment that the loop turns to, one after the other."""
    replies(endpoint, left="It is 31.", right="It is 32.", dear="It is 32.")
    router = make_router(endpoint, PAIR, limit="100")
    model = model_for("langchain", router)
    for turns in range(0, 60, 3):
        task = asyncio.create_task(model.ainvoke(QUESTION))
        for _ in range(turns):
            await asyncio.sleep(0.002)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await asyncio.to_thread(wait_until, lambda: state_of(router).held == 0)
    await asyncio.to_thread(wait_until, lambda: len(endpoint.bills) == len(endpoint.requests))
    assert state_of(router).spent >= billed(endpoint, router)


@pytest.mark.parametrize(
    ("left", "right", "agree"),
    [
        ("The answer to 3 + 4 is 7.", "The answer to 3 + 4 is 8.", False),
        (r"\boxed{\frac{1}{2}}", r"\boxed{\frac{1}{3}}", False),
        ("It is −5.", "It is 5.", False),
        ("3.5 million", "3.5 billion", False),
        ("5 km", "5 miles", False),
        ("I count 32.", "24 + 8, so the answer is **32**", True),
        ("There are 32 legs.", "32", True),
        ("#### 72", "She sells 72 eggs: 72", True),
    ],
)
def test_numbers_agree_where_they_are_the_same(left, right, agree):
    comparison = Comparison("number")
    statements = [comparison.statement(Answer(text)) for text in (left, right)]
    assert (statements[0] == statements[1]) is agree
    assert None not in statements


def test_a_reply_that_was_cut_or_refused_states_nothing():
    comparison = Comparison("number")
    assert comparison.statement(Answer("It is 24", is_cut=True)) is None
    assert comparison.statement(Answer("It is 24", is_refusal=True)) is None


@pytest.mark.parametrize(
    ("judgement", "accepted"),
    [("Yes", True), ("It adds up.\n**Yes.**", True), ("Not sure, but I would not say yes", False)],
)
def test_a_judge_accepts_by_its_last_line(judgement, accepted):
    contributions = [
        Contribution(0, "left", 0.5, Answer("32")),
        Contribution(1, "judge", 0.5, Answer(judgement)),
    ]
    verdict = CASCADE.verdict(RoutedRequest.from_text(QUESTION), contributions)
    assert isinstance(verdict, Take) is accepted


async def test_latencies_are_those_of_each_expert(endpoint):
    replies(endpoint, left=Reply("It is 32.", delay_s=1.5), right="It is 32.")
    router = make_router(endpoint, PAIR)
    await model_for("langchain", router).ainvoke(QUESTION)
    assert router.latencies.of("left") >= 1.5
    assert router.latencies.of("right") < router.latencies.of("left") / 1.5


async def test_a_wrong_form_in_a_plan_is_recorded_and_better_than_none(endpoint):
    ladder = Cascade(name="ladder", experts=("left", "right"))
    replies(endpoint, **dict.fromkeys(QUALITY, Reply(status=400)))
    replies(endpoint, left="no JSON")
    settings = {"capabilities": {"json_mode"}}
    router = make_router(endpoint, ladder, settings=settings)
    text, record = await answer(
        "langchain whole",
        model_for("langchain", router),
        QUESTION,
        response_format={"type": "json_object"},
    )
    assert text == "no JSON"
    assert record["attempts"][0]["error"] == "invalid JSON"
    check_money(router, endpoint, record)


def test_a_plan_of_ones_own_is_asked_and_cannot_be_saved(endpoint):
    class First(Consensus):
        kind = "first"

    own = First(name="own", experts=("left", "right"))
    replies(endpoint, left="It is 32.", right="It is 32.")
    router = make_router(endpoint, own)
    assert model_for("langchain", router).invoke(QUESTION).text == "It is 32."
    with pytest.raises(ConfigurationError, match="a First object cannot be saved to a file"):
        describe_plan(own)

"""Consensus on code: replies agree where their code gives equal results on the probes of the call."""

import asyncio
import json
import tempfile
import threading

import numpy as np
import pytest
from eight_ways import WAYS, answer, billed, model_for
from gateway_parts import post, state_of
from typer.testing import CliRunner
from waiting import wait_until

from routoo_core import Budget, Pool
from routoo_core.answer import Answer
from routoo_core.answer_cache.rule import CacheRule
from routoo_core.config import build_router
from routoo_core.errors import ConfigurationError, InvalidRequest
from routoo_core.expert_table import ExpertTable
from routoo_core.measures.plan_replay import AnswerTable, replay_plan
from routoo_core.money import decimal_usd
from routoo_core.outcomes import Outcomes
from routoo_core.plans import Appraisal, Consensus, Contribution, Take, read_plans
from routoo_core.prompts import Prompts
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.sandbox import namespaces
from routoo_core.sandbox import probes as probes_module
from routoo_core.sandbox.namespaces import sandbox_problem
from routoo_core.tables import write_rows
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.cli import app
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.llama_index import RoutooLLM
from routoo_integrations.llama_index.namespace import routoo_settings

PROBLEM = sandbox_problem()
in_sandbox = pytest.mark.skipif(PROBLEM is not None, reason=f"no sandbox here: {PROBLEM}")

TASK = "Write a Python function slug(text) that makes a slug of a title."
PROBES = ('slug("A b")', 'slug("")')
JOINED = "Here:\n```python\ndef slug(text):\n    return '-'.join(text.lower().split())\n```"
REPLACED = "```python\ndef slug(text):\n    return text.lower().replace(' ', '-')\n```\nDone."
WRONG = "```python\ndef slug(text):\n    return text.lower()\n```"
PAIR = Consensus(name="pair", experts=("left", "right"), then="dear", compare="code")


def make_router(endpoint, plan=PAIR, **options):
    limits = {"max_output_tokens": 256, "context_window": 20_000}
    dear = endpoint.expert("dear", input_usd_per_1m=10, output_usd_per_1m=30, **limits)
    pool = Pool([endpoint.expert("left", **limits), endpoint.expert("right", **limits), dear])
    quality = {"left": 0.6, "right": 0.6, "dear": 0.8, plan.name: 0.9}
    return build_router(
        pool,
        router=FakePredictor(quality),
        policy="best",
        budget=Budget(limit="1"),
        plans=[plan],
        **options,
    )


def replies(endpoint, **texts):
    endpoint.replies.update({name: Reply(text) for name, text in texts.items()})


def code_of(body):
    return f"```python\n{body}\n```"


# Calls


@in_sandbox
@pytest.mark.parametrize("way", WAYS)
async def test_different_code_with_equal_results_agrees_and_nobody_else_is_asked(endpoint, way):
    replies(endpoint, left=JOINED, right=REPLACED)
    router = make_router(endpoint)
    text, record = await answer(way, model_for(way, router), TASK, routoo_probes=PROBES)
    assert text in {JOINED, REPLACED}
    assert record["plan"] == "pair"
    assert sorted(request["model"] for request in endpoint.requests) == ["left", "right"]
    state = state_of(router)
    assert (state.held, state.spent) == (0, billed(endpoint, router))
    assert decimal_usd(state.spent) == record["total_usd"]


@in_sandbox
@pytest.mark.parametrize("way", WAYS)
async def test_where_the_results_differ_a_third_is_asked_and_the_vote_decides(endpoint, way):
    replies(endpoint, left=WRONG, right=REPLACED, dear=JOINED)
    router = make_router(endpoint)
    text, record = await answer(way, model_for(way, router), TASK, routoo_probes=PROBES)
    assert text == JOINED  # the better of the two that agree
    outcomes = {attempt["expert"]: attempt["outcome"] for attempt in record["attempts"]}
    assert outcomes == {"left": "contributed", "right": "contributed", "dear": "answered"}
    state = state_of(router)
    assert (state.held, state.spent) == (0, billed(endpoint, router))


@in_sandbox
async def test_a_reply_without_code_has_no_vote(endpoint):
    replies(endpoint, left="I would rather not.", right=REPLACED, dear=WRONG)
    model = model_for("langchain", make_router(endpoint))
    text, record = await answer("langchain whole", model, TASK, routoo_probes=PROBES)
    assert text == WRONG  # of the two that voted, the better one
    assert len(record["attempts"]) == 3


def test_code_of_the_last_expert_that_cannot_be_run_does_not_outvote_the_others():
    request = RoutedRequest.from_text(TASK, overrides=Overrides(probes=PROBES))
    plan = Consensus(name="p", experts=("a", "b", "c"), then="dear", compare="code")
    statements = ["same", "same", "other", None]
    contributions = []
    for place, stated in enumerate(statements):
        reply = Answer(f"reply {place}")
        contributions.append(Contribution(place, "", 0.6, reply, Appraisal(stated)))
    assert plan.verdict(request, contributions) == Take(0)
    prose = plan.model_copy(update={"compare": "label"})
    assert prose.verdict(request, contributions) == Take(3)


@pytest.mark.parametrize("way", ["langchain whole", "llama_index async"])
@in_sandbox
async def test_a_call_without_probes_is_not_offered_the_plan(endpoint, way):
    replies(endpoint, dear=JOINED)
    router = make_router(endpoint)
    model = model_for(way, router)
    _, record = await answer(way, model, TASK)
    assert (record["plan"], record["expert"]) == (None, "dear")
    with pytest.raises(InvalidRequest, match="the plan 'pair' cannot serve this call"):
        await answer(way, model, TASK, routoo_expert="pair")


@in_sandbox
def test_probes_of_a_block_count_for_its_calls(endpoint):
    replies(endpoint, left=JOINED, right=REPLACED)
    llm = RoutooLLM(make_router(endpoint), max_tokens=100)
    with routoo_settings(probes=PROBES):
        assert llm.complete(TASK).text in {JOINED, REPLACED}
    assert len(endpoint.requests) == 2


@in_sandbox
def test_code_is_run_once_for_each_answer_and_the_verdict_runs_none(endpoint, monkeypatch):
    request = RoutedRequest.from_text(TASK, overrides=Overrides(probes=PROBES))
    appraise = PAIR.appraiser(request)
    contributions = []
    for place, text in enumerate((WRONG, REPLACED, JOINED)):
        reply = Answer(text)
        appraisal = appraise(place, reply)
        contributions.append(Contribution(place, "", 0.6 + place / 10, reply, appraisal))
    monkeypatch.setattr(namespaces, "sandbox_problem", lambda: "nothing may be run now")
    assert PAIR.verdict(request, contributions) == Take(2)


@in_sandbox
@pytest.mark.parametrize("way", ["langchain async", "llama_index async streamed"])
async def test_code_is_run_off_the_event_loop(endpoint, way):
    threads = []

    class Watched(Consensus):
        def appraiser(self, request):
            appraise = super().appraiser(request)

            def noting(step, reply):
                threads.append(threading.get_ident())
                return appraise(step, reply)

            return noting

    replies(endpoint, left=WRONG, right=REPLACED, dear=JOINED)
    plan = Watched(name="pair", experts=("left", "right"), then="dear", compare="code")
    model = model_for(way, make_router(endpoint, plan))
    text, _ = await answer(way, model, TASK, routoo_probes=PROBES)
    assert text == JOINED
    assert len(threads) == 3
    assert threading.get_ident() not in threads


@in_sandbox
async def test_a_caller_that_leaves_while_code_runs_leaves_nothing_held(endpoint):
    slow = code_of("import time\ntime.sleep(2)\ndef slug(text): return text")
    replies(endpoint, left=slow, right=slow)
    router = make_router(endpoint)
    task = asyncio.create_task(
        model_for("langchain", router).ainvoke(TASK, routoo_probes=list(PROBES))
    )
    while not endpoint.bills:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until, lambda: state_of(router).held == 0)
    await asyncio.to_thread(wait_until, lambda: len(endpoint.bills) == 2)
    assert state_of(router).spent >= billed(endpoint, router)


class Unreadable(Consensus):
    """Cannot read answers."""

    def appraiser(self, request):
        def appraise(step, reply):
            raise RuntimeError("the sandbox is gone")

        return appraise


class Unprepared(Consensus):
    """Cannot even prepare to read them."""

    def appraiser(self, request):
        raise RuntimeError("the sandbox is gone")


@pytest.mark.parametrize("kind", [Unreadable, Unprepared])
@pytest.mark.parametrize("way", WAYS)
async def test_where_answers_cannot_be_read_the_call_fails_and_everything_is_booked(
    endpoint, way, kind
):
    replies(endpoint, left=JOINED, right=REPLACED)
    plan = kind(name="pair", experts=("left", "right"), then="dear", compare="label")
    router = make_router(endpoint, plan)
    with pytest.raises(RuntimeError, match="the sandbox is gone"):
        await answer(way, model_for(way, router), TASK)
    await asyncio.to_thread(wait_until, lambda: state_of(router).held == 0)
    await asyncio.to_thread(wait_until, lambda: len(endpoint.bills) == len(endpoint.requests))
    assert state_of(router).spent >= billed(endpoint, router)
    assert "dear" not in {request["model"] for request in endpoint.requests}


@in_sandbox
def test_an_answer_from_the_cache_is_given_for_the_same_probes_alone(endpoint):
    replies(endpoint, left=JOINED, right=REPLACED)
    model = model_for("langchain", make_router(endpoint, cache=CacheRule()))

    def is_cached(probes):
        record = model.invoke(TASK, routoo_probes=probes).response_metadata["routoo"]
        return record["cached"]

    assert [is_cached(PROBES), is_cached(PROBES), is_cached(PROBES[:1])] == [False, True, False]


# What a call may say


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        ("slug('A')", "a str is no list of probes"),
        (7, "a int is no list of probes"),
        (["x = 1"], "'x = 1' is no Python expression"),
        ([""], "'' is no Python expression"),
        ([None], "None is no Python expression"),
        (["f(1)"] * 65, "65 are too many; give 64 at most"),
        (["1" * 1001], "'1{79} is too long; give 1,000 characters at most"),
        (["=" * 500], "'={79} is no Python expression"),
    ],
)
def test_what_are_no_probes_is_refused_before_anything_is_charged(endpoint, probes, message):
    router = make_router(endpoint, Consensus(name="pair", experts=("left", "right")))
    with pytest.raises(InvalidRequest, match=message):
        model_for("langchain", router).invoke(TASK, routoo_probes=probes)
    assert endpoint.requests == []


def test_a_router_may_allow_calls_no_probes(endpoint):
    plan = Consensus(name="pair", experts=("left", "right"))
    router = make_router(endpoint, plan, overrides=["policy"])
    with pytest.raises(InvalidRequest, match="routoo_probes: this router lets a call set policy"):
        model_for("langchain", router).invoke(TASK, routoo_probes=PROBES)


@in_sandbox
def test_a_caller_of_the_gateway_states_them_in_a_header(endpoint):
    replies(endpoint, left=WRONG, right=REPLACED, dear=JOINED)
    router = make_router(endpoint)
    body = {"model": "pair", "messages": [{"role": "user", "content": TASK}], "max_tokens": 100}
    with GatewayServer(Gateway(router), port=0) as server:
        response = post(server, body, headers={"Routoo-Probes": json.dumps(PROBES)})
        assert response.status_code == 200, response.text
        assert response.json()["choices"][0]["message"]["content"] == JOINED
        assert response.headers["routoo-plan"] == "pair"
        assert post(server, body).status_code == 400
        for wrong in ("slug()", '"slug()"', '["x = 1"]'):
            refused = post(server, body, headers={"Routoo-Probes": wrong})
            assert refused.status_code == 400
            assert "robes" in refused.text
    assert len(endpoint.requests) == 3


@in_sandbox
def test_the_header_is_read_as_utf_8(endpoint):
    replies(endpoint, left=JOINED, right=REPLACED)
    body = {"model": "pair", "messages": [{"role": "user", "content": TASK}], "max_tokens": 100}
    probes = json.dumps(['slug("Ä ö")'], ensure_ascii=False)
    with GatewayServer(Gateway(make_router(endpoint)), port=0) as server:
        response = post(server, body, headers={"Routoo-Probes": probes.encode()})
        assert response.status_code == 200, response.text
        refused = post(server, body, headers={"Routoo-Probes": probes.encode("latin-1")})
        assert refused.status_code == 400
        assert "no JSON list in UTF-8" in refused.text
    assert len(endpoint.requests) == 2


@in_sandbox
@pytest.mark.parametrize("way", WAYS)
async def test_a_machine_that_starts_no_process_leaves_replies_without_a_vote(
    endpoint, monkeypatch, caplog, way
):
    replies(endpoint, left=JOINED, right=REPLACED, dear=JOINED)
    router = make_router(endpoint)
    model = model_for(way, router)
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    monkeypatch.setattr(probes_module, "_last_warning", float("-inf"))
    text, record = await answer(way, model, TASK, routoo_probes=PROBES)
    assert (text, len(record["attempts"])) == (JOINED, 3)
    assert caplog.text.count("code of a reply could not be run") == 1
    assert state_of(router).held == 0


async def test_calls_go_on_while_checks_take_their_time(endpoint):
    go = threading.Event()

    def waits(reply):
        go.wait(60)

    plan = Consensus(name="pair", experts=("left", "right"), compare="label")
    model = model_for("langchain", make_router(endpoint, plan))
    tasks = [
        asyncio.create_task(model.ainvoke(TASK, routoo_expert="left", routoo_check=waits))
        for _ in range(40)
    ]
    await asyncio.to_thread(wait_until, lambda: len(endpoint.bills) == len(tasks))
    assert await model.ainvoke(TASK, routoo_expert="right")
    assert not any(task.done() for task in tasks)
    go.set()
    await asyncio.gather(*tasks)


def test_where_no_sandbox_can_be_made_the_plan_is_refused_when_the_router_is_built(
    endpoint, monkeypatch
):
    monkeypatch.setattr("routoo_core.plans.consensus.sandbox_problem", lambda: "it is forbidden")
    table = {"kind": "consensus", "experts": ["left", "right"], "compare": "code"}
    with pytest.raises(ConfigurationError, match=r"plans.pair.compare: .* it is forbidden"):
        read_plans("routoo.toml", {"pair": table}, ["left", "right"])
    with pytest.raises(ConfigurationError, match=r"plans.pair.compare: .* it is forbidden"):
        make_router(endpoint)
    table["compare"] = "number"
    assert read_plans("routoo.toml", {"pair": table}, ["left", "right"])


# Learnt from stored answers

EXPERTS = ("gpt-4o-mini", "gemini-1.5-flash", "gpt-4o")
STORED_PAIR = Consensus(name="pair", experts=EXPERTS[:2], then=EXPERTS[2], compare="code")


def doubling(is_right, number):
    expression = "n * 2" if is_right else "n"
    return code_of(f"def double{number}(n): return {expression}")


@in_sandbox
def test_a_replay_runs_the_stored_code_on_the_stored_probes():
    rights = [(True, True, True), (True, False, True), (False, False, True), (True, True, True)]
    ids = tuple(f"q{number}" for number in range(len(rights)))
    texts = tuple(f"Write double{number}(n)." for number in range(len(rights)))
    prompts = Prompts(ids, texts, ("",) * len(ids), ("train",) * len(ids))
    answers = {}
    for number, row in enumerate(rights):
        for expert, is_right in zip(EXPERTS, row, strict=True):
            answers[ids[number], expert] = doubling(is_right, number)
    probes = {name: (f"double{number}(3)",) for number, name in enumerate(ids[:3])}
    outcomes = Outcomes(prompts, ExpertTable(ids, EXPERTS, np.array(rights, dtype=np.float32)))
    table = AnswerTable(answers, probes=probes)
    replayed = replay_plan(STORED_PAIR, outcomes, table, np.tile([0.6, 0.6, 0.8], (4, 1)))
    assert replayed.scores[:3].tolist() == [1.0, 1.0, 0.0]
    assert np.isnan(replayed.scores[3])  # it has no probes
    assert replayed.calls[:3, 2].tolist() == [False, True, False]


@in_sandbox
def test_the_command_learns_a_plan_that_compares_code_from_the_tests_of_prompts(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    prompts, scores, answers = [], [], []
    for number in range(24):
        text = f"Write a Python function double{number}(n) that doubles a number."
        tests = f"assert double{number}(4) == 8"
        split = "dev" if number % 3 == 0 else "train"
        prompts.append({"prompt_id": f"q{number}", "prompt": text, "split": split, "tests": tests})
        for column, expert in enumerate(EXPERTS):
            is_right = column == 2 or (number + column) % 4 > 0
            row = {"prompt_id": f"q{number}", "model": expert}
            scores.append({**row, "score": float(is_right)})
            answers.append({**row, "answer": doubling(is_right, number)})
    write_rows(tmp_path / "p.csv", prompts)
    write_rows(tmp_path / "o.csv", scores)
    write_rows(tmp_path / "a.csv", answers)
    experts = ""
    for name in EXPERTS:
        experts += f'[experts."{name}"]\nmodel = "{name}"\nbase_url = "http://127.0.0.1:9/v1"\n'
        experts += "input_usd_per_1m = 1\noutput_usd_per_1m = 2\nmax_output_tokens = 500\n"
    (tmp_path / "experts.toml").write_text(experts)
    (tmp_path / "routoo.toml").write_text(
        'router = "general-fast"\n[plans.pair]\nkind = "consensus"\ncompare = "code"\n'
        f'experts = ["{EXPERTS[0]}", "{EXPERTS[1]}"]\nthen = "{EXPERTS[2]}"\n'
    )
    command = (
        "plans fit --router general-fast --prompts p.csv --outcomes o.csv --answers a.csv "
        "--out grown --json"
    )
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 0, done.output
    (fitted,) = json.loads(done.stdout)["plans"]
    assert fitted["compare"] == "code"
    assert fitted["quality"] == 1.0  # never are both wrong
    assert fitted["shares"] == [1.0, 1.0, 0.5]

"""``routoo score``: under a budget, nothing asked twice, and whole again after a kill."""

import json
import re
import shlex
import sqlite3
import time
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
import kill_scoring
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from typer.main import get_command
from typer.testing import CliRunner

from routoo_core import Budget, Expert
from routoo_core.asking.answers import AnswerStore
from routoo_core.asking.asker import Asker
from routoo_core.asking.calls import Chat, ClientReply, Likelihood
from routoo_core.asking.clients import CLIENTS, make_clients
from routoo_core.asking.direct import direct_router
from routoo_core.asking.likelihoods import LIKELIHOODS
from routoo_core.asking.local_model import LocalModel
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.outcomes import read_outcomes
from routoo_core.scoring.grader import Grader
from routoo_core.scoring.graders import GRADERS, Exact, LikeliestChoice
from routoo_core.scoring.run import score_experts
from routoo_core.scoring.task import ScoringTask
from routoo_core.testing import Reply
from routoo_core.usage import Usage
from routoo_integrations.cli import app

EXPERT = """
[experts.{name}]
base_url = "{url}"
input_usd_per_1m = {price}
output_usd_per_1m = {price}
max_output_tokens = 64
"""


def doubled(body):
    """Answers "what is twice n?" rightly, save for multiples of five."""
    n = int(body["messages"][0]["content"].split()[-1].rstrip("?"))
    return Reply("ten" if n % 5 == 0 else str(2 * n), prompt_tokens=10)


@pytest.fixture
def folder(tmp_path, monkeypatch, endpoint):
    """Forty prompts, an expert who mostly can and one who never does."""
    monkeypatch.chdir(tmp_path)
    endpoint.replies = {"good": doubled, "bad": Reply("no idea", prompt_tokens=10)}
    experts = "".join(
        EXPERT.format(name=n, url=endpoint.base_url, price=p) for n, p in (("good", 10), ("bad", 1))
    )
    (tmp_path / "experts.toml").write_text(experts)
    write(tmp_path / "p.csv", answer=[str(2 * i) for i in range(40)])
    return tmp_path


def write(path, n=40, **columns):
    table = {
        "prompt_id": [f"p{i}" for i in range(n)],
        "prompt": [f"What is twice {i}?" for i in range(n)],
        **columns,
    }
    (csv.write_csv if path.suffix == ".csv" else parquet.write_table)(pa.table(table), path)


def run(*options, grader="exact", budget="1.00", out="o.parquet"):
    command = [
        "score",
        "--prompts",
        "p.csv",
        "--out",
        out,
        "--grader",
        grader,
        "--max-tokens",
        "16",
        *options,
    ]
    return CliRunner().invoke(app, [*command, *(["--budget", budget] if budget else [])])


def rows(path="o.parquet"):
    return [
        {k: v for k, v in row.items() if k != "latency_s"}
        for row in parquet.read_table(path).to_pylist()
    ]


def unlimited_asker(pool, store):
    router = direct_router(pool, Budget(limit=None), SqliteLedger())
    return Asker(router, make_clients(pool.experts), store)


def spent():
    return SqliteLedger("answers.ledger.db").accounts()[0]


def test_experts_are_run_graded_and_booked(folder, endpoint):
    done = run("--json")
    assert done.exit_code == 0, done.output
    outcomes = read_outcomes("p.csv", "o.parquet")
    assert outcomes.experts == ("good", "bad")
    assert outcomes.scores.mean(0).tolist() == pytest.approx([0.8, 0.0])
    assert rows()[3] == {
        "prompt_id": "p1",
        "model": "bad",
        "score": 0.0,
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "cost_usd": 12e-6,
    }
    assert len(endpoint.requests) == 80
    assert {body["max_tokens"] for body in endpoint.requests} == {16}
    total = round(sum(row["cost_usd"] for row in rows()) * 1e9)
    assert (spent().spent, spent().held, spent().calls) == (total, 0, 80)
    assert json.loads(done.stdout)["mean_score"] == {"good": 0.8, "bad": 0.0}


def test_a_dry_run_says_the_cost_and_asks_nobody(folder, endpoint):
    done = run("--dry-run", "--json")
    told = json.loads(done.stdout)
    assert (told["good"]["calls"], told["all"]["calls"]) == (40, 80)
    assert 0 < float(told["good"]["expected_usd"]) <= float(told["good"]["maximum_usd"]) < 1
    assert not endpoint.requests
    assert not (folder / "o.parquet").exists()
    run()
    assert json.loads(run("--dry-run", "--json").stdout)["all"] == {
        "calls": 0,
        "kept": 80,
        "expected_usd": "0.000000000",
        "maximum_usd": "0.000000000",
    }


def test_grading_again_otherwise_asks_nobody(folder, endpoint):
    run()
    write(folder / "p.csv", pattern=["no"] * 40)
    before = rows()
    refused = run(grader="regex", budget="0.00")
    assert "a different score of bad on p0, from another grader" in str(refused.exception)
    assert rows() == before
    done = run("--overwrite", grader="regex", budget="0.00")
    assert done.exit_code == 0, done.output
    assert {row["model"]: row["score"] for row in rows()} == {"good": 0.0, "bad": 1.0}
    assert len(endpoint.requests) == 80


def test_a_database_of_something_else_is_not_written_to(folder, endpoint):
    SqliteLedger("routoo.db").close()
    before = (folder / "routoo.db").read_bytes()
    done = run("--answers", "routoo.db")
    assert "answers: routoo.db: holds accounts" in str(done.exception)
    assert (folder / "routoo.db").read_bytes() == before
    assert endpoint.requests == []


def test_an_exhausted_budget_stops_cleanly_and_a_higher_one_goes_on(folder, endpoint):
    done = run("--expert", "good", budget="0.003", out="o.csv")
    assert done.exit_code == 3
    first = csv.read_csv(folder / "o.csv").num_rows
    assert 0 < first < 40
    assert f"{40 - first} missing for good: the budget is exhausted" in done.output
    assert spent().spent <= 0.003 * 1e9
    assert spent().held == 0
    assert run("--expert", "good").exit_code == 0
    assert len(rows()) == 40
    assert len(endpoint.requests) == 40  # none twice


def test_calls_that_hold_money_are_waited_for_before_the_budget_counts_as_exhausted(
    folder, endpoint
):
    endpoint.replies["good"] = Reply("1", delay_s=0.02, prompt_tokens=10)
    done = run(
        "--expert", "good", "--concurrency", "8", budget="0.006"
    )  # pays for all, but holds for five at most
    assert done.exit_code == 0, done.output
    assert len(rows()) == 40


def test_the_account_of_a_routoo_toml_can_pay(folder, endpoint):
    (folder / "routoo.toml").write_text(
        'router = "general-fast"\n[budget]\naccount = "lab"\nlimit = "1.00"\n'
    )
    assert run("--config", "routoo.toml", budget=None).exit_code == 0
    (account,) = SqliteLedger("routoo.db").accounts()
    assert (account.account, account.calls) == ("lab", 80)


def test_a_busy_expert_is_asked_again_when_it_says_and_an_error_costs_nothing(folder, endpoint):
    seen = Counter()

    def busy(body):
        n = body["messages"][0]["content"]
        seen[n] += 1
        wait = {"Retry-After": "0.01"}
        return Reply(status=(429, 503)[seen[n] - 1], headers=wait) if seen[n] < 3 else doubled(body)

    endpoint.replies["good"] = busy
    done = run("--expert", "good")
    assert done.exit_code == 0, done.output
    assert (len(endpoint.requests), spent().calls) == (120, 40)
    assert spent().spent == round(sum(row["cost_usd"] for row in rows()) * 1e9)


def test_an_expert_that_refuses_calls_is_left_alone_and_the_others_go_on(folder, endpoint):
    endpoint.replies["good"] = Reply(status=401)
    done = run("--concurrency", "2")
    assert done.exit_code == 3
    assert {row["model"] for row in rows()} == {"bad"}
    assert len(rows()) == 40
    assert len([body for body in endpoint.requests if body["model"] == "good"]) <= 2
    assert "AuthenticationError (401); check base_url, model and key" in done.output


def test_an_expert_that_keeps_failing_is_given_up(folder, endpoint):
    endpoint.replies["good"] = Reply(status=500)
    done = run("--concurrency", "1", "--retries", "0")
    assert done.exit_code == 3
    assert len([body for body in endpoint.requests if body["model"] == "good"]) == 5


def test_a_prompt_an_expert_refuses_is_missing_and_the_next_is_asked(folder, endpoint):
    endpoint.replies["good"] = lambda body: (
        Reply(status=400) if "7?" in str(body) else doubled(body)
    )
    done = run("--expert", "good")
    assert done.exit_code == 3
    assert len(rows()) == 36
    refusal = "the expert refused the prompt: BadRequestError (400), 'told to answer 400'"
    assert f"4 missing for good: {refusal}" in one_line(done.output)


def test_an_expert_that_refuses_every_prompt_in_the_same_words_is_asked_no_more(folder, endpoint):
    words = "This deployment takes no conversations in this form."
    endpoint.replies["good"] = Reply(status=400, body={"error": {"message": words}})
    done = run("--expert", "good", "--concurrency", "1")
    assert done.exit_code == 3
    assert len(endpoint.requests) == 5
    assert words in one_line(done.output)
    assert "change its settings or the task's" in one_line(done.output)
    assert spent().spent == 0


def one_line(text):
    return " ".join(text.split())


def test_an_experts_own_limit_is_kept(folder, endpoint):
    text = (
        (folder / "experts.toml")
        .read_text()
        .replace("max_output", "requests_per_minute = 6000\nmax_output")
    )
    (folder / "experts.toml").write_text(text)
    started = time.monotonic()
    assert run("--expert", "good").exit_code == 0
    assert time.monotonic() - started >= 0.39  # forty calls, ten milliseconds apart


def test_a_judge_is_paid_from_the_same_budget_but_not_counted_as_the_experts_cost(folder, endpoint):
    (folder / "experts.toml").write_text(
        (folder / "experts.toml").read_text()
        + EXPERT.format(name="judge", url=endpoint.base_url, price=100)
    )
    endpoint.replies["judge"] = lambda body: Reply(
        "Level: 1" if "no idea" in str(body) else "Level: 4"
    )
    done = run("--judge", "judge", "--json", grader="judge")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["mean_score"] == {"good": 0.75, "bad": 0.0}
    assert len(endpoint.requests) == 160
    assert spent().spent == pytest.approx(
        round(sum(row["cost_usd"] for row in rows()) * 1e9) + 80 * 12 * 100_000
    )


def test_a_verdict_that_cannot_be_read_is_a_missing_score(folder, endpoint):
    endpoint.replies["bad"] = Reply("Fine.")
    done = run("--judge", "bad", "--expert", "good", grader="judge")
    assert done.exit_code == 3
    assert "40 missing for good: the judge's verdict cannot be read" in done.output
    assert rows() == []


def test_likelihoods_come_from_an_endpoint_that_echoes_them(folder, endpoint):
    def told(body):
        right = body["prompt"].split("Answer:")[1].strip() == "right answer"
        return Reply("x", logprob=-1.0 if right else -1.5)

    endpoint.replies = {"good": told, "bad": Reply("x")}
    write(
        folder / "p.csv",
        choices=['["wrong", "right answer", "a very wrong answer"]'] * 40,
        answer=[1] * 40,
    )
    done = run("--expert", "good", grader="likelihood")
    assert done.exit_code == 0, done.output
    assert {row["score"] for row in rows()} == {
        0.0
    }  # two words at -1 are less likely than one at -1.5
    assert {row["completion_tokens"] for row in rows()} == {None}
    assert (
        run("--expert", "good", "--normalised", "--overwrite", grader="likelihood").exit_code == 0
    )
    assert {row["score"] for row in rows()} == {1.0}
    assert len(endpoint.requests) == 120
    done = run("--expert", "bad", "--overwrite", grader="likelihood")
    assert "tells no log-probabilities of a prompt" in done.output
    assert done.exit_code == 3


def test_likelihoods_come_from_llama_cpp_which_is_made_to_write_each_choice(folder, endpoint):
    endpoint.llama = True
    endpoint.replies["good"] = lambda body: Reply(
        logprob=-1.0 if "<[108]>" in body["grammar"] else -0.4
    )
    write(folder / "p.csv", choices=['["no", "a long one"]'] * 40, answer=["B"] * 40)
    done = run("--expert", "good", grader="likelihood")
    assert done.exit_code == 0, done.output
    assert {row["score"] for row in rows()} == {0.0}  # eleven characters at -1, three at -0.4
    contexts = {"".join(map(chr, body["prompt"])) for body in endpoint.requests}
    assert contexts == {f"Question: What is twice {i}?\nAnswer:" for i in range(40)}
    written = {
        "".join(chr(int(n)) for n in re.findall(r"\d+", body["grammar"]))
        for body in endpoint.requests
    }
    assert written == {" no", " a long one"}
    assert {body["max_tokens"] for body in endpoint.requests} == {3, 11}
    endpoint.replies["bad"] = Reply()
    assert (
        "tells no log-probabilities"
        in run("--expert", "bad", grader="likelihood", out="bad.csv").output
    )


def test_a_local_model_writes_and_tells_likelihoods(tiny_model, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    free = {
        "input_usd_per_1m": 0,
        "output_usd_per_1m": 0,
        "context_window": 2048,
        "max_output_tokens": 8,
    }
    expert = Expert(name="tiny", model=str(tiny_model), provider="huggingface", **free)
    choices = ["so it is", "no", "maybe"]
    row = {"prompt_id": "1", "prompt": "is it so?", "choices": choices, "answer": 0}
    scoring = ScoringTask([row], [expert], LikeliestChoice(template="{prompt}"))
    store = AnswerStore(tmp_path / "a.db")
    found = score_experts(scoring, unlimited_asker(scoring.pool, store))
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_model),
        AutoModelForCausalLM.from_pretrained(tiny_model),
    )
    for choice, answer in zip(choices, found.pairs[0].answers, strict=True):
        ids = tokenizer(f"is it so? {choice}", return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            each = model(ids).logits[0].log_softmax(-1)[range(ids.shape[1] - 1), ids[0, 1:]]
        assert answer.logprob == pytest.approx(float(each[len("is it so?") - 1 :].sum()), abs=1e-4)
    scoring = ScoringTask([{**row, "answer": "yes"}], [expert], Exact(max_tokens=5))
    (pair,) = score_experts(scoring, unlimited_asker(scoring.pool, store)).pairs
    assert 1 <= pair.answers[0].completion_tokens <= 5
    assert pair.score == 0.0


@dataclass(frozen=True)
class Contains(Grader):
    """A grader from outside the package: the share of the row's ``words`` that the answer contains."""

    columns = ("words",)
    max_tokens: int = 7

    def score_text(self, row, text):
        words = row["words"].split()
        return sum(word in text for word in words) / len(words)


def test_a_grader_from_outside_is_added_to_the_dict_and_named_like_the_others(
    folder, endpoint, monkeypatch
):
    monkeypatch.setitem(GRADERS, "contains", Contains)
    write(folder / "p.csv", words=["no yes"] * 40)
    done = run("--expert", "bad", "--json", grader="contains")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["mean_score"] == {"bad": 0.5}
    write(folder / "p.csv")
    refused = run("--expert", "bad", grader="contains")
    assert "column 'words' is missing" in str(refused.exception)


@dataclass(frozen=True)
class Moody(Contains):
    """A grader that fails on some answers."""

    def score_text(self, row, text):
        if row["prompt_id"] == "p3":
            raise KeyError("no such word")
        return super().score_text(row, text)


def test_a_grader_that_fails_on_an_answer_leaves_it_without_a_score(folder, monkeypatch):
    monkeypatch.setitem(GRADERS, "moody", Moody)
    write(folder / "p.csv", words=["no yes"] * 40)
    done = run("--expert", "bad", "--json", grader="moody")
    report = json.loads(done.stdout)
    assert report["mean_score"] == {"bad": 0.5}
    [missing] = report["missing"]
    assert (missing["pairs"], missing["reason"]) == (1, "the grader failed (KeyError)")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("runs_code", "pass --allow-code"),
        ("needs_judge", "--judge: works only with --grader judge"),
    ],
)
def test_a_grader_from_outside_says_what_the_command_must_be_given(
    folder, endpoint, monkeypatch, flag, message
):
    monkeypatch.setitem(GRADERS, "contains", type("Demanding", (Contains,), {flag: True}))
    write(folder / "p.csv", words=["no"] * 40)
    refused = run(grader="contains")
    assert message in str(refused.exception)
    assert not endpoint.requests


class PlainCompletions:
    """An expert protocol from outside the package: completions over httpx, without OpenAI's client."""

    def __init__(self, expert):
        self.expert = expert
        self.http = httpx.AsyncClient()

    async def answer(self, call, max_tokens):
        body = {
            "model": self.expert.model,
            "prompt": call.messages[-1][1],
            "max_tokens": max_tokens,
        }
        response = await self.http.post(f"{self.expert.base_url}/completions", json=body)
        response.raise_for_status()
        completion = response.json()
        usage = completion["usage"]
        return ClientReply(
            Usage(usage["prompt_tokens"], usage["completion_tokens"]),
            completion["choices"][0]["text"],
        )


def test_an_expert_protocol_from_outside_is_added_to_the_dict_and_paid_and_retried_like_the_others(
    folder, endpoint, monkeypatch
):
    monkeypatch.setitem(CLIENTS, "plain", PlainCompletions)
    experts = (folder / "experts.toml").read_text()
    (folder / "experts.toml").write_text(
        experts.replace("base_url", 'provider = "plain"\nbase_url')
    )
    seen = Counter()

    def doubled_once_busy(body):
        seen[body["prompt"]] += 1
        if seen[body["prompt"]] == 1:
            return Reply(status=429, headers={"Retry-After": "0.01"})
        if "7?" in body["prompt"]:
            return Reply(status=400)
        return doubled({"messages": [{"content": body["prompt"]}]})

    endpoint.replies["good"] = doubled_once_busy
    done = run("--expert", "good", "--json")
    assert done.exit_code == 3
    told = json.loads(done.stdout)
    assert told["missing"] == [
        {
            "expert": "good",
            "reason": "the expert refused the prompt: HTTPStatusError (400), 'told to answer 400'",
            "pairs": 4,
        }
    ]
    assert len(rows()) == 36
    assert rows()[3]["prompt_tokens"] == len("What is twice 3?")
    assert {body["max_tokens"] for body in endpoint.requests} == {16}
    assert (spent().spent, spent().held) == (round(sum(r["cost_usd"] for r in rows()) * 1e9), 0)


class LengthLikelihood:
    """A way of reporting likelihoods from outside the package: the longer a continuation, the likelier."""

    def __init__(self, expert, api):
        pass

    async def is_supported(self):
        return True

    async def answer(self, call):
        return ClientReply(Usage(1, 0), logprob=-1 / len(call.continuation))


def test_a_way_of_reporting_likelihoods_from_outside_is_added_to_the_dict(
    folder, endpoint, monkeypatch
):
    monkeypatch.setitem(LIKELIHOODS, "length", LengthLikelihood)
    write(folder / "p.csv", choices=['["no", "a long one"]'] * 40, answer=["B"] * 40)
    done = run("--expert", "good", "--json", grader="likelihood")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["mean_score"] == {"good": 1.0}
    assert not endpoint.requests


@pytest.mark.parametrize(
    ("options", "columns", "message"),
    [
        ({"grader": "exact"}, {}, "p.csv: column 'answer' is missing"),
        (
            {"grader": "letter"},
            {"answer": [9] * 40, "choices": ['["a", "b"]'] * 40},
            "p.csv: row 1: answer: 9 is none",
        ),
        (
            {"grader": "numeric"},
            {"answer": ["1"] * 39 + ["one"]},
            "p.csv: row 40: answer: 'one' is not a number",
        ),
        ({"grader": "sense"}, {}, "--grader: 'sense' is unknown; choose one of letter"),
        ({"grader": "code"}, {"tests": ["pass"] * 40}, "pass --allow-code"),
        ({"grader": "judge"}, {}, "--judge: works only with --grader judge"),
        ({"budget": None}, {"answer": ["1"] * 40}, "--budget: pass how many USD"),
        ({"budget": "much"}, {"answer": ["1"] * 40}, "--budget: limit"),
        ({"out": "o.json"}, {"answer": ["1"] * 40}, "o.json ends in '.json'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_spent(folder, endpoint, options, columns, message):
    write(folder / "p.csv", **columns)
    refused = run(**options)
    assert isinstance(refused.exception, OutcomesError | ConfigurationError)
    assert message in str(refused.exception)
    assert not endpoint.requests


def test_a_provider_that_cannot_be_asked_is_refused():
    expert = Expert(
        name="c", model="claude", provider="anthropic", input_usd_per_1m=1, output_usd_per_1m=1
    )
    with pytest.raises(ConfigurationError, match="provider: 'anthropic' cannot be scored"):
        make_clients([expert])
    assert isinstance(
        make_clients([expert.model_copy(update={"provider": "huggingface"})])["c"], LocalModel
    )


def test_every_command_of_the_page_can_be_given():
    page = (Path(__file__).parent.parent / "docs" / "scoring.md").read_text(encoding="utf-8")
    shown = re.findall(
        r"^routoo (.*)$", "\n".join(re.findall(r"```console\n(.*?)```", page, re.S)), re.M
    )
    assert len(shown) == 6
    for line in shown:
        command, words = get_command(app), shlex.split(line)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context("routoo", words)
    experts = tomllib.loads(re.findall(r"```toml\n(.*?)```", page, re.S)[0])["experts"]
    assert isinstance(
        make_clients([Expert(name="smollm", **experts["smollm"])])["smollm"], LocalModel
    )


def test_answers_are_kept_by_expert_settings_and_prompt(tmp_path):
    from routoo_core.asking.calls import Answer

    expert = Expert(name="a", model="m", input_usd_per_1m=1, output_usd_per_1m=1)
    store, call, answer = (
        AnswerStore(tmp_path / "a.db"),
        Chat((("user", "hi"),)),
        Answer("yo", None, 1, None, 3, 0.5),
    )
    store.put(expert, call, answer)
    assert AnswerStore(tmp_path / "a.db").get(expert, call) == answer
    moved = expert.model_copy(update={"base_url": "http://elsewhere/v1"})
    assert store.get(moved, call) == answer
    for other in (
        Chat((("user", "hi"),), temperature=0.7),
        Chat((("user", "ho"),)),
        Likelihood("hi", ""),
    ):
        assert store.get(expert, other) is None
    assert store.get(expert.model_copy(update={"model": "n"}), call) is None
    assert b"hi" not in (tmp_path / "a.db").read_bytes()
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE answers (key TEXT)")
    with pytest.raises(ConfigurationError, match="answers: .*other.db: no such column"):
        AnswerStore(tmp_path / "other.db")


@pytest.mark.slow
def test_a_run_killed_again_and_again_pays_for_nothing_twice():
    """``python tests/kill_scoring.py 20`` kills more."""
    done = kill_scoring.main(times=2)
    assert (done["kills"], done["pairs"]) == (2, 80)

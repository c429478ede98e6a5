"""A question that was answered in other words: a cheap expert rewrites the answer, where that is worth it."""

from pathlib import Path

import pytest
from eight_ways import WAYS, answer, model_for
from gateway_parts import make_router as make_gateway_router
from gateway_parts import post
from langchain_core.messages import HumanMessage, SystemMessage
from typer.testing import CliRunner

from routoo_core import Budget
from routoo_core.answer_cache.answers import StoredAnswer, StoredQuestion
from routoo_core.answer_cache.calibration import calibrate, read_pairs, score_pairs
from routoo_core.answer_cache.redis_store import RedisAnswers
from routoo_core.answer_cache.rule import CacheRule
from routoo_core.answer_cache.similarity import (
    EncoderVectors,
    NGramVectors,
    find_encoder,
    pack,
    unpack,
)
from routoo_core.answer_cache.store import SqliteAnswers
from routoo_core.answer_cache.wording import find_difference, stem_of
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.testing import FakePredictor, ManualClock, Reply
from routoo_integrations.cli import app
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.langchain import RoutooChatModel

PAIRS = Path(__file__).parent.parent / "benchmarks" / "data" / "question_pairs.csv"
RULE = CacheRule(rewrite_with="cheap")
FIRST = "How do I reverse a list in Python?"
SAME = "In Python, how can I reverse a list?"
OTHER = "How do I reverse a list in JavaScript?"


@pytest.fixture
def router(make_router):
    return make_router(cache=RULE)


def record_of(reply):
    return reply.response_metadata["routoo"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_question_in_other_words_is_rewritten_and_paid_for(router, endpoint, way):
    endpoint.replies["dear"] = Reply("Call reverse().")
    endpoint.replies["cheap"] = Reply("You can call reverse().")
    model = model_for(way, router)
    await answer(way, model, FIRST)
    before = router.ledger.state(router.budget).spent
    text, record = await answer(way, model, SAME)
    assert text == "You can call reverse()."
    assert (record["cached"], record["expert"]) == (False, "cheap")
    [attempt] = record["attempts"]
    assert (attempt["rewrites"], attempt["outcome"]) == (True, "answered")
    assert router.ledger.state(router.budget).spent > before
    messages = endpoint.requests[-1]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == "Call reverse()."
    assert FIRST in messages[2]["content"]


def test_the_rewritten_answer_is_stored_for_its_own_question_alone(router, endpoint):
    model = RoutooChatModel(router, max_tokens=100)
    model.invoke(FIRST)
    model.invoke(SAME)
    assert record_of(model.invoke(SAME))["cached"]
    third = model.invoke("Show me how to reverse a list in Python.")
    assert FIRST in endpoint.requests[-1]["messages"][2]["content"]
    assert record_of(third)["attempts"][0]["rewrites"]


def test_a_question_that_only_looks_alike_goes_to_the_experts(router, endpoint):
    model = RoutooChatModel(router, max_tokens=100)
    model.invoke(FIRST)
    record = record_of(model.invoke(OTHER))
    assert (record["expert"], record["attempts"][0]["rewrites"]) == ("dear", False)
    assert len(endpoint.requests[-1]["messages"]) == 1


def test_without_an_expert_that_rewrites_no_question_is_stored(make_router, endpoint):
    router = make_router(cache=CacheRule())
    model = RoutooChatModel(router, max_tokens=100)
    model.invoke(FIRST)
    assert record_of(model.invoke(SAME))["expert"] == "dear"
    with router.cache.store._using() as db:
        assert db.execute("SELECT COUNT(*) FROM questions").fetchone() == (0,)


OTHER_SCOPES = {
    "another system prompt": ([SystemMessage("Be brief."), HumanMessage(SAME)], {}),
    "another limit": ([HumanMessage(SAME)], {"max_tokens": 50}),
    "another argument": ([HumanMessage(SAME)], {"seed": 3}),
    "a temperature": ([HumanMessage(SAME)], {"temperature": 0.5}),
    "no cache": ([HumanMessage(SAME)], {"routoo_no_cache": True}),
    "another expert": ([HumanMessage(SAME)], {"routoo_expert": "dear"}),
    "another account": ([HumanMessage(SAME)], {"routoo_account": "bob"}),
}


@pytest.mark.parametrize("name", OTHER_SCOPES)
def test_only_the_question_may_differ(router, endpoint, name):
    messages, keywords = OTHER_SCOPES[name]
    model = RoutooChatModel(router, max_tokens=100)
    model.invoke(FIRST)
    record = record_of(model.invoke(messages, **keywords))
    assert not any(attempt["rewrites"] for attempt in record["attempts"])
    assert record["expert"] == "dear"


def test_a_rewriting_that_costs_as_much_is_not_made(make_router, endpoint):
    router = make_router(cache=CacheRule(rewrite_with="dear"))
    model = RoutooChatModel(router, max_tokens=100)
    model.invoke(FIRST)
    assert not record_of(model.invoke(SAME))["attempts"][0]["rewrites"]


def test_an_answer_of_an_expert_that_is_predicted_to_be_worse_is_not_rewritten(
    make_router, endpoint
):
    router = make_router(cache=RULE)
    model = RoutooChatModel(router, max_tokens=100)
    endpoint.replies["dear"] = Reply(status=500)
    assert record_of(model.invoke(FIRST))["expert"] == "cheap"
    endpoint.replies["dear"] = Reply()
    router.cooldowns.note_answer("dear")
    assert record_of(model.invoke(SAME))["expert"] == "dear"


def test_under_lambda_the_money_saved_may_outweigh_the_quality_lost(make_router, endpoint):
    router = make_router(cache=RULE)
    endpoint.replies["dear"] = Reply(status=500)
    model = RoutooChatModel(router, max_tokens=100)
    keywords = {"routoo_policy": {"name": "lagrangian", "lambda": 150}}
    assert record_of(model.invoke(FIRST, **keywords))["expert"] == "cheap"
    endpoint.replies["dear"] = Reply()
    router.cooldowns.note_answer("dear")
    record = record_of(model.invoke(SAME, **keywords))
    assert record["attempts"][0]["expert"] in {"cheap", "dear"}
    assert record["attempts"][0]["rewrites"] is (record["expert"] == "cheap")


def test_a_rewriting_that_fails_leaves_the_question_to_the_experts(router, endpoint):
    model = RoutooChatModel(router, max_tokens=100)
    model.invoke(FIRST)
    endpoint.replies["cheap"] = Reply(status=500)
    record = record_of(model.invoke(SAME))
    tries = [(attempt["expert"], attempt["rewrites"]) for attempt in record["attempts"]]
    assert tries == [("cheap", True), ("dear", False)]


def test_a_rewriting_that_cannot_be_paid_is_not_made(make_router, endpoint):
    router = make_router(limit="0.05", cache=RULE)
    model = RoutooChatModel(router, max_tokens=100)
    model.invoke(FIRST)
    record = record_of(model.invoke(SAME, routoo_max_cost="0.00022"))
    assert (record["expert"], record["attempts"][0]["rewrites"]) == ("cheap", False)


def test_the_gateway_rewrites_too(endpoint):
    router = make_gateway_router(endpoint, cache=RULE)
    with GatewayServer(Gateway(router), port=0) as server:
        for path in ("/v1/chat/completions", "/v1/messages"):
            for question in (FIRST, SAME):
                body = {"max_tokens": 50, "messages": [{"role": "user", "content": question}]}
                reply = post(server, {**body, "model": "routoo"}, path)
                assert reply.status_code == 200
    assert [request["model"] for request in endpoint.requests] == ["dear", "cheap"]


def test_an_unknown_expert_cannot_rewrite(make_router):
    with pytest.raises(ConfigurationError, match="'nobody' is not in the pool"):
        make_router(cache=CacheRule(rewrite_with="nobody"))


def test_the_predictors_vectors_need_an_encoder(make_router):
    with pytest.raises(ConfigurationError, match=r"cache\.vectors: the router has no encoder"):
        make_router(cache=CacheRule(rewrite_with="cheap", vectors="predictor"))


def test_the_vectors_of_a_predictors_encoder(checkpoint):
    from routoo_core.loading import load_predictor
    from routoo_core.predictor.batching import BatchingPredictor

    predictor = BatchingPredictor(load_predictor(Path(checkpoint), ()))
    encoder = find_encoder(predictor)
    vectors = EncoderVectors(encoder)
    assert vectors.name == encoder.fingerprint
    assert float(vectors.of("2 + 2") @ vectors.of("2 + 2")) == pytest.approx(1, abs=1e-5)
    assert find_encoder(FakePredictor({"a": 1.0})) is None


# Stores


QUESTION = StoredQuestion("k", "s", FIRST, pack(NGramVectors().of(FIRST)))
ANSWER = StoredAnswer("Four.", "stop", "dear", "dear-1", None, None, 500, 100.0, {})


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request, tmp_path):
    clock = ManualClock(100.0)
    if request.param == "redis":
        store = RedisAnswers(request.getfixturevalue("redis_url"), 60, 2, clock)
    else:
        path = tmp_path / "answers.db" if request.param == "sqlite" else None
        store = SqliteAnswers(path, 60, 2, clock)
    store.clock = clock
    return store


def test_a_question_goes_with_its_answer(store):
    store.put("k", "alice", ANSWER, QUESTION)
    assert store.questions("s") == [QUESTION]
    assert store.questions("t") == []
    assert store.find("k", is_use=False) == ANSWER
    assert store.show()[0].hits == 0
    store.clear("alice")
    assert store.questions("s") == []


def test_a_question_is_forgotten_when_its_answer_is_pushed_out(store):
    store.put("k", "alice", ANSWER, QUESTION)
    for key in "ab":
        store.clock.advance(1)
        store.put(key, "alice", ANSWER)
    assert store.questions("s") == []


def test_a_vector_comes_back_from_its_text():
    vector = NGramVectors().of(FIRST)
    assert unpack(pack(vector)) == pytest.approx(vector, abs=1e-3)
    assert float(NGramVectors().of("") @ vector) == 0


# Wording


DIFFERENT = [
    ("Convert 5 miles to kilometres", "Convert 5 kilometres to miles"),
    ("When was Kant born?", "Where was Kant born?"),
    ("Who attacked Rome?", "Who was attacked by Rome?"),
    ("Do cats chase dogs?", "Do dogs chase cats?"),
    ("Is it safe to eat raw eggs?", "Is it not safe to eat raw eggs?"),
    ("Can I freeze milk?", "Should I freeze milk?"),
    ("How do I renew my passport?", "How do I renew your passport?"),
    ("What is 15% of 80?", "What is 80% of 15?"),
    ("Translate it from English to German.", "Translate it from German to English."),
    ("Wie alt ist der Baum?", "Wie hoch ist der Baum?"),
    ("What is 2+2?", "What is 2-2?"),
    ("Who is the president of France?", "Who was the president of France?"),
    ("What do cats like?", "What are cats like?"),
    ("What do black cats have?", "What do black cats do?"),
    ("Is the shop in Rome open?", "Will the shop in Rome open?"),
    ("What do cats do?", "What are cats?"),
]


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_questions_that_only_look_alike_are_told_apart(first, second):
    assert find_difference(first, second) is not None
    assert find_difference(second, first) is not None


ALIKE = [
    (FIRST, SAME),
    ("What is the capital of France?", "Please tell me the capital of France."),
    ("How many moons are there around Mars?", "What is the number of moons around Mars?"),
    ("How can I fix a leaking tap?", "How do I repair a leaking tap?"),
    ("I'd like to know who wrote Hamlet.", "Who wrote Hamlet?"),
]


@pytest.mark.parametrize(("first", "second"), ALIKE)
def test_questions_in_other_words_are_not_told_apart(first, second):
    assert find_difference(first, second) is None


@pytest.mark.parametrize("text", ["", "?", "...", "你好", "a" * 5000, "'s 's", "-1"])
def test_any_text_has_a_wording(text):
    assert find_difference(text, text) is None


def test_stems():
    assert [stem_of(word) for word in ("lists", "cities", "bus", "running", "boss")] == [
        "list",
        "city",
        "bus",
        "run",
        "boss",
    ]


# Calibration


def test_the_pairs_are_many_and_split_by_topic():
    import csv

    with PAIRS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 400
    sides = {}
    for row in rows:
        sides.setdefault(row["topic"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in sides.values())


def test_the_default_is_what_calibration_finds_and_holds_on_the_test():
    found = calibrate(score_pairs(read_pairs(PAIRS), NGramVectors()), 0.98)
    assert found.floor == CacheRule().min_similarity
    assert found.test.precision.value >= 0.98
    assert found.test.recall.value >= 0.4
    assert found.test.alike.value < 0.6  # vectors alone would give wrong answers


def test_the_command_prints_floor_precision_and_recall_with_intervals():
    done = CliRunner().invoke(app, ["cache", "calibrate", "--pairs", str(PAIRS), "--json"])
    assert done.exit_code == 0, done.output
    import json

    found = json.loads(done.stdout)
    assert found["min_similarity"] == CacheRule().min_similarity
    for side in ("calibration", "test"):
        for name in ("precision", "recall", "alike"):
            share = found[side][name]
            assert share["low"] <= share["value"] <= share["high"]
    shown = CliRunner().invoke(app, ["cache", "calibrate", "--pairs", str(PAIRS)])
    assert "min_similarity = " in shown.stdout


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a,b,2,test", "same: '2' is neither 0 nor 1"),
        ("a,b,1,train", "split: 'train' is none of calibration, test"),
        ("a,,1,test", "second: missing"),
    ],
)
def test_pairs_that_cannot_be_read_are_refused_with_their_row(tmp_path, line, problem):
    path = tmp_path / "pairs.csv"
    path.write_text(f"first,second,same,split\n{line}\n")
    with pytest.raises(OutcomesError, match=f"pairs.csv:2: {problem}"):
        read_pairs(path)


def test_a_precision_that_nothing_reaches_is_refused(tmp_path):
    path = tmp_path / "pairs.csv"
    lines = ["first,second,same,split"]
    for split in ("calibration", "test"):
        lines.append(f"Who are you?,Tell me who are you?,0,{split}")
        lines.append(f"What is a cat?,Where is the dog?,1,{split}")
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigurationError, match="precision: no similarity tells the pairs apart"):
        calibrate(score_pairs(read_pairs(path), NGramVectors()), 0.98)


# The command line


@pytest.fixture
def configured(tmp_path, endpoint, monkeypatch):
    """A folder with a routoo.toml whose cache has an answer of each of two accounts."""
    (tmp_path / "routoo.toml").write_text(
        f"""
        router = "general-fast"
        [experts.small]
        base_url = "{endpoint.base_url}"
        input_usd_per_1m = 1
        output_usd_per_1m = 1
        ability = 0
        [cache]
        """
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_cache(*arguments):
    done = CliRunner().invoke(app, ["cache", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_answers_are_shown_and_cleared_by_account(configured):
    assert run_cache("show", "--json").strip() == "[]"
    model = RoutooChatModel.from_toml("routoo.toml", max_tokens=50)
    for account in ("alice", "bob"):
        for _ in range(2):
            model.invoke("Hello there", routoo_account=account)
    shown = run_cache("show")
    assert "alice" in shown and "bob" in shown
    assert run_cache("clear", "--account", "alice").strip() == "1 answers forgotten."
    assert "alice" not in run_cache("show")
    assert run_cache("clear").strip() == "1 answers forgotten."


def test_members_of_a_team_are_cleared_with_it(make_router):
    team = Budget(account="team", limit="1")
    budget = Budget(account="ann", limit="1", within=team)
    router = make_router(cache=RULE)
    router.budget = budget
    RoutooChatModel(router, max_tokens=50).invoke("Hello there")
    assert [stored.account for stored in router.cache.store.show()] == ["team/ann"]
    assert router.cache.store.clear("team") == 1

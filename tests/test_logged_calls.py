"""Logged calls have one reader: ``routoo data from-logs`` and ``routoo feedback`` read every line alike."""

import json

import pytest
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from pyarrow import csv
from typer.testing import CliRunner

from routoo_core import RoutedRequest
from routoo_core.errors import OutcomesError
from routoo_core.monitoring.logged_calls import read_logged_calls
from routoo_core.monitoring.ratings import FeedbackScale
from routoo_core.monitoring.routed_calls import read_routed_calls
from routoo_core.monitoring.tables import read_log_tables
from routoo_integrations.cli import app
from routoo_integrations.langchain import RoutooChatModel

QUESTION = {"messages": [{"role": "user", "content": "Is 91 prime?"}], "time": 1}


@pytest.fixture
def record(make_router):
    """The record of a real call: the dear expert answered."""
    return (
        RoutooChatModel(make_router(), max_tokens=20)
        .invoke("What is two plus two?")
        .response_metadata["routoo"]
    )


@pytest.fixture
def decided(make_router):
    """The record of a decision that nobody acted on."""
    request = RoutedRequest.from_text("What is two plus two?", max_tokens=20)
    return make_router().decide(request).record().to_dict()


@pytest.fixture
def write(tmp_path):
    def write(*lines):
        path = tmp_path / "calls.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


@pytest.mark.parametrize(
    ("logged", "score"),
    [
        ({"feedback": 0.75}, 0.75),
        ({"score": 0}, 0.0),
        ({"feedback": True}, 1.0),
        ({"feedback": "up"}, 1.0),
        ({"feedback": "Thumbs_Down"}, 0.0),
        ({"feedback": {"score": 1, "comment": "Thanks!"}}, 1.0),
        ({"feedback": {"stars": 0.5}}, 0.5),
        ({"feedback": {"stars": {"score": 0.5}}}, 0.5),
        ({"feedback_stats": {"thumbs": {"n": 1, "avg": 0.25}}}, 0.25),
        ({"feedback_stats": {"thumbs": {"n": 0, "avg": None}, "tone": {"n": 1, "avg": 1}}}, 1.0),
        ({"feedback_stats": {"thumbs": {"n": 1, "avg": 0.25}}, "feedback": 1}, 1.0),
        ({"feedback_stats": {}, "feedback": 1}, 1.0),
        ({"feedback": {}, "score": 1}, 1.0),
    ],
)
def test_both_commands_read_feedback_alike(record, write, logged, score):
    log = write({**QUESTION, "routoo": record, "model": "dear", **logged})
    assert read_routed_calls([log]).calls[0].feedback == score
    assert read_log_tables([log]).outcomes[0].score == score


@pytest.mark.parametrize("value", [5, -1, "fine", [1], {"stars": "many"}])
def test_both_commands_refuse_feedback_that_is_no_score(record, write, value):
    log = write({**QUESTION, "routoo": record, "model": "dear", "feedback": value})
    for read in (read_routed_calls, read_log_tables):
        with pytest.raises(OutcomesError, match=r"calls.jsonl: line 1: feedback: .* from 0 to 1"):
            read([log])


@pytest.mark.parametrize(
    ("logged", "score"),
    [
        ({"feedback": 5}, 1.0),
        ({"score": 2}, 0.25),
        ({"feedback": "Up"}, 1.0),
        ({"feedback": {"a": 3, "b": 1}}, 0.0),
    ],
)
def test_both_commands_take_the_same_scale_and_kind(record, write, tmp_path, logged, score):
    log = write({**QUESTION, "routoo": record, "model": "dear", **logged})
    scale = ("--worst", "1", "--best", "5", "--feedback", "b", "--json")
    command = ["data", "from-logs", "--log", str(log), "--prompts", str(tmp_path / "p.csv")]
    tables = CliRunner().invoke(app, [*command, "--outcomes", str(tmp_path / "o.csv"), *scale])
    assert tables.exit_code == 0, tables.output
    assert csv.read_csv(tmp_path / "o.csv")["score"].to_pylist() == [score]
    shown = CliRunner().invoke(app, ["feedback", str(log), *scale])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["weeks"][0]["feedback"] == score


def test_of_several_kinds_of_feedback_the_first_counts_for_one_command_and_a_name_for_the_other(
    record, write
):
    kinds = {"correctness": {"n": 1, "avg": 0.0}, "tone": {"n": 1, "avg": 1.0}}
    log = write({**QUESTION, "routoo": record, "model": "dear", "feedback_stats": kinds})
    assert read_routed_calls([log]).calls[0].feedback == 0.0
    with pytest.raises(OutcomesError, match="several kinds, correctness, tone; name one"):
        read_log_tables([log])
    assert read_log_tables([log], FeedbackScale("tone")).outcomes[0].score == 1.0
    assert read_log_tables([log], FeedbackScale("length")).counts.without_feedback == 1


def test_both_commands_leave_out_a_failed_call_without_a_record_and_count_it(record, write):
    log = write(
        {**QUESTION, "run_type": "llm", "error": "timeout"},
        {**QUESTION, "routoo": record, "model": "dear", "feedback": 1},
    )
    assert read_log_tables([log]).counts.failed == 1
    assert read_routed_calls([log]).failed == 1
    shown = CliRunner().invoke(app, ["feedback", str(log)], catch_exceptions=False).stdout
    assert "Failed calls without a decision record, left out: 1." in shown
    found = CliRunner().invoke(app, ["feedback", str(log), "--json"], catch_exceptions=False)
    assert json.loads(found.stdout)["failed"] == 1


def test_a_failed_call_that_was_paid_for_counts_in_the_feedback(record, write):
    log = write({**QUESTION, "routoo": record, "error": "the answer was empty"})
    assert read_routed_calls([log]).calls[0].spent == float(record["settled_usd"])


@pytest.mark.parametrize(
    ("logged", "usd"),
    [
        ({"cost_usd": "0.5"}, 0.5),
        ({"total_cost": 0.25}, 0.25),
        ({"cost_usd": 0.5, "total_cost": 0.25}, 0.5),
        ({"cost_usd": None, "total_cost": 0.25}, 0.25),
    ],
)
def test_both_commands_read_a_cost_alike(decided, write, logged, usd):
    log = write({**QUESTION, "routoo": decided, "model": "dear", "feedback": 1, **logged})
    assert read_routed_calls([log]).calls[0].spent == usd
    assert read_log_tables([log]).outcomes[0].cost_usd == usd


def test_both_commands_refuse_a_cost_below_zero(decided, write):
    log = write({**QUESTION, "routoo": decided, "model": "dear", "feedback": 1, "cost_usd": -1})
    for read in (read_routed_calls, read_log_tables):
        with pytest.raises(OutcomesError, match="line 1: cost_usd: -1 is no amount; give USD"):
            read([log])


def test_every_attempt_of_a_call_is_money_spent(record, write):
    log = write({**QUESTION, "routoo": {**record, "total_usd": "0.005000000"}})
    assert read_routed_calls([log]).calls[0].spent == 0.005


def test_a_traced_call_was_answered_by_the_expert_of_its_record(make_router, tmp_path):
    traced = RunCollectorCallbackHandler(_schema_format="original+chat")
    RoutooChatModel(make_router(), max_tokens=20).invoke("Is 91 prime?", {"callbacks": [traced]})
    run = {**json.loads(traced.traced_runs[0].model_dump_json(warnings=False)), "score": 1}
    run["run_type"] = "llm"  # as LangSmith exports it
    (tmp_path / "runs.jsonl").write_text(json.dumps(run))
    assert read_log_tables([tmp_path / "runs.jsonl"]).outcomes[0].model == "dear"
    assert read_routed_calls([tmp_path / "runs.jsonl"]).calls[0].answered_by == "dear"


@pytest.mark.parametrize(
    ("logged", "tokens"),
    [
        ({"prompt_tokens": 12, "completion_tokens": 3}, (12, 3)),
        ({"usage": {"prompt_tokens": 12, "completion_tokens": 3}}, (12, 3)),
        ({"response": {"usage": {"input_tokens": 12, "output_tokens": 3}}}, (12, 3)),
        ({"usage": {"prompt_tokens": "12"}}, (12, None)),
        ({}, (None, None)),
    ],
)
def test_tokens_are_read_in_every_form_of_usage(write, logged, tokens):
    (call,) = read_logged_calls([write({**QUESTION, **logged})])
    assert (call.tokens.prompt, call.tokens.completion) == tokens


def test_a_command_fails_only_on_what_it_reads(record, write):
    log = write({**QUESTION, "routoo": record, "messages": "Hi", "usage": {"prompt_tokens": "?"}})
    assert len(read_routed_calls([log]).calls) == 1
    log = write({**QUESTION, "model": "dear", "time": "yesterday", "routoo": {}, "feedback": 1})
    assert read_log_tables([log]).counts.outcomes == 1

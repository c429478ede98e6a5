"""``routoo feedback``: what logged calls came to, week by week, and whether the predictions hold."""

import json
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from typer.testing import CliRunner

from routoo_core import RoutedRequest
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.monitoring.feedback import feedback_stats, summarise_feedback
from routoo_core.monitoring.plots import plot_feedback
from routoo_core.monitoring.routed_calls import RoutedCall, RoutedLog, read_routed_calls
from routoo_integrations.cli import app
from routoo_integrations.langchain import RoutooChatModel


def run(path, *more):
    return CliRunner().invoke(app, ["feedback", str(path), *more], catch_exceptions=False)


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
    """The record of a decision that nobody acted on: the router would have asked the dear expert."""
    return (
        make_router()
        .decide(RoutedRequest.from_text("What is two plus two?", max_tokens=20))
        .record()
        .to_dict()
    )


def expected(record):
    return {
        candidate["expert"]: float(candidate["expected_usd"]) for candidate in record["candidates"]
    }


def call(day=5, feedback=None, predicted=0.8, expert="dear"):
    time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day - 1)
    return RoutedCall(
        time,
        False,
        expert,
        expert,
        predicted,
        0.001,
        0.001,
        feedback,
        {"cheap": 0.0001, "dear": 0.001},
        {"cheap": 0.0001, "dear": 0.001},
        {"cheap": 0.4, "dear": predicted},
        0.001,
    )


def write(path, *lines):
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


def test_calls_are_summed_up_by_week_with_savings_and_drift(record, tmp_path):
    amounts = {"settled_usd": "0.000014000", "total_usd": "0.000014000"}
    cheap = {**record, "expert": "cheap", **amounts}
    log = write(
        tmp_path / "calls.jsonl",
        {"time": "2026-01-05T09:00:00Z", "routoo": record, "feedback": 1},
        {
            "time": 1_767_700_000,
            "outputs": {"message": {"response_metadata": {"routoo": cheap}}},
            "feedback": 0,
        },
        {
            "start_time": "2026-01-14T09:00:00",
            "routoo": cheap,
            "feedback_stats": {"thumbs": {"n": 1, "avg": 1.0}},
        },
        {"time": "2026-01-15T09:00:00+01:00", "routoo": cheap},
    )
    found = json.loads(run(log, "--json").stdout)
    assert found["against"] == "dear"
    first, second = found["weeks"]
    assert (first["week"], first["calls"], first["judged"]) == ("2026-01-05", 2, 2)
    assert first["spent"] == pytest.approx(float(record["settled_usd"]) + 0.000014)
    all_on_dear = float(record["settled_usd"]) + expected(record)["dear"]
    assert first["savings"]["baseline_usd"] == pytest.approx(all_on_dear)
    assert (first["shadow"], first["unpriced"], first["routed"]) == (0, 0, first["spent"])
    assert (first["feedback"], first["predicted"]) == (0.5, pytest.approx((0.9 + 0.4) / 2))
    assert first["drift"] == pytest.approx(0.5 - 0.65)
    assert first["shares"] == {"cheap": 0.5, "dear": 0.5}
    assert (second["week"], second["calls"], second["judged"], second["feedback"]) == (
        "2026-01-12",
        2,
        1,
        1.0,
    )
    shown = run(log, "--against", "cheap").stdout
    assert "2026-01-12" in shown
    assert "1.000 (1)" in shown
    assert "shadow" not in shown


def test_a_shadow_call_costs_what_was_paid_and_what_the_router_would_have_paid(decided, tmp_path):
    time, usd = "2026-01-05T09:00:00Z", expected(decided)
    log = write(
        tmp_path / "calls.jsonl",
        {"time": time, "routoo": decided, "answered_by": "cheap", "cost_usd": "0.5", "feedback": 1},
        {"time": time, "routoo": decided, "answered_by": "cheap"},
        {"time": time, "routoo": decided, "total_cost": 0.25},
        {"time": time, "routoo": decided},
    )
    found = json.loads(run(log, "--json").stdout)
    week = found["weeks"][0]
    assert (week["calls"], week["shadow"], week["unpriced"]) == (4, 4, 1)
    assert week["spent"] == pytest.approx(0.75 + usd["cheap"])
    assert week["routed"] == week["savings"]["baseline_usd"] == pytest.approx(4 * usd["dear"])
    assert week["shares"] == {"dear": 1.0}
    assert (week["feedback"], week["predicted"]) == (1.0, 0.4)
    priced = {
        "calls": 4,
        "priced": 3,
        "spent": week["spent"],
        "routed": pytest.approx(3 * usd["dear"]),
    }
    assert found["shadow"] == priced
    assert "3 of 4 shadow calls say what they cost: $0.7500 together" in run(log).stdout


def test_a_week_may_hold_live_and_shadow_calls(record, decided, tmp_path):
    time = "2026-01-05T09:00:00Z"
    log = write(
        tmp_path / "calls.jsonl",
        {"time": time, "routoo": record, "answered_by": "cheap", "cost_usd": 7},
        {"time": time, "routoo": decided, "answered_by": "cheap", "cost_usd": 1},
    )
    week = summarise_feedback(read_routed_calls([log])).weeks[0]
    assert (week.calls, week.shadow) == (2, 1)
    assert week.spent == pytest.approx(1 + float(record["settled_usd"]))
    assert week.routed == pytest.approx(expected(decided)["dear"] + float(record["settled_usd"]))


def test_feedback_for_somebody_who_was_no_candidate_is_counted_and_judges_nothing(
    decided, tmp_path
):
    time = "2026-01-05T09:00:00Z"
    log = write(
        tmp_path / "calls.jsonl",
        {
            "time": time,
            "routoo": decided,
            "answered_by": "[our] old one",
            "cost_usd": 0.5,
            "feedback": 0,
        },
        {"time": time, "routoo": decided, "feedback": 0},
    )
    found = json.loads(run(log, "--json").stdout)
    assert (found["judged"], found["unpredicted"], found["drift"]) == (0, 2, None)
    assert found["weeks"][0]["spent"] == 0.5
    rows = {row["expert"]: (row["calls"], row["share"], row["routed"]) for row in found["experts"]}
    assert rows == {"[our] old one": (1, 0.5, 0.0), None: (1, 0.5, 0.0), "dear": (0, 0.0, 1.0)}
    shown = run(log).stdout
    assert "[our] old" in shown
    assert "Feedback that judges no prediction: 2 answers" in shown


def test_shadow_calls_that_say_nothing_still_say_what_the_router_would_do(decided, tmp_path):
    log = write(tmp_path / "calls.jsonl", {"time": 1_767_700_000, "routoo": decided})
    assert summarise_feedback(read_routed_calls([log])).weeks[0].spent is None
    shown = run(log).stdout
    assert "Shadow calls: 1; none says what it cost" in shown
    assert "No feedback to judge predictions by" in shown


@pytest.mark.parametrize("mean", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("judged", [2, 5, 20, 100])
def test_predictions_that_are_right_are_seldom_called_drifting(mean, judged):
    random = np.random.default_rng(0)
    predicted = np.clip(mean + random.normal(0, 0.08, (500, judged)), 0.02, 0.98)
    feedback = (random.random(predicted.shape) < predicted).astype(float)
    weeks = [
        [call(feedback=f, predicted=p) for f, p in zip(*pair, strict=True)]
        for pair in zip(feedback, predicted, strict=True)
    ]
    assert sum(feedback_stats(week).drifts for week in weeks) / 500 <= 0.07


def test_predictions_that_are_wrong_are_said_to_be_so(record, tmp_path):
    thumbs = [
        {"time": "2026-01-12T09:00:00Z", "routoo": record, "feedback": int(n % 2)}
        for n in range(120)
    ]
    log = write(tmp_path / "calls.jsonl", {**thumbs[1], "time": "2026-01-05T09:00:00Z"}, *thumbs)
    found = json.loads(run(log, "--json").stdout)
    first, second = found["weeks"]
    assert (first["interval"], first["calibration_error"]) == (None, None)
    low, high = second["interval"]
    assert second["drift"] == pytest.approx(-0.4)
    assert low < -0.4 < high < 0
    assert second["calibration_error"] == pytest.approx(0.4, abs=0.1)
    shown = run(log).stdout
    assert "- Week of 2026-01-12: predictions are 0.40 too high (0.31 to 0.49)." in shown
    assert "- dear, all weeks: predictions are 0.40 too high" in shown
    assert "Week of 2026-01-05: " not in shown
    assert "'routoo train' again with these answers ('routoo data from-logs')" in shown


def test_it_is_told_whose_predictions_drift():
    calls = [call(feedback=float(n % 5 > 0), predicted=0.8) for n in range(50)]
    calls += [call(feedback=float(n % 5 > 0), predicted=0.3, expert="cheap") for n in range(25)]
    first, second = summarise_feedback(RoutedLog(tuple(calls))).experts
    assert (first.expert, first.calls, first.share, first.stats.drifts) == (
        "dear",
        50,
        pytest.approx(2 / 3),
        False,
    )
    assert (second.stats.feedback, second.stats.predicted) == (
        pytest.approx(0.8),
        pytest.approx(0.3),
    )
    assert second.stats.describe().startswith("predictions are 0.50 too low (0.3")


def test_a_traced_conversation_counts_this_calls_record_not_the_one_it_was_asked_with(
    make_router, tmp_path
):
    model = RoutooChatModel(make_router(), max_tokens=20)
    first = model.invoke("What is two plus two?", model="cheap")
    traced = RunCollectorCallbackHandler(
        _schema_format="original+chat"
    )  # as LangSmith's tracer writes it
    asked = [("human", "What is two plus two?"), first, ("human", "Are you sure?")]
    model.invoke(asked, {"callbacks": [traced]}, model="dear")
    (tmp_path / "runs.jsonl").write_text(traced.traced_runs[0].model_dump_json(warnings=False))
    [found] = read_routed_calls([tmp_path / "runs.jsonl"]).calls
    assert (found.answered_by, found.shadow) == ("dear", False)


@pytest.mark.parametrize(
    "calls",
    [
        [call()],
        [call(feedback=1)],
        [call(n, feedback=float(n % 2), expert=f"expert {n % 12}") for n in range(1, 50)],
        [call(1), call(400, feedback=0), call(400, feedback=0), call(400, feedback=0)],
    ],
    ids=["no feedback", "one call", "many experts", "a gap of a year"],
)
def test_every_log_has_a_picture(calls, tmp_path):
    weeks = summarise_feedback(RoutedLog(tuple(calls))).weeks
    plot_feedback(tmp_path / "new" / "weeks.png", weeks, "dear", "title")
    assert (tmp_path / "new" / "weeks.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_draws_it_too(record, decided, tmp_path):
    shadow = {"time": "2026-01-12T09:00:00Z", "routoo": decided, "answered_by": "cheap"}
    log = write(
        tmp_path / "calls.jsonl", {"time": 1_767_700_000, "routoo": record, "feedback": 1}, shadow
    )
    run(log, "--plot", str(tmp_path / "weeks.png"))
    assert (tmp_path / "weeks.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigurationError, match=r"--plot: weeks.svg must end in .png, not '.svg'"):
        run(log, "--plot", "weeks.svg")


def test_weeks_begin_on_monday_in_utc():
    weeks = summarise_feedback(RoutedLog((call(4), call(5)))).weeks
    assert [week.week for week in weeks] == [date(2025, 12, 29), date(2026, 1, 5)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1: no JSON"),
        ('{"time": 1}', "line 1: holds no decision record"),
        ('{"routoo": {"candidates": []}, "time": 1}', "line 1: routoo: expert: Field required"),
        (
            '{"routoo": {"expert": "x", "candidates": [{"expert": "x"}]}, "time": 1}',
            "line 1: routoo: candidates.0.quality: Field required; log the whole record",
        ),
        (
            '{"routoo": {"expert": "x", "candidates": [{"expert": "y", "quality": 1, "expected_usd": "0"}]}, "time": 1}',
            "line 1: routoo: expert 'x' is none of the candidates; log the whole record",
        ),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line, said, tmp_path):
    (tmp_path / "calls.jsonl").write_text(line)
    with pytest.raises(OutcomesError, match=said):
        run(tmp_path / "calls.jsonl")


def test_times_feedback_and_experts_are_checked(record, tmp_path):
    path = tmp_path / "calls.jsonl"
    with pytest.raises(OutcomesError, match="line 1: time: None; add 'time'"):
        run(write(path, {"routoo": record}))
    with pytest.raises(OutcomesError, match="line 1: feedback: 5 is not a number from 0 to 1"):
        run(write(path, {"routoo": record, "time": 1, "feedback": 5}))
    with pytest.raises(
        OutcomesError, match="--against: 'x' was never a candidate; choose one of cheap, dear"
    ):
        run(write(path, {"routoo": record, "time": 1}), "--against", "x")
    with pytest.raises(
        OutcomesError, match="line 1: time: 1767700000000000; add 'time' in ISO 8601 or seconds"
    ):
        run(write(path, {"routoo": record, "time": 1_767_700_000_000_000}))
    path.write_text("")
    with pytest.raises(ConfigurationError, match="contains no calls"):
        run(path)


def test_what_shadow_lines_say_is_checked(record, decided, tmp_path):
    path, line = tmp_path / "calls.jsonl", {"routoo": decided, "time": 1}
    with pytest.raises(
        OutcomesError, match="calls.jsonl: line 2: answered_by: 3 is no expert's name"
    ):
        run(write(path, line, {**line, "answered_by": 3}))
    for cost in (-1, "much", float("nan"), [1]):
        with pytest.raises(
            OutcomesError, match="calls.jsonl: line 1: cost_usd: .* give USD of at least 0"
        ):
            run(write(path, {**line, "cost_usd": cost}))
    unsettled = {name: value for name, value in record.items() if name != "settled_usd"}
    with pytest.raises(
        OutcomesError, match="line 1: routoo: settled_usd is missing; log the whole record"
    ):
        run(write(path, {"routoo": unsettled, "time": 1}))

"""``routoo evaluate`` and ``replay``: reports and replays on prompts that the router did not learn from."""

import html.parser
import json
import re
import shutil

import numpy as np
import pytest
from toy_tables import PRICES, write_toy_tables
from typer.testing import CliRunner

from routoo_core import Budget
from routoo_core.budget.pacing import Paced
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.evaluation.predictions import predict
from routoo_core.evaluation.report import Report, StressRow
from routoo_core.evaluation.rewording import REWRITES, add_typos, reorder_choices
from routoo_core.evaluation.stress import OperatingPoint, stress
from routoo_core.measures.metrics import arena_score, log_loss, oracle_shares
from routoo_core.measures.subjects import SUB_CATEGORIES, group_by_sub_category
from routoo_core.predictor.checkpoint_config import read_config
from routoo_core.progress import SILENT
from routoo_core.selector import Lagrangian
from routoo_core.simulation.replay import ReplaySettings, replay_traffic
from routoo_core.simulation.traffic import DAY, ReplayTraffic, arrival_times
from routoo_core.tables import write_table
from routoo_core.testing import FakePredictor
from routoo_core.training.simple_routers import predict_simple_routers
from routoo_core.training.vectors import encode_cached
from routoo_integrations.cli import app


@pytest.fixture
def table(toy_outcomes, tmp_path):
    return write_toy_tables(tmp_path, toy_outcomes)


@pytest.fixture
def run(checkpoint, table, monkeypatch, tmp_path):
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))
    given = ["--router", str(checkpoint), "--out", str(tmp_path / "report"), *table, "--overwrite"]

    def run(*more):
        return CliRunner().invoke(app, ["evaluate", *given, *more], catch_exceptions=False)

    return run


def test_a_report_stands_by_itself_and_says_what_it_means(run, tmp_path):
    done = run("--guess", "0.5", "--title", "Toys <&> sums")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "Toys &lt;&amp;&gt; sums" in page
    assert not re.findall(r"<script|<link|@import|src=|url\((?!#)", page)
    assert page.count('role="img"') == 4
    html.parser.HTMLParser().feed(page)
    assert "beats zero router" in done.output
    similarity = json.loads((tmp_path / "report" / "metrics.json").read_text())["similarity"]
    assert 0 < similarity <= 1
    assert f"to the 'train' prompts is {similarity:.2f}" in " ".join(done.output.split())
    assert not (
        tmp_path / "cache" / "vectors"
    ).exists()  # what was predicted when it was trained is taken, for all
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["prompts"] == 48
    (router,) = metrics["routers"].values()
    assert router["seen"] == {"held_out": 48, "new": 0, "trained_on": 0}
    assert metrics["best_single"] == "calculator"
    assert metrics["stamped"] is False
    assert {row["domain"]: row["prompts"] for row in metrics["domains"]} == {
        "greetings": 24,
        "sums": 24,
    }


@pytest.mark.parametrize(("count", "drawn"), [(4, 4), (12, 10)])
def test_routers_are_drawn_apart_up_to_ten_and_a_page_of_more_says_so(
    run, checkpoint, tmp_path, count, drawn
):
    names = [checkpoint.name]
    options = []
    for number in range(2, count + 1):
        names.append(f"twin{number:02}")
        options += ["--router", str(shutil.copytree(checkpoint, tmp_path / names[-1]))]
    run(*options)
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")

    curves, domains, _, reliability = page.split('role="img"')[1:]
    for drawing in (curves, domains, reliability):
        shown = [name for name in names if f">{name}</text>" in drawing]
        assert shown == names[:drawn]
    lines = re.findall(r'clip-path="[^"]*" style="([^"]*stroke-width: 2.4\b[^"]*)"', curves)
    assert len(set(lines)) == len(lines) == drawn
    assert ("This page draws the first 10 of 12 routers" in page) is (count > drawn)
    assert "mathdefault" not in page


def test_a_report_read_from_its_file_is_written_the_same(run, tmp_path):
    run("--stress", "2")
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert json.loads(json.dumps(Report.from_dict(metrics).to_dict())) == metrics


def test_sizes_that_the_prices_tell_are_shown_by_class(run, tmp_path):
    sized = "model,input_usd_per_1m,output_usd_per_1m,billions_of_parameters\ncalculator,1,3,70\ntalker,1,1,\n"
    (tmp_path / "prices.csv").write_text(sized)
    run()
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert {expert["name"]: expert["size_class"] for expert in metrics["experts"]} == {
        "calculator": "40B to 100B",
        "talker": "size unknown",
    }
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert ">40B to 100B<" in page
    (tmp_path / "prices.csv").write_text(sized.replace(",70", ",huge"))
    with pytest.raises(ConfigurationError, match="row 1: billions_of_parameters"):
        run()


EDGES = {
    "one expert": {"prices": "calculator,1,3\n"},
    "equal prices": {"prices": "calculator,2,2\ntalker,2,2\n"},
    "a free expert": {"prices": "calculator,0,0\ntalker,1,1\n"},
    "nothing costs anything": {"prices": "calculator,0,0\ntalker,0,0\n"},
    "everybody is right": {"score": 1},
    "nobody is right": {"score": 0},
    "the best is the cheapest": {"prices": "calculator,1,1\ntalker,4,4\n"},
}


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_pool_at_the_edge_still_gives_a_page_of_figures(run, tmp_path, edge):
    header, *_ = PRICES.splitlines(keepends=True)
    (tmp_path / "prices.csv").write_text(header + edge.get("prices", PRICES.removeprefix(header)))
    if "score" in edge:
        written = (tmp_path / "o.csv").read_text()
        (tmp_path / "o.csv").write_text(
            re.sub(r",[01](\.0)?$", f",{edge['score']}", written, flags=re.M)
        )
    done = run("--stress", "2")
    assert done.exit_code == 0, done.output
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    areas = [found["area"] for name, found in metrics["figures"].items() if name != "oracle"]
    assert max(areas) <= metrics["figures"]["oracle"]["area"] + 1e-9
    assert all(0 <= area <= 1 for area in areas)


def test_what_cannot_be_divided_by_is_not_called_never(run, tmp_path):
    (tmp_path / "prices.csv").write_text(PRICES.replace("talker,1,1", "talker,2,2"))
    run("--cost", "paper")
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())["figures"]
    assert figures["zero router"]["cpt50"] is None  # one price: there is no range of costs
    assert figures["random mix"]["match"] == pytest.approx(1)
    assert ">– [–, –]<" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_another_split_is_measured_and_simple_routers_need_something_to_learn_from(run, tmp_path):
    written = (tmp_path / "p.csv").read_text()
    (tmp_path / "p.csv").write_text(re.sub(r'"dev"$', '"test"', written, flags=re.M))
    assert run("--split", "test").exit_code == 0
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert (metrics["split"], metrics["prompts"]) == ("test", 48)
    assert {"domain lookup", "kNN", "printed head"} < set(metrics["figures"])
    only = [line for line in written.splitlines() if '"train"' not in line]
    kept = {line.split(",")[0] for line in only}
    outcomes = [
        line for line in (tmp_path / "o.csv").read_text().splitlines() if line.split(",")[0] in kept
    ]
    (tmp_path / "p.csv").write_text("\n".join(only))
    (tmp_path / "o.csv").write_text("\n".join(outcomes))
    done = run()
    assert "so these simple routers are missing: domain lookup, kNN, printed head" in done.output
    with pytest.raises(OutcomesError, match="split 'test' has no prompts; the table has 48 dev"):
        run("--split", "test")
    with pytest.raises(
        ConfigurationError, match="--split: the simple routers are trained on 'train'"
    ):
        run("--split", "train")


def test_a_checkpoint_keeps_what_simple_routers_predicted(
    checkpoint, toy_outcomes, monkeypatch, tmp_path
):
    """Those that learnt from the same prompts as it did."""
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path))
    toy, config = toy_outcomes, read_config(checkpoint)
    encoder, dev = config.training.encoder, toy.rows("dev")
    taught = predict_simple_routers(toy, encode_cached(toy.prompts, encoder, SILENT), dev)
    kept = predict(checkpoint, toy.take(dev), SILENT).simple
    assert set(kept) == set(taught) == {"kNN", "printed head"}
    for name, quality in kept.items():
        np.testing.assert_allclose(
            quality, taught[name], atol=1e-3, err_msg=name
        )  # kept in half precision


def test_several_tables_are_measured_as_one(run, tmp_path):
    """One half of the prompts in each."""
    for name in ("p", "o"):
        header, *lines = (tmp_path / f"{name}.csv").read_text().splitlines()
        for half in (0, 1):
            chosen = [line for line in lines if int(re.match(r'"p(\d+)"', line)[1]) % 2 == half]
            (tmp_path / f"{name}{half}.csv").write_text("\n".join([header, *chosen]))
    run()
    whole = json.loads((tmp_path / "report" / "metrics.json").read_text())
    (tmp_path / "p.csv").write_text((tmp_path / "p0.csv").read_text())
    (tmp_path / "o.csv").write_text((tmp_path / "o0.csv").read_text())
    run("--prompts", str(tmp_path / "p1.csv"), "--outcomes", str(tmp_path / "o1.csv"))
    joined = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert joined["prompts"] == whole["prompts"]
    assert joined["figures"]["kNN"]["area"] == pytest.approx(whole["figures"]["kNN"]["area"])


def test_a_router_is_asked_again_in_other_words(run, tmp_path):
    run("--stress", "6")
    rows = json.loads((tmp_path / "report" / "metrics.json").read_text())["stress"]
    assert [row["way"] for row in rows][-1] == "a gadget searched for each prompt"
    assert all(0 <= row["upgrades"] <= row["flips"] <= 1 and row["cost"] > 0 for row in rows)
    assert {row["way"]: row["prompts"] for row in rows}["order of the choices"] == 0
    assert "Robustness to rewording" in (tmp_path / "report" / "index.html").read_text(
        encoding="utf-8"
    )


def reworded(folder, prompts):
    """A file of paraphrases, and the options that name it."""
    write_table(folder / "r.csv", {"prompt_id": list(prompts), "prompt": list(prompts.values())})
    return "--paraphrases", str(folder / "r.csv")


def test_paraphrases_are_one_more_way_and_their_prompts_come_first(run, toy_outcomes, tmp_path):
    dev = [toy_outcomes.prompt_ids[row] for row in toy_outcomes.rows("dev")]
    same = toy_outcomes.prompts[toy_outcomes.prompt_ids.index(dev[3])]
    others = {
        dev[1]: "add these numbers up",
        dev[2]: "good day to you",
        dev[3]: same,
        "p1": "a train prompt",
    }
    assert run("--stress", "8", *reworded(tmp_path, others)).exit_code == 0
    rows = {
        row["way"]: row
        for row in json.loads((tmp_path / "report" / "metrics.json").read_text())["stress"]
    }
    assert list(rows)[-2:] == ["paraphrase", "a gadget searched for each prompt"]
    assert rows["paraphrase"]["prompts"] == 2
    assert (
        rows["noise before"]["prompts"] == rows["a gadget searched for each prompt"]["prompts"] == 8
    )
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert re.search(r'<th scope="row">paraphrase</th><td>2</td>', page)


def test_each_way_is_measured_on_the_prompts_it_changed():
    predictor = FakePredictor(
        {"near": lambda text: 0.5 - 0.4 * ("far" in text), "far": lambda text: 0.4}
    )
    point = OperatingPoint(
        predictor, ["near", "far"], np.array([1.0, 3.0]), Lagrangian(0.0), SILENT
    )
    prompts = ["So?\nA. it\nB. us", "Is it?", "a far one", "so be it"]
    anew = {"Is it?": "Is it far?", "a far one": "a near one", "so be it": "so be it"}
    rows = {row.way: row for row in stress(point, prompts, anew)}
    assert rows["order of the choices"].prompts <= 1
    assert rows["typos"] == StressRow("typos", prompts=0, flips=0.0, upgrades=0.0, cost=1.0)
    assert rows["noise after"] == StressRow(
        "noise after", prompts=4, flips=0.0, upgrades=0.0, cost=1.0
    )
    assert rows["paraphrase"] == StressRow(
        "paraphrase", prompts=2, flips=1.0, upgrades=0.5, cost=1.0
    )


@pytest.mark.parametrize(
    ("paraphrases", "options", "named"),
    [
        (
            {"p0": "hello", "p999": "hi"},
            ["--stress", "4"],
            r"r\.csv: row 2: prompt_id 'p999' is not in the table",
        ),
        (
            {"p1": "hello"},
            ["--stress", "4"],
            r"r\.csv: row 1: prompt_id 'p1', and all others, are no 'dev' prompts",
        ),
        ({"p0": ""}, ["--stress", "4"], r"r\.csv: row 1: prompt 'p0' is empty"),
        ({"p0": "hello"}, [], "--paraphrases: works only with --stress"),
    ],
)
def test_paraphrases_of_other_prompts_are_refused(run, tmp_path, paraphrases, options, named):
    with pytest.raises((ConfigurationError, OutcomesError), match=named):
        run(*options, *reworded(tmp_path, paraphrases))
    assert not (tmp_path / "report").exists()


def test_rewrites_leave_the_question_as_it_is():
    text = "Which of these planets is largest?\nA. Mars\nB. Jupiter\nC. Venus"
    random = np.random.default_rng(1)
    assert sorted(reorder_choices(text, random).split()) == sorted(text.split())
    assert len({reorder_choices(text, random) for _ in range(30)}) == 6
    assert sorted(add_typos(text, random)) == sorted(text)
    assert add_typos("so be it", random) == "so be it"
    for name, rewrite in REWRITES.items():
        if name not in {"typos", "order of the choices"}:
            assert text in rewrite(text, random)


def test_prompts_a_router_learnt_from_are_refused_or_stamped(run, toy_outcomes, tmp_path):
    splits = ["train" if split == "dev" else "dev" for split in toy_outcomes.splits]
    columns = {
        "prompt_id": toy_outcomes.prompt_ids,
        "prompt": toy_outcomes.prompts,
        "domain": toy_outcomes.domains,
    }
    write_table(
        tmp_path / "p.csv",
        {**{name: list(values) for name, values in columns.items()}, "split": splits},
    )
    with pytest.raises(ConfigurationError, match="learnt from 191 of these 191 prompts"):
        run()
    assert not (tmp_path / "report").exists()
    assert run("--force").exit_code == 0
    assert "its figures flatter it" in (tmp_path / "report" / "index.html").read_text(
        encoding="utf-8"
    )


def test_prompts_never_seen_are_predicted_now(run, toy_outcomes, tmp_path):
    pairs = zip(toy_outcomes.prompts, toy_outcomes.splits, strict=True)
    texts = [f"{text} ok" if split == "dev" else text for text, split in pairs]
    columns = {
        "prompt_id": toy_outcomes.prompt_ids,
        "domain": toy_outcomes.domains,
        "split": toy_outcomes.splits,
    }
    write_table(
        tmp_path / "p.csv",
        {**{name: list(values) for name, values in columns.items()}, "prompt": texts},
    )
    assert run().exit_code == 0
    (router,) = json.loads((tmp_path / "report" / "metrics.json").read_text())["routers"].values()
    assert router["seen"] == {"held_out": 0, "new": 48, "trained_on": 0}


def test_a_pool_nobody_saw_whole_is_refused(run, tmp_path):
    (tmp_path / "o.csv").write_text("prompt_id,model,score\np0,calculator,1\np5,talker,1\n")
    with pytest.raises(OutcomesError, match="no 'dev' prompt was observed with every expert"):
        run()


@pytest.fixture
def replay(checkpoint, table):
    def replay(*more):
        done = CliRunner().invoke(
            app, ["replay", "--router", str(checkpoint), *table, *more], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return done.stdout

    return replay


@pytest.mark.parametrize("arrivals", ["even", "poisson", "bursts", "office"])
@pytest.mark.parametrize("policy", ["paced", "best", "ratio"])
def test_a_replay_never_passes_the_limit_nor_the_optimum(replay, policy, arrivals):
    found = json.loads(
        replay("--limit", "0.03", "--policy", policy, "--arrivals", arrivals, "--json")
    )
    assert found["calls"] == 24
    assert 0 < float(found["spent_usd"]) <= 0.03
    assert found["share_of_optimum"] <= 1 + 1e-6
    assert sum(found["experts"].values()) == pytest.approx(1 - found["refused"] / 24)


def test_a_replay_takes_a_policy_with_settings_and_a_guard_learns_from_the_router(replay):
    guarded = '{ name = "guarded", default = "calculator", z = 0.0, policy = "cheapest" }'
    shares = []
    for policy in (guarded, '{ name = "lagrangian", lambda = 0.0 }'):
        shares.append(json.loads(replay("--limit", "9", "--policy", policy, "--json"))["experts"])
    assert shares[0] != shares[1]
    assert shares[0]["calculator"] > 0


def test_a_policy_that_is_no_table_is_refused(replay):
    with pytest.raises(ConfigurationError, match="--policy: .* is not valid TOML"):
        replay("--limit", "9", "--policy", "{ name = ")


def test_a_replay_pays_for_the_lengths_that_were_observed(replay, table, tmp_path):
    outcomes = tmp_path / "o.csv"
    header, *rows = outcomes.read_text().splitlines()
    lengths = [f"{row},{10 if ',talker,' in row else 1000}" for row in rows]
    outcomes.write_text("\n".join([f"{header},completion_tokens", *lengths]) + "\n")
    options = ("--limit", "9", "--policy", "best", "--json")
    measured = json.loads(replay(*options))
    paper = json.loads(replay(*options, "--cost", "paper"))
    assert measured["calls"] == paper["calls"] == 24
    assert float(paper["spent_usd"]) != pytest.approx(float(measured["spent_usd"]), rel=0.05)
    for found in (measured, paper):
        assert found["share_of_best_score"] == pytest.approx(1)  # "best" is always asking the best
        assert found["share_of_best_cost"] == pytest.approx(1)


def test_a_replay_alerts_nobody(replay, caplog):
    replay("--limit", "0.01", "--policy", "best")
    assert caplog.records == []


def test_users_who_take_turns_share_one_limit_and_a_picture_shows_it(replay, tmp_path):
    said = replay(
        "--limit",
        "0.02",
        "--accounts",
        "3",
        "--days",
        "2",
        "--policy",
        "best",
        "--plot",
        str(tmp_path / "r.png"),
    )
    assert "share of optimum" in said
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    spent = float(re.search(r"spent usd\s+([0-9.]+)", said)[1])
    assert spent <= 2 * 0.02


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--arrivals", "never"], "--arrivals: 'never' is unknown; choose one of even, poisson"),
        (["--calls", "49"], "--calls: there are 48"),
        (["--period", "year"], "--limit, --period: period"),
        (["--policy", "luck"], "policy: 'luck' is unknown"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(replay, options, named):
    with pytest.raises(ConfigurationError, match=named):
        replay("--limit", "1", *options)


def served(random, before):
    """A replay of predictions alone: office hours, a budget of an eighth of everything on the dearer expert."""
    dear = random.uniform(0.3, 1, (400, 1))
    quality = np.hstack([np.full((400, 1), 0.3), dear])
    times = arrival_times("office", 200, random)
    traffic = ReplayTraffic.of_predictions(quality[:200], quality[200:], times, before)
    budget = Budget(limit="0.025", expected_calls=100)
    settings = ReplaySettings({"cheap": 0.01, "dear": 1.0}, budget, Paced())
    return replay_traffic(traffic, settings, SILENT)


def test_a_replay_of_predictions_learns_from_the_day_before_and_observes_nothing():
    yesterday = arrival_times("office", 200, np.random.default_rng(1)) - DAY
    knowing = served(np.random.default_rng(0), yesterday)
    guessing = served(np.random.default_rng(0), np.empty(0))
    assert len(knowing) == len(guessing) == 200
    assert max(sum(call.cost for call in calls) for calls in (knowing, guessing)) <= 25_000_000
    assert sum(call.quality for call in knowing) > sum(call.quality for call in guessing)
    assert all(np.isnan(call.score) for call in knowing if call.expert)


def test_the_arena_score_is_the_one_of_its_leaderboard():
    assert 100 * arena_score(0.6688, 0.15) == pytest.approx(66.89, abs=0.02)
    assert 100 * arena_score(0.7396, 10.02) == pytest.approx(64.32, abs=0.02)


def test_mmlus_subjects_are_grouped_as_by_its_authors():
    subjects = [subject for group in SUB_CATEGORIES.values() for subject in group.split()]
    assert (len(SUB_CATEGORIES), len(subjects), len(set(subjects))) == (17, 57, 57)
    assert group_by_sub_category(["virology", "World Religions", "cooking"]) == [
        "health",
        "philosophy",
        "cooking",
    ]


def test_log_loss_is_that_of_a_coin():
    quality, scores = np.full((3, 2), 0.5), np.array([[1, 0], [0, 1], [np.nan, 1]])
    assert log_loss(quality, scores) == pytest.approx(np.log(2))


def test_the_oracle_asks_the_cheapest_that_is_right_and_luck_is_taken_off():
    scores = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert oracle_shares(scores, np.array([1.0, 2.0])).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert oracle_shares(scores, np.array([2.0, 1.0])).tolist() == pytest.approx([1 / 3, 2 / 3])
    guessing = np.array(
        [[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 1.0]]
    )  # the first is right half of the time
    assert oracle_shares(guessing, np.array([1.0, 2.0]), guess=0.5).tolist() == [0.0, 1.0]

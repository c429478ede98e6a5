"""What plans are worth is learnt from stored answers, and a router that has learnt it ranks them."""

import json
import random

import numpy as np
import pytest
from toy_tables import write_answered_tables
from typer.testing import CliRunner

from routoo_core import RoutedRequest, Router
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.expert_table import ExpertTable
from routoo_core.measures.plan_replay import AnswerTable, read_answers, replay_plan
from routoo_core.outcomes import Outcomes
from routoo_core.plans import Cascade, Consensus, Mixture
from routoo_core.prices import PriceList
from routoo_core.prompts import Prompts
from routoo_core.tables import read_table, write_rows
from routoo_core.training.plan_fit import prices_with_plans, with_plans
from routoo_integrations.cli import app

EXPERTS = ("gpt-4o-mini", "gemini-1.5-flash", "gpt-4o")
RATES = (0.6, 0.6, 0.8)
PAIR = Consensus(name="pair", experts=EXPERTS[:2], then=EXPERTS[2])
LETTERS = "ABCD"
COUNT = 400


def question(number):
    choices = [number + 2, number + 3, number + 5, number + 9]
    lines = [f"{letter}. {value}" for letter, value in zip(LETTERS, choices, strict=True)]
    return "\n".join([f"Case {number}: what is {number} plus two?", *lines])


@pytest.fixture(scope="module")
def tables():
    """Outcomes and answers of three experts with known rates, independent of one another; A is right."""
    dice = random.Random(3)
    ids = tuple(f"q{number}" for number in range(COUNT))
    texts = tuple(question(number) for number in range(COUNT))
    splits = tuple("dev" if number % 4 == 0 else "train" for number in range(COUNT))
    prompts = Prompts(ids, texts, ("",) * COUNT, splits)
    scores = np.zeros((COUNT, 3), dtype=np.float32)
    answers = {}
    for row, prompt_id in enumerate(ids):
        for column, expert in enumerate(EXPERTS):
            is_right = dice.random() < RATES[column]
            scores[row, column] = is_right
            letter = "A" if is_right else dice.choice("BCD")
            answers[prompt_id, expert] = f"The answer is {letter}."
    return Outcomes(prompts, ExpertTable(ids, EXPERTS, scores)), AnswerTable(answers)


def quality_of(outcomes):
    return np.tile(np.array(RATES), (len(outcomes.prompts), 1))


def test_a_replayed_plan_scores_as_its_rule_says(tables):
    outcomes, answers = tables
    replayed = replay_plan(PAIR, outcomes, answers, quality_of(outcomes))
    for row, prompt_id in enumerate(outcomes.prompt_ids):
        said = [answers.of(prompt_id, expert).text for expert in EXPERTS]
        if said[0] == said[1]:
            assert replayed.calls[row].tolist() == [True, True, False]
            assert replayed.rounds[row] == 1
            assert replayed.scores[row] == outcomes.scores[row, 0]
        else:
            assert replayed.calls[row].all()
            assert replayed.rounds[row] == 2
    agreed = float(np.mean([not calls[2] for calls in replayed.calls]))
    assert replayed.shares()[2] == pytest.approx(1 - agreed)
    assert replayed.scores.mean() > outcomes.scores.mean(axis=0).max() - 0.02


def test_it_costs_what_everybody_who_was_asked_costs(tables):
    outcomes, answers = tables
    replayed = replay_plan(PAIR, outcomes, answers, quality_of(outcomes))
    costs = replayed.costs(np.tile([1.0, 2.0, 30.0], (COUNT, 1)), EXPERTS)
    assert set(costs) == {3.0, 33.0}
    assert (costs == 33.0).mean() == pytest.approx(replayed.shares()[2])


def test_prompts_whose_answers_cannot_be_compared_have_no_outcome(tables):
    outcomes, answers = tables
    texts = ("Write a poem.", *outcomes.prompts[1:])
    prompts = Prompts(outcomes.prompt_ids, texts, outcomes.domains, outcomes.splits)
    other = Outcomes(prompts, outcomes.score_table)
    replayed = replay_plan(PAIR, other, answers, quality_of(outcomes))
    assert np.isnan(replayed.scores[0])
    assert not np.isnan(replayed.scores[1:]).any()
    extended = with_plans(other, [replayed])
    assert extended.experts == (*EXPERTS, "pair")
    assert np.isnan(extended.scores[0, -1])


def test_a_prompt_that_an_expert_did_not_answer_has_no_outcome_and_an_unreadable_answer_no_vote(
    tables,
):
    outcomes, answers = tables
    scores = outcomes.scores.copy()
    scores[0, 2] = np.nan
    silent = {**answers.texts}
    for expert in EXPERTS[:2]:
        silent["q1", expert] = ""
    del silent["q2", EXPERTS[0]]
    table = Outcomes(outcomes.prompt_table, ExpertTable(outcomes.prompt_ids, EXPERTS, scores))
    replayed = replay_plan(PAIR, table, AnswerTable(silent), quality_of(outcomes))
    assert np.isnan(replayed.scores[0])
    assert replayed.scores[1] == outcomes.scores[1, 2]
    assert np.isnan(replayed.scores[2])
    assert not np.isnan(replayed.scores[3:]).any()


@pytest.mark.parametrize(
    "plan",
    [
        Mixture(name="mix", experts=EXPERTS[:2], aggregator=EXPERTS[2]),
        Cascade(name="ladder", experts=EXPERTS[1:], judge=EXPERTS[0]),
    ],
    ids=["mixture", "judge"],
)
def test_plans_that_show_answers_cannot_be_replayed(tables, plan):
    outcomes, answers = tables
    with pytest.raises(ConfigurationError, match="routoo add-expert"):
        replay_plan(plan, outcomes, answers, quality_of(outcomes))


def test_a_plans_price_is_its_experts_as_often_as_they_are_asked():
    prices = PriceList(dict(zip(EXPERTS, (1, 2, 10), strict=True)), dict.fromkeys(EXPERTS, 4))
    fitted = PAIR.model_copy(update={"shares": (1.0, 1.0, 0.5)})
    extended = prices_with_plans(prices, [fitted])
    assert extended.input_usd_per_1m["pair"] == 8
    assert extended.output_usd_per_1m["pair"] == 10
    with pytest.raises(ConfigurationError, match="no row for 'gpt-4o'"):
        prices_with_plans(prices.select(EXPERTS[:2]), [fitted])


def test_answers_of_an_expert_that_are_missing_are_named(tmp_path):
    write_rows(tmp_path / "a.csv", [{"prompt_id": "p", "model": "gpt-4o", "answer": "A"}])
    with pytest.raises(OutcomesError, match="no answer of gemini-1.5-flash, gpt-4o-mini"):
        read_answers(tmp_path / "a.csv", EXPERTS)


def test_a_row_without_a_text_is_an_empty_answer_and_no_row_is_none(tmp_path):
    rows = [{"prompt_id": "p", "model": "gpt-4o", "answer": None}]
    write_rows(tmp_path / "a.parquet", rows)
    answers = read_answers(tmp_path / "a.parquet", ["gpt-4o"])
    assert answers.has_answers(["p", "q"], ["gpt-4o"]).tolist() == [True, False]


def test_where_no_prompt_has_all_of_the_answers_the_file_is_named(tables):
    outcomes, answers = tables
    texts = {key: text for key, text in answers.texts.items() if key[1] != EXPERTS[0]}
    with pytest.raises(OutcomesError, match="a.csv: has no prompt with an answer of each"):
        replay_plan(PAIR, outcomes, AnswerTable(texts, "a.csv"), quality_of(outcomes))


# The command


@pytest.fixture
def files(tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcomes, answers = tables
    write_answered_tables(tmp_path, outcomes, answers)
    experts = ""
    for name in EXPERTS:
        experts += f'[experts."{name}"]\nmodel = "{name}"\nbase_url = "http://127.0.0.1:9/v1"\n'
        experts += "input_usd_per_1m = 1\noutput_usd_per_1m = 2\nmax_output_tokens = 500\n"
        experts += "context_window = 8000\n"
    (tmp_path / "experts.toml").write_text(experts)
    (tmp_path / "routoo.toml").write_text(
        'router = "general-fast"\n[plans.pair]\nkind = "consensus"\n'
        f'experts = ["{EXPERTS[0]}", "{EXPERTS[1]}"]\nthen = "{EXPERTS[2]}"\n'
    )
    (tmp_path / "prices.csv").write_text(
        "model,input_usd_per_1m,output_usd_per_1m\n"
        + "".join(
            f"{name},{price},{price}\n" for name, price in zip(EXPERTS, (1, 2, 10), strict=True)
        )
    )
    return tmp_path


FIT = "plans fit --router general-fast --prompts p.csv --outcomes o.csv --answers a.csv --out grown"


def test_the_command_teaches_a_router_that_then_ranks_the_plan(files):
    command = f"{FIT} --outcomes-out op.csv --prices prices.csv --prices-out pp.csv --json"
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 0, done.output
    (fitted,) = json.loads(done.stdout)["plans"]
    assert fitted["name"] == "pair"
    assert fitted["prompts"] == COUNT / 4
    assert 2 < fitted["calls"] < 3
    assert fitted["shares"][:2] == [1.0, 1.0]

    text = (files / "routoo.toml").read_text().replace("general-fast", "grown")
    (files / "routoo.toml").write_text(f"{text}shares = {fitted['shares']}\n")
    router = Router.from_toml(files / "routoo.toml")
    names = {
        candidate.name
        for candidate in router.decide(RoutedRequest.from_text(question(900))).candidates
    }
    assert names == {*EXPERTS, "pair"}
    poem = router.decide(RoutedRequest.from_text("Write a poem about the sea."))
    assert {candidate.name for candidate in poem.candidates} == set(EXPERTS)

    models = set(read_table(files / "op.csv")["model"].to_pylist())
    assert models == {*EXPERTS, "pair"}
    assert "pair" in (files / "pp.csv").read_text()


def test_a_router_that_has_not_learnt_the_plan_says_how_it_learns_it(files):
    with pytest.raises(ConfigurationError, match="routoo plans fit"):
        Router.from_toml(files / "routoo.toml")


def test_a_plan_without_an_outcome_to_measure_is_refused_before_anything_is_written(files, tables):
    outcomes, answers = tables
    keep = [n for n, split in enumerate(outcomes.splits) if split == "train" or n > COUNT - 20]
    table = outcomes.take(np.array(keep))
    texts = []
    for text, split in zip(table.prompts, table.splits, strict=True):
        texts.append("Write a poem." if split == "dev" else text)
    prompts = Prompts(table.prompt_ids, tuple(texts), table.domains, table.splits)
    write_answered_tables(files, Outcomes(prompts, table.score_table), answers)
    done = CliRunner().invoke(app, FIT.split())
    assert isinstance(done.exception, OutcomesError)
    assert "plans.pair: no dev prompt suits it" in str(done.exception)
    assert not (files / "grown").exists()


def test_a_plan_that_compares_no_code_reads_no_probes(files):
    rows = read_table(files / "p.csv").to_pylist()
    write_rows(files / "p.csv", [{**row, "probes": "no list"} for row in rows])
    assert CliRunner().invoke(app, FIT.split()).exit_code == 0
    text = (files / "routoo.toml").read_text()
    (files / "routoo.toml").write_text(f'{text}compare = "code"\n')
    done = CliRunner().invoke(app, [*FIT.split(), "--overwrite"])
    assert "no list of Python expressions" in str(done.exception)


def test_nothing_is_replaced_and_faults_are_named_before_work(files):
    (files / "op.csv").write_text("mine")
    refused = CliRunner().invoke(app, f"{FIT} --outcomes-out op.csv".split())
    assert "op.csv" in str(refused.exception)
    assert (files / "op.csv").read_text() == "mine"
    unknown = CliRunner().invoke(app, f"{FIT} --plan other".split())
    assert "'other' is unknown; choose one of pair" in str(unknown.exception)
    lonely = CliRunner().invoke(app, f"{FIT} --prices prices.csv".split())
    assert "--prices-out" in str(lonely.exception)
    assert not (files / "grown").exists()


def test_the_command_counts_the_prompts_without_a_stored_answer(files):
    lines = (files / "a.csv").read_text().splitlines(keepends=True)
    (files / "a.csv").write_text("".join(lines[:1] + lines[2:]))
    done = CliRunner().invoke(app, f"{FIT} --json".split())
    assert done.exit_code == 0, done.output
    assert "Plan pair: 1 prompts lack an answer in a.csv" in " ".join(done.stderr.split())
    (fitted,) = json.loads(done.stdout)["plans"]
    assert fitted["prompts"] == COUNT / 4 - 1

"""A cascade whose answers a trained scorer accepts: learnt under a budget, served and replayed by one rule."""

import json
import shutil
import tomllib
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from eight_ways import WAYS, answer, billed, model_for
from gateway_parts import post, state_of
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from scored_tables import EXPERTS, GUESS, RIGHT, USD, made_tables, question

from routoo_core import Budget, Pool, RoutedRequest
from routoo_core.answer import Answer
from routoo_core.config import build_router
from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.measures.plan_replay import replay_plan
from routoo_core.plans import Ask, Cascade, Contribution, describe_plan, read_plans
from routoo_core.predictor.answer_scorer import AnswerReader, load_scorer, save_scorer
from routoo_core.progress import SilentProgress
from routoo_core.record import DecisionRecord
from routoo_core.testing import FakePredictor, Reply
from routoo_core.training.cascade_fit import cascade_tables, fit_cascades
from routoo_core.training.ladder_search import Ladder, LadderSearch, SearchPrompts
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer

BUDGET = 0.006


def costs_of(outcomes):
    return np.tile(np.array(USD), (len(outcomes.prompts), 1))


def fit_to(folder, budgets=(BUDGET,)):
    outcomes, answers = made_tables(3)
    return fit_cascades(outcomes, answers, costs_of(outcomes), budgets, "ladder", folder)


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    return fit_to(tmp_path_factory.mktemp("scorer"))


@pytest.fixture
def ladder(fit):
    return fit.cascades[0].plan


def make_router(endpoint, *plans, **options):
    limits = {"max_output_tokens": 256, "context_window": 20_000}
    experts = [
        endpoint.expert("cheap", **limits),
        endpoint.expert("dear", input_usd_per_1m=10, output_usd_per_1m=30, **limits),
    ]
    quality = {"cheap": 0.6, "dear": 0.8, **{plan.name: 0.9 for plan in plans}}
    budget = Budget(limit="1")
    router = FakePredictor(quality)
    return build_router(
        Pool(experts), router=router, policy="best", budget=budget, plans=plans, **options
    )


# Learning


def test_the_scorer_tells_right_answers_from_wrong_ones(fit):
    scorer = fit.cascades[0].plan.scorer
    request = RoutedRequest.from_text(question(12))
    prompt_scorer = scorer.for_prompt(request)
    assert prompt_scorer.probability(Answer(RIGHT), "cheap") > 0.9
    assert prompt_scorer.probability(Answer(GUESS), "cheap") < 0.1


def test_the_list_reaches_the_dear_experts_quality_within_the_budget(fit):
    (cascade,) = fit.cascades
    assert cascade.plan.experts == EXPERTS
    assert cascade.quality.mean > 0.95
    assert cascade.cost.mean <= BUDGET
    assert cascade.quality.low <= cascade.quality.mean <= cascade.quality.high
    assert cascade.best_expert == "cheap"
    assert cascade.gain.low > 0.2


@pytest.mark.parametrize("budget", [0.003, 0.004, 0.006])
@pytest.mark.parametrize("seed", [11, 12])
def test_fitted_thresholds_keep_the_budget_on_new_prompts(tmp_path, budget, seed):
    (cascade,) = fit_to(tmp_path, [budget]).cascades
    new, answers = made_tables(seed, count=500)
    replayed = replay_plan(cascade.plan, new, answers, np.full(new.scores.shape, 0.5))
    assert replayed.costs(costs_of(new), EXPERTS).mean() <= budget


def test_where_the_budget_pays_for_one_expert_alone_that_one_is_the_list(tmp_path):
    (cascade,) = fit_to(tmp_path, [0.0011]).cascades
    assert cascade.plan.experts == ("cheap",)
    with pytest.raises(
        ConfigurationError, match="--cost-per-call: 0.0005 is less than the cheapest"
    ):
        fit_to(tmp_path, [0.0005])


@given(seed=st.integers(0, 1000), share=st.floats(0.1, 1.0))
@settings(max_examples=25, deadline=None)
def test_the_search_keeps_the_budget_and_no_expert_within_it_is_better(seed, share):
    dice = np.random.default_rng(seed)
    probabilities = dice.random((60, 4))
    prompts = SearchPrompts(
        scores=(dice.random((60, 4)) < probabilities).astype(float),
        costs=dice.uniform(0.5, 1.5, (60, 4)) * [1, 2, 5, 20],
        probabilities=probabilities,
    )
    budget = 1.2 + 20 * share
    ladder = LadderSearch(prompts).best(budget)
    score, cost = ladder.outcome(prompts)
    assert cost.mean() <= budget
    for expert in range(4):
        alone, paid = Ladder((expert,)).outcome(prompts)
        if paid.mean() + 1.645 * paid.std() / 60**0.5 <= budget:
            assert score.mean() >= alone.mean()


class BarLog(SilentProgress):
    """Remembers how far each bar came."""

    def __init__(self):
        self.bars = {}

    @contextmanager
    def bar(self, description, total):
        steps = []
        yield lambda count, text=None: steps.append(count)
        self.bars[description] = (sum(steps), total)


def test_a_budget_that_is_the_one_price_is_enough():
    prompts = SearchPrompts(
        scores=np.full((400, 1), 0.5),
        costs=np.full((400, 1), 0.001),
        probabilities=np.full((400, 1), 0.5),
    )
    assert prompts.costs.mean() > 0.001  # by rounding alone
    assert LadderSearch(prompts).best(0.001).experts == (0,)
    assert prompts.best_single(0.001) == 0


def test_every_long_part_of_a_fit_shows_how_far_it_is(tmp_path):
    outcomes, answers = made_tables(3)
    log = BarLog()
    fit_cascades(outcomes, answers, costs_of(outcomes), [BUDGET], "ladder", tmp_path, log)
    names = ["Reading answers", "Fitting the scorer", "Searching lists of experts", "Plan ladder"]
    assert list(log.bars) == names
    for steps, total in log.bars.values():
        assert steps == total > 0


def test_a_prompt_is_read_once_for_all_answers_to_it(ladder):
    readings = []

    class Watched(AnswerReader):
        def read_prompt(self, request):
            readings.append(request.text)
            return super().read_prompt(request)

    scorer = replace(ladder.scorer, reader=Watched())
    three = Cascade(
        name="three", experts=("cheap", "dear", "cheap"), scorer=scorer, thresholds=(0.5, 0.5)
    )
    request = RoutedRequest.from_text(question(5))
    appraise = three.appraiser(request)
    probabilities = [appraise(step, Answer(GUESS)).probability for step in (0, 1, 2)]
    assert readings == [question(5)]
    assert None not in probabilities[:2]
    assert probabilities[2] is None  # the last answer stands, whatever it is


def test_an_answer_that_was_not_scored_is_not_accepted(ladder):
    request = RoutedRequest.from_text(question(5))
    assert ladder.verdict(request, [Contribution(0, "cheap", 0.5, Answer(RIGHT))]) == Ask((1,))


# Serving


@pytest.mark.parametrize("way", WAYS)
async def test_a_right_answer_stops_the_cascade(endpoint, ladder, way):
    endpoint.replies["cheap"] = Reply(RIGHT)
    router = make_router(endpoint, ladder)
    text, record = await answer(way, model_for(way, router), question(5))
    assert text == RIGHT
    assert record["plan"] == "ladder"
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["answered"]
    assert (state_of(router).held, state_of(router).spent) == (0, billed(endpoint, router))


@pytest.mark.parametrize("way", WAYS)
async def test_a_wrong_one_goes_on_to_the_next_expert(endpoint, ladder, way):
    endpoint.replies["cheap"] = Reply(GUESS)
    endpoint.replies["dear"] = Reply(RIGHT)
    router = make_router(endpoint, ladder)
    text, record = await answer(way, model_for(way, router), question(5))
    assert text == RIGHT
    assert record["expert"] == "dear"
    outcomes = [attempt["outcome"] for attempt in record["attempts"]]
    assert outcomes == ["contributed", "answered"]
    assert (state_of(router).held, state_of(router).spent) == (0, billed(endpoint, router))


@pytest.mark.parametrize("way", WAYS)
async def test_the_record_says_why_an_answer_was_accepted_or_not(endpoint, ladder, way):
    endpoint.replies["dear"] = Reply(RIGHT)
    prompt_scorer = ladder.scorer.for_prompt(RoutedRequest.from_text(question(5)))
    for text in (RIGHT, GUESS):
        endpoint.replies["cheap"] = Reply(text)
        router = make_router(endpoint, ladder)
        _, record = await answer(way, model_for(way, router), question(5))
        scored, *others = record["attempts"]
        assert scored["threshold"] == ladder.thresholds[0]
        expected = prompt_scorer.probability(Answer(text), "cheap")
        assert scored["probability"] == pytest.approx(expected)
        assert (scored["probability"] >= scored["threshold"]) is (record["expert"] == "cheap")
        assert [attempt["probability"] for attempt in others] == [None] * len(others)
        assert DecisionRecord.from_dict(record).to_dict()["attempts"] == record["attempts"]


def test_an_answer_that_failed_has_no_probability_in_the_record(endpoint, ladder):
    endpoint.replies["cheap"] = Reply(status=500)
    endpoint.replies["dear"] = Reply(RIGHT)
    model = model_for("langchain", make_router(endpoint, ladder))
    record = model.invoke(question(5)).response_metadata["routoo"]
    outcomes = [(attempt["outcome"], attempt["probability"]) for attempt in record["attempts"]]
    assert outcomes == [("failed", None), ("answered", None)]


@pytest.mark.parametrize("cheap", [Reply(status=500), Reply(RIGHT, finish_reason="length")])
async def test_a_reply_that_failed_or_was_cut_is_not_scored(endpoint, ladder, cheap):
    endpoint.replies["cheap"] = cheap
    endpoint.replies["dear"] = Reply(GUESS)
    router = make_router(endpoint, ladder)
    text, record = await answer("langchain whole", model_for("langchain", router), question(5))
    assert text == GUESS
    assert record["expert"] == "dear"
    assert state_of(router).held == 0


def test_a_replay_says_what_live_calls_do(endpoint, ladder):
    outcomes, answers = made_tables(21, count=40)
    replayed = replay_plan(ladder, outcomes, answers, np.full(outcomes.scores.shape, 0.5))
    id_of = dict(zip(outcomes.prompts, outcomes.prompt_ids, strict=True))

    def stored(body):
        prompt = body["messages"][-1]["content"]
        return Reply(answers.of(id_of[prompt], body["model"]).text)

    endpoint.replies.update(dict.fromkeys(EXPERTS, stored))
    model = model_for("langchain", make_router(endpoint, ladder))
    for row, prompt in enumerate(outcomes.prompts):
        record = model.invoke(prompt).response_metadata["routoo"]
        asked = [attempt["expert"] for attempt in record["attempts"]]
        assert asked == [name for place, name in enumerate(EXPERTS) if replayed.calls[row, place]]


def test_it_answers_through_the_gateway(endpoint, ladder):
    endpoint.replies["cheap"] = Reply(GUESS)
    endpoint.replies["dear"] = Reply(RIGHT)
    turns = [{"role": "user", "content": question(5)}]
    with GatewayServer(Gateway(make_router(endpoint, ladder)), port=0) as server:
        response = post(server, {"model": "routoo", "messages": turns, "max_tokens": 100})
        text = response.text
    assert "The answer is A." in text
    assert len(endpoint.requests) == 2


def test_a_prompt_with_an_image_goes_to_an_expert_and_the_record_says_why(endpoint, ladder):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    content = [{"type": "text", "text": question(5)}, image]
    experts = [
        endpoint.expert(name, capabilities=["images"], tokens_per_image=10) for name in EXPERTS
    ]
    quality = {"cheap": 0.6, "dear": 0.8, "ladder": 0.9}
    router = build_router(
        Pool(experts), router=FakePredictor(quality), policy="best", plans=[ladder]
    )
    request = RoutedRequest.from_messages([{"role": "user", "content": content}], max_tokens=20)
    record = router.decide(request).record()
    assert record.expert == "dear"
    assert record.to_dict()["unread"] == {"ladder": ["images"]}
    plain = router.decide(RoutedRequest.from_text(question(5), max_tokens=20)).record()
    assert plain.to_dict()["unread"] == {}
    assert type(record).from_dict(record.to_dict()) == record


# Configuration


def test_it_is_written_to_a_file_and_read_back_relative_to_that(fit, ladder, tmp_path):
    assert read_plans("routoo.toml", {"ladder": describe_plan(ladder)}, EXPERTS) == (ladder,)
    shutil.copytree(ladder.scorer.folder, tmp_path / "scorer")
    table = {**describe_plan(ladder), "scorer": "scorer"}
    (again,) = read_plans("routoo.toml", {"ladder": table}, EXPERTS, beside=tmp_path)
    assert again.scorer == ladder.scorer


def table_of(ladder, **changes):
    table = {**describe_plan(ladder), **changes}
    return {"ladder": {key: value for key, value in table.items() if value is not None}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": [0.5, 0.5]}, "thresholds: 2 numbers for 2 experts; give one for each"),
        ({"thresholds": [1.5]}, "plans.ladder: thresholds.0"),
        ({"scorer": None}, "thresholds: belong to a scorer"),
        ({"scorer": "nowhere"}, "scorer: nowhere: there is no such folder; `routoo plans fit-c"),
        ({"judge": "dear", "shares": None}, "judge: a scorer accepts answers already"),
        ({"experts": ["other", "dear"]}, "has not learnt answers of 'other', but of cheap, dear"),
    ],
)
def test_a_cascade_that_cannot_be_is_refused(ladder, changes, message):
    with pytest.raises(ConfigurationError) as caught:
        read_plans("routoo.toml", table_of(ladder, **changes), ["cheap", "dear", "other"])
    assert str(caught.value).startswith("routoo.toml: plans.ladder")
    assert message in str(caught.value)


def damage_weights(folder):
    (folder / "scorer.safetensors").write_bytes(b"damaged")


def lose_weights(folder):
    (folder / "scorer.safetensors").unlink()


def lose_config(folder):
    (folder / "config.json").unlink()


def be_of_another_kind(folder):
    (folder / "config.json").write_text('{"format": 1}')


def have_another_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    config["experts"] = ["cheap"]
    (folder / "config.json").write_text(json.dumps(config))


def hold_no_numbers(folder):
    path = folder / "scorer.safetensors"
    arrays = load_file(path)
    with safe_open(path, framework="numpy") as tensors:
        metadata = tensors.metadata()
    save_file({**arrays, "bias": np.full_like(arrays["bias"], np.nan)}, path, metadata)


def mix_two_fits(folder):
    """The weights of one fit beside the experts of another, which has as many."""
    config = json.loads((folder / "config.json").read_text())
    config["experts"] = config["experts"][::-1]
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("harm", "file"),
    [
        (damage_weights, "scorer.safetensors"),
        (lose_weights, "scorer.safetensors"),
        (lose_config, "config.json"),
        (be_of_another_kind, "config.json"),
        (have_another_shape, "scorer.safetensors"),
        (hold_no_numbers, "scorer.safetensors"),
        (mix_two_fits, "scorer.safetensors"),
    ],
)
def test_a_damaged_scorer_is_named_before_anything_is_asked(ladder, tmp_path, harm, file):
    folder = tmp_path / "scorer"
    shutil.copytree(ladder.scorer.folder, folder)
    harm(folder)
    with pytest.raises(CheckpointError) as caught:
        load_scorer(folder)
    assert str(folder / file) in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"routoo.toml: plans.ladder: scorer: .*; "):
        read_plans("routoo.toml", table_of(ladder, scorer=str(folder)), EXPERTS)


def test_a_scorer_that_is_in_no_folder_cannot_be_written_to_a_file(ladder):
    loose = replace(ladder.scorer, folder=None)
    plan = Cascade(name="ladder", experts=EXPERTS, scorer=loose, thresholds=(0.5,))
    with pytest.raises(ConfigurationError, match=r"plans.ladder.scorer: is in no folder"):
        describe_plan(plan)


def test_a_cascade_can_be_made_in_code(ladder):
    made = Cascade(
        name="ladder", experts=EXPERTS, scorer=ladder.scorer.folder, thresholds=ladder.thresholds
    )
    assert made.scorer == ladder.scorer


def test_a_scorer_whose_weights_cannot_be_written_leaves_the_one_before(
    ladder, tmp_path, monkeypatch
):
    folder = tmp_path / "scorer"
    save_scorer(folder, ladder.scorer)

    def fail(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr("routoo_core.predictor.answer_scorer.save_file", fail)
    other = replace(ladder.scorer, experts=("other", "dear"))
    with pytest.raises(OSError, match="no space left"):
        save_scorer(folder, other)
    assert load_scorer(folder).experts == EXPERTS


def test_a_plan_of_any_name_is_written_as_toml(fit):
    cascade = fit.cascades[0]
    for name in ("two words", 'a "b" \\ c', "Ré\U0001f600", "rub\x7fout", "dotted.name"):
        named = replace(cascade, plan=cascade.plan.model_copy(update={"name": name}))
        assert list(tomllib.loads(cascade_tables([named]))["plans"]) == [name]

"""A candidate's cost is its own: the answer's length is predicted for each prompt and expert."""

import numpy as np
import pytest

from routoo_core import Budget, Pool, RoutedRequest
from routoo_core.config import build_router
from routoo_core.predictor.base import Forecast, Forecaster, forecast
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.testing import FakePredictor
from routoo_core.training.lengths import add_expert_lengths, fit_lengths, length_error


def answers(prompts=600, seed=0):
    """The first expert writes more the larger the first feature, the second always about 50 tokens."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(prompts, 6)).astype(np.float32) * 10 + 3
    first = np.exp(4 + 0.05 * vectors[:, 0] + random.normal(size=prompts) * 0.2)
    second = np.exp(np.log(50) + random.normal(size=prompts) * 0.2)
    return vectors, np.stack([first, second], axis=1).astype(np.float32)


def test_lengths_follow_the_prompt_and_beat_each_experts_mean():
    vectors, lengths = answers()
    model, (unseen, truth) = fit_lengths(vectors, lengths), answers(seed=1)
    found = model.lengths(unseen)
    assert found.shape == (600, 2)
    assert length_error(found[:, :1], truth[:, :1]) < 0.6 * length_error(
        np.full((600, 1), lengths[:, 0].mean()), truth[:, :1]
    )
    np.testing.assert_allclose(
        found.mean(0), truth.mean(0), rtol=0.1
    )  # a mean of tokens, not of their logarithms


def test_missing_lengths_are_left_out_and_an_expert_without_any_gets_the_others_mean():
    vectors, lengths = answers()
    holes = np.where(np.random.default_rng(2).random(lengths.shape) < 0.3, np.nan, lengths).astype(
        np.float32
    )
    holes = np.concatenate([holes, np.full((600, 1), np.nan, np.float32)], axis=1)
    found = fit_lengths(vectors, holes).lengths(vectors)
    np.testing.assert_allclose(found[:, 0].mean(), lengths[:, 0].mean(), rtol=0.1)
    np.testing.assert_allclose(np.log(found[:, 2]), np.log(found[:, :2]).mean(1), atol=0.1)
    assert fit_lengths(vectors, np.full((600, 2), np.nan, np.float32)) is None


def test_a_new_expert_has_the_others_shape_and_its_own_level():
    vectors, lengths = answers()
    model = fit_lengths(vectors, lengths)
    grown = add_expert_lengths(model, vectors[:20], np.full(20, 500, np.float32))
    np.testing.assert_allclose(grown.lengths(vectors)[:, :2], model.lengths(vectors), rtol=1e-5)
    assert 400 < grown.lengths(vectors[:20])[:, 2].mean() < 600
    unknown = add_expert_lengths(model, vectors[:0], np.empty(0, np.float32)).lengths(vectors)[:, 2]
    assert lengths.min() < unknown.mean() < lengths.max()


def test_far_from_what_was_seen_lengths_stay_within_it():
    vectors, lengths = answers()
    model = fit_lengths(vectors, lengths)
    for far in (1e4, -1e4):
        found = model.lengths(np.full((1, 6), far, np.float32))[0]
        assert (lengths.min(0) <= found).all()
        assert (found <= lengths.max(0)).all()


class Lengthy(FakePredictor):
    """Knows that a prompt with "essay" takes 1,000 tokens, any other 10."""

    def forecast(self, prompts):
        lengths = [
            [1000.0 if "essay" in prompt else 10.0] * len(self.experts) for prompt in prompts
        ]
        return Forecast(self.predict(prompts), np.array(lengths, dtype=np.float32))


@pytest.fixture
def pool(endpoint):
    prices = {"input_usd_per_1m": 0, "output_usd_per_1m": 1}
    return Pool(
        [
            endpoint.expert("own", **prices),
            endpoint.expert("said", **prices, expected_output_tokens=77),
        ]
    )


@pytest.mark.parametrize("wrap", [lambda p: p, BatchingPredictor])
def test_expected_costs_use_the_predicted_length_unless_the_configuration_says_one(pool, wrap):
    predictor = wrap(Lengthy({"own": 0.5, "said": 0.5}))
    assert isinstance(predictor, Forecaster)
    router = build_router(pool, router=predictor, budget=Budget())
    for text, tokens in (("an essay on tides", 1000), ("2 + 2?", 10)):
        costs = {
            c.expert.name: c.expected_cost
            for c in router.decide(RoutedRequest.from_text(text)).candidates
        }
        assert costs == {"own": tokens * 1000, "said": 77_000}


def test_a_predictor_that_knows_no_lengths_leaves_the_typical_one(pool):
    router = build_router(pool, router=FakePredictor({"own": 0.5, "said": 0.5}), budget=Budget())
    costs = {
        c.expert.name: c.expected_cost
        for c in router.decide(RoutedRequest.from_text("2 + 2?")).candidates
    }
    assert costs["own"] == 300_000
    assert forecast(FakePredictor({"own": 0.5}), ["a"]).lengths is None
    assert BatchingPredictor(FakePredictor({"own": 0.5})).forecast(["a"]).lengths is None


def test_a_reply_is_never_expected_to_be_longer_than_it_may_be(pool):
    router = build_router(pool, router=Lengthy({"own": 0.5, "said": 0.5}), budget=Budget())
    request = RoutedRequest.from_text("an essay", max_tokens=40)
    assert {c.expected_cost for c in router.decide(request).candidates} == {40_000}

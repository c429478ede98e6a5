"""A head learns one more expert from few labels; the older ones are not touched."""

import numpy as np
import pytest
import torch

from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.predictor.head_ensemble import HeadEnsemble
from routoo_core.predictor.heads import HEADS, HeadShape
from routoo_core.training.new_expert import add_expert

KINDS = pytest.mark.parametrize("kind", HEADS)


def make(kind, members=2, experts=6):
    torch.manual_seed(0)
    shape = HeadShape(dim=12, experts=experts, levels=2, width=8, dropout=0.1, domains=3)
    heads = [HEADS[kind](shape).eval() for _ in range(members)]
    with torch.no_grad():
        for head in heads:
            for parameter in head.parameters():
                parameter.mul_(2) if parameter.any() else parameter.normal_()
    return heads


def ensemble_quality(heads, vectors):
    return HeadEnsemble(heads).quality(vectors)


def prompts(count, seed=1):
    return np.random.default_rng(seed).normal(size=(count, 12)).astype(np.float32) * 2


@KINDS
def test_the_older_experts_parameters_are_the_same_to_the_bit_and_their_predictions_but_for_rounding(
    kind,
):
    heads, vectors = make(kind), prompts(60)
    before = ensemble_quality(heads, vectors)
    grown = add_expert(heads, vectors, np.round(before[:, 0]))
    for old, new in zip(heads, grown, strict=True):
        for name, value in old.state_dict().items():
            kept = new.state_dict()[name]
            assert torch.equal(kept[: len(value)] if kept.shape != value.shape else kept, value), (
                name
            )
    after = ensemble_quality(grown, vectors)
    assert after.shape == (60, 7)
    np.testing.assert_allclose(
        after[:, :6], before, atol=1e-6
    )  # how a product is summed depends on its size


@KINDS
@pytest.mark.filterwarnings("ignore:no labels")
def test_labels_bring_a_new_expert_nearer_to_the_one_it_is_like(kind):
    heads, vectors, unseen = make(kind, members=1), prompts(800), prompts(300, seed=2)
    odds = ensemble_quality(heads, vectors)[:, 3]
    labels = (np.random.default_rng(3).random(800) < odds).astype(np.float32)

    def miss(count):
        learnt = ensemble_quality(add_expert(heads, vectors[:count], labels[:count]), unseen)
        return np.abs(learnt[:, -1] - learnt[:, 3]).mean()

    assert miss(800) < miss(0)
    assert miss(800) < 0.1


@KINDS
def test_without_labels_it_is_its_prior_and_a_warning_says_so(kind):
    heads, none = make(kind), np.empty((0, 12), np.float32)
    with pytest.warns(UserWarning, match="no labels: the new expert is a copy of expert 2"):
        grown = add_expert(heads, none, np.empty(0, np.float32), prior=2)
    quality = ensemble_quality(grown, prompts(20))
    np.testing.assert_allclose(quality[:, -1], quality[:, 2], atol=1e-5)
    with pytest.warns(UserWarning, match="the mean of the 6 older ones"):
        add_expert(heads, none, np.empty(0, np.float32))


def test_the_same_labels_give_the_same_expert():
    vectors = prompts(40)
    labels = (vectors[:, 0] > 0).astype(np.float32)
    one, two = (
        ensemble_quality(add_expert(make("mlp"), vectors, labels), vectors) for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("scores", [np.full(10, 1.5), np.full(10, np.nan), np.zeros(9)])
def test_labels_that_are_not_one_score_a_prompt_are_refused(scores):
    with pytest.raises(OutcomesError):
        add_expert(make("mlp"), prompts(10), scores.astype(np.float32))


def test_a_prior_or_vectors_that_do_not_fit_are_refused():
    with pytest.raises(ConfigurationError, match="prior"):
        add_expert(make("mlp"), prompts(10), np.zeros(10, np.float32), prior=99)
    with pytest.raises(ConfigurationError):
        add_expert(make("mlp"), prompts(10)[:, :5], np.zeros(10, np.float32))
    with pytest.raises(ConfigurationError):
        add_expert([], prompts(10), np.zeros(10, np.float32))

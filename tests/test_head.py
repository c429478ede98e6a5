"""Heads turn a prompt's vector into a level for every expert."""

import numpy as np
import pytest
import torch

from routoo_core.predictor.head import HEADS, DifferenceHead, expected_level
from routoo_core.predictor.training import masked_cross_entropy


def make(kind, levels=2, seed=0):
    torch.manual_seed(seed)
    return HEADS[kind](dim=16, experts=5, levels=levels, width=8, dropout=0.0).eval()


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("levels", [2, 4])
def test_every_head_scores_all_experts_at_once_between_0_and_1(kind, levels):
    head, vectors = make(kind, levels), torch.randn(7, 16) * 3
    assert head(vectors).shape == (7, 5, levels)
    quality = head.expected_level(vectors)
    assert quality.shape == (7, 5)
    assert ((quality >= 0) & (quality <= 1)).all()


def test_the_difference_head_is_the_papers_linear_of_the_difference():
    head, query = make("difference", levels=3), torch.randn(4, 16)
    assert isinstance(head, DifferenceHead)
    differences = query.unsqueeze(1) - head.expert.weight.unsqueeze(0)
    torch.testing.assert_close(head(query), head.linear(differences), atol=1e-5, rtol=1e-5)


def test_the_difference_head_with_two_levels_ranks_experts_alike_for_every_prompt():
    quality = make("difference").expected_level(torch.randn(50, 16))
    assert len({tuple(row.argsort().tolist()) for row in quality}) == 1


@pytest.mark.parametrize("kind", ["bilinear", "hadamard", "mlp"])
def test_an_interaction_head_can_rank_them_differently(kind):
    head = make(kind)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(3)
    quality = head.expected_level(torch.randn(200, 16) * 3)
    assert len({tuple(row.argsort().tolist()) for row in quality}) > 1


def test_the_expected_level_is_scaled_to_one():
    logits = torch.log(torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(expected_level(logits), torch.tensor([0.5, 1.0]))


def test_pairs_nobody_observed_carry_no_loss():
    logits, target = torch.randn(6, 3, 2), torch.randint(0, 2, (6, 3))
    seen = torch.rand(6, 3) > 0.5
    flipped = torch.where(seen, target, 1 - target)
    assert masked_cross_entropy(logits, target, seen) == masked_cross_entropy(logits, flipped, seen)
    assert masked_cross_entropy(logits, target, torch.zeros(6, 3, dtype=torch.bool)) == 0


def test_dimensions_are_standardised_by_the_training_prompts():
    head, vectors = make("mlp"), torch.randn(100, 16) * torch.logspace(-3, 3, 16) + 5
    head.fit_scale(vectors)
    scaled = (vectors - head.mean) / head.scale
    np.testing.assert_allclose(scaled.std(0), 1, rtol=1e-3)

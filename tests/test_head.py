"""Heads turn a prompt's vector into a level for every expert."""

import numpy as np
import pytest
import torch

from routoo_core.predictor.heads import HEADS, DifferenceHead, HeadShape, expected_level
from routoo_core.training.head_ensemble import masked_cross_entropy, training_loss
from routoo_core.training.labels import Labels


def make(kind, levels=2, seed=0):
    torch.manual_seed(seed)
    return HEADS[kind](HeadShape(dim=16, experts=5, levels=levels, width=8, dropout=0.0)).eval()


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


@pytest.mark.parametrize("kind", ["domain", "bilinear", "hadamard", "mlp"])
def test_an_interaction_head_can_rank_them_differently(kind):
    head = make(kind)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter)).mul_(3)
    quality = head.expected_level(torch.randn(200, 16) * 3)
    assert len({tuple(row.argsort().tolist()) for row in quality}) > 1


def test_the_expected_level_is_scaled_to_one():
    logits = torch.log(torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(expected_level(logits), torch.tensor([0.5, 1.0]))


def test_pairs_nobody_observed_carry_no_loss():
    logits, target = torch.randn(6, 3, 2), torch.randint(0, 2, (6, 3))
    seen, domain = torch.rand(6, 3) > 0.5, torch.zeros(6, dtype=torch.long)
    flipped = torch.where(seen, target, 1 - target)
    given, other = Labels(target, seen, domain), Labels(flipped, seen, domain)
    assert masked_cross_entropy(logits, given) == masked_cross_entropy(logits, other)
    assert masked_cross_entropy(logits, Labels(target, torch.zeros_like(seen), domain)) == 0


def test_the_domain_heads_table_starts_from_what_was_seen_in_each_domain():
    head = HEADS["domain"](HeadShape(dim=4, experts=2, levels=2, width=8, dropout=0.0, domains=2))
    domain = torch.tensor([0] * 300 + [1] * 300 + [-1] * 300)
    target = torch.stack(
        [domain == 0, domain == 1], dim=1
    ).long()  # each expert is good in a domain of its own
    head.fill_table(target, torch.ones_like(target, dtype=torch.bool), domain)
    odds = head.table[..., 1] - head.table[..., 0]  # experts × domains
    assert (odds.diagonal() > 2).all()
    assert (odds.fliplr().diagonal() < -2).all()
    torch.testing.assert_close(odds.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    head.fill_table(target, torch.zeros_like(target, dtype=torch.bool), domain)
    torch.testing.assert_close(head.table, torch.zeros_like(head.table))


def test_prompts_of_unknown_domain_carry_no_loss_for_it():
    torch.manual_seed(0)
    head, vectors = HEADS["domain"](HeadShape(4, 2, 2, 8, 0.0, 3)).eval(), torch.randn(5, 4)
    target, seen = torch.zeros(5, 2, dtype=torch.long), torch.ones(5, 2, dtype=torch.bool)

    def loss(*domain):
        return training_loss(head, vectors, Labels(target, seen, torch.tensor(domain)), 1.0).item()

    assert (
        loss(-1, -1, -1, -1, -1)
        == masked_cross_entropy(head(vectors), Labels(target, seen, torch.zeros(5))).item()
    )
    assert loss(0, 1, 2, 0, 1) > loss(-1, -1, -1, -1, -1)


def test_dimensions_are_standardised_by_the_training_prompts():
    head, vectors = make("mlp"), torch.randn(100, 16) * torch.logspace(-3, 3, 16) + 5
    head.fit_scale(vectors)
    scaled = (vectors - head.mean) / head.scale
    np.testing.assert_allclose(scaled.std(0), 1, rtol=1e-3)

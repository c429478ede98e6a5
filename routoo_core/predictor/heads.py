"""Vector × expert embedding → logits over K levels (paper §3.2), for all experts in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

GATE_WIDTH = 128
GATE_DROPOUT = 0.5
TABLE_PRIOR = 20.0
"""Weight, in prompts, of an expert's overall mean against its mean in one domain."""


@dataclass(frozen=True)
class HeadShape:
    """Sizes of a head.

    Attributes:
        dim: Length of a prompt's vector.
        experts: Number of experts M.
        levels: Number of score levels K, at least 2.
        width: Length the prompt's vector is projected to (``difference`` keeps ``dim``).
        dropout: On the prompt's vector, while training.
        domains: Number of domains G that ``domain`` distinguishes; the other heads ignore it.
    """

    dim: int
    experts: int
    levels: int
    width: int
    dropout: float
    domains: int = 1


class Head(nn.Module):
    """Predicts the level of every expert on every prompt; subclasses define how vector and embedding interact."""

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.levels = shape.levels
        self.epochs = 0
        """How many epochs it was trained for."""
        self.register_buffer("mean", torch.zeros(shape.dim))
        self.register_buffer("scale", torch.ones(shape.dim))
        self.dropout = nn.Dropout(shape.dropout)

    def fit_scale(self, vectors: Tensor) -> None:
        """Standardise the encoder's dimensions, which differ by orders of magnitude."""
        self.mean = vectors.mean(0)
        self.scale = vectors.std(0).clamp_min(1e-6)

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits of shape (prompts, experts, K) for vectors of shape (prompts, dim)."""
        return self.interact(self.standardised(vectors))

    def standardised(self, vectors: Tensor) -> Tensor:
        """The vectors with mean 0 and deviation 1 in each dimension, with dropout while training."""
        standard: Tensor = self.dropout((vectors - self.mean) / self.scale)
        return standard

    def interact(self, query: Tensor) -> Tensor:
        """Logits for standardised vectors."""
        raise NotImplementedError

    def expected_level(self, vectors: Tensor) -> Tensor:
        """Expected level divided by K - 1: quality in 0–1, shape (prompts, experts)."""
        return expected_level(self(vectors))


class DomainHead(Head):
    """How hard the prompt is, how good each expert is in its domain, and a linear term of each expert.

    ``Linear(P h_q) + Σ_d P(d | q) T_md + E_m P h_q``. Which of several good experts is best varies little within a
    domain and much between domains, so the table T learns it from far fewer prompts than a free interaction does.
    """

    def __init__(self, shape: HeadShape) -> None:
        super().__init__(shape)
        self.project = nn.Sequential(
            nn.Linear(shape.dim, shape.width), nn.GELU(), nn.Dropout(shape.dropout)
        )
        self.shared = nn.Linear(shape.width, shape.levels)
        self.expert = nn.Parameter(torch.zeros(shape.experts, shape.levels, shape.width))
        self.table = nn.Parameter(torch.zeros(shape.experts, shape.domains, shape.levels))
        self.tell = nn.Sequential(
            nn.Linear(shape.dim, GATE_WIDTH),
            nn.GELU(),
            nn.Dropout(GATE_DROPOUT),
            nn.Linear(GATE_WIDTH, shape.domains),
        )

    @torch.no_grad()
    def fill_table(self, target: Tensor, observed: Tensor, domain: Tensor) -> None:
        """Start from the share of each level in each domain, shrunk to the expert's overall share.

        Entries are log-shares minus their mean over the experts.

        Args:
            target: Observed level, (prompts, experts).
            observed: Which pairs were observed, (prompts, experts).
            domain: 0 … G - 1, or -1 where unknown, (prompts,).
        """
        one_hot = functional.one_hot(target, self.levels).float()
        level_counts = one_hot * observed.unsqueeze(-1)
        smooth_counts = level_counts.sum(0) + 1
        overall_share = smooth_counts / smooth_counts.sum(-1, keepdim=True)

        for number in range(self.table.shape[1]):
            counts = level_counts[domain == number].sum(0)
            total = counts.sum(-1, keepdim=True)
            share = (counts + TABLE_PRIOR * overall_share) / (total + TABLE_PRIOR)
            log_share = share.log()
            self.table[:, number] = log_share - log_share.mean(0)

    def domain(self, vectors: Tensor) -> Tensor:
        """Logits of the prompt's domain, (prompts, G)."""
        logits: Tensor = self.tell(self.standardised(vectors))
        return logits

    def interact(self, query: Tensor) -> Tensor:
        """The term that all experts share, the table's row of the domain, and each expert's own term."""
        hidden = self.project(query)
        domain_share = self.tell(query).softmax(-1)
        experts = len(self.expert)

        # One product for each expert: in a single large one, another expert changes the last bits of all.
        by_domain = torch.bmm(domain_share.expand(experts, -1, -1), self.table)
        by_expert = torch.bmm(hidden.expand(experts, -1, -1), self.expert.transpose(1, 2))

        by_prompt: Tensor = self.shared(hidden).unsqueeze(1)
        return (by_domain + by_expert).transpose(0, 1) + by_prompt


class DifferenceHead(Head):
    """The paper's ``Linear(h_q - h_m)``; the order of experts is the same for every prompt when K = 2."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__(shape)
        self.expert = nn.Embedding(shape.experts, shape.dim)
        self.linear = nn.Linear(shape.dim, shape.levels)
        nn.init.normal_(self.expert.weight, std=0.02)

    def interact(self, query: Tensor) -> Tensor:
        """Linear of the difference, for every pair."""
        # Linear is affine, so Linear(q - m) = Linear(q) - W m: no (prompts × experts × dim) tensor is built.
        of_query: Tensor = self.linear(query).unsqueeze(1)
        of_experts = self.expert.weight @ self.linear.weight.T
        return of_query - of_experts.unsqueeze(0)


class BilinearHead(Head):
    """One linear classifier for each expert on the projected vector: ``e_m · P h_q + b_m``."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__(shape)
        self.project = nn.Linear(shape.dim, shape.width)
        embeddings = torch.randn(shape.experts, shape.levels, shape.width)
        self.expert = nn.Parameter(embeddings * shape.width**-0.5 * 0.1)
        self.bias = nn.Parameter(torch.zeros(shape.experts, shape.levels))

    def interact(self, query: Tensor) -> Tensor:
        """A dot product for every expert and level."""
        # One product for each expert: in a single large one, another expert changes the last bits of all.
        projection = self.project(query).expand(len(self.expert), -1, -1)
        by_expert = torch.bmm(projection, self.expert.transpose(1, 2))
        return by_expert.transpose(0, 1) + self.bias


class HadamardHead(Head):
    """``Linear(P h_q ⊙ e_m) + Linear(P h_q) + b_m``: the expert gates the prompt's features."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__(shape)
        self.project = nn.Sequential(nn.Linear(shape.dim, shape.width), nn.GELU())
        self.expert = nn.Embedding(shape.experts, shape.width)
        self.gated = nn.Linear(shape.width, shape.levels)
        self.shared = nn.Linear(shape.width, shape.levels)
        self.bias = nn.Parameter(torch.zeros(shape.experts, shape.levels))

    def interact(self, query: Tensor) -> Tensor:
        """Gated features of every pair, and a term that all experts share."""
        hidden = self.project(query)
        pairs = hidden.unsqueeze(1) * self.expert.weight.unsqueeze(0)
        by_pair: Tensor = self.gated(pairs)
        by_prompt: Tensor = self.shared(hidden).unsqueeze(1)
        return by_pair + by_prompt + self.bias


class MlpHead(Head):
    """An MLP on ``[P h_q, h_m, P h_q ⊙ h_m]``, with a bias for each expert."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__(shape)
        width = shape.width
        self.project = nn.Sequential(
            nn.Linear(shape.dim, width), nn.GELU(), nn.Dropout(shape.dropout)
        )
        self.expert = nn.Embedding(shape.experts, width)
        self.mlp = nn.Sequential(
            nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, shape.levels)
        )
        self.bias = nn.Parameter(torch.zeros(shape.experts, shape.levels))

    def interact(self, query: Tensor) -> Tensor:
        """The MLP on every pair."""
        prompts = len(query)
        experts = self.expert.num_embeddings
        hidden = self.project(query).unsqueeze(1).expand(-1, experts, -1)
        expert = self.expert.weight.unsqueeze(0).expand(prompts, -1, -1)
        features = torch.cat([hidden, expert, hidden * expert], dim=-1)
        logits: Tensor = self.mlp(features)
        return logits + self.bias


HEADS: dict[str, type[Head]] = {
    "domain": DomainHead,
    "difference": DifferenceHead,
    "bilinear": BilinearHead,
    "hadamard": HadamardHead,
    "mlp": MlpHead,
}
"""Heads by the name that ``head`` gives them in ``train.toml``; a new one is a class and a line here."""


def expected_level(logits: Tensor) -> Tensor:
    """Expected level over K - 1, 0–1: ``Σ k·P(k) / (K - 1)`` over the last axis."""
    count = logits.shape[-1]
    levels = torch.arange(count, dtype=logits.dtype, device=logits.device)
    mean_level = logits.softmax(-1) @ levels
    return mean_level / (count - 1)

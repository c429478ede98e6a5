"""Vector × expert embedding → logits over K levels (paper §3.2), for all experts in one pass."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

_GATE_WIDTH, _GATE_DROPOUT = 128, 0.5
_TABLE_PRIOR = 20.0  # prompts' worth of belief in an expert's own mean
HeadKind = Literal["domain", "difference", "bilinear", "hadamard", "mlp"]


class Head(nn.Module):
    """Scores every expert on every prompt; subclasses say how vector and embedding meet.

    Args:
        dim: Length of a prompt's vector.
        experts: Number of experts M.
        levels: Number of score levels K, at least 2.
        width: Length the prompt's vector is projected to (``difference`` keeps ``dim``).
        dropout: On the prompt's vector, while training.
        domains: Number of domains G that ``domain`` tells apart; the others do not use it.
    """

    def __init__(
        self, dim: int, experts: int, levels: int, width: int, dropout: float, domains: int = 1
    ) -> None:
        super().__init__()
        self.levels = levels
        self.epochs = 0  # that it was trained for
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.dropout = nn.Dropout(dropout)

    def fit_scale(self, vectors: Tensor) -> None:
        """Standardise the encoder's dimensions, which differ by orders of magnitude."""
        self.mean = vectors.mean(0)
        self.scale = vectors.std(0).clamp_min(1e-6)

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits of shape (prompts, experts, K) for vectors of shape (prompts, dim)."""
        return self.interact(self.dropout((vectors - self.mean) / self.scale))

    def interact(self, query: Tensor) -> Tensor:
        """Logits for standardised vectors."""
        raise NotImplementedError

    def expected_level(self, vectors: Tensor) -> Tensor:
        """Expected level divided by K - 1: quality in 0–1, shape (prompts, experts)."""
        return expected_level(self(vectors))


class DomainHead(Head):
    """How hard the prompt is, how good each expert is in its domain, and a linear taste of each expert.

    ``Linear(P h_q) + Σ_d P(d | q) T_md + E_m P h_q``. Which of several good experts is best varies little within a
    domain and much between domains, so the table T learns it from far fewer prompts than a free interaction does.
    """

    def __init__(
        self, dim: int, experts: int, levels: int, width: int, dropout: float, domains: int = 1
    ) -> None:
        super().__init__(dim, experts, levels, width, dropout, domains)
        self.project = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Dropout(dropout))
        self.shared = nn.Linear(width, levels)
        self.expert = nn.Parameter(torch.zeros(experts, levels, width))
        self.table = nn.Parameter(torch.zeros(experts, domains, levels))
        self.tell = nn.Sequential(
            nn.Linear(dim, _GATE_WIDTH),
            nn.GELU(),
            nn.Dropout(_GATE_DROPOUT),
            nn.Linear(_GATE_WIDTH, domains),
        )

    @torch.no_grad()
    def fill_table(self, target: Tensor, observed: Tensor, domain: Tensor) -> None:
        """Start from the levels seen in each domain, shrunk to the expert's own: log-shares, less their mean.

        Args:
            target: Observed level, (prompts, experts).
            observed: Which pairs were observed, (prompts, experts).
            domain: 0 … G - 1, or -1 where unknown, (prompts,).
        """
        seen = functional.one_hot(target, self.levels).float() * observed.unsqueeze(-1)
        own = (seen.sum(0) + 1) / (seen.sum(0) + 1).sum(-1, keepdim=True)
        for place in range(self.table.shape[1]):
            here = seen[domain == place].sum(0)
            share = (here + _TABLE_PRIOR * own) / (here.sum(-1, keepdim=True) + _TABLE_PRIOR)
            self.table[:, place] = share.log() - share.log().mean(0)

    def domain(self, vectors: Tensor) -> Tensor:
        """Logits of the prompt's domain, (prompts, G)."""
        told: Tensor = self.tell(self.dropout((vectors - self.mean) / self.scale))
        return told

    def interact(self, query: Tensor) -> Tensor:
        """What all experts share, the table's row of the domain, and each expert's own."""
        hidden = self.project(query)
        # One product for each expert: in a single large one, another expert changes the last bits of all.
        by_domain = torch.bmm(
            self.tell(query).softmax(-1).expand(len(self.table), -1, -1), self.table
        )
        own = torch.bmm(hidden.expand(len(self.expert), -1, -1), self.expert.transpose(1, 2))
        shared: Tensor = self.shared(hidden).unsqueeze(1)
        return (by_domain + own).transpose(0, 1) + shared


class DifferenceHead(Head):
    """The paper's ``Linear(h_q - h_m)``; the order of experts is the same for every prompt when K = 2."""

    def __init__(
        self, dim: int, experts: int, levels: int, width: int, dropout: float, domains: int = 1
    ) -> None:
        super().__init__(dim, experts, levels, width, dropout, domains)
        self.expert = nn.Embedding(experts, dim)
        self.linear = nn.Linear(dim, levels)
        nn.init.normal_(self.expert.weight, std=0.02)

    def interact(self, query: Tensor) -> Tensor:
        """Linear of the difference, for every pair."""
        # Linear is affine, so Linear(q - m) = Linear(q) - W m: no (prompts × experts × dim) tensor is built.
        shared: Tensor = self.linear(query).unsqueeze(1)
        return shared - (self.expert.weight @ self.linear.weight.T).unsqueeze(0)


class BilinearHead(Head):
    """One linear classifier for each expert on the projected vector: ``e_m · P h_q + b_m``."""

    def __init__(
        self, dim: int, experts: int, levels: int, width: int, dropout: float, domains: int = 1
    ) -> None:
        super().__init__(dim, experts, levels, width, dropout, domains)
        self.project = nn.Linear(dim, width)
        self.expert = nn.Parameter(torch.randn(experts, levels, width) * width**-0.5 * 0.1)
        self.bias = nn.Parameter(torch.zeros(experts, levels))

    def interact(self, query: Tensor) -> Tensor:
        """A dot product for every expert and level."""
        # One product for each expert: in a single large one, another expert changes the last bits of all.
        query = self.project(query).expand(len(self.expert), -1, -1)
        return torch.bmm(query, self.expert.transpose(1, 2)).transpose(0, 1) + self.bias


class HadamardHead(Head):
    """``Linear(P h_q ⊙ e_m) + Linear(P h_q) + b_m``: the expert gates the prompt's features."""

    def __init__(
        self, dim: int, experts: int, levels: int, width: int, dropout: float, domains: int = 1
    ) -> None:
        super().__init__(dim, experts, levels, width, dropout, domains)
        self.project = nn.Sequential(nn.Linear(dim, width), nn.GELU())
        self.expert = nn.Embedding(experts, width)
        self.gated = nn.Linear(width, levels)
        self.shared = nn.Linear(width, levels)
        self.bias = nn.Parameter(torch.zeros(experts, levels))

    def interact(self, query: Tensor) -> Tensor:
        """Gated features of every pair, and what all experts share."""
        hidden = self.project(query)
        gated: Tensor = self.gated(hidden.unsqueeze(1) * self.expert.weight.unsqueeze(0))
        shared: Tensor = self.shared(hidden).unsqueeze(1)
        return gated + shared + self.bias


class MlpHead(Head):
    """An MLP on ``[P h_q, h_m, P h_q ⊙ h_m]``, with a bias for each expert."""

    def __init__(
        self, dim: int, experts: int, levels: int, width: int, dropout: float, domains: int = 1
    ) -> None:
        super().__init__(dim, experts, levels, width, dropout, domains)
        self.project = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Dropout(dropout))
        self.expert = nn.Embedding(experts, width)
        self.mlp = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, levels))
        self.bias = nn.Parameter(torch.zeros(experts, levels))

    def interact(self, query: Tensor) -> Tensor:
        """The MLP on every pair."""
        hidden = self.project(query).unsqueeze(1).expand(-1, self.expert.num_embeddings, -1)
        expert = self.expert.weight.unsqueeze(0).expand(len(query), -1, -1)
        meeting: Tensor = self.mlp(torch.cat([hidden, expert, hidden * expert], dim=-1))
        return meeting + self.bias


HEADS: dict[str, type[Head]] = {
    "domain": DomainHead,
    "difference": DifferenceHead,
    "bilinear": BilinearHead,
    "hadamard": HadamardHead,
    "mlp": MlpHead,
}


def expected_level(logits: Tensor) -> Tensor:
    """Expected level over K - 1, 0–1: ``Σ k·P(k) / (K - 1)`` over the last axis."""
    levels = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return logits.softmax(-1) @ levels / (logits.shape[-1] - 1)

"""Outcomes → trained heads (paper §3.2, Eq. 1): cross-entropy over the observed pairs, early stopping on dev."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from routoo_core.outcomes import Outcomes
from routoo_core.predictor.encoder import Vectors
from routoo_core.predictor.heads import DomainHead, Head
from routoo_core.training.labels import Labels, labels, prompt_domains
from routoo_core.training.settings import Progress, TrainingConfig


def train_heads(
    outcomes: Outcomes,
    vectors: Vectors,
    config: TrainingConfig,
    progress: Progress = lambda _: None,
    loss: Loss | None = None,
) -> list[Head]:
    """Train ``config.members`` heads on the ``train`` rows, stopping each on the ``dev`` rows.

    Args:
        outcomes: N prompts × M experts; missing pairs carry no loss.
        vectors: The encoder's, shape (N, dim), in the outcomes' order.
        config: Head and optimiser.
        progress: Called with a line after each epoch.
        loss: Instead of :func:`training_loss`.
    """
    domain, count = prompt_domains(outcomes, vectors, config)
    parts = {
        split: _labelled(outcomes, vectors, domain, split, config.levels)
        for split in ("train", "dev")
    }
    run = partial(
        _train_one, parts["train"], parts["dev"], count, config, progress, loss or training_loss
    )
    return [run(member) for member in range(config.members)]


Loss = Callable[[Head, Tensor, Labels, float], Tensor]
"""Head, vectors (n, dim), what was observed, weight of the domains → what is made small."""


@dataclass(frozen=True)
class _Part:
    """Vectors (n, dim) of one split, and what was observed of them."""

    vectors: Tensor = field(repr=False)
    labels: Labels = field(repr=False)


def _labelled(
    outcomes: Outcomes, vectors: Vectors, domain: NDArray[np.int64], split: str, levels: int
) -> _Part:
    rows = outcomes.rows(split)
    given = torch.from_numpy(np.ascontiguousarray(vectors[rows]))
    return _Part(given, labels(outcomes.take(rows), domain[rows], levels))


def _train_one(
    train: _Part,
    dev: _Part,
    domains: int,
    config: TrainingConfig,
    progress: Progress,
    loss: Loss,
    member: int,
) -> Head:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + member)
        head = config.make_head(train.vectors.shape[1], train.labels.target.shape[1], domains)
        head.fit_scale(train.vectors)
        if isinstance(head, DomainHead):
            head.fill_table(train.labels.target, train.labels.observed, train.labels.domain)
        optimiser = torch.optim.AdamW(
            head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        best, state, stale = math.inf, head.state_dict(), 0
        for epoch in range(config.epochs):
            _epoch(head, optimiser, train, config, loss)
            found = _dev_loss(head, dev if len(dev.vectors) else train)
            progress(
                f"member {member + 1}/{config.members} · epoch {epoch + 1} · dev loss {found:.4f}"
            )
            if found < best:
                best, stale, head.epochs = found, 0, epoch + 1
                state = {name: value.detach().clone() for name, value in head.state_dict().items()}
            elif (stale := stale + 1) >= config.patience:
                break
        head.load_state_dict(state)
    return head.eval()


def _epoch(
    head: Head, optimiser: torch.optim.Optimizer, part: _Part, config: TrainingConfig, loss: Loss
) -> None:
    head.train()
    for rows in torch.split(torch.randperm(len(part.vectors)), config.batch_size):
        optimiser.zero_grad()
        loss(head, part.vectors[rows], part.labels.take(rows), config.domain_weight).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


@torch.inference_mode()
def _dev_loss(head: Head, part: _Part) -> float:
    head.eval()
    return float(masked_cross_entropy(head(part.vectors), part.labels))


def training_loss(head: Head, vectors: Tensor, given: Labels, domain_weight: float) -> Tensor:
    """Cross-entropy over the observed pairs (Eq. 1), and over the domains where the head tells them apart."""
    loss = masked_cross_entropy(head(vectors), given)
    if not isinstance(head, DomainHead):
        return loss
    known = (given.domain >= 0).sum().clamp_min(1)
    told = functional.cross_entropy(
        head.domain(vectors), given.domain, ignore_index=-1, reduction="sum"
    )
    return loss + domain_weight * told / known


def masked_cross_entropy(logits: Tensor, given: Labels) -> Tensor:
    """Mean cross-entropy over the observed pairs (Eq. 1), for logits (n, M, K)."""
    losses = functional.cross_entropy(
        logits.flatten(0, 1), given.target.flatten(), reduction="none"
    )
    weights = given.observed.flatten().to(losses.dtype)
    return (losses * weights).sum() / weights.sum().clamp_min(1)

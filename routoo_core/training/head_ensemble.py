"""Outcomes → trained heads (paper §3.2, Eq. 1): cross-entropy over the observed pairs, early stopping on dev."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from routoo_core.predictor.head_ensemble import EnsembleSettings, HeadEnsemble
from routoo_core.predictor.heads import DomainHead, Head
from routoo_core.progress import Update
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.labels import Labels, PromptDomains, make_labels, prompt_domains


class HeadTrainingSettings(EnsembleSettings):
    """Settings of ``performance``.

    Attributes:
        domain_weight: Weight of the domain's cross-entropy in the loss of the ``domain`` head.
        clusters: How many clusters stand in for domains in tables that name none; 0 is 16.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        batch_size: Prompts in one step.
        epochs: At most so many.
        patience: Epochs without a better dev loss before stopping.
    """

    domain_weight: Annotated[float, Field(ge=0)] = 0.3
    clusters: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    batch_size: Annotated[int, Field(ge=1)] = 64
    epochs: Annotated[int, Field(ge=1)] = 40
    patience: Annotated[int, Field(ge=1)] = 4


Loss = Callable[[Head, Tensor, Labels, float], Tensor]
"""Head, vectors (n, dim), labels, weight of the domains → the loss to minimise."""


def no_updates(message: str, /) -> None:
    """Report nothing."""


def fit_head_ensemble(
    data: EncodedOutcomes,
    settings: HeadTrainingSettings,
    seed: int = 0,
    progress: Update = no_updates,
    loss: Loss | None = None,
) -> HeadEnsemble:
    """Train every member on the ``train`` rows, stopping each on the ``dev`` rows.

    Args:
        data: N prompts × M experts; missing pairs carry no loss.
        settings: Head and optimiser.
        seed: Of the first member; each further one has the next seed.
        progress: Called with a line after each epoch.
        loss: Instead of :func:`training_loss`.
    """
    domains = prompt_domains(data, settings.clusters, seed)
    training = _HeadTraining(
        train=_split(data, domains, "train", settings.levels),
        dev=_split(data, domains, "dev", settings.levels),
        domains=domains.count,
        settings=settings,
        loss=loss or training_loss,
    )

    heads = []
    for member in range(settings.members):
        report = _add_prefix(progress, f"member {member + 1}/{settings.members}")
        heads.append(training.train_member(seed + member, report))
    return HeadEnsemble(heads)


def settings_for_all_rows(
    settings: HeadTrainingSettings, ensemble: HeadEnsemble
) -> HeadTrainingSettings:
    """Without dev rows there is no early stopping: as many epochs as were best on ``dev``."""
    epochs = [head.epochs for head in ensemble.heads]
    median_epochs = round(float(np.median(epochs)))
    return settings.model_copy(update={"epochs": median_epochs})


@dataclass(frozen=True)
class _Split:
    """The rows of one split.

    Attributes:
        vectors: (n, dim).
        labels: Of the same n prompts.
    """

    vectors: Tensor = field(repr=False)
    labels: Labels = field(repr=False)


def _split(data: EncodedOutcomes, domains: PromptDomains, split: str, levels: int) -> _Split:
    rows = data.outcomes.rows(split)
    vectors = torch.from_numpy(np.ascontiguousarray(data.vectors[rows]))
    labels = make_labels(data.outcomes.take(rows), domains.number[rows], levels)
    return _Split(vectors, labels)


def _add_prefix(progress: Update, prefix: str) -> Update:
    def report(message: str, /) -> None:
        progress(f"{prefix} · {message}")

    return report


@dataclass(frozen=True)
class _HeadTraining:
    """Everything that is the same for all members."""

    train: _Split
    dev: _Split
    domains: int
    settings: HeadTrainingSettings
    loss: Loss

    def train_member(self, seed: int, progress: Update) -> Head:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = self._new_head()
            self._train(head, progress)
        return head.eval()

    def _new_head(self) -> Head:
        labels = self.train.labels
        dim = self.train.vectors.shape[1]
        experts = labels.target.shape[1]
        head = self.settings.make_head(dim, experts, self.domains)
        head.fit_scale(self.train.vectors)
        if isinstance(head, DomainHead):
            head.fill_table(labels.target, labels.observed, labels.domain)
        return head

    def _train(self, head: Head, progress: Update) -> None:
        """Train with early stopping; the head ends in the state of its best epoch."""
        optimiser = torch.optim.AdamW(
            head.parameters(),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )
        best_loss = math.inf
        best_state = head.state_dict()
        best_epoch = 0
        for epoch in range(1, self.settings.epochs + 1):
            self._run_epoch(head, optimiser)
            dev_loss = self._dev_loss(head)
            progress(f"epoch {epoch} · dev loss {dev_loss:.4f}")

            if dev_loss < best_loss:
                best_loss = dev_loss
                best_epoch = epoch
                best_state = _copy_state(head)
            elif epoch - best_epoch >= self.settings.patience:
                break
        head.load_state_dict(best_state)
        head.epochs = best_epoch

    def _run_epoch(self, head: Head, optimiser: torch.optim.Optimizer) -> None:
        head.train()
        order = torch.randperm(len(self.train.vectors))
        for rows in torch.split(order, self.settings.batch_size):
            optimiser.zero_grad()
            vectors = self.train.vectors[rows]
            labels = self.train.labels.take(rows)
            loss = self.loss(head, vectors, labels, self.settings.domain_weight)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    @torch.inference_mode()
    def _dev_loss(self, head: Head) -> float:
        """The loss on dev; on train where there is no dev prompt."""
        split = self.dev if len(self.dev.vectors) else self.train
        head.eval()
        return float(masked_cross_entropy(head(split.vectors), split.labels))


def _copy_state(head: Head) -> dict[str, Tensor]:
    state = {}
    for name, value in head.state_dict().items():
        state[name] = value.detach().clone()
    return state


def training_loss(head: Head, vectors: Tensor, labels: Labels, domain_weight: float) -> Tensor:
    """Cross-entropy over the observed pairs (Eq. 1), and over the domains for a head that predicts them."""
    loss = masked_cross_entropy(head(vectors), labels)
    if not isinstance(head, DomainHead):
        return loss

    prompts_with_domain = (labels.domain >= 0).sum().clamp_min(1)
    domain_loss = functional.cross_entropy(
        head.domain(vectors), labels.domain, ignore_index=-1, reduction="sum"
    )
    return loss + domain_weight * domain_loss / prompts_with_domain


def masked_cross_entropy(logits: Tensor, labels: Labels) -> Tensor:
    """Mean cross-entropy over the observed pairs (Eq. 1), for logits (n, M, K)."""
    losses = functional.cross_entropy(
        logits.flatten(0, 1), labels.target.flatten(), reduction="none"
    )
    weights = labels.observed.flatten().to(losses.dtype)
    return (losses * weights).sum() / weights.sum().clamp_min(1)

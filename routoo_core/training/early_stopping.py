"""One training loop: steps over shuffled batches, and the epoch whose loss on the dev prompts was least."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from routoo_core.errors import ConfigurationError
from routoo_core.progress import Update
from routoo_core.settings import Settings
from routoo_core.training.encoded import EncodedOutcomes

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs (prompts, outputs), scores (prompts, experts) with NaN where not observed → the mean loss to minimise."""


def mean_of(losses: Tensor) -> Tensor:
    """The mean of the losses of all observed pairs; 0 for a batch in which nothing was observed."""
    return losses.sum() / max(losses.numel(), 1)


class ScheduleSettings(Settings):
    """How long a module is trained, and by what steps.

    Attributes:
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        batch_size: Prompts in one step.
        epochs: At most so many.
        patience: Epochs without a better dev loss before stopping.
    """

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    batch_size: Annotated[int, Field(ge=1)] = 64
    epochs: Annotated[int, Field(ge=1)] = 30
    patience: Annotated[int, Field(ge=1)] = 3


@dataclass(frozen=True)
class SplitTensors:
    """The rows of one split.

    Attributes:
        vectors: (prompts, dim).
        scores: (prompts, experts), NaN where not observed.
    """

    vectors: Tensor = field(repr=False)
    scores: Tensor = field(repr=False)

    @classmethod
    def of(cls, data: EncodedOutcomes, split: str) -> SplitTensors:
        """The prompts of a split."""
        rows = data.outcomes.rows(split)
        vectors = np.ascontiguousarray(data.vectors[rows])
        return cls(torch.from_numpy(vectors), torch.from_numpy(data.outcomes.scores[rows]))


def train_with_early_stopping(
    module: nn.Module,
    data: EncodedOutcomes,
    loss: Loss,
    settings: ScheduleSettings,
    progress: Update,
) -> int:
    """Train on the ``train`` rows; the module ends in the state of its best epoch.

    Args:
        module: Vectors → outputs.
        data: Without ``dev`` rows all epochs are run.
        loss: What is minimised.
        settings: How long, and by what steps.
        progress: Called with a line after each epoch that was measured.

    Returns:
        The best epoch, from 1.

    Raises:
        ConfigurationError: The loss is not finite.
    """
    train = SplitTensors.of(data, "train")
    dev = SplitTensors.of(data, "dev")
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    best_loss = math.inf
    best_epoch = settings.epochs
    best_state = _state(module)
    for epoch in range(1, settings.epochs + 1):
        _train_epoch(module, train, loss, settings.batch_size, optimiser)
        if not len(dev.vectors):
            continue
        dev_loss = _mean_loss(module, dev, loss, settings.batch_size)
        if not math.isfinite(dev_loss):
            raise ConfigurationError(
                f"learning_rate: {settings.learning_rate} lets the loss become {dev_loss} in epoch {epoch}; lower it"
            )
        progress(f"epoch {epoch} · dev loss {dev_loss:.4f}")
        if dev_loss < best_loss:
            best_loss = dev_loss
            best_epoch = epoch
            best_state = _state(module)
        elif epoch - best_epoch >= settings.patience:
            break
    if len(dev.vectors):
        module.load_state_dict(best_state)
    return best_epoch


def _train_epoch(
    module: nn.Module,
    train: SplitTensors,
    loss: Loss,
    batch_size: int,
    optimiser: torch.optim.Optimizer,
) -> None:
    module.train()
    for rows in torch.split(torch.randperm(len(train.vectors)), batch_size):
        optimiser.zero_grad()
        loss(module(train.vectors[rows]), train.scores[rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    module.eval()


@torch.inference_mode()
def _mean_loss(module: nn.Module, split: SplitTensors, loss: Loss, batch_size: int) -> float:
    """Mean over the batches."""
    losses = []
    for rows in torch.split(torch.arange(len(split.vectors)), batch_size):
        losses.append(loss(module(split.vectors[rows]), split.scores[rows]))
    return float(torch.stack(losses).mean())


def _state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that is trained."""
    return {name: value.clone() for name, value in module.state_dict().items()}

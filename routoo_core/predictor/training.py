"""Outcomes → a trained head (paper §3.2, Eq. 1): cross-entropy over the observed pairs, early stopping on dev."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from routoo_core.errors import ConfigurationError
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.adapter import LoraSettings
from routoo_core.predictor.encoder import EncoderSettings, Vectors
from routoo_core.predictor.head import HEADS, Head, HeadKind, expected_level
from routoo_core.settings import Settings

Progress = Callable[[str], None]


class TrainingConfig(Settings):
    """How a router is trained; every field may be set in ``train.toml``.

    Attributes:
        algorithm: ``performance`` (encoder and heads, the paper's kind) or ``knn`` (encoder and neighbours).
        encoder: The query encoder.
        lora: Train the encoder too, after the heads; without it the encoder stays frozen.
        head: How prompt and expert meet; ``difference`` is the paper's.
        width: Length the prompt's vector is projected to.
        levels: Score levels K; a score of 0–1 is rounded to the nearest.
        neighbours: Places that count for ``knn``.
        clusters: Gather the training prompts of ``knn`` in so many places; 0 keeps each.
        members: Heads trained from different seeds; their probabilities are averaged.
        open_questions: Also train on multiple-choice prompts without their choices.
        patience: Epochs without a better dev loss before stopping.
    """

    algorithm: Literal["performance", "knn"] = "performance"
    encoder: EncoderSettings = EncoderSettings()
    lora: LoraSettings | None = None
    open_questions: bool = True
    head: HeadKind = "mlp"
    width: Annotated[int, Field(ge=1)] = 96
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    levels: Annotated[int, Field(ge=2)] = 2
    neighbours: Annotated[int, Field(ge=1)] = 40
    clusters: Annotated[int, Field(ge=0)] = 0
    members: Annotated[int, Field(ge=1)] = 4
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    batch_size: Annotated[int, Field(ge=1)] = 64
    epochs: Annotated[int, Field(ge=1)] = 40
    patience: Annotated[int, Field(ge=1)] = 4
    seed: int = 0

    @model_validator(mode="after")
    def _check_lora(self) -> TrainingConfig:
        if self.lora and self.algorithm != "performance":
            raise ValueError(f"lora: {self.algorithm!r} has no heads to train it with; leave lora out")
        if self.lora and self.encoder.layers and self.lora.first_layer > max(self.encoder.layers):
            raise ValueError(f"lora.first_layer: {self.lora.first_layer} lies above the encoder's deepest layer")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "lora": {"lora": {}},
    "paper": {
        "encoder": {"model": "mistralai/Mistral-7B-v0.1", "layers": [], "pooling": "last"},
        "head": "difference",
        "members": 1,
        "open_questions": False,
        "lora": {"first_layer": 1, "rank": 1024, "alpha": 16, "dropout": 0.05, "checkpointing": True},
    },
    "knn": {"algorithm": "knn"},
}
"""Named starting points of a TrainingConfig. ``paper`` is §4.1; it gives no learning rate, epochs or batch size."""


def preset(name: str, where: str = "train.toml", changes: Mapping[str, Any] | None = None) -> TrainingConfig:
    """A preset, with what a file changes in it; tables are merged field by field.

    Raises:
        ConfigurationError: The preset is unknown, or a field is.
    """
    if name not in PRESETS:
        raise ConfigurationError(f"--preset: {name!r} is unknown; choose one of {', '.join(PRESETS)}")
    return TrainingConfig.read(where, _merged(PRESETS[name], changes or {}))


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merged(base[key], changes[key]) for key in base if _is_table(base, key) and _is_table(changes, key)}
    return {**base, **changes, **both}


def _is_table(values: Mapping[str, Any], key: str) -> bool:
    return isinstance(values.get(key), Mapping)


def train_heads(
    outcomes: Outcomes, vectors: Vectors, config: TrainingConfig, progress: Progress = lambda _: None
) -> list[Head]:
    """Train ``config.members`` heads on the ``train`` rows, stopping each on the ``dev`` rows.

    Args:
        outcomes: N prompts × M experts; missing pairs carry no loss.
        vectors: The encoder's, shape (N, dim), in the outcomes' order.
        config: Head and optimiser.
        progress: Called with a line after each epoch.
    """
    parts = {split: _tensors(outcomes, vectors, split, config.levels) for split in ("train", "dev")}
    return [_train_one(parts["train"], parts["dev"], config, config.seed + k, progress) for k in range(config.members)]


Part = tuple[Tensor, Tensor, Tensor]


def _tensors(outcomes: Outcomes, vectors: Vectors, split: str, levels: int) -> Part:
    """Vectors (n, dim), target levels (n, M) and mask of observed pairs (n, M) of one split."""
    rows = outcomes.rows(split)
    return torch.from_numpy(np.ascontiguousarray(vectors[rows])), *targets(outcomes.scores[rows], levels)


def targets(scores: NDArray[np.float32], levels: int) -> tuple[Tensor, Tensor]:
    """Level (n, M) nearest to each score, and mask of the observed pairs (n, M)."""
    given = torch.from_numpy(scores)
    return (given.nan_to_num() * (levels - 1)).round().long(), ~given.isnan()


def _train_one(train: Part, dev: Part, config: TrainingConfig, seed: int, progress: Progress) -> Head:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = HEADS[config.head](train[0].shape[1], train[1].shape[1], config.levels, config.width, config.dropout)
        head.fit_scale(train[0])
        optimiser = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        best, state, stale = math.inf, head.state_dict(), 0
        for epoch in range(config.epochs):
            _epoch(head, optimiser, train, config.batch_size)
            loss = _dev_loss(head, dev if len(dev[0]) else train)
            progress(f"member {seed - config.seed + 1}/{config.members} · epoch {epoch + 1} · dev loss {loss:.4f}")
            if loss < best:
                best, stale = loss, 0
                state = {name: value.detach().clone() for name, value in head.state_dict().items()}
            elif (stale := stale + 1) >= config.patience:
                break
        head.load_state_dict(state)
    return head.eval()


def _epoch(head: Head, optimiser: torch.optim.Optimizer, part: Part, batch_size: int) -> None:
    head.train()
    for rows in torch.split(torch.randperm(len(part[0])), batch_size):
        optimiser.zero_grad()
        masked_cross_entropy(head(part[0][rows]), part[1][rows], part[2][rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


@torch.inference_mode()
def _dev_loss(head: Head, part: Part) -> float:
    head.eval()
    return float(masked_cross_entropy(head(part[0]), part[1], part[2]))


def masked_cross_entropy(logits: Tensor, target: Tensor, observed: Tensor) -> Tensor:
    """Mean cross-entropy over the observed pairs (Eq. 1); logits (n, M, K), the others (n, M)."""
    losses = functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    weights = observed.flatten().to(losses.dtype)
    return (losses * weights).sum() / weights.sum().clamp_min(1)


@torch.inference_mode()
def ensemble_quality(heads: list[Head], vectors: Vectors) -> NDArray[np.float32]:
    """Quality averaged over the members, shape (prompts, experts), 0–1."""
    batch = torch.from_numpy(vectors)
    quality: NDArray[np.float32] = torch.stack([expected_level(head(batch)) for head in heads]).mean(0).numpy()
    return quality

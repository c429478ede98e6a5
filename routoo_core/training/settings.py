"""Outcomes → a trained head (paper §3.2, Eq. 1): cross-entropy over the observed pairs, early stopping on dev."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
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
from routoo_core.predictor.heads import HEADS, DomainHead, Head, HeadKind, expected_level
from routoo_core.predictor.neighbours import fit_profiles
from routoo_core.settings import Settings

Progress = Callable[[str], None]
_CLUSTERS = 16


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
        clusters: Gather the training prompts of ``knn`` in so many places; 0 keeps each. For the ``domain`` head, how
            many stand in for domains in tables that name none; 0 is 16.
        domain_weight: What telling the domains apart counts in the loss of the ``domain`` head.
        members: Heads trained from different seeds; their probabilities are averaged.
        open_questions: Also train on multiple-choice prompts without their choices.
        patience: Epochs without a better dev loss before stopping.
        refit: Once measured, train anew on the ``dev`` prompts too, for as many epochs; not with ``lora``.
    """

    algorithm: Literal["performance", "knn"] = "performance"
    encoder: EncoderSettings = EncoderSettings()
    lora: LoraSettings | None = None
    open_questions: bool = True
    head: HeadKind = "domain"
    domain_weight: Annotated[float, Field(ge=0)] = 0.3
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
    refit: bool = True

    def make_head(self, dim: int, experts: int, domains: int) -> Head:
        """An untrained head."""
        return HEADS[self.head](dim, experts, self.levels, self.width, self.dropout, domains)

    @model_validator(mode="after")
    def _check_lora(self) -> TrainingConfig:
        if self.lora and self.algorithm != "performance":
            raise ValueError(
                f"lora: {self.algorithm!r} has no heads to train it with; leave lora out"
            )
        if self.lora and self.encoder.layers and self.lora.first_layer > max(self.encoder.layers):
            raise ValueError(
                f"lora.first_layer: {self.lora.first_layer} lies above the encoder's deepest layer"
            )
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "lora": {"lora": {}},
    "paper": {
        "encoder": {"model": "mistralai/Mistral-7B-v0.1", "layers": [], "pooling": "last"},
        "head": "difference",
        "members": 1,
        "open_questions": False,
        "lora": {
            "first_layer": 1,
            "rank": 1024,
            "alpha": 16,
            "dropout": 0.05,
            "checkpointing": True,
        },
    },
    "knn": {"algorithm": "knn"},
}
"""Named starting points of a TrainingConfig. ``paper`` is §4.1; it gives no learning rate, epochs or batch size."""


def preset(
    name: str, where: str = "train.toml", changes: Mapping[str, Any] | None = None
) -> TrainingConfig:
    """A preset, with what a file changes in it; tables are merged field by field.

    Raises:
        ConfigurationError: The preset is unknown, or a field is.
    """
    if name not in PRESETS:
        raise ConfigurationError(
            f"--preset: {name!r} is unknown; choose one of {', '.join(PRESETS)}"
        )
    return TrainingConfig.read(where, _merged(PRESETS[name], changes or {}))


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(base[key], changes[key])
        for key in base
        if _is_table(base, key) and _is_table(changes, key)
    }
    return {**base, **changes, **both}


def _is_table(values: Mapping[str, Any], key: str) -> bool:
    return isinstance(values.get(key), Mapping)


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


@dataclass(frozen=True)
class Labels:
    """What was observed of n prompts.

    Attributes:
        target: Level of each score, (n, M).
        observed: Which pairs were, (n, M).
        domain: 0 … G - 1, or -1 where unknown, (n,).
    """

    target: Tensor = field(repr=False)
    observed: Tensor = field(repr=False)
    domain: Tensor = field(repr=False)

    def take(self, rows: Tensor | list[int]) -> Labels:
        """Those of these prompts only."""
        return Labels(self.target[rows], self.observed[rows], self.domain[rows])

    def to(self, device: torch.device) -> Labels:
        """The same elsewhere."""
        return Labels(self.target.to(device), self.observed.to(device), self.domain.to(device))


Loss = Callable[[Head, Tensor, Labels, float], Tensor]
"""Head, vectors (n, dim), what was observed, weight of the domains → what is made small."""


def labels(outcomes: Outcomes, domain: NDArray[np.int64], levels: int) -> Labels:
    """Everything the loss is measured against, in the outcomes' order."""
    return Labels(*targets(outcomes.scores, levels), torch.from_numpy(domain))


def targets(scores: NDArray[np.float32], levels: int) -> tuple[Tensor, Tensor]:
    """Level (n, M) nearest to each score, and mask of the observed pairs (n, M)."""
    given = torch.from_numpy(scores)
    return (given.nan_to_num() * (levels - 1)).round().long(), ~given.isnan()


def prompt_domains(
    outcomes: Outcomes, vectors: Vectors, config: TrainingConfig
) -> tuple[NDArray[np.int64], int]:
    """Each prompt's domain, -1 where unknown, and how many there are; clusters where the table names no domains."""
    train = outcomes.rows("train")
    names = sorted({outcomes.domains[row] for row in train} - {""})
    if names:
        place = {name: number for number, name in enumerate(names)}
        return np.array([place.get(name, -1) for name in outcomes.domains], dtype=np.int64), len(
            names
        )
    places = fit_profiles(
        outcomes, vectors, min(config.clusters or _CLUSTERS, len(train)), config.seed
    )
    return places.near(vectors, 1)[:, 0], len(places.places)


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


@torch.inference_mode()
def ensemble_quality(heads: list[Head], vectors: Vectors) -> NDArray[np.float32]:
    """Quality averaged over the members, shape (prompts, experts), 0–1."""
    batch = torch.from_numpy(vectors)
    quality: NDArray[np.float32] = (
        torch.stack([expected_level(head(batch)) for head in heads]).mean(0).numpy()
    )
    return quality

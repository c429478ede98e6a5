"""Outcomes → a trained head (paper §3.2, Eq. 1): cross-entropy over the observed pairs, early stopping on dev."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from routoo_core.errors import ConfigurationError
from routoo_core.predictor.adapter import LoraSettings
from routoo_core.predictor.encoder import EncoderSettings, Vectors
from routoo_core.predictor.heads import HEADS, Head, HeadKind, expected_level
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


@torch.inference_mode()
def ensemble_quality(heads: list[Head], vectors: Vectors) -> NDArray[np.float32]:
    """Quality averaged over the members, shape (prompts, experts), 0–1."""
    batch = torch.from_numpy(vectors)
    quality: NDArray[np.float32] = (
        torch.stack([expected_level(head(batch)) for head in heads]).mean(0).numpy()
    )
    return quality

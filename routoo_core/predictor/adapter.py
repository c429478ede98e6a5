"""LoRA on an encoder's layers: the adapted matrices, their file, and how they are merged again (paper §4.1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.predictor.weights import check_finite
from routoo_core.settings import Settings
from routoo_core.text import parse_json

FOLDER = "adapter"
WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."  # how peft names what it wraps
_DOWN = ".lora_A.weight"
_UP = ".lora_B.weight"
_FULL = "FULL"
"""Stands in the configuration of a folder that holds all weights."""


class LoraSettings(Settings):
    """Settings of LoRA: the matrices and layers that are trained together with the heads, and how.

    Attributes:
        first_layer: The lowest trained layer, counted from 1. The layers below are run once for all epochs; their
            output stays in memory (2 bytes × hidden size × tokens, in bfloat16). With 1 nothing stays in memory.
        rank: r of the adapters (the paper: 1024).
        alpha: Scale; the adapters are multiplied by alpha / rank.
        dropout: On the input of the adapters.
        matrices: Names of the linear maps in a layer (the paper: query, key and value).
        learning_rate: The highest one of the adapters; it rises over the first tenth and falls to zero.
        head_learning_rate: The highest one of the heads, which were trained before.
        batch_size: Prompts in one forward pass.
        accumulate: Passes before one step of the optimiser.
        all_weights: Train every weight of the encoder instead of adapters; ``first_layer``, ``rank``, ``alpha``,
            ``dropout`` and ``matrices`` then say nothing. Only for ``bert`` and ``causal``.
        checkpointing: Recompute activations instead of keeping them: slower, far less memory.
    """

    first_layer: Annotated[int, Field(ge=1)] = 13
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(gt=0)] = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    matrices: Annotated[tuple[str, ...], Field(min_length=1)] = ("q_proj", "k_proj", "v_proj")
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    head_learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    epochs: Annotated[int, Field(ge=1)] = 3
    batch_size: Annotated[int, Field(ge=1)] = 32
    accumulate: Annotated[int, Field(ge=1)] = 1
    checkpointing: bool = False
    all_weights: bool = False


def adapted_modules(model: nn.Module, lora: LoraSettings) -> list[str]:
    """Full names of the linear maps that get an adapter.

    Raises:
        ConfigurationError: No linear map has one of these names at or above the first layer.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    modules = []
    for name in linear:
        if _matrix_name(name) in lora.matrices and _layer_number(name) >= lora.first_layer:
            modules.append(name)
    if not modules:
        available = sorted({_matrix_name(name) for name in linear})
        depth = max(map(_layer_number, linear), default=0)
        raise ConfigurationError(
            f"lora: no matrix {', '.join(lora.matrices)} in layer {lora.first_layer} or above; "
            f"the encoder has {', '.join(available)} in {depth} layers"
        )
    return modules


@dataclass(frozen=True)
class Adapter:
    """A trained LoRA adapter, in peft's format on disk.

    Attributes:
        rank: r.
        alpha: Scale; ``W + alpha / rank · B A`` is the adapted matrix (LoRA, Eq. 3).
        weights: A, (rank, in), and B, (out, rank), named ``place.lora_A.weight`` and ``place.lora_B.weight``.
    """

    rank: int
    alpha: float
    weights: dict[str, Tensor] = field(repr=False)

    @classmethod
    def from_peft(cls, rank: int, alpha: float, state: Mapping[str, Tensor]) -> Adapter:
        """From a state dict of peft, by its names."""
        weights = {}
        for name, value in state.items():
            weights[name.removeprefix(_PREFIX)] = value
        return cls(rank, alpha, weights)

    @property
    def places(self) -> list[str]:
        """Full names of the adapted linear maps."""
        modules = []
        for name in self.weights:
            if name.endswith(_DOWN):
                modules.append(name.removesuffix(_DOWN))
        return sorted(modules)

    def save(self, folder: Path, model: str) -> None:
        """Write what peft's ``PeftModel.from_pretrained`` reads, for the encoder called ``model``."""
        config = {
            "peft_type": "LORA",
            "base_model_name_or_path": model,
            "inference_mode": True,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "target_modules": self.places,
        }
        weights = {_PREFIX + name: value.contiguous() for name, value in self.weights.items()}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file(weights, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        """Read what :meth:`save` or peft wrote.

        Raises:
            CheckpointError: The folder is damaged, or the adapter is not plain LoRA.
        """
        try:
            config: dict[str, Any] = parse_json((folder / _CONFIG).read_text(encoding="utf-8"))
            weights = load_file(folder / WEIGHTS)
            check_finite(folder / WEIGHTS, weights)
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(
                f"{folder}: cannot be read ({error}); copy the router's whole folder again"
            ) from error
        if config.get("peft_type") == _FULL:
            return FullWeights.of(weights)
        if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("use_rslora"):
            raise CheckpointError(f"{folder / _CONFIG}: only plain LoRA adapters can be merged")
        return cls.from_peft(config["r"], config["lora_alpha"], weights)

    @torch.no_grad()
    def merge_into(self, model: nn.Module) -> None:
        """Add the adapter to the weights it was trained for.

        The same as peft's ``merge_and_unload``, without importing peft, which takes longer than loading a router.

        Raises:
            CheckpointError: The adapter is of another model.
        """
        modules = dict(model.named_modules())
        scale = self.alpha / self.rank
        for name in self.places:
            down = self.weights[name + _DOWN].float()
            up = self.weights[name + _UP].float()
            layer = modules.get(name)
            shape = (up.shape[0], down.shape[1])
            if not isinstance(layer, nn.Linear) or layer.weight.shape != shape:
                raise CheckpointError(
                    f"adapter: {name} does not fit the encoder; use the one it was trained with"
                )
            layer.weight.copy_(layer.weight.float() + scale * (up @ down))

    def fingerprint(self) -> str:
        """SHA-256 over the weights, shortened."""
        digest = hashlib.sha256(f"{self.rank} {self.alpha}".encode())
        for name in sorted(self.weights):
            digest.update(name.encode() + self.weights[name].float().numpy().tobytes())
        return digest.hexdigest()[:16]


class FullWeights(Adapter):
    """All weights of an encoder, as full fine-tuning left them."""

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> FullWeights:
        """Make an adapter from weights by their names in the encoder."""
        return cls(rank=0, alpha=0.0, weights=dict(weights))

    def save(self, folder: Path, model: str) -> None:
        """Write what :meth:`Adapter.load` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {"peft_type": _FULL, "base_model_name_or_path": model}
        (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        weights = {name: value.contiguous() for name, value in self.weights.items()}
        save_file(weights, folder / WEIGHTS)

    @torch.no_grad()
    def merge_into(self, model: nn.Module) -> None:
        """Put the weights in place of the encoder's.

        Raises:
            CheckpointError: They are of another model.
        """
        parameters = dict(model.named_parameters())
        for name, value in self.weights.items():
            if name not in parameters or parameters[name].shape != value.shape:
                raise CheckpointError(
                    f"adapter: {name} does not fit the encoder; use the one it was trained with"
                )
            parameters[name].copy_(value)


def _matrix_name(module: str) -> str:
    return module.split(".")[-1]


def _layer_number(module: str) -> int:
    """The layer a module belongs to, counted from 1; 0 when it belongs to none."""
    for part in module.split("."):
        if part.isdigit():
            return int(part) + 1
    return 0

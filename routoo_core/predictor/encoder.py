"""Text → vector: chosen layers of any Hugging Face decoder or encoder, pooled over the tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from transformers import AutoConfig, AutoModel, AutoTokenizer

from routoo_core import embedded
from routoo_core.errors import ConfigurationError
from routoo_core.predictor.adapter import Adapter
from routoo_core.settings import Settings

EMBEDDED = f"embedded:{embedded.MODEL}"
GGUF_SUFFIX = ".gguf"
Pooling = Literal["mean", "last", "cls"]
Vectors = NDArray[np.float32]


class EncoderSettings(Settings):
    """Which vector stands for a prompt.

    Attributes:
        model: ``embedded:…``, a hub id, a local folder, or a local ``.gguf`` file.
        revision: The hub revision; ignored for what is local.
        layers: Hidden layers to pool and concatenate, 1 … depth, rising; empty is the last (with its final norm).
        pooling: ``mean`` over tokens, ``last`` token (paper §3.2), or ``cls`` (first).
        max_tokens: Longer prompts keep their head and their tail.
    """

    model: str = EMBEDDED
    revision: str | None = None
    layers: tuple[Annotated[int, Field(ge=1)], ...] = (12, 16, 20)
    pooling: Pooling = "mean"
    max_tokens: Annotated[int, Field(ge=8)] = 512

    @field_validator("layers")
    @classmethod
    def _rising(cls, layers: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(set(layers)) != list(layers):
            raise ValueError(
                f"{list(layers)} does not rise; give each layer once, the lowest first"
            )
        return layers


class Encoder:
    """A language model up to the deepest layer asked for; layers above are not even loaded.

    ``Encoder.load(EncoderSettings()).encode(["Why is the sky blue?"])`` has shape (1, dim).
    """

    def __init__(self, model: Any, tokenizer: Any, settings: EncoderSettings) -> None:
        self.model, self.tokenizer, self.settings = model.eval(), tokenizer, settings
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        settings: EncoderSettings,
        device: str = "auto",
        dtype: str = "auto",
        adapter: Adapter | None = None,
    ) -> Encoder:
        """Load the weights onto ``device`` (auto: cuda, mps, cpu) in ``dtype`` (auto: bfloat16 where fast).

        Args:
            settings: What to load.
            device: Where it runs.
            dtype: What it computes in.
            adapter: Merged into the weights.

        Raises:
            ConfigurationError: The model cannot be found or is shallower than the layers asked for.
            CheckpointError: The adapter does not fit the model.
        """
        where = best_device() if device == "auto" else torch.device(device)
        kind = best_dtype(where) if dtype == "auto" else getattr(torch, dtype)
        try:
            tokenizer, model = _load(settings, kind)
        except OSError as error:
            raise ConfigurationError(
                f"encoder {settings.model!r} cannot be loaded ({str(error).splitlines()[0]}); "
                "give a local folder, a .gguf file, a hub id that can be reached, or " + EMBEDDED
            ) from error
        if adapter is not None:
            adapter.merge_into(model)
        return cls(model.to(where), tokenizer, settings)

    @property
    def dim(self) -> int:
        """Length of a prompt's vector."""
        return int(self.model.config.hidden_size) * max(1, len(self.settings.layers))

    def encode(
        self,
        prompts: Sequence[str],
        batch_size: int = 16,
        progress: Callable[[int], None] | None = None,
    ) -> Vectors:
        """Encode prompts in batches of similar length; float32, shape (prompts, dim), in the order given.

        Args:
            prompts: Any number of texts.
            batch_size: Prompts in one forward pass.
            progress: Called with the number of prompts done after each batch.
        """
        tokens = self.tokens(prompts)
        vectors = np.empty((len(tokens), self.dim), dtype=np.float32)
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        for batch in _chunks(order, batch_size):
            with self._lock:
                vectors[batch] = self._forward([tokens[i] for i in batch])
            if progress:
                progress(len(batch))
        return vectors

    def tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt, cut to ``max_tokens``, never empty."""
        return (
            [self._truncate(ids) for ids in self.tokenizer(list(prompts))["input_ids"]]
            if prompts
            else []
        )

    def pad(self, batch: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask of a batch, padded on the right whatever the tokenizer's habit; (prompts, tokens)."""
        lengths = torch.tensor([len(ids) for ids in batch], device=self.model.device)
        width = int(lengths.max())
        ids = torch.tensor(
            [row + [0] * (width - len(row)) for row in batch], device=self.model.device
        )
        return ids, torch.arange(width, device=ids.device) < lengths[:, None]

    def _truncate(self, ids: list[int]) -> list[int]:
        limit = self.settings.max_tokens
        if len(ids) <= limit:
            return ids or [self.tokenizer.eos_token_id or 0]
        return ids[: limit // 2] + ids[-(limit - limit // 2) :]

    def pooled(
        self, mask: torch.Tensor, layers: Sequence[int] | None = None, **inputs: torch.Tensor
    ) -> torch.Tensor:
        """Vectors of a batch, with gradients where parameters have them; float32, (prompts, dim).

        Args:
            mask: Which positions are tokens, (prompts, tokens).
            layers: Places in the model's hidden states, when they are not the settings' own.
            inputs: ``input_ids``, or the ``inputs_embeds`` the model starts from.
        """
        layers = self.settings.layers if layers is None else layers
        extra = {"use_cache": False} if hasattr(self.model.config, "use_cache") else {}
        output = self.model(
            **inputs, attention_mask=mask.long(), output_hidden_states=bool(layers), **extra
        )
        states = [output.hidden_states[k] for k in layers] if layers else [output.last_hidden_state]
        return torch.cat([self._pool(state.float(), mask) for state in states], dim=-1)

    @torch.inference_mode()
    def _forward(self, batch: list[list[int]]) -> Vectors:
        ids, mask = self.pad(batch)
        vectors: Vectors = self.pooled(mask, input_ids=ids).cpu().numpy()
        return vectors

    def _pool(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """One vector a prompt from its tokens' states, (prompts, tokens, hidden) → (prompts, hidden)."""
        lengths = mask.sum(1)
        if self.settings.pooling == "cls":
            return states[:, 0]
        if self.settings.pooling == "last":
            return states[torch.arange(len(states), device=states.device), lengths - 1]
        return (states * mask.unsqueeze(-1)).sum(1) / lengths.unsqueeze(-1)


def best_device() -> torch.device:
    """The fastest device at hand: cuda, then mps, then cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it natively, else float32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = device.type == "cpu" and "avx512_bf16" in _cpu_flags()
    return torch.bfloat16 if fast else torch.float32


def _cpu_flags() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else ""


def pretrained(model: str, revision: str | None = None) -> tuple[str, dict[str, Any]]:
    """What transformers' ``from_pretrained`` is told of a hub id, a folder, a ``.gguf`` file or the embedded model."""
    if model.endswith(GGUF_SUFFIX):
        return str(Path(model).parent), {"gguf_file": Path(model).name}
    return str(embedded.model_folder()) if model == EMBEDDED else model, {"revision": revision}


def _load(settings: EncoderSettings, dtype: torch.dtype) -> tuple[Any, Any]:
    """Tokenizer, and model up to the deepest layer asked for."""
    source, where = pretrained(settings.model, settings.revision)
    config = AutoConfig.from_pretrained(source, **where)
    depth = _truncated_depth(settings, config.num_hidden_layers)
    config.num_hidden_layers = depth or config.num_hidden_layers
    with embedded.quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        model = AutoModel.from_pretrained(source, config=config, dtype=dtype, **where)
    if depth:
        _drop_final_norm(model)
    return tokenizer, model


def _truncated_depth(settings: EncoderSettings, depth: int) -> int | None:
    """How many layers to load when the upper ones are not needed; ``None`` for all."""
    if not settings.layers:
        return None
    if max(settings.layers) > depth:
        raise ConfigurationError(
            f"layers: {max(settings.layers)} asked for, but {settings.model} has {depth}"
        )
    return max(settings.layers) if max(settings.layers) < depth else None


def _drop_final_norm(model: torch.nn.Module) -> None:
    """The final norm belongs to the last layer; after a truncated stack it would distort an inner one."""
    for name in ("norm", "ln_f", "final_layernorm", "final_layer_norm"):
        if hasattr(model, name):
            setattr(model, name, torch.nn.Identity())


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

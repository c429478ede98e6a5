"""Text → vector: chosen layers of any Hugging Face decoder or encoder, pooled over the tokens."""

from __future__ import annotations

import copy
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from transformers import AutoConfig, AutoModel, AutoTokenizer

from routoo_core import embedded
from routoo_core.errors import ConfigurationError
from routoo_core.lifetimes import PerProcess
from routoo_core.predictor.adapter import Adapter
from routoo_core.predictor.base import Encoder, Vectors
from routoo_core.predictor.endpoint_encoder import SCHEMES, read_endpoint_encoder
from routoo_core.predictor.ngram_encoder import NGRAMS, read_ngram_encoder
from routoo_core.settings import Settings

EMBEDDED = f"embedded:{embedded.MODEL}"
GGUF_SUFFIX = ".gguf"
FINAL_NORMS = ("norm", "ln_f", "final_layernorm", "final_layer_norm")
"""Attributes by which transformers' models call the norm after their last layer."""

Pooling = Literal["mean", "last", "cls"]


class EncoderSettings(Settings):
    """Which vector represents a prompt.

    Attributes:
        model: ``embedded:…``, a hub id, a local folder, a local ``.gguf`` file, ``ngrams:1024`` for hashed
            n-grams without a language model, ``https://HOST/v1#MODEL`` for an embedding endpoint, or another
            ``name:…`` of :data:`ENCODERS`.
        revision: The hub revision; ignored for local models.
        layers: Hidden layers to pool and concatenate, 1 … depth, rising; empty is the last (with its final norm).
        pooling: ``mean`` over tokens, ``last`` token (paper §3.2), or ``cls`` (first).
        max_tokens: Longer prompts keep their head and their tail.
        instruction: Put after every prompt, such as what the next token should say.
    """

    model: str = EMBEDDED
    revision: str | None = None
    layers: tuple[Annotated[int, Field(ge=1)], ...] = (12, 16, 20)
    pooling: Pooling = "mean"
    max_tokens: Annotated[int, Field(ge=8)] = 512
    instruction: str = ""

    @field_validator("layers")
    @classmethod
    def _check_rising(cls, layers: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(set(layers)) != list(layers):
            raise ValueError(
                f"{list(layers)} does not rise; give each layer once, the lowest first"
            )
        return layers


class LocalEncoder:
    """A language model up to its deepest pooled layer; the layers above are not even loaded.

    ``LocalEncoder.load(EncoderSettings()).encode(["Why is the sky blue?"])`` has shape (1, dim).
    """

    def __init__(self, model: Any, tokenizer: Any, settings: EncoderSettings) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.settings = settings
        self._lock = PerProcess(threading.Lock)

    @classmethod
    def load(
        cls,
        settings: EncoderSettings,
        device: str = "auto",
        dtype: str = "auto",
        adapter: Adapter | None = None,
    ) -> LocalEncoder:
        """Load the weights onto ``device`` (auto: cuda, mps, cpu) in ``dtype`` (auto: the faster here, measured).

        Args:
            settings: What to load.
            device: Where it runs.
            dtype: What it computes in.
            adapter: Merged into the weights.

        Raises:
            ConfigurationError: The model cannot be found, or has fewer layers than the settings pool.
            CheckpointError: The adapter does not fit the model.
        """
        torch_device = best_device() if device == "auto" else torch.device(device)
        loaded_dtype = torch.float32 if dtype == "auto" else getattr(torch, dtype)
        try:
            tokenizer, model = _load_transformer(settings, loaded_dtype)
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationError(
                f"encoder {settings.model!r} cannot be loaded ({reason}); "
                f"give a local folder, a .gguf file, a hub id that can be reached, or {EMBEDDED}"
            ) from error
        if adapter is not None:
            adapter.merge_into(model)
        model = model.to(torch_device).eval()
        if dtype == "auto":
            model = in_faster_dtype(model)
        return cls(model, tokenizer, settings)

    @property
    def dim(self) -> int:
        """Length of a prompt's vector."""
        layers = max(1, len(self.settings.layers))
        hidden_size = int(self.model.config.hidden_size)
        return hidden_size * layers

    @property
    def fingerprint(self) -> str:
        """Identifies the weights: a hash for files, the id for a hub model."""
        return model_fingerprint(self.settings.model)

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
            progress: Called after each batch with the number of prompts in it.
        """
        token_ids = self.tokens(prompts)
        vectors = np.empty((len(token_ids), self.dim), dtype=np.float32)
        by_length = sorted(range(len(token_ids)), key=lambda row: len(token_ids[row]))

        for rows in _in_batches(by_length, batch_size):
            with self._lock.get():
                vectors[rows] = self._encode_batch([token_ids[row] for row in rows])
            if progress:
                progress(len(rows))
        return vectors

    def tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt, cut to ``max_tokens``, never empty."""
        if not prompts:
            return []
        texts = [prompt + self.settings.instruction for prompt in prompts]
        return [self._truncate(ids) for ids in self.tokenizer(texts)["input_ids"]]

    def pad(self, batch: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask of a batch, padded on the right whatever the tokenizer's habit; (prompts, tokens)."""
        device = self.model.device
        lengths = torch.tensor([len(ids) for ids in batch], device=device)
        width = int(lengths.max())
        rows = [ids + [0] * (width - len(ids)) for ids in batch]

        input_ids = torch.tensor(rows, device=device)
        mask = torch.arange(width, device=device) < lengths[:, None]
        return input_ids, mask

    def pool(
        self, mask: torch.Tensor, layers: Sequence[int] | None = None, **inputs: torch.Tensor
    ) -> torch.Tensor:
        """Vectors of a batch, with gradients where parameters have them; float32, (prompts, dim).

        Args:
            mask: Which positions are tokens, (prompts, tokens).
            layers: Indices into the model's hidden states; without them, the layers of the settings.
            inputs: ``input_ids``, or the ``inputs_embeds`` the model starts from.
        """
        if layers is None:
            layers = self.settings.layers
        options = {"use_cache": False} if hasattr(self.model.config, "use_cache") else {}
        output = self.model(
            **inputs, attention_mask=mask.long(), output_hidden_states=bool(layers), **options
        )

        if layers:
            states = [output.hidden_states[layer] for layer in layers]
        else:
            states = [output.last_hidden_state]
        return torch.cat([self._pool(state.float(), mask) for state in states], dim=-1)

    def _truncate(self, token_ids: list[int]) -> list[int]:
        if not token_ids:
            return [self.tokenizer.eos_token_id or 0]
        limit = self.settings.max_tokens
        if len(token_ids) <= limit:
            return token_ids
        head = limit // 2
        return token_ids[:head] + token_ids[-(limit - head) :]

    @torch.inference_mode()
    def _encode_batch(self, batch: list[list[int]]) -> Vectors:
        input_ids, mask = self.pad(batch)
        vectors: Vectors = self.pool(mask, input_ids=input_ids).cpu().numpy()
        return vectors

    def _pool(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """One vector a prompt from its tokens' states, (prompts, tokens, hidden) → (prompts, hidden)."""
        lengths = mask.sum(1)
        if self.settings.pooling == "cls":
            return states[:, 0]
        if self.settings.pooling == "last":
            prompts = torch.arange(len(states), device=states.device)
            return states[prompts, lengths - 1]
        return (states * mask.unsqueeze(-1)).sum(1) / lengths.unsqueeze(-1)


def _load_ngrams(settings: EncoderSettings) -> Encoder:
    return read_ngram_encoder(settings.model)


def _load_endpoint(settings: EncoderSettings) -> Encoder:
    return read_endpoint_encoder(settings.model, settings.max_tokens)


ENCODERS: dict[str, Callable[[EncoderSettings], Encoder]] = {
    NGRAMS: _load_ngrams,
    **dict.fromkeys(SCHEMES, _load_endpoint),
}
"""Encoders that are no local language model: ``name`` → load.

``ENCODERS["acme"] = load_acme`` serves every ``model = "acme:…"`` in ``EncoderSettings``.
"""


def load_encoder(
    settings: EncoderSettings, device: str = "auto", adapter: Adapter | None = None
) -> Encoder:
    """Load an encoder of :data:`ENCODERS`, else a local language model.

    Args:
        settings: What to load.
        device: Where a local model runs.
        adapter: Merged into the weights of a local model.

    Raises:
        ConfigurationError: See :meth:`LocalEncoder.load`; or an adapter is given for an encoder that has no weights.
    """
    load = ENCODERS.get(_encoder_name(settings))
    if load is None:
        return LocalEncoder.load(settings, device, adapter=adapter)
    if adapter is not None:
        raise ConfigurationError(
            f"encoder {settings.model!r} is not a local model and cannot take an adapter; train without lora"
        )
    return load(settings)


def encoder_fingerprint(settings: EncoderSettings) -> str:
    """The fingerprint of the encoder that :func:`load_encoder` gives, without loading a local model."""
    load = ENCODERS.get(_encoder_name(settings))
    if load is None:
        return model_fingerprint(settings.model)
    return load(settings).fingerprint


def _encoder_name(settings: EncoderSettings) -> str:
    return settings.model.partition(":")[0]


def model_fingerprint(model: str) -> str:
    """Identifies a local model's weights: a hash for files, the id for a hub model."""
    if model == EMBEDDED:
        return embedded.GGUF_SHA256[:16]

    path = Path(model)
    if path.is_file():
        with path.open("rb") as weights:
            return hashlib.file_digest(weights, "sha256").hexdigest()[:16]

    described_by = [path / "config.json", path / "tokenizer.json"]
    files = [file for file in described_by if file.is_file()]
    if not files:
        return model
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def best_device() -> torch.device:
    """The fastest device available: cuda, then mps, then cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


_BFLOAT16_FLAG = "avx512_bf16"
"""A processor without it computes bfloat16 in software; one with it is not always faster in it."""
_MEASURED_TOKENS = 64
_MEASURED_PASSES = 3
_LARGE = 10_000_000
"""Parameters from which the type matters; a smaller model stays in float32."""
_CLEARLY_FASTER = 0.8


def in_faster_dtype(model: Any) -> Any:
    """A model in bfloat16 where a short measurement says that it is clearly faster than float32, else as it is.

    Args:
        model: A transformer in float32, where it is to run.
    """
    device = model.device
    if device.type == "cuda":
        return model.to(torch.bfloat16) if torch.cuda.is_bf16_supported() else model
    if device.type != "cpu" or _BFLOAT16_FLAG not in _cpu_flags():
        return model
    if model.num_parameters() < _LARGE:
        return model
    smaller = copy.deepcopy(model).to(torch.bfloat16)
    if _pass_seconds(smaller) < _CLEARLY_FASTER * _pass_seconds(model):
        return smaller
    return model


@torch.inference_mode()
def _pass_seconds(model: Any) -> float:
    """The shortest of a few passes over a short text; the first one of all is not counted."""
    input_ids = torch.zeros((1, _MEASURED_TOKENS), dtype=torch.long, device=model.device)
    seconds = []
    for _ in range(1 + _MEASURED_PASSES):
        start = time.perf_counter()
        model(input_ids=input_ids)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _cpu_flags() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else ""


def pretrained(model: str, revision: str | None = None) -> tuple[str, dict[str, Any]]:
    """Name and options for ``from_pretrained``, of a hub id, a folder, a ``.gguf`` file or the embedded model."""
    if model.endswith(GGUF_SUFFIX):
        return str(Path(model).parent), {"gguf_file": Path(model).name}
    source = str(embedded.model_folder()) if model == EMBEDDED else model
    return source, {"revision": revision}


def _load_transformer(settings: EncoderSettings, dtype: torch.dtype) -> tuple[Any, Any]:
    """Tokenizer, and model up to the deepest layer that is pooled."""
    source, options = pretrained(settings.model, settings.revision)
    config = AutoConfig.from_pretrained(source, **options)
    truncated_depth = _truncated_depth(settings, config.num_hidden_layers)
    if truncated_depth is not None:
        config.num_hidden_layers = truncated_depth

    with embedded.quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModel.from_pretrained(source, config=config, dtype=dtype, **options)
    if truncated_depth is not None:
        _drop_final_norm(model)
    return tokenizer, model


def _truncated_depth(settings: EncoderSettings, depth: int) -> int | None:
    """How many layers to load when the upper ones are not needed; ``None`` for all."""
    if not settings.layers:
        return None
    deepest = max(settings.layers)
    if deepest > depth:
        raise ConfigurationError(f"layers: {deepest} asked for, but {settings.model} has {depth}")
    return deepest if deepest < depth else None


def _drop_final_norm(model: torch.nn.Module) -> None:
    """The final norm belongs to the last layer; after a truncated stack it would distort an inner one."""
    for name in FINAL_NORMS:
        if hasattr(model, name):
            setattr(model, name, torch.nn.Identity())


def _in_batches(rows: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]

"""Vectors of prompts, kept in a cache: with them, heads train in seconds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from routoo_core import embedded
from routoo_core.files import replacing
from routoo_core.predictor.adapter import Adapter
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.encoder import EncoderSettings, load_encoder
from routoo_core.progress import Progress

BLOCK_PROMPTS = 1024
"""Prompts in one file of the cache."""


def encode_cached(
    prompts: tuple[str, ...],
    settings: EncoderSettings,
    progress: Progress,
    adapter: Adapter | None = None,
) -> Vectors:
    """Encode prompts, or read their vectors from the cache.

    Vectors are kept in blocks of prompts, so that a run that was killed goes on with the block it was in. Their
    precision is half, also where they are computed anew.

    Args:
        prompts: At least one text.
        settings: The encoder.
        progress: Where progress goes.
        adapter: Merged into the encoder's weights.

    Returns:
        Float32, (prompts, dim).
    """
    encoder_key = settings.model_dump_json(exclude={"instruction"}) + settings.instruction
    if adapter is not None:
        encoder_key += adapter.fingerprint()

    path_of_block: dict[Path, tuple[str, ...]] = {}
    for start in range(0, len(prompts), BLOCK_PROMPTS):
        block = prompts[start : start + BLOCK_PROMPTS]
        path_of_block[_block_path(encoder_key, block)] = block

    missing = {path: block for path, block in path_of_block.items() if not path.is_file()}
    if missing:
        encoder = load_encoder(settings, adapter=adapter)
        with progress.bar("Encoding prompts", sum(map(len, missing.values()))) as advance:
            for path, block in missing.items():
                _write_block(path, encoder.encode(block, progress=advance))
    return np.concatenate([_read_block(path) for path in path_of_block])


def _block_path(encoder_key: str, block: tuple[str, ...]) -> Path:
    text = "\x00".join((encoder_key, *block))
    key = hashlib.sha256(text.encode()).hexdigest()[:24]
    return embedded.cache_folder() / "vectors" / f"{key}.safetensors"


def _write_block(path: Path, vectors: Vectors) -> None:
    with replacing(path) as partial:
        save_file({"vectors": vectors.astype(np.float16)}, partial)


def _read_block(path: Path) -> Vectors:
    vectors: Vectors = load_file(path)["vectors"].astype(np.float32)
    return vectors

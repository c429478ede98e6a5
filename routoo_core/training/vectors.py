"""Vectors of prompts, kept in a cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from routoo_core import embedded
from routoo_core.files import replacing
from routoo_core.predictor.adapter import Adapter
from routoo_core.predictor.encoder import Encoder, EncoderSettings, Vectors
from routoo_core.progress import Progress

_BLOCK = 1024


def encode_cached(
    prompts: tuple[str, ...],
    settings: EncoderSettings,
    progress: Progress,
    adapter: Adapter | None = None,
) -> Vectors:
    """Encode prompts, or read their vectors from the cache: heads then train in seconds.

    Vectors are kept in blocks of prompts, so that a run that was killed goes on with the block it was in.
    """
    blocks = [prompts[start : start + _BLOCK] for start in range(0, len(prompts), _BLOCK)]
    described = settings.model_dump_json() + (adapter.fingerprint() if adapter else "")
    paths = [_block_path(described, block) for block in blocks]
    missing = sum(
        len(block) for block, path in zip(blocks, paths, strict=True) if not path.is_file()
    )
    if missing:
        encoder = Encoder.load(settings, adapter=adapter)
        with progress.bar("Encoding prompts", missing) as advance:
            for block, path in zip(blocks, paths, strict=True):
                if not path.is_file():
                    _write_block(path, encoder.encode(block, progress=advance))
    return np.concatenate([load_file(path)["vectors"].astype(np.float32) for path in paths])


def _block_path(described: str, block: tuple[str, ...]) -> Path:
    key = hashlib.sha256("\x00".join((described, *block)).encode()).hexdigest()[:24]
    return embedded.cache_folder() / "vectors" / f"{key}.safetensors"


def _write_block(path: Path, vectors: Vectors) -> None:
    with replacing(path) as partial:
        save_file({"vectors": vectors.astype(np.float16)}, partial)

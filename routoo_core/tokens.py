"""Token counts without the network: an estimate for what a call will cost, a bound for what is held."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from routoo_core.errors import ConfigurationError

if TYPE_CHECKING:
    import tiktoken

ENCODING = "o200k_base"
_VOCABULARY = hashlib.sha1(  # the file name tiktoken's cache uses
    f"https://openaipublic.blob.core.windows.net/encodings/{ENCODING}.tiktoken".encode(),
    usedforsecurity=False,
).hexdigest()
_BYTES_PER_TOKEN = (
    3  # English runs at 4 to 5, so dividing by 3 overestimates when no vocabulary is at hand
)


def count_tokens(text: str) -> int:
    """Estimate the tokens of ``text`` (o200k_base where its vocabulary is on disk, else bytes / 3)."""
    encoding = _encoding()
    if encoding is None:
        return -(-len(text.encode()) // _BYTES_PER_TOKEN)
    return len(encoding.encode_ordinary(text))


def bound_tokens(text: str) -> int:
    """Bound the tokens of ``text`` from above, for any byte-level tokenizer: its UTF-8 bytes."""
    return len(text.encode())


def encode(text: str) -> list[int]:
    """The tokens of ``text`` in o200k_base.

    Raises:
        ConfigurationError: Its vocabulary is not on disk.
    """
    encoding = _encoding()
    if encoding is None:
        raise ConfigurationError(
            f"tokens: {ENCODING}'s vocabulary is not on disk; install llama-index-core, which carries it, or set "
            "TIKTOKEN_CACHE_DIR"
        )
    return encoding.encode_ordinary(text)


@lru_cache(maxsize=1)
def _encoding() -> tiktoken.Encoding | None:
    folder = next((d for d in _cache_folders() if (d / _VOCABULARY).is_file()), None)
    if folder is None:  # tiktoken would download, which hangs for minutes on a closed network
        return None
    import tiktoken

    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        return tiktoken.get_encoding(ENCODING)
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _cache_folders() -> list[Path]:
    """Where the vocabulary may lie: tiktoken's own caches, then the copy LlamaIndex ships."""
    folders = [
        Path(os.environ[key])
        for key in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
        if key in os.environ
    ]
    folders.append(Path(tempfile.gettempdir()) / "data-gym-cache")
    spec = importlib.util.find_spec("llama_index")
    roots = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    return folders + [Path(root) / "core" / "_static" / "tiktoken_cache" for root in roots]

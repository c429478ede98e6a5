"""Token counts without the network: an estimate for what a call will cost, a bound for what is held."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from routoo_core.errors import ConfigurationError
from routoo_core.lifetimes import fork_safe_lock

if TYPE_CHECKING:
    import tiktoken

ENCODING = "o200k_base"

_VOCABULARY_URL = f"https://openaipublic.blob.core.windows.net/encodings/{ENCODING}.tiktoken"
_VOCABULARY = hashlib.sha1(_VOCABULARY_URL.encode(), usedforsecurity=False).hexdigest()
"""The name of the vocabulary's file in tiktoken's cache."""
_CACHE_VARIABLE = "TIKTOKEN_CACHE_DIR"
_BYTES_PER_TOKEN = 3
"""English runs at 4 to 5, so 3 overestimates when no vocabulary is at hand."""
_REORDERING_BYTES = 3
"""What a combining mark adds at most by undoing a composition: ǖ with a dot below becomes ụ and two marks."""
_PIECE_CHARS = 8000
"""Longer texts are cut into pieces of so many characters: a million blanks at once overflow the tokenizer's stack."""
_SHORTEST_REMEMBERED = 64
"""Characters of a text that is worth remembering."""
_MOST_REMEMBERED = 50_000
_FORGETTING = fork_safe_lock()


class RememberedCounts:
    """A count of texts which remembers the latest ones, as conversations are counted again with every call.

    What is remembered of a text is its hash, so that no prompt is kept. Python chooses the hash function anew for each
    process, so that nobody can choose texts that share a hash.

    Args:
        count: Counts a text.
    """

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._counts: dict[tuple[int, int], int] = {}

    def of(self, text: str) -> int:
        """The count of a text."""
        if len(text) < _SHORTEST_REMEMBERED:
            return self._count(text)
        key = (hash(text), len(text))
        count = self._counts.get(key)
        if count is None:
            count = self._count(text)
            self._counts[key] = count
            self._forget_oldest()
        return count

    def _forget_oldest(self) -> None:
        with _FORGETTING:
            while len(self._counts) > _MOST_REMEMBERED:
                del self._counts[next(iter(self._counts))]


def count_tokens(text: str) -> int:
    """Estimate the tokens of ``text`` (o200k_base where its vocabulary is on disk, else bytes / 3).

    The time is linear in the length. A text of more than 8,000 characters is counted in pieces, which adds at most a
    few tokens for each cut: 0.1 % in prose.
    """
    return _COUNTS.of(text)


def _count_tokens(text: str) -> int:
    encoding = _encoding()
    if encoding is None:
        return -(-bound_tokens(text) // _BYTES_PER_TOKEN)  # rounded up
    if len(text) <= _PIECE_CHARS:
        return len(encoding.encode_ordinary(text))
    return sum(len(encoding.encode_ordinary(piece)) for piece in _pieces(text))


def bound_tokens(text: str) -> int:
    """Bound the tokens of ``text`` from above, for any byte-level tokenizer: its UTF-8 bytes.

    Some tokenizers normalise (NFKC) first, which makes up to eleven times as many bytes of a character. So each counts
    by the longer of its forms. A lone surrogate counts as the three bytes of U+FFFD, which is sent for it.
    """
    return len(text) if text.isascii() else _BOUNDS.of(text)


def _bound_tokens(text: str) -> int:
    return sum(_most_bytes(character) * count for character, count in Counter(text).items())


_COUNTS = RememberedCounts(_count_tokens)
_BOUNDS = RememberedCounts(_bound_tokens)


@lru_cache(maxsize=65_536)
def _most_bytes(character: str) -> int:
    """The bytes of a character in UTF-8, as it is or normalised."""
    normal_form = unicodedata.normalize("NFKC", character)
    longest = max(len(form.encode(errors="surrogatepass")) for form in (character, normal_form))
    if unicodedata.combining(character):
        longest += _REORDERING_BYTES
    return longest


def encode(text: str) -> list[int]:
    """The tokens of ``text`` in o200k_base; a long text is cut as in :func:`count_tokens`.

    Raises:
        ConfigurationError: Its vocabulary is not on disk.
    """
    encoding = _encoding()
    if encoding is None:
        raise ConfigurationError(
            f"tokens: {ENCODING}'s vocabulary is not on disk; install llama-index-core, which carries it, or set "
            f"{_CACHE_VARIABLE}"
        )
    tokens = []
    for piece in _pieces(text):
        tokens += encoding.encode_ordinary(piece)
    return tokens


def _pieces(text: str) -> Iterator[str]:
    """The text, cut at fixed lengths."""
    for start in range(0, len(text), _PIECE_CHARS):
        yield text[start : start + _PIECE_CHARS]


_LOADING = fork_safe_lock()
"""Held while the encoding is loaded: tiktoken holds a lock of its own, which a forked child would never see free."""


@lru_cache(maxsize=1)
def _encoding() -> tiktoken.Encoding | None:
    """The encoding, where its vocabulary is on disk; tiktoken would download it, which hangs on a closed network."""
    for folder in _cache_folders():
        if (folder / _VOCABULARY).is_file():
            import tiktoken

            with _LOADING, _tiktoken_cache(folder):
                return tiktoken.get_encoding(ENCODING)
    return None


@contextmanager
def _tiktoken_cache(folder: Path) -> Iterator[None]:
    """Have tiktoken read its vocabularies from a folder."""
    before = os.environ.get(_CACHE_VARIABLE)
    os.environ[_CACHE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CACHE_VARIABLE]
        else:
            os.environ[_CACHE_VARIABLE] = before


def _cache_folders() -> Iterator[Path]:
    """Where the vocabulary may lie: tiktoken's own caches, then the copy LlamaIndex ships."""
    for variable in (_CACHE_VARIABLE, "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            yield Path(os.environ[variable])
    yield Path(tempfile.gettempdir()) / "data-gym-cache"

    spec = importlib.util.find_spec("llama_index")
    if spec is not None:
        for root in spec.submodule_search_locations or ():
            yield Path(root) / "core" / "_static" / "tiktoken_cache"

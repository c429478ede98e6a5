"""Hashed word and character n-grams of a text: plain features that take a fraction of a millisecond."""

from __future__ import annotations

import re
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

WORD_BUCKETS = 1 << 16
"""Buckets of words and of pairs of words."""
CHARACTER_BUCKETS = 1 << 15
"""Buckets of sequences of characters."""
BUCKETS = WORD_BUCKETS + CHARACTER_BUCKETS
SHAPES = 14
"""Figures of a text's form; see :func:`text_shape`."""

_LONGEST_START = 6000
_LONGEST_END = 2000
"""Characters that are read of a long text: its start and its end, where the question usually is."""
_SEQUENCE_LENGTHS = (3, 4, 5)
_WORD = re.compile(r"\w+|[^\w\s]")
_DIGIT = re.compile(r"\d")
_OPTION = re.compile(r"^\s*\(?[A-J][.):]\s", re.MULTILINE)
_MANY_OPTIONS = 6
_CODE_LINE = re.compile(
    r"[;{}]\s*$|^\s*(?:def|class|import|return|for|if|#include)\b", re.MULTILINE
)
_TABLE_LINE = re.compile(r"^.*(?:\|.*\||,.*,.*,|\t.*\t).*$", re.MULTILINE)
_FIRST_WIDE = 0x2E80
"""From here on a character is a word of its own, or part of one that has no spaces around it."""
_PAIR_FACTOR = np.uint32(0x9E3779B1)
_CHARACTER_FACTOR = np.uint32(0x85EBCA6B)
_MIX_FACTOR = np.uint32(0xC2B2AE35)


class NGrams(NamedTuple):
    """What a text is made of.

    Attributes:
        buckets: The buckets that it falls into, sorted, each once, (n,).
        counts: How often each, float32, (n,).
    """

    buckets: NDArray[np.int64]
    counts: NDArray[np.float32]


def shorten(text: str) -> str:
    """The part of a text that is read: all of it, or the start and the end of a long one."""
    if len(text) <= _LONGEST_START + _LONGEST_END:
        return text
    return f"{text[:_LONGEST_START]}\n{text[-_LONGEST_END:]}"


def ngrams(text: str) -> NGrams:
    """Count the n-grams of a text.

    Words and pairs of words in lower case, sequences of three to five characters in which every digit is a zero, and
    one and two characters where a script has no spaces between words.
    """
    lower = _DIGIT.sub("0", text.lower())
    buckets = np.concatenate([_word_buckets(lower), _character_buckets(lower)])
    distinct, counts = np.unique(buckets, return_counts=True)
    return NGrams(distinct, counts.astype(np.float32))


def text_shape(text: str) -> NDArray[np.float32]:
    """Figures of a text's form, each about 0–1, float32, (SHAPES,).

    Length, lines, and the shares of digits, capitals, letters beyond ASCII, mathematical signs and quotation marks; how
    many lines are options to choose from, code or rows of a table; whether there is a fence of code; whether it asks.
    """
    length = max(1, len(text))
    lines = text.count("\n") + 1
    codes = _code_points(text)
    digits = np.count_nonzero((codes >= 48) & (codes <= 57))
    capitals = np.count_nonzero((codes >= 65) & (codes <= 90))
    beyond_ascii = np.count_nonzero(codes > 127)
    signs = sum(text.count(sign) for sign in "\\^=_+*")
    quotes = text.count('"') + text.count("“")
    options = len(_OPTION.findall(text))
    return np.array(
        [
            np.log1p(length) / 8,
            np.log1p(lines) / 4,
            digits / length * 4,
            capitals / length * 4,
            beyond_ascii / length,
            min(1.0, signs / length * 8),
            min(1.0, quotes / length * 20),
            float(2 <= options < _MANY_OPTIONS),
            float(options >= _MANY_OPTIONS),
            min(1.0, options / 10),
            min(1.0, len(_CODE_LINE.findall(text)) / lines),
            min(1.0, len(_TABLE_LINE.findall(text)) / lines),
            float("```" in text),
            float("?" in text or "？" in text),
        ],
        dtype=np.float32,
    )


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)


def _word_buckets(lower: str) -> NDArray[np.int64]:
    """Buckets of the words, and of every two in a row."""
    words = _WORD.findall(lower)
    hashes = np.fromiter(
        (crc32(word.encode("utf-8", "replace")) for word in words), np.uint32, len(words)
    )
    pairs = hashes[:-1] * _PAIR_FACTOR + hashes[1:]
    singles_and_pairs = np.concatenate([hashes, _mix(pairs)])
    return (singles_and_pairs % WORD_BUCKETS).astype(np.int64)


def _character_buckets(lower: str) -> NDArray[np.int64]:
    """Buckets of the sequences of characters."""
    codes = _code_points(f" {lower} ")
    wide = codes >= _FIRST_WIDE
    sequences = [_mix(codes[wide])]
    rolling = codes
    for length in range(2, max(_SEQUENCE_LENGTHS) + 1):
        if len(codes) < length:
            break
        rolling = rolling[:-1] * _CHARACTER_FACTOR + codes[length - 1 :]
        if length in _SEQUENCE_LENGTHS:
            sequences.append(_mix(rolling))
        elif length == 2:
            both_wide = wide[:-1] & wide[1:]
            sequences.append(_mix(rolling[both_wide]))
    every = np.concatenate(sequences)
    return (every % CHARACTER_BUCKETS).astype(np.int64) + WORD_BUCKETS


def _mix(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Spread what the low bits lack."""
    spread = (hashes ^ (hashes >> np.uint32(15))) * _MIX_FACTOR
    return spread ^ (spread >> np.uint32(13))

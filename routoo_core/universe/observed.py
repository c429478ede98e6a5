"""Observed scores, packed so that tens of thousands of experts fit into memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import OutcomesError
from routoo_core.tables import read_batches

if TYPE_CHECKING:
    import pyarrow as pa

LEVELS = 55_440
"""Divisible by every K - 1 up to 12, so that sums of K-level scores are exact integers and ties are ties."""

PackedValues = NDArray[np.unsignedinteger[Any]]

_CHUNK_BYTES = 1 << 23  # scores that are looked at together
_BITS_PER_WORD = 64


@dataclass(frozen=True)
class ObservedScores(ABC):
    """Observed scores of experts on prompts; a pair that was not observed covers nothing.

    ::

        observed = ObservedScores.from_scores(np.array([[1, 0], [0, 1]]), ("a", "b"))

    Attributes:
        experts: One for each row.
        prompts: Number of prompts.
        values: The scores, packed; see the subclasses.
        observed_bits: Which pairs were observed: 64 prompts to a word, uint64, experts × words.
        higher: Takes the higher score of two packed rows on each prompt.
    """

    higher: ClassVar[np.ufunc]

    experts: tuple[str, ...]
    prompts: int
    values: PackedValues = field(repr=False)
    observed_bits: PackedValues = field(repr=False)

    @staticmethod
    def empty(experts: Sequence[str], prompts: int, binary: bool) -> ObservedScores:
        """Nothing observed yet; see :meth:`enter`.

        Args:
            experts: Names.
            prompts: Number of prompts.
            binary: Whether every score will be 0 or 1.
        """
        names = tuple(experts)
        shape = (len(names), _word_count(prompts))
        observed_bits = np.zeros(shape, dtype=np.uint64)
        if binary:
            right_bits = np.zeros_like(observed_bits)
            return BinaryScores(names, prompts, right_bits, observed_bits)

        levels = np.zeros((len(names), prompts), dtype=np.uint16)
        return GradedScores(names, prompts, levels, observed_bits)

    @staticmethod
    def from_scores(scores: NDArray[np.floating], experts: Sequence[str]) -> ObservedScores:
        """Pack a matrix, prompts × experts, 0–1 or NaN."""
        names = tuple(experts)
        prompts = len(scores)
        is_absent = np.isnan(scores)
        is_right = scores == 1
        is_wrong = scores == 0
        observed_bits = _pack(~is_absent)
        if (is_right | is_wrong | is_absent).all():
            return BinaryScores(names, prompts, _pack(is_right), observed_bits)

        known_scores = np.nan_to_num(scores).T
        levels = np.rint(known_scores * LEVELS).astype(np.uint16)
        return GradedScores(names, prompts, levels, observed_bits)

    def enter(
        self,
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
        scores: NDArray[np.floating],
    ) -> None:
        """Enter scores, each pair once.

        Args:
            rows: The expert of each score.
            columns: The prompt of each score.
            scores: 0–1.
        """
        _set_bits(self.observed_bits, rows, columns)
        self._enter_values(rows, columns, scores)

    def select(self, experts: Sequence[str]) -> Self:
        """These experts only, in this order; each must be known."""
        rows = self.rows_of(experts)
        return replace(
            self,
            experts=tuple(experts),
            values=self.values[rows],
            observed_bits=self.observed_bits[rows],
        )

    def rows_of(self, experts: Sequence[str]) -> list[int]:
        """The row of each of these experts; each must be known."""
        return [self.experts.index(name) for name in experts]

    def scores(self) -> NDArray[np.float32]:
        """The matrix again, prompts × experts, 0–1 or NaN."""
        all_rows = range(len(self.experts))
        is_observed = self.is_observed(all_rows)
        values = self._unpacked_values()
        return np.where(is_observed, values, np.float32("nan")).T

    def is_observed(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Whether each of these experts was observed, experts × prompts."""
        bits = self.observed_bits[rows]
        return _unpack(bits, self.prompts)

    def no_scores(self) -> PackedValues:
        """A score of 0 on every prompt, packed as one row of ``values``."""
        any_row = self.values[0]
        return np.zeros_like(any_row)

    def chunks(self) -> Iterator[slice]:
        """Rows that fit into the cache together."""
        bytes_per_row = self.values[:1].nbytes
        step = max(1, _CHUNK_BYTES // max(1, bytes_per_row))
        for start in range(0, len(self.experts), step):
            yield slice(start, start + step)

    @property
    @abstractmethod
    def binary(self) -> bool:
        """Whether every score is 0 or 1."""

    @abstractmethod
    def right_answers(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Whether each of these experts has a score of 1, experts × prompts."""

    @abstractmethod
    def gains(self, rows: NDArray[np.intp] | slice, best: PackedValues) -> NDArray[np.int64]:
        """What each of these experts would add to ``best``, the highest score on each prompt so far."""

    def merge(self, first: PackedValues, second: PackedValues) -> PackedValues:
        """The higher score of two packed rows on each prompt."""
        best: PackedValues = self.higher(first, second)
        return best

    def best_of_all(self) -> PackedValues:
        """The highest score of all experts on each prompt."""
        best = self.no_scores()
        for rows in self.chunks():
            best_of_chunk = self.higher.reduce(self.values[rows], axis=0)
            best = self.merge(best, best_of_chunk)
        return best

    @abstractmethod
    def total(self, best: PackedValues) -> int:
        """The sum of a packed row, in the unit of :meth:`gains`."""

    @abstractmethod
    def share(self, total: float) -> float:
        """A sum of gains as a share of all prompts, 0–1."""

    @abstractmethod
    def _enter_values(
        self,
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
        scores: NDArray[np.floating],
    ) -> None: ...

    @abstractmethod
    def _unpacked_values(self) -> NDArray[np.float32]: ...


class BinaryScores(ObservedScores):
    """Scores of 0 and 1: ``values`` holds 64 prompts to a word, uint64, experts × words."""

    higher: ClassVar[np.ufunc] = np.bitwise_or

    @property
    def binary(self) -> bool:
        """Whether every score is 0 or 1."""
        return True

    def right_answers(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Whether each of these experts has a score of 1, experts × prompts."""
        bits = self.values[rows]
        return _unpack(bits, self.prompts)

    def gains(self, rows: NDArray[np.intp] | slice, best: PackedValues) -> NDArray[np.int64]:
        """Prompts that each of these experts answers and ``best`` does not."""
        added_bits = self.values[rows] & ~best
        additions = np.bitwise_count(added_bits)
        gains: NDArray[np.int64] = additions.sum(axis=1, dtype=np.int64)
        return gains

    def total(self, best: PackedValues) -> int:
        """Number of prompts answered."""
        counts = np.bitwise_count(best)
        return int(counts.sum())

    def share(self, total: float) -> float:
        """A number of prompts as a share of all prompts, 0–1."""
        return float(total) / self.prompts

    def _enter_values(
        self,
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
        scores: NDArray[np.floating],
    ) -> None:
        is_right = scores > 0
        _set_bits(self.values, rows[is_right], columns[is_right])

    def _unpacked_values(self) -> NDArray[np.float32]:
        all_rows = range(len(self.experts))
        return self.right_answers(all_rows).astype(np.float32)


class GradedScores(ObservedScores):
    """Scores of any level: ``values`` holds them in 55,440ths, uint16, experts × prompts."""

    higher: ClassVar[np.ufunc] = np.maximum

    @property
    def binary(self) -> bool:
        """Whether every score is 0 or 1."""
        return False

    def right_answers(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Whether each of these experts has a score of 1, experts × prompts."""
        is_right: NDArray[np.bool_] = self.values[rows] == LEVELS
        return is_right

    def gains(self, rows: NDArray[np.intp] | slice, best: PackedValues) -> NDArray[np.int64]:
        """What each of these experts would add to ``best``, in 55,440ths of a prompt."""
        values = self.values[rows]
        additions = values - np.minimum(values, best)
        gains: NDArray[np.int64] = additions.sum(axis=1, dtype=np.int64)
        return gains

    def total(self, best: PackedValues) -> int:
        """The sum of the scores, in 55,440ths of a prompt."""
        return int(best.sum(dtype=np.int64))

    def share(self, total: float) -> float:
        """A sum in 55,440ths as a share of all prompts, 0–1."""
        highest = self.prompts * LEVELS
        return float(total) / highest

    def _enter_values(
        self,
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
        scores: NDArray[np.floating],
    ) -> None:
        levels = np.rint(scores * LEVELS)
        self.values[rows, columns] = levels

    def _unpacked_values(self) -> NDArray[np.float32]:
        scores = self.values / LEVELS
        return scores.astype(np.float32)


def read_observed(path: Path, only: Collection[str] = ()) -> tuple[ObservedScores, tuple[str, ...]]:
    """Read an outcomes table and the ids of its prompts.

    The file is read twice in batches and never held whole.

    Args:
        path: Parquet or CSV: ``prompt_id, model, score`` (0–1), one row for each observation.
        only: Only these prompts; all when empty.

    Returns:
        The scores, and the prompt ids in the order of their columns.

    Raises:
        OutcomesError: A score is not a number from 0 to 1, a pair is repeated, or there is no outcome at all.
        MissingDependency: ``pyarrow`` is not installed.
    """
    contents = _scan(path)
    prompt_ids = [name for name in contents.prompt_ids if not only or name in only]
    if not prompt_ids:
        raise OutcomesError(
            f"{path}: no outcome of any of the prompts; check that prompt_id is the same in both"
        )
    observed = ObservedScores.empty(contents.experts, len(prompt_ids), contents.binary)
    row_count = _enter_rows(path, observed, prompt_ids)
    pair_count = int(np.bitwise_count(observed.observed_bits).sum())
    if row_count != pair_count:
        raise OutcomesError(
            f"{path}: {_first_repeated_pair(path)} was given before; give each pair once"
        )
    return observed, tuple(prompt_ids)


@dataclass(frozen=True)
class _TableContents:
    """Prompts and experts in the order of the file, and whether every score is 0 or 1."""

    prompt_ids: list[str]
    experts: list[str]
    binary: bool


def _scan(path: Path) -> _TableContents:
    """What an outcomes table holds; every score is checked."""
    prompt_ids: dict[str, None] = {}
    experts: dict[str, None] = {}
    binary = True
    first_row = 1
    for batch in read_batches(path):
        scores = batch["score"].to_numpy(zero_copy_only=False)
        _check_observed_scores(path, scores, first_row)
        is_binary = (scores == 0) | (scores == 1)
        binary = binary and bool(is_binary.all())
        batch_ids = batch["prompt_id"].unique().to_pylist()
        prompt_ids.update(dict.fromkeys(batch_ids))
        batch_experts = batch["model"].unique().to_pylist()
        experts.update(dict.fromkeys(batch_experts))
        first_row += len(scores)
    return _TableContents(list(prompt_ids), list(experts), binary)


def _check_observed_scores(path: Path, scores: NDArray[np.float64], first_row: int) -> None:
    is_valid = (scores >= 0) & (scores <= 1)
    if is_valid.all():
        return
    position = int(np.flatnonzero(~is_valid)[0])
    raise OutcomesError(
        f"{path}: row {first_row + position}: score {scores[position]} is not a number from 0 to 1"
    )


def _enter_rows(path: Path, observed: ObservedScores, prompt_ids: list[str]) -> int:
    """Enter every row of these prompts; returns the number of rows."""
    import pyarrow as pa
    from pyarrow import compute

    prompt_set = pa.array(prompt_ids, pa.string())
    expert_set = pa.array(observed.experts, pa.string())
    count = 0
    for batch in read_batches(path):
        is_selected = compute.is_in(batch["prompt_id"], value_set=prompt_set)
        part = batch.filter(is_selected)
        rows = _positions_in(expert_set, part["model"])
        columns = _positions_in(prompt_set, part["prompt_id"])
        scores = part["score"].to_numpy(zero_copy_only=False)
        observed.enter(rows, columns, scores)
        count += len(rows)
    return count


def _positions_in(names: pa.Array, values: pa.Array) -> NDArray[np.integer]:
    """The position of each value in ``names``."""
    from pyarrow import compute

    positions: NDArray[np.integer] = compute.index_in(values, value_set=names).to_numpy(
        zero_copy_only=False
    )
    return positions


def _first_repeated_pair(path: Path) -> str:
    """The first prompt and expert that have two rows."""
    pairs: set[tuple[str, str]] = set()
    for batch in read_batches(path):
        prompt_ids = batch["prompt_id"].to_pylist()
        models = batch["model"].to_pylist()
        for pair in zip(prompt_ids, models, strict=True):
            if pair in pairs:
                return f"{pair[0]!r} × {pair[1]!r}"
            pairs.add(pair)
    return "a pair"


def _set_bits(bits: PackedValues, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> None:
    bytes_view = bits.view(np.uint8)
    byte_columns = columns >> 3
    bits_in_byte = columns & 7
    masks = (128 >> bits_in_byte).astype(np.uint8)
    np.bitwise_or.at(bytes_view, (rows, byte_columns), masks)


def _pack(pairs: NDArray[np.bool_]) -> PackedValues:
    """Prompts × experts as bits, experts × words."""
    prompts, experts = pairs.shape
    width = _word_count(prompts) * _BITS_PER_WORD
    matrix = np.zeros((experts, width), dtype=np.bool_)
    matrix[:, :prompts] = pairs.T
    octets = np.packbits(matrix, axis=1)
    return octets.view(np.uint64)


def _unpack(bits: PackedValues, count: int) -> NDArray[np.bool_]:
    """Bits as experts × prompts."""
    bytes_view = np.ascontiguousarray(bits).view(np.uint8)
    bit_values = np.unpackbits(bytes_view, axis=1, count=count)
    return bit_values.view(np.bool_)


def _word_count(prompts: int) -> int:
    """Words that hold a bit for each prompt."""
    return -(-prompts // _BITS_PER_WORD)

"""``routoo data collect``: public question sets and one's own files become one table of prompts (paper §4.2)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from routoo_core.data.rows import read_rows
from routoo_core.data.sources import SOURCES, HubRow
from routoo_core.errors import ConfigurationError, MissingDependency, OutcomesError
from routoo_core.text import words_of

if TYPE_CHECKING:
    from datasets import Dataset

ALIASES = {
    "prompt_id": ("prompt_id", "qid", "id"),
    "prompt": ("prompt", "question", "query", "text"),
    "benchmark": ("benchmark", "source", "dataset"),
    "domain": ("domain", "subject", "category"),
    "choices": ("choices", "options"),
    "answer": ("answer", "answerKey", "label"),
    "licence": ("licence", "license"),
}
"""Our columns → what people call them."""


@dataclass(frozen=True)
class CollectedPrompt:
    """A prompt of the collected table; the attributes are its columns, in this order.

    Attributes:
        prompt_id: Unlike every other of the table.
        prompt: The question, without its choices.
        benchmark: Set or file it comes from.
        domain: Its subject; empty where unknown.
        choices: A list in JSON; ``None`` for an open question.
        answer: A letter; ``None`` where unknown.
        licence: ``None`` where unknown.
    """

    prompt_id: str
    prompt: str
    benchmark: str
    domain: str
    choices: str | None
    answer: str | None
    licence: str | None

    def to_dict(self) -> dict[str, object]:
        """Column → value."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(field.name for field in fields(CollectedPrompt))


@dataclass(frozen=True)
class SourceSplit:
    """One split of a public set, as the hub has it.

    Attributes:
        source: Name of the set, in ``SOURCES``.
        split: Name of the split.
        rows: What it holds.
    """

    source: str
    split: str
    rows: Dataset

    def origin(self) -> dict[str, object]:
        """Where it came from, for the manifest."""
        source = SOURCES[self.source]
        return {
            "hub_id": source.hub_id,
            "subset": source.subset,
            "split": self.split,
            "revision": source.revision,
            "rows": len(self.rows),
            "checksums": sorted(self.rows.info.download_checksums or {}),
        }


def load_source(name: str) -> Iterator[SourceSplit]:
    """Fetch the splits of a public set, by ``datasets``, from the hub or its cache.

    Raises:
        MissingDependency: ``datasets`` is not installed.
        ConfigurationError: There is no such set, or it cannot be fetched.
    """
    if name not in SOURCES:
        raise ConfigurationError(
            f"source: {name!r} is unknown; choose among {', '.join(SOURCES)}, or give a file"
        )
    try:
        import datasets
    except ImportError as error:
        raise MissingDependency("datasets", "data", f"collect {name}") from error

    source = SOURCES[name]
    arguments: dict[str, Any] = {"name": source.subset}
    if source.revision:
        arguments = {"data_dir": source.subset, "revision": source.revision}
    for split in source.splits:
        try:
            rows = datasets.load_dataset(source.hub_id, split=split, **arguments)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigurationError(
                f"source: {name} ({source.hub_id}) cannot be fetched ({type(error).__name__}: {error}); check the "
                "network or HF_HOME, or give the questions as a file"
            ) from error
        yield SourceSplit(name, split, rows)


def read_source(name: str, split: str, rows: Iterable[HubRow]) -> Iterator[CollectedPrompt]:
    """Read the rows of one split of a public set.

    Raises:
        OutcomesError: A row does not look as the set's rows do.
    """
    source = SOURCES[name]
    for number, row in enumerate(rows, start=1):
        try:
            question = source.read(row)
            letter = ascii_uppercase[question.answer]
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise OutcomesError(
                f"{name}: {split}, row {number}: {type(error).__name__}: {error}"
            ) from error
        yield CollectedPrompt(
            prompt_id=f"{name}-{split}-{number}",
            prompt=question.text.strip(),
            benchmark=name,
            domain=question.domain or name,
            choices=json.dumps(list(question.choices), ensure_ascii=False),
            answer=letter,
            licence=source.licence,
        )


def read_own_file(path: Path, columns: Mapping[str, str]) -> Iterator[CollectedPrompt]:
    """Read one's own CSV, JSONL or Parquet file.

    Args:
        path: The file.
        columns: Our column → what the file calls it, where it is not one of the usual names.

    Raises:
        OutcomesError: A row without a prompt.
    """
    names = dict(ALIASES)
    for ours, theirs in columns.items():
        names[ours] = (theirs,)

    for number, row in enumerate(read_rows(path), start=1):
        values = {ours: _first_value(row, aliases) for ours, aliases in names.items()}
        prompt = str(values["prompt"] or "")
        if not prompt.strip():
            column_names = " or ".join(names["prompt"])
            raise OutcomesError(
                f"{path}: row {number}: no prompt in {column_names}; name the column of the prompts"
            )
        yield _own_prompt(values, path.stem)


def _first_value(row: Mapping[str, Any], columns: Sequence[str]) -> Any:
    """The value of the first of these columns that has one."""
    for column in columns:
        if row.get(column) is not None:
            return row[column]
    return None


def _own_prompt(values: Mapping[str, Any], file_name: str) -> CollectedPrompt:
    prompt = str(values["prompt"])
    benchmark = str(values["benchmark"] or file_name)
    prompt_id = values["prompt_id"]
    if prompt_id is None:
        digest = hashlib.sha256(prompt.encode()).hexdigest()
        prompt_id = f"{benchmark}-{digest[:12]}"

    choices = values["choices"]
    if choices is not None and not isinstance(choices, str):
        choices = json.dumps(choices, ensure_ascii=False)
    answer = values["answer"]
    return CollectedPrompt(
        prompt_id=str(prompt_id),
        prompt=prompt,
        benchmark=benchmark,
        domain=str(values["domain"] or ""),
        choices=choices,
        answer=None if answer is None else str(answer),
        licence=values["licence"],
    )


@dataclass(frozen=True)
class Collection:
    """Collected prompts, each question once.

    Attributes:
        prompts: The first of each question.
        counts: Prompts of each benchmark, and how many were dropped as ``repeated``.
    """

    prompts: list[CollectedPrompt]
    counts: dict[str, int]


def drop_repeats(prompts: Iterable[CollectedPrompt]) -> Collection:
    """Keep the first of each question with the same words and choices.

    Raises:
        OutcomesError: Two different questions have the same id.
    """
    first_by_words: dict[tuple[str, ...], CollectedPrompt] = {}
    ids: set[str] = set()
    counts: dict[str, int] = {}
    for prompt in prompts:
        counts[prompt.benchmark] = counts.get(prompt.benchmark, 0) + 1
        words = _question_words(prompt)
        if words in first_by_words:
            continue
        if prompt.prompt_id in ids:
            raise OutcomesError(
                f"prompt_id {prompt.prompt_id!r} is given to two questions; give each an id of its own"
            )
        ids.add(prompt.prompt_id)
        first_by_words[words] = prompt

    unique = list(first_by_words.values())
    counts["repeated"] = sum(counts.values()) - len(unique)
    return Collection(unique, counts)


def _question_words(prompt: CollectedPrompt) -> tuple[str, ...]:
    """The words of a question and its choices; the text itself where it has no words."""
    choices = prompt.choices or ""
    words = words_of(f"{prompt.prompt}\n{choices}")
    if not words:
        return (prompt.prompt,)
    return tuple(words)

"""``routoo data collect``: public question sets and one's own files become one table of prompts (paper §4.2)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from routoo_core.data.steps import Row, read_rows
from routoo_core.errors import ConfigurationError, MissingDependency, OutcomesError
from routoo_core.text import words_of

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ("prompt_id", "prompt", "benchmark", "domain", "choices", "answer", "licence")
ALIASES = {  # what people call these columns
    "prompt_id": ("prompt_id", "qid", "id"),
    "prompt": ("prompt", "question", "query", "text"),
    "benchmark": ("benchmark", "source", "dataset"),
    "domain": ("domain", "subject", "category"),
    "choices": ("choices", "options"),
    "answer": ("answer", "answerKey", "label"),
    "licence": ("licence", "license"),
}


@dataclass(frozen=True)
class Question:
    """One question of a set.

    Attributes:
        text: With the passage it is about, without the choices.
        choices: Texts; empty for an open question.
        answer: Index of the right choice.
        domain: Its subject, where the set has one.
    """

    text: str
    choices: Sequence[str]
    answer: int
    domain: str = ""


@dataclass(frozen=True)
class Source:
    """A question set on the Hugging Face hub.

    Attributes:
        hub_id: Repository.
        licence: As its card says.
        read: A row of it → the question.
        subset: Configuration, or folder where the repository has none.
        splits: Which to take.
        revision: The hub's own conversion where the repository holds a script, which ``datasets`` no longer runs.
    """

    hub_id: str
    licence: str
    read: Callable[[Mapping[str, Any]], Question]
    subset: str | None = None
    splits: tuple[str, ...] = ("train", "validation", "test")
    revision: str | None = None


def arc(row: Mapping[str, Any]) -> Question:
    """``question, choices {text, label}, answerKey``; labels are letters or numbers."""
    labels = list(row["choices"]["label"])
    return Question(row["question"], row["choices"]["text"], labels.index(row["answerKey"]))


def openbookqa(row: Mapping[str, Any]) -> Question:
    """As ARC, with ``question_stem``."""
    return arc({**row, "question": row["question_stem"]})


def mctest(row: Mapping[str, Any]) -> Question:
    """``story, question, answer_options {A, B, C, D}, answer``."""
    letters = sorted(row["answer_options"])
    choices = [row["answer_options"][letter] for letter in letters]
    return Question(f"{row['story']}\n\n{row['question']}", choices, letters.index(row["answer"]))


def race(row: Mapping[str, Any]) -> Question:
    """``article, question, options, answer``."""
    return Question(
        f"{row['article']}\n\n{row['question']}",
        row["options"],
        ascii_uppercase.index(row["answer"]),
    )


def truthfulqa(row: Mapping[str, Any]) -> Question:
    """``question, mc1_targets {choices, labels}``: the right one always comes first, so the question turns them."""
    choices, labels = list(row["mc1_targets"]["choices"]), list(row["mc1_targets"]["labels"])
    turn = hashlib.sha256(row["question"].encode()).digest()[0] % len(choices)
    choices, labels = choices[turn:] + choices[:turn], labels[turn:] + labels[:turn]
    return Question(row["question"], choices, labels.index(1))


def mmlu(row: Mapping[str, Any]) -> Question:
    """``question, subject, choices, answer``, an index."""
    return Question(
        row["question"], row["choices"], int(row["answer"]), str(row.get("subject") or "")
    )


_EXPORT = "refs/convert/parquet"
SOURCES = {
    "arc-challenge": Source("allenai/ai2_arc", "CC-BY-SA-4.0", arc, "ARC-Challenge"),
    "arc-easy": Source("allenai/ai2_arc", "CC-BY-SA-4.0", arc, "ARC-Easy"),
    "mctest-160": Source(
        "sagnikrayc/mctest", "Microsoft Research, see its card", mctest, "mc160", revision=_EXPORT
    ),
    "mctest-500": Source(
        "sagnikrayc/mctest", "Microsoft Research, see its card", mctest, "mc500", revision=_EXPORT
    ),
    "openbookqa": Source("allenai/openbookqa", "see its card", openbookqa, "main"),
    "race": Source("ehovy/race", "non-commercial research, see its card", race, "all"),
    "truthfulqa": Source(
        "truthfulqa/truthful_qa", "Apache-2.0", truthfulqa, "multiple_choice", ("validation",)
    ),
    "mmlu-dev": Source("cais/mmlu", "MIT", mmlu, "all", ("dev",)),
    "mmlu-test": Source("cais/mmlu", "MIT", mmlu, "all", ("test",)),
}
PAPER = tuple(name for name in SOURCES if not name.startswith("mmlu"))


def load(name: str) -> Iterator[tuple[str, Dataset]]:
    """The splits of a source, fetched by ``datasets`` from the hub or its cache.

    Raises:
        MissingDependency: ``datasets`` is not installed.
        ConfigurationError: There is no such source, or it cannot be fetched.
    """
    if name not in SOURCES:
        raise ConfigurationError(
            f"--source: {name!r} is unknown; choose among {', '.join(SOURCES)}, or give a --file"
        )
    try:
        import datasets
    except ImportError as error:
        raise MissingDependency("datasets", "data", f"collect {name}") from error
    source = SOURCES[name]
    where: dict[str, Any] = (
        {"data_dir": source.subset, "revision": source.revision} if source.revision else {}
    )
    for part in source.splits:
        try:
            subset = None if source.revision else source.subset
            yield part, datasets.load_dataset(source.hub_id, subset, split=part, **where)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigurationError(
                f"--source: {name} ({source.hub_id}) cannot be fetched ({type(error).__name__}: {error}); check the "
                "network or HF_HOME, or give the questions as a --file"
            ) from error


def origin(name: str, part: str, rows: Dataset) -> dict[str, Any]:
    """Where a split came from, for the manifest."""
    source = SOURCES[name]
    known = {
        "hub_id": source.hub_id,
        "subset": source.subset,
        "split": part,
        "revision": source.revision,
    }
    return {**known, "rows": len(rows), "checksums": sorted(rows.info.download_checksums or {})}


def from_source(name: str, part: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Rows of one split of a hub's set as prompts.

    Raises:
        OutcomesError: A row does not look as the set's rows do.
    """
    source = SOURCES[name]
    for number, row in enumerate(rows, start=1):
        try:
            question = source.read(row)
            answer = ascii_uppercase[question.answer]
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise OutcomesError(
                f"{name}: {part}, row {number}: {type(error).__name__}: {error}"
            ) from error
        yield {
            "prompt_id": f"{name}-{part}-{number}",
            "prompt": question.text.strip(),
            "benchmark": name,
            "domain": question.domain or name,
            "choices": json.dumps(list(question.choices), ensure_ascii=False),
            "answer": answer,
            "licence": source.licence,
        }


def from_file(path: Path, columns: Mapping[str, str]) -> Iterator[Row]:
    """Rows of one's own CSV, JSONL or Parquet file as prompts.

    Args:
        path: The file.
        columns: Ours → what the file calls it, where it is not one of the usual names.

    Raises:
        OutcomesError: A row without a prompt.
    """
    for number, row in enumerate(read_rows(path), start=1):
        named = {
            ours: (columns[ours],) if ours in columns else usual for ours, usual in ALIASES.items()
        }
        found = {
            ours: next((row[name] for name in names if row.get(name) is not None), None)
            for ours, names in named.items()
        }
        if not str(found["prompt"] or "").strip():
            wanted = " or ".join(named["prompt"])
            raise OutcomesError(
                f"{path}: row {number}: no prompt in {wanted}; say --column prompt=NAME"
            )
        text, benchmark = str(found["prompt"]), str(found["benchmark"] or path.stem)
        choices, answer = found["choices"], found["answer"]
        name = found["prompt_id"]
        yield {
            "prompt_id": str(name)
            if name is not None
            else f"{benchmark}-{hashlib.sha256(text.encode()).hexdigest()[:12]}",
            "prompt": text,
            "benchmark": benchmark,
            "domain": str(found["domain"] or ""),
            "choices": choices
            if choices is None or isinstance(choices, str)
            else json.dumps(choices, ensure_ascii=False),
            "answer": None if answer is None else str(answer),
            "licence": found["licence"],
        }


def without_repeats(rows: Iterable[Row]) -> tuple[list[Row], dict[str, int]]:
    """The first of each question with the same words and choices.

    Returns:
        Those rows, and how many there were of each benchmark and how many were dropped.

    Raises:
        OutcomesError: Two different questions have the same id.
    """
    kept: dict[tuple[str, ...], Row] = {}
    ids: set[str] = set()
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["benchmark"]] = counts.get(row["benchmark"], 0) + 1
        key = tuple(words_of(f"{row['prompt']}\n{row['choices'] or ''}")) or (row["prompt"],)
        if key in kept:
            continue
        if row["prompt_id"] in ids:
            raise OutcomesError(
                f"prompt_id {row['prompt_id']!r} is given to two questions; give each an id of its own"
            )
        ids.add(row["prompt_id"])
        kept[key] = row
    return list(kept.values()), {**counts, "repeated": sum(counts.values()) - len(kept)}

"""Leaks planted in 50,000 prompts: how many are found, and how many others are taken for one.

python benchmarks/decontamination.py [--data FOLDER]   # FOLDER with questions.parquet and mmlu_pro.prompts.parquet
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pyarrow import parquet
from rich.console import Console
from rich.table import Table

from routoo_core.data.decontamination import Leak, decontaminate
from routoo_core.data.rows import PromptRow
from routoo_integrations.cli.terminal import TerminalProgress

CORPUS = 50_000
PLANTED = 400
out = Console(width=110)

Words = list[str]
Edit = Callable[[Words, random.Random], Words]


def made_up(count: int, draw: random.Random, words: Words) -> list[PromptRow]:
    """Questions of 8 to 60 words, common ones more often."""
    weights = [1 / (rank + 5) for rank in range(len(words))]
    lengths = [draw.randint(8, 60) for _ in range(count)]
    rows = []
    for number, length in enumerate(lengths):
        text = " ".join(draw.choices(words, weights, k=length))
        rows.append(PromptRow.of(f"c{number}", text.capitalize() + "?"))
    return rows


def vocabulary(draw: random.Random) -> Words:
    """Words to make questions of."""
    syllables = [first + vowel for first in "bcdfghklmnprstvw" for vowel in "aeiou"]
    return sorted({"".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(6000)})


def swap(words: Words, draw: random.Random) -> Words:
    index = draw.randrange(len(words) - 1)
    return [*words[:index], words[index + 1], words[index], *words[index + 2 :]]


def drop(words: Words, draw: random.Random) -> Words:
    index = draw.randrange(len(words))
    return words[:index] + words[index + 1 :]


def replace(words: Words, draw: random.Random) -> Words:
    index = draw.randrange(len(words))
    return [*words[:index], "something", *words[index + 1 :]]


def mistype(words: Words, draw: random.Random) -> Words:
    index = draw.randrange(len(words))
    word = words[index]
    letter = draw.randrange(len(word))
    mistyped = word[:letter] + draw.choice("aeiou") + word[letter + 1 :]
    return [*words[:index], mistyped, *words[index + 1 :]]


def frame(words: Words, draw: random.Random) -> Words:
    start = draw.choice(["Question:", "Please answer carefully:", "Q."])
    return [*start.split(), *words, "Answer", "briefly."]


EDITS: dict[str, Edit] = {
    "two neighbours swapped": swap,
    "a word dropped": drop,
    "a word replaced": replace,
    "a typing error": mistype,
    "a frame around it": frame,
}
"""What a leak may have undergone."""


def plant(
    kind: str, change: Callable[[str], str], rows: list[PromptRow], draw: random.Random
) -> list[PromptRow]:
    """Some of the rows, changed, under new ids."""
    sample = draw.sample(rows, min(PLANTED, len(rows)))
    return [
        PromptRow.of(f"{kind}-{number}", change(row.prompt)) for number, row in enumerate(sample)
    ]


def plant_leaks(evaluation: list[PromptRow], draw: random.Random) -> dict[str, list[PromptRow]]:
    """Kind → planted prompts."""

    def recase(text: str) -> str:
        return " ".join(text.title().split()) + " !"

    def edit_with(edit: Edit) -> Callable[[str], str]:
        return lambda text: " ".join(edit(text.split(), draw))

    def edit_twice(text: str) -> str:
        second = draw.choice(kinds)
        first = draw.choice(kinds)
        return " ".join(second(first(text.split(), draw), draw))

    planted = {
        "exact": plant("exact", str, evaluation, draw),
        "upper case": plant("upper", str.upper, evaluation, draw),
        "other case, spaces, punctuation": plant("case", recase, evaluation, draw),
    }
    for name, edit in EDITS.items():
        planted[f"edited: {name}"] = plant(name, edit_with(edit), evaluation, draw)
    kinds = [swap, drop, replace, mistype]
    planted["edited: two of these"] = plant("two", edit_twice, evaluation, draw)
    return planted


def measure(name: str, evaluation: list[PromptRow], draw: random.Random, words: Words) -> None:
    """Plant, decontaminate, count."""
    planted = plant_leaks(evaluation, draw)
    rows = made_up(CORPUS, draw, words)
    for leaked in planted.values():
        rows += leaked
    draw.shuffle(rows)

    start = time.perf_counter()
    leaks = decontaminate(rows, evaluation, progress=TerminalProgress(out)).leaks
    seconds = time.perf_counter() - start

    show_leaks(name, planted, leaks)
    wrong = 0
    for leak in leaks:
        wrong += leak.prompt_id.startswith("c") and leak.prompt_id[1:].isdigit()
    prompts = len(rows) + len(evaluation)
    out.print(
        f"of {CORPUS:,} others {wrong} were taken for leaks; {seconds:.0f} s for {prompts:,} prompts"
    )


def show_leaks(name: str, planted: dict[str, list[PromptRow]], leaks: list[Leak]) -> None:
    """How many of each kind were found, and by which rule."""
    reasons = {leak.prompt_id: leak.reason for leak in leaks}
    table = Table(name, "planted", "found", "by")
    edited_reasons: list[str | None] = []
    for kind, rows in planted.items():
        row_reasons = [reasons.get(row.prompt_id) for row in rows]
        counts = Counter(reason for reason in row_reasons if reason)
        by = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        table.add_row(kind, str(len(rows)), f"{counts.total() / len(rows):.1%}", by)
        if kind.startswith("edited"):
            edited_reasons += row_reasons

    share = sum(reason is not None for reason in edited_reasons) / len(edited_reasons)
    table.add_row("all edited (≥ 95 %)", str(len(edited_reasons)), f"{share:.2%}", "")
    out.print(table)


def measure_real(folder: Path, draw: random.Random, words: Words) -> None:
    """The same against real questions; then real prompts against each other."""
    questions = parquet.read_table(
        folder / "questions.parquet", columns=["question", "choices"]
    ).to_pylist()
    long_questions = []
    for number, row in enumerate(questions):
        if len(row["question"].split()) > 4:
            long_questions.append(PromptRow.of(f"q{number}", row["question"]))
    measure(f"against {len(long_questions):,} real ones", long_questions, draw, words)

    sides = read_sides(folder / "mmlu_pro.prompts.parquet")
    with_choices = [
        PromptRow.of(f"q{number}", row["question"], choices=row["choices"])
        for number, row in enumerate(questions)
    ]
    tables = {"ARC and MMLU dev": with_choices, "MMLU-Pro train": sides["train"]}
    for name, rows in tables.items():
        result = decontaminate(rows, sides["dev"])
        by = {reason: result.counts()[reason] for reason in ("exact", "ngram", "near")}
        out.print(f"{name}: {len(result.leaks)} of {len(rows)} too like MMLU-Pro dev: {by}")


def read_sides(path: Path) -> dict[str, list[PromptRow]]:
    """Split → its prompts."""
    sides: dict[str, list[PromptRow]] = {}
    table = parquet.read_table(path, columns=["prompt_id", "prompt", "split"])
    for row in table.to_pylist():
        prompt = PromptRow.of(str(row["prompt_id"]), row["prompt"])
        sides.setdefault(row["split"], []).append(prompt)
    return sides


def main() -> None:
    """Run with made-up questions, and with real ones where there are some."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    draw = random.Random(0)
    words = vocabulary(draw)
    rows = made_up(3000, draw, words)
    evaluation = [row.replace(prompt_id=f"e{number}") for number, row in enumerate(rows)]
    measure("against 3,000 made-up questions", evaluation, draw, words)
    if arguments.data:
        measure_real(arguments.data, draw, words)


if __name__ == "__main__":
    main()

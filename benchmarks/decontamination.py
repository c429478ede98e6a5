"""Leaks planted in 50,000 prompts: how many are found, and how many others are taken for one.

python benchmarks/decontamination.py [--data FOLDER]   # FOLDER with questions.parquet and mmlu_pro.prompts.parquet
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

from pyarrow import parquet
from rich.console import Console
from rich.table import Table

from routoo_core.data.decontamination import decontaminate
from routoo_core.data.steps import Row
from routoo_core.progress import progress_bar

CORPUS, PLANTED = 50_000, 400
out = Console(width=110)


def made_up(count: int, draw: random.Random, words: list[str]) -> list[Row]:
    """Questions of 8 to 60 words, common ones more often."""
    weights = [1 / (rank + 5) for rank in range(len(words))]
    lengths = [draw.randint(8, 60) for _ in range(count)]
    texts = [
        " ".join(draw.choices(words, weights, k=length)).capitalize() + "?" for length in lengths
    ]
    return [{"prompt_id": f"c{i}", "prompt": text} for i, text in enumerate(texts)]


def vocabulary(draw: random.Random) -> list[str]:
    """Words to make questions of."""
    syllables = [first + vowel for first in "bcdfghklmnprstvw" for vowel in "aeiou"]
    return sorted({"".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(6000)})


def swapped(words: list[str], draw: random.Random) -> list[str]:
    place = draw.randrange(len(words) - 1)
    return [*words[:place], words[place + 1], words[place], *words[place + 2 :]]


def dropped(words: list[str], draw: random.Random) -> list[str]:
    place = draw.randrange(len(words))
    return words[:place] + words[place + 1 :]


def replaced(words: list[str], draw: random.Random) -> list[str]:
    place = draw.randrange(len(words))
    return [*words[:place], "something", *words[place + 1 :]]


def mistyped(words: list[str], draw: random.Random) -> list[str]:
    place = draw.randrange(len(words))
    word = words[place]
    at = draw.randrange(len(word))
    return [*words[:place], word[:at] + draw.choice("aeiou") + word[at + 1 :], *words[place + 1 :]]


def framed(words: list[str], draw: random.Random) -> list[str]:
    return [
        *draw.choice(["Question:", "Please answer carefully:", "Q."]).split(),
        *words,
        "Answer",
        "briefly.",
    ]


EDITS: dict[str, Callable[[list[str], random.Random], list[str]]] = {
    "two neighbours swapped": swapped,
    "a word dropped": dropped,
    "a word replaced": replaced,
    "a typing error": mistyped,
    "a frame around it": framed,
}


def leaks(against: list[Row], draw: random.Random) -> dict[str, list[Row]]:
    """Kind → planted prompts."""

    def plant(kind: str, change: Callable[[str], str]) -> list[Row]:
        chosen = draw.sample(against, min(PLANTED, len(against)))
        return [
            {"prompt_id": f"{kind}-{i}", "prompt": change(row["prompt"])}
            for i, row in enumerate(chosen)
        ]

    planted = {
        "exact": plant("exact", lambda text: text),
        "upper case": plant("upper", str.upper),
        "other case, spaces, punctuation": plant(
            "case", lambda text: " ".join(text.title().split()) + " !"
        ),
    }
    for name, edit in EDITS.items():
        planted[f"edited: {name}"] = plant(
            name, lambda text, edit=edit: " ".join(edit(text.split(), draw))
        )
    kinds = [swapped, dropped, replaced, mistyped]
    planted["edited: two of these"] = plant(
        "two",
        lambda text: " ".join(draw.choice(kinds)(draw.choice(kinds)(text.split(), draw), draw)),
    )
    return planted


def measure(name: str, against: list[Row], draw: random.Random, words: list[str]) -> None:
    """Plant, decontaminate, count."""
    planted = leaks(against, draw)
    rows = made_up(CORPUS, draw, words) + [row for kind in planted.values() for row in kind]
    draw.shuffle(rows)
    start = time.perf_counter()
    with progress_bar(out, name, len(rows) + len(against)) as advance:
        _, found = decontaminate(rows, against, advance=advance)
    seconds = time.perf_counter() - start
    reasons = {leak.prompt_id: leak.reason for leak in found}
    table = Table(name, "planted", "found", "by")
    for kind, some in planted.items():
        by = [reasons[row["prompt_id"]] for row in some if row["prompt_id"] in reasons]
        counted = ", ".join(f"{by.count(reason)} {reason}" for reason in sorted(set(by)))
        table.add_row(kind, str(len(some)), f"{len(by) / len(some):.1%}", counted)
    edited = [
        row["prompt_id"]
        for kind, some in planted.items()
        if kind.startswith("edited")
        for row in some
    ]
    share = sum(one in reasons for one in edited) / len(edited)
    table.add_row("all edited (≥ 95 %)", str(len(edited)), f"{share:.2%}", "")
    out.print(table)
    wrong = sum(leak.prompt_id.startswith("c") and leak.prompt_id[1:].isdigit() for leak in found)
    out.print(
        f"of {CORPUS:,} others {wrong} were taken for leaks; {seconds:.0f} s for {len(rows) + len(against):,} prompts"
    )


def main() -> None:
    """Run with made-up questions, and with real ones where there are some."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    draw = random.Random(0)
    words = vocabulary(draw)
    against = [{**row, "prompt_id": f"e{i}"} for i, row in enumerate(made_up(3000, draw, words))]
    measure("against 3,000 made-up questions", against, draw, words)
    if given.data:
        questions = parquet.read_table(
            given.data / "questions.parquet", columns=["question", "choices"]
        ).to_pylist()
        real = [
            {"prompt_id": f"q{i}", "prompt": row["question"]}
            for i, row in enumerate(questions)
            if len(row["question"].split()) > 4
        ]
        measure(f"against {len(real):,} real ones", real, draw, words)
        other = parquet.read_table(
            given.data / "mmlu_pro.prompts.parquet", columns=["prompt_id", "prompt", "split"]
        )
        prompts = other.to_pylist()
        dev = [row for row in prompts if row["split"] == "dev"]
        full = [
            {"prompt_id": f"q{i}", "prompt": row["question"], "choices": row["choices"]}
            for i, row in enumerate(questions)
        ]
        for name, rows in (
            ("ARC and MMLU dev", full),
            ("MMLU-Pro train", [r for r in prompts if r["split"] == "train"]),
        ):
            found = decontaminate(rows, dev)[1]
            by = {
                reason: sum(leak.reason == reason for leak in found)
                for reason in ("exact", "ngram", "near")
            }
            out.print(f"{name}: {len(found)} of {len(rows)} too like MMLU-Pro dev: {by}")


if __name__ == "__main__":
    main()

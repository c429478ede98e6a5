"""``routoo data filter``, ``split`` and ``sample``: which prompts are worth running, and on which side they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from routoo_core.data.steps import Row, drawn
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.prompts import split_of
from routoo_core.tables import read_columns
from routoo_core.text import without_choices


@dataclass(frozen=True)
class Preset:
    """Whose failures are kept, and how many of the others.

    Attributes:
        expert: The reference.
        others: How many of those it did not fail, at random.
    """

    expert: str
    others: int


PRESETS = {"paper": Preset("SOLAR-10.7B-v1.0", 10_000)}  # of 101,434 it failed 45,645 (§4.2)


def keep_hard(
    rows: Sequence[Row],
    outcomes: Path,
    expert: str,
    others: int,
    at_most: float = 0.0,
    seed: int = 0,
) -> tuple[list[Row], dict[str, int]]:
    """What ``expert`` fails, and some of the rest at random; a prompt it was not run on is neither.

    Args:
        rows: Prompts.
        outcomes: ``prompt_id, model, score``.
        expert: The reference, as the outcomes call it.
        others: How many of those it did not fail.
        at_most: A score up to which it failed, 0–1.
        seed: Another draws other ones.

    Returns:
        The rows kept, in their order, and the counts.

    Raises:
        OutcomesError: The outcomes cannot be read, or a score is no number from 0 to 1.
        ConfigurationError: The expert has no outcome of these prompts, or there are too few others.
    """
    table = read_columns(outcomes, ("prompt_id", "model", "score"))
    score_of: dict[str, float] = {}
    given = zip(table["prompt_id"], table["model"], table["score"], strict=True)
    for number, (prompt_id, model, score) in enumerate(given, start=1):
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise OutcomesError(
                f"{outcomes}: row {number}: score {score!r} is not a number from 0 to 1"
            )
        if model == expert:
            score_of[str(prompt_id)] = score
    known = [row for row in rows if row["prompt_id"] in score_of]
    if not known:
        models = ", ".join(sorted(set(map(str, table["model"])))[:10])
        raise ConfigurationError(
            f"--expert: {outcomes} has no outcome of {expert!r} on these prompts; it has {models}"
        )
    failed = {row["prompt_id"] for row in known if score_of[row["prompt_id"]] <= at_most}
    rest = [row for row in known if row["prompt_id"] not in failed]
    if others > len(rest):
        raise ConfigurationError(
            f"--random: {expert!r} failed all but {len(rest)} prompts, so {others} are too many"
        )
    kept = failed | drawn(rest, others, seed)
    counts = {
        "given": len(rows),
        "failed": len(failed),
        "random": others,
        "not_scored": len(rows) - len(known),
    }
    return [row for row in rows if row["prompt_id"] in kept], counts


def split(rows: Sequence[Row], dev_share: float) -> tuple[list[Row], dict[str, int]]:
    """Write ``train`` or ``dev`` into each row's ``split``, by a hash of the question without its choices.

    The same question is thus on the same side in every table, at every time, however it is formatted.

    Raises:
        ConfigurationError: The share is not between 0 and 1.
    """
    if not 0 < dev_share < 1:
        raise ConfigurationError(f"--dev-share: {dev_share} is not between 0 and 1")
    done = [{**row, "split": split_of(without_choices(row["prompt"]), dev_share)} for row in rows]
    return done, {side: sum(row["split"] == side for row in done) for side in ("train", "dev")}


def sample(rows: Sequence[Row], count: int, seed: int) -> tuple[list[Row], dict[str, int]]:
    """Some rows at random, in their order; a smaller sample with the same seed is part of a larger one.

    Raises:
        ConfigurationError: There are fewer rows.
    """
    if not 0 < count <= len(rows):
        raise ConfigurationError(
            f"--n: {count} of {len(rows)} prompts cannot be drawn; choose 1 to {len(rows)}"
        )
    kept = drawn(rows, count, seed)
    return [row for row in rows if row["prompt_id"] in kept], {"given": len(rows), "kept": count}

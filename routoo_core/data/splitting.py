"""Which prompts are worth running, and on which side they are: ``routoo data filter``, ``split`` and ``sample``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from routoo_core.data.rows import PromptRow, draw_rows
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.prompts import split_of
from routoo_core.tables import read_columns
from routoo_core.text import without_choices


@dataclass(frozen=True)
class Selection:
    """What a step left.

    Attributes:
        rows: In the order they had.
        counts: What was kept, dropped and why.
    """

    rows: list[PromptRow]
    counts: dict[str, int]


@dataclass(frozen=True)
class HardPrompts:
    """Which prompts are hard: those that a reference expert fails; and how many others are kept beside them.

    Attributes:
        expert: The reference, as the outcomes call it.
        others: How many of those it did not fail, at random.
        at_most: A score up to which it failed, 0–1.
        seed: A different seed gives a different sample.
    """

    expert: str
    others: int
    at_most: float = 0.0
    seed: int = 0


PRESETS = {"paper": HardPrompts("SOLAR-10.7B-v1.0", 10_000)}
"""The paper's reference failed 45,645 of 101,434 (§4.2)."""


def select_hard(rows: Sequence[PromptRow], outcomes: Path, hard: HardPrompts) -> Selection:
    """Keep what the reference expert fails, and some of the rest; a prompt it was not run on is neither.

    Args:
        rows: Prompts.
        outcomes: ``prompt_id, model, score``.
        hard: The reference, and how many others.

    Raises:
        OutcomesError: The outcomes cannot be read, or a score is no number from 0 to 1.
        ConfigurationError: The expert has no outcome of these prompts, or there are too few others.
    """
    scores = _read_scores_of(outcomes, hard.expert)
    failures: list[PromptRow] = []
    successes: list[PromptRow] = []
    for row in rows:
        score = scores.get(row.prompt_id)
        if score is not None and score <= hard.at_most:
            failures.append(row)
        elif score is not None:
            successes.append(row)

    if not failures and not successes:
        raise _no_outcomes(outcomes, hard.expert)
    if hard.others > len(successes):
        raise ConfigurationError(
            f"others: {hard.expert!r} failed all but {len(successes)} prompts, so {hard.others} are too many"
        )
    random_rows = draw_rows(successes, hard.others, hard.seed)

    ids = {row.prompt_id for row in (*failures, *random_rows)}
    counts = {
        "given": len(rows),
        "failed": len(failures),
        "random": len(random_rows),
        "not_scored": len(rows) - len(failures) - len(successes),
    }
    return Selection([row for row in rows if row.prompt_id in ids], counts)


def _read_scores_of(outcomes: Path, expert: str) -> dict[str, float]:
    """Prompt → the expert's score."""
    table = read_columns(outcomes, ("prompt_id", "model", "score"))
    observations = zip(table["prompt_id"], table["model"], table["score"], strict=True)
    scores = {}
    for number, (prompt_id, model, score) in enumerate(observations, start=1):
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise OutcomesError(
                f"{outcomes}: row {number}: score {score!r} is not a number from 0 to 1"
            )
        if model == expert:
            scores[prompt_id] = score
    return scores


def _no_outcomes(outcomes: Path, expert: str) -> ConfigurationError:
    table = read_columns(outcomes, ("model",))
    models = sorted(set(table["model"]))
    examples = ", ".join(models[:10])
    return ConfigurationError(
        f"expert: {outcomes} has no outcome of {expert!r} on these prompts; it has {examples}"
    )


def split_prompts(rows: Sequence[PromptRow], dev_share: float) -> Selection:
    """Write ``train`` or ``dev`` into each row's ``split``, by a hash of the question without its choices.

    The same question is thus on the same side in every table, at every time, however it is formatted.

    Args:
        rows: Prompts.
        dev_share: Share of the questions on the side ``dev``, between 0 and 1.

    Raises:
        ConfigurationError: The share is not between 0 and 1.
    """
    if not 0 < dev_share < 1:
        raise ConfigurationError(f"dev_share: {dev_share} is not between 0 and 1")

    counts = {"train": 0, "dev": 0}
    split_rows = []
    for row in rows:
        side = split_of(without_choices(row.prompt), dev_share)
        split_rows.append(row.replace(split=side))
        counts[side] += 1
    return Selection(split_rows, counts)


def sample_prompts(rows: Sequence[PromptRow], count: int, seed: int) -> Selection:
    """Draw some rows at random, in their order; a smaller sample with the same seed is part of a larger one.

    Args:
        rows: Prompts.
        count: How many.
        seed: A different seed gives a different sample.

    Raises:
        ConfigurationError: There are fewer rows.
    """
    if not 0 < count <= len(rows):
        raise ConfigurationError(
            f"count: {count} of {len(rows)} prompts cannot be drawn; choose 1 to {len(rows)}"
        )
    return Selection(draw_rows(rows, count, seed), {"given": len(rows), "kept": count})

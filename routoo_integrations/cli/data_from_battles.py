"""``routoo data from-battles``: which of two models won becomes prompts and outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routoo_core.data.arena import SHORTEST_PROMPT, read_battles
from routoo_core.data.manifest import write_step
from routoo_core.data.tiers import Tiers, by_tier, rate_tiers
from routoo_core.outcomes import Outcomes, outcome_rows
from routoo_integrations.cli.data_options import check_step_files, describe_step, finish_step
from routoo_integrations.cli.options import JsonOption
from routoo_integrations.cli.outputs import OverwriteOption
from routoo_integrations.cli.terminal import print_line


def from_battles_command(
    context: typer.Context,
    battles: Annotated[
        list[Path],
        typer.Option(
            help="Parquet, CSV or JSONL: model_a, model_b, prompt, winner, as Chatbot Arena has them (repeatable)."
        ),
    ],
    prompts: Annotated[Path, typer.Option(help="The table of prompts to write, .parquet or .csv.")],
    outcomes: Annotated[
        Path, typer.Option(help="The table of outcomes to write, .parquet or .csv.")
    ],
    tiers: Annotated[
        int | None,
        typer.Option(min=2, help="Gather the models in so many tiers by rating (RouteLLM: 10)."),
    ] = None,
    shortest_prompt: Annotated[
        int, typer.Option(min=1, help="Leave out battles over prompts of fewer characters.")
    ] = SHORTEST_PROMPT,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn battles into prompts and outcomes, as 'routoo train' reads them: 1 for the winner, 0.5 each for a tie.

    Most models meet seldom. With --tiers, models of about the same Bradley–Terry rating become one expert: tier-0 is
    the strongest. Battles within a tier are left out.

    Example: [bold]routoo data from-battles --battles arena.csv --prompts p.parquet --outcomes o.parquet[/bold]
    """
    check_step_files({"--prompts": prompts, "--outcomes": outcomes}, battles, overwrite)
    arena = read_battles(battles, shortest_prompt)
    arena_battles = arena.battles
    counts = dict(arena.counts)
    if tiers is not None:
        ratings = rate_tiers(arena_battles, tiers)
        arena_battles = by_tier(arena_battles, ratings)
        counts["within_a_tier"] = len(arena.battles) - len(arena_battles)
        if not as_json:
            _show(ratings)

    step = describe_step(context, battles, counts)
    table = arena_battles.to_outcomes()
    write_step(outcomes, outcome_rows(table), step)
    finish_step(prompts, prompt_rows(table), step, as_json)


def prompt_rows(table: Outcomes) -> list[dict[str, object]]:
    """The rows of a table of prompts."""
    rows: list[dict[str, object]] = []
    columns = zip(table.prompt_ids, table.prompts, table.splits, table.domains, strict=True)
    for prompt_id, prompt, split, domain in columns:
        row: dict[str, object] = {"prompt_id": prompt_id, "prompt": prompt, "split": split}
        if domain:
            row["domain"] = domain
        rows.append(row)
    return rows


def _show(tiers: Tiers) -> None:
    for number, name in enumerate(tiers.names):
        models = []
        for expert, tier in zip(tiers.experts, tiers.tier, strict=True):
            if tier == number:
                models.append(expert)
        print_line(f"{name}: {', '.join(models)}")

"""``routoo catalogue``: what is known of today's models, and adding to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from routoo_core.catalogue.building import build_catalogue, read_models, read_scores
from routoo_core.catalogue.entries import Ability, ModelFacts, PublishedScore
from routoo_core.catalogue.names import read_model_name
from routoo_core.catalogue.skills import SKILL_TITLES, SKILLS
from routoo_core.catalogue.store import (
    Catalogue,
    open_catalogue,
    own_catalogue_path,
    write_catalogue,
)
from routoo_core.errors import ConfigurationError
from routoo_integrations.cli.options import JsonOption
from routoo_integrations.cli.terminal import out, print_json, print_line, progress

_NEWEST_SCORES = 8


def show_command(
    model: Annotated[
        str, typer.Argument(help="In any common spelling: gpt-5.5, anthropic/claude-haiku-4.5.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Show a model: price, window, ability by skill with its uncertainty, and the newest scores with their sources.

    Example: [bold]routoo catalogue show gpt-5-mini[/bold]
    """
    catalogue = open_catalogue()
    facts = catalogue.find(model)
    ability = catalogue.ability(model)
    if facts is None or ability is None:
        near = ", ".join(catalogue.nearest_names(model)) or "none"
        raise ConfigurationError(f"{model!r} is not in the catalogue; near names: {near}")
    scores = catalogue.scores(model)
    if as_json:
        print_json(_describe(facts, ability, scores))
        return
    price = "price unknown"
    if facts.input_usd_per_1m is not None:
        price = (
            f"${facts.input_usd_per_1m:g} in, ${facts.output_usd_per_1m:g} out per million tokens"
        )
    print_line(
        f"{facts.title} ({facts.provider or 'provider unknown'}, {facts.release or 'no date'})"
    )
    print_line(
        f"{price}; window {facts.context_window or 'unknown'}, reply {facts.max_output_tokens or 'unknown'}"
    )
    print_line(f"Ability from {len(scores)} scores; 0 is a middling model, 1 the spread of all:")
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for number, skill in enumerate(SKILLS):
        table.add_row(
            SKILL_TITLES[skill], f"{ability.mean[number]:+.2f} ± {ability.deviation[number]:.2f}"
        )
    out.print(table)
    for score in scores[:_NEWEST_SCORES]:
        name = f"{score.benchmark} {score.category}".strip()
        print_line(
            f"{score.score:g}  {name} ({score.kind}, {score.date or 'no date'}; {score.source})"
        )


def benchmarks_command() -> None:
    """List the benchmarks whose scores an expert's table may give, as benchmark/category.

    Example: [bold]routoo catalogue benchmarks[/bold]
    """
    names = dict.fromkeys(
        f"{benchmark}/{category}" if category else benchmark
        for benchmark, category, _ in open_catalogue().columns()
    )
    for name in sorted(names):
        print_line(name)


def update_command(
    source: Annotated[
        Path, typer.Option("--from", help="Parquet or CSV: model, benchmark, score (0–1).")
    ],
    models: Annotated[
        Path | None, typer.Option(help="Parquet or CSV: model, context_window, prices, …")
    ] = None,
) -> None:
    """Add scores to the catalogue, or replace those of the same model and benchmark, and fit all abilities again.

    The result is kept in your data folder, or in the file that $ROUTOO_CATALOGUE names; what ships stays as it is.

    Example: [bold]routoo catalogue update --from scores.csv[/bold]
    """
    current = open_catalogue()
    new_scores = read_scores(source)
    if not new_scores:
        raise ConfigurationError(
            f"{source}: contains no scores; its columns must be model, benchmark, score"
        )
    new_models = read_models(models) if models is not None else []
    with progress.status("fitting abilities …"):
        content = build_catalogue(
            _merge_models(current, new_models), _merge_scores(current, new_scores)
        )
    target = own_catalogue_path()
    write_catalogue(target, content)
    use_count = sum(score in content.scores for score in new_scores)
    print_line(
        f"{target}: {use_count} of {len(new_scores)} new scores used, {len(content.models)} models"
    )
    if use_count < len(new_scores):
        print_line("Others are of benchmarks that speak of no skill, or that too few models have.")


def _merge_scores(current: Catalogue, new: Sequence[PublishedScore]) -> list[PublishedScore]:
    new_keys = {(score.key, score.effort, *score.column) for score in new}
    current_scores = []
    for score in current.all_scores():
        if (score.key, score.effort, *score.column) not in new_keys:
            current_scores.append(score)
    return [*current_scores, *new]


def _merge_models(current: Catalogue, new: Sequence[ModelFacts]) -> list[ModelFacts]:
    facts_of_key = {facts.key: facts for facts in current.models()}
    facts_of_key.update({facts.key: facts for facts in new})
    return list(facts_of_key.values())


def _describe(
    facts: ModelFacts, ability: Ability, scores: Sequence[PublishedScore]
) -> dict[str, Any]:
    skills = {}
    for number, skill in enumerate(SKILLS):
        skills[skill] = {
            "ability": round(float(ability.mean[number]), 3),
            "deviation": round(float(ability.deviation[number]), 3),
        }
    return {
        "model": facts.title,
        "key": read_model_name(facts.title).key,
        "provider": facts.provider,
        "release": facts.release,
        "context_window": facts.context_window,
        "max_output_tokens": facts.max_output_tokens,
        "input_usd_per_1m": facts.input_usd_per_1m,
        "output_usd_per_1m": facts.output_usd_per_1m,
        "skills": skills,
        "scores": [
            {
                "benchmark": score.benchmark,
                "category": score.category,
                "score": score.score,
                "kind": score.kind,
                "date": score.date,
                "source": score.source,
            }
            for score in scores
        ],
    }

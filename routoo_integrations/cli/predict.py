"""``routoo predict``: what a router predicts for a table of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from routoo_core.assignment.predictions import predict_table, read_prediction_input
from routoo_core.assignment.quality_table import write_predicted_quality
from routoo_core.experts import Pool
from routoo_core.tables import check_table_format
from routoo_integrations.cli.options import JsonOption, RouterOption, TableOption
from routoo_integrations.cli.outputs import CommandFiles, OverwriteOption
from routoo_integrations.cli.ray_options import RayGpusOption, RayOption, predictor_loader
from routoo_integrations.cli.terminal import print_json, print_line, progress


def predict_command(
    router: RouterOption,
    prompts: Annotated[Path, typer.Option(help="Parquet or CSV: prompt_id, prompt.")],
    target: TableOption,
    experts: Annotated[
        list[str] | None,
        typer.Option(help="For a general router: experts.toml, or a model's name; repeatable."),
    ] = None,
    on_ray: RayOption = False,
    ray_gpus: RayGpusOption = 0.0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Predict how well every expert a router knows would answer each prompt: prompt_id, model, score (0–1).

    A general router knows any model of the catalogue: name them by --experts.

    Example: [bold]routoo predict --router general-fast --experts experts.toml --prompts p.csv --out scores.csv[/bold]
    """
    check_table_format(target)
    CommandFiles({"--out": target}, inputs=[prompts]).check(overwrite)
    names = read_named_experts(experts or [])
    load = predictor_loader(on_ray, ray_gpus)
    table = predict_table(read_prediction_input(router, prompts, names, load), progress)
    write_predicted_quality(target, table)

    prompt_count = len(table)
    expert_count = len(table.experts)
    if as_json:
        print_json({"prompts": prompt_count, "experts": expert_count, "out": str(target)})
    else:
        print_line(f"{target}: {prompt_count} prompts × {expert_count} experts")


def read_named_experts(names: Sequence[str]) -> Pool | tuple[str, ...]:
    """The pool of an experts.toml, or the names themselves."""
    if len(names) == 1 and names[0].endswith(".toml"):
        return Pool.from_toml(names[0])
    return tuple(names)

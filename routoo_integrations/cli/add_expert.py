"""``routoo add-expert``: one more expert for a router, from a few labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routoo_core.loading import is_general
from routoo_core.outcomes import read_outcomes
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.training.expert_run import NewExpert, add_expert_to
from routoo_core.training.general_labels import teach_general
from routoo_integrations.cli.options import JsonOption, OutcomesOption, RouterOption
from routoo_integrations.cli.outputs import CHECKPOINT_FILES, CommandFiles, OverwriteOption
from routoo_integrations.cli.terminal import print_json, print_line, progress


def add_expert_command(
    router: RouterOption,
    prompts: Annotated[Path, typer.Option(help="Parquet or CSV: prompt_id, prompt.")],
    outcomes: OutcomesOption,
    name: Annotated[str, typer.Option(help="The new expert's name in the outcomes.")],
    folder: Annotated[Path, typer.Option("--out", help="The grown router's folder.")],
    prior: Annotated[
        str | None,
        typer.Option(help="The known expert that it resembles most; by default the mean of all."),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add one expert to a router from a few labels; predictions for the others do not change.

    A general router starts from the catalogue's ability of the model, or of --prior; labels sharpen it.

    Example: [bold]routoo add-expert --router general-fast --prompts p.csv --outcomes o.csv --name my --out grown[/bold]
    """
    CommandFiles(inputs=[prompts, outcomes], folders={"--out": (folder, CHECKPOINT_FILES)}).check(
        overwrite
    )
    checkpoint = find_router(router)
    table = read_outcomes(prompts, outcomes)
    expert = NewExpert(name, prior)
    if is_general(checkpoint):
        result = teach_general(checkpoint, table, expert, folder)
    else:
        result = add_expert_to(checkpoint, table, expert, folder, progress)

    if as_json:
        print_json(result.to_dict())
    else:
        print_line(f"{folder}: {name} learnt from {result.labels} labels")

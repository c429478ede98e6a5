"""``routoo data …``: from question sets and logs to prompts worth training on (paper §4.2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routoo_core.errors import ConfigurationError
from routoo_integrations.cli import writing
from routoo_integrations.cli.shared import JsonOption, out, progress, step_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo_core.data.steps import Row

app = typer.Typer(
    no_args_is_help=True,
    help="Prepare prompts to train on: each step reads a table and writes one, and beside it a manifest "
    "(.manifest.json) with counts, licences, settings and the SHA-256 of what went in and came out.",
)

PromptsOption = Annotated[
    Path, typer.Option(help="Parquet, CSV or JSONL: prompt_id, prompt; other columns are kept.")
]
OutOption = Annotated[Path, typer.Option("--out", help="The table to write, .parquet or .csv.")]
SeedOption = Annotated[int, typer.Option(help="Another seed draws others.")]


@app.command()
def collect(
    context: typer.Context,
    table: OutOption,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="A public question set (repeatable), or paper: all that the paper collects."
        ),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(help="A CSV, JSONL or Parquet file of your own (repeatable)."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="OURS=THEIRS: what your files call a column, such as prompt=body (repeatable)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Collect questions into one table: prompt_id, prompt, benchmark, domain, choices, answer, licence.

    Sources: arc-challenge, arc-easy, mctest-160, mctest-500, openbookqa, race, truthfulqa, mmlu-dev, mmlu-test; they
    are fetched from the Hugging Face hub. In your own files question, qid, subject and the like are understood.

    Example: [bold]routoo data collect --source arc-challenge --file mine.jsonl --out pool.parquet[/bold]
    """
    from routoo_core.data.collection import (
        ALIASES,
        COLUMNS,
        PAPER,
        from_file,
        from_source,
        load,
        origin,
        without_repeats,
    )
    from routoo_core.tables import check_table_format

    check_table_format(table)
    if not source and not file:
        raise ConfigurationError("give at least one --source or --file")
    named = dict(one.split("=", 1) for one in column or () if "=" in one)
    if len(named) < len(column or ()) or not named.keys() <= ALIASES.keys():
        raise ConfigurationError(
            f"--column: {column} is not OURS=THEIRS for each of {', '.join(ALIASES)}"
        )
    sources = [name for one in source or () for name in (PAPER if one == "paper" else (one,))]
    rows: list[Row] = []
    inputs: list[Path | dict[str, Any]] = list(file or ())
    for name in sources:
        for part, given in load(name):
            inputs.append(origin(name, part, given))
            with progress.bar(f"{name} {part}", len(given)) as advance:
                for row in from_source(name, part, given):
                    rows.append(row)
                    advance(1)
    for path in file or ():
        rows += from_file(path, named)
    kept, counts = without_repeats(rows)
    _finish(context, table, kept, inputs, counts, as_json, COLUMNS)


@app.command("filter")
def filter_(
    context: typer.Context,
    prompts: PromptsOption,
    outcomes: Annotated[Path, typer.Option(help="Parquet or CSV: prompt_id, model, score (0–1).")],
    table: OutOption,
    expert: Annotated[
        str | None, typer.Option(help="The reference expert, as the outcomes call it.")
    ] = None,
    others: Annotated[
        int | None, typer.Option("--random", help="Prompts it did not fail to keep as well.")
    ] = None,
    at_most: Annotated[
        float, typer.Option(min=0, max=1, help="A score up to which it failed.")
    ] = 0.0,
    preset: Annotated[
        str | None, typer.Option(help="paper: SOLAR-10.7B-v1.0 and 10,000 others.")
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Keep the prompts that a reference expert fails, and some of the others at random: what is hard teaches most.

    A prompt it was not run on is left out, and counted. The paper kept 45,645 + 10,000 of 101,434.

    Example: [bold]routoo data filter --prompts p.csv --outcomes o.csv --expert small --random 500 --out hard.csv[/bold]
    """
    from routoo_core.data.splitting import PRESETS, keep_hard
    from routoo_core.data.steps import read_prompt_rows
    from routoo_core.tables import check_table_format

    check_table_format(table)
    if preset is not None and preset not in PRESETS:
        raise ConfigurationError(f"--preset: {preset!r} is unknown; there is {', '.join(PRESETS)}")
    base = PRESETS[preset] if preset else None
    name = expert or (base.expert if base else None)
    count = others if others is not None else base.others if base else None
    if name is None or count is None or count < 0:
        raise ConfigurationError("give --expert and --random (at least 0), or --preset paper")
    rows, counts = keep_hard(read_prompt_rows(prompts), outcomes, name, count, at_most, seed)
    _finish(context, table, rows, [prompts, outcomes], counts, as_json)


@app.command()
def decontaminate(
    context: typer.Context,
    prompts: PromptsOption,
    against: Annotated[
        list[Path], typer.Option(help="Prompts to evaluate on: prompt_id, prompt (repeatable).")
    ],
    table: OutOption,
    removed: Annotated[
        Path | None, typer.Option(help="A table of what was removed and why, .parquet or .csv.")
    ] = None,
    ngram: Annotated[
        int, typer.Option(help="Words in a row that no evaluation prompt may share.")
    ] = 12,
    similarity: Annotated[
        float, typer.Option(help="From which two texts are near-duplicates, 0.3–1.")
    ] = 0.5,
    repeats: Annotated[
        bool, typer.Option("--repeats", help="Leave out near-duplicates among the prompts too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove prompts that are, contain or resemble one to evaluate on, whatever the case, punctuation and numbers.

    Reasons: exact (the same words), ngram (datatrove's rule), near (MinHash), repeated (with --repeats).

    Example: [bold]routoo data decontaminate --prompts p.csv --against test.csv --out clean.csv --removed why.csv[/bold]
    """
    from dataclasses import asdict

    from routoo_core.data.decontamination import Rule
    from routoo_core.data.decontamination import decontaminate as separate
    from routoo_core.data.steps import read_prompt_rows
    from routoo_core.tables import check_table_format, write_table

    for path in (table, removed):
        if path:
            check_table_format(path)
    rule, rows = Rule(ngram, similarity), read_prompt_rows(prompts)
    known = [
        {**row, "prompt_id": f"{path.stem}:{row['prompt_id']}"}
        for path in against
        for row in read_prompt_rows(path)
    ]
    with progress.bar("Comparing", len(rows) + len(known)) as advance:
        clean, leaks = separate(rows, known, rule, repeats, advance)
    counts = {"given": len(rows), "kept": len(clean)}
    counts |= {
        reason: sum(leak.reason == reason for leak in leaks)
        for reason in ("exact", "ngram", "near", "repeated")
    }
    _finish(context, table, clean, [prompts, *against], counts, as_json)
    if removed:
        names = ("prompt_id", "reason", "matched", "detail")
        write_table(removed, {name: [asdict(leak)[name] for leak in leaks] for name in names})


@app.command()
def split(
    context: typer.Context,
    prompts: PromptsOption,
    table: OutOption,
    dev_share: Annotated[float, typer.Option(help="Share of the questions to hold out.")] = 0.2,
    as_json: JsonOption = False,
) -> None:
    """Write train or dev into the column split, by a hash of the question: the same one is always on the same side.

    Example: [bold]routoo data split --prompts p.csv --out split.csv[/bold]
    """
    from routoo_core.data.splitting import split as sides
    from routoo_core.data.steps import read_prompt_rows
    from routoo_core.tables import check_table_format

    check_table_format(table)
    rows, counts = sides(read_prompt_rows(prompts), dev_share)
    _finish(context, table, rows, [prompts], counts, as_json)


@app.command()
def sample(
    context: typer.Context,
    prompts: PromptsOption,
    table: OutOption,
    count: Annotated[
        int, typer.Option("--n", help="How many; the paper chooses its universe on 1,000.")
    ] = 1000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw prompts at random, such as those to choose a universe on.

    Example: [bold]routoo data sample --prompts p.csv --n 1000 --out sample.csv[/bold]
    """
    from routoo_core.data.splitting import sample as draw
    from routoo_core.data.steps import read_prompt_rows
    from routoo_core.tables import check_table_format

    check_table_format(table)
    rows, counts = draw(read_prompt_rows(prompts), count, seed)
    _finish(context, table, rows, [prompts], counts, as_json)


@app.command("from-logs")
def from_logs(
    context: typer.Context,
    log: Annotated[
        list[Path], typer.Option(help="JSONL of LangSmith runs or OpenAI-style calls (repeatable).")
    ],
    prompts: Annotated[Path, typer.Option(help="The table of prompts to write, .parquet or .csv.")],
    outcomes: Annotated[
        Path, typer.Option(help="The table of outcomes to write, .parquet or .csv.")
    ],
    feedback: Annotated[
        str | None, typer.Option(help="Which feedback is the score, where there are several.")
    ] = None,
    worst: Annotated[float, typer.Option(help="Feedback that becomes score 0.")] = 0.0,
    best: Annotated[float, typer.Option(help="Feedback that becomes score 1.")] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Turn logs with feedback into prompts and outcomes, as 'routoo train' reads them; the shapes are in docs/data.md.

    The prompt is what a router reads of the messages. Calls without feedback are left out, and counted.

    Example: [bold]routoo data from-logs --log runs.jsonl --prompts p.csv --outcomes o.csv --feedback correctness[/bold]
    """
    from routoo_core.data.steps import write_step
    from routoo_core.monitoring.tables import FeedbackScale, read_log_tables
    from routoo_core.tables import check_table_format

    for path in (prompts, outcomes):
        check_table_format(path)
    found = read_log_tables(log, FeedbackScale(feedback, worst, best))
    write_step(outcomes, found.outcomes, step_of(context, log, found.counts))
    _finish(context, prompts, found.prompts, log, found.counts, as_json)


def _finish(
    context: typer.Context,
    table: Path,
    rows: Sequence[Row],
    inputs: Sequence[Path | Mapping[str, Any]],
    counts: Mapping[str, int],
    as_json: bool,
    columns: Sequence[str] = (),
) -> None:
    """Write the table and its manifest, and say what was done."""
    from routoo_core.data.steps import write_step

    manifest = write_step(table, rows, step_of(context, inputs, counts), columns)
    if as_json:
        out.print_json(json.dumps(manifest))
        return
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    out.print(f"{table}: {len(rows)} prompts ({told})", highlight=False, soft_wrap=True)


app.add_typer(writing.app)

"""``routoo data synthesise`` and ``paraphrase``: what an expert writes, within a budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert, Pool
from routoo_core.money import decimal_usd, format_usd
from routoo_integrations.cli.shared import (
    INCOMPLETE,
    AnswersOption,
    JsonOption,
    LimitOption,
    PayerOption,
    err,
    out,
    paying_account,
    progress,
    step_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo_core.asking.asker import Asker
    from routoo_core.data.writing import Written

app = typer.Typer()

WriterOption = Annotated[str, typer.Option("--expert", help="Who writes: an expert of --experts.")]
TargetOption = Annotated[Path, typer.Option("--out", help="The table to write, .parquet or .csv.")]
ExpertsOption = Annotated[Path, typer.Option("--experts", help="The experts' file.")]
ConcurrencyOption = Annotated[int, typer.Option("--concurrency", min=1, help="Requests at once.")]


@app.command()
def synthesise(
    context: typer.Context,
    prompts: Annotated[
        Path,
        typer.Option(
            help="The seeds, Parquet or CSV: prompt_id, prompt, optional domain; choices and answer."
        ),
    ],
    expert: WriterOption,
    target: TargetOption,
    experts: ExpertsOption = Path("experts.toml"),
    preset: Annotated[
        str, typer.Option(help="default (20 requests of 10) or paper (200 of 100).")
    ] = "default",
    requests: Annotated[int | None, typer.Option(help="How often to ask.")] = None,
    each: Annotated[int | None, typer.Option(help="Prompts asked for at once.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds shown in a request.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0–2, by default 0.7.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another one draws other seeds.")] = None,
    budget: LimitOption = None,
    config: PayerOption = None,
    answers: AnswersOption = Path("answers.db"),
    concurrency: ConcurrencyOption = 4,
    as_json: JsonOption = False,
) -> None:
    """Have an expert write more prompts like yours: multiple choice where they have choices, else prompts as they are.

    Five seeds of one subject are shown in each request. Pieces of another form and repetitions are dropped and
    counted. Answers are kept as they come, so that a killed run goes on where it was; exit code 3 says that requests
    are missing.

    Example: [bold]routoo data synthesise --prompts mine.csv --expert gpt-4o --budget 1.00 --out more.parquet[/bold]
    """
    from routoo_core.data.synthesise import PRESETS, Synthesis, read_seeds
    from routoo_core.data.synthesise import synthesise as write
    from routoo_core.tables import check_table_format

    check_table_format(target)
    if preset not in PRESETS:
        raise ConfigurationError(
            f"--preset: {preset!r} is unknown; choose one of {', '.join(PRESETS)}"
        )
    given = {
        "requests": requests,
        "each": each,
        "seeds": seeds,
        "temperature": temperature,
        "seed": seed,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = Synthesis.read("synthesise", {**PRESETS[preset].model_dump(), **changes})
    rows = read_seeds(prompts)
    writer, asker = _writer(expert, experts, budget, config, answers, concurrency)
    written = write(rows, writer, settings, asker, progress, concurrency)
    _finish(context, prompts, target, written, settings.model_dump(), as_json)


@app.command()
def paraphrase(
    context: typer.Context,
    prompts: Annotated[
        Path, typer.Option(help="Parquet, CSV or JSONL: prompt_id, prompt, optional split.")
    ],
    expert: WriterOption,
    target: TargetOption,
    experts: ExpertsOption = Path("experts.toml"),
    count: Annotated[
        int, typer.Option("--n", min=1, help="How many of the dev prompts, at most.")
    ] = 60,
    seed: Annotated[int, typer.Option(help="Another seed draws others.")] = 0,
    budget: LimitOption = None,
    config: PayerOption = None,
    answers: AnswersOption = Path("answers.db"),
    concurrency: ConcurrencyOption = 4,
    as_json: JsonOption = False,
) -> None:
    """Have an expert say prompts in other words, for 'routoo evaluate --stress 60 --paraphrases': prompt_id, prompt.

    Lettered choices stay as they are. Replies with the same words, other numbers, choices or paragraphs of their own,
    empty ones and those that the limit on tokens cut off are dropped and counted. Answers are kept as they come, so
    that a killed run goes on where it was; exit code 3 says that requests are missing.

    Example: [bold]routoo data paraphrase --prompts p.csv --expert gpt-4o --budget 1.00 --out paraphrases.csv[/bold]
    """
    from routoo_core.data.paraphrase import TEMPERATURE, read_drawn
    from routoo_core.data.paraphrase import paraphrase as write
    from routoo_core.tables import check_table_format

    check_table_format(target)
    rows = read_drawn(prompts, count, seed)
    writer, asker = _writer(expert, experts, budget, config, answers, concurrency)
    written = write(rows, writer, asker, progress, concurrency)
    _finish(context, prompts, target, written, {"temperature": TEMPERATURE}, as_json)


def _writer(
    name: str,
    experts: Path,
    budget: str | None,
    config: Path | None,
    answers: Path,
    concurrency: int,
) -> tuple[Expert, Asker]:
    """The expert, and what asks it within the budget."""
    from routoo_core.asking.answers import AnswerStore
    from routoo_core.asking.asker import Asker
    from routoo_core.asking.clients import make_clients
    from routoo_core.asking.direct import direct_router

    pool = Pool([Pool.from_toml(experts)[name]])
    account, ledger = paying_account(budget, config, answers, pool)
    asker = Asker(
        direct_router(pool, account, ledger),
        make_clients(pool.experts),
        AnswerStore(answers),
        concurrency,
    )
    return pool[name], asker


def _finish(
    context: typer.Context,
    prompts: Path,
    target: Path,
    written: Written,
    presets: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Write what there is and its manifest, and say what was done; exit with ``INCOMPLETE`` if something is missing."""
    from routoo_core.data.steps import write_step

    if written.rows:
        write_step(target, written.rows, step_of(context, [prompts], written.counts(), presets))
    if as_json:
        told = {"out": str(target), **written.counts(), "spent_usd": decimal_usd(written.spent)}
        out.print_json(json.dumps({**told, "missing": written.missing}))
    else:
        counts = ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in written.counts().items()
        )
        out.print(
            f"{target}: {counts}; {format_usd(written.spent)} spent",
            highlight=False,
            soft_wrap=True,
        )
        for why, count in written.missing.items():
            err.print(
                f"{count} requests missing: {why}", style="yellow", markup=False, soft_wrap=True
            )
    if written.missing or not written.rows:
        raise typer.Exit(INCOMPLETE)

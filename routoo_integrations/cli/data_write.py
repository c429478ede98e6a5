"""``routoo data synthesise`` and ``paraphrase``: what an expert writes, within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from routoo_core.asking.answers import AnswerStore
from routoo_core.asking.asker import Asker
from routoo_core.asking.clients import make_clients
from routoo_core.asking.direct import direct_router
from routoo_core.data.manifest import Step, is_written_by, write_step
from routoo_core.data.paraphrase import TEMPERATURE, paraphrase_prompts, read_dev_prompts
from routoo_core.data.seeds import read_seeds
from routoo_core.data.synthesise import SYNTHESIS_PRESETS, SynthesisSettings, synthesise_prompts
from routoo_core.data.writing import Writer, WrittenPrompts
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Pool
from routoo_core.money import decimal_usd, format_usd
from routoo_integrations.cli.configuration import INCOMPLETE, Payment
from routoo_integrations.cli.data_options import check_step_files, describe_counts, describe_step
from routoo_integrations.cli.options import (
    AnswersOption,
    JsonOption,
    LimitOption,
    PayerOption,
    TableOption,
)
from routoo_integrations.cli.outputs import OverwriteOption, check_answers_file
from routoo_integrations.cli.terminal import print_json, print_line, print_warning, progress

WriterOption = Annotated[str, typer.Option("--expert", help="Who writes: an expert of --experts.")]
ExpertsOption = Annotated[Path, typer.Option("--experts", help="The experts' file.")]
PAYING_OPTIONS = frozenset({"budget", "config", "answers", "concurrency"})
"""Options that may differ when a run goes on: they change nothing in the table."""

ConcurrencyOption = Annotated[int, typer.Option("--concurrency", min=1, help="Requests at once.")]


def synthesise_command(
    context: typer.Context,
    prompts: Annotated[
        Path,
        typer.Option(
            help="The seeds, Parquet or CSV: prompt_id, prompt, optional domain; choices and answer."
        ),
    ],
    expert: WriterOption,
    target: TableOption,
    experts: ExpertsOption = Path("experts.toml"),
    preset: Annotated[
        str, typer.Option(help="default (20 requests of 10) or paper (200 of 100).")
    ] = "default",
    requests: Annotated[int | None, typer.Option(help="How often to ask.")] = None,
    each: Annotated[int | None, typer.Option(help="Prompts asked for at once.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds shown in a request.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0–2, by default 0.7.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="A different value gives different seeds.")
    ] = None,
    budget: LimitOption = None,
    config: PayerOption = None,
    answers: AnswersOption = Path("answers.db"),
    concurrency: ConcurrencyOption = 4,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have an expert write more prompts like yours: multiple choice where they have choices, else prompts as they are.

    Five seeds of one subject are shown in each request. Pieces of another form and repetitions are dropped and
    counted. Answers are kept as they come, so that a killed run goes on where it was; exit code 3 says that requests
    are missing.

    Example: [bold]routoo data synthesise --prompts mine.csv --expert gpt-4o --budget 1.00 --out more.parquet[/bold]
    """
    options = {
        "requests": requests,
        "each": each,
        "seeds": seeds,
        "temperature": temperature,
        "seed": seed,
    }
    settings = _read_synthesis(preset, options)
    step = describe_step(context, [prompts], {}, settings.model_dump())
    _check_files(target, step, [prompts, experts, config], answers, overwrite)

    pool = _writing_pool(experts, expert)
    examples = read_seeds(prompts)
    writer = _open_writer(pool, Payment(budget, config, answers), concurrency)
    result = WrittenTable(target, step, synthesise_prompts(examples, settings, writer))
    result.write()
    result.show(as_json)


def paraphrase_command(
    context: typer.Context,
    prompts: Annotated[
        Path, typer.Option(help="Parquet, CSV or JSONL: prompt_id, prompt, optional split.")
    ],
    expert: WriterOption,
    target: TableOption,
    experts: ExpertsOption = Path("experts.toml"),
    count: Annotated[
        int, typer.Option("--n", min=1, help="How many of the dev prompts, at most.")
    ] = 60,
    seed: Annotated[int, typer.Option(help="A different seed gives a different sample.")] = 0,
    budget: LimitOption = None,
    config: PayerOption = None,
    answers: AnswersOption = Path("answers.db"),
    concurrency: ConcurrencyOption = 4,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have an expert paraphrase prompts, for 'routoo evaluate --stress 60 --paraphrases': prompt_id, prompt.

    Lettered choices stay as they are. Replies with the same words, other numbers, choices or paragraphs of their own,
    empty ones and those that the limit on tokens cut off are dropped and counted. Answers are kept as they come, so
    that a killed run goes on where it was; exit code 3 says that requests are missing.

    Example: [bold]routoo data paraphrase --prompts p.csv --expert gpt-4o --budget 1.00 --out paraphrases.csv[/bold]
    """
    step = describe_step(context, [prompts], {}, {"temperature": TEMPERATURE})
    _check_files(target, step, [prompts, experts, config], answers, overwrite)

    pool = _writing_pool(experts, expert)
    rows = read_dev_prompts(prompts, count, seed)
    writer = _open_writer(pool, Payment(budget, config, answers), concurrency)
    result = WrittenTable(target, step, paraphrase_prompts(rows, writer))
    result.write()
    result.show(as_json)


def _read_synthesis(preset: str, options: Mapping[str, float | None]) -> SynthesisSettings:
    """A preset's settings, with those changed that are set."""
    if preset not in SYNTHESIS_PRESETS:
        raise ConfigurationError(
            f"--preset: {preset!r} is unknown; choose one of {', '.join(SYNTHESIS_PRESETS)}"
        )
    settings = SYNTHESIS_PRESETS[preset].model_dump()
    for name, value in options.items():
        if value is not None:
            settings[name] = value
    return SynthesisSettings.read("synthesise", settings)


def _check_files(
    target: Path, step: Step, inputs: Sequence[Path | None], answers: Path, overwrite: bool
) -> None:
    """Check what is read and written; a table that the same command wrote before is its own to go on with.

    Raises:
        ConfigurationError: See :func:`~routoo_integrations.cli.data_options.check_step_files`.
    """
    check_step_files({"--out": target}, inputs, overwrite=True)
    check_answers_file(answers, [*inputs, target])
    if not is_written_by(target, step, PAYING_OPTIONS):
        check_step_files({"--out": target}, inputs, overwrite)


def _writing_pool(experts: Path, name: str) -> Pool:
    """A pool of the expert that writes."""
    return Pool([Pool.from_toml(experts)[name]])


def _open_writer(pool: Pool, payment: Payment, concurrency: int) -> Writer:
    """Open the account and the answers kept so far."""
    budget, ledger = payment.account(pool)
    asker = Asker(
        direct_router(pool, budget, ledger),
        make_clients(pool.experts),
        AnswerStore(payment.answers),
        concurrency,
    )
    (expert,) = pool
    return Writer(expert, asker, progress, concurrency)


@dataclass(frozen=True)
class WrittenTable:
    """What an expert wrote, the table that it goes to, and the step that writes it."""

    target: Path
    step: Step
    prompts: WrittenPrompts

    def write(self) -> None:
        """Write the rows there are and their manifest."""
        if self.prompts.rows:
            step = replace(self.step, counts=self.prompts.counts())
            write_step(self.target, self.prompts.rows, step)

    def show(self, as_json: bool) -> None:
        """Show what was done, and exit with ``INCOMPLETE`` if something is missing."""
        counts = self.prompts.counts()
        missing = self.prompts.missing
        if as_json:
            print_json(
                {
                    "out": str(self.target),
                    **counts,
                    "spent_usd": decimal_usd(self.prompts.spent),
                    "missing": missing,
                }
            )
        else:
            cost = format_usd(self.prompts.spent)
            print_line(f"{self.target}: {describe_counts(counts)}; {cost} spent")
            for reason, count in missing.items():
                print_warning(f"{count} requests missing: {reason}")

        if missing or not self.prompts.rows:
            raise typer.Exit(INCOMPLETE)

"""``routoo score``: run experts on prompts and grade the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from routoo_core.asking.answers import AnswerStore
from routoo_core.asking.asker import Asker
from routoo_core.asking.clients import make_clients
from routoo_core.asking.direct import direct_router
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert, Pool
from routoo_core.money import decimal_usd, format_usd
from routoo_core.scoring.estimate import CostEstimate, estimate_costs
from routoo_core.scoring.harness import HarnessSamples
from routoo_core.scoring.run import (
    ScoredPairs,
    read_scored_pairs,
    score_experts,
    write_answers,
    write_outcomes,
)
from routoo_core.scoring.task import ScoringResult, ScoringTask, read_grader_rows
from routoo_core.tables import check_table_format
from routoo_integrations.cli.configuration import INCOMPLETE, Payment
from routoo_integrations.cli.grader_options import (
    AllowCodeOption,
    GraderOptions,
    JudgeOption,
    NormalisedOption,
    PairwiseOption,
    RubricOption,
    TemplateOption,
    ToleranceOption,
    UnsafeOption,
)
from routoo_integrations.cli.harness_options import (
    FieldOption,
    FilterOption,
    HarnessArgumentsOption,
    HarnessOptions,
    MetricOption,
    PromptsTargetOption,
    SamplesOption,
    TaskOption,
)
from routoo_integrations.cli.options import AnswersOption, JsonOption, LimitOption, PayerOption
from routoo_integrations.cli.outputs import (
    CommandFiles,
    OverwriteOption,
    check_answers_file,
)
from routoo_integrations.cli.terminal import (
    out,
    print_json,
    print_line,
    print_note,
    print_warning,
    progress,
)


def score_command(
    target: Annotated[
        Path, typer.Option("--out", help="The table of outcomes to write, .parquet or .csv.")
    ],
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Parquet or CSV to read: prompt_id, prompt, and what the grader needs (see below)."
        ),
    ] = None,
    grader: Annotated[
        str | None,
        typer.Option(
            help="letter or likelihood (columns choices, answer) · exact or numeric (answer) · regex (pattern) · "
            "code (tests) · judge (optional reference) · python:module:function."
        ),
    ] = None,
    experts: Annotated[Path, typer.Option(help="The experts' file.")] = Path("experts.toml"),
    expert: Annotated[list[str] | None, typer.Option(help="Only this expert (repeatable).")] = None,
    budget: LimitOption = None,
    config: PayerOption = None,
    answers: AnswersOption = Path("answers.db"),
    concurrency: Annotated[int, typer.Option(min=1, help="Calls of each expert at once.")] = 8,
    retries: Annotated[
        int, typer.Option(min=0, help="How often to retry a call that failed for the moment.")
    ] = 5,
    max_tokens: Annotated[int, typer.Option(min=1, help="Limit on an answer.")] = 512,
    temperature: Annotated[
        float, typer.Option(help="0–2; below 0 leaves it to the endpoint.")
    ] = 0.0,
    normalised: NormalisedOption = False,
    template: TemplateOption = None,
    tolerance: ToleranceOption = 1e-6,
    judge: JudgeOption = None,
    rubric: RubricOption = None,
    pairwise: PairwiseOption = False,
    allow_code: AllowCodeOption = False,
    unsafe: UnsafeOption = False,
    from_harness: SamplesOption = None,
    prompts_target: PromptsTargetOption = None,
    task: TaskOption = None,
    harness_options: HarnessArgumentsOption = "",
    metric: MetricOption = None,
    filter_name: FilterOption = None,
    field: FieldOption = None,
    answers_target: Annotated[
        Path | None,
        typer.Option(
            "--answers-out",
            help="Also write the answers: prompt_id, model, answer; for 'routoo plans fit'.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would cost.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run experts on prompts and grade the answers: prompt_id, model, score, tokens, cost_usd, latency_s.

    Every call is held and settled on a ledger. Answers are kept as they come: started again, a run goes on where it
    was, and grading the same answers otherwise, into another table, asks nobody. Exit code 3 says that pairs are
    missing.

    Example: [bold]routoo score --prompts p.parquet --grader letter --budget 5.00 --out outcomes.parquet[/bold]

    The cost first: [bold]routoo score … --dry-run[/bold]

    Of EleutherAI's harness: [bold]routoo score --from-harness logs --prompts-out p.csv --out o.csv[/bold] writes both.
    """
    check_table_format(target)
    if from_harness and grader is None:
        harness = HarnessOptions(
            from_harness, task or (), harness_options, metric, filter_name, field
        )
        prompts_target = _harness_target(prompts, prompts_target)
        _check_harness_files(harness, {"--out": target, "--prompts-out": prompts_target}, overwrite)
        samples = _read_samples(harness, experts, expert)
        samples.write(prompts_target, target)
        _show_samples(samples, prompts_target, target, as_json)
        return
    if grader is None or from_harness:
        raise _no_grader()
    if prompts is None or prompts_target is not None:
        raise _no_prompts()
    inputs = [prompts, experts, config, rubric]
    _check_score_files(target, answers, inputs)
    if answers_target is not None:
        check_table_format(answers_target)
        CommandFiles({"--answers-out": answers_target}, inputs=[*inputs, target]).check(overwrite)
    grading = GraderOptions(
        grader,
        max_tokens,
        temperature,
        normalised,
        template,
        tolerance,
        judge,
        rubric,
        pairwise,
        allow_code,
        unsafe,
    )
    scoring = _read_scoring(prompts, experts, expert, grading)
    earlier = None if dry_run or overwrite else _read_earlier(target, scoring)
    run = ScoreRun(scoring, Payment(budget, config, answers), concurrency, retries)
    if dry_run:
        _show_estimates(run.estimates(), as_json)
        return

    scores = run.scores()
    _write_scores(scores, target, earlier)
    if answers_target is not None:
        write_answers(answers_target, scores)
    _show_scores(scoring, scores, target, as_json)
    if scores.missing():
        raise typer.Exit(INCOMPLETE)


def _check_harness_files(
    harness: HarnessOptions, outputs: Mapping[str, Path], overwrite: bool
) -> None:
    """Refuse files that would be replaced, or that cannot be read; a run writes the samples itself."""
    inputs = () if harness.tasks else harness.samples
    CommandFiles(outputs, inputs).check(overwrite)


def _check_score_files(target: Path, answers: Path, inputs: Sequence[Path | None]) -> None:
    """Refuse files that cannot be read or that are named twice; earlier scores are gone on with."""
    CommandFiles({"--out": target}, inputs).check(overwrite=True)
    check_answers_file(answers, [*inputs, target])


def _no_grader() -> ConfigurationError:
    return ConfigurationError(
        "--grader: choose how answers are graded, or pass --from-harness to read graded samples"
    )


def _no_prompts() -> ConfigurationError:
    return ConfigurationError(
        "--prompts: pass the table of prompts to read; --prompts-out works only with --from-harness"
    )


def _harness_target(prompts: Path | None, prompts_target: Path | None) -> Path:
    """Where the prompts of a harness go; ``--prompts`` is a table to read, and stays as it is."""
    if prompts is not None:
        raise ConfigurationError(
            "--prompts: is a table to read; --from-harness writes its prompts to --prompts-out"
        )
    if prompts_target is None:
        raise ConfigurationError("--prompts-out: pass the table of prompts to write")
    check_table_format(prompts_target)
    return prompts_target


def _read_earlier(target: Path, scoring: ScoringTask) -> ScoredPairs | None:
    """The scores of an earlier run with which this one goes on; ``None`` where there is no table yet.

    Raises:
        ConfigurationError: The table is of something else.
    """
    if not target.exists():
        CommandFiles({"--out": target}).check(overwrite=False)
        return None
    earlier = read_scored_pairs(target)
    if earlier is None or not earlier.keys() <= scoring.pair_names():
        raise ConfigurationError(
            f"--out: {target} contains other things than scores of these prompts and experts; choose another "
            "file, or replace it with --overwrite"
        )
    return earlier


def _write_scores(scores: ScoringResult, target: Path, earlier: ScoredPairs | None) -> None:
    """Write the table, unless it would replace scores by others.

    Raises:
        ConfigurationError: A score would change or be lost.
    """
    if earlier is not None:
        _check_same_scores(target, earlier, scores)
    write_outcomes(target, scores)


def _check_same_scores(target: Path, earlier: ScoredPairs, scores: ScoringResult) -> None:
    """Refuse to replace scores by others.

    Raises:
        ConfigurationError: A score would change or be lost.
    """
    now = {(pair.row["prompt_id"], pair.expert.name): pair.score for pair in scores.scored_pairs}
    for pair, score in earlier.items():
        if now.get(pair) != score:
            prompt_id, expert = pair
            raise ConfigurationError(
                f"--out: {target} has a different score of {expert} on {prompt_id}, from another grader; choose "
                "another file, or replace it with --overwrite. Answers are kept, so grading them again is free"
            )


def _read_samples(
    harness: HarnessOptions, experts: Path, names: Sequence[str] | None
) -> HarnessSamples:
    """Graded samples, once the harness has run its tasks, if any, on the experts."""
    if not harness.tasks:
        return harness.read([])
    return harness.read(_named_experts(Pool.from_toml(experts), names))


def _named_experts(pool: Pool, names: Sequence[str] | None) -> list[Expert]:
    """These experts of a pool, or all of them."""
    if not names:
        return list(pool)
    return [pool[name] for name in names]


def _read_scoring(
    prompts: Path, experts: Path, names: Sequence[str] | None, grading: GraderOptions
) -> ScoringTask:
    """What is to be scored; a judge does not answer unless it is named among the experts."""
    pool = Pool.from_toml(experts)
    grader = grading.grader()
    rows = read_grader_rows(prompts, grader)

    answering = _named_experts(pool, names)
    if not names:
        answering = [expert for expert in answering if expert.name != grading.judge]
    judge = pool[grading.judge] if grading.judge else None
    return ScoringTask(rows, answering, grader, judge)


class ScoreRun:
    """One run of a scoring, paid from an account.

    Args:
        scoring: Prompts, experts and grader.
        payment: Who pays.
        concurrency: Calls of each expert at once.
        retries: How often to retry a call that failed for the moment.
    """

    def __init__(
        self, scoring: ScoringTask, payment: Payment, concurrency: int, retries: int
    ) -> None:
        self.scoring = scoring
        self.answers = payment.answers
        clients = make_clients(scoring.pool.experts)
        budget, ledger = payment.account(scoring.pool)
        router = direct_router(scoring.pool, budget, ledger)
        store = AnswerStore(payment.answers)
        self.asker = Asker(router, clients, store, concurrency, retries)

    def estimates(self) -> dict[str, CostEstimate]:
        """The estimated cost of the calls that are still to be made, by expert."""
        return estimate_costs(self.scoring, self.asker)

    def scores(self) -> ScoringResult:
        """Say what it will cost, ask everything and grade it."""
        total = _total(self.estimates())
        print_note(
            f"{total.calls} calls to make, about {format_usd(total.expected, 4)}; answers in {self.answers}"
        )
        return score_experts(self.scoring, self.asker, progress)


def _total(estimates: dict[str, CostEstimate]) -> CostEstimate:
    total = CostEstimate()
    for expert_estimate in estimates.values():
        total += expert_estimate
    return total


def _show_estimates(estimates: dict[str, CostEstimate], as_json: bool) -> None:
    rows = {**estimates, "all": _total(estimates)}
    if as_json:
        print_json({name: _estimate_json(row) for name, row in rows.items()})
        return

    table = Table("expert", "calls", "kept", "expected cost", "most it can cost")
    for name, row in rows.items():
        table.add_row(
            name,
            str(row.calls),
            str(row.stored),
            format_usd(row.expected),
            format_usd(row.maximum),
        )
    out.print(table)


def _estimate_json(row: CostEstimate) -> dict[str, object]:
    return {
        "calls": row.calls,
        "kept": row.stored,
        "expected_usd": decimal_usd(row.expected),
        "maximum_usd": decimal_usd(row.maximum),
    }


@dataclass(frozen=True)
class MissingPairs:
    """Pairs of an expert's that have no score, for one reason."""

    expert: str
    reason: str
    pairs: int


def _show_scores(scoring: ScoringTask, scores: ScoringResult, target: Path, as_json: bool) -> None:
    missing = [
        MissingPairs(name, reason, count) for (name, reason), count in scores.missing().items()
    ]
    if as_json:
        print_json(
            {
                "out": str(target),
                "scores": len(scores.scored_pairs),
                "spent_usd": decimal_usd(scores.spent),
                "mean_score": {expert.name: scores.mean(expert.name) for expert in scoring.experts},
                "missing": [vars(row) for row in missing],
            }
        )
        return

    print_line(f"{target}: {len(scores.scored_pairs)} scores, {format_usd(scores.spent)} spent")
    for expert in scoring.experts:
        mean = scores.mean(expert.name)
        figure = "  none" if mean is None else f"{mean:>6.3f}"
        print_line(f"{figure}  {_expert_label(expert)}")
    for row in missing:
        print_warning(f"{row.pairs} missing for {row.expert}: {row.reason}")
    if missing:
        print_warning("The same command goes on where it was.")


def _expert_label(expert: Expert) -> str:
    if expert.name == expert.model:
        return expert.name
    return f"{expert.name} ({expert.model})"


def _show_samples(samples: HarnessSamples, prompts: Path, target: Path, as_json: bool) -> None:
    prompt_count = len(samples.prompts)
    score_count = len(samples.outcomes)
    models = list(dict.fromkeys(model for _, model in samples.outcomes))
    if as_json:
        print_json({"prompts": prompt_count, "scores": score_count, "models": models})
    else:
        print_line(
            f"{prompts}: {prompt_count} prompts; {target}: {score_count} scores of {', '.join(models)}"
        )

"""``routoo score``: run experts on prompts and grade the answers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

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
)

if TYPE_CHECKING:
    from routoo_core.scoring.graders import Grader
    from routoo_core.scoring.harness import HarnessSamples
    from routoo_core.scoring.run import CostEstimate, ScoringResult, ScoringTask

app = typer.Typer()


@app.command()
def score(
    prompts: Annotated[
        Path,
        typer.Option(
            help="Parquet or CSV: prompt_id, prompt, and what the grader needs (see below)."
        ),
    ],
    target: Annotated[
        Path, typer.Option("--out", help="The table of outcomes to write, .parquet or .csv.")
    ],
    grader: Annotated[
        str | None,
        typer.Option(
            help="letter or likelihood (columns choices, answer) · exact or numeric (answer) · regex (pattern) · "
            "code (tests) · judge (optional reference) · python:module:function."
        ),
    ] = None,
    experts: Annotated[Path, typer.Option(help="The experts' file.")] = Path("experts.toml"),
    expert: Annotated[
        list[str] | None, typer.Option(help="Only this one of them (repeatable).")
    ] = None,
    budget: LimitOption = None,
    config: PayerOption = None,
    answers: AnswersOption = Path("answers.db"),
    concurrency: Annotated[int, typer.Option(min=1, help="Calls of each expert at once.")] = 8,
    retries: Annotated[
        int, typer.Option(min=0, help="Further tries of a call that may succeed later.")
    ] = 5,
    max_tokens: Annotated[int, typer.Option(min=1, help="Limit on an answer.")] = 512,
    temperature: Annotated[
        float, typer.Option(help="0–2; below 0 leaves it to the endpoint.")
    ] = 0.0,
    normalised: Annotated[
        bool,
        typer.Option(
            "--normalised", help="likelihood: by the choices' length in bytes (acc_norm)."
        ),
    ] = False,
    template: Annotated[
        str | None,
        typer.Option(help=r"likelihood: what stands before a choice, such as 'Q: {prompt}\nA:'."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="numeric: how far off, as a share of the right number.")
    ] = 1e-6,
    judge: Annotated[
        str | None, typer.Option(help="judge: the expert of the same file that grades.")
    ] = None,
    rubric: Annotated[
        Path | None, typer.Option(help='judge: TOML with levels = ["worst", …, "best"].')
    ] = None,
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="judge: beside the column reference, in both orders.")
    ] = False,
    allow_code: Annotated[
        bool,
        typer.Option("--allow-code", help="code: yes, run what the experts write on this machine."),
    ] = False,
    from_harness: Annotated[
        list[Path] | None,
        typer.Option(
            help="Instead of a grader: samples_*.jsonl of lm_eval --log_samples, or a folder of them."
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help='from-harness: run this task first, on the experts of provider = "huggingface" (repeatable).'
        ),
    ] = None,
    harness_options: Annotated[
        str,
        typer.Option(
            help="from-harness: more of lm_eval's own, such as '--limit 100 --include_path my-tasks'."
        ),
    ] = "",
    metric: Annotated[
        str | None, typer.Option(help="from-harness: the score; by default acc_norm, …")
    ] = None,
    filter_name: Annotated[
        str | None, typer.Option("--filter", help="from-harness: which, of several.")
    ] = None,
    field: Annotated[
        str | None, typer.Option(help="from-harness: of a document, what the prompt is.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would cost.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run experts on prompts and grade the answers: prompt_id, model, score, tokens, cost_usd, latency_s.

    Every call is held and settled on a ledger. Answers are kept as they come: started again, a run goes on where it
    was, and grading the same answers otherwise asks nobody. Exit code 3 says that pairs are missing.

    Example: [bold]routoo score --prompts p.parquet --grader letter --budget 5.00 --out outcomes.parquet[/bold]

    The cost first: [bold]routoo score … --dry-run[/bold]

    From EleutherAI's harness: [bold]routoo score --from-harness logs --prompts p.csv --out o.csv[/bold] writes both.
    """
    from routoo_core.asking.answers import AnswerStore
    from routoo_core.asking.clients import make_clients
    from routoo_core.scoring import run
    from routoo_core.scoring.harness import read_samples
    from routoo_core.tables import check_table_format

    check_table_format(target)
    if (grader is None) == (not from_harness):
        raise ConfigurationError(
            "--grader: say how answers are graded; or give --from-harness to read graded samples"
        )
    if from_harness:
        names = (
            _run_harness(experts, expert, task, from_harness[0], harness_options) if task else {}
        )
        logged = read_samples(from_harness, metric, filter_name, field, names)
        _write_samples(logged, prompts, target, as_json)
        return
    assert grader is not None  # noqa: S101
    pool = Pool.from_toml(experts)
    settings: dict[str, Any] = {
        "max_tokens": max_tokens,
        "temperature": temperature if temperature >= 0 else None,
    }
    if grader == "likelihood":
        settings |= {
            "normalised": normalised,
            **({"template": template.replace("\\n", "\n")} if template else {}),
        }
    if grader == "numeric":
        settings |= {"tolerance": tolerance}
    if grader == "code" and not allow_code:
        raise ConfigurationError(
            "--grader: code runs what the experts write on this machine, with limits but without a real sandbox; add "
            "--allow-code, best in a container"
        )
    if (grader == "judge") != (judge is not None):
        raise ConfigurationError(
            "--judge: names the expert for --grader judge; give both or neither"
        )
    chosen = _grader(grader, settings, rubric, pairwise)
    scoring = run.ScoringTask(
        run.read_grader_rows(prompts, chosen),
        [pool[name] for name in expert] if expert else [one for one in pool if one.name != judge],
        chosen,
        pool[judge] if judge else None,
    )
    clients = make_clients(scoring.pool.experts)
    account, ledger = paying_account(budget, config, answers, scoring.pool)
    store = AnswerStore(answers)
    estimates = run.estimate_costs(scoring, account, ledger, store)
    if dry_run:
        _show_estimates(estimates, as_json)
        return
    expected = sum(estimate.expected for estimate in estimates.values())
    calls = sum(estimate.calls for estimate in estimates.values())
    err.print(
        f"{calls} calls to make, about {format_usd(expected, 4)}; answers in {answers}",
        highlight=False,
    )
    scores = run.score_experts(
        scoring, account, ledger, store, progress, concurrency, retries, clients
    )
    run.write_outcomes(target, scores)
    _show_scores(scoring, scores, target, as_json)
    if scores.missing():
        raise typer.Exit(INCOMPLETE)


def _run_harness(
    experts: Path, chosen: list[str] | None, tasks: list[str], folder: Path, options: str
) -> dict[str, str]:
    """Run the harness; what it calls each model → the expert's name."""
    from routoo_core.scoring.harness import run_harness

    pool = Pool.from_toml(experts)
    asked = [pool[name] for name in chosen] if chosen else list(pool)
    return {
        run_harness(expert, tasks, folder, shlex.split(options)): expert.name for expert in asked
    }


def _write_samples(logged: HarnessSamples, prompts: Path, target: Path, as_json: bool) -> None:
    logged.write(prompts, target)
    models = list(dict.fromkeys(model for _, model in logged.outcomes))
    if as_json:
        out.print_json(
            json.dumps(
                {"prompts": len(logged.prompts), "scores": len(logged.outcomes), "models": models}
            )
        )
        return
    shown = f"{prompts}: {len(logged.prompts)} prompts; {target}: {len(logged.outcomes)} scores of {', '.join(models)}"
    out.print(shown, highlight=False, soft_wrap=True)


def _grader(name: str, settings: dict[str, Any], rubric: Path | None, pairwise: bool) -> Grader:
    from routoo_core.scoring.graders import GRADERS, load_custom_grader
    from routoo_core.scoring.judge import Judge, PairwiseJudge, Rubric, read_rubric

    if name == "judge":
        kind = PairwiseJudge if pairwise else Judge
        return kind(rubric=read_rubric(rubric) if rubric else Rubric(), **settings)
    if name.startswith("python:"):
        return load_custom_grader(name, **settings)
    if name not in GRADERS:
        known = ", ".join((*GRADERS, "judge", "python:module:function"))
        raise ConfigurationError(f"--grader: {name!r} is unknown; choose one of {known}")
    return GRADERS[name](**settings)


def _show_estimates(estimates: dict[str, CostEstimate], as_json: bool) -> None:
    total = sum(
        (estimate for estimate in estimates.values()), type(next(iter(estimates.values())))()
    )
    shown = {**estimates, "all": total}
    if as_json:
        record = {
            name: {
                "calls": one.calls,
                "kept": one.kept,
                "expected_usd": decimal_usd(one.expected),
                "maximum_usd": decimal_usd(one.maximum),
            }
            for name, one in shown.items()
        }
        out.print_json(json.dumps(record))
        return
    table = Table("expert", "calls", "kept", "expected cost", "most it can cost")
    for name, one in shown.items():
        table.add_row(
            name, str(one.calls), str(one.kept), format_usd(one.expected), format_usd(one.maximum)
        )
    out.print(table)


def _show_scores(scoring: ScoringTask, scores: ScoringResult, target: Path, as_json: bool) -> None:
    means = {expert.name: scores.mean(expert.name) for expert in scoring.experts}
    missing = [
        {"expert": name, "reason": why, "pairs": n} for (name, why), n in scores.missing().items()
    ]
    if as_json:
        spent = decimal_usd(scores.spent)
        record = {
            "out": str(target),
            "scores": len(scores.graded),
            "spent_usd": spent,
            "mean_score": means,
        }
        out.print_json(json.dumps({**record, "missing": missing}))
        return
    spent = format_usd(scores.spent)
    out.print(
        f"{target}: {len(scores.graded)} scores, {spent} spent", highlight=False, soft_wrap=True
    )
    for expert in scoring.experts:
        mean = means[expert.name]
        out.print(
            f"{'  none' if mean is None else f'{mean:>6.3f}'}  {_named(expert)}",
            highlight=False,
            markup=False,
        )
    for one in missing:
        err.print(
            f"{one['pairs']} missing for {one['expert']}: {one['reason']}",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    if missing:
        err.print("The same command goes on where it was.", style="yellow")


def _named(expert: Expert) -> str:
    return expert.name if expert.name == expert.model else f"{expert.name} ({expert.model})"

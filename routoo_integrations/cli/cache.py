"""``routoo cache``: answers that are stored and given again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from routoo_core.answer_cache.calibration import (
    Accuracy,
    Share,
    calibrate,
    read_pairs,
    score_pairs,
)
from routoo_core.answer_cache.opening import answers_path, make_vectors, open_answers
from routoo_core.answer_cache.rule import CacheRule
from routoo_core.answer_cache.similarity import NGramVectors, QuestionVectors
from routoo_core.answer_cache.store import AnswerStore
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import open_account, read_config
from routoo_core.errors import ConfigurationError
from routoo_core.money import decimal_usd
from routoo_core.router import Router
from routoo_integrations.cli.configuration import find_configuration
from routoo_integrations.cli.options import ConfigOption, JsonOption
from routoo_integrations.cli.terminal import out, print_json, print_line, print_note


def show_command(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show how many answers are stored for each account, how often they were given again, and what that saved.

    Example: [bold]routoo cache show[/bold]
    """
    store = _open_store(config)
    summaries = [] if store is None else store.show()
    if as_json:
        rows = []
        for account in summaries:
            rows.append(
                {
                    "account": account.account,
                    "entries": account.entries,
                    "hits": account.hits,
                    "saved_usd": decimal_usd(account.saved),
                    "oldest": account.oldest,
                }
            )
        print_json(rows)
        return
    if not summaries:
        print_note("No answers are stored.")
        return
    table = Table("account", "answers", "given again", "saved", "oldest", box=None)
    for account in summaries:
        oldest = datetime.fromtimestamp(account.oldest, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(
            account.account,
            str(account.entries),
            str(account.hits),
            f"${decimal_usd(account.saved)}",
            oldest,
        )
    out.print(table)


def clear_command(
    account: Annotated[
        str | None, typer.Option(help="Whose answers, and those of accounts within it.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Forget the stored answers of an account and of those within it, or all.

    Example: [bold]routoo cache clear --account alice[/bold]
    """
    store = _open_store(config)
    count = 0 if store is None else store.clear(account)
    print_line(f"{count} answers forgotten.")


def calibrate_command(
    pairs: Annotated[
        Path,
        typer.Option(help="CSV: first, second, same (0 or 1), split (calibration or test)."),
    ],
    precision: Annotated[
        float, typer.Option(help="Of the pairs that count as the same, the share that is.")
    ] = 0.98,
    vectors: Annotated[
        str, typer.Option(help="ngrams, or predictor for the vectors of the router's encoder.")
    ] = "ngrams",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Choose the similarity from which questions count as the same, for a precision, from labelled pairs.

    The floor is chosen on the pairs for calibration, and measured on those for the test. Only pairs whose words ask for
    the same can count at all: see docs/cache.md.

    Example: [bold]routoo cache calibrate --pairs pairs.csv[/bold]
    """
    if not 0 < precision <= 1:
        raise ConfigurationError(f"precision: {precision:g} is not above 0 and at most 1")
    pair_scores = score_pairs(read_pairs(pairs), _vectors_of(vectors, config))
    calibration = calibrate(pair_scores, precision)
    sides = {"calibration": calibration.calibration, "test": calibration.test}
    if as_json:
        print_json(
            {
                "min_similarity": calibration.floor,
                **{name: _describe(accuracy) for name, accuracy in sides.items()},
            }
        )
        return
    print_line(f"min_similarity = {calibration.floor}")
    table = Table("pairs", "precision", "recall", "precision by similarity alone", box=None)
    for name, accuracy in sides.items():
        table.add_row(
            name,
            _in_words(accuracy.precision),
            _in_words(accuracy.recall),
            _in_words(accuracy.alike),
        )
    out.print(table)


def _open_store(option: Path | None) -> AnswerStore | None:
    """The store of the configured ledger; ``None`` where there is none yet.

    Raises:
        ConfigurationError: The ledger cannot be opened.
    """
    configuration = find_configuration(option)
    config = read_config(configuration.path)
    _, ledger = open_account(configuration.path, config, configuration.ledger)
    path = answers_path(ledger)
    if isinstance(ledger, SqliteLedger) and (path is None or not path.exists()):
        return None
    return open_answers(config.cache or CacheRule(), ledger)


def _vectors_of(name: str, option: Path | None) -> QuestionVectors:
    """The vectors of a name.

    Raises:
        ConfigurationError: There are none.
    """
    if name == "ngrams":
        return NGramVectors()
    if name != "predictor":
        raise ConfigurationError(f"vectors: {name!r} is none; choose ngrams or predictor")
    configuration = find_configuration(option)
    router = Router.from_toml(configuration.path, ledger="memory://")
    return make_vectors(name, router.predictor)


def _describe(accuracy: Accuracy) -> dict[str, Any]:
    description = {}
    for name in ("precision", "recall", "alike"):
        share: Share = getattr(accuracy, name)
        low, high = share.interval()
        description[name] = {
            "value": share.value,
            "low": low,
            "high": high,
            "hits": share.hits,
            "cases": share.cases,
        }
    return description


def _in_words(share: Share) -> str:
    low, high = share.interval()
    return f"{share.value:.3f} ({low:.3f}–{high:.3f}), {share.hits} of {share.cases}"

"""``routoo route``: who would answer a prompt, and why."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from routoo_core.config import read_config
from routoo_core.limits import ReplyLimit
from routoo_core.money import format_usd
from routoo_core.preview import Preview
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.router import Router
from routoo_integrations.cli.configuration import find_configuration, ledger_to_read
from routoo_integrations.cli.options import ConfigOption, JsonOption
from routoo_integrations.cli.terminal import out, print_json, print_line


def route_command(
    text: Annotated[str, typer.Argument(help="The prompt.")],
    config: ConfigOption = None,
    max_tokens: Annotated[int | None, typer.Option(help="Limit on the reply.")] = None,
    account: Annotated[str | None, typer.Option(help="The account that would pay.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain which expert would answer TEXT, and why. No expert is called and nothing is charged.

    It also shows which experts are affordable, how long the reply may be and why, and what is left in each account.

    Example: [bold]routoo route "Is this contract void?" --json | jq .candidates[0][/bold]
    """
    configuration = find_configuration(config)
    ledger = ledger_to_read(configuration, read_config(configuration.path))
    router = Router.from_toml(configuration.path, ledger=ledger)
    overrides = Overrides(account=account)
    request = RoutedRequest.from_text(text, max_tokens=max_tokens, overrides=overrides)
    preview = router.preview(request)
    if as_json:
        record = preview.decision.record().to_dict()
        print_json({**record, "preview": preview.to_dict()})
        return
    if preview.decision.prompt is not None:
        print_line(preview.decision.prompt.explain())
    _show_candidates(preview)
    print_line(preview.decision.explain())
    for sentence in preview.describe():
        print_line(sentence)


def _show_candidates(preview: Preview) -> None:
    table = Table("", "expert", "quality", "expected", "would hold", "reply limit", box=None)
    for rank, entry in enumerate(preview.candidates, start=1):
        candidate = entry.candidate
        limit = entry.reply_limit
        table.add_row(
            str(rank),
            candidate.name,
            f"{candidate.quality:.2f}",
            format_usd(candidate.expected_cost),
            "not affordable" if entry.hold is None else format_usd(entry.hold),
            "–" if limit is None else _reply_limit(limit),
        )
    out.print(table)
    for sentence in _explain_columns(preview):
        print_line(sentence)


_LIMITED_BY = {
    "window": "(window): the prompt leaves no room for a longer reply in the expert's context window.",
    "budget": "(budget): the budget does not pay for a longer reply now.",
}
"""What limits a reply beside the caller and the expert → the same in a sentence."""


def _explain_columns(preview: Preview) -> list[str]:
    """What the table's words mean: the columns, and each reason that is in it."""
    sentences = [
        'Quality is predicted, from 0 to 1; "expected" is the likely cost. "Would hold" is the most the call can cost: '
        "this is reserved before it is made."
    ]
    limits = [entry.reply_limit for entry in preview.candidates]
    reasons = {limit.limited_by for limit in limits if limit is not None}
    for reason, sentence in _LIMITED_BY.items():
        if reason in reasons:
            sentences.append(sentence)
    return sentences


def _reply_limit(limit: ReplyLimit) -> str:
    """Tokens, and the reason where neither the caller nor the expert itself sets the limit."""
    if limit.limited_by in _LIMITED_BY:
        return f"{limit.tokens} ({limit.limited_by})"
    return str(limit.tokens)

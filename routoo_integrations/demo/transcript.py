"""The demo's calls, printed one line each as they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from routoo_core.predictor.general import PromptDescription
from routoo_core.record import CandidateRecord, DecisionRecord
from routoo_core.router import Router

COLUMNS = {
    "via": 10,
    "prompt": 30,
    "kind of prompt": 22,
    "predicted quality, best three": 55,
    "chosen": 13,
    "answered by": 11,
    "expected": 9,
    "settled": 9,
    "left": 9,
}
"""Column → its width, the same in every line."""

NARROW_COLUMNS = {"prompt": 26, "chosen": 13, "answered by": 11, "settled": 9, "left": 9}
"""The columns on a terminal that has no room for all of them."""

WIDTH = sum(COLUMNS.values()) + 2 * len(COLUMNS)


@dataclass(frozen=True)
class DemoCall:
    """One routed call.

    Attributes:
        via: The framework or kind of call, such as ``LangChain``.
        prompt: The text of the prompt.
        record: The decision record; ``None`` where the call was refused.
    """

    via: str
    prompt: str
    record: DecisionRecord | None


class Demo:
    """The calls made so far, and where they are printed.

    Args:
        router: Routes every call.
        stand_ins: Each expert that the local model stands in for → the environment variable of its key.
        console: Where lines are printed.

    Attributes:
        calls: The calls, in the order in which they were added.
    """

    def __init__(self, router: Router, stand_ins: Mapping[str, str], console: Console) -> None:
        self.router = router
        self.stand_ins = stand_ins
        self.console = console
        self.calls: list[DemoCall] = []

    def is_stand_in_only(self) -> bool:
        """Whether the local model answers for every expert."""
        return len(self.stand_ins) == len(self.router.pool)

    def records(self) -> list[DecisionRecord]:
        """The decision records of the calls that were answered."""
        return [call.record for call in self.calls if call.record is not None]

    def add(self, call: DemoCall) -> None:
        """Add a call and print its line."""
        self.calls.append(call)
        cells = [call.via, escape(call.prompt), _kind_of(call.record)]
        if call.record is None:
            cells.append("[red]refused: no expert is affordable any more[/red]")
            cells.append("[red]none: refused[/red]")
        else:
            cells.append(_best_three(call.record))
            cells.append(_describe_choice(call.record))
            cells.append(self._answered_by(call.record))
            cells += self._amounts(call.record)
        self._print_line(cells)

    def print_header(self) -> None:
        """Print what the amounts mean, and the names of the columns."""
        self.console.print(
            "'expected' is the likely cost, 'settled' the actual cost and 'left' the rest of the budget.\n",
            highlight=False,
        )
        self._print_line([f"[bold]{name}[/bold]" for name in COLUMNS])
        self.console.rule(style="dim")

    def _answered_by(self, record: DecisionRecord) -> str:
        if record.expert in self.stand_ins:
            return "[yellow]stand-in[/yellow]"
        return "[green]the expert[/green]"

    def _amounts(self, record: DecisionRecord) -> list[str]:
        """The expected cost, the actual cost, and what is left of the budget."""
        candidate = candidate_of(record, record.expert)
        expected = Decimal(candidate.expected_usd) if candidate else Decimal(0)
        cost = Decimal(record.settled_usd or 0)
        limit = self.router.budget.limit or Decimal(0)
        remainder = limit - Decimal(record.spent_usd or 0)
        return [f"${expected:.6f}", f"${cost:.6f}", f"${remainder:.6f}"]

    def _print_line(self, cells: list[str]) -> None:
        cell_of = dict(zip(COLUMNS, cells, strict=False))
        columns = COLUMNS if self.console.width >= WIDTH else NARROW_COLUMNS
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, width in columns.items():
            is_prompt = name == "prompt"
            table.add_column(width=width, no_wrap=is_prompt, overflow="ellipsis")
        table.add_row(*[cell_of.get(name, "") for name in columns])
        self.console.print(table)


def candidate_of(record: DecisionRecord, expert: str) -> CandidateRecord | None:
    """An expert's candidate in a record; ``None`` where it has none."""
    for candidate in record.candidates:
        if candidate.expert == expert:
            return candidate
    return None


def _kind_of(record: DecisionRecord | None) -> str:
    """The likeliest kind of the prompt, and how hard it is compared with others."""
    if record is None or record.prompt is None:
        return "–"
    kinds = tuple(record.prompt.kinds.items())
    return PromptDescription(kinds, record.prompt.difficulty).in_words()


def _best_three(record: DecisionRecord) -> str:
    """The three candidates of the highest predicted quality."""
    candidates = sorted(record.candidates, key=lambda candidate: -candidate.quality)
    labels = [f"{candidate.expert} {candidate.quality:.2f}" for candidate in candidates[:3]]
    return escape(" · ".join(labels))


def _describe_choice(record: DecisionRecord) -> str:
    """The expert that answered, and those that failed before it."""
    text = f"[bold]{escape(record.expert)}[/bold]"
    for attempt in record.attempts[:-1]:
        text += f" [red]after {escape(attempt.expert)} failed[/red]"
    return text

"""The calls that the demo made, printed as they come: one line each."""

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
    "kind, as read": 22,
    "predicted quality, top three": 55,
    "chosen": 13,
    "answered by": 11,
    "expected": 9,
    "settled": 9,
    "left": 9,
}
"""Column → its width, the same in every line."""

WIDTH = sum(COLUMNS.values()) + 2 * len(COLUMNS)


@dataclass(frozen=True)
class DemoCall:
    """One routed call.

    Attributes:
        via: How it was made, such as ``LangChain``.
        prompt: Its text.
        record: The decision record; ``None`` when the call was refused.
    """

    via: str
    prompt: str
    record: DecisionRecord | None


class Demo:
    """The calls made so far, and where they are printed.

    Args:
        router: Routes every call.
        stand_ins: The experts that the local model stands in for → the variables that would hold their keys.
        console: Where lines are printed.

    Attributes:
        calls: In the order they were added.
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
        """The records of the calls that were not refused."""
        return [call.record for call in self.calls if call.record is not None]

    def add(self, call: DemoCall) -> None:
        """Show one more call."""
        self.calls.append(call)
        cells = [call.via, escape(call.prompt), _kind_of(call.record)]
        if call.record is None:
            cells.append("[red]refused: nothing is affordable any more[/red]")
            cells.append("[red]nobody[/red]")
        else:
            cells.append(_best_three(call.record))
            cells.append(_chosen(call.record))
            cells.append(self._answered_by(call.record))
            cells += self._amounts(call.record)
        self._print_line(cells)

    def print_header(self) -> None:
        """Print the columns' names."""
        self._print_line([f"[bold]{name}[/bold]" for name in COLUMNS])
        self.console.rule(style="dim")

    def _answered_by(self, record: DecisionRecord) -> str:
        if record.expert in self.stand_ins:
            return "[yellow]stand-in[/yellow]"
        return "[green]the expert[/green]"

    def _amounts(self, record: DecisionRecord) -> list[str]:
        """What the call was expected to cost, what it did cost, and what is left."""
        candidate = candidate_of(record, record.expert)
        expected = Decimal(candidate.expected_usd) if candidate else Decimal(0)
        cost = Decimal(record.settled_usd or 0)
        limit = self.router.budget.limit or Decimal(0)
        remainder = limit - Decimal(record.spent_usd or 0)
        return [f"${expected:.6f}", f"${cost:.6f}", f"${remainder:.6f}"]

    def _print_line(self, cells: list[str]) -> None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, width in COLUMNS.items():
            is_prompt = name == "prompt"
            table.add_column(width=width, no_wrap=is_prompt, overflow="ellipsis")
        table.add_row(*cells)
        self.console.print(table)


def candidate_of(record: DecisionRecord, expert: str) -> CandidateRecord | None:
    """The candidate of a record that an expert was; ``None`` where it was none."""
    for candidate in record.candidates:
        if candidate.expert == expert:
            return candidate
    return None


def _kind_of(record: DecisionRecord | None) -> str:
    """The likeliest kind of the prompt, and how hard it is beside others."""
    if record is None or record.prompt is None:
        return "–"
    kinds = tuple(record.prompt.kinds.items())
    return PromptDescription(kinds, record.prompt.difficulty).in_words()


def _best_three(record: DecisionRecord) -> str:
    """The candidates of the highest predicted quality."""
    candidates = sorted(record.candidates, key=lambda candidate: -candidate.quality)
    labels = [f"{candidate.expert} {candidate.quality:.2f}" for candidate in candidates[:3]]
    return escape(" · ".join(labels))


def _chosen(record: DecisionRecord) -> str:
    """Who answered, and who failed before."""
    text = f"[bold]{escape(record.expert)}[/bold]"
    for attempt in record.attempts[:-1]:
        text += f" [red]after {escape(attempt.expert)} failed[/red]"
    return text

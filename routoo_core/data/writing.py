"""What the steps share in which an expert writes: all of it asked for, paid and kept as it comes, then counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from routoo_core.asking.asker import Asker
from routoo_core.asking.calls import Answer, Call, NoAnswer
from routoo_core.data.steps import Row
from routoo_core.experts import Expert
from routoo_core.money import format_usd
from routoo_core.progress import Progress


@dataclass(frozen=True)
class Written:
    """What came of it.

    Attributes:
        rows: What can be used.
        dropped: Why something cannot → how often, 0 included.
        missing: Why a request was not answered, each once → how many.
        spent: Nano-USD.
    """

    rows: Sequence[Row] = field(repr=False)
    dropped: Mapping[str, int]
    missing: Mapping[str, int]
    spent: int

    def counts(self) -> dict[str, int]:
        """For a manifest."""
        return {"written": len(self.rows), **self.dropped, "unanswered": sum(self.missing.values())}


def ask_all(
    expert: Expert, calls: Sequence[Call], asker: Asker, progress: Progress, concurrency: int = 4
) -> list[Answer | NoAnswer]:
    """Ask ``expert`` everything; what it answered before is not asked again.

    Args:
        expert: Who writes.
        calls: What it is asked.
        asker: Holds, settles and keeps.
        progress: Where the bar and the cost so far are shown.
        concurrency: Requests at once.

    Returns:
        For each call, in order, the answer or why there is none.

    Raises:
        ConfigurationError: The expert cannot be asked at all.
    """
    try:
        return asyncio.run(_ask_all(expert, calls, asker, progress, concurrency))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


def missing(answers: Sequence[Answer | NoAnswer]) -> Counter[str]:
    """Why there is no answer → how often."""
    return Counter(str(answer) for answer in answers if isinstance(answer, NoAnswer))


async def _ask_all(
    expert: Expert, calls: Sequence[Call], asker: Asker, progress: Progress, concurrency: int
) -> list[Answer | NoAnswer]:
    done: dict[int, Answer | NoAnswer] = {}
    with progress.bar("Writing", len(calls)) as advance:

        async def work(numbered: Iterator[tuple[int, Call]]) -> None:
            for number, call in numbered:
                try:
                    done[number] = await asker.ask(expert, call)
                except NoAnswer as error:
                    done[number] = error
                advance(1, f"Writing, {format_usd(asker.spent, 4)} so far")

        async with asyncio.TaskGroup() as tasks:
            numbered = enumerate(calls)
            for _ in range(concurrency):
                tasks.create_task(work(numbered))
    return [done[number] for number in range(len(calls))]

"""Steps in which an expert writes: everything is asked for, paid and kept as it comes, then counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from routoo_core.asking.asker import Asker
from routoo_core.asking.calls import Answer, Call, NoAnswer
from routoo_core.experts import Expert
from routoo_core.money import format_usd
from routoo_core.progress import Progress

Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class WrittenPrompts:
    """What an expert wrote.

    Attributes:
        rows: What can be used: column → value.
        drop_counts: Why something cannot → how often, 0 included.
        missing: Why a request was not answered, each reason once → how many.
        spent: Nano-USD.
    """

    rows: Rows = field(repr=False)
    drop_counts: Mapping[str, int]
    missing: Mapping[str, int]
    spent: int

    def counts(self) -> dict[str, int]:
        """For a manifest."""
        missing = sum(self.missing.values())
        return {"written": len(self.rows), **self.drop_counts, "unanswered": missing}


@dataclass(frozen=True)
class Writer:
    """An expert that writes, and what asks it.

    Attributes:
        expert: Who writes.
        asker: Holds and settles the money, and keeps the answers.
        progress: Where the bar and the cost so far are shown.
        concurrency: Requests at once.
    """

    expert: Expert
    asker: Asker
    progress: Progress
    concurrency: int = 4

    def ask_all(self, calls: Sequence[Call]) -> list[Answer | NoAnswer]:
        """Ask everything; what the expert answered before is not asked again.

        Returns:
            For each call, in order, the answer or why there is none.

        Raises:
            ConfigurationError: The expert cannot be asked at all.
        """
        try:
            return asyncio.run(self._ask_all(calls))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _ask_all(self, calls: Sequence[Call]) -> list[Answer | NoAnswer]:
        answers: dict[int, Answer | NoAnswer] = {}
        with self.progress.bar("Writing", len(calls)) as advance:

            async def ask_next(waiting: Iterator[tuple[int, Call]]) -> None:
                for number, call in waiting:
                    answers[number] = await self._ask(call)
                    cost = format_usd(self.asker.spent, 4)
                    advance(1, f"Writing, {cost} so far")

            # All tasks take their calls from one iterator.
            waiting = enumerate(calls)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self.concurrency):
                    tasks.create_task(ask_next(waiting))
        return [answers[number] for number in range(len(calls))]

    async def _ask(self, call: Call) -> Answer | NoAnswer:
        try:
            return await self.asker.ask(self.expert, call)
        except NoAnswer as error:
            return error


def count_missing(answers: Sequence[Answer | NoAnswer]) -> Counter[str]:
    """Why there is no answer → how often."""
    reasons: Counter[str] = Counter()
    for answer in answers:
        if isinstance(answer, NoAnswer):
            reasons[str(answer)] += 1
    return reasons

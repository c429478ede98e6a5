"""How the prompts of an evaluation relate to those that routers learn from: near-duplicates, and similarity."""

from __future__ import annotations

from routoo_core.data.closeness import closeness
from routoo_core.data.decontamination import decontaminate
from routoo_core.data.rows import PromptRow
from routoo_core.evaluation.report import NearDuplicates
from routoo_core.measures.simple_routers import Rows
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.ngram_encoder import NgramEncoder
from routoo_core.progress import Progress

SIMILARITY_DIM = 1024
"""Length of the vectors by which prompts are compared."""


def count_near_duplicates(table: Outcomes, split: str, progress: Progress) -> NearDuplicates:
    """Count the prompts of a split that are, contain or resemble a ``train`` prompt.

    Raises:
        MissingDependency: ``datasketch`` is not installed.
    """
    prompts = _prompts_to_compare(table, split)
    train = _prompts_to_compare(table, "train")
    counts = decontaminate(prompts, train, progress=progress).counts()
    return NearDuplicates(counts["exact"], counts["ngram"], counts["near"])


def similarity_to_training(table: Outcomes, rows: Rows) -> float | None:
    """How near some prompts are to the ``train`` prompts, by RouteLLM's measure; see :func:`closeness`.

    The vectors are hashed n-grams whatever the routers read, so that figures of different reports can be compared.

    Returns:
        0–1, or ``None`` without ``train`` prompts.
    """
    train = [table.prompts[row] for row in table.rows("train")]
    if not train:
        return None
    prompts = [table.prompts[row] for row in rows]
    encoder = NgramEncoder(SIMILARITY_DIM)
    return closeness(encoder.encode(prompts), encoder.encode(train))


def _prompts_to_compare(table: Outcomes, split: str) -> list[PromptRow]:
    return [PromptRow.of(table.prompt_ids[row], table.prompts[row]) for row in table.rows(split)]

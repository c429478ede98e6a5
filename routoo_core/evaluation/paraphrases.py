"""Paraphrases of the measured prompts, written by a model, for the stress test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from routoo_core.errors import OutcomesError
from routoo_core.outcomes import Outcomes
from routoo_core.prompts import read_prompts


def read_paraphrases(path: Path, table: Outcomes, split: str = "dev") -> dict[str, str]:
    """Read paraphrases of the prompts of a table; those of prompts that are not measured are left out.

    Args:
        path: Parquet or CSV with ``prompt_id, prompt``.
        table: Outcomes of the experts of the pool.
        split: Which prompts are measured; of them, those observed with every expert.

    Returns:
        ``prompt_id`` → the paraphrase.

    Raises:
        OutcomesError: A prompt is not in the table, or none of them is measured.
    """
    paraphrases = read_prompts(path)

    table_ids = set(table.prompt_ids)
    for row, prompt_id in enumerate(paraphrases.ids, start=1):
        if prompt_id not in table_ids:
            raise OutcomesError(
                f"{path}: row {row}: prompt_id {prompt_id!r} is not in the table of prompts; "
                "paraphrase the prompts of that table"
            )

    measured_ids = _measured_ids(table, split)
    paraphrase_of = {}
    for prompt_id, text in zip(paraphrases.ids, paraphrases.texts, strict=True):
        if prompt_id in measured_ids:
            paraphrase_of[prompt_id] = text
    if not paraphrase_of:
        raise OutcomesError(
            f"{path}: row 1: prompt_id {paraphrases.ids[0]!r}, and all others, are no {split!r} prompts "
            "observed with every expert of the pool; paraphrase such prompts"
        )
    return paraphrase_of


def _measured_ids(table: Outcomes, split: str) -> set[str]:
    """Ids of the prompts of a split that every expert was observed on."""
    rows = table.rows(split)
    missing = np.isnan(table.scores[rows])
    complete_rows = rows[~missing.any(axis=1)]
    return {table.prompt_ids[row] for row in complete_rows}

"""Tables of prompts."""

from __future__ import annotations

from pathlib import Path

from routoo_core.errors import OutcomesError
from routoo_core.tables import read_columns
from routoo_core.text import question_fingerprint

DEV_SHARE = 0.2


def read_prompts(path: Path) -> tuple[list[str], list[str], list[str], list[str]]:
    """Ids, texts, domains and splits of a table of prompts; splits may have any name.

    Raises:
        OutcomesError: See :func:`read_outcomes`.
    """
    table = read_columns(path, ("prompt_id", "prompt"), optional=("domain", "split"))
    ids, texts = table["prompt_id"], table["prompt"]
    seen: set[str] = set()
    for row, (prompt_id, text) in enumerate(zip(ids, texts, strict=True), start=1):
        if not isinstance(text, str) or not text.strip():
            raise OutcomesError(f"{path}: row {row}: prompt {prompt_id!r} is empty")
        if prompt_id in seen:
            raise OutcomesError(f"{path}: row {row}: prompt_id {prompt_id!r} was given before")
        seen.add(prompt_id)
    domains = [domain or "" for domain in table.get("domain", [""] * len(ids))]
    splits = table.get("split") or [split_of(text) for text in texts]
    return ids, texts, domains, splits


def split_of(text: str, dev_share: float = DEV_SHARE) -> str:
    """``dev`` for a share of all questions, by their fingerprint: reformatting does not move a question."""
    return "dev" if question_fingerprint(text) / 2**64 < dev_share else "train"

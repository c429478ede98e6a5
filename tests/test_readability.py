"""The README and the pages read plainly: Flesch's reading ease of 55 or more, 18 words a sentence or fewer."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from readability import measure, pages, prose_of  # noqa: E402

HARD = (
    "Notwithstanding considerations concerning institutional accountability, representatives of the organisation "
    "unanimously reiterated that comprehensive documentation constitutes an indispensable prerequisite of responsible, "
    "sustainable utilisation.\n"
)


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_reads_plainly(path):
    figures = measure(path.read_text(encoding="utf-8"))
    assert figures.is_plain(), figures


def test_a_hard_sentence_is_told_from_a_plain_one():
    assert not measure(HARD).is_plain()
    assert measure("The cat sat on the mat. It was warm.").is_plain()


def test_only_prose_counts():
    page = "# A title\n\nOne thought.\n\n```python\nx = 1\n```\n\n| a | b |\n|---|---|\n\n- Another `name` here.\n"
    assert prose_of(page) == "One thought.\nAnother it here."

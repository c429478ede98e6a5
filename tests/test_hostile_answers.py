"""No answer whatever ends a run of scoring, and every reader of answers is linear in their length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_core.scoring.graders import GRADERS, make_grader
from routoo_core.stated_answers import extract_code, find_letter, find_number, without_thoughts

ROWS = {
    "letter": {"choices": ["north", "south", "A cat", "12"], "answer": 1},
    "exact": {"answer": ["four", "4"]},
    "numeric": {"answer": "4"},
    "regex": {"pattern": r"\b(four|4)\b"},
}
LONG = 200_000
LONG_ANSWERS = [
    "answer" + " " * LONG,
    "answer is" + " " * LONG + "x",
    "answer: " + "(" * LONG,
    "answer: a " * (LONG // 10),
    "\n" * LONG,
    " \n" * LONG,
    "*" * LONG,
    "A" + " " * LONG + "x",
    "answer" * (LONG // 6),
    "1" * LONG,
    "1," * LONG,
    "1,111" * (LONG // 5),
    "1 /" + " " * LONG,
    "1e" * LONG,
    "<think>" * (LONG // 7),
    "```python\n" * (LONG // 10),
    "```" + " " * LONG,
    "level" + " " * LONG,
    "verdict" + "-" * LONG,
    "#### " * (LONG // 5),
    r"\boxed{" * (LONG // 7),
    "[" * LONG,
]
ODD_ANSWERS = [
    "The knight goes to e4.",
    "commit e3b0c442",
    "1e1e1",
    "5/0",
    "½",
    "٣",
    "1e999",
    "-1e999/1e999",
    "0x1F",
    "9" * 5000,
    "level " + "9" * 5000,
    "nan",
    "\ud800 answer: \udfff",
    "\x00",
    "answer: \N{FULLWIDTH LATIN CAPITAL LETTER A}",
    "İ answer: ı",
    "",
]
PIECES = st.sampled_from(
    ["answer", "is", "A", "b", "(", "**", "\n", " ", "1", "2/0", "e", ".", ",", "-", "٣", "\ud800"]
)
ANSWERS = st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=40).map("".join))


def read_in_every_way(text):
    find_letter(text, ["north", "south", "A cat", "12"])
    find_number(text)
    extract_code(text)
    without_thoughts(text)
    for name, row in ROWS.items():
        score = GRADERS[name]().score_text({"prompt_id": "1", "prompt": "?", **row}, text)
        assert 0 <= score <= 1


@pytest.mark.parametrize("text", ODD_ANSWERS, ids=range(len(ODD_ANSWERS)))
def test_an_odd_answer_is_graded(text):
    read_in_every_way(text)


@given(ANSWERS)
def test_any_answer_is_graded(text):
    read_in_every_way(text)


@pytest.mark.parametrize("text", LONG_ANSWERS, ids=range(len(LONG_ANSWERS)))
def test_a_long_answer_is_read_in_time_that_its_length_explains(text):
    """A reader that is quadratic in this length takes minutes."""
    read_in_every_way(text)


def test_a_pattern_that_never_ends_leaves_the_answer_without_a_score():
    grader = make_grader("regex", {})
    row = {"prompt_id": "1", "prompt": "?", "pattern": r"(a|aa)+$"}
    with pytest.raises(TimeoutError):
        grader.score_text(row, "a" * 60 + "b")


def test_a_pattern_that_is_none_is_refused_before_anything_is_asked():
    with pytest.raises(ValueError, match="pattern"):
        make_grader("regex", {}).check({"prompt_id": "1", "prompt": "?", "pattern": "("})

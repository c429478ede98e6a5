"""Graders: realistic answers get the score a reader would give them."""

import sys
import time

import pytest

from routoo_core.asking.calls import Answer
from routoo_core.errors import ConfigurationError
from routoo_core.sandbox.namespaces import sandbox_problem
from routoo_core.scoring.custom import load_custom_grader
from routoo_core.scoring.grader import Grader
from routoo_core.scoring.graders import (
    GRADERS,
    Code,
    Exact,
    Letter,
    LikeliestChoice,
    Numeric,
    Pattern,
)
from routoo_core.scoring.judge import Judge, PairwiseJudge, Rubric, read_rubric
from routoo_core.scoring.rows import right_choice
from routoo_core.stated_answers import find_letter, find_number

UNSAFE = sandbox_problem() is not None
"""Where no sandbox can be made, code is graded without one."""
CHOICES = ["a mammal", "a fish", "stone", "water"]


def said(text):
    return Answer(text, None, 1, 1, 0, 0.0)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(c)", "C"),
        ("**D**", "D"),
        ("C) stone is right", "C"),
        ("A. a mammal", "A"),
        ("The answer is C.", "C"),
        ("The correct answer is (B) because fish swim.", "B"),
        ("Answer: D", "D"),
        ("answer: b", "B"),
        ("**Answer:** C", "C"),
        ("### Answer\n\nB", "B"),
        ("The answer is: **(D) water**", "D"),
        ("Correct choice: `A`", "A"),
        ("Option B", "B"),
        ("I choose B.", "B"),
        ("It's D", "D"),
        ("The best answer is therefore D.", "D"),
        ("The answer is a mammal", "A"),
        ("Stone", "C"),
        ("It must be water, I believe.", "D"),
        (r"Thus \boxed{C}", "C"),
        (r"$\boxed{\text{D}}$", "D"),
        ("I think it's B, since A is wrong. No: the final answer is **C**.", "C"),
        ("A and B are wrong.\n\nTherefore the correct option is D", "D"),
        ("Let me see. A. a mammal: no. B. a fish: no.\nFinal answer: C", "C"),
        ("The answer is A or B", None),
        ("The answer is not B", None),
        ("A. a mammal\nB. a fish\nC. stone\nD. water", None),
        ("A dog is nice", None),
        ("I cannot answer this.", None),
        ("E", None),
        ("", None),
    ],
)
def test_the_letter_of_a_realistic_answer_is_found(text, letter):
    assert find_letter(text, CHOICES) == letter


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so $1,250.50", 1250.5),
        ("We get 3 and 4.\n#### 42", 42),
        (r"so x is \boxed{-3}", -3),
        ("3/4", 0.75),
        ("The answer is 12 apples, that is 1 dozen", 12),
        ("1. first\n2. second\nAnswer: 7.", 7),
        ("x = 5e3", 5000),
        ("0.5", 0.5),
        ("-1", -1),
        ("It ends in phase7", 7),
        (".5e1", 5),
        ("I do not know", None),
    ],
)
def test_the_number_of_a_realistic_answer_is_found(text, number):
    assert find_number(text) == number


@pytest.mark.parametrize(
    ("grader", "row", "text", "score"),
    [
        (Letter(), {"choices": CHOICES, "answer": 1}, "<think>A or C?</think>B", 1.0),
        (Letter(), {"choices": CHOICES, "answer": "C"}, "B", 0.0),
        (Exact(), {"answer": "New York"}, " new  york. ", 1.0),
        (Exact(), {"answer": ["NYC", "New York"]}, "nyc", 1.0),
        (Exact(), {"answer": "Paris"}, "It is Paris", 0.0),
        (Numeric(), {"answer": "1,000"}, "So it is 1000.", 1.0),
        (Numeric(tolerance=0.01), {"answer": 3.14159}, "about 3.14", 1.0),
        (Numeric(), {"answer": 3.14159}, "about 3.14", 0.0),
        (Pattern(), {"pattern": r"(?i)\bparis\b"}, "It is Paris", 1.0),
        (Pattern(), {"pattern": "^Paris$"}, "It is Paris", 0.0),
        (
            Code(unsafe=UNSAFE),
            {"tests": "assert add(1, 2) == 3"},
            "Sure:\n```python\ndef add(a, b):\n    return a + b\n```",
            1.0,
        ),
        (
            Code(unsafe=UNSAFE),
            {"tests": "assert add(1, 2) == 3"},
            "def add(a, b): return a - b",
            0.0,
        ),
    ],
)
def test_an_answer_gets_its_score(grader, row, text, score):
    row = {"prompt_id": "1", "prompt": "?", **row}
    grader.check(row)
    assert grader.grade(row, [said(text)], []) == score


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "x = ' ' * (4 << 30)",
        "while True: pass",
        "open('f', 'w').write(' ' * (64 << 20))",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import subprocess; subprocess.run(['true'])",
        "import os; assert os.environ.get('PATH') or os.environ.get('HOME')",
    ],
)
def test_code_that_leaves_early_or_reaches_out_does_not_pass(code):
    started = time.monotonic()
    assert (
        Code(timeout_s=1, unsafe=UNSAFE).score_text({"tests": "pass"}, f"```python\n{code}\n```")
        == 0.0
    )
    assert time.monotonic() - started < 10


def test_the_right_choice_may_be_an_index_a_letter_or_a_text():
    for answer in (2, "2", "C", "c", "stone"):
        assert right_choice({"choices": CHOICES, "answer": answer}) == 2
    assert right_choice({"choices": '["7", "8"]', "answer": "8"}) == 1  # as CSV has it


@pytest.mark.parametrize(
    ("grader", "row", "message"),
    [
        (Letter(), {"choices": CHOICES, "answer": 4}, "answer: 4 is none of the 4 choices"),
        (Letter(), {"choices": "one, two", "answer": 0}, "is no list; write it as JSON"),
        (Letter(), {"choices": ["one"], "answer": 0}, "choices: give a list of 2 to 26"),
        (
            LikeliestChoice(),
            {"choices": ["1", "2", "0"], "answer": "1"},
            "is an index and another choice's text",
        ),
        (Numeric(), {"answer": "many"}, "answer: 'many' is not a number"),
        (Exact(), {"answer": ""}, "answer: is empty"),
        (Pattern(), {"pattern": "("}, "pattern: '\\(' is no regular expression"),
        (Code(), {"tests": "assert ("}, "tests: is not Python"),
        (PairwiseJudge(), {"reference": " "}, "reference: is empty"),
    ],
)
def test_a_row_that_could_not_be_graded_is_refused_with_its_column(grader, row, message):
    with pytest.raises(ValueError, match=message):
        grader.check(row)


def test_the_likeliest_choice_may_be_normalised_by_length():
    row = {"prompt": "Why?", "choices": ["so", "because it is"], "answer": 1}
    calls = LikeliestChoice().calls(row)
    assert [(call.context, call.continuation) for call in calls] == [
        ("Question: Why?\nAnswer:", " so"),
        ("Question: Why?\nAnswer:", " because it is"),
    ]
    told = [Answer("", -2.0, 1, 0, 0, 0.0), Answer("", -6.0, 1, 0, 0, 0.0)]
    assert LikeliestChoice().grade(row, told, []) == 0.0
    assert LikeliestChoice(normalised=True).grade(row, told, []) == 1.0


def test_a_judge_gives_levels_by_its_rubric(tmp_path):
    (tmp_path / "rubric.toml").write_text(
        'levels = ["bad", "fair", "good"]\ninstructions = "Mind the tone."'
    )
    judge = Judge(rubric=read_rubric(tmp_path / "rubric.toml"))
    (question,) = judge.judge_calls({"prompt": "Hello?", "reference": "Hi."}, [said("Go away")])
    text = question.messages[0][1]
    assert all(
        part in text for part in ("Hello?", "Hi.", "Go away", "Mind the tone.", "Level 3: good")
    )
    grades = [
        judge.grade({}, [], [said(text)])
        for text in ("Rude. Level: 1", "**Level: 2**", "level 2, no: Level 3")
    ]
    assert grades == [0.0, 0.5, 1.0]
    assert [judge.grade({}, [], [said(text)]) for text in ("Level: 4", "Level: 0", "Fine.")] == [
        None
    ] * 3
    (tmp_path / "rubric.toml").write_text('levels = ["only"]')
    with pytest.raises(ConfigurationError, match=r"rubric.toml: levels"):
        read_rubric(tmp_path / "rubric.toml")


@pytest.mark.parametrize(
    ("verdicts", "score"),
    [
        (("first", "second"), 1.0),  # the answer stands first, then second
        (("second", "first"), 0.0),
        (("first", "first"), 0.5),  # a judge that favours a place says nothing
        (("tie", "second"), 0.75),
        (("tie", "?"), None),
    ],
)
def test_a_pairwise_judge_is_asked_in_both_orders(verdicts, score):
    row = {"prompt": "Q", "reference": "the reference"}
    asked = [call.messages[0][1] for call in PairwiseJudge().judge_calls(row, [said("the answer")])]
    assert asked[0].index("the answer") < asked[0].index("the reference")
    assert asked[1].index("the answer") > asked[1].index("the reference")
    assert (
        PairwiseJudge().grade(row, [], [said(f"Hm. Verdict: {one}") for one in verdicts]) == score
    )


def test_a_function_of_yours_grades(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_grader.py").write_text(
        "def politeness(row, text):\n    return 0.5 * ('please' in text) + 0.5 * (row['name'] in text)\n"
        "politeness.columns = ('name',)\ndef broken(row, text):\n    return 7\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    grader = load_custom_grader("python:my_grader:politeness")
    assert grader.columns == ("name",)
    assert grader.score_text({"name": "Ann"}, "please, Ann") == 1.0
    with pytest.raises(ConfigurationError, match="broken gave 7 for prompt 'p1'; return 0 to 1"):
        load_custom_grader("python:my_grader:broken").score_text({"prompt_id": "p1"}, "")
    with pytest.raises(ConfigurationError, match="grader: 'python:my_grader:absent'"):
        load_custom_grader("python:my_grader:absent")


def test_every_named_grader_is_a_grader():
    assert all(issubclass(kind, Grader) for kind in GRADERS.values())
    assert len(Rubric().levels) == 5

"""What the code of a reply states: the results of probes, equal for equal results alone."""

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_core.answer import Answer
from routoo_core.comparison import Comparison
from routoo_core.errors import OutcomesError
from routoo_core.measures.plan_replay import read_probes
from routoo_core.sandbox.graded_process import canonical, encode
from routoo_core.sandbox.namespaces import sandbox_problem
from routoo_core.sandbox.probes import is_probe, probes_of_tests, results_digest
from routoo_core.stated_answers import extract_code
from routoo_core.tables import write_rows

PROBLEM = sandbox_problem()
in_sandbox = pytest.mark.skipif(PROBLEM is not None, reason=f"no sandbox here: {PROBLEM}")


def code_of(body):
    return f"```python\n{body}\n```"


def unless_zero(body):
    return f"def f(n):\n    if n:\n        {body}"


def statement(text, probes=("f(1)",)):
    return Comparison("code", probes=probes).statement(Answer(text))


# Results


@in_sandbox
@pytest.mark.parametrize(
    ("left", "right", "agree"),
    [
        ("def f(n): return 2", "f = lambda n: 1 + 1", True),
        ("def f(n): return 2", "def f(n): return 3", False),
        ("def f(n): return 2", "def f(n): return 2.0", True),
        ("def f(n): return True", "def f(n): return 1", True),
        ("def f(n): return '2'", "def f(n): return 2", False),
        ("def f(n): return [1, 2]", "def f(n): return (1, 2)", False),
        ("def f(n): return .1 + .2", "def f(n): return .3", True),
        ("def f(n): return .1", "def f(n): return .10001", False),
        ("def f(n): return 10 ** 400", "def f(n): return 10 ** 400 + 1", False),
        ("def f(n): return set('abcdef')", "def f(n): return frozenset('fedcba')", True),
        ("def f(n): return {'a': 1, 'b': 2}", "def f(n): return {'b': 2, 'a': 1}", True),
        (unless_zero("raise ValueError('a')"), unless_zero("raise ValueError('b')"), True),
        (unless_zero("raise ValueError"), unless_zero("raise TypeError"), False),
        (unless_zero("raise ValueError"), "def f(n): return None", False),
        ("def f(n): print('a')", "def f(n): print('a')", True),
        ("def f(n): print('a')", "def f(n): print('b')", False),
        ("def f(n): return 1\nprint(f(3))", "def f(n): return 1", True),
        ("def f(n):\n    yield n", "def f(n): return iter([n])", True),
        (unless_zero("return (1 // m for m in [1, 0])"), unless_zero("return 1 // 0"), True),
        ("from enum import StrEnum\nclass C(StrEnum):\n    A = 'a'\ndef f(n): return C.A", "def f(n): return 'a'", True),
        ("class S(str):\n    def __str__(self): return 'b'\ndef f(n): return S('a')", "def f(n): return 'a'", True),
        (unless_zero("exit()"), unless_zero("raise SystemExit(1)"), True),
    ],
)  # fmt: skip
def test_two_replies_state_the_same_where_their_results_are_equal(left, right, agree):
    probes = ("f(1)", "f(0)")
    statements = [statement(code_of(left), probes), statement(code_of(right), probes)]
    assert None not in statements
    assert (statements[0] == statements[1]) is agree


@in_sandbox
@pytest.mark.parametrize(
    "text",
    [
        "The function doubles its argument.",
        code_of("def f(n) return n"),
        code_of("def g(n): return n"),
        code_of("raise ValueError"),
        code_of("import os\nos._exit(0)"),
        code_of("class Point: pass\ndef f(n): return Point()"),
        code_of("def f(n):\n    items = []\n    items.append(items)\n    return items"),
        code_of("import os\nos.write(3, b'0' * 64)\ndef f(n): return 1"),
        code_of("print(input())\ndef f(n): return n"),
        code_of("def f(n): raise ValueError"),
    ],
)
def test_a_reply_whose_results_cannot_be_had_states_nothing(text):
    assert statement(text) is None


@in_sandbox
@pytest.mark.parametrize(
    "body",
    [
        "return [0] * 10 ** 11",
        "return f(n)",
        "import no_such_module",
        "import os; os.system('true')",
        "open('no such file')",
        "return unknown",
    ],
)
def test_a_program_that_is_broken_or_lacks_something_states_nothing(body):
    assert statement(code_of(unless_zero(body)), ("f(0)",)) is not None
    assert statement(code_of(unless_zero(body)), ("f(0)", "f(1)")) is None


@in_sandbox
@pytest.mark.parametrize("probe", ["f(1, 2)", "f(1).size", "f(1) + 'a'"])
def test_a_probe_that_does_not_fit_a_program_makes_it_state_nothing(probe):
    assert statement(code_of("def f(n): return n"), ("f(1)", probe)) is None
    within = "def f(n): return g(n, n) if n else 0\ndef g(n): return n"
    assert statement(code_of(within), ("f(0)", "f(1)")) is not None


@in_sandbox
def test_code_that_hangs_states_nothing():
    assert results_digest("while True: pass", ("f(1)",), timeout_s=1) is None
    assert results_digest("def f(n):\n    while True: yield n", ("f(1)",), timeout_s=1) is None


def test_a_reply_that_was_cut_or_refused_is_not_run():
    comparison = Comparison("code", probes=("f(1)",))
    assert comparison.statement(Answer(code_of("def f(n): return n"), is_cut=True)) is None
    assert comparison.statement(Answer("def f(n): return n", is_refusal=True)) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
        max_leaves=10,
    )
)
def test_equal_values_have_one_form(value):
    reordered = value
    if isinstance(value, dict):
        reordered = dict(reversed(value.items()))
    assert canonical(encode(reordered)) == canonical(encode(value))
    json.dumps(canonical(encode(value)))


@pytest.mark.parametrize(
    ("first", "second", "are_equal"),
    [
        (Decimal("1e400"), Decimal("2e400"), False),
        (Decimal("1e400"), 10**400, True),
        (Decimal("1.50"), Fraction(3, 2), True),
        (Decimal("1e30"), 10**30, True),
        (Decimal(10**30 + 1), 10**30 + 1, True),
        (Decimal("1e900000"), Decimal("10e899999"), True),
        (Decimal("1e900000"), Decimal("1e900001"), False),
        (Decimal("1e-400"), Decimal("2e-400"), False),
        (Decimal("1e-400"), 0, False),
        (Decimal("-0"), 0, True),
        (Fraction(10**400, 1), 10**400, True),
        (Fraction(10**400, 3), Fraction(2 * 10**400, 3), False),
        (Decimal("nan"), float("nan"), True),
        (Decimal("inf"), float("inf"), True),
    ],
)
def test_numbers_beyond_floats_are_compared_too(first, second, are_equal):
    assert (canonical(encode(first)) == canonical(encode(second))) is are_equal


@given(st.integers() | st.floats(allow_nan=False), st.integers() | st.floats(allow_nan=False))
def test_numbers_of_one_form_are_equal_to_nine_digits(first, second):
    if canonical(encode(first)) == canonical(encode(second)):
        assert first == pytest.approx(second, rel=1e-8)
    else:
        assert first != second


# Blocks of code

CODE = "def f(n):\n    return n\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"```Python\n{CODE}```", CODE),
        (f"```python3\n{CODE}```\nDone.", CODE),
        (f"~~~py\n{CODE}~~~", CODE),
        (f"Here: ```python\n{CODE}```", CODE),
        (f"```python title=f.py\n{CODE}```", CODE),
        (f"```\n{CODE}```", CODE),
        (f"```python\n{CODE}", CODE),
        (
            f"```python\n{CODE}```\nRun it:\n```bash\npython f.py\n```\nIt prints the result.\n",
            CODE,
        ),
        (f"```bash\npip install it\n```\nThen:\n```python\n{CODE}```", CODE),
        (f"```python\n{CODE}```\nOutput:\n```\n4\n```", CODE),
        (f"Call ```f(1)```\n```python\n{CODE}```", CODE),
        (f"Use ``` to fence\n```python\n{CODE}```", CODE),
        (f"````python\n{CODE}s = '```'\n````", CODE + "s = '```'\n"),
        (f"```python\n{CODE}```\n```py\nf(1)\n```", CODE + "\n\nf(1)\n"),
        ("1. So:\n   ```python\n   def f(n):\n       return n\n   ```", CODE),
        ("```bash\nls\n```", "```bash\nls\n```"),
        (CODE, CODE),
    ],
)
def test_the_blocks_of_python_are_the_code_of_a_reply(text, code):
    assert extract_code(text) == code


# Probes of stored tests


@pytest.mark.parametrize(
    ("tests", "probes"),
    [
        ('assert slug("A b") == "a-b"', ("slug('A b')",)),
        ("assert f(1) == 2\nassert not f(0)\nassert f(1) == 2", ("f(1)", "f(0)")),
        ("assert abs(f(2.5) - 1) < 1e-6", ("f(2.5)",)),
        (
            "def check(candidate):\n    assert candidate([3, 1]) == [1, 3]\ncheck(order)",
            ("order([3, 1])",),
        ),
        ("for n in range(3):\n    assert f(n) == n\nassert f(7) == 7", ("f(7)",)),
        (
            "def first(f):\n    assert f(1) == 2\ndef second(f):\n    assert f(3) == 9\n"
            "first(add)\nsecond(square)",
            ("add(1)", "square(3)"),
        ),
        (
            "def check(f):\n    assert f(1) == 2\ncheck(one)\ncheck(other)\nassert one(2) == 3",
            ("one(2)",),
        ),
        ("assert Stack().pop() is None", ()),
        ("assert f(", ()),
        ("", ()),
    ],
)
def test_the_calls_that_plain_tests_look_at_are_probes(tests, probes):
    assert probes_of_tests(tests) == probes
    assert all(is_probe(probe) for probe in probes)


@pytest.mark.parametrize("text", ["(yield)", "await f(1)", "f(", "x = 1", "return 1"])
def test_what_cannot_be_evaluated_is_no_probe(text):
    assert not is_probe(text)


def test_a_probe_that_python_warns_of_is_one():
    assert is_probe("f('\\d') is 1")


def test_a_table_of_prompts_has_probes_or_tests(tmp_path):
    rows = [
        {"prompt_id": "a", "probes": '["f(1)", "f(2)"]', "tests": "assert f(3) == 3"},
        {"prompt_id": "b", "probes": None, "tests": "assert f(3) == 3"},
        {"prompt_id": "c", "probes": None, "tests": None},
    ]
    write_rows(tmp_path / "p.parquet", rows)
    assert read_probes(tmp_path / "p.parquet") == {"a": ("f(1)", "f(2)"), "b": ("f(3)",)}
    write_rows(tmp_path / "plain.csv", [{"prompt_id": "a", "prompt": "Why?"}])
    assert read_probes(tmp_path / "plain.csv") == {}


@pytest.mark.parametrize("cell", ["f(1)", '"f(1)"', "[1]", '["x = 1"]', "7"])
def test_probes_that_are_none_are_named_by_their_row(tmp_path, cell):
    rows = [{"prompt_id": "a", "probes": '["f(1)"]'}, {"prompt_id": "b", "probes": cell}]
    write_rows(tmp_path / "p.csv", rows)
    with pytest.raises(OutcomesError, match=r"p.csv: row 2: probes: .* is no list of Python"):
        read_probes(tmp_path / "p.csv")

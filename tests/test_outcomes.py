"""Tables of outcomes are checked before anything is done with them."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from routoo_core.errors import OutcomesError
from routoo_core.outcomes import read_outcomes
from routoo_core.prompts import read_prompts, split_of
from routoo_core.tables import read_columns, write_rows, write_table
from routoo_core.text import without_choices

PROMPTS = "prompt_id,prompt,domain,split\na,What is 1+1?,math,train\nb,Say hello,talk,dev\n"
OUTCOMES = "prompt_id,model,score\na,x,1\na,y,0.5\nb,x,0\n"


def read(tmp_path, prompts=PROMPTS, outcomes=OUTCOMES):
    (tmp_path / "p.csv").write_text(prompts)
    (tmp_path / "o.csv").write_text(outcomes)
    return read_outcomes(tmp_path / "p.csv", tmp_path / "o.csv")


def test_missing_pairs_stay_missing(tmp_path):
    table = read(tmp_path)
    assert table.experts == ("x", "y")
    np.testing.assert_array_equal(table.scores, [[1, 0.5], [0, np.nan]])
    assert list(table.rows("dev")) == [1]


def test_parquet_and_csv_say_the_same(tmp_path):
    read(tmp_path)
    columns = {"prompt_id": ["a", "a", "b"], "model": ["x", "y", "x"], "score": [1.0, 0.5, 0.0]}
    parquet.write_table(pa.table(columns), tmp_path / "o.parquet")
    np.testing.assert_array_equal(
        read_outcomes(tmp_path / "p.csv", tmp_path / "o.parquet").scores, read(tmp_path).scores
    )


@pytest.mark.parametrize(
    ("prompts", "outcomes", "message"),
    [
        (PROMPTS, "prompt_id,model\na,x\n", "o.csv: column 'score' is missing"),
        (PROMPTS, OUTCOMES + "z,x,1\n", "o.csv: row 4: prompt_id 'z' is not in"),
        (PROMPTS, OUTCOMES + "b,y,1.5\n", "o.csv: row 4: score 1.5 is not a number from 0 to 1"),
        (PROMPTS, OUTCOMES + "b,y,\n", "o.csv: row 4: score None is not"),
        (PROMPTS, OUTCOMES + "a,x,1\n", "o.csv: row 4: 'a' × 'x' was given before"),
        (PROMPTS + "c, ,math,train\n", OUTCOMES, "p.csv: row 3: prompt 'c' is empty"),
        (
            PROMPTS + "a,Again,math,train\n",
            OUTCOMES,
            "p.csv: row 3: prompt_id 'a' was given before",
        ),
        (PROMPTS + "c,Hi,math,test\n", OUTCOMES, "p.csv: split 'test' is none of train, dev"),
    ],
)
def test_a_bad_row_is_refused_with_file_row_and_reason(tmp_path, prompts, outcomes, message):
    with pytest.raises(OutcomesError, match=message):
        read(tmp_path, prompts, outcomes)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutcomesError, match="nowhere.parquet: cannot be read"):
        read_outcomes(tmp_path / "nowhere.parquet", tmp_path / "nowhere.parquet")


def test_without_a_split_column_a_question_is_on_one_side_however_it_is_formatted(tmp_path):
    assert split_of("What is 1 + 1?") == split_of("what is\n 1 1")
    sides = [split_of(f"question number {i}") for i in range(1000)]
    assert 150 < sides.count("dev") < 250
    table = read(tmp_path, "prompt_id,prompt\na,What is 1+1?\nb,Say hello\n")
    assert table.splits == (split_of("What is 1+1?"), split_of("Say hello"))


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("Which is red?\nA. Blood\nB. Snow\nC. Coal", "Which is red?"),
        ("Which?\n(A) x\n(B) y\nAnswer:", "Which?"),
        ("A. plain text", "A. plain text"),
        ("No choices here.\nAt all.", "No choices here.\nAt all."),
    ],
)
def test_choices_can_be_left_out_of_a_question(text, stem):
    assert without_choices(text) == stem


def test_open_questions_are_added_to_the_training_prompts_only(tmp_path):
    prompts = 'prompt_id,prompt,split\na,"Red?\nA. Blood\nB. Snow",train\nb,"Blue?\nA. Sky\nB. Sun",dev\nc,Open?,train\n'
    table = read(
        tmp_path, prompts, "prompt_id,model,score\na,x,1\nb,x,0\nc,x,1\n"
    ).with_open_questions()
    assert table.prompts[3:] == ("Red?",)
    assert table.splits[3:] == ("train",)
    assert table.scores[3, 0] == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_and_names_that_are_numbers_are_text_in_every_column(tmp_path, suffix):
    prompts = {
        "prompt_id": [1, 2],
        "prompt": ["What is 1+1?", "Say hello"],
        "split": ["dev", "dev"],
    }
    outcomes = {"prompt_id": [1, 2], "model": [70, 8], "score": [1, 0]}
    for name, columns in (("p", prompts), ("o", outcomes)):
        write_table(tmp_path / f"{name}.{suffix}", columns)

    table = read_outcomes(tmp_path / f"p.{suffix}", tmp_path / f"o.{suffix}")
    assert table.prompt_ids == ("1", "2")
    assert table.experts == ("70", "8")
    assert table.fingerprint()


def test_ids_texts_and_domains_of_a_csv_keep_their_leading_zeros(tmp_path):
    (tmp_path / "p.csv").write_text("prompt_id,prompt,domain,split\n007,0042,01,1\n")
    prompts = read_prompts(tmp_path / "p.csv")
    assert (prompts.ids, prompts.texts) == (("007",), ("0042",))
    assert (prompts.domains, prompts.splits) == (("01",), ("1",))


def test_a_prompt_without_an_id_and_an_outcome_without_a_model_are_refused(tmp_path):
    with pytest.raises(OutcomesError, match="p.csv: row 3: prompt_id is empty"):
        read(tmp_path, prompts=PROMPTS + ",Hi,math,train\n")
    with pytest.raises(OutcomesError, match="o.csv: row 4: model is empty"):
        read(tmp_path, outcomes=OUTCOMES + "b,,1\n")


def test_rows_are_written_with_every_column_and_replace_a_file_only_when_they_are_whole(tmp_path):
    path = tmp_path / "t.csv"
    write_rows(path, [{"prompt_id": "a", "score": 1}, {"prompt_id": "b", "model": "x"}])
    assert read_columns(path, ("prompt_id", "score", "model")) == {
        "prompt_id": ["a", "b"],
        "score": [1, None],
        "model": ["", "x"],
    }
    before = path.read_bytes()
    with pytest.raises(pa.ArrowException):
        write_rows(path, [{"prompt_id": "a", "score": {"a mapping": "has no place in a CSV"}}])
    assert path.read_bytes() == before

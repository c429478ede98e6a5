"""``routoo predict`` writes one score for every prompt and expert, or says what is wrong and writes nothing."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from typer.testing import CliRunner

from routoo_core.outcomes import read_outcomes
from routoo_core.predictor.checkpoint import load_checkpoint
from routoo_integrations import cli

TEXTS = ["what is 31 + 44 ?", "hello there, dear friend number 1234", "what is 12 + 30 ?"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_prompts(tmp_path / "p.csv", ["a", "b", "c"], TEXTS)
    return tmp_path


def write_prompts(path, ids, texts):
    table = pa.table({"prompt_id": ids, "prompt": texts})
    (parquet.write_table if path.suffix == ".parquet" else csv.write_csv)(table, path)


def predict(router, prompts="p.csv", out="s.parquet", *options):
    arguments = ["predict", "--router", str(router), "--prompts", prompts, "--out", out, *options]
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def refuse(monkeypatch, capsys, router, prompts="p.csv", out="s.parquet"):
    arguments = ["--router", str(router), "--prompts", prompts, "--out", out]
    monkeypatch.setattr("sys.argv", ["routoo", "predict", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("out", "read"), [("s.parquet", parquet.read_table), ("s.csv", csv.read_csv)]
)
def test_every_pair_gets_one_row_in_the_prompts_order(here, checkpoint, out, read):
    predict(checkpoint, out=out)
    table = read(here / out)
    assert table.column_names == ["prompt_id", "model", "score"]
    assert table["prompt_id"].to_pylist() == ["a", "a", "b", "b", "c", "c"]
    assert table["model"].to_pylist() == ["calculator", "talker"] * 3
    assert pa.types.is_floating(table["score"].type)
    expected = load_checkpoint(checkpoint).predict(TEXTS)
    np.testing.assert_allclose(table["score"].to_numpy().reshape(3, 2), expected, atol=1e-3)


def test_what_it_writes_reads_back_as_outcomes(here, checkpoint):
    write_prompts(
        here / "many.parquet",
        [f"p{i}" for i in range(150)],
        [f"what is {i} + 1 ?" for i in range(150)],
    )
    predict(checkpoint, "many.parquet", "new/s.parquet")
    scores = read_outcomes(here / "many.parquet", here / "new" / "s.parquet")
    assert scores.experts == ("calculator", "talker")
    assert scores.scores.shape == (150, 2)
    assert not np.isnan(scores.scores).any()


def test_the_summary_is_for_people_or_for_programs(here, checkpoint):
    assert "s.csv: 3 prompts × 2 experts" in predict(checkpoint, "p.csv", "s.csv").stdout
    result = predict(checkpoint, "p.csv", "s.csv", "--overwrite", "--json")
    assert json.loads(result.stdout) == {"prompts": 3, "experts": 2, "out": "s.csv"}
    assert "Predicting" in result.stderr


def test_an_unknown_kind_of_file_is_refused_by_its_suffix(here, checkpoint, monkeypatch, capsys):
    message = refuse(monkeypatch, capsys, checkpoint, out="s.xlsx")
    assert "ConfigurationError: s.xlsx ends in '.xlsx'; end it in .parquet or .csv" in message


def test_a_place_that_cannot_be_written_is_named(here, checkpoint, monkeypatch, capsys):
    assert "p.csv/s.csv cannot be written" in refuse(
        monkeypatch, capsys, checkpoint, out="p.csv/s.csv"
    )


@pytest.mark.parametrize(
    ("ids", "texts", "message"),
    [
        (["a", "a"], ["one", "two"], "row 2: prompt_id 'a' was given before"),
        (["a", "b"], ["one", " "], "row 2: prompt 'b' is empty"),
    ],
)
def test_a_bad_prompt_is_named_and_nothing_is_written(
    here, checkpoint, monkeypatch, capsys, ids, texts, message
):
    write_prompts(here / "bad.parquet", ids, texts)
    assert message in refuse(monkeypatch, capsys, checkpoint, "bad.parquet")
    assert {path.name for path in here.iterdir()} == {"p.csv", "bad.parquet"}


def test_a_router_that_is_not_there_is_named_and_nothing_is_written(here, monkeypatch, capsys):
    assert "'nowhere' is neither a folder nor a shipped router" in refuse(
        monkeypatch, capsys, "nowhere"
    )
    assert {path.name for path in here.iterdir()} == {"p.csv"}


def test_help_teaches_by_example():
    assert (
        "routoo predict --router general-fast"
        in CliRunner().invoke(cli.app, ["predict", "--help"]).output
    )

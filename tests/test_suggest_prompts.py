"""The prompts suggested for labelling leave no region out."""

import numpy as np
import pytest
from pyarrow import csv
from typer.testing import CliRunner

from routoo_core.errors import ConfigurationError
from routoo_core.training.suggestion import suggest_prompts
from routoo_integrations.cli import app


def islands():
    """Six groups of prompts far apart; five hold 1 % each."""
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(6), [380, 4, 4, 4, 4, 4])
    return group, (random.normal(size=(6, 16))[group] * 30 + random.normal(size=(400, 16))).astype(
        np.float32
    )


def test_more_of_the_small_groups_are_covered_than_by_random_prompts():
    group, vectors = islands()

    def covered(choose):
        return np.mean([len(set(group[choose(seed)])) for seed in range(10)])

    random = covered(lambda seed: np.random.default_rng(seed).permutation(len(group))[:20])
    assert covered(lambda seed: suggest_prompts(vectors, 20, seed)) > random + 1


@pytest.mark.parametrize("count", [1, 37, 400])
def test_suggestions_are_distinct_ascending_rows_and_the_same_every_time(count):
    _, vectors = islands()
    rows = suggest_prompts(vectors, count, seed=5)
    assert len(set(rows.tolist())) == count
    assert sorted(rows.tolist()) == rows.tolist()
    np.testing.assert_array_equal(rows, suggest_prompts(vectors, count, seed=5))


def test_repeated_prompts_are_suggested_too_when_there_are_not_enough_others():
    np.testing.assert_array_equal(suggest_prompts(np.ones((5, 16), np.float32), 5), np.arange(5))


@pytest.mark.parametrize("count", [0, 401])
def test_more_suggestions_than_prompts_are_refused(count):
    with pytest.raises(ConfigurationError, match="count: .* ask for 1 to 400"):
        suggest_prompts(islands()[1], count)


def test_the_command_writes_a_table_of_prompts_to_label(
    checkpoint, toy_outcomes, tmp_path, monkeypatch
):
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))
    lines = [
        f'{i},"{text}",test'
        for i, text in zip(toy_outcomes.prompt_ids, toy_outcomes.prompts, strict=True)
    ]
    (tmp_path / "p.csv").write_text("\n".join(["prompt_id,prompt,split", *lines]))
    command = ["suggest-prompts", "--router", str(checkpoint), "--prompts", str(tmp_path / "p.csv")]
    done = CliRunner().invoke(app, [*command, "--n", "10", "--out", str(tmp_path / "label.csv")])
    assert done.exit_code == 0, done.output
    assert "10 of 240 prompts to label" in done.stdout
    table = csv.read_csv(tmp_path / "label.csv").to_pylist()
    assert len(table) == 10
    assert {row["prompt"] for row in table} <= set(toy_outcomes.prompts)
    assert {"what" in row["prompt"] for row in table} == {True, False}

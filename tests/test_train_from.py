"""``routoo train --from``: one's own table sharpens a general router, and the catalogue is where it starts from."""

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

from routoo_core.abilities import describe_names
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.loading import load_predictor
from routoo_core.outcomes import read_tables
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.predictor.general_checkpoint import load_general, read_trained
from routoo_core.text import question_fingerprints
from routoo_core.training.general_labels import train_from_general
from routoo_integrations.cli import app

FAST = find_router("general-fast")
SUM = "What is {0} plus {1}, and is the result a prime number?"
POEM = "Write a short poem about the {0} of {1} winters."
THINGS = ("sea", "moon", "harbour", "garden", "mill")


@pytest.fixture
def tables(tmp_path):
    """Prompts of two kinds: "our-llm" is good at sums alone, "gpt-5-nano" at poems alone."""
    prompts = tmp_path / "p.csv"
    outcomes = tmp_path / "o.csv"
    with prompts.open("w") as prompt_file, outcomes.open("w") as outcome_file:
        prompt_rows = csv.writer(prompt_file)
        outcome_rows = csv.writer(outcome_file)
        prompt_rows.writerow(("prompt_id", "prompt", "split"))
        outcome_rows.writerow(("prompt_id", "model", "score", "completion_tokens"))
        for number in range(160):
            is_sum = number % 2 == 0
            thing = THINGS[number // 2 % len(THINGS)]
            text = SUM.format(number, 3 * number) if is_sum else POEM.format(thing, number)
            split = "dev" if number % 5 == 0 else "train"
            prompt_rows.writerow((number, text, split))
            outcome_rows.writerow((number, "our-llm", float(is_sum), 50))
            outcome_rows.writerow((number, "gpt-5-nano", float(not is_sum), 400))
    return prompts, outcomes


def read(tables):
    prompts, outcomes = tables
    return read_tables([prompts], [outcomes])


def test_experts_known_and_unknown_learn_what_they_are_good_at(tables, tmp_path):
    added = train_from_general(FAST, read(tables), tmp_path / "mine")
    assert [(expert.name, expert.labels, expert.auc) for expert in added] == [
        ("our-llm", 128, 1.0),
        ("gpt-5-nano", 128, 1.0),
    ]
    predictor = load_predictor(tmp_path / "mine", ["our-llm", "gpt-5-nano"])
    quality = predictor.predict([SUM.format(4, 9), POEM.format("pond", 3)])
    assert quality[0, 0] > 0.7 > 0.3 > quality[1, 0]
    assert quality[1, 1] > 0.7 > 0.4 > quality[0, 1]
    lengths = predictor.forecast([SUM.format(4, 9)]).lengths[0]
    assert lengths[1] > 4 * lengths[0]


def test_the_router_it_starts_from_and_other_experts_stay(tables, tmp_path):
    names = ["gpt-5.5", "claude-opus-5"]
    labels = load_general(FAST).labels
    before = load_general(FAST).bind(describe_names(names, labels)).predict([SUM.format(1, 2)])
    train_from_general(FAST, read(tables), tmp_path / "mine")
    for folder in (FAST, tmp_path / "mine"):
        after = load_predictor(folder, names).predict([SUM.format(1, 2)])
        np.testing.assert_array_equal(after, before)


def test_prompts_of_the_dev_split_are_not_learnt_from(tables, tmp_path):
    table = read(tables)
    train_from_general(FAST, table, tmp_path / "mine")
    trained = read_trained(tmp_path / "mine")
    fingerprints = question_fingerprints(table.prompts)
    is_dev = np.array([split == "dev" for split in table.splits])
    assert not np.isin(fingerprints[is_dev], trained).any()
    assert np.isin(fingerprints[~is_dev], trained).all()


def test_a_table_without_prompts_to_learn_from_is_refused(tables, tmp_path):
    table = read(tables)
    held_out = table.with_splits(["dev"] * len(table.prompts))
    with pytest.raises(OutcomesError, match="no prompt of the table is in the split 'train'"):
        train_from_general(FAST, held_out, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def command(tables, out, *more):
    prompts, outcomes = tables
    arguments = ["train", "--prompts", str(prompts), "--outcomes", str(outcomes), "--out", str(out)]
    return CliRunner().invoke(app, [*arguments, *more])


def test_the_command_says_what_was_learnt_and_how_to_use_it(tables, tmp_path):
    done = command(tables, tmp_path / "mine", "--from", "general-fast")
    assert done.exit_code == 0, done.output
    assert "our-llm" in done.output
    assert "in routoo.toml" in done.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--from", "zeroeval"), "is not a general router"),
        (("--from", "general-fast", "--preset", "knn"), "cannot be combined with --preset"),
    ],
)
def test_what_cannot_be_sharpened_is_refused(tables, tmp_path, more, message):
    done = command(tables, tmp_path / "mine", *more)
    assert isinstance(done.exception, ConfigurationError)
    assert message in str(done.exception)
    assert not (tmp_path / "mine").exists()

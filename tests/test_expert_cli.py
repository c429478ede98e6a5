"""A router on disk learns one more expert from a few labels."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from routoo_core.errors import ConfigurationError
from routoo_core.predictor.checkpoint import load_checkpoint
from routoo_core.predictor.reference import read_reference
from routoo_integrations.cli import app

SUM, GREETING = "what is 31 + 44 ?", "hello there, dear friend number 1234"


@pytest.fixture
def here(tmp_path, monkeypatch, toy_outcomes):
    """Forty labels of ``abacus``, which is good at sums like ``calculator``."""
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = [("prompt_id,prompt", "prompt_id,model,score")]
    for i in range(40):
        text = toy_outcomes.prompts[i].replace(",", "")
        rows.append((f"p{i},{text}", f"p{i},abacus,{int(toy_outcomes.domains[i] == 'sums')}"))
    for name, lines in zip(("p.csv", "o.csv"), zip(*rows, strict=True), strict=True):
        (tmp_path / name).write_text("\n".join(lines))
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def grow(checkpoint, name="abacus", *more):
    tables = ("--prompts", "p.csv", "--outcomes", "o.csv")
    return run(
        "add-expert", "--router", checkpoint, *tables, "--name", name, "--out", "grown", *more
    )


def test_a_router_learns_an_expert_from_forty_labels_and_keeps_the_others(checkpoint, here):
    assert "abacus learnt from 40 labels" in grow(checkpoint)
    before, after = load_checkpoint(checkpoint), load_checkpoint(here / "grown")
    assert after.experts == (*before.experts, "abacus")
    quality = after.predict([SUM, GREETING])
    np.testing.assert_allclose(quality[:, :2], before.predict([SUM, GREETING]), atol=1e-6)
    assert quality[0, 2] > 0.6 > 0.4 > quality[1, 2]
    assert after.fingerprint != before.fingerprint


def test_the_grown_router_says_what_it_learnt_from(checkpoint, here):
    learnt = json.loads(grow(checkpoint, "abacus", "--json"))
    assert (learnt["name"], learnt["labels"]) == ("abacus", 40)
    assert json.loads((here / "grown" / "metrics.json").read_text())["added_experts"] == [learnt]
    assert "abacus (added from 40 labels)" in (here / "grown" / "README.md").read_text()
    assert read_reference(here / "grown").experts == ("calculator", "talker")


def test_without_labels_the_prior_is_named_and_warned_of(checkpoint, here):
    with pytest.warns(UserWarning, match="label"):
        grow(checkpoint, "unheard-of", "--prior", "talker")
    quality = load_checkpoint(here / "grown").predict([SUM, GREETING])
    np.testing.assert_allclose(quality[:, 2], quality[:, 1], atol=0.05)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("talker", (), "--name: .* knows 'talker' already"),
        ("abacus", ("--prior", "nobody"), "--prior: 'nobody' is unknown"),
    ],
)
def test_a_name_that_does_not_fit_is_refused_and_nothing_written(
    checkpoint, here, name, more, message
):
    with pytest.raises(ConfigurationError, match=message):
        grow(checkpoint, name, *more)
    assert not (here / "grown").exists()

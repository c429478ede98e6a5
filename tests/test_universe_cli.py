"""``routoo universe``: a table of outcomes becomes the experts to have, with a bound and what is luck."""

import json

import numpy as np
import pytest
from pyarrow import csv
from typer.testing import CliRunner

from routoo_core.errors import OutcomesError
from routoo_core.expert_table import ExpertTable
from routoo_core.outcomes import Outcomes
from routoo_core.prompts import Prompts
from routoo_core.universe.construction import OBJECTIVES, Construction
from routoo_core.universe.observed import read_observed
from routoo_core.universe.routed import held_out_area
from routoo_integrations import cli
from routoo_integrations.cli import app

OUTCOMES = "prompt_id,model,score\n" + "".join(
    f"{p},{m},{s}\n"
    for p, m, s in [("a", "x", 1), ("b", "x", 0), ("b", "y", 1), ("a", "z", 1), ("c", "x", 0)]
)
PRICES = "model,input_usd_per_1m,output_usd_per_1m,pool\nx,4,4,all\ny,2,2,all\nz,1,1,all\nother,1,1,rest\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "o.csv").write_text(OUTCOMES)
    (tmp_path / "prices.csv").write_text(PRICES)
    return tmp_path


def run(*arguments):
    done = CliRunner().invoke(app, ["universe", "--outcomes", "o.csv", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_experts_are_chosen_and_written_with_what_each_brings(here):
    found = json.loads(run("--size", "2", "--out", "u.csv", "--plot", "coverage.png", "--json"))
    assert [row["model"] for row in found["chosen"]] == ["x", "y"]
    assert found["coverage"] == found["upper_bound"] == pytest.approx(2 / 3)
    assert csv.read_csv(here / "u.csv")["gain"].to_pylist() == pytest.approx([1 / 3, 1 / 3])
    assert (here / "coverage.png").read_bytes().startswith(b"\x89PNG")
    assert "upper bound" in run("--size", "2")


def test_prices_break_ties_and_a_pool_leaves_the_others_out(here):
    found = json.loads(run("--size", "1", "--price", "prices.csv", "--pool", "all", "--json"))
    assert found["chosen"][0]["model"] == "z"
    found = json.loads(run("--size", "2", "--must-have", "x", "--json"))
    assert [row["model"] for row in found["chosen"]] == ["x", "y"]


def test_only_the_prompts_given_count_and_their_choices_are_the_guess_rate(here):
    (here / "p.csv").write_text(
        'prompt_id,prompt\na,"Red?\nA. Blood\nB. Snow"\nb,"Blue?\nA. Sky\nB. Sun"\n'
    )
    found = json.loads(run("--size", "3", "--prompts", "p.csv", "--json"))
    assert (found["coverage"], found["guess_rate"]) == (1.0, "1 / choices")
    given = json.loads(run("--size", "1", "--prompts", "p.csv", "--guess-rate", "0", "--json"))
    assert given["without_luck"] == given["coverage"] == 0.5


def test_choices_in_a_column_are_the_guess_rate_too_and_nobody_right_is_no_fault(here):
    (here / "o.csv").write_text("prompt_id,model,score\na,x,0\nb,x,0\n")
    (here / "p.csv").write_text(
        'prompt_id,prompt,choices\na,Red?,"[""blood"", ""snow""]"\nb,Blue?,"[""sky"", ""sun""]"\n'
    )
    found = json.loads(run("--size", "3", "--prompts", "p.csv", "--plot", "c.png", "--json"))
    assert (found["chosen"], found["coverage"], found["guess_rate"]) == ([], 0.0, "1 / choices")


def test_graded_scores_keep_their_levels(here):
    (here / "o.csv").write_text("prompt_id,model,score\na,x,0.5\na,y,0.25\nb,y,0.75\n")
    found = json.loads(run("--size", "2", "--json"))
    assert [row["gain"] for row in found["chosen"]] == [0.5, 0.125]
    assert found["without_luck"] is None


def table(count=400, seed=0):
    """Sums and greetings: each is answered by a cheap specialist; the guessers cover what is left, by luck."""
    random = np.random.default_rng(seed)
    sums = np.arange(count) % 2 == 0
    able = np.stack(
        [np.where(sums, 0.85, 0.1), np.where(sums, 0.1, 0.85), *[np.full(count, 0.6)] * 3], axis=1
    )
    scores = (random.random(able.shape) < able).astype(np.float32)
    scores[random.random(able.shape) < 0.05] = np.nan
    domains = tuple("sums" if s else "talk" for s in sums)
    ids, splits = (
        tuple(f"p{i}" for i in range(count)),
        tuple("dev" if i % 5 == 0 else "train" for i in range(count)),
    )
    experts = ("adder", "talker", "guess1", "guess2", "guess3")
    prompts = Prompts(ids, tuple(f"text {i}" for i in ids), domains, splits)
    return Outcomes(prompts, ExpertTable(ids, experts, scores))


def write(folder, outcomes):
    rows = zip(
        outcomes.prompt_ids, outcomes.prompts, outcomes.domains, outcomes.splits, strict=True
    )
    (folder / "p.csv").write_text(
        "prompt_id,prompt,domain,split\n" + "".join(",".join(row) + "\n" for row in rows)
    )
    pairs = [
        f"{outcomes.prompt_ids[j]},{outcomes.experts[m]},{outcomes.scores[j, m]}\n"
        for j, m in np.argwhere(~np.isnan(outcomes.scores))
    ]
    (folder / "o.csv").write_text("prompt_id,model,score\n" + "".join(pairs))
    prices = zip(outcomes.experts, (1, 1, 3, 3, 3), strict=True)
    (folder / "prices.csv").write_text(
        "model,input_usd_per_1m,output_usd_per_1m\n"
        + "".join(f"{name},{usd},{usd}\n" for name, usd in prices)
    )


def test_routed_chooses_whom_a_router_can_use_and_is_measured_on_held_out_prompts(here):
    outcomes = table()
    write(here, outcomes)
    arguments = (
        "--prompts",
        "p.csv",
        "--price",
        "prices.csv",
        "--objective",
        "routed",
        "--size",
        "2",
        "--json",
    )
    found = json.loads(run(*arguments))
    assert {row["model"] for row in found["chosen"]} == {"adder", "talker"}
    assert found["held_out_area"] >= found["held_out_area_of_coverage"]
    assert found["held_out_area"] > 0.75
    forced = json.loads(run(*arguments, "--must-have", "guess3"))
    assert forced["chosen"][0]["model"] == "guess3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--must-have", "nobody"), "--must-have: no outcomes of 'nobody'"),
        (("--size", "0"), "--size: 0 is too few"),
        (("--plot", "c.png"), "--plot: the objective 'routed' draws nothing"),
        (("--guess-rate", "0.25"), "--guess-rate: the objective 'routed' has none"),
        (("--prompts", "plain.csv"), "the prompts have no 'domain' column"),
        (("--price", "few.csv"), "no price of 'guess3'"),
    ],
)
def test_what_routed_cannot_do_is_said(here, monkeypatch, capsys, arguments, message):
    write(here, table(40))
    (here / "plain.csv").write_text(
        "prompt_id,prompt,split\n" + "".join(f"p{i},text,train\n" for i in range(40))
    )
    (here / "few.csv").write_text(
        "".join((here / "prices.csv").read_text().splitlines(keepends=True)[:-1])
    )
    usual = {
        "--prompts": "p.csv",
        "--price": "prices.csv",
        "--size": "2",
        arguments[0]: arguments[1],
    }
    given = [one for pair in usual.items() for one in pair]
    monkeypatch.setattr(
        "sys.argv", ["routoo", "universe", "--outcomes", "o.csv", "--objective", "routed", *given]
    )
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_an_area_is_nothing_without_experts_and_grows_with_a_better_one():
    outcomes = table()
    train, dev = (outcomes.take(outcomes.rows(side)) for side in ("train", "dev"))
    prices = dict.fromkeys(outcomes.experts, 1.0)
    areas = [
        held_out_area(train, dev, prices, chosen)
        for chosen in ((), ("adder",), ("adder", "talker"))
    ]
    assert areas[0] == 0
    assert areas[0] < areas[1] < areas[2]


def test_a_table_is_the_same_from_csv_and_parquet_and_a_pair_given_twice_is_named(here):
    from pyarrow import parquet

    parquet.write_table(csv.read_csv("o.csv"), "o.parquet")
    (one, ids), (two, _) = read_observed(here / "o.csv"), read_observed(here / "o.parquet")
    np.testing.assert_array_equal(one.scores(), two.scores())
    assert ids == ("a", "b", "c")
    (here / "o.csv").write_text(OUTCOMES + "b,y,1\n")
    with pytest.raises(OutcomesError, match="'b' × 'y' was given before"):
        read_observed(here / "o.csv")


def test_an_objective_added_from_outside_is_chosen_by_its_name(here, monkeypatch):
    def most_observed(data, settings, progress):
        counts = data.observed.is_observed(range(len(data.observed.experts))).sum(axis=1)
        order = np.argsort(-counts, kind="stable")[: settings.size]
        experts = [data.observed.experts[row] for row in order]
        return Construction({"observations": int(counts.sum())}, {"model": experts})

    monkeypatch.setitem(OBJECTIVES, "most-observed", most_observed)
    found = json.loads(run("--size", "1", "--objective", "most-observed", "--json"))
    assert found == {"observations": 5, "chosen": [{"model": "x"}]}


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (OUTCOMES + "c,y,7\n", (), "row 6: score 7.0 is not a number from 0 to 1"),
        (OUTCOMES + "c,y,\n", (), "row 6: score nan is not"),
        ("prompt_id,model\na,x\n", (), "cannot be read"),
        (OUTCOMES, ("--objective", "cleverest"), "--objective: 'cleverest' is unknown"),
        (
            OUTCOMES,
            ("--objective", "routed"),
            "--objective: 'routed' needs a table of prompts with a 'domain' column",
        ),
        (OUTCOMES, ("--out", "u.xlsx"), "u.xlsx ends in"),
        (OUTCOMES, ("--plot", "u.svg"), "--plot: u.svg must end in .png"),
        (OUTCOMES, ("--guess-rate", "1"), "--guess-rate: 1.0 is not"),
        (
            OUTCOMES,
            ("--price", "prices.csv", "--pool", "rest"),
            "no outcome of any expert with a price",
        ),
        (OUTCOMES, ("--must-have", "nobody"), "--must-have: no outcomes of 'nobody'"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    here, monkeypatch, capsys, change, arguments, message
):
    (here / "o.csv").write_text(change)
    given = [
        "routoo",
        "universe",
        "--outcomes",
        "o.csv",
        "--size",
        "2",
        "--out",
        "chosen.csv",
        *arguments,
    ]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (here / "chosen.csv").exists()

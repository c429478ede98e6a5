"""``routoo calibrate`` turns one number of a policy until a target is met."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from routoo_core import RoutedRequest, Router
from routoo_core.assignment.quality_table import write_predicted_quality
from routoo_core.assignment.target import TUNABLE_POLICIES
from routoo_core.config import make_policy
from routoo_core.expert_table import ExpertTable
from routoo_integrations import cli
from routoo_integrations.cli import app

COST = np.array([1.0, 4.0, 20.0])  # USD a call


@pytest.fixture
def quality():
    random = np.random.default_rng(0)
    ease = random.random((800, 1))
    return np.clip(
        ease * 0.5 + np.array([0.1, 0.25, 0.4]) + random.normal(size=(800, 3)) * 0.05, 0, 1
    )


@pytest.fixture
def here(tmp_path, monkeypatch, quality):
    monkeypatch.chdir(tmp_path)
    prompt_ids = tuple(f"p{i}" for i in range(800))
    table = ExpertTable(prompt_ids, ("small", "middle", "large"), quality)
    write_predicted_quality(tmp_path / "s.csv", table)
    rows = zip(("small", "middle", "large"), (1000, 4000, 20000), strict=True)
    (tmp_path / "p.csv").write_text(
        "model,input_usd_per_1m,output_usd_per_1m\n"
        + "".join(f"{name},{price},{price}\n" for name, price in rows)
    )
    return tmp_path


def invoke(arguments):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done


def run(*arguments):
    return invoke(["calibrate", "--scores", "s.csv", "--prices", "p.csv", *arguments]).stdout


def served(found, quality):
    """Mean quality, mean cost and shares of the very policy a router would build from the answer."""
    field = TUNABLE_POLICIES[found["policy"]].field
    policy = make_policy({"name": found["policy"], field: found[field]})
    chosen = policy(quality, np.broadcast_to(COST, quality.shape)).argmax(1)
    return (
        quality[np.arange(800), chosen].mean(),
        COST[chosen].mean(),
        np.bincount(chosen, minlength=3) / 800,
    )


@pytest.mark.parametrize("policy", TUNABLE_POLICIES)
@pytest.mark.parametrize(
    ("target", "value"),
    [("--target-cost", "5"), ("--target-quality", "0.6"), ("--target-share", "large=0.3")],
)
def test_the_number_found_meets_the_target_when_it_is_served(here, quality, policy, target, value):
    found = json.loads(run("--policy", policy, target, value, "--json"))
    mean, cost, shares = served(found, quality)
    assert (found["mean_quality"], found["mean_cost_usd"]) == (
        pytest.approx(mean, abs=1e-6),
        pytest.approx(cost),
    )
    assert found["met"]
    if target == "--target-cost":
        assert cost <= 5
        assert cost > 4  # and does not leave it unspent
    elif target == "--target-quality":
        assert 0.6 <= mean < 0.61
    else:
        assert shares[2] == pytest.approx(0.3, abs=0.01)


def test_it_prints_a_line_for_routoo_toml_and_what_to_expect(here):
    text = run("--target-cost", "5")
    assert 'policy = { name = "lagrangian", lambda = ' in text
    assert "expect a mean quality of" in text
    assert "%  middle" in text


def test_a_target_out_of_reach_gives_the_nearest_and_says_so(here):
    found = json.loads(run("--target-quality", "0.999", "--json"))
    assert not found["met"]
    assert found["mean_quality"] == max(
        json.loads(run("--target-cost", "999", "--json"))["mean_quality"], found["mean_quality"]
    )


def test_a_router_and_prompts_give_what_their_predictions_written_as_a_table_give(here, checkpoint):
    rows = [f"a{i},what is {i} + 7 ?" for i in range(20)] + [
        f"b{i},hello there dear friend number {i}" for i in range(9)
    ]
    (here / "prompts.csv").write_text("prompt_id,prompt\n" + "\n".join(rows) + "\n")
    (here / "toy.csv").write_text(
        "model,input_usd_per_1m,output_usd_per_1m\ncalculator,2000,2000\ntalker,1000,1000\n"
    )
    asked = ["--router", str(checkpoint), "--prompts", "prompts.csv"]
    invoke(["predict", *asked, "--out", "predicted.csv"])
    rest = ["--prices", "toy.csv", "--target-cost", "1.8", "--cost", "paper", "--json"]
    direct, table = (
        invoke(["calibrate", *given, *rest]) for given in (asked, ["--scores", "predicted.csv"])
    )
    found, expected = (json.loads(done.stdout) for done in (direct, table))
    assert found["shares"] == expected["shares"] == {"calculator": 20 / 29, "talker": 9 / 29}
    assert found["mean_quality"] == pytest.approx(expected["mean_quality"], rel=1e-3)
    assert "Predicting" in direct.stderr


EXPERTS = """
[experts.calculator]
model = "calculator"
base_url = "http://127.0.0.1:9/v1"
input_usd_per_1m = 2
output_usd_per_1m = 30

[experts.talker]
model = "talker"
base_url = "http://127.0.0.1:9/v1"
input_usd_per_1m = 1
output_usd_per_1m = 3
expected_output_tokens = 120
context_window = 4000
max_output_tokens = 1000
"""


def prompts_of_two_kinds(random):
    """Sums, greetings, and greetings that are too long for the talker."""
    texts = []
    for _ in range(60):
        texts.append(f"what is {random.integers(100)} + {random.integers(100)} ?")
        texts.append("hello there " + "dear friend " * random.integers(1, 60))
    for _ in range(6):
        texts.append("hello there " + "dear friend " * 2500)
    return texts


@pytest.mark.parametrize("policy", TUNABLE_POLICIES)
@pytest.mark.parametrize("share", [0.25, 0.6])
def test_the_live_router_then_does_what_was_expected(here, checkpoint, policy, share):
    texts = prompts_of_two_kinds(np.random.default_rng(1))
    rows = [f"{number},{text}" for number, text in enumerate(texts)]
    (here / "prompts.csv").write_text("prompt_id,prompt\n" + "\n".join(rows) + "\n")
    (here / "experts.toml").write_text(EXPERTS)
    told = invoke(
        [
            *("calibrate", "--router", str(checkpoint), "--prompts", "prompts.csv"),
            *("--prices", "experts.toml", "--policy", policy, "--max-tokens", "500"),
            *("--target-share", f"calculator={share}"),
        ]
    ).stdout
    line = told.splitlines()[0]
    expected = json.loads(
        invoke(
            [
                *("calibrate", "--router", str(checkpoint), "--prompts", "prompts.csv"),
                *("--prices", "experts.toml", "--policy", policy, "--max-tokens", "500"),
                *("--target-share", f"calculator={share}", "--json"),
            ]
        ).stdout
    )
    (here / "routoo.toml").write_text(f'router = "{checkpoint}"\n{line}\n[budget]\nlimit = "9"\n')
    router = Router.from_toml(here / "routoo.toml", ledger="memory://")
    chosen = []
    usd = []
    for text in texts:
        first = router.decide(RoutedRequest.from_text(text, max_tokens=500)).candidates[0]
        chosen.append(first.expert.name)
        usd.append(first.expected_cost / 1e9)
    for name in ("calculator", "talker"):
        live_share = chosen.count(name) / len(texts)
        assert live_share == pytest.approx(expected["shares"].get(name, 0.0), abs=0.02)
    assert np.mean(usd) == pytest.approx(expected["mean_cost_usd"], rel=0.03)


@pytest.mark.parametrize(
    "given", [(), ("scores", "router", "prompts"), ("scores", "prompts"), ("router",), ("prompts",)]
)
def test_predictions_come_from_a_table_or_from_a_router_and_prompts(
    here, monkeypatch, capsys, given
):
    arguments = [word for name in given for word in (f"--{name}", "s.csv")]
    monkeypatch.setattr(
        "sys.argv", ["routoo", "calibrate", "--prices", "p.csv", "--target-cost", "1", *arguments]
    )
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "pass either --scores, or --router and --prompts" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "pass exactly one of --target-cost"),
        (("--target-cost", "1", "--target-quality", "0.5"), "pass exactly one of --target-cost"),
        (
            ("--target-share", "huge=0.3"),
            "'huge=0.3' is not EXPERT=0.3 for one of small, middle, large",
        ),
        (("--target-share", "large=lots"), "is not EXPERT=0.3"),
        (("--target-cost", "1", "--policy", "best"), "'best' has no parameter to calibrate"),
    ],
)
def test_what_is_wrong_is_named(here, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(
        "sys.argv", ["routoo", "calibrate", "--scores", "s.csv", "--prices", "p.csv", *arguments]
    )
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())

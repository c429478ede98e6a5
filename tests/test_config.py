"""routoo.toml builds a router, or says by file and field what is wrong before anything is called."""

import pytest

from routoo_core import Router, Usage
from routoo_core.budget.goals import MatchBest
from routoo_core.config import make_policy, open_ledger
from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.request import RoutedRequest
from routoo_core.selector import Best, Ratio

EXPERTS = """
[experts.calculator]
model = "calc"
base_url = "http://127.0.0.1:9/v1"
input_usd_per_1m = 1
output_usd_per_1m = 1
[experts.chatty]
model = "talk"
router_name = "talker"
base_url = "http://127.0.0.1:9/v1"
input_usd_per_1m = 2
output_usd_per_1m = 2
"""


@pytest.fixture
def write(tmp_path, checkpoint):
    """Write both files; returns the path of routoo.toml."""

    def write(top="", budget='limit = "0.01"', experts=EXPERTS):
        (tmp_path / "experts.toml").write_text(experts)
        router = "" if "router =" in top else f'router = "{checkpoint}"\n'
        (tmp_path / "routoo.toml").write_text(f"{router}{top}\n[budget]\n{budget}\n")
        return tmp_path / "routoo.toml"

    return write


def test_a_router_is_built_whole_from_its_file(write, tmp_path):
    router = Router.from_toml(write())
    assert router.policy.parameters() == MatchBest(0.98).parameters()
    decision = router.decide(RoutedRequest.from_text("what is 31 + 44 ?"))
    assert decision.candidates[0].expert.name == "calculator"
    for attempt in router.attempts(RoutedRequest.from_text("what is 31 + 44 ?")):
        with attempt:
            attempt.settle(Usage(10, 10))
    assert (tmp_path / "routoo.db").is_file()


@pytest.mark.parametrize(
    ("top", "budget", "message"),
    [
        ("colour = 1", "", r"routoo.toml: colour: unknown key"),
        ("strict = 3", "", r"routoo.toml: strict"),
        ("", 'limit = "lots"', r"routoo.toml: budget: limit"),
        ("", 'period = "week"', r"routoo.toml: budget: period"),
        (
            "",
            'limit = "1"\n[budget.within]\naccount = "team"\nlimit = "lots"',
            r"routoo.toml: budget: within: .*limit",
        ),
        ("", 'limit = "1"\n[budget.within]\naccount = "default"', r"cannot be part of itself"),
        ("", "expected_calls = 0", r"routoo.toml: budget: expected_calls"),
        (
            "",
            'ledger = "oracle://x"',
            r"budget.ledger: 'oracle://x' is unknown; use memory://, sqlite://",
        ),
        ('policy = "paced"', "", "budget.limit: the paced policy"),
        (
            'policy = { name = "paced", tie = 2 }',
            'limit = "1"',
            "tie: 2 is not a number between 0 and 1",
        ),
        (
            'policy = "lucky"',
            'limit = "1"',
            "policy: 'lucky' is unknown; choose one of paced, match_best",
        ),
        ('policy = { name = "ratio", beta = 1 }', 'limit = "1"', "policy: ratio: .*'beta'"),
        ('policy = { name = "ratio", alpha = -1 }', 'limit = "1"', "alpha: -1"),
        ('on_exhausted = "nobody"', 'limit = "1"', "expert 'nobody' is not in the pool"),
        ('experts = "other.toml"', 'limit = "1"', "other.toml: cannot be read"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(write, top, budget, message):
    with pytest.raises(ConfigurationError, match=message):
        Router.from_toml(write(top, budget))


def test_accounts_nest_as_tables_do(write):
    inner = 'account = "ann"\nlimit = "1"\n[budget.within]\naccount = "team"\nlimit = "20"\nperiod = "month"'
    chain = Router.from_toml(write("", inner)).budget.chain
    assert [(one.account, one.period, str(one.limit)) for one in chain] == [
        ("ann", "day", "1"),
        ("team", "month", "20"),
    ]


def test_a_router_that_is_not_there_is_named(write):
    with pytest.raises(CheckpointError, match="'nowhere' is neither a folder nor a shipped router"):
        Router.from_toml(write('router = "nowhere"'))


def test_a_missing_router_key_is_named(tmp_path):
    (tmp_path / "routoo.toml").write_text('experts = "experts.toml"')
    with pytest.raises(ConfigurationError, match="routoo.toml: router: missing; add this key"):
        Router.from_toml(tmp_path / "routoo.toml")


def test_policies_are_made_from_names_tables_and_callables():
    assert make_policy("best") == Best()
    assert make_policy({"name": "ratio", "alpha": 1.0}) == Ratio(1.0)
    assert make_policy(min) is min


def test_ledger_paths_start_from_the_files_folder_unless_absolute(tmp_path):
    open_ledger("sqlite:///relative.db", tmp_path).close()
    open_ledger(f"sqlite:///{tmp_path}/absolute.db").close()
    assert {path.name for path in tmp_path.glob("*.db")} == {"relative.db", "absolute.db"}

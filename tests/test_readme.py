"""The README is true: its configuration is valid, its examples run as printed, its table is the router's."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from routoo_core import Pool
from routoo_core.config import read_config
from routoo_core.errors import InvalidRequest
from routoo_core.loading import is_general, load_predictor
from routoo_core.predictor.checkpoint import ROUTERS, find_router
from routoo_core.testing import Reply
from routoo_integrations.langchain import RoutooChatModel

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_the_configuration_shown_is_valid_and_fits_the_shipped_router(tmp_path):
    routoo, experts = blocks("toml")
    (tmp_path / "routoo.toml").write_text(routoo)
    (tmp_path / "experts.toml").write_text(experts)
    config = read_config(tmp_path / "routoo.toml")
    pool = Pool.from_toml(tmp_path / config.experts)
    predictor = load_predictor(find_router(config.router), pool)
    assert predictor.experts == ("gpt-5-mini", "claude-opus-4-8", "our-llm")


@pytest.mark.parametrize("page", ["README.md", "docs/budgets.md"])
def test_a_newcomers_wish_takes_fifteen_lines(page, endpoint, checkpoint, tmp_path):
    """The same quality, cheaper, at most $50 a month for the team and $2 a day for the intern."""
    recipe = re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)[0]
    assert len(recipe.splitlines()) <= 15
    experts = "".join(
        f'[experts.{name}]\nmodel = "{name}"\nbase_url = "{endpoint.base_url}"\n'
        f"input_usd_per_1m = {price}\noutput_usd_per_1m = {price}\n"
        for name, price in (("calculator", 1), ("talker", 2))
    )
    (tmp_path / "experts.toml").write_text(experts)
    recipe = re.sub(r'router = "[^"]+"', f'router = "{checkpoint}"', recipe)
    (tmp_path / "routoo.toml").write_text(recipe)
    model = RoutooChatModel.from_toml(tmp_path / "routoo.toml", max_tokens=20)
    record = model.invoke("what is 31 + 44 ?", routoo_account="intern").response_metadata["routoo"]
    assert record["account"] == "intern"
    assert record["policy"] == {"name": "match_best", "quality": 0.98}
    limits = {}
    for state in model.router.ledger.accounts():
        limits[state.account] = (state.limit, state.calls)
    assert limits == {"team": (50 * 10**9, 1), "intern": (2 * 10**9, 1)}
    with pytest.raises(InvalidRequest, match="did you mean 'intern'"):
        model.invoke("what is 31 + 44 ?", routoo_account="interm")


def test_every_setting_that_the_page_about_budgets_shows_is_one(tmp_path):
    page = (ROOT / "docs" / "budgets.md").read_text(encoding="utf-8")
    _, one_account, others = re.findall(r"```toml\n(.*?)```", page, re.S)
    path = tmp_path / "routoo.toml"
    path.write_text(f'router = "general-fast"\n{others}\n{one_account}')
    config = read_config(path)
    budget = config.read_budget(path)
    assert (budget.limit, budget.held_share, config.alerts.at) == (5, 0.25, (0.5, 0.8, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("python"), ids=["LangChain", "LlamaIndex"])
def test_an_example_runs_as_printed(block, endpoint, checkpoint, tmp_path):
    """In a folder with the README's kind of files, over an endpoint on loopback and a small router."""
    experts = "".join(
        f'[experts.{name}]\nmodel = "{name}"\nbase_url = "{endpoint.base_url}"\ncontext_window = 8192\n'
        f"input_usd_per_1m = {price}\noutput_usd_per_1m = {price}\n"
        for name, price in (("calculator", 1), ("talker", 2))
    )
    endpoint.replies = {name: Reply("No, it is 7 times 13.") for name in ("calculator", "talker")}
    (tmp_path / "experts.toml").write_text(experts)
    (tmp_path / "routoo.toml").write_text(
        re.sub(r'router = "[^"]*"', f'router = "{checkpoint}"', blocks("toml")[0])
    )
    (tmp_path / "example.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "No, it is 7 times 13." in done.stdout
    assert "calculator" in done.stdout or "talker" in done.stdout
    assert len(endpoint.requests) == 2


def test_the_figures_of_the_default_router_are_those_of_the_results_page():
    """Each row's area, half and match, without their intervals."""
    rows = [line for line in README.splitlines() if "**0." in line and "[0." in line]
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    curve = page[page.index("<!-- curve -->") : page.index("<!-- end -->")]
    measured = [line.split("|")[3:8] for line in curve.splitlines() if "[0." in line]
    assert len(rows) == len(measured) == 6
    for row, (area, half, _, match, _) in zip(rows, measured, strict=True):
        assert f"**{area.split()[0]}** {area.strip().partition(' ')[2]}" in row
        assert row.endswith(f"| {half.split()[0]} | {match.split()[0]} |")


NARROW = sorted(
    path.parent.name for path in ROUTERS.glob("*/config.json") if not is_general(path.parent)
)


@pytest.mark.parametrize("name", NARROW)
def test_every_shipped_router_is_listed_with_its_figures(name):
    metrics = json.loads((find_router(name) / "metrics.json").read_text())
    (row,) = [line for line in README.splitlines() if line.startswith(f"| `{name}` |")]
    routers = metrics["pool"]["routers"]
    assert f"| {metrics['experts']} |" in row
    assert f"| **{routers['routoo']['area']:.3f}** | {routers['routoo']['half']:.3f} |" in row
    assert all(
        f"| {routers[other]['area']:.3f} |" in row
        for other in ("zero router", "domain lookup", "kNN", "printed head")
    )


def test_every_file_the_readme_points_to_is_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_command_the_readme_shows_exists():
    from typer.testing import CliRunner

    from routoo_integrations.cli import app

    for command in re.findall(
        r"routoo ((?:budget |data |catalogue )?[a-z-]+)[ \n]", "\n".join(blocks("console"))
    ):
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0, command

"""The README is true: its configuration is valid, its examples run as printed, its table is the router's."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from gateway_parts import make_router

from routoo_core import Pool
from routoo_core.config import read_config
from routoo_core.errors import InvalidRequest
from routoo_core.loading import is_general, load_predictor
from routoo_core.predictor.checkpoint import ROUTERS, find_router
from routoo_core.testing import Reply
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import DEFAULT_PORT, GatewayServer
from routoo_integrations.langchain import RoutooChatModel

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
ROUTERS_PAGE = (ROOT / "docs" / "routers.md").read_text(encoding="utf-8")
TEXTS = {"README": README, "quickstart": QUICKSTART}


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 130


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (README, ("gpt-5-mini", "our-llm")),
        (QUICKSTART, ("gpt-5-mini", "claude-opus-4-8", "our-llm")),
    ],
    ids=TEXTS,
)
def test_the_configuration_shown_is_valid_and_fits_the_shipped_router(text, names, tmp_path):
    experts, routoo = sorted(blocks("toml", text))  # "[experts" comes before "router"
    (tmp_path / "routoo.toml").write_text(routoo)
    (tmp_path / "experts.toml").write_text(experts)
    config = read_config(tmp_path / "routoo.toml")
    pool = Pool.from_toml(tmp_path / config.experts)
    predictor = load_predictor(find_router(config.router), pool)
    assert predictor.experts == names


def is_recipe(block):
    return "[budgets.intern]" in block and "router =" in block


@pytest.mark.parametrize(
    "page", ["README.md", "docs/quickstart.md", "docs/guides/team_budget.md", "docs/budgets.md"]
)
def test_a_newcomers_wish_takes_fifteen_lines(page, endpoint, checkpoint, tmp_path):
    """The same quality, cheaper, at most $50 a month for the team and $2 a day for the intern."""
    recipe = max(blocks("toml", (ROOT / page).read_text(encoding="utf-8")), key=is_recipe)
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
@pytest.mark.parametrize(
    ("text", "block"),
    [(text, block) for text in TEXTS.values() for block in blocks("python", text)],
    ids=[f"{name}-{framework}" for name in TEXTS for framework in ("LangChain", "LlamaIndex")],
)
def test_an_example_runs_as_printed(text, block, endpoint, checkpoint, tmp_path):
    """In a folder with the README's kind of files, over an endpoint on loopback and a small router."""
    experts = "".join(
        f'[experts.{name}]\nmodel = "{name}"\nbase_url = "{endpoint.base_url}"\ncontext_window = 8192\n'
        f"input_usd_per_1m = {price}\noutput_usd_per_1m = {price}\n"
        for name, price in (("calculator", 1), ("talker", 2))
    )
    endpoint.replies = {name: Reply("No, it is 7 times 13.") for name in ("calculator", "talker")}
    (tmp_path / "experts.toml").write_text(experts)
    (tmp_path / "routoo.toml").write_text(
        re.sub(
            r'router = "[^"]*"',
            f'router = "{checkpoint}"',
            max(blocks("toml", text), key=is_recipe),
        )
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
    rows = [line for line in ROUTERS_PAGE.splitlines() if "**0." in line and "[0." in line]
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    curve = page[page.index("<!-- curve -->") : page.index("<!-- end -->")]
    measured = [line.split("|")[3:8] for line in curve.splitlines() if "[0." in line]
    assert len(rows) == len(measured) == 6
    for row, (area, half, _, match, _) in zip(rows, measured, strict=True):
        assert f"**{area.split()[0]}** {area.strip().partition(' ')[2]}" in row
        assert row.endswith(f"| {half.split()[0]} | {match.split()[0]} |")


def test_the_savings_of_the_readme_are_those_of_the_routers_page():
    """At half the best expert's cost, and the cost of its quality, in percent."""
    rows = {}
    for line in ROUTERS_PAGE.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if "**0." in line and "[0." in line:
            rows[cells[1]] = [
                f"{100 * float(cell):.1f} %" for cell in cells[7:9] if cell != "never"
            ]
    saved = README[README.index("## What you save") : README.index("## What it guarantees")]
    shown = [line.split("|")[1:-1] for line in saved.splitlines() if line.startswith("| MMLU")]
    assert len(shown) == 3
    for pool, half, match in shown:
        assert rows[pool.strip()] == [half.strip(), match.strip()]


def test_the_curl_call_is_answered_by_the_gateway(endpoint):
    endpoint.replies.update({name: Reply("No, it is 7 times 13.") for name in ("cheap", "dear")})
    (command,) = blocks("bash")
    with GatewayServer(Gateway(make_router(endpoint)), port=0) as server:
        command = command.replace(f"http://127.0.0.1:{DEFAULT_PORT}", server.address)
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60
        )
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "No, it is 7 times 13."


NARROW = sorted(
    path.parent.name for path in ROUTERS.glob("*/config.json") if not is_general(path.parent)
)


@pytest.mark.parametrize("name", NARROW)
def test_every_shipped_router_is_listed_with_its_figures(name):
    metrics = json.loads((find_router(name) / "metrics.json").read_text())
    (row,) = [line for line in ROUTERS_PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    routers = metrics["pool"]["routers"]
    assert f"| {metrics['experts']} |" in row
    assert f"| **{routers['routoo']['area']:.3f}** | {routers['routoo']['half']:.3f} |" in row
    assert all(
        f"| {routers[other]['area']:.3f} |" in row
        for other in ("zero router", "domain lookup", "kNN", "printed head")
    )


def test_every_file_the_readme_points_to_is_there():
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / target).exists(), target

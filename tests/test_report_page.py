"""The report's page, as a browser shows it: wide and narrow, light and dark. Needs Chromium and its driver."""

import shutil

import pytest
from toy_tables import write_toy_tables
from typer.testing import CliRunner

from routoo_integrations.cli import app

SIZED = "model,input_usd_per_1m,output_usd_per_1m,billions_of_parameters\ncalculator,1,3,70\ntalker,1,1,\n"
VIEWS = [(width, scheme) for width in (1400, 390) for scheme in ("light", "dark")]
pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no browser: apt-get install chromium chromium-driver",
)


@pytest.fixture(scope="module")
def page(checkpoint, toy_outcomes, tmp_path_factory):
    """A report with everything in it: two routers, sizes, other words."""
    folder = tmp_path_factory.mktemp("page")
    table = write_toy_tables(folder, toy_outcomes)
    (folder / "prices.csv").write_text(SIZED)
    twin = shutil.copytree(checkpoint, folder / "twin")
    options = [
        "--router",
        str(checkpoint),
        "--router",
        str(twin),
        "--stress",
        "4",
        "--title",
        "Sums & talk",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROUTOO_CACHE", str(folder / "cache"))
        CliRunner().invoke(
            app,
            ["evaluate", *options, *table, "--out", str(folder / "report")],
            catch_exceptions=False,
        )
    return (folder / "report" / "index.html").as_uri()


@pytest.fixture(params=VIEWS, ids=lambda view: f"{view[0]} px, {view[1]}")
def opened(request, browser, page):
    """The page in one view."""
    width, scheme = request.param
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    preferred = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preferred]})
    browser.get(page)
    return browser


def test_nobody_is_shut_out(opened):
    """axe's rules, among them contrast and names of figures and tables."""
    from axe_core_python.selenium import Axe

    violations = Axe().run(opened)["violations"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations] == []


def test_nothing_is_wider_than_the_screen_but_tables_that_scroll(opened):
    assert opened.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    cut = """return [...document.querySelectorAll('.scroll, p, li, h1, h2, figcaption')]
        .filter(element => element.getBoundingClientRect().right > innerWidth + 1).map(element => element.outerHTML)"""
    assert opened.execute_script(cut) == []


def test_the_ground_follows_the_readers_preference(opened, request):
    dark = opened.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    ground = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")


def test_the_page_asks_nobody_for_anything_and_complains_of_nothing(browser, page):
    browser.get_log("performance")
    browser.get(page)
    sent = [
        entry["message"]
        for entry in browser.get_log("performance")
        if "Network.requestWillBeSent" in entry["message"]
    ]
    assert all("file:" in message for message in sent)
    assert browser.get_log("browser") == []


def test_tables_and_figures_are_there_without_a_script(browser, page):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert browser.title == "Sums & talk"
    for what, least in (("table", 7), ("figure svg", 5)):
        found = browser.find_elements("css selector", what)
        assert len(found) == least
        assert all(one.is_displayed() for one in found)

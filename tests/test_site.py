"""The site builds without a warning and a network, and reads well in a browser: wide and narrow, light and dark."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ("index", "quickstart", "routing", "policies", "guides/company")
VIEWS = [(width, scheme) for width in (1400, 390) for scheme in ("light", "dark")]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
needs_browser = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no browser: apt-get install chromium chromium-driver",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site; a dead link or a name that cannot be documented fails the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_pages_load_nothing_from_elsewhere(site):
    loaded = r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=\"https?://[^\"]*\""
    for path in site.rglob("*.html"):
        assert not re.findall(loaded, path.read_text(encoding="utf-8")), path
    for path in site.rglob("*.css"):
        assert "url(http" not in path.read_text(encoding="utf-8"), path


def test_the_references_are_generated(site):
    commands = (site / "commands.html").read_text(encoding="utf-8")
    for words in ("routoo budget set", "routoo key create", "--router", "routoo data collect"):
        assert words in commands
    core = (site / "api_core.html").read_text(encoding="utf-8")
    for name in ("routoo_core.router.Router.decide", "routoo_core.experts.Pool", "Raises"):
        assert name in core


@needs_browser
@pytest.mark.parametrize(
    ("width", "scheme"), VIEWS, ids=[f"{width} px, {scheme}" for width, scheme in VIEWS]
)
def test_nobody_is_shut_out_and_nothing_is_wider_than_the_screen(site, browser, width, scheme):
    from axe_core_python.selenium import Axe

    browser.set_script_timeout(120)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    preferred = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preferred]})
    browser.get((site / "index.html").as_uri())
    browser.execute_script("localStorage.clear()")  # where the theme keeps an earlier choice
    for page in PAGES:
        browser.get((site / f"{page}.html").as_uri())
        ground = browser.execute_script("return document.body.dataset.mdColorScheme")
        assert ground == {"light": "default", "dark": "slate"}[scheme]
        violations = Axe().run(browser)["violations"]
        shown = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations]
        assert shown == [], page
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")

"""The gateway's page in a real browser: wide and narrow, light and dark, live. Needs Chromium and its driver."""

import shutil

import pytest
from gateway_parts import HELLO, make_router, post
from waiting import wait_until

from routoo_core import Budget
from routoo_core.selector import Lagrangian
from routoo_core.testing import Reply
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.key_file import KeyFile
from routoo_integrations.gateway.keys import KeyStore, KeyTerms
from routoo_integrations.gateway.server import GatewayServer

BODY = {"model": "routoo", "messages": HELLO}
VIEWS = [(width, scheme) for width in (1400, 390) for scheme in ("light", "dark")]

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no browser: apt-get install chromium chromium-driver",
)


@pytest.fixture
def router(endpoint):
    return make_router(
        endpoint, budget=Budget(account="team", limit="0.10"), policy=Lagrangian(5.0)
    )


@pytest.fixture
def server(router, endpoint, tmp_path):
    keys = KeyStore(KeyFile(tmp_path / "keys.db"))
    with GatewayServer(Gateway(router, keys), port=0) as running:
        running.keys = keys
        running.alice = keys.create("alice", KeyTerms(limit="0.05"))
        running.ops = keys.create("ops", KeyTerms(is_admin=True))
        call(running)
        endpoint.replies["dear"] = Reply(status=500)
        call(running)
        refuse(running)
        yield running
    keys.close()


def call(server):
    assert post(server, BODY, headers={"Authorization": f"Bearer {server.alice}"}).is_success


def refuse(server):
    """A call that no window takes."""
    body = {**BODY, "messages": [{"role": "user", "content": "word " * 9000}]}
    reply = post(server, body, headers={"Authorization": f"Bearer {server.alice}"})
    assert reply.status_code == 400


def show(browser, width, scheme):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    preferred = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preferred]})


def sign_in(browser, server, key):
    """By keyboard alone: the field has the focus."""
    browser.delete_all_cookies()
    browser.get(f"{server.address}/")
    # The page is loaded before the browser gives the field its focus.
    wait_until(lambda: browser.switch_to.active_element.get_attribute("id") == "key")
    browser.switch_to.active_element.send_keys(key + "\n")
    wait_until(lambda: browser.find_elements("css selector", "#accounts table"))


def violations(browser):
    from axe_core_python.selenium import Axe

    found = Axe().run(browser)["violations"]
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found]


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_nobody_is_shut_out_and_nothing_is_cut_off(browser, server, width, scheme):
    show(browser, width, scheme)
    browser.delete_all_cookies()
    browser.get(f"{server.address}/")
    assert violations(browser) == []
    sign_in(browser, server, server.ops)
    browser.execute_script("document.querySelector('details').open = true")
    assert violations(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(13, 17, 23)" if scheme == "dark" else "rgb(255, 255, 255)")


def test_the_page_follows_the_calls_and_leaves_open_what_is_open(browser, server):
    show(browser, 1400, "light")
    sign_in(browser, server, server.alice)
    browser.get_log("browser")
    first = browser.find_element("css selector", "summary")
    first.send_keys("\n")
    opened = browser.find_element("css selector", "details[open]").get_attribute("id")
    call(server)
    wait_until(lambda: len(browser.find_elements("css selector", "details")) == 3)
    assert browser.find_element("css selector", "details[open]").get_attribute("id") == opened
    assert browser.switch_to.active_element.get_attribute("id") == opened.replace("call", "summary")
    assert browser.get_log("browser") == []  # the policy for scripts and styles is kept to


def test_refused_calls_come_live(browser, server):
    show(browser, 1400, "dark")
    sign_in(browser, server, server.alice)
    rows = "#refusals tbody tr"
    assert len(browser.find_elements("css selector", rows)) == 1
    refuse(server)
    wait_until(lambda: len(browser.find_elements("css selector", rows)) == 2)
    assert "No expert's window takes the prompt." in browser.find_element("id", "refusals").text


def test_the_drawings_of_many_accounts_unfold_by_keyboard_and_stay_so(browser, server):
    named = [server.keys.create(f"user{number}", KeyTerms()) for number in range(5)]
    for key in named * 2:
        assert post(server, BODY, headers={"Authorization": f"Bearer {key}"}).is_success
    show(browser, 390, "light")
    sign_in(browser, server, server.ops)
    more = browser.find_element("id", "more-lambdas")
    assert len(browser.find_elements("css selector", "#accounts > figure")) == 4
    browser.find_element("id", "summary-more-lambdas").send_keys("\n")
    assert more.find_element("css selector", "figure svg").is_displayed()
    assert violations(browser) == []
    call(server)
    wait_until(lambda: len(browser.find_elements("css selector", "#decisions details")) == 13)
    assert browser.find_elements("css selector", "#more-lambdas[open]")


def test_a_limit_is_changed_by_keyboard(browser, server):
    show(browser, 1400, "light")
    sign_in(browser, server, server.ops)
    field = browser.find_element("css selector", "input[aria-label^='Limit of alice']")
    field.clear()
    field.send_keys("3.25\n")
    wait_until(lambda: "$3.25 each day" in browser.page_source)

"""What alerts may cost a call: nothing, whatever fails; and what they do when the program ends."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from routoo_core import AlertRule, Budget
from routoo_core.budget.alerts import Alerts
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.errors import ConfigurationError

TEAM = Budget(account="team", limit="0.000001")
BUDGET = Budget(account="anna", limit="0.000001", within=TEAM)
PROGRAM = """
import sys
from routoo_core import AlertRule, Budget
from routoo_core.budget.alerts import Alerts
from routoo_core.budget.sqlite import SqliteLedger

ledger = SqliteLedger()
budget = Budget(account="anna", limit="0.000001")
state = ledger.settle(ledger.reserve(budget, minimum=600, maximum=600), 600)
Alerts(ledger, AlertRule(webhook=sys.argv[1])).check(budget, state)
"""


def spend(ledger, amount=600):
    return ledger.settle(ledger.reserve(BUDGET, minimum=amount, maximum=amount), amount)


@pytest.fixture
def hook():
    """A webhook; its ``bodies``, and ``answer``, without which nobody hears of it."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            server.answer.wait(30)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.bodies = []
    server.answer = threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.answer.set()
    server.shutdown()


def test_a_machine_without_threads_left_fails_no_call(hook, caplog):
    ledger = SqliteLedger()
    rule = AlertRule(at=(0.5, 1.0), webhook=hook.url)
    alerts = Alerts(ledger, rule)
    first = spend(ledger, 100)
    usual = threading.stack_size(2**46)  # no thread can have so much
    try:
        alerts.check(BUDGET, first)  # the next look at the team needs a thread
        alerts.check(BUDGET, spend(ledger))
    finally:
        threading.stack_size(usual)
    assert "the webhook of the alerts could not be called" in caplog.text
    assert "the alerts have failed" in caplog.text


def test_a_ledger_that_fails_in_its_own_way_fails_no_call(caplog):
    class OddLedger(SqliteLedger):
        def claim_alert(self, account, window, percent):
            raise ValueError("odd")

    ledger = OddLedger()
    alerts = Alerts(ledger, AlertRule())
    alerts.check(BUDGET, spend(ledger, 950))
    alerts.note_refusal(BUDGET, "anna")
    assert caplog.text.count("ValueError: odd") == 2


def test_a_webhook_that_does_not_answer_keeps_no_program_from_ending(hook):
    ledger = SqliteLedger()
    Alerts(ledger, AlertRule(webhook=hook.url)).check(BUDGET, spend(ledger))
    senders = [thread for thread in threading.enumerate() if thread.name == "routoo-alert"]
    assert senders
    assert all(sender.daemon for sender in senders)


def test_an_alert_of_the_last_call_of_a_program_is_sent(hook):
    hook.answer.set()
    subprocess.run([sys.executable, "-c", PROGRAM, hook.url], check=True, timeout=60)
    assert [body["percent"] for body in hook.bodies] == [50]


def test_an_account_is_looked_at_later_again_and_again(hook):
    """Each second of many calls ends with a look."""
    percents = []
    seen = threading.Semaphore(0)

    def note(alert):
        if alert.account == "team":
            percents.append(alert.percent)
            seen.release()

    ledger = SqliteLedger()
    alerts = Alerts(ledger, AlertRule(at=(0.5, 0.8), callback=note))
    alerts.check(BUDGET, spend(ledger, 10))
    alerts.check(BUDGET, spend(ledger, 590))
    assert seen.acquire(timeout=60)
    alerts.check(BUDGET, spend(ledger, 250))
    assert seen.acquire(timeout=60)
    assert percents == [50, 80]


@pytest.mark.parametrize("share", [0.005, 0.505, 0.0])
def test_shares_are_whole_percents(share):
    with pytest.raises(ConfigurationError, match="AlertRule: at"):
        AlertRule(at=(share,))


def test_every_whole_percent_may_be_a_share():
    shares = tuple(percent / 100 for percent in range(1, 101))
    assert AlertRule(at=shares).at == shares

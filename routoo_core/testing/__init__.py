"""Fakes for our own and our users' tests: a predictor, a clock, and a real HTTP endpoint with scripted answers."""

from routoo_core.testing.bills import Bill as Bill
from routoo_core.testing.endpoint import FakeEndpoint as FakeEndpoint
from routoo_core.testing.fakes import FakePredictor as FakePredictor
from routoo_core.testing.fakes import ManualClock as ManualClock
from routoo_core.testing.replies import Reply as Reply

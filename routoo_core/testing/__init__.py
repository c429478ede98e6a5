"""Fakes for our tests and our users': a predictor, a clock, and a real HTTP endpoint that answers as it is told."""

from routoo_core.testing.bills import Bill as Bill
from routoo_core.testing.endpoint import FakeEndpoint as FakeEndpoint
from routoo_core.testing.fakes import FakePredictor as FakePredictor
from routoo_core.testing.fakes import ManualClock as ManualClock
from routoo_core.testing.replies import Reply as Reply

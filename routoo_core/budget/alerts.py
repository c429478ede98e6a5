"""Alerts when an account has spent much of its limit: to the log, to a webhook, to a function."""

from __future__ import annotations

import atexit
import json
import logging
import math
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from weakref import WeakSet

from pydantic import Field, field_validator

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.ledger import AlertStore, Ledger
from routoo_core.budget.period import iso_utc
from routoo_core.errors import ConfigurationError, LedgerError
from routoo_core.money import NanoUsd, decimal_usd, format_usd, plain_usd
from routoo_core.redaction import expand_environment, is_variable, redacted_url
from routoo_core.settings import Settings

WEBHOOK_TIMEOUT_S = 10.0
LONGEST_WAIT_AT_END_S = 2.0
"""How long a program that ends waits for its webhooks."""
ENCLOSING_EVERY_S = 1.0
"""How often a process looks at the accounts that the paying one is part of."""

_NEARLY_GONE = 0.9
"""Share of a limit from which a refused call shows that it is used up, and not only that the call was large."""
_WHOLE = 100
_ROUNDING = 1e-6
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Alert:
    """An account has spent so much of its limit; amounts are nano-USD.

    Attributes:
        account: Whose.
        percent: Of the limit, one of those asked for. 100 is also raised when a call is refused for want of money.
        spent: So far in the period.
        limit: Of the period.
        period: The key of the period.
        resets: When it resets, ISO 8601; ``None`` for a run and for a rolling period.
    """

    account: str
    percent: int
    spent: NanoUsd
    limit: NanoUsd
    period: str
    resets: str | None

    def describe(self) -> str:
        """The alert in a sentence."""
        amounts = f"{format_usd(self.spent, 4)} of {plain_usd(self.limit)}"
        until = "" if self.resets is None else f"; it resets at {self.resets}"
        if self.percent >= _WHOLE:
            return f"account {self.account!r} has used up its limit: {amounts} spent{until}"
        return f"account {self.account!r} has spent {self.percent} % of its limit: {amounts}{until}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, amounts as decimal USD, and the sentence as ``text``."""
        return {
            "text": self.describe(),
            "account": self.account,
            "percent": self.percent,
            "spent_usd": decimal_usd(self.spent),
            "limit_usd": decimal_usd(self.limit),
            "period": self.period,
            "resets": self.resets,
        }


class AlertRule(Settings):
    """``[alerts]`` in routoo.toml: when to raise an alert, and where it goes; each is raised once in a period.

    Attributes:
        at: Shares of the limit, whole percents from 0.01 to 1.
        log: Whether it is logged, as a warning.
        webhook: An address that gets it as JSON, with ``text`` as chat services read it. ``${NAME}`` stands for an
            environment variable.
        callback: A function that gets it; it is called in the thread of the call that was settled, or in another where
            an account is looked at a moment later.
    """

    at: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.5, 0.8, 1.0)
    log: bool = True
    webhook: str | None = None
    callback: Callable[[Alert], None] | None = Field(default=None, exclude=True, repr=False)

    @field_validator("at")
    @classmethod
    def _check_shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        for share in value:
            percent = round(share * _WHOLE)
            if percent < 1 or abs(share * _WHOLE - percent) > _ROUNDING:
                raise ValueError(f"{share:g} is no whole percent; write one such as 0.5")
        return value

    @field_validator("webhook")
    @classmethod
    def _check_webhook(cls, value: str | None) -> str | None:
        if value is not None and not is_variable(value) and not _is_web_address(value):
            raise ValueError("is no address; begin it with https://, or name a variable, ${NAME}")
        return value

    def __repr_args__(self) -> Any:
        """The fields, the address without its secrets."""
        for name, value in super().__repr_args__():
            yield name, redacted_url(value) if name == "webhook" and value else value


DEFAULT_ALERTS = AlertRule()
"""At 50, 80 and 100 %, to the log."""
NO_ALERTS = AlertRule(at=())


class Alerts:
    """Raises the alerts of a rule, each once for all who share the ledger.

    Args:
        ledger: Remembers what was raised; one that cannot is remembered for in this process.
        rule: When, and where it goes.

    Raises:
        ConfigurationError: The variable that the webhook names is not set, or holds no address.
    """

    def __init__(self, ledger: Ledger, rule: AlertRule) -> None:
        self._ledger = ledger
        self._store = ledger if isinstance(ledger, AlertStore) else None
        self._rule = rule
        self._percents = sorted({round(share * _WHOLE) for share in rule.at})
        self._webhook = None
        if rule.webhook is not None:
            self._webhook = expand_environment(rule.webhook, "alerts.webhook")
            if not _is_web_address(self._webhook):
                raise ConfigurationError(
                    "alerts.webhook: the variable holds no address; begin it with https://"
                )
        self._past_alerts: set[tuple[str, str, int]] = set()
        self._look_times: dict[str, float] = {}
        self._next_looks: dict[str, float] = {}

    def check(self, budget: Budget, state: AccountState) -> None:
        """Raise what is due after a settlement; a failure is logged or left for the next one, and fails no call.

        Args:
            budget: The account that paid, within others.
            state: Where it stands.
        """
        if not self._percents:
            return
        with _failing_no_call():
            self._check_state(state)
            for enclosing in budget.chain[1:]:
                self._check_enclosing(enclosing)

    def note_refusal(self, budget: Budget, account: str) -> None:
        """Raise the last alert for the account of a chain whose limit has refused a call."""
        if _WHOLE not in self._percents:
            return
        with _failing_no_call():
            for payer in budget.chain:
                if payer.account == account:
                    self._check_account(payer, is_exhausted=True)

    def _check_enclosing(self, enclosing: Budget) -> None:
        """Look at an account that the paying one is part of, at once or a second after the last look."""
        moment = time.monotonic()
        next_look = self._look_times.get(enclosing.account, -math.inf) + ENCLOSING_EVERY_S
        if moment >= next_look:
            self._look(enclosing)
        elif self._next_looks.get(enclosing.account) != next_look:
            self._next_looks[enclosing.account] = next_look
            timer = threading.Timer(next_look - moment, self._look_later, (enclosing,))
            timer.daemon = True
            timer.start()

    def _look_later(self, enclosing: Budget) -> None:
        with _failing_no_call():
            self._look(enclosing)

    def _look(self, enclosing: Budget) -> None:
        self._look_times[enclosing.account] = time.monotonic()
        self._check_account(enclosing, is_exhausted=False)

    def _check_account(self, payer: Budget, *, is_exhausted: bool) -> None:
        try:
            state = self._ledger.state(payer)
        except LedgerError:
            return
        self._check_state(state, is_exhausted)

    def _check_state(self, state: AccountState, is_exhausted: bool = False) -> None:
        if not state.limit:
            return
        # What is held may come back, so only what is spent shows that a limit is used up.
        is_nearly_gone = state.spent >= _NEARLY_GONE * state.limit
        marks = []
        for percent in self._percents:
            is_due = state.spent * _WHOLE >= percent * state.limit
            if is_due or (percent == _WHOLE and is_exhausted and is_nearly_gone):
                marks.append(percent)
        is_new = [self._claim(state, percent) for percent in marks]
        if marks and is_new[-1]:
            self._raise(state, marks[-1])

    def _claim(self, state: AccountState, percent: int) -> bool:
        """Whether nobody has raised this alert before."""
        # A limit that was raised has alerts of its own.
        period = f"{_period_of(state)} {state.limit}"
        alert = (state.account, period, percent)
        if alert in self._past_alerts:
            return False
        try:
            is_new = self._store is None or self._store.claim_alert(*alert)
        except LedgerError:
            return False
        self._past_alerts.add(alert)
        return is_new

    def _raise(self, state: AccountState, percent: int) -> None:
        alert = Alert(
            account=state.account,
            percent=percent,
            spent=state.spent,
            limit=state.limit or 0,
            period=state.window.key,
            resets=state.window.resets,
        )
        if self._rule.log:
            _LOGGER.warning("%s", alert.describe())
        if self._webhook is not None:
            _post_later(self._webhook, alert)
        if self._rule.callback is not None:
            try:
                self._rule.callback(alert)
            except Exception:  # the call was answered all the same
                _LOGGER.exception("the function that gets alerts has failed")


def _is_web_address(text: str) -> bool:
    return text.startswith(("https://", "http://"))


def _period_of(state: AccountState) -> str:
    """The period in which an alert is raised once: of a rolling one, the day."""
    if state.window.span is None:
        return state.window.key
    return f"{state.window.key} {iso_utc(state.as_of)[:10]}"


@contextmanager
def _failing_no_call() -> Iterator[None]:
    """Log what goes wrong in the block: the call was answered, or refused, all the same."""
    try:
        yield
    except Exception:
        _LOGGER.exception("the alerts have failed")


_SENDERS: WeakSet[threading.Thread] = WeakSet()
"""Threads that send alerts."""


def _post_later(address: str, alert: Alert) -> None:
    """Send an alert in a thread of its own, for which the end of the program waits a moment and no longer."""
    sender = threading.Thread(target=_post, args=(address, alert), name="routoo-alert", daemon=True)
    try:
        sender.start()
    except RuntimeError:  # no thread left
        _LOGGER.exception("the webhook of the alerts could not be called")
        return
    _SENDERS.add(sender)


@atexit.register
def _wait_for_senders() -> None:
    deadline = time.monotonic() + LONGEST_WAIT_AT_END_S
    for sender in list(_SENDERS):
        sender.join(max(0.0, deadline - time.monotonic()))


def _post(address: str, alert: Alert) -> None:
    """Send an alert; what goes wrong is logged without the address, which may hold a secret."""
    body = json.dumps(alert.to_dict()).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, body, headers)  # noqa: S310 (the rule allows http and https alone)
    try:
        with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT_S):  # noqa: S310
            return
    except Exception as error:  # noqa: BLE001 (nobody waits for it)
        _LOGGER.error(
            "the webhook of the alerts failed (%s); check alerts.webhook", type(error).__name__
        )

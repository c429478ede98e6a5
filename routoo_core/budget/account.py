"""Budgets, and the standing of the accounts that they limit."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from routoo_core.budget.period import Period, Window, calendar_window, iso_utc, rolling_window
from routoo_core.errors import BudgetExceeded, InvalidRequest
from routoo_core.money import MAX_USD, NanoUsd, to_nano_usd
from routoo_core.settings import Settings
from routoo_core.text import first_duplicate

_LONGEST_NAME = 500
"""Characters of an account's name."""


class Budget(Settings):
    """How much an account may spend in each period.

    ``Budget(limit="5.00", period="day")`` · ``Budget(limit=None)`` books everything and limits
    nothing.

    Attributes:
        account: The name of the account that pays.
        limit: USD for each period, a decimal string; ``None`` for no limit.
        period: ``run`` (never resets; every Budget object is a new run), ``hour``, ``day`` or
            ``month``.
        timezone: IANA name; decides when a day or month begins.
        expected_calls: Calls expected in a period, until traffic shows its own rate; used for
            pacing.
        rolling: The limit holds over *any* hour, day or month (of 30 days), looking back from now.
            A call counts from when its money was held, and at most 1/60 of the period longer.
        carry_over: What a period leaves unspent is added to the next one, up to one period's limit.
        held_share: How much of what its enclosing account has left an account may hold at once, above 0 to 1,
            so that its open calls leave room for the others; by default all.
        accounts: Patterns, such as ``tenant-*``, of the accounts that a call may let pay instead, each with
            a limit like this; by default any name will do.
        within: The account this one is part of (user < team < organisation). A call is held against
            each of them, and the tightest limit binds.
        members: Other accounts, of limits of their own, that a call may let pay instead. A name such as ``user-*`` is a
            template: an account of a name like it is made when a call first names it.
        template: The name that this account was made from, such as ``user-*``; ``None`` for one of its own.
    """

    account: Annotated[str, Field(min_length=1)] = "default"
    limit: Annotated[Decimal, Field(ge=0, le=MAX_USD, allow_inf_nan=False)] | None = None
    period: Period = "day"
    timezone: str = "UTC"
    expected_calls: Annotated[int, Field(ge=1)] = 1000
    run_id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    rolling: bool = False
    carry_over: bool = False
    held_share: Annotated[float, Field(gt=0, le=1)] | None = None
    accounts: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    within: Budget | None = None
    members: tuple[Budget, ...] = ()
    template: str | None = None

    @model_validator(mode="after")
    def _check_rolling(self) -> Budget:
        if self.rolling and self.period == "run":
            raise ValueError(
                "rolling: a run has no length to look back; set period to hour, day or month"
            )
        if self.rolling and self.carry_over:
            raise ValueError(
                "rolling: a rolling period leaves nothing to carry over; drop carry_over"
            )
        return self

    @field_validator("account")
    @classmethod
    def _check_account(cls, value: str) -> str:
        if not _is_name(value):
            raise ValueError(
                f"{value[:40]!r} is no name; give a text of 1 to {_LONGEST_NAME} characters"
            )
        return value

    @model_validator(mode="after")
    def _check_accounts_differ(self) -> Budget:
        names = [budget.account for budget in self.chain]
        if len(set(names)) < len(names):
            raise ValueError(f"within: an account cannot be part of itself ({' < '.join(names)})")
        return self

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # also a folder of zones
            raise ValueError(
                f"{value!r} is not an IANA time zone such as 'Europe/Zurich'"
            ) from error
        return value

    def for_account(self, account: str | None) -> Budget:
        """The budget of another account: a member's, one from a template, or the same limit within the same accounts.

        Args:
            account: Its name; ``None`` for this budget.

        Raises:
            InvalidRequest: The name is no text, is empty, is none of ``accounts`` or ``members``, or is that of an
                account this one is part of.
        """
        if account is None or account == self.account:
            return self
        if self.members:
            return self._member(account)
        enclosing = [budget.account for budget in self.chain[1:]]
        if not _is_name(account) or account in enclosing:
            raise InvalidRequest(
                f"account: {account!r} cannot pay; name an account other than {', '.join(enclosing) or 'none'}"
            )
        template = None
        if self.accounts is not None:
            template = _first_match(account, self.accounts)
            if template is None:
                names = ", ".join(self.accounts) or "none"
                raise InvalidRequest(f"account: {account!r} cannot pay; name one like {names}")
        return self.model_copy(update={"account": account, "template": template})

    def _member(self, account: str) -> Budget:
        """The member of a name, else one made from the first template that the name is like."""
        for member in self.members:
            if member.account == account and not is_pattern(account):
                return member
        if _is_name(account) and not is_pattern(account):
            for member in self.members:
                if is_pattern(member.account) and fnmatchcase(account, member.account):
                    return member.model_copy(
                        update={"account": account, "template": member.account}
                    )
        names = [self.account, *(member.account for member in self.members)]
        raise unknown_account(account, names)

    @property
    def chain(self) -> tuple[Budget, ...]:
        """This account and those it is part of, innermost first."""
        if self.within is None:
            return (self,)
        return (self, *self.within.chain)

    def every_account(self) -> list[Budget]:
        """This account, its members and those that they are part of, each once; templates apart."""
        accounts: dict[str, Budget] = {}
        for payer in (self, *self.members):
            for account in payer.chain:
                if not is_pattern(account.account):
                    accounts.setdefault(account.account, account)
        return list(accounts.values())

    def templates(self) -> list[Budget]:
        """The budgets under whose names others are made: members such as ``user-*``, and those of ``accounts``."""
        templates = [member for member in self.members if is_pattern(member.account)]
        for name in self.accounts or ():
            if name != self.account:
                templates.append(self.model_copy(update={"account": name}))
        return templates

    @property
    def limit_nano(self) -> NanoUsd | None:
        """The limit in nano-USD."""
        if self.limit is None:
            return None
        return to_nano_usd(self.limit)

    def window(self, now: float) -> Window:
        """The period that ``now`` (seconds since the epoch) falls into."""
        if self.period == "run":
            return Window(f"run {self.run_id}", now, None)
        if self.rolling:
            return rolling_window(self.period, now)
        return calendar_window(self.period, self.timezone, now)

    def preceding_start(self, window: Window) -> float | None:
        """When the period before ``window`` began; ``None`` for a run, which has none before it."""
        if self.period == "run":
            return None
        return self.window(window.start - 1.0).start


def paying(budget: Budget) -> Budget:
    """A budget each of whose accounts pays once.

    Copies of a budget are not checked as the constructor checks it.

    Raises:
        InvalidRequest: An account is part of itself.
    """
    duplicate = first_duplicate(account.account for account in budget.chain)
    if duplicate is not None:
        chain = " < ".join(account.account for account in budget.chain)
        raise InvalidRequest(
            f"account: {duplicate!r} cannot pay within itself ({chain}); name an account that is not among those it is "
            "within"
        )
    return budget


def is_pattern(account: str) -> bool:
    """Whether a name is a template, for any account of a name like it."""
    return "*" in account or "?" in account


def unknown_account(account: object, names: Sequence[str]) -> InvalidRequest:
    """The error for an account that is not declared; it suggests the account that was probably meant."""
    similar = get_close_matches(str(account), names, n=1)
    remedy = f"did you mean {similar[0]!r}?" if similar else f"name one of {', '.join(names)}"
    return InvalidRequest(f"account: {str(account)[:40]!r} is unknown; {remedy}")


def _is_name(account: object) -> bool:
    """Whether every ledger can keep an account of this name."""
    if not isinstance(account, str) or not 0 < len(account) <= _LONGEST_NAME:
        return False
    try:
        account.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_match(account: str, patterns: Sequence[str]) -> str | None:
    """The first pattern that a name is like."""
    for pattern in patterns:
        if fnmatchcase(account, pattern):
            return pattern
    return None


class Refill(NamedTuple):
    """Money of a rolling period that becomes available again.

    Attributes:
        at: Seconds since the epoch.
        amount: Spent and held in the slot that leaves the period then.
    """

    at: float
    amount: NanoUsd


@dataclass(frozen=True, slots=True)
class AccountState:
    """The standing of an account in one window; amounts are nano-USD.

    Attributes:
        account: The account's name.
        window: The period.
        as_of: When, in seconds since the epoch by the ledger's clock.
        limit: Includes what was carried over; ``None`` for no limit.
        spent: Settled.
        held: Reserved for calls in flight.
        calls: Calls settled.
        overshoot: What experts billed beyond their holds, in total; part of ``spent``.
        refills: When money of a rolling period becomes available again, the soonest first.
    """

    account: str
    window: Window
    as_of: float
    limit: NanoUsd | None
    spent: NanoUsd = 0
    held: NanoUsd = 0
    calls: int = 0
    overshoot: NanoUsd = 0
    refills: tuple[Refill, ...] = ()

    @property
    def available(self) -> NanoUsd | None:
        """What may still be held; ``None`` for no limit."""
        if self.limit is None:
            return None
        return max(0, self.limit - self.spent - self.held)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "available": self.available}

    def refusal(self, amount: NanoUsd) -> BudgetExceeded:
        """The error for a call that needs more than is available.

        For a rolling period it says when enough is available again if nobody else calls.
        """
        limit = self.limit or 0
        free = limit - self.spent - self.held
        enough_at = None
        for refill in self.refills:
            free += refill.amount
            if free >= amount:
                enough_at = iso_utc(refill.at)
                break
        return BudgetExceeded(
            self.account, limit, self.spent, self.held, amount, self.window.resets, enough_at
        )


def carry_amount(budget: Budget, window: Window, previous: AccountState | None) -> NanoUsd:
    """What the periods before ``window`` have left for it, at most one period's limit.

    Where a whole period passed in which the account was not used, all of that period's limit is
    left.

    Args:
        budget: Whether money is carried over, and the limit.
        window: A window that holds no money yet.
        previous: The account's latest calendar window or run before it; ``None`` if there is none.
    """
    if not budget.carry_over or budget.limit_nano is None or previous is None:
        return 0
    preceding_start = budget.preceding_start(window)
    previous_end = previous.window.end
    if preceding_start is not None and previous_end is not None and previous_end <= preceding_start:
        return budget.limit_nano
    return min(previous.available or 0, budget.limit_nano)


def binding_account(states: Sequence[AccountState]) -> AccountState:
    """The account of a chain with the least money available; the first one if none has a limit."""
    binding = states[0]
    for state in states[1:]:
        if state.available is None:
            continue
        if binding.available is None or state.available < binding.available:
            binding = state
    return binding


class HeldShare(NamedTuple):
    """The part of a common account that one account within it may hold at once. Amounts are nano-USD.

    Attributes:
        account: The account.
        share: The most that it may hold.
        held: The amount that it holds now.
    """

    account: str
    share: NanoUsd
    held: NanoUsd

    @property
    def room(self) -> NanoUsd:
        """What it may still hold."""
        return max(0, self.share - self.held)


def tightest_share(chain: Sequence[Budget], states: Sequence[AccountState]) -> HeldShare | None:
    """The share that leaves the least room in a chain of accounts; ``None`` where none has a share.

    Args:
        chain: Accounts, innermost first.
        states: Theirs.
    """
    tightest = None
    for payer, state, enclosing in zip(chain, states, states[1:], strict=False):
        if payer.held_share is None or enclosing.limit is None:
            continue
        remainder = max(0, enclosing.limit - enclosing.spent)
        share = HeldShare(payer.account, int(remainder * payer.held_share), state.held)
        if tightest is None or share.room < tightest.room:
            tightest = share
    return tightest


class Slot(NamedTuple):
    """What an account spent and holds in one slot of a rolling period; amounts are nano-USD.

    Attributes:
        key: The key of the slot's window.
        end: Seconds since the epoch.
        limit: The limit of the whole period when the slot was last used.
        spent: Settled.
        held: Reserved for calls in flight.
        calls: Calls settled.
        overshoot: What experts billed beyond their holds.
    """

    key: str
    end: float
    limit: NanoUsd | None
    spent: NanoUsd = 0
    held: NanoUsd = 0
    calls: int = 0
    overshoot: NanoUsd = 0


def add_up_slots(
    account: str, period: Window, limit: NanoUsd | None, slots: Sequence[Slot], now: float
) -> AccountState:
    """The state of a rolling period from its slots, oldest first.

    A slot counts as a whole, also one that a clock running ahead has opened. Of a slot older than
    the period only what is still held counts.
    """
    span = period.span or 0.0
    spending = holds = calls = overshoot = 0
    refills = []
    for slot in slots:
        holds += slot.held
        if slot.end > now - span:
            spending += slot.spent
            calls += slot.calls
            overshoot += slot.overshoot
            refills.append(Refill(slot.end + span, slot.spent + slot.held))
    return AccountState(
        account, period, now, limit, spending, holds, calls, overshoot, refills=tuple(refills)
    )

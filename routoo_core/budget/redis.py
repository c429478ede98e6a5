"""A ledger in Redis, shared by any number of machines.

Each step is one Lua script of the folder ``lua``, so nothing comes between its reads and writes.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from typing import Any

from routoo_core.budget.account import AccountState, Budget, Slot, add_up_slots, paying
from routoo_core.budget.clock import WALL_CLOCK, Clock
from routoo_core.budget.ledger import (
    DECLARED_RETENTION_S,
    FAIR_SHARE_DIVISOR,
    FORGOTTEN_REFUSE,
    HOLD_TTL_S,
    Cooldown,
    DeclaredLimit,
    HourlyCalls,
    KnownSpending,
    Reservation,
    check_on_forgotten,
)
from routoo_core.budget.outage import Outage
from routoo_core.budget.period import HOUR_S, RETENTION_S, ROLLING_SPAN_S, Window
from routoo_core.errors import (
    ConfigurationError,
    HeldShareExceeded,
    LedgerError,
    LedgerForgot,
    LedgerUnavailable,
    MissingDependency,
    ReservationClosed,
)
from routoo_core.money import NanoUsd
from routoo_core.redaction import expand_environment, has_password, redacted_url, scrubbed

SCHEMA_VERSION = 2
SCHEMA_KEY = "{routoo}:schema"
GENERATION_KEY = "{routoo}:generation"
"""A mark that is set once: where it is missing or another one, the server has lost what it kept."""
COOLDOWNS_KEY = "{routoo}:cooldowns"
LIMITS_KEY = "{routoo}:limits"
DECLARATIONS_KEY = "{routoo}:declarations"
ALERTS_KEY = "{routoo}:alerts"
PASSWORD_VARIABLE = "ROUTOO_REDIS_PASSWORD"  # noqa: S105
TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 5
_RETRIES = 2
"""A connection that the server closed is opened again; what timed out is not sent again."""

_SCRIPTS = ("reserve", "close", "state", "accounts", "history", "restore")

_Row = Sequence[str]
"""A window as the scripts return it: account, key, start, end, span, limit, and the four sums."""


class RedisLedger:
    """Accounts in a Redis server: ``RedisLedger("redis://localhost:6379/0")``.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, without a password: that is read from
            ``$ROUTOO_REDIS_PASSWORD``, or from a variable that the address names, as in
            ``redis://:${REDIS_PASSWORD}@host/0``. The whole address may be a variable too.
        ttl: Seconds after which an open hold counts as spent, all of it: its process must have died. A
            settlement that comes later corrects that.
        clock: Tells the time; the machines' clocks should agree to a few seconds.
        on_forgotten: Where the server has lost its data: ``refuse`` calls, or ``rebuild`` them.

    Raises:
        ConfigurationError: The server cannot be reached, its data has another schema, or the URL
            holds a password.
        MissingDependency: ``redis`` is not installed.
    """

    def __init__(
        self,
        url: str,
        ttl: float = HOLD_TTL_S,
        clock: Clock = WALL_CLOCK,
        on_forgotten: str = FORGOTTEN_REFUSE,
    ) -> None:
        try:
            import redis
        except ImportError as error:
            raise MissingDependency("redis", "redis", "keep the ledger in Redis") from error
        if has_password(url):
            raise ConfigurationError(
                f"budget.ledger: take the password out of the URL and set ${PASSWORD_VARIABLE} instead, or name a "
                "variable in its place, as in redis://:${REDIS_PASSWORD}@host:6379/0"
            )
        address = expand_environment(url, "budget.ledger")
        self.url = url
        self.ttl = ttl
        self.clock = clock
        self.on_forgotten = check_on_forgotten(on_forgotten)
        self._redis_error = redis.RedisError
        self._outage = Outage((redis.RedisError,), self._server_failure)
        self._password: str | None = None
        try:
            self._redis = redis.Redis.from_url(
                address,
                password=os.environ.get(PASSWORD_VARIABLE),
                decode_responses=True,
                **connection_settings(),
            )
            self._password = self._redis.connection_pool.connection_kwargs.get("password")
            self._redis.setnx(SCHEMA_KEY, SCHEMA_VERSION)
            self._redis.setnx(GENERATION_KEY, uuid.uuid4().hex)
            self._generation = self._redis.get(GENERATION_KEY)
            version = int(self._redis.get(SCHEMA_KEY) or 0)
        except redis.RedisError as error:
            problem = scrubbed(str(error), [self._password])
            raise ConfigurationError(
                f"budget.ledger: the Redis server cannot be used ({problem}); "
                "check its address, and that it runs"
            ) from None
        except ValueError:  # it may repeat parts of the address
            raise ConfigurationError(
                f"budget.ledger: {redacted_url(url)} cannot be read as an address of Redis; write it as "
                "redis://host:6379/0"
            ) from None
        if version != SCHEMA_VERSION:
            raise ConfigurationError(
                f"budget.ledger: {redacted_url(url)}: schema {version} is not the one this version of Routoo "
                f"uses ({SCHEMA_VERSION}); name another database, or use the version that wrote this one"
            )
        self._scripts = {}
        for name in _SCRIPTS:
            self._scripts[name] = self._redis.register_script(_read_script(name))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redacted_url(self.url)!r})"

    def __reduce__(self) -> tuple[type[RedisLedger], tuple[str, float, Clock, str]]:
        return type(self), (self.url, self.ttl, self.clock, self.on_forgotten)

    def reserve(
        self,
        budget: Budget,
        *,
        minimum: NanoUsd,
        maximum: NanoUsd,
        enforce: bool = True,
    ) -> Reservation:
        """Hold money; see :class:`~routoo_core.budget.ledger.Ledger`."""
        now = self.clock()
        reservation_id = uuid.uuid4().hex
        request = {
            "now": now,
            "id": reservation_id,
            "ttl": self.ttl,
            "generation": self._generation,
            "minimum": minimum,
            "maximum": maximum,
            "enforce": enforce,
            "fair_share_divisor": FAIR_SHARE_DIVISOR,
            "chain": [_describe_current(payer, now) for payer in paying(budget).chain],
        }
        window = budget.window(now)
        try:
            reply = self._run("reserve", request)
        except LedgerUnavailable:
            raise
        except LedgerError as error:  # its answer may be lost, and the money held
            error.reservation = Reservation(
                reservation_id, budget.account, window, maximum, enforce
            )
            raise
        if reply.get("is_lost"):
            raise LedgerForgot(
                f"the ledger {redacted_url(self.url)} has lost what it kept: it was emptied, or restarted without its "
                "data",
                "Restore the data",
            )
        if "amount" not in reply:
            payer = budget.chain[reply["place"] - 1]
            if "share" in reply:
                share = int(reply["share"])
                raise HeldShareExceeded(payer.account, share, int(reply["held"]), minimum)
            raise _current_state(reply["rows"], payer, now).refusal(minimum)
        amount = int(reply["amount"])
        return Reservation(reservation_id, budget.account, window, amount, enforce)

    def settle(self, reservation: Reservation, cost: NanoUsd) -> AccountState:
        """Book the cost; see :class:`~routoo_core.budget.ledger.Ledger`."""
        return self._close(reservation, "settled", cost)

    def release(self, reservation: Reservation) -> AccountState:
        """Free the hold; see :class:`~routoo_core.budget.ledger.Ledger`."""
        return self._close(reservation, "released", 0)

    def state(self, budget: Budget) -> AccountState:
        """The account in the current window; see :class:`~routoo_core.budget.ledger.Ledger`."""
        now = self.clock()
        request = {"now": now, "ttl": self.ttl, "current": _describe_current(budget, now)}
        return _current_state(self._run("state", request), budget, now)

    def accounts(self) -> list[AccountState]:
        """Every account in the window it last used, by name."""
        now = self.clock()
        accounts = self._run("accounts", {"now": now, "ttl": self.ttl})
        states = [_period_state(rows, now) for rows in accounts]
        return sorted(states, key=lambda state: state.account)

    def history(self, account: str | None = None) -> list[AccountState]:
        """Every window of one account, or of all, by account and then oldest first.

        Of a rolling period, its slots.
        """
        now = self.clock()
        rows = self._run("history", {"now": now, "account": account or ""})
        states = [_window_state(row, now) for row in rows]
        return sorted(states, key=lambda state: state.account)

    def arrivals(self, account: str) -> list[HourlyCalls]:
        """How many calls of the account were settled in each hour, oldest first."""
        with self._asking():
            calls_by_hour = self._redis.hgetall(f"{{routoo}}:arrivals:{account}")
        hours = [HourlyCalls(float(start), int(calls)) for start, calls in calls_by_hour.items()]
        return sorted(hours)

    def cooldowns(self) -> list[Cooldown]:
        """The last cooldown of every expert; see :class:`~routoo_core.budget.ledger.CooldownStore`."""
        with self._asking():
            rows: dict[Any, Any] = self._redis.hgetall(COOLDOWNS_KEY)
        cooldowns = []
        for expert in sorted(rows):
            reason, until, failures = json.loads(rows[expert])
            cooldowns.append(Cooldown(expert, reason, float(until), int(failures)))
        return cooldowns

    def set_cooldown(self, cooldown: Cooldown) -> None:
        """Remember a cooldown; see :class:`~routoo_core.budget.ledger.CooldownStore`."""
        row = json.dumps([cooldown.reason, cooldown.until, cooldown.failures])
        with self._asking():
            self._redis.hset(COOLDOWNS_KEY, cooldown.expert, row)

    def clear_cooldown(self, expert: str) -> None:
        """Forget a cooldown; see :class:`~routoo_core.budget.ledger.CooldownStore`."""
        with self._asking():
            self._redis.hdel(COOLDOWNS_KEY, expert)

    def limits(self) -> list[DeclaredLimit]:
        """Every declared limit; see :class:`~routoo_core.budget.ledger.LimitStore`."""
        with self._asking():
            rows: dict[Any, Any] = self._redis.hgetall(LIMITS_KEY)
        return [_read_limit(account, rows[account]) for account in sorted(rows)]

    def set_limit(self, limit: DeclaredLimit) -> None:
        """Declare a limit; see :class:`~routoo_core.budget.ledger.LimitStore`."""
        with self._asking():
            self._redis.hset(LIMITS_KEY, limit.account, _write_limit(limit))

    def last_declared(self, source: str) -> list[DeclaredLimit]:
        """What a file last said; see :class:`~routoo_core.budget.ledger.LimitStore`."""
        with self._asking():
            rows: dict[Any, Any] = self._redis.hgetall(f"{DECLARATIONS_KEY}:{source}")
        return [_read_limit(account, rows[account]) for account in sorted(rows)]

    def note_declared(self, limits: Sequence[DeclaredLimit]) -> None:
        """Remember what files say; see :class:`~routoo_core.budget.ledger.LimitStore`."""
        with self._asking():
            for limit in limits:
                key = f"{DECLARATIONS_KEY}:{limit.source}"
                self._redis.hset(key, limit.account, _write_limit(limit))
                self._redis.expire(key, int(DECLARED_RETENTION_S))

    def claim_alert(self, account: str, window: str, percent: int) -> bool:
        """Claim an alert; see :class:`~routoo_core.budget.ledger.AlertStore`."""
        key = f"{ALERTS_KEY}:{json.dumps([account, window, percent])}"
        with self._asking():
            return bool(self._redis.set(key, 1, nx=True, ex=int(RETENTION_S)))

    def restore(self, spending: Sequence[KnownSpending]) -> bool:
        """Go on with what the server holds now; see :class:`~routoo_core.budget.ledger.RestorableLedger`."""
        newest_first = sorted(spending, key=lambda entry: entry.window.start, reverse=True)
        request = {
            "id": uuid.uuid4().hex,
            "generation": self._generation,
            "new_generation": uuid.uuid4().hex,
            "schema": SCHEMA_VERSION,
            "windows": [_describe_spending(entry) for entry in newest_first],
        }
        reply = self._run("restore", request)
        self._generation = reply["generation"]
        return bool(reply["is_lost"])

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _close(self, reservation: Reservation, state: str, cost: NanoUsd) -> AccountState:
        now = self.clock()
        request = {
            "now": now,
            "id": reservation.id,
            "ttl": self.ttl,
            "account": reservation.account,
            "state": state,
            "cost": str(cost),
            "closing": uuid.uuid4().hex,
        }
        reply = self._run("close", request)
        if "rows" not in reply:
            raise ReservationClosed(reservation.id, reply["state"])
        return _period_state(reply["rows"], now)

    def _server_failure(self, error: Exception) -> LedgerError:
        problem = scrubbed(str(error), [self._password])
        return LedgerError(
            f"the Redis server failed ({problem}); nothing is called while it cannot be asked"
        )

    def _run(self, name: str, request: Mapping[str, object]) -> Any:
        with self._asking():
            reply = self._scripts[name](args=[json.dumps(request)])
        return json.loads(reply)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Ask the server.

        Raises:
            LedgerUnavailable: It has failed, and does not answer yet; nothing was asked.
            LedgerError: It failed.
        """
        with self._outage.asking() as turn:
            if self._outage.is_on:
                self._check_server()
            with turn():
                yield

    def _check_server(self) -> None:
        try:
            self._redis.ping()
        except self._redis_error as error:
            raise LedgerUnavailable(str(self._server_failure(error))) from error


def connection_settings() -> dict[str, Any]:
    """How long a client of Redis waits, and what it tries again."""
    from redis import ConnectionError as RedisConnectionError
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), _RETRIES, supported_errors=(RedisConnectionError,)),
    }


def _read_script(name: str) -> str:
    """The text of a script, behind the constants and functions that all of them use."""
    # Spans are text, as they stand in the keys.
    spans = ", ".join(f"{period} = '{span!r}'" for period, span in ROLLING_SPAN_S.items())
    constants = (
        f"local RETENTION_S, HOUR_S = {RETENTION_S:.0f}, {HOUR_S:.0f}\n"
        f"local ROLLING_SPAN_S = {{{spans}}}\n"
    )
    folder = resources.files("routoo_core.budget").joinpath("lua")
    common = folder.joinpath("common.lua").read_text(encoding="utf-8")
    script = folder.joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return f"{constants}\n{common}\n{script}"


def _write_limit(limit: DeclaredLimit) -> str:
    """A declared limit as it is kept under its account; amounts are texts, as they may be large."""
    amount = None if limit.limit is None else str(limit.limit)
    fields = [amount, limit.period, limit.rolling, limit.source, limit.set_at, limit.timezone]
    return json.dumps(fields)


def _read_limit(account: str, text: str) -> DeclaredLimit:
    """What :func:`_write_limit` wrote; ledgers of before say no time zone."""
    limit, period, rolling, source, set_at, *timezone = json.loads(text)
    amount = None if limit is None else int(limit)
    return DeclaredLimit(account, amount, period, rolling, source, set_at, *timezone)


def _describe_current(budget: Budget, now: float) -> dict[str, str | bool]:
    """A budget's current window for the scripts; empty texts stand for no value."""
    window = budget.window(now)
    slot = window.slot_at(now)
    preceding_start = budget.preceding_start(window) if budget.carry_over else None
    return {
        "account": budget.account,
        "window": slot.key,
        "start": repr(slot.start),
        "end": _text(slot.end),
        "span": _text(slot.span),
        "limit": _text(budget.limit_nano),
        "held_share": _text(budget.held_share),
        "carry_over": budget.carry_over,
        "preceding_start": _text(preceding_start),
    }


def _describe_spending(entry: KnownSpending) -> dict[str, str]:
    window = entry.window
    return {
        "account": entry.account,
        "window": window.key,
        "start": repr(window.start),
        "end": _text(window.end),
        "span": _text(window.span),
        "limit": _text(entry.limit),
        "spent": str(entry.spent),
        "own": str(entry.own),
        "unbooked": str(entry.unbooked),
    }


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


def _number(text: str) -> float | None:
    return float(text) if text else None


def _current_state(rows: Sequence[_Row], budget: Budget, now: float) -> AccountState:
    """The account in a budget's current period."""
    state = _period_state(rows, now)
    if budget.rolling:
        return replace(state, limit=budget.limit_nano)
    return state


def _period_state(rows: Sequence[_Row], now: float) -> AccountState:
    """The account in a period: the row of one window, or those of a rolling period's slots."""
    newest = _window_state(rows[-1], now)
    if newest.window.span is None:
        return newest
    slots = [_slot(row) for row in rows]
    period = newest.window.period_until(now)
    return add_up_slots(newest.account, period, newest.limit, slots, now)


def _window_state(row: _Row, now: float) -> AccountState:
    account, key, start, end, span, limit, *sums = row
    spending, holds, calls, overshoot = map(int, sums)
    return AccountState(
        account,
        Window(key, float(start), _number(end), _number(span)),
        now,
        int(limit) if limit else None,
        spending,
        holds,
        calls,
        overshoot,
    )


def _slot(row: _Row) -> Slot:
    _, key, _, end, _, limit, *sums = row
    return Slot(key, float(end), int(limit) if limit else None, *map(int, sums))

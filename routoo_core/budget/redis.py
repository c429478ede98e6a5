"""A ledger in Redis, shared by any number of machines: every step is one Lua script, so nothing comes between."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from routoo_core.budget.account import AccountState, Budget, combine_slots
from routoo_core.budget.ledger import FAIR_SHARE_DIVISOR, HourlyCalls, Reservation
from routoo_core.budget.period import HOUR_S, RETENTION_S, ROLLING_SPAN_S, Clock, Window
from routoo_core.errors import ConfigurationError, LedgerError, MissingDependency
from routoo_core.money import NanoUsd

SCHEMA_VERSION = 1
PASSWORD = "ROUTOO_REDIS_PASSWORD"  # noqa: S105
_PREFIX = "{routoo}:"  # the braces keep all keys on one node of a cluster
_SPANS = ", ".join(
    f"{period} = '{span!r}'" for period, span in ROLLING_SPAN_S.items()
)  # as they stand in the keys

# Lua's numbers are doubles, exact up to 2^53 nano-USD, nine million dollars; HINCRBY keeps the sums exactly.
_COMMON = (
    f"local KEPT, HOUR, SPANS = {RETENTION_S:.0f}, {HOUR_S}, {{{_SPANS}}}\n"
    + """
local prefix = '{routoo}:'
local function account(name, window) return prefix .. 'account:' .. name .. '\\n' .. window end
local function reservation(id) return prefix .. 'reservation:' .. id end
local function holds(id) return prefix .. 'holds:' .. id end
local function whole(number) return string.format('%.0f', number) end
local function less(number) if number == '0' then return number end return '-' .. number end
local function slots(name, span) return prefix .. 'slots:' .. name .. '\\n' .. span end
local function read(name, window)
    local fields = {'start', 'end', 'span', 'limit', 'spent', 'held', 'calls', 'overshoot'}
    return {name, window, redis.call('HMGET', account(name, window), unpack(fields))}
end
local function read_all(name, window, now, ttl)
    local given, found = read(name, window), {}
    local span = given[3][3]
    if not span or span == '' then return {given} end
    local since = string.format('(%.17g', now - math.max(span, ttl))
    for _, slot in ipairs(redis.call('ZRANGEBYSCORE', slots(name, span), since, '+inf')) do
        found[#found + 1] = read(name, slot)
    end
    return #found > 0 and found or {given}
end
local function left(limit, found, now)
    for _, row in ipairs(found) do
        local _, stop, span, _, spent, held = unpack(row[3])
        limit = limit - held
        if not span or span == '' or tonumber(stop) > now - span then limit = limit - spent end
    end
    return math.max(0, limit)
end
local function book(key, field, amount)
    if redis.call('EXISTS', key) == 1 then redis.call('HINCRBY', key, field, amount) end
end
local function expire(now)
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'open', '-inf', now)) do
        local r = redis.call('HMGET', reservation(id), 'amount', 'estimate')
        for _, key in ipairs(redis.call('LRANGE', holds(id), 0, -1)) do
            book(key, 'held', less(r[1]))
            book(key, 'spent', r[2])
        end
        redis.call('HSET', reservation(id), 'state', 'expired')
        redis.call('EXPIRE', reservation(id), KEPT)
        redis.call('EXPIRE', holds(id), KEPT)
        redis.call('ZREM', prefix .. 'open', id)
    end
end
local function unspent(name, window, limit)
    local last = redis.call('HGET', prefix .. 'accounts', name)
    if limit == '' or not last or last == window then return 0 end
    local found = read(name, last)
    local _, _, span, before = unpack(found[3])
    if before == '' or (span and span ~= '') then return 0 end
    return math.min(tonumber(limit), left(tonumber(before), {found}, 0))
end
local function open(name, window, start, stop, span, limit, carry)
    local key = account(name, window)
    if carry == '1' and redis.call('EXISTS', key) == 0 then
        redis.call('HSET', key, 'carried', whole(unspent(name, window, limit)))
    end
    if limit ~= '' then limit = whole(tonumber(limit) + tonumber(redis.call('HGET', key, 'carried') or 0)) end
    redis.call('HSET', key, 'start', start, 'end', stop, 'span', span, 'limit', limit)
    for _, field in ipairs({'spent', 'held', 'calls', 'overshoot'}) do redis.call('HSETNX', key, field, '0') end
    redis.call('HSET', prefix .. 'accounts', name, window)
    redis.call('ZADD', prefix .. 'windows', start, name .. '\\n' .. window)
    if span ~= '' then redis.call('ZADD', slots(name, span), stop, window) end
    return key
end
"""
)

_STATE = (
    _COMMON
    + """
local now, ttl, name, window = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
expire(now)
open(name, window, unpack(ARGV, 5, 9))
return read_all(name, window, now, ttl)
"""
)

_RESERVE = (
    _COMMON
    + """
local now, id, ttl, enforce, share = ARGV[1], ARGV[2], ARGV[3], ARGV[7] == '1', tonumber(ARGV[8])
local minimum, maximum, estimate = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
expire(now)
local keys, least, tightest = {}, nil, nil
for at = 9, #ARGV, 7 do
    local name, window = ARGV[at], ARGV[at + 1]
    local key = open(name, window, unpack(ARGV, at + 2, at + 6))
    keys[#keys + 1] = key
    if ARGV[at + 5] ~= '' then
        local found = read_all(name, window, now, ttl)
        local available = left(tonumber(redis.call('HGET', key, 'limit')), found, now)
        if not least or available < least then least, tightest = available, {(at - 9) / 7, found} end
    end
end
local amount = maximum
if enforce and least then
    if least < minimum then return {0, tightest} end
    amount = math.min(maximum, math.max(minimum, math.floor(least / share)))
end
for _, key in ipairs(keys) do
    redis.call('HINCRBY', key, 'held', whole(amount))
    redis.call('RPUSH', holds(id), key)
end
redis.call('HSET', reservation(id), 'amount', whole(amount), 'estimate', whole(math.min(estimate, amount)),
    'state', 'open')
redis.call('ZADD', prefix .. 'open', now + ttl, id)
return {1, whole(amount)}
"""
)

_CLOSE = (
    _COMMON
    + """
local id, state, cost, now, ttl, name = unpack(ARGV)
local function newest(name, span) return redis.call('ZREVRANGE', slots(name, span), 0, 0)[1] end
local function forget(name, before)
    local arrivals = prefix .. 'arrivals:' .. name
    for _, old in ipairs(redis.call('HKEYS', arrivals)) do
        if tonumber(old) < before then redis.call('HDEL', arrivals, old) end
    end
    for _, span in pairs(SPANS) do
        local last = newest(name, span)
        for _, slot in ipairs(redis.call('ZRANGEBYSCORE', slots(name, span), '-inf', whole(before))) do
            if slot ~= last and redis.call('HGET', account(name, slot), 'held') == '0' then
                redis.call('DEL', account(name, slot))
                redis.call('ZREM', slots(name, span), slot)
                redis.call('ZREM', prefix .. 'windows', name .. '\\n' .. slot)
            end
        end
    end
end
local r = redis.call('HMGET', reservation(id), 'amount', 'estimate', 'state')
if not r[3] then return {0, 'unknown'} end
if r[3] == 'settled' or r[3] == 'released' then return {0, r[3]} end
local keys, hour, begun = redis.call('LRANGE', holds(id), 0, -1), whole(now - now % HOUR), {}
for _, key in ipairs(keys) do
    if r[3] == 'open' then
        book(key, 'held', less(r[1]))
    else
        book(key, 'spent', less(r[2]))
    end
    if state == 'settled' then
        book(key, 'spent', cost)
        book(key, 'calls', 1)
        book(key, 'overshoot', whole(math.max(0, tonumber(cost) - tonumber(r[1]))))
        local payer = string.match(key, 'account:(.*)\\n')
        if redis.call('HINCRBY', prefix .. 'arrivals:' .. payer, hour, 1) == 1 then begun[#begun + 1] = payer end
    end
end
redis.call('ZREM', prefix .. 'open', id)
redis.call('HSET', reservation(id), 'state', state)
redis.call('EXPIRE', reservation(id), KEPT)
redis.call('EXPIRE', holds(id), KEPT)
local window = string.match(keys[1], '\\n([^\\n]*)$')
if redis.call('EXISTS', keys[1]) == 0 then window = newest(name, SPANS[string.match(window, '^rolling (%a+)')]) end
local found = read_all(name, window, now, ttl)
for _, payer in ipairs(begun) do forget(payer, now - KEPT) end
return {1, found}
"""
)

_ACCOUNTS = (
    _COMMON
    + """
expire(ARGV[1])
local found, all = {}, redis.call('HGETALL', prefix .. 'accounts')
for at = 1, #all, 2 do found[#found + 1] = read_all(all[at], all[at + 1], ARGV[1], ARGV[2]) end
return found
"""
)


_HISTORY = (
    _COMMON
    + """
expire(ARGV[1])
local found = {}
for _, both in ipairs(redis.call('ZRANGE', prefix .. 'windows', 0, -1)) do
    local name, window = string.match(both, '^(.*)\\n(.*)$')
    if ARGV[2] == '' or ARGV[2] == name then found[#found + 1] = read(name, window) end
end
return found
"""
)

_ARRIVALS = "return redis.call('HGETALL', '{routoo}:arrivals:' .. ARGV[1])"


class RedisLedger:
    """Accounts in a Redis server: ``RedisLedger("redis://localhost:6379/0")``.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, without a password: that is read from
            ``$ROUTOO_REDIS_PASSWORD``.
        ttl: Seconds after which an open hold is booked at its estimate: its process must have died.
        clock: Tells the time; the machines' clocks should agree to a few seconds.

    Raises:
        ConfigurationError: The server cannot be reached, its data was written by a newer version, or the URL holds a
            password.
        MissingDependency: ``redis`` is not installed.
    """

    def __init__(self, url: str, ttl: float = 900.0, clock: Clock = time.time) -> None:
        try:
            import redis
        except ImportError as error:
            raise MissingDependency("redis", "redis", "keep the ledger in Redis") from error
        self.url, self.ttl, self.clock, self._failures = url, ttl, clock, redis.RedisError
        if urlsplit(url).password:
            raise ConfigurationError(
                f"budget.ledger: take the password out of the URL and set ${PASSWORD} instead"
            )
        options = {"decode_responses": True, "socket_timeout": 10, "socket_connect_timeout": 5}
        try:
            self._redis = redis.Redis.from_url(url, password=os.environ.get(PASSWORD), **options)
            self._redis.setnx(_PREFIX + "schema", SCHEMA_VERSION)
            version = int(self._redis.get(_PREFIX + "schema") or 0)
        except (redis.RedisError, ValueError) as error:
            raise ConfigurationError(
                f"budget.ledger: the Redis server cannot be used ({error}); check that it runs, and its address"
            ) from None
        if version > SCHEMA_VERSION:
            raise ConfigurationError(
                f"budget.ledger: written by a newer Routoo (schema {version}, this one knows {SCHEMA_VERSION}); upgrade"
            )
        scripts = {"state": _STATE, "reserve": _RESERVE, "close": _CLOSE}
        scripts |= {"accounts": _ACCOUNTS, "history": _HISTORY, "arrivals": _ARRIVALS}
        self._scripts = {name: self._redis.register_script(text) for name, text in scripts.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "ttl": self.ttl, "clock": self.clock}

    def __setstate__(self, state: dict[str, Any]) -> None:
        RedisLedger.__init__(self, **state)

    def reserve(
        self,
        budget: Budget,
        *,
        minimum: NanoUsd,
        maximum: NanoUsd,
        estimate: NanoUsd,
        enforce: bool = True,
    ) -> Reservation:
        """Hold money; see :class:`~routoo_core.budget.ledger.Ledger`."""
        now, identifier = self.clock(), uuid.uuid4().hex
        openings = [value for one in budget.chain for value in _opening(one, now)]
        amounts = (minimum, maximum, estimate, int(enforce), FAIR_SHARE_DIVISOR)
        done, found = self._run("reserve", repr(now), identifier, self.ttl, *amounts, *openings)
        if not done:
            place, rows = found
            raise _standing(rows, now, budget.chain[place]).refusal(minimum)
        return Reservation(identifier, budget.account, budget.window(now), int(found), enforce)

    def settle(self, reservation: Reservation, cost: NanoUsd) -> AccountState:
        """Book the cost; see :class:`~routoo_core.budget.ledger.Ledger`."""
        return self._close(reservation, "settled", cost)

    def release(self, reservation: Reservation) -> AccountState:
        """Free the hold; see :class:`~routoo_core.budget.ledger.Ledger`."""
        return self._close(reservation, "released", 0)

    def state(self, budget: Budget) -> AccountState:
        """Where the account stands in the current window."""
        now = self.clock()
        return _standing(
            self._run("state", repr(now), self.ttl, *_opening(budget, now)), now, budget
        )

    def accounts(self) -> list[AccountState]:
        """Every account in the window it last used, by name."""
        now = self.clock()
        found = self._run("accounts", repr(now), self.ttl)
        return sorted((_standing(rows, now) for rows in found), key=lambda state: state.account)

    def history(self, account: str | None = None) -> list[AccountState]:
        """Every window of one account, or of all, by account and then oldest first; of a rolling period, its slots."""
        now = self.clock()
        states = [
            _account_state(row, now) for row in self._run("history", repr(now), account or "")
        ]
        return sorted(states, key=lambda state: state.account)

    def arrivals(self, account: str) -> list[HourlyCalls]:
        """When the account's calls were settled, by the hour."""
        found = self._run("arrivals", account)
        return sorted(map(HourlyCalls, map(float, found[::2]), map(int, found[1::2])))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _close(self, reservation: Reservation, state: str, cost: NanoUsd) -> AccountState:
        now = self.clock()
        done, found = self._run(
            "close", reservation.id, state, cost, repr(now), self.ttl, reservation.account
        )
        if not done:
            raise LedgerError(f"reservation {reservation.id} is {found}; settle a hold once")
        return _standing(found, now)

    def _run(self, name: str, *arguments: str | float) -> Any:
        try:
            return self._scripts[name](args=arguments)
        except self._failures as error:
            raise LedgerError(
                f"the Redis server failed ({error}); nothing is called while it cannot be asked"
            ) from error


def _opening(budget: Budget, now: float) -> tuple[str, ...]:
    """What every script needs to open an account's window; empty strings stand for none."""
    slot = budget.window(now).slot_at(now)
    times = ["" if value is None else repr(value) for value in (slot.start, slot.end, slot.span)]
    limit = "" if budget.limit_nano is None else str(budget.limit_nano)
    return budget.account, slot.key, *times, limit, str(int(budget.carry_over))


def _standing(rows: list[Any], now: float, budget: Budget | None = None) -> AccountState:
    """Where an account stands: the row of its window, or those of its slots together."""
    states = [_account_state(row, now) for row in rows]
    if states[-1].window.span is None:
        return states[-1]
    state = combine_slots(states, now)
    return replace(state, limit=budget.limit_nano) if budget else state


def _account_state(row: tuple[str, str, list[str]], now: float) -> AccountState:
    account, key, (start, end, span, limit, *amounts) = row
    window = Window(key, float(start), float(end) if end else None, float(span) if span else None)
    spent, held, calls, overshoot = map(int, amounts)
    return AccountState(
        account, window, now, int(limit) if limit else None, spent, held, calls, overshoot
    )

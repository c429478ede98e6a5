"""Who calls: the account that a key stands for, and what its calls may do."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.budget.outage import Outage
from routoo_core.budget.redis import RedisLedger, connection_settings
from routoo_core.errors import ConfigurationError, InvalidRequest, LedgerError
from routoo_core.experts import Pool
from routoo_core.policies import make_policy
from routoo_core.redaction import expand_environment
from routoo_core.request import Overrides
from routoo_core.router import Router
from routoo_core.selector import as_policy
from routoo_integrations.call_settings import routoo_settings
from routoo_integrations.gateway.keys import AccessKey, KeyStore, KeyTerms
from routoo_integrations.gateway.problems import CallRefused, Problem
from routoo_integrations.gateway.steering import read_embedding_steering, read_steering

KEY_PERIODS = ("hour", "day", "month")
"""For how long a key's limit is: it outlives the programs that serve it, so it is of no run."""

_ACCOUNT_HEADER = "routoo-account"
_EMBEDDING_HEADERS = (_ACCOUNT_HEADER, "routoo-max-cost")
"""What a call of embeddings may set by headers."""
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever makes a call.

    Attributes:
        payer: Whose budget pays; ``None`` for the router's own.
        experts: Those that may answer; ``None`` for all.
        key: What it called with; ``None`` where the gateway has no keys.
    """

    payer: Budget | None = None
    experts: frozenset[str] | None = None
    key: AccessKey | None = None

    @property
    def account(self) -> str | None:
        """The only account whose figures it may see; ``None`` for all."""
        if self.key is None or self.key.terms.is_admin:
            return None
        return self.key.account

    @property
    def owner(self) -> str:
        """Whose stored responses it sees: those of its key's account, an administrator's too."""
        return "" if self.key is None else self.key.account

    def check_admin(self) -> None:
        """Refuse a caller who may not see the figures of all accounts.

        Raises:
            CallRefused: It is one.
        """
        if self.account is not None:
            raise _forbidden("This needs a key of an administrator: routoo key create NAME --admin")


class Access:
    """Lets callers in, and keeps each within its account.

    Args:
        router: Whose budget the accounts are part of.
        keys: Where they are kept; ``None`` where whoever reaches the gateway may call.
    """

    def __init__(self, router: Router, keys: KeyStore | None) -> None:
        self._router = router
        self._keys = keys
        self._revision = 0
        self._callers: dict[str, Caller] = {}
        self._rate_storage = _rate_storage(router.ledger)
        self._rates = MovingWindowRateLimiter(self._rate_storage)
        self._outage = Outage(_errors_of(self._rate_storage), _rate_failure)

    @property
    def shares_rates(self) -> bool:
        """Whether all processes that share the ledger count calls together."""
        return isinstance(self._rate_storage, RedisStorage)

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sends a request with these headers.

        Raises:
            CallRefused: There are keys, and it has none that opens; or there are none, and a web page of somebody else
                sends it through a browser.
        """
        key = None if self._keys is None else self._keys.find(sent_key(headers))
        if key is not None:
            return self.caller_with(key)
        if self._keys is not None and self._keys.has_keys:
            raise _unauthorised(
                "The key is missing or unknown; send it as 'Authorization: Bearer …'."
            )
        check_own_machine(headers)
        return Caller()

    def caller_with(self, key: AccessKey) -> Caller:
        """Who calls with a key.

        Raises:
            CallRefused: The key is revoked or expired.
        """
        assert self._keys is not None  # noqa: S101
        if not key.is_usable(self._keys.clock()):
            what = "expired" if key.revoked_at is None else "revoked"
            raise _unauthorised(f"The key of account {key.account!r} is {what}; ask for a new one.")
        return self._caller_of(key)

    def budgets_of_keys(self) -> list[Budget]:
        """The budget of every key's account; a key whose terms routoo.toml contradicts now is left out."""
        budgets = []
        for key in self._keys.list_keys() if self._keys is not None else ():
            with suppress(ConfigurationError):
                budgets.append(payer_of(key.account, key.terms, self._router.budget))
        return budgets

    def budget_within(self, caller: Caller, account: str) -> Budget | None:
        """An account that a caller's key may let pay; ``None`` for any other."""
        if caller.key is None or caller.payer is None:
            return None
        if any(payer.account == account for payer in caller.payer.chain):
            return None
        if not any(fnmatchcase(account, pattern) for pattern in caller.key.terms.accounts):
            return None
        return Budget(account=account, within=caller.payer)

    def count_call(self, caller: Caller) -> None:
        """Count a call against its key's rate.

        Raises:
            CallRefused: It has made as many as it may.
            LedgerError: The store that processes share cannot be asked.
        """
        key = caller.key
        if key is None or key.terms.rate is None:
            return
        with self._outage.asking() as turn, turn():
            refusal = self._rate_exceeded(key)
        if refusal is not None:
            raise refusal

    def overrides(self, caller: Caller, model: str, headers: Mapping[str, str]) -> Overrides:
        """What a call sets for itself, within what its key allows.

        Args:
            caller: Who calls.
            model: As the body names it.
            headers: Of the request, their names in lower case.

        Raises:
            CallRefused: It asks for more than it may.
            InvalidRequest: A value cannot be used.
        """
        if caller.key is None:
            return read_steering(self._router, model, headers)
        terms = caller.key.terms
        rest = {name: value for name, value in headers.items() if name != _ACCOUNT_HEADER}
        overrides = read_steering(self._router, model, rest, caller.experts)
        if terms.policy is not None:
            if overrides.policy is not None:
                raise _forbidden(
                    f"This key's calls are ranked by {terms.policy!r} and no other policy."
                )
            with routoo_settings(policy=terms.policy):
                overrides = read_steering(self._router, model, rest)
        self._check_expert(caller, overrides.expert)
        payer = self._payer(caller, headers.get(_ACCOUNT_HEADER))
        return replace(overrides, payer=payer, experts=caller.experts)

    def embedding_overrides(
        self, caller: Caller, router: Router, model: str, headers: Mapping[str, str]
    ) -> Overrides:
        """What a call of embeddings sets for itself, within what its key allows.

        Args:
            caller: Who calls.
            router: Of the endpoints for embeddings.
            model: As the body names it.
            headers: Of the request, their names in lower case.

        Raises:
            CallRefused: It asks for more than it may, or for an endpoint that is none.
            InvalidRequest: A value cannot be used.
        """
        experts = None
        steering = {name: headers[name] for name in _EMBEDDING_HEADERS if headers.get(name)}
        account = headers.get(_ACCOUNT_HEADER)
        if caller.key is not None:
            experts = experts_of(caller.key.terms, router.pool)
            steering.pop(_ACCOUNT_HEADER, None)
        overrides = read_embedding_steering(router, model, steering, experts)
        if caller.key is None:
            return overrides
        return replace(overrides, payer=self._payer(caller, account), experts=experts)

    def _check_expert(self, caller: Caller, name: str | None) -> None:
        """Refuse an expert that a call names and its key does not allow, and a plan that asks such a one.

        Raises:
            CallRefused: It is one.
        """
        if caller.experts is None or name is None:
            return
        members = frozenset({name})
        for plan in self._router.plans:
            if plan.name == name:
                members = plan.experts_asked
        if not members <= caller.experts:
            names = ", ".join(sorted(caller.experts))
            raise _forbidden(f"This key may be answered by {names} alone.")

    def _payer(self, caller: Caller, account: str | None) -> Budget | None:
        """The account of a key, or one within it that the call names."""
        key = caller.key
        if key is None or not account or account == key.account:
            return caller.payer
        if not any(fnmatchcase(account, pattern) for pattern in key.terms.accounts):
            raise _forbidden(f"This key spends the money of account {key.account!r} alone.")
        try:
            return Budget(account=account, within=caller.payer)
        except ConfigurationError as error:
            raise InvalidRequest(f"Routoo-Account: {error}") from error

    def _caller_of(self, key: AccessKey) -> Caller:
        assert self._keys is not None  # noqa: S101
        if self._revision != self._keys.revision:
            self._revision = self._keys.revision
            self._callers.clear()
        caller = self._callers.get(key.id)
        if caller is None:
            payer = payer_of(key.account, key.terms, self._router.budget)
            caller = Caller(payer, experts_of(key.terms, self._router.pool), key)
            self._callers[key.id] = caller
        return caller

    def _rate_exceeded(self, key: AccessKey) -> CallRefused | None:
        """Count a call; its refusal, where its key has made as many as it may."""
        for rate in read_rates(key.terms.rate or ""):
            if not self._rates.hit(rate, key.id):
                return self._called_too_often(key, rate)
        return None

    def _called_too_often(self, key: AccessKey, rate: RateLimitItem) -> CallRefused:
        resets_at = self._rates.get_window_stats(rate, key.id).reset_time
        problem = Problem(
            429,
            "rate_limit_error",
            f"Account {key.account!r} may make {rate} calls; ask again later.",
            "rate_limit_exceeded",
            is_retryable=True,
            retry_after_s=max(1, round(resets_at - time.time())),
        )
        return CallRefused(problem)


def _errors_of(storage: MemoryStorage | RedisStorage) -> tuple[type[Exception], ...]:
    """What a storage raises where it fails: one class, or several."""
    errors = storage.base_exceptions
    return errors if isinstance(errors, tuple) else (errors,)


def _rate_failure(error: Exception) -> LedgerError:
    return LedgerError(f"rates: {type(error).__name__}; check the ledger's Redis")


def _rate_storage(ledger: Ledger) -> MemoryStorage | RedisStorage:
    """Where calls are counted: in the ledger's Redis, else in this process."""
    if not isinstance(ledger, RedisLedger):
        return MemoryStorage()
    address = expand_environment(ledger.url, "budget.ledger")
    return RedisStorage(address.replace("unix://", "redis+unix://", 1), **connection_settings())


# What a key's terms mean for a router


def check_terms(
    account: str,
    terms: KeyTerms,
    router_budget: Budget,
    pool: Pool,
    router_policy: Any,
    embeddings: Iterable[str] = (),
) -> None:
    """Refuse terms that mean nothing.

    Args:
        account: Whose.
        terms: What its key is to be allowed.
        router_budget: What routoo.toml declares.
        pool: The experts.
        router_policy: The router's own, its name or table.
        embeddings: Names of the endpoints for embeddings.

    Raises:
        ConfigurationError: The message names the term and the remedy.
    """
    payer_of(account, terms, router_budget)
    if terms.period not in KEY_PERIODS:
        raise ConfigurationError(
            f"period: {terms.period!r} is none; choose of {', '.join(KEY_PERIODS)}"
        )
    if terms.policy is not None and terms.policy != router_policy:
        policy = as_policy(make_policy(terms.policy))
        if policy.learns:
            raise ConfigurationError(
                f"policy: {terms.policy!r} learns from all calls; make it the router's own, or choose another"
            )
    all_names = [*(expert.name for expert in pool), *embeddings]
    for pattern in terms.experts:
        if not any(fnmatchcase(name, pattern) for name in all_names):
            names = ", ".join(all_names)
            raise ConfigurationError(f"experts: {pattern!r} is none; name some of {names}")
    if terms.rate is not None:
        read_rates(terms.rate)


def payer_of(account: str, terms: KeyTerms, router_budget: Budget) -> Budget:
    """The budget of a key's account.

    An account that routoo.toml declares has the limit that stands there.

    Raises:
        ConfigurationError: It is declared and given other terms, or is to be within an account that is not.
    """
    budgets = {budget.account: budget for budget in router_budget.every_account()}
    has_own_terms = terms.within is not None or terms.limit is not None
    if account in budgets:
        if has_own_terms:
            raise ConfigurationError(
                f"account: {account!r} has its limit in routoo.toml; leave --limit and --within out"
            )
        return budgets[account]
    within = terms.within or router_budget.account
    if within not in budgets:
        names = ", ".join(budgets)
        raise ConfigurationError(
            f"within: {within!r} is not declared in routoo.toml; name one of {names}"
        )
    fields = {
        "account": account,
        "limit": terms.limit,
        "period": terms.period,
        "timezone": budgets[within].timezone,
        "within": budgets[within],
    }
    return Budget.read(f"account {account!r}", fields)


def experts_of(terms: KeyTerms, pool: Pool) -> frozenset[str] | None:
    """The experts that may answer a key's calls; ``None`` for all."""
    if not terms.experts:
        return None
    names = []
    for expert in pool:
        if any(fnmatchcase(expert.name, pattern) for pattern in terms.experts):
            names.append(expert.name)
    return frozenset(names)


def read_rates(text: str) -> list[RateLimitItem]:
    """The rates of a text such as ``60/minute`` or ``10/second; 1000/day``.

    Raises:
        ConfigurationError: It says none.
    """
    try:
        return parse_many(text)
    except ValueError as error:
        raise ConfigurationError(
            f"rate: {text!r} is none; write '60/minute', for example, or '10/second; 1000/day'"
        ) from error


def check_own_machine(headers: Mapping[str, str]) -> None:
    """Refuse a call that a web page sends through a browser on this machine: it would spend the user's money.

    A page of another origin is told by ``Origin`` or ``Sec-Fetch-Site``, which browsers set and pages cannot; one whose
    own name was made to point to this machine (DNS rebinding) by ``Host``. Programs send neither of the first two.

    Raises:
        CallRefused: It is such a request.
    """
    host = headers.get("host", "")
    if not _is_loopback(host):
        raise _forbidden(
            f"Host {host!r} is not this machine; without keys only 127.0.0.1 and localhost are answered. "
            "Make a key: routoo key create NAME --limit 5.00"
        )
    origin = headers.get("origin")
    is_foreign = origin is not None and not _is_loopback(origin.partition("://")[2])
    if is_foreign or headers.get("sec-fetch-site") == "cross-site":
        raise _forbidden(
            "Web pages of other origins are not answered without a key: routoo key create NAME --limit 5.00"
        )


def _is_loopback(authority: str) -> bool:
    """Whether ``host:port`` is this machine."""
    try:
        name = urlsplit(f"//{authority}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def sent_key(headers: Mapping[str, str]) -> str:
    """The key as OpenAI's clients send it, or as Anthropic's do."""
    authorization = headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return headers.get("x-api-key", "").strip()


def _unauthorised(message: str) -> CallRefused:
    return CallRefused(Problem(401, "authentication_error", message, "invalid_api_key"))


def _forbidden(message: str) -> CallRefused:
    return CallRefused(Problem(403, "permission_error", message, "not_allowed"))

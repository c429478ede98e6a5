"""Every exception Routoo raises on purpose.

::

    RoutooError
    ├── ConfigurationError (ValueError)     you configured it wrong; fix it and start again
    │   ├── UnknownPrice                    an expert without a known list price
    │   ├── CheckpointError                 a router folder that cannot be used as it is
    │   ├── OutcomesError                   a table of outcomes or prompts with a bad row
    │   ├── RecordError                     a decision record that cannot be read
    │   └── MissingDependency (ImportError) an optional package is not installed
    └── RoutingError                        it happened while running
        ├── InvalidRequest (ValueError)     this request cannot be routed
        ├── CallNotPrepared (ValueError)    an expert's client cannot take this call
        ├── NoCapableExpert                 no expert in the pool can serve what it needs
        │   └── ContextWindowExceeded       no expert's window can take the prompt
        ├── BudgetExceeded                  nothing in the pool is affordable right now
        │   └── HeldShareExceeded           the account's open calls hold all that they may
        ├── ReplyRejected                   a reply came and was paid for, but does not meet a check
        ├── ReplyRefused                    the expert refused to answer
        ├── NoReply                         what the expert answered is no reply
        │   └── ReplyCutOff                 it ended before its end
        ├── OtherModelAnswered              another model answered than was asked
        ├── StreamInterrupted               the expert failed after the caller had seen text
        ├── LedgerError                     a ledger failed
        │   ├── LedgerForgot                it has lost what it kept
        │   └── ReservationClosed           a reservation was closed twice
        ├── ExpertError                     stands for a provider's error in another process
        └── AllExpertsFailed (ExceptionGroup)   every affordable expert was tried and failed
            └── FinalFailure                none of them may succeed later

Every ``RoutingError`` is a ``RuntimeError`` as well, except an ``AllExpertsFailed`` after which the same call may
succeed later: retry policies, LangGraph's default among them, try again after that one alone.

Every error can be pickled, by one rule: ``args`` and ``__dict__`` travel, and ``__init__`` is not called again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

Error = TypeVar("Error", bound="RoutooError")

_PLAIN_TYPES = frozenset({str, bytes, int, float, bool, type(None)})
_STATUS_ATTRIBUTES = ("status_code", "status", "code", "http_status")


class RoutooError(Exception):
    """Root of the tree: catch this to catch everything Routoo raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), _portable(self.args)), _portable(self.__dict__)

    def __copy__(self) -> Self:
        return self._duplicate()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._duplicate()

    def _duplicate(self) -> Self:
        """A copy in this process; what it holds is shared, as few errors of providers can be copied."""
        copy = _rebuild(type(self), self.args)
        copy.__dict__.update(self.__dict__)
        return copy


class ConfigurationError(RoutooError, ValueError):
    """Something was configured wrong; the message names the place and the remedy."""


class UnknownPrice(ConfigurationError):
    """An expert has no price and none could be looked up; unknown is never free."""


class CheckpointError(ConfigurationError):
    """A router checkpoint is missing, incomplete, or does not match what loads it."""


class OutcomesError(ConfigurationError):
    """A table of outcomes or prompts has a row that cannot be used."""


class RecordError(ConfigurationError):
    """A decision record has a field that is missing or cannot be read."""


class MissingDependency(ConfigurationError, ImportError):
    """An optional package is needed and absent.

    Args:
        package: The import name that failed.
        extra: The extra of ``routoo`` that installs it.
        purpose: What it is needed for, completing "… is needed to".
        pip: The package to install, where no extra does.
    """

    def __init__(self, package: str, extra: str, purpose: str, pip: str | None = None) -> None:
        requirement = pip or f"'routoo[{extra}]'"
        super().__init__(f"{package!r} is needed to {purpose}: pip install {requirement}")


class RoutingError(RoutooError):
    """Something went wrong with one call."""


class InvalidRequest(RoutingError, RuntimeError, ValueError):
    """The request itself cannot be routed; nothing was charged."""


class CallNotPrepared(RoutingError, RuntimeError, ValueError):
    """A call cannot be put into the form that an expert's client takes; nothing was sent, another may answer.

    Args:
        expert: Who was to be asked.
        problem: What went wrong.
    """

    def __init__(self, expert: str, problem: str) -> None:
        self.expert = expert
        super().__init__(
            f"expert {expert!r}: its client cannot take this call: {problem}. Change the call's tools, schema or "
            "arguments"
        )


class NoCapableExpert(RoutingError, RuntimeError):
    """No expert can serve what the request needs.

    Args:
        excluded: Expert name → what it lacks.

    Attributes:
        remedy: What to do next.
    """

    remedy = (
        "Change the call, or add an expert that can serve it. An expert that has the capability needs it under "
        "'capabilities' in experts.toml."
    )

    def __init__(self, excluded: Mapping[str, Sequence[str]]) -> None:
        self.excluded = {name: tuple(lacks) for name, lacks in excluded.items()}
        reasons = [f"{name} lacks {', '.join(lacks)}" for name, lacks in self.excluded.items()]
        super().__init__(
            f"No expert in the pool can serve this request: {'; '.join(reasons)}. {self.remedy}"
        )


class ContextWindowExceeded(NoCapableExpert):
    """No expert's context window can take the prompt: none was asked, or all that were asked said so.

    Args:
        excluded: Expert name → what it lacks, as ``["room for 9,000 tokens"]``.
    """

    remedy = "Shorten the prompt, or add an expert with a larger context window."


class BudgetExceeded(RoutingError, RuntimeError):
    """The account cannot afford the call. Amounts are in nano-USD.

    Args:
        account: Whose budget.
        limit: The limit for the period.
        spent: Settled so far in the period.
        held: Held for calls in flight.
        needed: The least that would have had to be held (the cheapest candidate's).
        resets: When the period ends, ISO 8601; ``None`` if it never does.
        frees: When enough of a rolling period has freed itself, should nobody else call; ISO 8601.
    """

    def __init__(
        self,
        account: str,
        limit: int,
        spent: int,
        held: int,
        needed: int,
        resets: str | None = None,
        frees: str | None = None,
    ) -> None:
        self.account, self.limit, self.spent, self.held = account, limit, spent, held
        self.needed, self.resets, self.frees = needed, resets, frees
        usd = [f"${amount / 1e9:.6f}" for amount in (limit, spent, held, needed)]
        when = f"It resets at {resets}" if resets else "It does not reset"
        if frees:
            when = f"Spending leaves the rolling period as it ages; enough is available at {frees}"
        super().__init__(
            f"Budget of account {account!r} cannot cover this call: limit {usd[0]}, spent {usd[1]}, "
            f"held {usd[2]}; the cheapest candidate needs {usd[3]}. {when}; raise the limit, lower "
            "max_tokens, or set on_exhausted in routoo.toml."
        )


class HeldShareExceeded(BudgetExceeded):
    """An account holds as much at once as it may beside the others; money is free again when its calls end.

    Args:
        account: Whose calls.
        share: What it may hold at once, nano-USD.
        held: Held for its calls in flight.
        needed: The least that would have had to be held.
    """

    def __init__(self, account: str, share: int, held: int, needed: int) -> None:
        super().__init__(account, share, 0, held, needed)
        usd = [f"${amount / 1e9:.6f}" for amount in (share, held, needed)]
        self.args = (
            f"Account {account!r} may reserve at most {usd[0]} at once (its held_share) and has reserved {usd[1]}; the "
            f"cheapest candidate needs {usd[2]}. Wait until open calls have ended, or raise held_share.",
        )


class ReplyRejected(RoutingError, RuntimeError):
    """A reply was paid for, but does not meet a check; the next candidate may answer.

    Args:
        expert: Whose reply.
        reason: Why it was rejected.
    """

    def __init__(self, expert: str, reason: str) -> None:
        self.expert = expert
        self.reason = reason
        super().__init__(f"the reply of expert {expert!r} was rejected: {reason}")


class ReplyRefused(RoutingError, RuntimeError):
    """An expert refused to answer in the form that was asked for; the refusal was paid for.

    Args:
        expert: Who refused; ``None`` where it is not known.
        refusal: What it said instead.
    """

    def __init__(self, expert: str | None, refusal: str) -> None:
        self.expert = expert
        self.refusal = refusal
        author = "the expert" if expert is None else f"expert {expert!r}"
        super().__init__(
            f"{author} refused to answer: {refusal!r}. Rephrase the request, or ask another expert."
        )


class NoReply(RoutingError, RuntimeError):
    """An expert answered with success, but with something that is no reply; the next candidate may answer.

    Args:
        expert: Who answered.
        what: What came, as ``"a web page"`` or ``"no choices"``.
    """

    def __init__(self, expert: str, what: str) -> None:
        self.expert = expert
        self.what = what
        super().__init__(
            f"expert {expert!r} answered with {what} instead of a reply; check its base_url and model"
        )


class ReplyCutOff(NoReply):
    """A stream ended without a sign of its end; the next candidate may answer if the caller has seen nothing.

    Args:
        expert: Whose stream.
        what: What came.
    """

    def __init__(self, expert: str, what: str = "a stream that was cut off") -> None:
        super().__init__(expert, what)


class OtherModelAnswered(RoutingError, RuntimeError):
    """Another model answered than was asked, and ``strict_model`` forbids that.

    Args:
        expert: Which expert was asked.
        asked: The model it names.
        answered: The model that the reply names.
    """

    def __init__(self, expert: str, asked: str, answered: str) -> None:
        self.expert = expert
        self.asked = asked
        self.answered = answered
        super().__init__(
            f"expert {expert!r} was asked for model {asked!r}, but {answered!r} answered. If both are one "
            f"model, set answers_as = [{answered!r}] in experts.toml; to accept any model, set strict_model = false"
        )


class StreamInterrupted(RoutingError, RuntimeError):
    """An expert failed after its first chunk; no other can take over, since the caller has seen text.

    Args:
        expert: Whose stream broke off.
        booked: What was booked for it, nano-USD.
    """

    def __init__(self, expert: str, booked: int) -> None:
        self.expert, self.booked = expert, booked
        super().__init__(
            f"expert {expert!r} failed while streaming, so the reply is incomplete. ${booked / 1e9:.9f} was booked, "
            "the most it can have cost. Try again, or turn streaming off so that another expert can take over."
        )


class PredictionFailed(RoutingError, RuntimeError):
    """The predictor failed, so no expert can be chosen. None was called and nothing is charged."""


class PromptUnreadable(PredictionFailed):
    """The predictor failed with these prompts; with fewer of them, or others, it may not."""


class LedgerError(RoutingError, RuntimeError):
    """A ledger failed: what it was asked last may or may not have been done.

    Attributes:
        reservation: What it may hold, where it failed while it held money; else ``None``.
    """

    reservation: Any = None


class LedgerUnavailable(LedgerError):
    """A ledger has failed, and another call finds out whether it answers again: this one has asked it nothing."""


class LedgerForgot(LedgerError):
    """A ledger has lost what it kept, so that a limit might be spent again; nothing was done.

    Args:
        loss: What has happened to it.
        remedy: How it is undone.
    """

    def __init__(self, loss: str, remedy: str) -> None:
        self.loss = loss
        self.remedy = remedy
        super().__init__(
            f'{loss}. {remedy}, restart this process to start over, or set on_forgotten = "rebuild" in [budget]'
        )


class ReservationClosed(LedgerError):
    """A reservation is unknown or was closed before; the ledger is unchanged.

    Args:
        reservation_id: Which one.
        state: What the ledger says of it: ``settled``, ``released`` or ``unknown``.
    """

    def __init__(self, reservation_id: str, state: str) -> None:
        self.state = state
        super().__init__(
            f"reservation {reservation_id} is {state}; each hold can be settled only once"
        )


class CacheError(RoutingError, RuntimeError):
    """The store of answers failed; calls go on without it."""


class ExpertError(RoutingError, RuntimeError):
    """Stands for an error of a provider's package that came from another process.

    Most of those cannot be unpickled. Their messages are left behind, as they may quote the prompt or a key.

    Args:
        kind: The type of the error, as ``"RateLimitError"``.
        status: The HTTP status, if it had one.
    """

    def __init__(self, kind: str, status: int | None = None) -> None:
        self.kind = kind
        self.status = status
        super().__init__(kind if status is None else f"{kind} ({status})")


class AllExpertsFailed(RoutingError, ExceptionGroup[Exception]):
    """Every affordable candidate was tried and failed; ``exceptions`` holds one error for each.

    The same call may succeed later, unless it is a :class:`FinalFailure`. In another process, an
    :class:`ExpertError` stands for each error of a provider.

    Attributes:
        reasons: Why each of them failed, a :data:`routoo_core.failures.Reason` or ``"rejected"``.
    """

    reasons: tuple[str, ...] = ()

    def derive(self, excs: Sequence[Exception], /) -> AllExpertsFailed:  # type: ignore[override]
        """Keep the type when the group is split (``except*``)."""
        return type(self)(self.message, excs)


class FinalFailure(AllExpertsFailed, RuntimeError):
    """Every affordable candidate was tried and failed, and none of them may succeed later with the same call."""


def all_experts_failed(
    message: str, errors: Sequence[Exception], reasons: Sequence[str], may_succeed_later: bool
) -> AllExpertsFailed:
    """The error of a call for which everything affordable failed.

    Args:
        message: Who failed and how, without the providers' messages.
        errors: One for each attempt, at least one.
        reasons: Why each of them failed.
        may_succeed_later: Whether at least one of the experts may succeed later with the same call.
    """
    kind = AllExpertsFailed if may_succeed_later else FinalFailure
    group = kind(message, errors)
    group.reasons = tuple(reasons)
    return group


def specialised(error: RoutooError, kind: type[Error]) -> Error:
    """The same error as one of a more special class; an adapter has classes that are its framework's as well."""
    special = _rebuild(kind, error.args)
    special.__dict__.update(error.__dict__)
    special.__traceback__ = error.__traceback__
    return special


# Errors in other processes


def _rebuild(kind: type[Error], arguments: tuple[Any, ...]) -> Error:
    """An error as it was, without its ``__init__``, whose arguments are not its ``args``."""
    return kind.__new__(kind, *arguments)


def _portable(value: Any) -> Any:
    """A value with every error in it as one that can be pickled."""
    if isinstance(value, BaseException):
        return value if _is_portable(value) else _stand_in(value)
    if type(value) is dict:
        return {name: _portable(item) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_portable(item) for item in value)
    return value


def _is_portable(error: BaseException) -> bool:
    """Whether an error is ours, or Python's own with nothing but text and numbers in it."""
    if isinstance(error, RoutooError):
        return True
    if type(error).__module__ != "builtins":
        return False
    return _is_plain(error.args) and _is_plain(list(error.__dict__.values()))


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(_is_plain(item) for item in value)
    return type(value) in _PLAIN_TYPES


def _stand_in(error: BaseException) -> ExpertError:
    response = getattr(error, "response", None)
    for carrier in (error, response):
        for attribute in _STATUS_ATTRIBUTES:
            status = getattr(carrier, attribute, None)
            if isinstance(status, int) and 100 <= status <= 599:
                return ExpertError(type(error).__name__, int(status))
    return ExpertError(type(error).__name__)

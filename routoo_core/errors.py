"""Every exception Routoo raises on purpose.

::

    RoutooError
    ├── ConfigurationError (ValueError)     you configured it wrong; fix it and start again
    │   ├── UnknownPrice                    an expert without a known list price
    │   ├── CheckpointError                 a router folder that cannot be used as it is
    │   ├── OutcomesError                   a table of outcomes or prompts with a bad row
    │   ├── RecordError                     a decision record that cannot be read
    │   └── MissingDependency (ImportError) an optional package is not installed
    └── RoutingError (RuntimeError)         it happened while running
        ├── InvalidRequest (ValueError)     this request cannot be routed
        ├── NoCapableExpert                 no expert in the pool can serve what it needs
        ├── BudgetExceeded                  nothing in the pool is affordable right now
        ├── ReplyRejected                   a reply came and was paid for, but does not meet a check
        ├── StreamInterrupted               the expert failed after the caller had seen text
        ├── LedgerError                     a reservation was closed twice
        └── AllExpertsFailed (ExceptionGroup)   every affordable expert was tried and failed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class RoutooError(Exception):
    """Root of the tree: catch this to catch everything Routoo raises on purpose."""


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
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{package!r} is needed to {purpose}: pip install 'routoo[{extra}]'")


class RoutingError(RoutooError, RuntimeError):
    """Something went wrong with one call."""


class InvalidRequest(RoutingError, ValueError):
    """The request itself cannot be routed; nothing was charged."""


class NoCapableExpert(RoutingError):
    """No expert can serve what the request needs.

    Args:
        excluded: Expert name → what it lacks.
    """

    def __init__(self, excluded: Mapping[str, Sequence[str]]) -> None:
        self.excluded = {name: tuple(lacks) for name, lacks in excluded.items()}
        who = "; ".join(f"{name} lacks {', '.join(lacks)}" for name, lacks in self.excluded.items())
        super().__init__(
            f"No expert in the pool can serve this request: {who}. Add an expert that can, or list "
            "the capability under 'capabilities' in experts.toml if the expert has it."
        )


class BudgetExceeded(RoutingError):
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
            when = f"Money becomes free as calls grow older, enough of it at {frees}"
        super().__init__(
            f"Budget of account {account!r} cannot cover this call: limit {usd[0]}, spent {usd[1]}, "
            f"held {usd[2]}; the cheapest candidate needs {usd[3]}. {when}; raise the limit, lower "
            "max_tokens, or set on_exhausted in routoo.toml."
        )


class ReplyRejected(RoutingError):
    """A reply was paid for, but does not meet a check; the next candidate may answer.

    Args:
        expert: Whose reply.
        reason: Why it was rejected.
    """

    def __init__(self, expert: str, reason: str) -> None:
        self.expert = expert
        self.reason = reason
        super().__init__(f"the reply of expert {expert!r} was rejected: {reason}")


class StreamInterrupted(RoutingError):
    """An expert failed after its first chunk; no other can take over, since the caller has seen text.

    Args:
        expert: Whose stream broke off.
        booked: What was booked for it, nano-USD.
    """

    def __init__(self, expert: str, booked: int) -> None:
        self.expert, self.booked = expert, booked
        super().__init__(
            f"expert {expert!r} broke off while streaming; the reply is incomplete, ${booked / 1e9:.9f} was booked for "
            "the prompt and the text received. Ask again, or without streaming, so that another expert can take over."
        )


class LedgerError(RoutingError):
    """A reservation is unknown or was closed before; the ledger is unchanged."""


class AllExpertsFailed(RoutingError, ExceptionGroup[Exception]):
    """Every affordable candidate was tried and failed; ``exceptions`` holds one error for each."""

    def derive(self, excs: Sequence[Exception], /) -> AllExpertsFailed:  # type: ignore[override]
        """Keep the type when the group is split (``except*``)."""
        return AllExpertsFailed(self.message, excs)

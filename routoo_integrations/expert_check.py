"""One short call to an expert: whether its key, its name and its settings are right."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from routoo_core.asking.direct import direct_router
from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.errors import AllExpertsFailed, RoutooError
from routoo_core.experts import Expert, Pool
from routoo_core.failures import Reason, read_failure
from routoo_core.redaction import scrubbed
from routoo_core.text import shown_text
from routoo_integrations.langchain import RoutooChatModel

PROMPT = "Say hi."
REPLY_TOKENS = 16
"""The least that models which reason take as a limit."""

_REMEDIES: dict[Reason, str] = {
    "key": "check the key, what it may do, and the model's name",
    "credit": "pay in at the provider, or raise the limit there",
    "throttled": "wait, or ask the provider for a higher rate",
    "unreachable": "check base_url, and that the server runs",
    "timeout": "check base_url, or raise timeout_s",
    "unavailable": "try again later",
    "parameter": "check the settings of the expert",
    "no_reply": "check base_url: what answers there does not speak the protocol",
}


@dataclass(frozen=True, slots=True)
class ExpertCheck:
    """What a short call to an expert came to.

    Attributes:
        expert: Its name.
        problem: What is wrong, and what to do; ``None`` where it answered.
        seconds: How long that took.
        cost_usd: What it cost, an exact decimal string; ``None`` where it was not answered.
        model: The model that the reply names, where it names one.
    """

    expert: str
    problem: str | None
    seconds: float
    cost_usd: str | None = None
    model: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def check_expert(expert: Expert, budget: Budget, ledger: Ledger) -> ExpertCheck:
    """Call an expert once, for at most 16 tokens; held and booked like any other call.

    Args:
        expert: Whom to call.
        budget: Whose money it is.
        ledger: Keeps the accounts.
    """
    start = time.monotonic()
    try:
        router = direct_router(Pool([expert]), budget, ledger)
        model = RoutooChatModel(router, max_tokens=REPLY_TOKENS, max_retries=0)
        record = model.invoke(PROMPT).response_metadata["routoo"]
    except (RoutooError, AllExpertsFailed) as error:
        seconds = time.monotonic() - start
        return ExpertCheck(expert.name, _describe(expert, error), round(seconds, 3))
    seconds = time.monotonic() - start
    return ExpertCheck(
        expert=expert.name,
        problem=None,
        seconds=round(seconds, 3),
        cost_usd=record["total_usd"],
        model=record["answered_model"],
    )


def _describe(expert: Expert, error: Exception) -> str:
    """What went wrong, in the server's own words where it has any, and what to do."""
    if not isinstance(error, AllExpertsFailed):
        return str(error)
    failure = read_failure(error.exceptions[0])
    words = failure.description
    if failure.server_sentence:
        words += f", {shown_text(scrubbed(failure.server_sentence, [expert.api_key()]))!r}"
    remedy = _REMEDIES.get(failure.reason)
    return words if remedy is None else f"{words}; {remedy}"

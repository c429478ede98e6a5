"""How an attempt may end, and the reply of an earlier attempt that is the call's after all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from routoo_core.answer import Answer
from routoo_core.calling.follow_up import FollowUp
from routoo_core.failures import Failure
from routoo_core.plans.plan import Appraisal

if TYPE_CHECKING:
    from routoo_core.calling.attempt import Attempt


@dataclass(frozen=True, slots=True)
class Answered:
    """The expert replied."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The expert failed in a way that another may not share: the next candidate may answer.

    Attributes:
        error: What went wrong.
        failure: What that means.
    """

    error: Exception
    failure: Failure


@dataclass(frozen=True, slots=True)
class Rejected:
    """The expert's reply was paid for, but does not meet a check: the next candidate may answer.

    Attributes:
        reason: Why, without text of the prompt or the reply.
        repair: What its expert is told if it is asked again; ``None`` where it is not.
    """

    reason: str
    repair: FollowUp | None = None


@dataclass(frozen=True, slots=True)
class Contributed:
    """The expert replied to a step of a plan, which says what comes next.

    Attributes:
        answer: What it said.
        reply: The same in the adapter's own form.
        appraisal: What the plan reads of the answer.
    """

    answer: Answer
    reply: Any
    appraisal: Appraisal


Outcome = Answered | Failed | Rejected | Contributed


@dataclass(frozen=True, slots=True)
class PaidReply:
    """A reply that was paid for before and is the call's after all.

    Attributes:
        attempt: Whose it is.
        reply: In the adapter's own form.
        is_accepted: Whether it is what was asked for; one of a wrong form is only better than none.
    """

    attempt: Attempt
    reply: Any
    is_accepted: bool = False

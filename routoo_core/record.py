"""The decision record: why an expert was chosen, which attempts were made and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from routoo_core.candidates import Candidate
from routoo_core.errors import RecordError
from routoo_core.limits import ReplyLimiter
from routoo_core.money import decimal_usd

RECORD_VERSION = 1

Ending = Literal["answered", "failed", "rejected", "contributed", "abandoned"]
"""How an attempt ended: *rejected* is a reply that was paid for but does not meet a check, *contributed* one that a
plan used on its way to another, *abandoned* a call whose caller stopped waiting."""


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """A candidate as it was ranked.

    Attributes:
        expert: Its name, or a plan's.
        quality: Predicted, 0–1.
        expected_usd: Expected cost, an exact decimal string.
        maximum_usd: Maximum cost, an exact decimal string.
        latency_s: Seconds its replies took lately; ``None`` before the first.
        continued_usd: Expected cost had it answered the conversation's last turn, whose prompt its provider would have
            cached; ``None`` where that changes nothing.
        deviation: Standard deviation of the quality in log-odds, by what is not known of the expert; ``None`` where the
            router does not say.
    """

    expert: str
    quality: float
    expected_usd: str
    maximum_usd: str = "0.000000000"
    latency_s: float | None = None
    continued_usd: str | None = None
    deviation: float | None = None

    @classmethod
    def of(cls, candidate: Candidate) -> CandidateRecord:
        """The record of a candidate."""
        latency = candidate.latency
        continuation = candidate.continued_cost
        return cls(
            candidate.name,
            round(candidate.quality, 4),
            decimal_usd(candidate.expected_cost),
            decimal_usd(candidate.maximum_cost),
            None if latency is None else round(latency, 3),
            None if continuation is None else decimal_usd(continuation),
            None if candidate.deviation is None else round(candidate.deviation, 3),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "expert": self.expert,
            "quality": self.quality,
            "expected_usd": self.expected_usd,
            "maximum_usd": self.maximum_usd,
            "latency_s": self.latency_s,
            "continued_usd": self.continued_usd,
            "deviation": self.deviation,
        }


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One call to an expert, and how it ended.

    Attributes:
        expert: Its name.
        outcome: How the attempt ended.
        error: Type and HTTP status of the failure, or why the reply was rejected; never its text.
        held_usd: Held for it, an exact decimal string.
        settled_usd: Booked for it, an exact decimal string.
        estimated: Whether the expert left tokens unreported, so that what was booked for them is an estimate.
        answered_model: The model that the reply names, where it names one.
        repairs: Whether the expert was told what was wrong with its last reply.
        plan: The plan of which it was a step.
        rewrites: Whether the expert was given the answer to an earlier question that asks for the same.
        probability: How probably its answer is right by the scorer of the plan, 0–1; ``None`` where none was asked.
        threshold: The probability from which the plan accepts the answer, 0–1; ``None`` where no scorer was asked.
    """

    expert: str
    outcome: Ending
    error: str | None
    held_usd: str
    settled_usd: str
    estimated: bool = False
    answered_model: str | None = None
    repairs: bool = False
    plan: str | None = None
    rewrites: bool = False
    probability: float | None = None
    threshold: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "expert": self.expert,
            "outcome": self.outcome,
            "error": self.error,
            "held_usd": self.held_usd,
            "settled_usd": self.settled_usd,
            "estimated": self.estimated,
            "answered_model": self.answered_model,
            "repairs": self.repairs,
            "plan": self.plan,
            "rewrites": self.rewrites,
            "probability": self.probability,
            "threshold": self.threshold,
        }


@dataclass(frozen=True, slots=True)
class SkipRecord:
    """A candidate that was ranked last, since an expert of it failed lately.

    Attributes:
        expert: Its name, or a plan's.
        reason: Why it failed, in the words of :data:`routoo_core.failures.Reason`.
        seconds_left: Until it may be asked first again.
    """

    expert: str
    reason: str
    seconds_left: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "expert": self.expert,
            "reason": self.reason,
            "seconds_left": self.seconds_left,
        }


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """What a general router read of the prompt, without its text.

    Attributes:
        kinds: Skill → probability, of the likelier ones.
        difficulty: In log-odds, below 0 where the prompt is harder than usual; ``None`` where nothing is known of such
            prompts.
        foreign: Share of it that is in another language than English, 0–1.
    """

    kinds: Mapping[str, float]
    difficulty: float | None = None
    foreign: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kinds": dict(self.kinds),
            "difficulty": self.difficulty,
            "foreign": self.foreign,
        }


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """The configured policy.

    Attributes:
        name: Its name in routoo.toml, or the name of a function.
        parameters: Its settings, without λ.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: the name and the settings beside it."""
        return {"name": self.name, **self.parameters}


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """Everything a reply says about its routing; no prompt text, no secrets.

    The fields from ``model`` on are known once an expert was called; amounts are exact decimal strings.

    Attributes:
        expert: Who answered, or the first candidate where nobody was called.
        candidates: Best first, never empty.
        policy: The configured policy.
        lambda_: λ in quality per USD; ``None`` for a policy without one.
        previous: The expert, or the plan, of the conversation's last turn.
        open_tool_call: Whether that expert's tool call was open.
        predict_ms: Milliseconds the prediction took.
        router: Fingerprint of the predictor.
        skipped: Experts that cool down: they are the last candidates.
        prompt: What a general router read of the prompt; ``None`` from other routers.
        unread: Plans that were not offered → what of the prompt their scorer cannot read, such as images.
        plan: The plan whose reply it is.
        model: What the endpoint calls the expert.
        account: Whose budget paid; ``None`` for a reply from a cache, which somebody else may have paid for.
        cached: Whether the reply came from a cache and cost nothing.
        within_limit: ``False`` only for an ``on_exhausted`` expert called beyond the limit.
        held_usd: Held for the attempt that answered.
        reply_limit: The most tokens that the reply could have.
        limited_by: What set that limit; ``budget`` where a longer reply could not be paid for.
        settled_usd: Booked for the attempt that answered.
        estimated: Whether part of that is an estimate, since the expert did not report it.
        answered_model: The model that the reply names, where it names one.
        spent_usd: Spent by the account so far in its period.
        remaining_usd: Left in the account; ``None`` for no limit.
        attempts: Every attempt of the call, in order.
        total_usd: Booked for all attempts together.
        version: Of this format.
    """

    expert: str
    candidates: tuple[CandidateRecord, ...]
    policy: PolicyRecord = PolicyRecord("")
    lambda_: float | None = None
    previous: str | None = None
    open_tool_call: bool = False
    predict_ms: float = 0.0
    router: str = ""
    skipped: tuple[SkipRecord, ...] = ()
    prompt: PromptRecord | None = None
    unread: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    plan: str | None = None
    model: str | None = None
    account: str | None = None
    cached: bool = False
    within_limit: bool = True
    held_usd: str | None = None
    reply_limit: int | None = None
    limited_by: ReplyLimiter | None = None
    settled_usd: str | None = None
    estimated: bool = False
    answered_model: str | None = None
    spent_usd: str | None = None
    remaining_usd: str | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    total_usd: str | None = None
    version: int = RECORD_VERSION

    @property
    def choice(self) -> str:
        """The candidate whose reply it is: a plan, or an expert alone."""
        return self.plan or self.expert

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "version": self.version,
            "expert": self.expert,
            "plan": self.plan,
            "model": self.model,
            "policy": self.policy.to_dict(),
            "lambda": self.lambda_,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "previous": self.previous,
            "open_tool_call": self.open_tool_call,
            "predict_ms": self.predict_ms,
            "router": self.router,
            "skipped": [skip.to_dict() for skip in self.skipped],
            "prompt": None if self.prompt is None else self.prompt.to_dict(),
            "unread": {plan: list(parts) for plan, parts in self.unread.items()},
            "account": self.account,
            "cached": self.cached,
            "within_limit": self.within_limit,
            "held_usd": self.held_usd,
            "reply_limit": self.reply_limit,
            "limited_by": self.limited_by,
            "settled_usd": self.settled_usd,
            "estimated": self.estimated,
            "answered_model": self.answered_model,
            "spent_usd": self.spent_usd,
            "remaining_usd": self.remaining_usd,
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "total_usd": self.total_usd,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DecisionRecord:
        """Read what :meth:`to_dict` wrote; keys that this version does not know are ignored.

        Raises:
            RecordError: A field is missing or of the wrong type, there is no candidate, or the record is of a
                later version; the message names the field.
        """
        if values.get("version", RECORD_VERSION) != RECORD_VERSION:
            raise RecordError(
                f"version: {values['version']!r} is not {RECORD_VERSION}; "
                "read the record with the version of Routoo that wrote it"
            )
        fields = dict(values)
        fields["lambda_"] = fields.pop("lambda", None)
        policy = fields.get("policy")
        if isinstance(policy, Mapping):
            parameters = {key: value for key, value in policy.items() if key != "name"}
            fields["policy"] = {"name": policy.get("name"), "parameters": parameters}
        try:
            record = _record_adapter().validate_python(fields)
        except ValidationError as error:
            first = error.errors()[0]
            field_name = ".".join(str(part) for part in first["loc"])
            raise RecordError(f"{field_name}: {first['msg']}") from error
        if not record.candidates:
            raise RecordError("candidates: the list is empty; a record names at least one")
        return record


@lru_cache(maxsize=1)
def _record_adapter() -> TypeAdapter[DecisionRecord]:
    return TypeAdapter(DecisionRecord)

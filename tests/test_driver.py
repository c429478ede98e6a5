"""One driver makes every call: attempts follow one another until a reply is accepted, each with its settlement."""

from dataclasses import dataclass, field, replace

import pytest

from routoo_core import RoutedRequest, Usage
from routoo_core.answer import Answer
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.calling.driver import arun, astream, run, stream
from routoo_core.calling.readings import PieceReading, Reading
from routoo_core.errors import AllExpertsFailed, RecordError, ReplyRejected
from routoo_core.policies import POLICIES
from routoo_core.record import DecisionRecord
from routoo_core.request import Overrides
from routoo_core.selector import Policy
from routoo_core.testing import ManualClock

HELLO = RoutedRequest.from_text(
    "What is the meaning of life, the universe and everything?", max_tokens=100
)


class HttpError(Exception):
    status_code = 503


@dataclass
class TextReply:
    text: str
    record: DecisionRecord | None = None


@dataclass
class TextCall:
    """An adapter of the smallest kind: experts answer what a dict says, or fail with it."""

    answers: dict
    usage: Usage | None = field(default_factory=lambda: Usage(20, 10))
    sent: list = field(default_factory=list)

    def send(self, attempt):
        self.sent.append(attempt.expert.name)
        answer = self.answers[attempt.expert.name]
        if isinstance(answer, Exception):
            raise answer
        return TextReply(answer)

    async def asend(self, attempt):
        return self.send(attempt)

    def open(self, attempt):
        for word in self.send(attempt).text.split():
            if word == "BREAK":
                raise ConnectionResetError
            yield word

    async def aopen(self, attempt):
        async def words():
            for word in self.open(attempt):
                yield word

        return words()

    def read(self, reply):
        return Reading(reply.text, self.usage, answer=Answer(reply.text))

    def stamp(self, reply, record):
        return TextReply(reply.text, record)

    def reader(self, attempt):
        return WordReader(self.usage)


@dataclass
class WordReader:
    usage: Usage | None

    def read(self, piece):
        return PieceReading(piece, is_visible=True, may_be_last=False)

    def finish(self):
        return Reading(usage=self.usage)

    def stamp(self, piece, record):
        return TextReply(piece, record)

    def closing_piece(self):
        return ""


def state(router):
    return router.ledger.state(router.budget)


def checked_by(check, repair=False):
    return replace(HELLO, overrides=Overrides(check=check, repair=repair))


async def ask(how, router, call, request=HELLO, **hooks):
    if how == "run":
        return run(router, request, call, **hooks)
    return await arun(router, lambda: request, call, **hooks)


async def stream_pieces(how, router, call):
    if how == "stream":
        return list(stream(router, HELLO, call))
    return [piece async for piece in astream(router, lambda: HELLO, call)]


BOTH = pytest.mark.parametrize("how", ["run", "arun"])


@BOTH
async def test_the_first_reply_is_settled_and_stamped(make_router, how):
    router = make_router()
    reply = await ask(how, router, TextCall({"dear": "Forty-two."}))
    assert (reply.text, reply.record.expert) == ("Forty-two.", "dear")
    assert reply.record.settled_usd == reply.record.total_usd == "0.000500000"
    assert (state(router).spent, state(router).held) == (500_000, 0)


@BOTH
async def test_a_rejected_reply_stays_paid_and_the_next_candidate_answers(make_router, how):
    router = make_router()
    call = TextCall({"dear": "Perhaps.", "cheap": "Forty-two."})

    def check(answer):
        return None if "Forty" in answer.text else "no number"

    request = checked_by(check)
    reply = await ask(how, router, call, request)
    assert reply.text == "Forty-two."
    attempts = [(a.expert, a.outcome, a.error, a.settled_usd) for a in reply.record.attempts]
    assert attempts == [
        ("dear", "rejected", "no number", "0.000500000"),
        ("cheap", "answered", None, "0.000030000"),
    ]
    assert reply.record.total_usd == "0.000530000"
    assert (state(router).spent, state(router).held) == (530_000, 0)


@BOTH
async def test_when_nothing_passes_the_check_every_rejection_is_in_the_error(make_router, how):
    router = make_router()
    call = TextCall({"dear": "Perhaps.", "cheap": HttpError()})
    with pytest.raises(AllExpertsFailed) as caught:
        await ask(how, router, call, checked_by(lambda answer: "too vague"))
    rejection, failure = caught.value.exceptions
    assert isinstance(rejection, ReplyRejected)
    assert (rejection.expert, rejection.reason) == ("dear", "too vague")
    assert isinstance(failure, HttpError)
    assert state(router).spent == 500_000


@BOTH
async def test_the_attempt_that_ends_a_call_is_announced_once(make_router, how):
    ended = []
    call = TextCall({"dear": HttpError(), "cheap": "Forty-two."})
    await ask(how, make_router(), call, on_end=ended.append)
    assert [(attempt.expert.name, attempt.error) for attempt in ended] == [("cheap", None)]

    broken = TextCall({"dear": NotImplementedError("this adapter cannot")})
    with pytest.raises(NotImplementedError):
        await ask(how, make_router(), broken, on_end=ended.append)
    assert [attempt.record().attempts[-1].outcome for attempt in ended] == ["answered", "failed"]


@BOTH
async def test_a_call_that_nobody_answered_is_announced_once_with_what_it_cost(make_router, how):
    ended = []
    call = TextCall({"dear": "Perhaps.", "cheap": HttpError()})
    request = checked_by(lambda answer: "too vague")
    with pytest.raises(AllExpertsFailed):
        await ask(how, make_router(), call, request, on_end=ended.append)
    (last,) = ended
    outcomes = [attempt.outcome for attempt in last.record().attempts]
    assert (outcomes[0], outcomes[-1]) == ("rejected", "failed")
    assert last.record().total_usd == "0.000500000"


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_a_stream_ends_with_the_record_and_a_failure_before_it_moves_on(make_router, how):
    router = make_router()
    call = TextCall({"dear": "BREAK", "cheap": "Forty two"})
    *words, last = await stream_pieces(how, router, call)
    assert words == ["Forty", "two"]
    assert last.text == ""
    assert [attempt.outcome for attempt in last.record.attempts] == ["failed", "answered"]
    assert last.record.expert == "cheap"


def test_a_record_survives_json_and_what_is_wrong_with_one_is_named(make_router):
    record = run(make_router(), HELLO, TextCall({"dear": "Forty-two."})).record
    assert DecisionRecord.from_dict(record.to_dict()) == record
    assert DecisionRecord.from_dict({**record.to_dict(), "colour": "red"}) == record
    for field_name, value, message in (
        ("candidates", [], "candidates: the list is empty"),
        ("candidates", [{"expert": "x"}], "candidates.0.quality"),
        ("expert", 7, "expert"),
        ("version", 99, "version: 99"),
    ):
        with pytest.raises(RecordError, match=message):
            DecisionRecord.from_dict({**record.to_dict(), field_name: value})


def test_a_decision_is_a_query(make_router):
    """Deciding any number of times opens no account and moves no λ."""
    router = make_router(policy="paced", ledger=SqliteLedger(clock=ManualClock()))
    decisions = [router.decide(HELLO) for _ in range(3)]
    assert len({decision.lambda_ for decision in decisions}) == 1
    assert router.ledger.accounts() == []
    assert router.ledger.history() == []

    alice = RoutedRequest.from_text("hello", max_tokens=5, overrides=Overrides(account="alice"))
    router.decide(alice)
    assert router.ledger.accounts() == []


def test_the_record_names_the_configured_policy_and_lambda_beside_it(make_router):
    reply = run(make_router(policy="paced"), HELLO, TextCall({"dear": "x", "cheap": "x"}))
    assert reply.record.to_dict()["policy"] == {"name": "paced", "tie": 0.01}
    assert reply.record.to_dict()["lambda"] >= 0
    fixed = run(
        make_router(policy={"name": "lagrangian", "lambda": 7}),
        HELLO,
        TextCall({"dear": "x", "cheap": "x"}),
    )
    assert (fixed.record.policy.name, fixed.record.lambda_) == ("lagrangian", 7)
    ratio = run(
        make_router(policy={"name": "ratio", "alpha": 0.5}),
        HELLO,
        TextCall({"dear": "x", "cheap": "x"}),
    )
    assert ratio.record.to_dict()["policy"] == {"name": "ratio", "alpha": 0.5}
    assert ratio.record.lambda_ is None


def test_a_policy_is_added_from_outside_by_one_class_and_one_entry(make_router, monkeypatch):
    class Alternating(Policy):
        """Prefers the cheap expert on every second call."""

        name = "alternating"

        def __init__(self):
            self.calls = 0

        def rule(self, context):
            sign = 1 if self.calls % 2 else -1
            return lambda quality, cost: sign * -cost

        def observe(self, context):
            self.calls += 1

    monkeypatch.setitem(POLICIES, "alternating", Alternating)
    router = make_router(policy="alternating")
    call = TextCall({"dear": "x", "cheap": "x"})
    for _ in range(4):
        assert router.decide(HELLO).policy.name == "alternating"
        run(router, HELLO, call)
    assert call.sent == ["dear", "cheap", "dear", "cheap"]

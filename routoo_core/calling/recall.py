"""The cache's part in a call: the answer to the same call of before, and the storing of a new one.

What fails in the store costs the call nothing: it goes on as if nothing were stored, and a warning says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from routoo_core.answer import Answer
from routoo_core.answer_cache.answers import StoredAnswer, StoredQuestion
from routoo_core.answer_cache.nearest import find_same
from routoo_core.answer_cache.opening import AnswerCache
from routoo_core.answer_cache.query import CacheQuery, key_of, may_be_cached, question_of
from routoo_core.answer_cache.similarity import pack
from routoo_core.budget.account import Budget
from routoo_core.calling.attempt import Attempt
from routoo_core.calling.attempts import ReadRequest
from routoo_core.calling.checks import CheckRule, ReplyChecks
from routoo_core.calling.readings import Reading
from routoo_core.errors import CacheError, RecordError
from routoo_core.money import decimal_usd, to_nano_usd
from routoo_core.record import DecisionRecord
from routoo_core.request import EarlierAnswer, RoutedRequest
from routoo_core.threads import off_loop

if TYPE_CHECKING:
    from routoo_core.router import Router

_WHOLE_ENDS = frozenset(
    {
        "",
        "complete",
        "completed",
        "end_turn",
        "eos",
        "eos_token",
        "finished",
        "stop",
        "stop_sequence",
    }
)
"""What providers give as the reason of an end that the expert itself chose, in lower case."""


@runtime_checkable
class CacheableCall(Protocol):
    """A call that says what it asks, and makes replies of its adapter's own type."""

    def cache_query(self) -> CacheQuery | None:
        """What it asks of whichever expert answers; ``None`` where that cannot be put into words."""
        ...

    def cached_reply(self, hit: CachedAnswer) -> Any:
        """A whole reply with an answer from the cache, stamped."""
        ...

    def cached_piece(self, hit: CachedAnswer) -> Any:
        """An answer from the cache as the only piece of a stream, stamped."""
        ...


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer that is given again.

    Attributes:
        answer: As it was stored.
        record: The decision record of the call that it now answers: nothing was held or booked.
    """

    answer: StoredAnswer = field(repr=False)
    record: DecisionRecord


class CallCache:
    """The cache's part in one call.

    Args:
        router: Whose cache.
        read_request: Reads the call.
        call: A :class:`CacheableCall`; any other is not cached.
    """

    def __init__(self, router: Router, read_request: ReadRequest, call: object) -> None:
        self._router = router
        self._read_request = read_request
        self._call = call if router.cache and isinstance(call, CacheableCall) else None
        self._request: RoutedRequest | None = None
        self._key: str | None = None
        self._payer = ""
        self._account = ""
        self._question: StoredQuestion | None = None

    def request(self) -> RoutedRequest:
        """The call as the router reads it, read once; with the answer to an earlier question, where one may do."""
        if self._request is None:
            self._request = self._read_request()
        return self._request

    def reply(self) -> Any:
        """A reply with the answer to the same call of before; ``None`` where there is none, or none may be given.

        Raises:
            InvalidRequest: The call's account cannot pay.
        """
        hit = self._find()
        return None if self._call is None or hit is None else self._call.cached_reply(hit)

    async def areply(self) -> Any:
        """:meth:`reply`, off the event loop."""
        return None if self._call is None else await off_loop(self.reply)

    def piece(self) -> Any:
        """:meth:`reply` as the only piece of a stream."""
        hit = self._find()
        if self._call is None or hit is None:
            return None
        return self._call.cached_piece(hit)

    async def apiece(self) -> Any:
        """:meth:`piece`, off the event loop."""
        return None if self._call is None else await off_loop(self.piece)

    def keep(self, reading: Reading, attempt: Attempt) -> None:
        """Store a reply that came to its end and was accepted, if it may be given again.

        Args:
            reading: What it says.
            attempt: The one that was answered, settled.
        """
        cache = self._router.cache
        if cache is None or self._key is None or not self._may_be_kept(reading):
            return
        record = attempt.record()
        answer = StoredAnswer(
            text=reading.shown,
            end=reading.end,
            expert=attempt.expert.name,
            model=attempt.expert.model,
            answered_model=reading.model,
            usage=reading.usage,
            cost=to_nano_usd(record.total_usd or "0"),
            created=time.time(),
            record=record.to_dict(),
        )
        is_rewritten = attempt.follow_up is not None and attempt.follow_up.is_rewriting
        question = None if is_rewritten else self._question  # copies of copies would drift
        try:
            cache.store.put(self._key, self._account, answer, question)
        except CacheError as error:
            cache.note_failure(error)

    async def akeep(self, reading: Reading, attempt: Attempt) -> None:
        """:meth:`keep` off the event loop."""
        if self._key is not None:
            await off_loop(lambda: self.keep(reading, attempt))

    def _find(self) -> CachedAnswer | None:
        """The answer to the same call of before."""
        cache = self._router.cache
        if cache is None or self._call is None:
            return None
        content = self._call.cache_query()
        if content is None or not may_be_cached(content, self.request(), cache.rule):
            return None
        accounts = account_names(self._budget())
        self._account = "/".join(reversed(accounts))
        self._payer = accounts[0]
        self._key = key_of(content, self.request(), accounts)
        if self._key is None:
            return None
        try:
            answer = cache.store.find(self._key)
            if answer is not None and self._will_do(answer):
                return self._cached_answer(answer)
            if cache.rule.rewrite_with is not None:
                self._look_for_earlier(cache, content, accounts, cache.rule.rewrite_with)
        except CacheError as error:
            cache.note_failure(error)
        return None

    def _look_for_earlier(
        self, cache: AnswerCache, content: CacheQuery, accounts: Sequence[str], rewriter: str
    ) -> None:
        """Put the answer to a question that asks for the same into the request, to be rewritten."""
        request = self.request()
        question = question_of(content, request, accounts, cache.vectors.name)
        if question is None or self._key is None:
            return
        vector = cache.vectors.of(question.text)
        self._question = StoredQuestion(self._key, question.scope, question.text, pack(vector))
        others = cache.store.questions(question.scope)
        same = find_same(question.text, vector, others, cache.rule.min_similarity)
        answer = None if same is None else cache.store.find(same.key, is_use=False)
        if same is not None and answer is not None and self._is_of_pool(answer):
            author = str(answer.record.get("plan") or answer.expert)
            earlier = EarlierAnswer(same.text, answer.text, author, rewriter)
            self._request = replace(request, earlier=earlier)

    def _budget(self) -> Budget:
        """Whose budget would pay."""
        overrides = self.request().overrides
        payer: Budget = overrides.payer or self._router.budget.for_account(overrides.account)
        return payer

    def _will_do(self, answer: StoredAnswer) -> bool:
        """Whether its expert is still the same one, and the call's own check accepts it."""
        if not self._is_of_pool(answer):
            return False
        own_check = ReplyChecks(self.request(), CheckRule(form=False))
        return own_check.find_fault(Answer(answer.text)) is None

    def _is_of_pool(self, answer: StoredAnswer) -> bool:
        experts = {expert.name: expert.model for expert in self._router.pool}
        return experts.get(answer.expert) == answer.model

    def _may_be_kept(self, reading: Reading) -> bool:
        """Whether a reply is a whole text of the form that was asked for."""
        answer = reading.answer
        if not reading.is_complete or answer.tool_calls or not answer.is_whole:
            return False
        if not reading.shown.strip() or reading.end.lower() not in _WHOLE_ENDS:
            return False
        checks = ReplyChecks(self.request(), self._router.checks)
        return checks.find_fault(answer) is None

    def _cached_answer(self, answer: StoredAnswer) -> CachedAnswer | None:
        """An answer with the record of this call; ``None`` where its record is of another version."""
        nothing = decimal_usd(0)
        try:
            first = DecisionRecord.from_dict(answer.record)
        except RecordError:
            return None
        record = replace(
            first,
            cached=True,
            predict_ms=0.0,
            account=self._payer,
            within_limit=True,
            held_usd=nothing,
            settled_usd=nothing,
            total_usd=nothing,
            estimated=False,
            spent_usd=None,
            remaining_usd=None,
            attempts=(),
        )
        return CachedAnswer(answer, record)


def account_names(payer: Budget) -> list[str]:
    """Who pays, and the accounts that is within, innermost first."""
    return [account.account for account in payer.chain]

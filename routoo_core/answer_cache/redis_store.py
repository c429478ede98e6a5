"""Answers in the Redis server that keeps the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from routoo_core.answer_cache.answers import StoredAnswer, StoredAnswers, StoredQuestion
from routoo_core.answer_cache.store import MOST_COMPARED, is_within
from routoo_core.budget.clock import WALL_CLOCK, Clock
from routoo_core.budget.redis_client import RedisClient, RedisFailure
from routoo_core.errors import CacheError

_ANSWER = "{routoo}:answer:"
_ACCOUNTS = "{routoo}:answers:accounts"
_SCOPE = "{routoo}:answers:scope:"
_BY_USE = "{routoo}:answers:of:"


class RedisAnswers:
    """Answers in Redis, which forgets them by itself when they are too old.

    An answer is a hash. A sorted set for each account names its answers, by when they were last used.

    Args:
        url: The ledger's address.
        max_age_s: Seconds after which an answer is not given again.
        max_entries: Answers that are stored for each account.
        clock: Tells the time, seconds since the epoch.

    Raises:
        MissingDependency: ``redis`` is not installed.
    """

    def __init__(
        self, url: str, max_age_s: float, max_entries: int, clock: Clock = WALL_CLOCK
    ) -> None:
        self._server = RedisClient(url, "keep the answers in Redis")
        self._max_age_s = max_age_s
        self._max_entries = max_entries
        self._clock = clock

    def find(self, key: str, is_use: bool = True) -> StoredAnswer | None:
        """See :meth:`AnswerStore.find`."""
        now = self._clock()
        with self._using() as client:
            text, creation, account = client.hmget(_ANSWER + key, "answer", "created", "account")
            if text is None or float(creation) <= now - self._max_age_s:
                return None
            if is_use:
                with client.pipeline() as steps:
                    steps.zadd(_by_use(account), {key: now}, xx=True)
                    steps.hincrby(_ANSWER + key, "hits", 1)
                    steps.pexpire(_ANSWER + key, self._life_ms(float(creation), now))
                    steps.execute()
        return StoredAnswer.from_json(text)

    def put(
        self, key: str, account: str, answer: StoredAnswer, question: StoredQuestion | None = None
    ) -> None:
        """See :meth:`AnswerStore.put`."""
        now = self._clock()
        fields = {
            "answer": answer.to_json(),
            "account": account,
            "created": answer.created,
            "cost": answer.cost,
        }
        if question is not None:
            fields |= {"question": question.text, "vector": question.vector}
        with self._using() as client:
            with client.pipeline() as steps:
                steps.hset(_ANSWER + key, mapping=fields)
                steps.hsetnx(_ANSWER + key, "hits", 0)
                steps.pexpire(_ANSWER + key, self._life_ms(answer.created, now))
                steps.zadd(_by_use(account), {key: now})
                steps.zremrangebyscore(_by_use(account), "-inf", now - self._max_age_s)
                steps.sadd(_ACCOUNTS, account)
                if question is not None:
                    steps.zadd(_SCOPE + question.scope, {key: now})
                    steps.zremrangebyrank(_SCOPE + question.scope, 0, -MOST_COMPARED - 1)
                    steps.pexpire(_SCOPE + question.scope, self._life_ms(now, now))
                steps.zcard(_by_use(account))
                count = steps.execute()[-1]
            if count > self._max_entries:
                surplus = client.zpopmin(_by_use(account), count - self._max_entries)
                client.delete(*(_ANSWER + old_key for old_key, _ in surplus))

    def questions(self, scope: str) -> list[StoredQuestion]:
        """See :meth:`AnswerStore.questions`."""
        questions = []
        with self._using() as client:
            keys = client.zrevrange(_SCOPE + scope, 0, MOST_COMPARED - 1)
            with client.pipeline() as steps:
                for key in keys:
                    steps.hmget(_ANSWER + key, "question", "vector")
                rows = steps.execute()
        for key, (text, vector) in zip(keys, rows, strict=True):
            if text is not None and vector is not None:
                questions.append(StoredQuestion(key, scope, text, vector))
        return questions

    def show(self) -> list[StoredAnswers]:
        """See :meth:`AnswerStore.show`."""
        summaries = []
        with self._using() as client:
            for account in sorted(client.smembers(_ACCOUNTS)):
                summary = self._summary(client, account)
                if summary.entries:
                    summaries.append(summary)
        return summaries

    def clear(self, account: str | None = None) -> int:
        """See :meth:`AnswerStore.clear`."""
        count = 0
        with self._using() as client:
            for name in client.smembers(_ACCOUNTS):
                if account is None or is_within(name, account):
                    keys = client.zrange(_by_use(name), 0, -1)
                    if keys:
                        count += client.delete(*(_ANSWER + key for key in keys))
                    client.delete(_by_use(name))
                    client.srem(_ACCOUNTS, name)
        return count

    def _summary(self, client: Any, account: str) -> StoredAnswers:
        """What is stored for an account; answers that Redis has forgotten are taken off its list."""
        entries = 0
        hits = 0
        savings = 0
        oldest = self._clock()
        for key in client.zrange(_by_use(account), 0, -1):
            creation, own_hits, cost = client.hmget(_ANSWER + key, "created", "hits", "cost")
            if creation is None:
                client.zrem(_by_use(account), key)
                continue
            entries += 1
            hits += int(own_hits)
            savings += int(own_hits) * int(cost)
            oldest = min(oldest, float(creation))
        return StoredAnswers(account, entries, hits, savings, oldest)

    def _life_ms(self, creation: float, now: float) -> int:
        """Milliseconds that an answer is good for."""
        return max(1, int((creation + self._max_age_s - now) * 1000))

    @contextmanager
    def _using(self) -> Iterator[Any]:
        """The client of this process.

        Raises:
            CacheError: The server cannot be used.
        """
        try:
            with self._server.using() as client:
                yield client
        except RedisFailure as failure:
            raise CacheError(f"the cache of answers in Redis failed: {failure}") from None


def _by_use(account: str) -> str:
    """The sorted set of an account, whose name may be of any form."""
    return _BY_USE + hashlib.sha256(account.encode(errors="replace")).hexdigest()

"""The cache of a router: its rule, and the store beside the ledger."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from routoo_core.answer_cache.redis_store import RedisAnswers
from routoo_core.answer_cache.rule import CacheRule
from routoo_core.answer_cache.similarity import (
    EncoderVectors,
    NGramVectors,
    QuestionVectors,
    find_encoder,
)
from routoo_core.answer_cache.store import AnswerStore, SqliteAnswers
from routoo_core.budget.ledger import Ledger
from routoo_core.budget.redis import RedisLedger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.budget.sqlite_file import IN_MEMORY
from routoo_core.errors import CacheError, ConfigurationError
from routoo_core.experts import Pool
from routoo_core.predictor.base import Predictor

_WARN_EVERY_S = 60.0
_LOGGER = logging.getLogger(__name__)


class AnswerCache:
    """What a router stores its answers by, and where.

    Args:
        rule: The router's.
        ledger: The answers are stored beside it.
        pool: The experts, one of which may rewrite.
        predictor: Its encoder may make the vectors of questions.

    Raises:
        ConfigurationError: The file or the server cannot be used, the expert that rewrites is not in the pool, or the
            predictor has no encoder.
    """

    def __init__(self, rule: CacheRule, ledger: Ledger, pool: Pool, predictor: Predictor) -> None:
        self.rule = rule
        if rule.rewrite_with is not None:
            pool[rule.rewrite_with]
        self.vectors = make_vectors(rule.vectors, predictor)
        self.store = open_answers(rule, ledger)
        self._last_warning = float("-inf")

    def note_failure(self, error: CacheError) -> None:
        """Say that the store fails, at most once a minute."""
        now = time.monotonic()
        if now - self._last_warning >= _WARN_EVERY_S:
            self._last_warning = now
            _LOGGER.warning("%s; calls go on without it", error)


def make_vectors(kind: str, predictor: Predictor) -> QuestionVectors:
    """What makes the vectors of questions.

    Args:
        kind: ``ngrams`` or ``predictor``.
        predictor: The router's.

    Raises:
        ConfigurationError: The predictor has no encoder.
    """
    if kind == "ngrams":
        return NGramVectors()
    encoder = find_encoder(predictor)
    if encoder is None:
        raise ConfigurationError("cache.vectors: the router has no encoder; choose ngrams")
    return EncoderVectors(encoder)


def open_answers(rule: CacheRule, ledger: Ledger) -> AnswerStore:
    """The store of a ledger: its Redis server, a file beside its own, or this process's memory.

    Raises:
        ConfigurationError: The file or the server cannot be used.
    """
    if isinstance(ledger, RedisLedger):
        return RedisAnswers(ledger.url, rule.max_age_s, rule.max_entries)
    return SqliteAnswers(answers_path(ledger), rule.max_age_s, rule.max_entries)


def answers_path(ledger: Ledger) -> Path | None:
    """The file of the answers: ``routoo.answers.db`` beside ``routoo.db``; ``None`` for memory."""
    if isinstance(ledger, SqliteLedger) and ledger.path != IN_MEMORY:
        return Path(ledger.path).with_suffix(".answers.db")
    return None

"""A predictor in another process: what it is, how it is asked, and how its forecasts travel.

Whoever predicts answers with :func:`answer_prompts`; whoever asks has a :class:`PredictorElsewhere`, over a line of its
own kind: a Unix socket between the workers of one machine (``machine``), or Ray (``ray_app``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from safetensors import numpy as tensors

from routoo_core.errors import PredictionFailed, PromptUnreadable
from routoo_core.predictor.base import Forecast, Predictor, Quality, forecast
from routoo_core.predictor.batching import without_batching

_LOGGER = logging.getLogger(__name__)
_FORECAST = b"+"
_FAILURE = b"-"
_UNREADABLE = b"?"
"""How an answer begins; behind the last two stands the name of an error."""


class PredictionLine(Protocol):
    """A way to a predictor in another process; safe from any thread, and can be pickled."""

    def ask(self, prompts: Sequence[str]) -> bytes:
        """What :func:`answer_prompts` answers there.

        Raises:
            PredictionFailed: The other process cannot be reached.
        """
        ...


@dataclass(frozen=True)
class PredictorDescription:
    """What a predictor is, for those that cannot look at it.

    Attributes:
        experts: Of its predictions.
        fingerprint: Changes whenever the predictions may.
        folder: Of its checkpoint; ``None`` where it has none.
    """

    experts: tuple[str, ...]
    fingerprint: str
    folder: Path | None

    @classmethod
    def of(cls, predictor: Predictor) -> Self:
        """The description of a predictor."""
        folder = getattr(without_batching(predictor), "folder", None)
        return cls(tuple(predictor.experts), predictor.fingerprint, folder)


class PredictorElsewhere:
    """A predictor in another process; safe from any thread, and can be pickled.

    Args:
        description: What it is.
        line: The way to it.
    """

    def __init__(self, description: PredictorDescription, line: PredictionLine) -> None:
        self._description = description
        self._line = line

    @property
    def experts(self) -> tuple[str, ...]:
        """The predictor's experts."""
        return self._description.experts

    @property
    def fingerprint(self) -> str:
        """The predictor's fingerprint."""
        return self._description.fingerprint

    @property
    def folder(self) -> Path | None:
        """The folder of its checkpoint."""
        return self._description.folder

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Quality 0–1, shape (prompts, experts); errors as in :meth:`forecast`."""
        return self.forecast(prompts).quality

    def forecast(self, prompts: Sequence[str]) -> Forecast:
        """Everything the predictor knows.

        Raises:
            PromptUnreadable: It failed with these prompts.
            PredictionFailed: It failed, or its process is gone.
        """
        answer = self._line.ask(prompts)
        content = answer[1:]
        if answer[:1] == _FORECAST:
            return _unpack(content)
        kind = PromptUnreadable if answer[:1] == _UNREADABLE else PredictionFailed
        raise kind(f"{content.decode()} in the process that predicts for others")


def answer_prompts(predictor: Predictor, prompts: Sequence[str]) -> bytes:
    """What a process that has a predictor answers to one that asks.

    An error is told by its name alone, since its text may quote a prompt.
    """
    try:
        return _FORECAST + _pack(forecast(predictor, prompts))
    except Exception as error:  # noqa: BLE001 (it is raised in the process that asked)
        name = type(error).__name__
        _LOGGER.error("a prediction failed: %s", name)
        is_plain = isinstance(error, PredictionFailed) and not isinstance(error, PromptUnreadable)
        return (_FAILURE if is_plain else _UNREADABLE) + name.encode()


def _pack(prediction: Forecast) -> bytes:
    tables = {}
    for name, table in prediction._asdict().items():
        if table is not None:
            tables[name] = np.ascontiguousarray(table)
    return tensors.save(tables)


def _unpack(content: bytes) -> Forecast:
    return Forecast(**tensors.load(content))

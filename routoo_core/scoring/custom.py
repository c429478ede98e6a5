"""A function of yours as a grader."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routoo_core.errors import ConfigurationError
from routoo_core.scoring.grader import Grader
from routoo_core.scoring.rows import GraderRow

CUSTOM_PREFIX = "python:"


def _no_score(row: GraderRow, text: str) -> float:
    return 0.0


@dataclass(frozen=True)
class CustomGrader(Grader):
    """A function ``grade(row, text) -> float``; its attribute ``columns`` may name what it needs.

    Attributes:
        function: Takes the row and the answer's text; returns the score, 0–1.
    """

    function: Callable[[GraderRow, str], float] = field(default=_no_score)

    def __post_init__(self) -> None:
        columns = tuple(getattr(self.function, "columns", ()))
        object.__setattr__(self, "columns", columns)

    def score_text(self, row: GraderRow, text: str) -> float:
        """What the function returns.

        Raises:
            ConfigurationError: It is not a number in 0–1.
        """
        score = self.function(row, text)
        is_number = isinstance(score, int | float)
        if not is_number or not 0 <= score <= 1:
            name = self.function.__name__
            prompt_id = row["prompt_id"]
            raise ConfigurationError(
                f"grader: {name} gave {score!r} for prompt {prompt_id!r}; return 0 to 1"
            )
        return float(score)


def load_custom_grader(name: str, **settings: Any) -> CustomGrader:
    """The grader that ``python:module:function`` names; the module may lie in the current folder.

    Args:
        name: The name.
        settings: Fields of :class:`CustomGrader`.

    Raises:
        ConfigurationError: There is no such function.
    """
    module_name, _, function_name = name.removeprefix(CUSTOM_PREFIX).partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
        function = getattr(module, function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"grader: {name!r}: {error}; write python:module:function"
        ) from error
    return CustomGrader(function=function, **settings)

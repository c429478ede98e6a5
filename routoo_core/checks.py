"""Ready-made checks of replies: give one to a call as ``routoo_check``, or any function of your own.

::

    model.invoke("Write a function that …", routoo_check=CodeCheck("assert double(2) == 4"))

A reply that fails its check stays paid for, and the next try follows; see :mod:`routoo_core.calling.checks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from routoo_core.answer import Answer, ToolCall
from routoo_core.calling.checks import Check, Fault, find_json_fault
from routoo_core.errors import ConfigurationError
from routoo_core.json_schema import JsonSchema
from routoo_core.sandbox.code_tests import tests_pass
from routoo_core.stated_answers import extract_code, find_number, without_thoughts

__all__ = [
    "Answer",
    "Check",
    "CitationCheck",
    "CodeCheck",
    "Fault",
    "NumberCheck",
    "PatternCheck",
    "SchemaCheck",
    "ToolCall",
]

_CITATION = re.compile(r"\[(\d{1,4}(?:\s*,\s*\d{1,4})*)\]")
"""``[2]``, or ``[1, 3]``."""
_QUOTATION = re.compile(r"[\"“]([^\"“”]+)[\"”]")
_SHORTEST_QUOTATION = 4
"""Words; fewer are a name or a term rather than a quotation."""
_SHOWN_PROBLEMS = 3


@dataclass(frozen=True)
class SchemaCheck:
    """The text is JSON of a schema.

    Args:
        schema: A JSON schema, or a Pydantic class, whose own validators are asked too.

    Raises:
        ConfigurationError: It is none of them.
    """

    schema: Mapping[str, Any] | type[BaseModel]

    def __post_init__(self) -> None:
        if not isinstance(self.schema, type):
            JsonSchema(self.schema)

    def __call__(self, answer: Answer) -> Fault | None:
        """What is wrong with a reply."""
        if not isinstance(self.schema, type):
            return find_json_fault(answer.text, self.schema)
        try:
            self.schema.model_validate_json(answer.text)
        except ValidationError as error:
            problems = []
            for problem in error.errors(include_url=False)[:_SHOWN_PROBLEMS]:
                place = ".".join(str(part) for part in problem["loc"])
                problems.append(f"{place}: {problem['msg']}")
            return Fault("JSON against its schema", f"its JSON is invalid: {'; '.join(problems)}.")
        return None


@dataclass(frozen=True)
class PatternCheck:
    """A pattern stands in the text.

    Args:
        pattern: As Python's ``re`` reads it.

    Raises:
        ConfigurationError: It is none.
    """

    pattern: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ConfigurationError(f"pattern: {self.pattern!r} is none ({error})") from error

    def __call__(self, answer: Answer) -> Fault | None:
        """What is wrong with a reply."""
        if re.search(self.pattern, answer.text):
            return None
        return Fault("pattern not found", f"it does not match the pattern {self.pattern}.")


@dataclass(frozen=True)
class NumberCheck:
    """The number that the text ends in lies within bounds.

    ``NumberCheck.near(100, tolerance=5)`` accepts 95 to 105.

    Args:
        minimum: The smallest number that will do.
        maximum: The largest.

    Raises:
        ConfigurationError: The minimum is above the maximum.
    """

    minimum: float = float("-inf")
    maximum: float = float("inf")

    def __post_init__(self) -> None:
        if not self.minimum <= self.maximum:
            raise ConfigurationError(f"minimum: {self.minimum} is above maximum {self.maximum}")

    @classmethod
    def near(cls, value: float, tolerance: float) -> NumberCheck:
        """A number that is off by at most ``tolerance``."""
        return cls(value - tolerance, value + tolerance)

    def __call__(self, answer: Answer) -> Fault | None:
        """What is wrong with a reply."""
        number = find_number(without_thoughts(answer.text))
        if number is None:
            return Fault("no number", "it ends in no number.")
        if self.minimum <= number <= self.maximum:
            return None
        return Fault("number out of range", f"the number {number:g} cannot be right.")


@dataclass(frozen=True)
class CodeCheck:
    """The code in the text passes tests, run in the sandbox of :mod:`routoo_core.sandbox.code_tests`.

    Args:
        tests: Python statements that see the names of the code and raise where they are wrong.
        timeout_s: Seconds of computing.

    Raises:
        ConfigurationError: On the first call, where no sandbox can be made.
    """

    tests: str = field(repr=False)
    timeout_s: int = 10

    def __call__(self, answer: Answer) -> Fault | None:
        """What is wrong with a reply."""
        code = extract_code(without_thoughts(answer.text))
        if tests_pass(code, self.tests, self.timeout_s):
            return None
        return Fault("tests fail", f"the code fails these tests:\n{self.tests}")


@dataclass(frozen=True)
class CitationCheck:
    """Every citation such as ``[2]`` names a source, and what is quoted stands in the sources, word for word.

    Args:
        sources: The texts that the reply may cite; ``[1]`` is the first.
        required: Whether there must be a citation.
    """

    sources: Sequence[str] = field(repr=False)
    required: bool = True

    def __call__(self, answer: Answer) -> Fault | None:
        """What is wrong with a reply."""
        numbers = []
        for match in _CITATION.finditer(answer.text):
            numbers += [int(number) for number in match[1].split(",")]
        if self.required and not numbers:
            return Fault("no citation", "it cites no source; cite them as [1].")
        for number in numbers:
            if not 1 <= number <= len(self.sources):
                count = len(self.sources)
                return Fault("unknown source", f"there is no source [{number}]; there are {count}.")

        context = _plain_words(" ".join(self.sources))
        for match in _QUOTATION.finditer(answer.text):
            words = _plain_words(match[1])
            if len(words.split()) >= _SHORTEST_QUOTATION and words not in context:
                return Fault("quotation not in sources", f"no source says {match[1]!r}.")
        return None


def _plain_words(text: str) -> str:
    """The words of a text in lower case, single spaces between and around them."""
    words = re.findall(r"\w+", text.casefold())
    return f" {' '.join(words)} "

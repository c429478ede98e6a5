"""Arguments of a call that an expert does not take: they are not sent, so that no call fails by them."""

from __future__ import annotations

import re
import threading

from routoo_core.error_evidence import PARAMETERS
from routoo_core.experts import Expert

_ALIASES = {"stop_sequences": "stop"}
_INDISPENSABLE = frozenset({"logit_bias", "logprobs", "tool_choice", "top_logprobs"})
DISPENSABLE = PARAMETERS - _INDISPENSABLE - frozenset(_ALIASES)
"""Arguments without which a call still asks for the same; either name of the reply limit stands for the other."""
_REPLY_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
STOP_WORDS = frozenset({"stop", "stop_sequences"})
"""What the words that end a reply are called."""

_REASONING_MODEL = re.compile(r"(^|/)(o[1-9]|gpt-5)(?!.*chat)")
"""OpenAI's models that reason; the chat variants of GPT-5 do not."""
_NOT_OF_REASONING_MODELS = frozenset(
    {"frequency_penalty", "presence_penalty", "stop", "temperature", "top_p"}
)


def is_reasoning_model(model: str) -> bool:
    """Whether a model is known by its name to reason before it answers."""
    return _REASONING_MODEL.search(model.lower()) is not None


def unsupported_parameters(model: str) -> frozenset[str]:
    """The :data:`DISPENSABLE` arguments that a model is known not to take.

    >>> sorted(unsupported_parameters("o3-mini"))[:2]
    ['frequency_penalty', 'presence_penalty']
    """
    if is_reasoning_model(model):
        return _NOT_OF_REASONING_MODELS
    return frozenset()


class RefusedParameters:
    """The arguments that each expert refuses: by its model's family, and by its own error messages. Thread-safe."""

    def __init__(self) -> None:
        self._of_expert: dict[str, frozenset[str]] = {}
        self._lock = threading.Lock()

    def of(self, expert: Expert) -> frozenset[str]:
        """The arguments not to send to an expert."""
        refusals = self._of_expert.get(expert.name)
        if refusals is None:
            by_model = unsupported_parameters(expert.model) | expert.unsupported_parameters
            # Another thread may have learned more meanwhile.
            refusals = self._of_expert.setdefault(expert.name, _by_every_name(by_model))
        return refusals

    def learn(self, expert: Expert, parameter: str) -> bool:
        """Note that an expert refused an argument.

        Returns:
            Whether it is worth asking again without it: not where that was known, nor where the call needs it.
        """
        parameter = _ALIASES.get(parameter, parameter)
        with self._lock:
            refusals = self.of(expert)
            if parameter not in DISPENSABLE or parameter in refusals:
                return False
            if parameter in _REPLY_LIMITS and refusals & _REPLY_LIMITS:
                return False  # a reply without a limit could cost more than is held
            self._of_expert[expert.name] = _by_every_name(refusals | {parameter})
        return True


def _by_every_name(parameters: frozenset[str]) -> frozenset[str]:
    """Arguments, stop words by both of their names."""
    return parameters | STOP_WORDS if parameters & STOP_WORDS else parameters

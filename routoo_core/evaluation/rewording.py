"""The same question in other words: rules that change the wording and keep the meaning."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

Rewrite = Callable[[str, np.random.Generator], str]

_LETTERED_CHOICE = re.compile(r"^(\(?[A-Z][.):]) (.+)$", re.M)
_LONGER_WORD = re.compile(r"[A-Za-z]{4,}")
_TYPO_SHARE = 0.1
"""Share of the longer words that get a typo."""


def add_typos(text: str, random: np.random.Generator) -> str:
    """Swap two neighbouring letters in a tenth of the words of four letters or more."""

    def swap_letters(match: re.Match[str]) -> str:
        word = match[0]
        if random.random() >= _TYPO_SHARE:
            return word
        position = int(random.integers(1, len(word) - 2))
        pair = word[position + 1] + word[position]
        return word[:position] + pair + word[position + 2 :]

    return _LONGER_WORD.sub(swap_letters, text)


def reorder_choices(text: str, random: np.random.Generator) -> str:
    """Shuffle the lettered choices under the same letters; a text without choices stays as it is."""
    choices = [match[2] for match in _LETTERED_CHOICE.finditer(text)]
    order = random.permutation(len(choices))
    replacements = iter([choices[position] for position in order])

    def next_choice(match: re.Match[str]) -> str:
        return f"{match[1]} {next(replacements)}"

    return _LETTERED_CHOICE.sub(next_choice, text)


def add_politeness(text: str, random: np.random.Generator) -> str:
    """Put the question inside a polite one."""
    frames = (
        "Could you help me with this? {}",
        "I was asked the following, what do you think?\n{}",
        "{}\nThank you!",
    )
    frame = frames[int(random.integers(len(frames)))]
    return frame.format(text)


def add_noise_before(text: str, random: np.random.Generator) -> str:
    """Put a sentence about something else in front."""
    number = random.integers(10_000)
    return f"(Message {number}, sent from my phone; sorry for the delay.)\n{text}"


def add_noise_after(text: str, random: np.random.Generator) -> str:
    """Put a sentence about something else behind."""
    hour = random.integers(1, 12)
    return f"{text}\n(By the way, the meeting is at {hour} o'clock.)"


REWRITES: Mapping[str, Rewrite] = {
    "typos": add_typos,
    "order of the choices": reorder_choices,
    "politeness around it": add_politeness,
    "noise before": add_noise_before,
    "noise after": add_noise_after,
}
"""Name in the report → the rule."""

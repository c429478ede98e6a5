"""Files of battles as Chatbot Arena publishes them: two models, a prompt or a conversation, and who won.

=================== ===================================================================================================
models              ``model_a`` and ``model_b``
prompt              ``prompt``: a text, or a list of the user's turns as JSON; or ``conversation_a``, messages with
                    ``role`` and ``content``
result              ``winner``: ``model_a``, ``model_b``, or a word that begins with ``tie``; or a 1 in one of
                    ``winner_model_a``, ``winner_model_b`` and ``winner_tie``
=================== ===================================================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routoo_core.battles import LOSS, TIE, WIN, Battles
from routoo_core.data.rows import read_rows
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.prompts import Prompts, split_of
from routoo_core.request import RoutedRequest
from routoo_core.text import parse_json

SHORTEST_PROMPT = 16
"""Characters; RouteLLM leaves out shorter prompts, which say little (arXiv 2406.18665, section 4.1)."""

TOO_SHORT = "short_prompt"
SAME_MODEL = "same_model"

_RESULT_COLUMNS = {"winner_model_a": WIN, "winner_model_b": LOSS, "winner_tie": TIE}


@dataclass(frozen=True)
class ArenaBattles:
    """Battles that were read, and what was left out.

    Attributes:
        battles: Those that are kept.
        counts: How many were given and kept, and how many were dropped for which reason.
    """

    battles: Battles
    counts: Mapping[str, int]


@dataclass(frozen=True)
class _Battle:
    """One row of a file."""

    prompt: str
    first: str
    second: str
    result: float


def read_battles(paths: Sequence[Path], shortest_prompt: int = SHORTEST_PROMPT) -> ArenaBattles:
    """Read files of battles: Parquet, CSV or JSONL.

    The prompt is what a router reads of the user's turns. Equal prompts are one.

    Args:
        paths: At least one.
        shortest_prompt: Characters; battles over shorter prompts are left out.

    Raises:
        OutcomesError: A file cannot be read, a column is missing, a result cannot be read, or no battle is left.
    """
    battles = []
    counts: Counter[str] = Counter()
    for path in paths:
        for number, row in enumerate(read_rows(path), start=1):
            counts["given"] += 1
            battle = _read_battle(row, f"{path}: row {number}")
            if battle.first == battle.second:
                counts[SAME_MODEL] += 1
            elif len(battle.prompt) < shortest_prompt:
                counts[TOO_SHORT] += 1
            else:
                counts["kept"] += 1
                battles.append(battle)
    if not battles:
        raise OutcomesError(f"{paths[0]}: no battle is left; lower --shortest-prompt")
    return ArenaBattles(_table_of(battles), counts)


def _table_of(battles: Sequence[_Battle]) -> Battles:
    row_of: dict[str, int] = {}
    column_of: dict[str, int] = {}
    for battle in battles:
        row_of.setdefault(battle.prompt, len(row_of))
        column_of.setdefault(battle.first, len(column_of))
        column_of.setdefault(battle.second, len(column_of))

    texts = tuple(row_of)
    ids = tuple(f"p{number}" for number in range(1, len(texts) + 1))
    prompts = Prompts(ids, texts, ("",) * len(texts), tuple(split_of(text) for text in texts))
    return Battles(
        prompts=prompts,
        experts=tuple(column_of),
        row=np.array([row_of[battle.prompt] for battle in battles]),
        first=np.array([column_of[battle.first] for battle in battles]),
        second=np.array([column_of[battle.second] for battle in battles]),
        result=np.array([battle.result for battle in battles]),
    )


def _read_battle(row: Mapping[str, Any], where: str) -> _Battle:
    models = []
    for column in ("model_a", "model_b"):
        name = row.get(column)
        if not isinstance(name, str) or not name.strip():
            raise OutcomesError(f"{where}: {column}: {name!r} is no name of a model")
        models.append(name)
    return _Battle(
        prompt=_read_prompt(row, where),
        first=models[0],
        second=models[1],
        result=_read_result(row, where),
    )


def _read_result(row: Mapping[str, Any], where: str) -> float:
    winner = row.get("winner")
    if isinstance(winner, str):
        if winner in {"model_a", "model_b"}:
            return WIN if winner == "model_a" else LOSS
        if winner.startswith("tie"):
            return TIE
        raise OutcomesError(f"{where}: winner: {winner!r} is none of model_a, model_b and tie")

    columns = [column for column in _RESULT_COLUMNS if row.get(column) in (1, True, "1")]
    if len(columns) != 1:
        names = ", ".join(_RESULT_COLUMNS)
        raise OutcomesError(f"{where}: no winner, and not one 1 in {names}; give either")
    return _RESULT_COLUMNS[columns[0]]


def _read_prompt(row: Mapping[str, Any], where: str) -> str:
    conversation = row.get("conversation_a")
    if conversation is None:
        turns = _user_turns(row.get("prompt"))
        conversation = [{"role": "user", "content": turn} for turn in turns]
    if isinstance(conversation, str):
        conversation = _parsed(conversation)
    messages = []
    for message in conversation if isinstance(conversation, Sequence) else ():
        if isinstance(message, Mapping) and message.get("role") == "user":
            messages.append({"role": "user", "content": str(message.get("content") or "")})
    if not messages:
        raise OutcomesError(f"{where}: no prompt and no conversation_a with a turn of the user's")
    try:
        return RoutedRequest.from_messages(messages).text.strip()
    except ConfigurationError as error:
        raise OutcomesError(f"{where}: {error}") from error


def _user_turns(prompt: object) -> list[str]:
    """The turns that a prompt holds: the text itself, or the texts of a list in JSON."""
    if not isinstance(prompt, str):
        return []
    turns = _parsed(prompt) if prompt.startswith("[") else None
    if isinstance(turns, list) and turns and all(isinstance(turn, str) for turn in turns):
        return turns
    return [prompt]


def _parsed(text: str) -> object:
    try:
        return parse_json(text)
    except ValueError:
        return None

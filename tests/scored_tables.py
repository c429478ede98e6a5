"""Tables of two experts whose right answers can be told from their guesses."""

import random

import numpy as np

from routoo_core.expert_table import ExpertTable
from routoo_core.measures.plan_replay import AnswerTable
from routoo_core.outcomes import Outcomes
from routoo_core.prompts import Prompts

EXPERTS = ("cheap", "dear")
USD = (0.001, 0.01)
"""What a call to each costs."""
RIGHT_SHARE = (0.6, 0.95)
COUNT = 700
RIGHT = "The answer is A."
GUESS = "Hmm, hard to say, maybe B?"


def question(number):
    values = [number + 2, number + 3, number + 5, number + 9]
    lines = [f"{letter}. {value}" for letter, value in zip("ABCD", values, strict=True)]
    return "\n".join([f"Case {number}: what is {number} plus two?", *lines])


def made_tables(seed, count=COUNT):
    """What two experts answered: a right answer is stated, a wrong one is a guess, and both can be told apart."""
    dice = random.Random(seed)
    ids = tuple(f"q{number}" for number in range(count))
    splits = tuple("dev" if number % 4 == 0 else "train" for number in range(count))
    texts = tuple(question(seed * 10_000 + number) for number in range(count))
    scores = np.zeros((count, len(EXPERTS)), dtype=np.float32)
    answers = {}
    for row, prompt_id in enumerate(ids):
        for column, expert in enumerate(EXPERTS):
            is_right = dice.random() < RIGHT_SHARE[column]
            scores[row, column] = is_right
            answers[prompt_id, expert] = RIGHT if is_right else GUESS
    outcomes = Outcomes(
        Prompts(ids, texts, ("",) * count, splits), ExpertTable(ids, EXPERTS, scores)
    )
    return outcomes, AnswerTable(answers)

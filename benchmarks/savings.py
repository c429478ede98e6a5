"""How often the interval of savings holds the truth: python benchmarks/savings.py --data ../shared/data

Held-out MMLU-Pro questions with the real lengths of every expert's answer, so that it is known what everything on
GPT-4o would have cost. The router expects 300 tokens of every reply, as one does that has learnt no lengths. Answers
to hard questions are longer, and the floor sends those to GPT-4o: a plain ratio would be wrong there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from goals import SOURCES, read_source
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from routoo_core.limits import TYPICAL_OUTPUT_TOKENS
from routoo_core.monitoring.routed_calls import RoutedCall
from routoo_core.monitoring.savings import SavingsEstimator
from routoo_core.prices import TOKENS_PER_MILLION

Floats = NDArray[np.float64]
BASELINE = "gpt-4o(2024-05)"
OTHERS = ("gemini-1.5-flash-002", "Meta-Llama-3_1-70B-Instruct", "Meta-Llama-3_1-8B-Instruct")
CHARACTERS_PER_TOKEN = 4.0
INPUT_SHARE = 0.5
OUTPUT_SHARE = 1.5
"""Prices of input and output beside the averaged one."""
FLOOR = 0.7
TIME = datetime(2026, 1, 5, tzinfo=UTC)

Chooser = Callable[[Floats, Floats, np.random.Generator], NDArray[np.int64]]
"""Gives the expert of each call, from qualities and expected costs."""


@dataclass(frozen=True)
class Questions:
    """Predicted quality, expected and real USD: questions × experts, the baseline first."""

    experts: tuple[str, ...]
    quality: Floats
    expected: Floats
    paid: Floats

    def sample(self, count: int, random: np.random.Generator) -> Questions:
        rows = random.choice(len(self.quality), count, replace=False)
        return Questions(self.experts, self.quality[rows], self.expected[rows], self.paid[rows])


def read_questions(data: Path) -> Questions:
    source = next(source for source in SOURCES if source.name == "MMLU-Pro frontier")
    outcomes, quality, usd_of = read_source(source, data)
    experts = (BASELINE, *OTHERS)
    columns = [list(usd_of).index(name) for name in experts]
    usd = np.array([usd_of[name] for name in experts]) / TOKENS_PER_MILLION
    characters = np.array([len(prompt) for prompt in outcomes.prompts])
    prompt_tokens = characters[:, None] / CHARACTERS_PER_TOKEN
    assert outcomes.lengths is not None
    lengths = outcomes.lengths[:, columns].astype(np.float64)
    return Questions(
        experts=experts,
        quality=quality[:, columns].astype(np.float64),
        expected=usd * (INPUT_SHARE * prompt_tokens + OUTPUT_SHARE * TYPICAL_OUTPUT_TOKENS),
        paid=usd * (INPUT_SHARE * prompt_tokens + OUTPUT_SHARE * lengths),
    )


def all_on_baseline(
    quality: Floats, expected: Floats, random: np.random.Generator
) -> NDArray[np.int64]:
    return np.zeros(len(quality), dtype=np.int64)


def half(quality: Floats, expected: Floats, random: np.random.Generator) -> NDArray[np.int64]:
    return random.integers(0, 2, len(quality))


def floor(quality: Floats, expected: Floats, random: np.random.Generator) -> NDArray[np.int64]:
    is_good = quality >= FLOOR
    cheapest = np.where(is_good, expected, np.inf).argmin(axis=1)
    return np.where(is_good.any(axis=1), cheapest, quality.argmax(axis=1))


STREAMS: dict[str, Chooser] = {"all on it": all_on_baseline, "half": half, "floor 0.7": floor}


def routed_calls(questions: Questions, chosen: NDArray[np.int64]) -> list[RoutedCall]:
    calls = []
    for row, column in enumerate(chosen):
        name = questions.experts[column]
        expected = dict(zip(questions.experts, questions.expected[row].tolist(), strict=True))
        qualities = dict(zip(questions.experts, questions.quality[row].tolist(), strict=True))
        paid = float(questions.paid[row, column])
        calls.append(
            RoutedCall(
                time=TIME,
                shadow=False,
                choice=name,
                answered_by=name,
                predicted=qualities[name],
                spent=paid,
                routed=paid,
                feedback=None,
                expected_usd=expected,
                continued_usd=expected,
                qualities=qualities,
                answer_usd=paid,
            )
        )
    return calls


@dataclass(frozen=True)
class Coverage:
    """How often the interval holds the truth, and how wide it is beside the baseline's cost."""

    share: float
    half_width: float
    bias: float
    unclear: float


def measure(questions: Questions, choose: Chooser, calls: int, runs: int) -> Coverage:
    hits = []
    widths = []
    errors = []
    unclear = []
    for seed in range(runs):
        random = np.random.default_rng(seed)
        sample = questions.sample(calls, random)
        chosen = choose(sample.quality, sample.expected, random)
        log = routed_calls(sample, chosen)
        savings = SavingsEstimator(BASELINE, log).savings(log)
        baseline = float(sample.paid[:, 0].sum())
        truth = baseline - savings.spent
        hits.append(savings.low - 1e-12 <= truth <= savings.high + 1e-12)
        widths.append((savings.high - savings.low) / 2 / baseline)
        errors.append(savings.saved / baseline - truth / baseline)
        unclear.append(not savings.is_clear and not savings.has_no_difference)
    return Coverage(
        float(np.mean(hits)),
        float(np.mean(widths)),
        float(np.mean(errors)),
        float(np.mean(unclear)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the tables.")
    parser.add_argument("--runs", type=int, default=1000, help="Runs of each stream.")
    options = parser.parse_args()
    questions = read_questions(options.data)
    table = Table(
        "stream", "calls", "interval holds the truth", "± of baseline", "bias", "cannot tell"
    )
    for name, choose in STREAMS.items():
        for calls in (60, 200, 600):
            coverage = measure(questions, choose, calls, options.runs)
            table.add_row(
                name,
                str(calls),
                f"{coverage.share:.1%}",
                f"{coverage.half_width:.1%}",
                f"{coverage.bias:+.1%}",
                f"{coverage.unclear:.0%}",
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()

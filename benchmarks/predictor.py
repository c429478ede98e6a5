"""A decision beside its encoder, alone and among 64: python benchmarks/predictor.py (figures are this machine's)."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from routoo_core import Budget, Pool, RoutedRequest, Router
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import STARTER
from routoo_core.loading import load_predictor
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.predictor.encoder import LocalEncoder
from routoo_core.predictor.general import GeneralPredictor
from routoo_core.predictor.vector_reader import VectorReader
from routoo_core.selector import Ratio

SHIPPED = "general"
LENGTHS = (32, 128, 384)
"""Tokens of a prompt."""

BUSY_TOKENS = 150
BUSY_ROUNDS = 3
CALLERS = 64
REPEATS = 30
ROUNDS = 5
WARM_UP_REPEATS = 3
WARM_UP_ROUNDS = 1

SUBJECTS = (
    "a proton",
    "the enzyme",
    "this contract",
    "every prime number",
    "the senate",
    "a falling stone",
)
VERBS = ("accelerates", "binds", "expires", "divides", "votes", "oscillates", "decays", "converges")
CONDITIONS = (
    "in a magnetic field",
    "above 300 kelvin",
    "after ninety days",
    "modulo seven",
    "at the boundary",
)


def question(dice: random.Random, sentences: int) -> str:
    """Made-up premises and a question; no two alike."""
    parts = [f"Case {dice.getrandbits(40)}."]
    for _ in range(sentences):
        subject = dice.choice(SUBJECTS)
        verb = dice.choice(VERBS)
        condition = dice.choice(CONDITIONS)
        parts.append(f"Suppose {subject} {verb} {condition}.")
    return " ".join([*parts, "What follows, and why?"])


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of ``call``."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Bench:
    """The shipped router, its predictor, and the encoder under it."""

    def __init__(self) -> None:
        pool = Pool.from_toml(STARTER / "experts.toml")
        start = time.perf_counter()
        predictor = load_predictor(find_router(SHIPPED), pool)
        self.load_seconds = time.perf_counter() - start

        assert isinstance(predictor, GeneralPredictor)
        assert isinstance(predictor.model.reader, VectorReader)
        encoder = predictor.model.reader.encoder
        assert isinstance(encoder, LocalEncoder)
        self.predictor = predictor
        self.encoder = encoder
        batching = BatchingPredictor(predictor)
        self.router = Router(pool, batching, Ratio(), Budget(), SqliteLedger())

    @torch.inference_mode()
    def run_bare_encoder(self, token_ids: list[int]) -> None:
        """The encoder's layers on one prompt: no tokenizer, no pooling, no head."""
        input_ids, mask = self.encoder.pad([token_ids])
        self.encoder.model(input_ids=input_ids, attention_mask=mask.long(), use_cache=False)

    def decide_together(self, requests: list[RoutedRequest]) -> None:
        """Each decision on a thread of its own."""
        threads = []
        for request in requests:
            threads.append(threading.Thread(target=self.router.decide, args=(request,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def decision_and_encoder_ms(self, length: int) -> tuple[float, float]:
        """Median ms of a decision about ``length`` tokens, and of the encoder alone; runs alternate."""
        dice = random.Random(length)
        decision_times = []
        encoder_times = []
        for _ in range(WARM_UP_REPEATS + REPEATS):
            token_ids = self.encoder.tokens([question(dice, 60)])[0][:length]
            request = RoutedRequest.from_text(self.encoder.tokenizer.decode(token_ids))
            decision_times.append(seconds(partial(self.router.decide, request)))
            encoder_times.append(seconds(partial(self.run_bare_encoder, token_ids)))

        decision = statistics.median(decision_times[WARM_UP_REPEATS:])
        encoder = statistics.median(encoder_times[WARM_UP_REPEATS:])
        return decision * 1e3, encoder * 1e3

    def quiet_and_busy(self) -> tuple[list[float], list[float]]:
        """Seconds of decisions, alone and while another process needs one of the cores; rounds alternate."""
        dice = random.Random(1)
        quiet: list[float] = []
        busy: list[float] = []
        for _ in range(BUSY_ROUNDS):
            quiet += self._decision_seconds(dice)
            with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
                busy += self._decision_seconds(dice)
                other.kill()
        return quiet, busy

    def _decision_seconds(self, dice: random.Random) -> list[float]:
        durations = []
        for _ in range(WARM_UP_REPEATS + REPEATS):
            token_ids = self.encoder.tokens([question(dice, 60)])[0][:BUSY_TOKENS]
            request = RoutedRequest.from_text(self.encoder.tokenizer.decode(token_ids))
            durations.append(seconds(partial(self.router.decide, request)))
        return durations[WARM_UP_REPEATS:]

    def concurrent_and_offline_rate(self) -> tuple[float, float]:
        """Median tokens/s of 64 decisions at once, and of one offline pass over the same prompts; runs alternate."""
        dice = random.Random(0)
        concurrent_rates = []
        offline_rates = []
        for _ in range(WARM_UP_ROUNDS + ROUNDS):
            requests = []
            for _ in range(CALLERS):
                requests.append(RoutedRequest.from_text(question(dice, dice.randint(1, 30))))
            texts = [request.text for request in requests]
            tokens = sum(map(len, self.encoder.tokens(texts)))
            concurrent_rates.append(tokens / seconds(partial(self.decide_together, requests)))
            offline_rates.append(tokens / seconds(partial(self.predictor.predict, texts)))

        concurrent = statistics.median(concurrent_rates[WARM_UP_ROUNDS:])
        offline = statistics.median(offline_rates[WARM_UP_ROUNDS:])
        return concurrent, offline


def main() -> None:
    """Print every figure beside its bar."""
    bench = Bench()
    table = Table("what", "figure", "bar")
    for length in LENGTHS:
        decision, encoder = bench.decision_and_encoder_ms(length)
        figure = f"{decision / encoder:.3f} ({decision:.1f} over {encoder:.1f} ms)"
        table.add_row(f"decision over the bare encoder, {length} tokens", figure, "≤ 1.10")

    concurrent, offline = bench.concurrent_and_offline_rate()
    figure = f"{concurrent / offline:.1%} ({concurrent:,.0f} of {offline:,.0f} tokens/s)"
    table.add_row(f"{CALLERS} decisions at once, share of the offline pass", figure, "≥ 85 %")
    quiet, busy = bench.quiet_and_busy()
    for name, statistic, bar in (("median", statistics.median, 2.5), ("worst", max, 5)):
        ratio = statistic(busy) / statistic(quiet)
        figure = f"{ratio:.2f} ({statistic(busy) * 1e3:.0f} over {statistic(quiet) * 1e3:.0f} ms)"
        title = f"{name} decision with one core busy over a quiet one, {BUSY_TOKENS} tokens"
        table.add_row(title, figure, f"≤ {bar}")
    table.add_row(f"load {SHIPPED} from the cache", f"{bench.load_seconds:.2f} s", "≤ 3 s")
    Console().print(table)


if __name__ == "__main__":
    main()

"""A decision beside its encoder, alone and among 64: python benchmarks/predictor.py (figures are this machine's)."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from routoo_core import Budget, Pool, RoutedRequest, Router
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import STARTER
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.predictor.checkpoint import find_router, load_checkpoint
from routoo_core.predictor.performance import PerformancePredictor
from routoo_core.selector import Ratio

SHIPPED = "mmlu-pro"
LENGTHS = (32, 128, 384)  # tokens
CALLERS, REPEATS, ROUNDS = 64, 30, 5
SUBJECTS = (
    "a proton",
    "the enzyme",
    "this contract",
    "every prime number",
    "the senate",
    "a falling stone",
)
VERBS = ("accelerates", "binds", "expires", "divides", "votes", "oscillates", "decays", "converges")
PLACES = (
    "in a magnetic field",
    "above 300 kelvin",
    "after ninety days",
    "modulo seven",
    "at the boundary",
)


def question(dice: random.Random, sentences: int) -> str:
    """Made-up premises and a question; no two alike."""
    parts = [
        f"Suppose {dice.choice(SUBJECTS)} {dice.choice(VERBS)} {dice.choice(PLACES)}."
        for _ in range(sentences)
    ]
    return " ".join([f"Case {dice.getrandbits(40)}.", *parts, "What follows, and why?"])


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of ``call``."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@torch.inference_mode()
def forward(predictor: PerformancePredictor, tokens: list[int]) -> None:
    """The encoder's layers on one prompt: no tokenizer, no pooling, no head."""
    ids, mask = predictor.encoder.pad([tokens])
    predictor.encoder.model(input_ids=ids, attention_mask=mask.long(), use_cache=False)


def decide_over_forward(
    router: Router, predictor: PerformancePredictor, length: int
) -> tuple[float, float]:
    """Median ms of a decision about ``length`` tokens, and of the encoder alone; runs alternate."""
    dice, pairs = random.Random(length), []
    for _ in range(REPEATS + 3):
        tokens = predictor.encoder.tokens([question(dice, 60)])[0][:length]
        request = RoutedRequest.from_text(predictor.encoder.tokenizer.decode(tokens))
        pairs.append(
            (
                seconds(lambda r=request: router.decide(r)),
                seconds(lambda t=tokens: forward(predictor, t)),
            )
        )
    decided, alone = (statistics.median(times) * 1e3 for times in zip(*pairs[3:], strict=True))
    return decided, alone


def concurrent_over_offline(router: Router, predictor: PerformancePredictor) -> tuple[float, float]:
    """Median tokens/s of 64 decisions at once, and of one offline pass over the same prompts; runs alternate."""
    dice, pairs = random.Random(0), []
    for _ in range(ROUNDS + 1):
        requests = [
            RoutedRequest.from_text(question(dice, dice.randint(1, 30))) for _ in range(CALLERS)
        ]
        texts = [request.text for request in requests]
        tokens = sum(map(len, predictor.encoder.tokens(texts)))
        together = seconds(lambda r=requests: decide_together(router, r))
        pairs.append((tokens / together, tokens / seconds(lambda t=texts: predictor.predict(t))))
    concurrent, offline = map(statistics.median, zip(*pairs[1:], strict=True))
    return concurrent, offline


def decide_together(router: Router, requests: list[RoutedRequest]) -> None:
    """Each decision on a thread of its own."""
    threads = [threading.Thread(target=router.decide, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Print every figure beside its bar."""
    folder, loaded = find_router(SHIPPED), list[PerformancePredictor]()
    load = seconds(lambda: loaded.append(load_checkpoint(folder)))
    pool, (predictor,) = Pool.from_toml(STARTER / "experts.toml"), loaded
    router = Router(pool, BatchingPredictor(predictor), Ratio(), Budget(), SqliteLedger())
    table = Table("what", "figure", "bar")
    for length in LENGTHS:
        decided, alone = decide_over_forward(router, predictor, length)
        figure = f"{decided / alone:.3f} ({decided:.1f} over {alone:.1f} ms)"
        table.add_row(f"decision over the bare encoder, {length} tokens", figure, "≤ 1.10")
    concurrent, offline = concurrent_over_offline(router, predictor)
    figure = f"{concurrent / offline:.1%} ({concurrent:,.0f} of {offline:,.0f} tokens/s)"
    table.add_row(f"{CALLERS} decisions at once, share of the offline pass", figure, "≥ 85 %")
    table.add_row(f"load {SHIPPED} from the cache", f"{load:.2f} s", "≤ 3 s")
    Console().print(table)


if __name__ == "__main__":
    main()

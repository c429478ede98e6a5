"""How long a pairwise router takes to decide, vectors given: python benchmarks/pairwise_speed.py

Made-up battles: 50,000 between 60 experts, each about a prompt of its own, vectors of 1,024 numbers. The time is that
of the thread, so that other work on the machine counts little; run it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import time

import numpy as np

from routoo_core.battles import Battles
from routoo_core.predictor.quality_model import QualityModel
from routoo_core.prompts import Prompts
from routoo_core.training.algorithms import ALGORITHMS
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.head_ensemble import no_updates

BATTLES = 50_000
EXPERTS = 60
DIM = 1024
DECISIONS = 300
SETTINGS: dict[str, dict[str, object]] = {
    "sw_ranking": {},
    "mf": {"epochs": 1},
    "random": {},
}


def made_up(seed: int = 0) -> EncodedOutcomes:
    random = np.random.default_rng(seed)
    ids = tuple(map(str, range(BATTLES)))
    splits = tuple("dev" if number % 20 == 0 else "train" for number in range(BATTLES))
    prompts = Prompts(ids, ids, ("",) * BATTLES, splits)
    first = random.integers(0, EXPERTS, BATTLES)
    second = (first + random.integers(1, EXPERTS, BATTLES)) % EXPERTS
    strength = random.normal(size=EXPERTS)
    chance = 1 / (1 + np.exp(strength[second] - strength[first]))
    result = (random.random(BATTLES) < chance).astype(float)
    names = tuple(f"m{number}" for number in range(EXPERTS))
    battles = Battles(prompts, names, np.arange(BATTLES), first, second, result)
    vectors = random.normal(size=(BATTLES, DIM)).astype(np.float32)
    return EncodedOutcomes(battles.to_outcomes(), vectors)


def milliseconds(model: QualityModel, data: EncodedOutcomes) -> list[float]:
    taken = []
    for row in range(DECISIONS):
        vector = data.vectors[row : row + 1]
        start = time.thread_time()
        model.quality(vector)
        taken.append(1000 * (time.thread_time() - start))
    return taken


if __name__ == "__main__":
    table = made_up()
    for name, values in SETTINGS.items():
        algorithm = ALGORITHMS[name]
        begin = time.perf_counter()
        fitted = algorithm.fit(table, algorithm.settings(**values), 0, no_updates)
        trained = time.perf_counter() - begin
        taken = milliseconds(fitted, table)
        median, high = np.quantile(taken, [0.5, 0.95])
        print(f"{name}: median {median:.2f} ms, 95 % {high:.2f} ms (training {trained:.0f} s)")

"""Is a guarded router ever worse than its default? python benchmarks/guard.py --data FOLDER [--margin 0.01]

Twenty random splits of each table: half of the prompts teach k-NN on hashed n-grams, a quarter proves the leads, and a
quarter is measured. The default is the best single expert of the prompts that were not measured. Quality is the mean
score less the default's, in points and in standard errors of the paired differences; the margin counts as no loss.
Of the experts that may answer, the policy chooses. The cost is of list prices, where the table has some.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routoo_core.guarded import fit_leads
from routoo_core.outcomes import Outcomes, read_outcomes
from routoo_core.predictor.calibration import calibrated
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.price_list import read_price_list
from routoo_core.progress import SILENT
from routoo_core.training.algorithms import ALGORITHMS
from routoo_core.training.calibration import fit_calibration
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.head_ensemble import no_updates
from routoo_core.training.vectors import encode_cached

SPLITS = 20
TABLES: dict[str, tuple[str, ...]] = {
    "routellm": ("pair",),
    "mmlu_pro": ("open", "mix", "frontier"),
    "zeroeval": (),
    "helm_mmlu": ("frontier",),
    "livecodebench": (),
    "bfcl_v1": (),
    "shaberi_gpt41": (),
}
"""Table → pools of pools.csv whose prices count; experts without a price take part where there is none at all."""
COMPLETE = 0.98


def usd(table: str, experts: tuple[str, ...], folder: Path) -> dict[str, float]:
    if table == "zeroeval":
        prices = Path(__file__).parent / "zeroeval_prices.csv"
        return read_price_list(prices, (), experts).per_million()
    if not TABLES[table]:
        return {}
    return read_price_list(folder / "pools.csv", TABLES[table], experts).per_million()


def read_table(table: str, folder: Path) -> tuple[EncodedOutcomes, NDArray[np.float64] | None]:
    outcomes = read_outcomes(
        *[folder / f"{table}.{part}.parquet" for part in ("prompts", "outcomes")]
    )
    prices = usd(table, outcomes.experts, folder)
    experts = tuple(prices) or complete_experts(outcomes)
    vectors = encode_cached(outcomes.prompts, EncoderSettings(model="ngrams:1024"), SILENT)
    chosen = outcomes.select(experts)
    rows = chosen.score_table.complete_rows()
    cost = np.array(list(prices.values())) if prices else None
    return EncodedOutcomes(chosen.take(rows), vectors[rows]), cost


def complete_experts(outcomes: Outcomes) -> tuple[str, ...]:
    share = outcomes.score_table.observed.mean(axis=0)
    return tuple(
        name for name, part in zip(outcomes.experts, share, strict=True) if part >= COMPLETE
    )


def one_split(
    data: EncodedOutcomes,
    cost: NDArray[np.float64] | None,
    arguments: argparse.Namespace,
    seed: int,
) -> tuple[float, float, float, float]:
    """Gain, its standard error, share of calls that left the default, and cost over the default's."""
    count = len(data.outcomes.prompts)
    order = np.random.default_rng(seed).permutation(count)
    splits = np.array(["train"] * count, dtype=object)
    proof = order[count // 2 : 3 * count // 4]
    test = order[3 * count // 4 :]
    splits[proof] = "dev"
    splits[test] = "test"
    split = EncodedOutcomes(data.outcomes.with_splits(list(splits)), data.vectors)
    kind = ALGORITHMS[arguments.algorithm]
    model = kind.fit(split, kind.settings(), seed, no_updates)

    scores = data.outcomes.scores
    quality = model.quality(data.vectors[proof])
    calibration = fit_calibration(quality, scores[proof])
    known = np.concatenate([order[: count // 2], proof])
    own = int(scores[known].mean(axis=0).argmax())
    experts = data.outcomes.experts
    proof_quality = calibrated(quality, calibration)
    leads = fit_leads(
        proof_quality, scores[proof], experts, experts[own], arguments.z, arguments.margin
    )

    asked = calibrated(model.quality(data.vectors[test]), calibration)
    needed = np.array([leads.get(name, np.inf) for name in experts])
    may_answer = asked - asked[:, own : own + 1] >= needed
    may_answer[:, own] = True
    price = np.zeros(len(experts)) if cost is None else cost
    if arguments.policy == "cheapest":
        # Of equally dear ones, the better.
        chosen = np.where(may_answer, price - 1e-9 * asked, np.inf).argmin(axis=1)
    else:
        chosen = np.where(may_answer, asked, -1.0).argmax(axis=1)

    rows = np.arange(len(test))
    gain = scores[test][rows, chosen] - scores[test][:, own]
    error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    paid = float("nan") if cost is None else float(cost[chosen].mean() / cost[own])
    return float(gain.mean()), error, float((chosen != own).mean()), paid


def main(arguments: argparse.Namespace) -> None:
    print(
        "table | experts | prompts | gain, points | worst split, SE | splits below -1 SE | left | cost"
    )
    for table in arguments.table or TABLES:
        data, cost = read_table(table, arguments.data)
        results = []
        for seed in range(SPLITS):
            results.append(one_split(data, cost, arguments, seed))
        gain, error, left, paid = np.array(results).T
        beyond = gain + arguments.margin
        in_errors = np.where(error > 0, beyond / np.maximum(error, 1e-12), 0.0)
        below = int((in_errors < -1).sum())
        print(
            f"{table} | {len(data.outcomes.experts)} | {len(data.outcomes.prompts)} | {100 * gain.mean():+.2f} | "
            f"{in_errors.min():+.2f} | {below} of {SPLITS} | {left.mean():.0%} | {paid.mean():.2f}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--table", action="append", default=[])
    parser.add_argument("--algorithm", default="knn")
    parser.add_argument("--z", type=float, default=2.0)
    parser.add_argument("--margin", type=float, default=0.0)
    parser.add_argument("--policy", choices=("best", "cheapest"), default="best")
    main(parser.parse_args())

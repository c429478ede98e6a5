"""Transfer of a pair's routers: python benchmarks/pair_transfer.py --data FOLDER --prompts P --outcomes O

Routers learn from all MMLU and GSM8K prompts of the table 'routellm', on which GPT-4 and Mixtral answered. They are
measured on the prompts of another table, or with another pair (--strong and --weak) that stands in for these two.
Nothing is trained on that table, and prompts that were learnt from are left out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from pairwise_routers import ROUTERS, Pool, predict, show
from rich.console import Console

from routoo_core.data.closeness import closeness
from routoo_core.measures.curve import serve, sweep
from routoo_core.measures.figures import bootstrap_weights, pool_figures
from routoo_core.measures.simple_routers import blind_routers
from routoo_core.outcomes import Outcomes, join_outcomes, read_outcomes
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.price_list import read_price_list
from routoo_core.progress import SILENT
from routoo_core.text import question_fingerprints
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.vectors import encode_cached

STRONG = "gpt-4-1106-preview"
WEAK = "mistralai/Mixtral-8x7B-Instruct-v0.1"


def read_target(arguments: argparse.Namespace, learnt: Outcomes) -> Outcomes:
    """New prompts that both of the pair answered; the pair has the names of those that were learnt about."""
    table = read_outcomes(arguments.prompts, arguments.outcomes)
    pair = table.select([arguments.strong, arguments.weak])
    stand_ins = replace(pair.score_table, experts=(STRONG, WEAK))
    pair = Outcomes(pair.prompt_table, stand_ins).select(learnt.experts)

    known = set(question_fingerprints(learnt.prompts).tolist())
    fingerprints = question_fingerprints(pair.prompts).tolist()
    is_new = np.array([fingerprint not in known for fingerprint in fingerprints])
    is_complete = ~np.isnan(pair.scores).any(axis=1)
    target = pair.take(np.flatnonzero(is_new & is_complete))
    return target.with_splits(["dev"] * len(target.prompts))


def main(arguments: argparse.Namespace) -> None:
    console = Console(width=150)
    files = [arguments.data / f"routellm.{part}.parquet" for part in ("prompts", "outcomes")]
    learnt = read_outcomes(*files)
    learnt = learnt.with_splits(["train"] * len(learnt.prompts))
    asked = read_target(arguments, learnt)
    outcomes = join_outcomes([learnt, asked])
    vectors = encode_cached(outcomes.prompts, EncoderSettings(model="ngrams:1024"), SILENT)
    data = EncodedOutcomes(outcomes, vectors)

    near = closeness(vectors[outcomes.rows("dev")], vectors[outcomes.rows("train")])
    console.print(f"similarity to the training prompts {near:.3f}")
    prices = read_price_list(
        arguments.data / "pools.csv", ("pair",), outcomes.experts
    ).per_million()
    cost = np.array([prices[name] for name in outcomes.experts])
    scores = asked.scores.astype(np.float64)
    served = {}
    for name in arguments.router:
        algorithm, settings = ROUTERS[name]
        quality = predict(algorithm, settings, data).astype(np.float64)
        served[name] = serve(quality, scores, cost, sweep(cost))
    served.update(blind_routers(scores, cost))
    resamples = bootstrap_weights(len(scores))
    show(
        Pool(f"{arguments.strong} and {arguments.weak}", "", ()),
        pool_figures(outcomes.experts, served, scores, cost, resamples),
        console,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("data", "prompts", "outcomes"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--strong", default=STRONG)
    parser.add_argument("--weak", default=WEAK)
    default = ["SW ranking, γ 10,000", "SW ranking, γ 10 (paper)", "MF", "kNN", "Zooter", "random"]
    parser.add_argument("--router", nargs="*", default=default)
    main(parser.parse_args())

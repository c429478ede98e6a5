"""What the general router knows of a source it never saw: python benchmarks/general/left_out.py --data TABLES

Each table is left out in turn; the router is trained on the others, and its experts are known by the catalogue alone.
Printed are the rank correlation of the experts' predicted and real mean, beside that of their list price and of their
rating in the Arena, and the AUC within experts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measures import measure
from scipy.stats import spearmanr
from sources import TABLES, TASTE_SOURCE, kind_examples, read_sources
from vectors import LAYERS, VectorFile, reader_of

from routoo_core.abilities import unknown_ability
from routoo_core.catalogue.store import SHIPPED, Catalogue
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.predictor.general import DescribedExpert, GeneralModel
from routoo_core.training.general import fit_general

LEAST_COVERAGE = 0.5
ARENA = "LMArena-text"


def main() -> None:
    """Print a row for each source."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--encoder", help="a model whose vectors are read too")
    parser.add_argument("--vectors", type=Path, default=Path("vectors.npz"), help="kept vectors")
    parser.add_argument("--only", action="append", choices=TABLES)
    options = parser.parse_args()
    vectors = None
    if options.encoder:
        vectors = VectorFile(options.vectors, EncoderSettings(model=options.encoder, layers=LAYERS))
    catalogue = Catalogue(SHIPPED)
    tables = read_sources(options.data, catalogue)
    for left_out in tables:
        name = left_out.source.name
        if options.only and name not in options.only:
            continue
        others = [table.part(None) for table in tables if table.source.name != name]
        tastes = TASTE_SOURCE if name != TASTE_SOURCE else "zeroeval"
        encode = None if vectors is None else vectors.encode
        fit = fit_general(others, kind_examples(), tastes, encode)
        model = GeneralModel(
            reader=reader_of(fit, vectors),
            answers=fit.answers,
            labels=fit.labels,
            reference=fit.reading,
            trained=np.empty(0, np.uint64),
            fingerprint="",
            folder=Path(),
        )
        source = left_out.source
        experts = []
        for expert in source.experts:
            ability = catalogue.ability(expert) or unknown_ability()
            experts.append(DescribedExpert(expert, ability))
        quality = model.bind(experts).predict(source.texts)
        figures = measure(name, list(source.experts), quality, source.scores, options.data)
        print(
            figures,
            rank_correlations(catalogue, source.experts, quality, source.scores),
            flush=True,
        )


def rank_correlations(
    catalogue: Catalogue, experts: list[str], quality: np.ndarray, scores: np.ndarray
) -> str:
    """Of the experts that answered most of the prompts."""
    complete = np.isfinite(scores).mean(axis=0) > LEAST_COVERAGE
    observed = np.nanmean(scores, axis=0)
    predictions = {"predicted": np.nanmean(np.where(np.isfinite(scores), quality, np.nan), axis=0)}
    prices = []
    ratings = []
    for expert in experts:
        facts = catalogue.find(expert)
        prices.append(np.nan if facts is None else facts.output_usd_per_1m or np.nan)
        arena = [score.score for score in catalogue.scores(expert) if score.benchmark == ARENA]
        ratings.append(np.mean(arena) if arena else np.nan)
    predictions["price"] = np.array(prices, dtype=float)
    predictions["Arena"] = np.array(ratings, dtype=float)

    parts = []
    for name, values in predictions.items():
        known = complete & np.isfinite(values)
        if known.sum() > 2:
            ours = spearmanr(predictions["predicted"][known], observed[known]).statistic
            theirs = spearmanr(values[known], observed[known]).statistic
            parts.append(f"{name} {theirs:.2f} (ours {ours:.2f}, {known.sum()} experts)")
    return "; ".join(parts)


if __name__ == "__main__":
    main()

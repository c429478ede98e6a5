"""What labels add to the catalogue: python benchmarks/general/labels.py --data TABLES

Each expert of a table is known by the catalogue alone, then gets labels of some held-out prompts, and is measured on
the others. Printed are means over the experts: AUC, calibration error, and the error of the mean quality.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from measures import measure
from sources import read_sources, take

from routoo_core.abilities import unknown_ability
from routoo_core.catalogue.store import SHIPPED, Catalogue
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.predictor.general import DescribedExpert
from routoo_core.predictor.general_checkpoint import load_general
from routoo_core.training.general_answers import fit_source_labels

COUNTS = (0, 20, 50, 200, 900)


def main() -> None:
    """Print a row for each table and number of labels."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--router", default="general-fast")
    options = parser.parse_args()
    catalogue = Catalogue(SHIPPED)
    model = load_general(find_router(options.router))
    for table in read_sources(options.data, catalogue, ("mmlu_pro", "helm_mmlu")):
        held_out = table.part("dev")
        order = np.random.default_rng(0).permutation(len(held_out.texts))
        half = len(order) // 2
        test = take(held_out, order[half:])
        names = list(test.experts)
        for count in COUNTS:
            taught = take(held_out, order[: min(count, half)])
            if count:
                reading = model.reader.read(taught.texts)
                labels = fit_source_labels(taught, reading, model.answers)
                experts = [DescribedExpert(name, unknown_ability(), (name,)) for name in names]
                predictor = replace(model, labels=labels).bind(experts)
            else:
                experts = [
                    DescribedExpert(name, catalogue.ability(name) or unknown_ability())
                    for name in names
                ]
                predictor = model.bind(experts)
            quality = predictor.predict(test.texts)
            means = np.abs(quality.mean(axis=0) - np.nanmean(test.scores, axis=0))
            figures = measure(test.name, names, quality, test.scores, options.data)
            print(
                f"{len(taught.texts):4d} labels  {figures}  error of the mean {means.mean():.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()

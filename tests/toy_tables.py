"""The toy outcomes as the files that ``routoo evaluate`` and ``replay`` read."""

import numpy as np

from routoo_core.tables import write_table

PRICES = "model,input_usd_per_1m,output_usd_per_1m\ncalculator,1,3\ntalker,1,1\n"


def write_toy_tables(folder, toy):
    """Write them, the talker a little worse; returns the options that name them."""
    scores = toy.scores.copy()
    scores[0, 1] = 0
    toy = toy.with_scores(scores)
    columns = {
        "prompt_id": toy.prompt_ids,
        "prompt": toy.prompts,
        "domain": toy.domains,
        "split": toy.splits,
    }
    write_table(folder / "p.csv", {name: list(values) for name, values in columns.items()})
    rows = [
        (prompt, expert, float(toy.scores[i, j]))
        for i, prompt in enumerate(toy.prompt_ids)
        for j, expert in enumerate(toy.experts)
        if not np.isnan(toy.scores[i, j])
    ]
    names = ("prompt_id", "model", "score")
    write_table(folder / "o.csv", dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    (folder / "prices.csv").write_text(PRICES)
    files = {"--prompts": "p.csv", "--outcomes": "o.csv", "--prices": "prices.csv"}
    return [part for option, name in files.items() for part in (option, str(folder / name))]

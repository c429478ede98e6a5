"""The toy outcomes as the files that ``routoo evaluate`` and ``replay`` read."""

from routoo_core.tables import write_rows, write_table

PRICES = "model,input_usd_per_1m,output_usd_per_1m\ncalculator,1,3\ntalker,1,1\n"


def write_toy_tables(folder, toy):
    """Write them, the talker a little worse; returns the options that name them."""
    scores = toy.scores.copy()
    scores[0, 1] = 0
    worse = toy.with_scores(scores).score_table

    columns = {
        "prompt_id": toy.prompt_ids,
        "prompt": toy.prompts,
        "domain": toy.domains,
        "split": toy.splits,
    }
    write_table(folder / "p.csv", columns)
    write_rows(folder / "o.csv", outcome_rows(worse))
    (folder / "prices.csv").write_text(PRICES)

    options = []
    for option, name in (
        ("--prompts", "p.csv"),
        ("--outcomes", "o.csv"),
        ("--prices", "prices.csv"),
    ):
        options += [option, str(folder / name)]
    return options


def outcome_rows(table):
    """A row for each pair that was observed."""
    rows = []
    for row, prompt_id in enumerate(table.row_ids):
        for column, model in enumerate(table.experts):
            if table.observed[row, column]:
                score = float(table.values[row, column])
                rows.append({"prompt_id": prompt_id, "model": model, "score": score})
    return rows


def write_answered_tables(folder, outcomes, answers, usd=None):
    """Write p.csv, o.csv and a.csv: prompts, what each expert scored, and what it answered.

    Args:
        folder: Where.
        outcomes: Complete.
        answers: An ``AnswerTable``.
        usd: What an answer of each expert cost; left out where it is ``None``.
    """
    rows = zip(outcomes.prompt_ids, outcomes.prompts, outcomes.splits, strict=True)
    write_rows(
        folder / "p.csv",
        [{"prompt_id": name, "prompt": text, "split": split} for name, text, split in rows],
    )
    scores = []
    for row, prompt_id in enumerate(outcomes.prompt_ids):
        for column, expert in enumerate(outcomes.experts):
            score = float(outcomes.scores[row, column])
            cost = {} if usd is None else {"cost_usd": usd[column]}
            scores.append({"prompt_id": prompt_id, "model": expert, "score": score, **cost})
    write_rows(folder / "o.csv", scores)
    texts = [
        {"prompt_id": prompt_id, "model": expert, "answer": text}
        for (prompt_id, expert), text in answers.texts.items()
    ]
    write_rows(folder / "a.csv", texts)

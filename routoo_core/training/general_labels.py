"""Labels for a general router: of one expert, or of a whole table, with the catalogue's ability as the prior."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from routoo_core.abilities import unknown_ability
from routoo_core.catalogue.entries import Ability
from routoo_core.catalogue.store import open_catalogue
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.files import staging
from routoo_core.measures.metrics import auc
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.checkpoint_folder import (
    CARD_FILE,
    CONFIG_FILE,
    METRICS_FILE,
    read_config_values,
)
from routoo_core.predictor.general import (
    DescribedExpert,
    GeneralModel,
    LabelTable,
    select_labels,
)
from routoo_core.predictor.general_checkpoint import load_general, save_general
from routoo_core.predictor.prompt_reader import Floats, PromptReading
from routoo_core.text import question_fingerprints
from routoo_core.training.expert_run import NewExpert, labels_of
from routoo_core.training.general_answers import correct_labels, fit_source_labels
from routoo_core.training.general_corpus import GeneralSource
from routoo_core.training.metrics import AddedExpert


def teach_general(
    checkpoint: Path, outcomes: Outcomes, expert: NewExpert, out: Path
) -> AddedExpert:
    """Write to ``out`` the general router with the labels of one more expert; the others stay as they are.

    Args:
        checkpoint: The folder to start from.
        outcomes: Prompts on which the expert was observed; other experts' columns are not used.
        expert: Whom. Without a prior the catalogue's ability is what labels start from; with one, that of the prior.
        out: The folder to write; may be ``checkpoint`` itself.

    Raises:
        ConfigurationError: The router has labels under that name already, or nobody knows the prior.
    """
    model = load_general(checkpoint)
    if expert.name in model.labels.names:
        raise ConfigurationError(
            f"name: {checkpoint} has labels of {expert.name!r} already; choose another name"
        )
    ability = _prior_ability(expert)
    labels = labels_of(outcomes, expert.name)
    reading = model.reader.read(labels.prompts)
    source = GeneralSource(
        name=expert.name,
        texts=labels.prompts,
        kinds=[None] * len(labels.prompts),
        experts=(expert.name,),
        scores=labels.scores[:, None],
        lengths=labels.lengths[:, None],
        abilities=ability.mean[None],
        languages=["en"] * len(labels.prompts),
    )
    own = fit_source_labels(source, reading, model.answers)
    new_model = replace(
        model,
        labels=LabelTable.join([model.labels, own]),
        trained=np.union1d(model.trained, question_fingerprints(labels.prompts)),
    )
    addition = AddedExpert(
        expert.name,
        len(labels.scores),
        _auc_of(new_model, expert.name, labels.prompts, labels.scores),
    )
    _write(checkpoint, out, new_model, [addition])
    return addition


def learn_labels(
    model: GeneralModel,
    experts: Sequence[DescribedExpert],
    reading: PromptReading,
    scores: Floats,
    lengths: Floats,
) -> LabelTable:
    """What a router's labels say of experts once more scores are known, and how much doubt they leave.

    Args:
        model: The router; what it knows of the experts is the prior.
        experts: One for each column.
        reading: What was read of the prompts.
        scores: Observed, 0–1 or NaN, prompts × experts.
        lengths: Tokens of the answers, or NaN, prompts × experts.
    """
    start = select_labels(model.labels, experts)
    correction = correct_labels(start, scores, lengths, reading, model.answers)
    forecast = model.bind(experts).forecast_reading(reading)
    observed = np.isfinite(scores)
    information = (forecast.quality * (1 - forecast.quality) * observed).sum(axis=0)
    variance = np.zeros_like(information)
    if forecast.deviation is not None:
        variance = np.square(forecast.deviation).mean(axis=0)
    doubt_share = (1 / np.sqrt(1 + information * variance)).astype(np.float32)
    return replace(correction, doubt=start.doubt * doubt_share)


def train_from_general(checkpoint: Path, outcomes: Outcomes, out: Path) -> list[AddedExpert]:
    """Write to ``out`` a general router that has learnt from a table of outcomes, all experts at once.

    The catalogue's ability, and labels where the router has some, are the prior of each expert. It learns from the
    prompts of the split ``train``; the figures are of ``dev``.

    Args:
        checkpoint: The router to start from; it stays as it is.
        outcomes: The table.
        out: The folder to write.

    Returns:
        What was learnt of each expert.

    Raises:
        OutcomesError: A split is empty.
    """
    training = outcomes.take(outcomes.rows("train"))
    if not len(training.prompts):
        raise OutcomesError("no prompt of the table is in the split 'train'; see the column split")
    model = load_general(checkpoint)
    experts = _describe_columns(training.experts, model.labels)
    reading = model.reader.read(training.prompts)
    rows = learn_labels(model, experts, reading, training.scores, _lengths_of(training))
    new_model = replace(
        model,
        labels=LabelTable.join([model.labels.without(set(rows.names)), rows]),
        trained=np.union1d(model.trained, question_fingerprints(training.prompts)),
    )
    held_out = outcomes.take(outcomes.rows("dev"))
    aucs = _held_out_aucs(new_model, experts, held_out)
    additions = []
    for column, name in enumerate(training.experts):
        labels = int(np.isfinite(training.scores[:, column]).sum())
        additions.append(AddedExpert(name, labels, aucs[column]))
    _write(checkpoint, out, new_model, additions)
    return additions


def _held_out_aucs(
    model: GeneralModel, experts: Sequence[DescribedExpert], held_out: Outcomes
) -> list[float | None]:
    """Of each expert; ``None`` where all of its answers are correct, all wrong, or there is none."""
    if not len(held_out.prompts):
        return [None] * len(experts)
    own_experts = [replace(expert, label_names=(expert.name,)) for expert in experts]
    quality = model.bind(own_experts).predict(held_out.prompts).astype(np.float64)
    aucs: list[float | None] = []
    for column in range(len(experts)):
        has_score = np.isfinite(held_out.scores[:, column])
        observed = held_out.scores[has_score, column].astype(np.float64)
        value = auc(quality[has_score, column], observed) if len(observed) else np.nan
        aucs.append(None if np.isnan(value) else float(value))
    return aucs


def _describe_columns(names: Sequence[str], labels: LabelTable) -> list[DescribedExpert]:
    """The experts of a table; middling ones, with all doubt, where nobody knows them."""
    catalogue = open_catalogue()
    experts = []
    for name in names:
        ability = catalogue.ability(name) or unknown_ability()
        experts.append(DescribedExpert(name, ability, labels.find(name)))
    return experts


def _lengths_of(outcomes: Outcomes) -> Floats:
    if outcomes.lengths is None:
        return np.full_like(outcomes.scores, np.nan)
    return outcomes.lengths


def _prior_ability(expert: NewExpert) -> Ability:
    """The ability that labels start from; a middling one where nobody knows the model.

    Raises:
        ConfigurationError: The catalogue does not know the prior.
    """
    catalogue = open_catalogue()
    if expert.prior is None:
        return catalogue.ability(expert.name) or unknown_ability()
    ability = catalogue.ability(expert.prior)
    if ability is None:
        near = ", ".join(catalogue.nearest_names(expert.prior))
        raise ConfigurationError(
            f"prior: the catalogue does not know {expert.prior!r}; near names: {near}"
        )
    return ability


def _auc_of(
    model: GeneralModel, name: str, prompts: tuple[str, ...], scores: Floats
) -> float | None:
    """Of the labels themselves; ``None`` where all answers are correct or all are wrong."""
    if not prompts:
        return None
    predictor = model.bind([DescribedExpert(name, unknown_ability(), (name,))])
    value = auc(predictor.predict(prompts)[:, 0].astype(np.float64), scores.astype(np.float64))
    return None if np.isnan(value) else value


def _write(
    checkpoint: Path, out: Path, model: GeneralModel, additions: Sequence[AddedExpert]
) -> None:
    """The grown router, whole or not at all."""
    config = read_config_values(checkpoint)
    config["labels"] = list(model.labels.names)
    metrics = json.loads((checkpoint / METRICS_FILE).read_text(encoding="utf-8"))
    lines = [(checkpoint / CARD_FILE).read_text(encoding="utf-8").rstrip(), ""]
    for expert in additions:
        metrics.setdefault("added_experts", []).append(
            {"name": expert.name, "labels": expert.labels, "auc": expert.auc}
        )
        lines.append(f"- {expert.name} (added from {expert.labels} labels)")
    texts = {
        CONFIG_FILE: json.dumps(config, indent=1) + "\n",
        METRICS_FILE: json.dumps(metrics, indent=1) + "\n",
        CARD_FILE: "\n".join(lines) + "\n",
    }
    with staging(out.parent) as scratch:
        folder = scratch / "router"
        folder.mkdir()
        save_general(folder, model)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        out.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            shutil.move(path, out / path.name)

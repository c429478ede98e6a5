"""``routoo add-expert`` for a general router: labels of one expert, with the catalogue's ability as the prior."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from routoo_core.abilities import unknown_ability
from routoo_core.catalogue.entries import Ability
from routoo_core.catalogue.store import open_catalogue
from routoo_core.errors import ConfigurationError
from routoo_core.files import staging
from routoo_core.measures.metrics import auc
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.checkpoint_folder import (
    CARD_FILE,
    CONFIG_FILE,
    METRICS_FILE,
    read_config_values,
)
from routoo_core.predictor.general import DescribedExpert, GeneralModel, LabelTable
from routoo_core.predictor.general_checkpoint import load_general, save_general
from routoo_core.predictor.prompt_reader import Floats
from routoo_core.text import question_fingerprints
from routoo_core.training.expert_run import NewExpert, labels_of
from routoo_core.training.general import fit_source_labels
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
    grown = replace(
        model,
        labels=LabelTable.join([model.labels, own]),
        trained=np.union1d(model.trained, question_fingerprints(labels.prompts)),
    )
    added = AddedExpert(
        expert.name, len(labels.scores), _auc_of(grown, expert.name, labels.prompts, labels.scores)
    )
    _write(checkpoint, out, grown, added)
    return added


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


def _write(checkpoint: Path, out: Path, model: GeneralModel, added: AddedExpert) -> None:
    """The grown router, whole or not at all."""
    config = read_config_values(checkpoint)
    config["labels"] = list(model.labels.names)
    metrics = json.loads((checkpoint / METRICS_FILE).read_text(encoding="utf-8"))
    metrics.setdefault("added_experts", []).append(
        {"name": added.name, "labels": added.labels, "auc": added.auc}
    )
    card = (checkpoint / CARD_FILE).read_text(encoding="utf-8").rstrip()
    texts = {
        CONFIG_FILE: json.dumps(config, indent=1) + "\n",
        METRICS_FILE: json.dumps(metrics, indent=1) + "\n",
        CARD_FILE: f"{card}\n\n- {added.name} (added from {added.labels} labels)\n",
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

"""How able each expert of a pool is: by what its table says, else by the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from routoo_core.catalogue.ability_fit import infer_ability
from routoo_core.catalogue.building import VENDOR, make_score_table
from routoo_core.catalogue.entries import Ability, BenchmarkColumn, ModelFacts, PublishedScore
from routoo_core.catalogue.names import EFFORTS, Effort, read_model_name
from routoo_core.catalogue.skills import SKILL_NUMBER, SKILLS
from routoo_core.catalogue.store import Catalogue, open_catalogue
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert
from routoo_core.predictor.general import (
    AnswerModel,
    DescribedExpert,
    GeneralModel,
    LabelTable,
)

_SAME_ABILITY = 1e-4
_UNKNOWN_DEVIATION = 0.5
"""Of an ability that somebody states without saying how sure it is."""
_REASONING_LOG_LENGTH = 1.6
"""How much longer answers of models that reason are, in logarithms, where nobody measured them."""
_TYPICAL_HARD_REPLY = 1500.0
"""Tokens of a reply to a hard question by a model that does not reason."""
_LENGTH_OF_EFFORT = {
    "none": 0.0,
    "minimal": 0.3,
    "low": 0.6,
    "medium": 1.0,
    "high": 1.4,
    "xhigh": 1.8,
}
"""How much of the lengthening by reasoning each effort has."""


def describe_pool(
    pool: Iterable[Expert],
    model: GeneralModel,
    catalogue: Catalogue | None = None,
) -> list[DescribedExpert]:
    """What the general predictor needs to know of each expert.

    Args:
        pool: The experts.
        model: The checkpoint.
        catalogue: By default the user's, else the one that ships.

    Raises:
        ConfigurationError: An expert is unknown; the message has near names and the ways to describe it.
    """
    source = catalogue or open_catalogue()
    descriptions: dict[str, DescribedExpert] = {}
    for expert in pool:
        if expert.predicted_as not in descriptions:
            descriptions[expert.predicted_as] = _describe(expert, model, source)
    return list(descriptions.values())


def describe_names(
    names: Sequence[str], labels: LabelTable, catalogue: Catalogue | None = None
) -> list[DescribedExpert]:
    """The same for experts that are only names, such as those of a table of outcomes.

    Raises:
        ConfigurationError: One is neither among the labels nor in the catalogue.
    """
    source = catalogue or open_catalogue()
    descriptions = []
    for name in names:
        label_names = labels.find(name)
        ability = source.ability(name)
        if ability is None and not label_names:
            raise ConfigurationError(f"expert {name!r}: {_unknown(name, source)}")
        log_length = _log_length(source.find(name), None)
        descriptions.append(
            DescribedExpert(name, ability or unknown_ability(), label_names, log_length)
        )
    return descriptions


def describe_plans(names: Sequence[str], labels: LabelTable) -> list[DescribedExpert]:
    """The same for plans, which labels alone know."""
    return [DescribedExpert(name, unknown_ability(), (name,), 0.0) for name in names]


def _describe(expert: Expert, model: GeneralModel, catalogue: Catalogue) -> DescribedExpert:
    labels = model.labels
    ability = ability_of(expert, catalogue)
    if expert.skills:
        ability = _with_skills(expert, ability, model.answers)
    has_own_words = expert.like or expert.scores or expert.skills or expert.ability is not None
    if has_own_words:
        label_names = _labels_of_own_words(expert, ability, labels)
    else:
        label_names = labels.find(expert.predicted_as, expert.model)
    if ability is None:
        if not label_names:
            raise ConfigurationError(f"{expert.place}: {_unknown(expert.model, catalogue)}")
        ability = unknown_ability()
    log_length = _log_length(_facts_of(expert, catalogue), expert.effort)
    return DescribedExpert(expert.predicted_as, ability, label_names, log_length)


def _labels_of_own_words(
    expert: Expert, ability: Ability | None, labels: LabelTable
) -> tuple[str, ...]:
    """The labels that were learnt on top of what the expert's table says; others speak of another model."""
    name = expert.predicted_as
    if ability is None or name not in labels.names:
        return ()
    is_same = np.allclose(labels.row(name).abilities[0], ability.mean, atol=_SAME_ABILITY)
    return (name,) if is_same else ()


def ability_of(expert: Expert, catalogue: Catalogue) -> Ability | None:
    """How able an expert is; ``None`` where nothing says it.

    Raises:
        ConfigurationError: ``like`` names no model of the catalogue, or a score no benchmark.
    """
    facts = _facts_of(expert, catalogue)
    ability: Ability | None = None
    if expert.like:
        ability = catalogue.ability(expert.like, expert.effort)
        if ability is None:
            near = ", ".join(catalogue.nearest_names(expert.like))
            raise ConfigurationError(
                f"{expert.place}: like: the catalogue does not know {expert.like!r}; near names: {near}"
            )
        ability = replace(ability, origin=f"like {expert.like} ({ability.origin})")
    elif facts is not None:
        ability = catalogue.ability(facts.key, expert.effort or _effort_of(expert))
    if expert.scores:
        ability = _with_own_scores(expert, facts, catalogue)
    if expert.ability is not None:
        ability = _with_levels(expert.ability, ability)
    return ability


def unknown_ability() -> Ability:
    """The ability of an unknown model: the mean of all models, with the full uncertainty."""
    zeros = np.zeros(len(SKILLS), np.float32)
    return Ability(zeros, np.ones(len(SKILLS), np.float32), origin="unknown")


def _facts_of(expert: Expert, catalogue: Catalogue) -> ModelFacts | None:
    for name in (expert.router_name, expert.model, expert.name):
        facts = catalogue.find(name) if name else None
        if facts is not None:
            return facts
    return None


def _effort_of(expert: Expert) -> Effort | None:
    for name in (expert.model, expert.name):
        effort = read_model_name(name).effort
        if effort != EFFORTS[0]:
            return effort
    return None


def _with_own_scores(expert: Expert, facts: ModelFacts | None, catalogue: Catalogue) -> Ability:
    """From the scores in the expert's table, beside those of the catalogue."""
    key = facts.key if facts is not None else read_model_name(expert.model).key
    columns = catalogue.columns()
    scores = catalogue.scores(key) if facts is not None else []
    scores = [score for score in scores if score.effort == (expert.effort or EFFORTS[0])]
    for name, value in expert.scores.items():
        scores.append(_own_score(expert, key, name, value, columns))
    plain = ModelFacts(key, expert.name, output_usd_per_1m=float(expert.output_usd_per_1m) or None)
    table = make_score_table(
        [replace(score, effort=EFFORTS[0]) for score in scores],
        columns,
        [(key, EFFORTS[0])],
        {key: facts or plain},
    )
    fit = infer_ability(table, catalogue.scale())
    return Ability(
        fit.mean[0].astype(np.float32),
        fit.deviation[0].astype(np.float32),
        len(scores),
        origin=f"scores of {expert.name}",
    )


def _own_score(
    expert: Expert, key: str, name: str, value: float, columns: Sequence[BenchmarkColumn]
) -> PublishedScore:
    """The column of comparable scores that a benchmark's name means; a third party's before a vendor's."""
    benchmark, _, category = name.partition("/")
    fitting = [
        column
        for column in columns
        if column[0].lower() == benchmark.lower() and column[1].lower() == category.lower()
    ]
    if not fitting:
        near_names = sorted(
            {f"{b}/{c}" if c else b for b, c, _ in columns if benchmark.lower()[:4] in b.lower()}
        )
        hint = f"; near names: {', '.join(near_names[:4])}" if near_names else ""
        raise ConfigurationError(
            f"{expert.place}: scores: {name!r} is no benchmark of the catalogue{hint}; 'routoo catalogue benchmarks' "
            "lists them"
        )
    column = min(fitting, key=lambda column: column[2] == VENDOR)
    return PublishedScore(
        key,
        EFFORTS[0],
        column[0],
        column[1],
        column[2],
        value,
        "0..1",
        column[0].lower(),
        "",
        "yours",
    )


def _with_levels(level: float | Mapping[str, float], ability: Ability | None) -> Ability:
    base = ability or unknown_ability()
    mean = base.mean.copy()
    deviation = base.deviation.copy()
    values = dict.fromkeys(SKILLS, level) if isinstance(level, float | int) else level
    for skill, value in values.items():
        mean[SKILL_NUMBER[skill]] = value
        deviation[SKILL_NUMBER[skill]] = _UNKNOWN_DEVIATION
    return Ability(mean, deviation, base.scores, base.latest, "stated in its table")


def _with_skills(expert: Expert, ability: Ability | None, answers: AnswerModel) -> Ability:
    """An ability with the skills that its table declares, which are taken at their word."""
    base = ability or unknown_ability()
    mean = base.mean.copy()
    deviation = base.deviation.copy()
    for skill, quality in expert.skills.items():
        mean[SKILL_NUMBER[skill]] = answers.ability_for(skill, quality)
        deviation[SKILL_NUMBER[skill]] = 0.0
    return Ability(mean, deviation, base.scores, base.latest, "skills in its table")


def _log_length(facts: ModelFacts | None, effort: str | None) -> float:
    """How much longer a model's answers are than others', in logarithms."""
    if facts is None or not facts.reasons:
        return 0.0
    lengthening = _REASONING_LOG_LENGTH
    if facts.reply_tokens:
        lengthening = max(0.0, float(np.log(facts.reply_tokens / _TYPICAL_HARD_REPLY)))
    return lengthening * _LENGTH_OF_EFFORT.get(effort or "", 1.0)


def _unknown(name: str, catalogue: Catalogue) -> str:
    near = ", ".join(catalogue.nearest_names(name))
    hint = f" (near names: {near})" if near else ""
    return (
        f"the catalogue does not know {name!r}{hint}. Correct the name, or describe the model in its table: "
        'like = "a model as able", scores = { "MMLU-Pro" = 0.71 }, or ability = 0.5'
    )

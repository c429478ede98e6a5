"""Learning from graded calls: what people and tests thought of answers corrects what is known of each expert.

A decision record says what kind a prompt was read as and how hard, so no prompt is needed. The catalogue's ability, and
labels where there are some, are the prior. Each expert learns from its own answers alone, since nobody graded what the
others would have said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from routoo_core.abilities import describe_pool
from routoo_core.catalogue.skills import SKILL_NUMBER
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Pool
from routoo_core.files import staging
from routoo_core.predictor.checkpoint_folder import (
    CARD_FILE,
    CONFIG_FILE,
    METRICS_FILE,
    name_of,
    read_config_values,
)
from routoo_core.predictor.general import (
    DescribedExpert,
    GeneralModel,
    LabelTable,
)
from routoo_core.predictor.general_checkpoint import load_general, save_general
from routoo_core.predictor.prompt_reader import FORMS, KINDS, TASTES, Floats, PromptReading
from routoo_core.training.general_labels import learn_labels

LEARNT = "learnt"
"""In metrics.json: what was learnt from grades, oldest first."""


@dataclass(frozen=True, slots=True)
class GradedCall:
    """An answer with a grade.

    Attributes:
        expert: Who gave it, by its name in experts.toml.
        kinds: Skill → probability, as the prompt was read.
        difficulty: Log-odds that the prompt is easier by than usual; ``None`` where that was not known.
        score: The grade, 0–1.
        foreign: Share of the prompt that is in another language than English, 0–1.
        fingerprint: 64 bits that tell the call from others; it counts once.
    """

    expert: str
    kinds: Mapping[str, float]
    difficulty: float | None
    score: float
    foreign: float
    fingerprint: int


@dataclass(frozen=True, slots=True)
class LearntExpert:
    """What grades changed of one expert, over the graded calls themselves.

    Attributes:
        expert: As the router knows it.
        calls: How many were graded.
        mean_score: Their mean grade, 0–1.
        predicted_before: Mean predicted quality by the router that was learnt from, 0–1.
        predicted_after: By the new one, 0–1.
        doubt_before: Mean standard deviation in log-odds before.
        doubt_after: And after.
    """

    expert: str
    calls: int
    mean_score: float
    predicted_before: float
    predicted_after: float
    doubt_before: float
    doubt_after: float


@dataclass(frozen=True, slots=True)
class LearntGrades:
    """What a router learnt from a log.

    Attributes:
        experts: The one with the most calls first.
        repeated: Graded calls that it had learnt from before, or that the log holds twice; they did not count again.
    """

    experts: tuple[LearntExpert, ...]
    repeated: int


@dataclass(frozen=True, eq=False)
class _ExpertGrades:
    """The graded calls of one expert, as arrays."""

    expert: DescribedExpert
    reading: PromptReading
    scores: Floats = field(repr=False)


def learn_from_grades(
    checkpoint: Path, pool: Pool, calls: Sequence[GradedCall], out: Path
) -> LearntGrades:
    """Write to ``out`` a general router that has learnt from graded calls; ``checkpoint`` stays as it is.

    Args:
        checkpoint: The router to start from.
        pool: The experts of the calls.
        calls: The graded calls. Of experts that are not in the pool nothing is learnt, and each call counts once.
        out: The folder to write; must not be ``checkpoint``.

    Raises:
        ConfigurationError: There is no graded call of the pool, or each was learnt from before.
    """
    model = load_general(checkpoint)
    usable = _usable_calls(pool, calls)
    if not usable:
        raise ConfigurationError(
            "the log has no graded call of an expert of the pool whose record says what was read of the prompt; "
            "log grades beside records of a general router"
        )
    new = _new_calls(model, usable)
    if not new:
        raise ConfigurationError(
            "the log has no graded call that this router has not learnt from already; give a log with new calls"
        )
    grades = _collect_grades(model, pool, new)
    rows = []
    for own in grades:
        scores = own.scores[:, None]
        unknown = np.full_like(scores, np.nan)
        rows.append(learn_labels(model, [own.expert], own.reading, scores, unknown))
    names = {row.names[0] for row in rows}
    labels = LabelTable.join([model.labels.without(names), *rows])
    fingerprints = np.array([call.fingerprint for call in new], np.uint64)
    new_model = replace(model, labels=labels, graded=np.union1d(model.graded, fingerprints))
    lessons = [_compare(model, new_model, own, row) for own, row in zip(grades, rows, strict=True)]
    lessons.sort(key=lambda expert: -expert.calls)
    _write(checkpoint, out, new_model, lessons)
    return LearntGrades(tuple(lessons), repeated=len(usable) - len(new))


def _usable_calls(pool: Pool, calls: Sequence[GradedCall]) -> list[GradedCall]:
    """The calls of experts of the pool, where the record says what kind of prompt it was."""
    names = {expert.name for expert in pool}
    usable = []
    for call in calls:
        if call.expert in names and any(kind in SKILL_NUMBER for kind in call.kinds):
            usable.append(call)
    return usable


def _new_calls(model: GeneralModel, calls: Sequence[GradedCall]) -> list[GradedCall]:
    """Each call that the router has not learnt from, once: a log grows, and is given again."""
    fingerprints = set(model.graded.tolist())
    new = []
    for call in calls:
        if call.fingerprint not in fingerprints:
            fingerprints.add(call.fingerprint)
            new.append(call)
    return new


def _collect_grades(
    model: GeneralModel, pool: Pool, calls: Sequence[GradedCall]
) -> list[_ExpertGrades]:
    """The calls of each expert of the pool that has some."""
    calls_of: dict[str, list[GradedCall]] = {}
    for call in calls:
        calls_of.setdefault(pool[call.expert].predicted_as, []).append(call)
    grades = []
    for expert in describe_pool(pool, model):
        own = calls_of.get(expert.name)
        if own:
            scores = np.array([call.score for call in own], np.float32)
            grades.append(_ExpertGrades(expert, _read_calls(model, own), scores))
    return grades


def _read_calls(model: GeneralModel, calls: Sequence[GradedCall]) -> PromptReading:
    """What records say was read of the prompts; they do not hold tastes and forms."""
    count = len(calls)
    kinds = np.zeros((count, KINDS), np.float32)
    log_odds = np.zeros(count, np.float32)
    for row, call in enumerate(calls):
        for kind, share in call.kinds.items():
            if kind in SKILL_NUMBER:
                kinds[row, SKILL_NUMBER[kind]] = share
        log_odds[row] = call.difficulty or 0.0
    kinds /= kinds.sum(axis=1, keepdims=True)
    effect = kinds @ model.answers.difficulty
    difficulty = np.divide(log_odds, effect, out=np.zeros_like(log_odds), where=effect > 0)
    return PromptReading(
        kinds=kinds,
        difficulty=difficulty,
        tastes=np.zeros((count, TASTES), np.float32),
        forms=np.zeros((count, FORMS), np.float32),
        log_length=np.zeros(count, np.float32),
        foreign=np.array([call.foreign for call in calls], np.float32),
    )


def _compare(
    before: GeneralModel, after: GeneralModel, grades: _ExpertGrades, row: LabelTable
) -> LearntExpert:
    """What an expert's graded calls are predicted to be worth by either router."""
    own_expert = replace(grades.expert, label_names=row.names)
    old = before.bind([grades.expert]).forecast_reading(grades.reading)
    new = after.bind([own_expert]).forecast_reading(grades.reading)
    doubts = []
    for forecast in (old, new):
        doubts.append(0.0 if forecast.deviation is None else float(forecast.deviation.mean()))
    return LearntExpert(
        expert=grades.expert.name,
        calls=len(grades.scores),
        mean_score=round(float(grades.scores.mean()), 4),
        predicted_before=round(float(old.quality.mean()), 4),
        predicted_after=round(float(new.quality.mean()), 4),
        doubt_before=round(doubts[0], 4),
        doubt_after=round(doubts[1], 4),
    )


def _write(
    checkpoint: Path,
    out: Path,
    model: GeneralModel,
    lessons: Sequence[LearntExpert],
) -> None:
    """The new router, whole or not at all."""
    config = read_config_values(checkpoint)
    config["labels"] = list(model.labels.names)
    config["parent"] = name_of(checkpoint)
    metrics = json.loads((checkpoint / METRICS_FILE).read_text(encoding="utf-8"))
    date = datetime.now(UTC).date().isoformat()
    entry = {
        "date": date,
        "from": name_of(checkpoint),
        "experts": [asdict(expert) for expert in lessons],
    }
    metrics.setdefault(LEARNT, []).append(entry)
    lines = [(checkpoint / CARD_FILE).read_text(encoding="utf-8").rstrip(), ""]
    for expert in lessons:
        lines.append(
            f"- {date}: {expert.expert} learnt from {expert.calls} graded calls "
            f"(quality there {expert.predicted_before:.2f} → {expert.predicted_after:.2f})"
        )
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
        folder.rename(out)

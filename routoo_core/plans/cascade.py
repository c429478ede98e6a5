"""Cascade: experts are asked one after the other, until a judge, a scorer or the call's own check accepts an answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import field_serializer, field_validator, model_validator

from routoo_core.answer import Answer, quote
from routoo_core.plans.plan import (
    NO_APPRAISAL,
    AddedTurn,
    Appraisal,
    Appraiser,
    Ask,
    Contribution,
    Plan,
    Role,
    Share,
    Step,
    Take,
    Verdict,
    has_room_for_words,
    last_answer,
    last_line,
    turns_behind,
)
from routoo_core.predictor.answer_scorer import AnswerScorer, load_scorer
from routoo_core.request import RoutedRequest

_UNREAD_BY_SCORER = frozenset({"images", "audio", "files", "video"})
"""What a prompt may hold that a scorer cannot read."""


class Cascade(Plan):
    """Experts are asked one after the other, until an answer is accepted; the last one's stands.

    An answer that does not have the form or does not meet the check of its call goes on to the next expert, too.

    Attributes:
        judge: The expert that says whether an answer is right; ``None`` to rely on a scorer, or on the call's form and
            check.
        scorer: The model that says how probably an answer is right; the folder that ``routoo plans fit-cascade`` wrote.
        thresholds: For each expert but the last, the probability from which its answer is accepted, 0–1.
    """

    kind: ClassVar[str] = "cascade"

    judge: str | None = None
    scorer: AnswerScorer | None = None
    thresholds: tuple[Share, ...] = ()

    @field_validator("scorer", mode="before")
    @classmethod
    def _loads_scorer(cls, scorer: Any) -> Any:
        return load_scorer(Path(scorer)) if isinstance(scorer, str | Path) else scorer

    @field_serializer("scorer")
    def _names_folder(self, scorer: AnswerScorer | None) -> str | None:
        return None if scorer is None or scorer.folder is None else str(scorer.folder.resolve())

    @model_validator(mode="after")
    def _accepts_in_one_way(self) -> Self:
        scored = self.experts[:-1]
        if self.scorer is None:
            if self.thresholds:
                raise ValueError("thresholds: belong to a scorer; name one, or remove them")
            return self
        if self.judge is not None:
            raise ValueError("judge: a scorer accepts answers already; remove one of the two")
        if len(self.thresholds) != len(scored):
            raise ValueError(
                f"thresholds: {len(self.thresholds)} numbers for {len(self.experts)} experts; give one for each expert "
                "but the last, as `routoo plans fit-cascade` prints them"
            )
        self.scorer.check_experts(scored)
        return self

    def _steps(self) -> list[Step]:
        steps = []
        for name in self.experts[:-1]:
            steps.append(Step(name))
            if self.judge:
                steps.append(Step(self.judge, Role.JUDGEMENT))
        steps.append(Step(self.experts[-1]))
        return steps

    def suits(self, request: RoutedRequest) -> bool:
        """Whether something can be checked, too; a judge's verdict is no JSON, and a scorer reads no images."""
        if not super().suits(request):
            return False
        if self.scorer is not None:
            return not self.unread(request)
        if self.judge:
            return has_room_for_words(request)
        return request.form.is_json or request.overrides.check is not None

    def unread(self, request: RoutedRequest) -> frozenset[str]:
        """Images and the like, where a scorer would have to read them."""
        return request.needs & _UNREAD_BY_SCORER if self.scorer is not None else frozenset()

    def appraiser(self, request: RoutedRequest) -> Appraiser:
        """Has answers scored, with one reading of the prompt; the last expert's needs no score."""
        if self.scorer is None:
            return super().appraiser(request)
        prompt_scorer = self.scorer.for_prompt(request)

        def appraise(step: int, answer: Answer) -> Appraisal:
            if step == len(self.thresholds) or not answer.is_whole:
                return NO_APPRAISAL
            probability = prompt_scorer.probability(answer, self.experts[step])
            return Appraisal(probability=probability, threshold=self.thresholds[step])

        return appraise

    def verdict(self, request: RoutedRequest, contributions: Sequence[Contribution]) -> Verdict:
        """Ask an expert; take its answer if it is accepted, else ask the next expert."""
        if not contributions:
            return Ask((0,))
        steps = self._steps()
        last = contributions[-1]
        if last.step == len(steps) - 1:
            return last_answer(contributions, lambda step: steps[step].role is Role.ANSWER)
        if steps[last.step].role is Role.JUDGEMENT:
            if not _accepts(last.answer):
                return _next_answer(steps, last.step)
            judged_position = len(contributions) - 2
            return Take(judged_position)
        if last.answer is None or not last.answer.is_whole:
            return _next_answer(steps, last.step)
        if self.judge is not None:
            judgement = last.step + 1
            return Ask((judgement,), _judgement_turns(last.answer))
        if self.scorer is not None and not _is_probable(last.appraisal):
            return _next_answer(steps, last.step)
        return Take(len(contributions) - 1)


def _next_answer(steps: Sequence[Step], place: int) -> Ask:
    """Ask the next expert that answers, behind a place that is not the last."""
    following = place + 1
    while steps[following].role is not Role.ANSWER:
        following += 1
    return Ask((following,))


def _is_probable(appraisal: Appraisal) -> bool:
    """Whether a scorer gives an answer the probability from which it is accepted."""
    if appraisal.probability is None or appraisal.threshold is None:
        return False
    return appraisal.probability >= appraisal.threshold


def _judgement_turns(answer: Answer) -> tuple[AddedTurn, ...]:
    question = (
        "Is the reply above correct and complete? Work it out for yourself first if that helps. "
        "End with one word on a line of its own: yes or no."
    )
    return turns_behind(quote(answer), question)


def _accepts(judgement: Answer | None) -> bool:
    """Whether a judge's last line is yes; one that failed or says anything else does not accept."""
    return last_line(judgement).casefold().strip(" .!*\"'`") == "yes"

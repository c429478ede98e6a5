"""Training the general predictor on tables of several sources, whose experts the catalogue puts on one scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from routoo_core.predictor.base import Vectors
from routoo_core.predictor.general import AnswerModel, LabelTable
from routoo_core.predictor.prompt_reader import PromptReader, PromptReading
from routoo_core.predictor.vector_reader import VectorWeights
from routoo_core.training.general_answers import fit_answers, fit_labels
from routoo_core.training.general_corpus import Corpus, GeneralSource, KindExample, make_targets
from routoo_core.training.prompt_reader import fit_reader


@dataclass(frozen=True, eq=False)
class GeneralFit:
    """What was fitted.

    Attributes:
        ngrams: The reader of n-grams.
        weights: On an encoder's vectors, where there were some.
        answers: From kind, difficulty and ability to quality.
        labels: What labels add.
        reading: Of the whole corpus, by readers that had not seen it.
    """

    ngrams: PromptReader
    weights: VectorWeights | None
    answers: AnswerModel
    labels: LabelTable
    reading: PromptReading


def fit_general(
    sources: Sequence[GeneralSource],
    examples: Sequence[KindExample],
    taste_source: str,
    encode: Callable[[Sequence[str]], Vectors] | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> GeneralFit:
    """Fit reader, answers and labels.

    The difficulty of a prompt is how much better or worse than usual its experts did. What a whole source is easier or
    harder by is found by a first fit of the answers, and added for a second one.

    Args:
        sources: Tables of outcomes.
        examples: Prompts of which only the kind is known.
        taste_source: The source whose experts' differences become the tastes.
        encode: Texts → vectors, where an encoder is to read prompts too.
        advance: Called with 1 after each of eight steps.
    """
    corpus = Corpus.join(sources, examples)
    vectors = None if encode is None else encode(corpus.texts)
    targets = make_targets(corpus, sources, taste_source, {})
    reading = fit_reader(corpus.texts, targets, vectors, advance=advance).reading
    offsets = fit_answers(sources, corpus.split(reading)).offsets

    targets = make_targets(corpus, sources, taste_source, offsets)
    fit = fit_reader(corpus.texts, targets, vectors, advance=advance)
    readings = corpus.split(fit.reading)
    answers = fit_answers(sources, readings).answers
    labels = fit_labels(sources, readings, answers)
    return GeneralFit(fit.ngrams, fit.weights, answers, labels, fit.reading)

"""Algorithms that a router can be trained by, and how another one is added.

An algorithm is one file: a class of settings, a quality model, and a function that fits it::

    class MeanSettings(Settings):
        prior: float = 5.0

    @dataclass(frozen=True)
    class MeanModel:                      # a QualityModel
        means: NDArray[np.float32]

        def quality(self, vectors): ...
        def weights(self): ...

    def fit_mean(data, settings, seed, progress): ...
    def load_mean(weights, config): ...

    register_algorithm("mean", Algorithm(MeanSettings, fit_mean, load_mean))

``train.toml`` then takes ``algorithm = "mean"`` and the fields of its settings, and ``load_checkpoint`` serves it in
every process that imported the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from routoo_core.predictor.checkpoint import PREDICTORS, encoded_predictor
from routoo_core.predictor.distilled import load_distillation, load_sufficiency
from routoo_core.predictor.head_ensemble import HeadEnsemble, load_head_ensemble
from routoo_core.predictor.matrix_factorisation import load_matrix_factorisation
from routoo_core.predictor.neighbours import load_neighbours
from routoo_core.predictor.pair_classifier import load_pair_classifier
from routoo_core.predictor.quality_model import LoadQualityModel, QualityModel
from routoo_core.predictor.random_router import load_random
from routoo_core.predictor.score_tokens import load_score_tokens
from routoo_core.predictor.similarity_ranking import load_similarity_ranking
from routoo_core.progress import Update
from routoo_core.settings import Settings
from routoo_core.training.classifiers import (
    PairClassifierSettings,
    fit_pair_classifier,
    fit_score_tokens,
    tune_pair_classifier,
    tune_score_tokens,
)
from routoo_core.training.distillation import (
    DistillationSettings,
    SufficiencySettings,
    fit_distillation,
    fit_sufficiency,
)
from routoo_core.training.early_stopping import ScheduleSettings
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.head_ensemble import (
    HeadTrainingSettings,
    fit_head_ensemble,
    settings_for_all_rows,
)
from routoo_core.training.lora import EncoderTuning, FineTuning
from routoo_core.training.matrix_factorisation import (
    FactorisationSettings,
    factorisation_settings_for_all_rows,
    fit_factorisation,
)
from routoo_core.training.neighbours import NeighbourSettings, fit_neighbours
from routoo_core.training.pairwise import with_scale_of
from routoo_core.training.random_router import RandomSettings, fit_random
from routoo_core.training.similarity_ranking import (
    RankingTrainingSettings,
    fit_similarity_ranking,
)

S = TypeVar("S", bound=Settings)
M = TypeVar("M", bound=QualityModel)

Fit = Callable[[EncodedOutcomes, S, int, Update], M]
"""Outcomes with vectors, settings, seed, progress → the fitted model.

It learns from the ``train`` rows and may choose on the ``dev`` rows; of a refit all rows are ``train``.
"""


@dataclass(frozen=True)
class Algorithm(Generic[S, M]):
    """How a quality model is fitted, and restored.

    Attributes:
        settings: Its fields stand beside those of ``TrainingConfig`` in ``train.toml``.
        fit: Outcomes → model.
        load: The model's weights → model.
        refit_settings: Settings for fitting all rows, once ``fit`` has chosen on ``dev``; by default the same.
        fine_tune: Trains the encoder together with a fitted model; ``None`` for a model without gradients.
    """

    settings: type[S]
    fit: Fit[S, M]
    load: LoadQualityModel
    refit_settings: Callable[[S, M], S] | None = None
    fine_tune: Callable[[M, EncodedOutcomes, FineTuning, Update], EncoderTuning] | None = None

    def refit(self, data: EncodedOutcomes, settings: S, model: M, seed: int, progress: Update) -> M:
        """Fit all rows in the way that ``model`` was fitted."""
        outcomes = data.outcomes.with_splits(["train"] * len(data.outcomes.prompts))
        if self.refit_settings is not None:
            settings = self.refit_settings(settings, model)
        return self.fit(EncodedOutcomes(outcomes, data.vectors), settings, seed, progress)


def _fine_tune_heads(
    ensemble: HeadEnsemble, data: EncodedOutcomes, plan: FineTuning, progress: Update
) -> EncoderTuning:
    # peft and accelerate take seconds to import, and only LoRA needs them.
    from routoo_core.training.fine_tuning import fine_tune_ensemble

    return EncoderTuning(ensemble, fine_tune_ensemble(ensemble, data, plan, progress))


ALGORITHMS: dict[str, Algorithm[Any, Any]] = {
    "performance": Algorithm(
        HeadTrainingSettings,
        fit_head_ensemble,
        load_head_ensemble,
        refit_settings=settings_for_all_rows,
        fine_tune=_fine_tune_heads,
    ),
    "knn": Algorithm(NeighbourSettings, fit_neighbours, load_neighbours),
    "sw_ranking": Algorithm(
        RankingTrainingSettings,
        fit_similarity_ranking,
        load_similarity_ranking,
        refit_settings=with_scale_of,
    ),
    "mf": Algorithm(
        FactorisationSettings,
        fit_factorisation,
        load_matrix_factorisation,
        refit_settings=factorisation_settings_for_all_rows,
    ),
    "bert": Algorithm(
        PairClassifierSettings,
        fit_pair_classifier,
        load_pair_classifier,
        refit_settings=with_scale_of,
        fine_tune=tune_pair_classifier,
    ),
    "causal": Algorithm(
        ScheduleSettings, fit_score_tokens, load_score_tokens, fine_tune=tune_score_tokens
    ),
    "hybrid": Algorithm(
        SufficiencySettings, fit_sufficiency, load_sufficiency, refit_settings=with_scale_of
    ),
    "zooter": Algorithm(
        DistillationSettings, fit_distillation, load_distillation, refit_settings=with_scale_of
    ),
    "random": Algorithm(RandomSettings, fit_random, load_random),
}
"""Algorithms by the name that ``algorithm`` gives them; ``performance`` is the paper's kind."""


def register_algorithm(name: str, algorithm: Algorithm[Any, Any]) -> None:
    """Make an algorithm known by ``name``, to training and to ``load_checkpoint``."""
    ALGORITHMS[name] = algorithm
    PREDICTORS[name] = encoded_predictor(algorithm.load)

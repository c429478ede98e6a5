"""How a router is trained: ``train.toml`` and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import field_validator, model_validator

from routoo_core.errors import ConfigurationError
from routoo_core.predictor.adapter import LoraSettings
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.predictor.score_tokens import INSTRUCTION
from routoo_core.settings import Settings
from routoo_core.training.algorithms import ALGORITHMS

DEFAULT_ALGORITHM = "performance"


class TrainingConfig(Settings):
    """How a router is trained; every field may be set in ``train.toml``.

    The fields of the algorithm's own settings are given beside these, as in
    ``TrainingConfig(algorithm="knn", neighbours=20)``. Fields of another algorithm are ignored, so that one file can
    change several presets.

    Attributes:
        algorithm: ``performance`` (encoder and heads, the paper's kind), ``knn`` (encoder and neighbours),
            ``sw_ranking``, ``mf``, ``bert``, ``causal`` and ``random`` (RouteLLM's), or another name in ``ALGORITHMS``.
        encoder: The query encoder.
        lora: Train the encoder too, after the heads; without it the encoder stays frozen.
        open_questions: Also train on multiple-choice prompts without their choices.
        seed: Of everything that is drawn.
        refit: After measuring, train again on the ``dev`` prompts too; not with ``lora``.
        algorithm_settings: The algorithm's own settings.
    """

    algorithm: str = DEFAULT_ALGORITHM
    encoder: EncoderSettings = EncoderSettings()
    lora: LoraSettings | None = None
    open_questions: bool = True
    seed: int = 0
    refit: bool = True
    algorithm_settings: Settings = Settings()

    def __init__(self, **values: Any) -> None:
        super().__init__(**_gather_algorithm_settings(values))

    def to_table(self) -> dict[str, Any]:
        """Plain JSON values: the fields of the algorithm's settings beside the others, as they are read."""
        table = self.model_dump(mode="json", exclude={"algorithm_settings"})
        return {**table, **self.algorithm_settings.model_dump(mode="json")}

    @field_validator("algorithm")
    @classmethod
    def _check_algorithm(cls, algorithm: str) -> str:
        if algorithm not in ALGORITHMS:
            raise ValueError(f"{algorithm!r} is unknown; choose one of {', '.join(ALGORITHMS)}")
        return algorithm

    @model_validator(mode="after")
    def _check_lora(self) -> TrainingConfig:
        if self.lora is None:
            return self
        if ALGORITHMS[self.algorithm].fine_tune is None:
            raise ValueError(
                f"lora: {self.algorithm!r} has no heads to train it with; leave lora out"
            )
        if self.lora.all_weights and self.algorithm == DEFAULT_ALGORITHM:
            raise ValueError(
                f"lora.all_weights: {self.algorithm!r} trains adapters alone; leave it out, or take 'bert' or 'causal'"
            )
        layers = self.encoder.layers
        if layers and self.lora.first_layer > max(layers):
            raise ValueError(
                f"lora.first_layer: {self.lora.first_layer} lies above the encoder's deepest layer"
            )
        return self


def _gather_algorithm_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Move the fields of the algorithm's settings, which are given flat, into a value of their class."""
    algorithm = ALGORITHMS.get(values.get("algorithm", DEFAULT_ALGORITHM))
    if algorithm is None:
        return dict(values)

    common = {}
    algorithm_values = {}
    for name, value in values.items():
        if name in TrainingConfig.model_fields:
            common[name] = value
        elif name in algorithm.settings.model_fields or not _is_of_an_algorithm(name):
            algorithm_values[name] = value
    settings = algorithm.settings(**algorithm_values)
    return {"algorithm_settings": settings, **common}


def _is_of_an_algorithm(field: str) -> bool:
    settings = [algorithm.settings for algorithm in ALGORITHMS.values()]
    return any(field in kind.model_fields for kind in settings)


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "lora": {"lora": {}},
    "paper": {
        "encoder": {"model": "mistralai/Mistral-7B-v0.1", "layers": [], "pooling": "last"},
        "head": "difference",
        "members": 1,
        "open_questions": False,
        "lora": {
            "first_layer": 1,
            "rank": 1024,
            "alpha": 16,
            "dropout": 0.05,
            "checkpointing": True,
        },
    },
    "knn": {"algorithm": "knn"},
    "sw-ranking": {"algorithm": "sw_ranking"},
    "mf": {"algorithm": "mf"},
    "hybrid": {"algorithm": "hybrid", "open_questions": False},
    "zooter": {"algorithm": "zooter"},
    "random": {"algorithm": "random"},
    "bert": {
        "algorithm": "bert",
        "encoder": {"model": "google-bert/bert-base-uncased", "layers": [], "pooling": "cls"},
        "open_questions": False,
        "lora": {"all_weights": True, "learning_rate": 1e-5, "batch_size": 16},
    },
    "causal": {
        "algorithm": "causal",
        "encoder": {"layers": [], "pooling": "last", "instruction": INSTRUCTION},
        "open_questions": False,
        "lora": {"first_layer": 1, "batch_size": 8},
    },
}
"""Named starting points of a TrainingConfig. ``paper`` is §4.1; it gives no learning rate, epochs or batch size."""


def preset(
    name: str, where: str = "train.toml", changes: Mapping[str, Any] | None = None
) -> TrainingConfig:
    """A preset, with the changes of a file; tables are merged field by field.

    Args:
        name: In :data:`PRESETS`.
        where: The file, for errors.
        changes: What it holds.

    Raises:
        ConfigurationError: The preset is unknown, or a field is.
    """
    if name not in PRESETS:
        raise ConfigurationError(f"preset: {name!r} is unknown; choose one of {', '.join(PRESETS)}")
    return TrainingConfig.read(where, _merge_tables(PRESETS[name], changes or {}))


def _merge_tables(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    union = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            union[key] = _merge_tables(base[key], value)
        else:
            union[key] = value
    return union

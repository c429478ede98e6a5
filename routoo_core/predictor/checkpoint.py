"""A checkpoint's folder: saved whole, loaded only if it matches. No pickle anywhere.

======================== ==========================================================================================
``config.json``           encoder, algorithm, experts, fingerprint of the data, versions
``head.safetensors``      weights of the quality model, calibration, lengths
``adapter/``              LoRA in peft's format, if the encoder was trained
``reference.safetensors`` predicted quality of the held-out prompts beside observed scores, no texts
``metrics.json``          held-out figures beside baselines
``README.md``             the model card
======================== ==========================================================================================
"""

from __future__ import annotations

import copyreg
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from routoo_core.errors import CheckpointError
from routoo_core.predictor.adapter import FOLDER as ADAPTER_FOLDER
from routoo_core.predictor.adapter import WEIGHTS as ADAPTER_WEIGHTS
from routoo_core.predictor.adapter import Adapter
from routoo_core.predictor.base import Encoder, Predictor
from routoo_core.predictor.calibration import Calibration
from routoo_core.predictor.checkpoint_config import (
    CheckpointConfig,
    read_algorithm,
    read_config,
)
from routoo_core.predictor.checkpoint_folder import CARD_FILE as CARD_FILE
from routoo_core.predictor.checkpoint_folder import CONFIG_FILE, WEIGHTS_FILE
from routoo_core.predictor.checkpoint_folder import METRICS_FILE as METRICS_FILE
from routoo_core.predictor.checkpoint_folder import ROUTERS as ROUTERS
from routoo_core.predictor.checkpoint_folder import find_router as find_router
from routoo_core.predictor.checkpoint_folder import name_of as name_of
from routoo_core.predictor.distilled import load_distillation, load_sufficiency
from routoo_core.predictor.encoder import load_encoder
from routoo_core.predictor.head_ensemble import load_head_ensemble
from routoo_core.predictor.lengths import LengthModel
from routoo_core.predictor.matrix_factorisation import load_matrix_factorisation
from routoo_core.predictor.neighbours import load_neighbours
from routoo_core.predictor.pair_classifier import load_pair_classifier
from routoo_core.predictor.performance import PerformancePredictor, PredictorParts
from routoo_core.predictor.quality_model import LoadQualityModel, Weights
from routoo_core.predictor.random_router import load_random
from routoo_core.predictor.reference import Reference, save_reference
from routoo_core.predictor.score_tokens import load_score_tokens
from routoo_core.predictor.similarity_ranking import load_similarity_ranking
from routoo_core.predictor.weights import check_finite

_CALIBRATION = "calibration"
_LENGTH_WEIGHT = "length.weight"
_LENGTH_BIAS = "length.bias"
_LENGTH_BOUNDS = "length.bounds"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything that a checkpoint's folder holds.

    Attributes:
        config: ``config.json``.
        parts: What was fitted.
        reference: Held-out predictions beside observed scores.
        metrics: Held-out figures, plain JSON values.
        card: The model card, Markdown.
    """

    config: CheckpointConfig
    parts: PredictorParts
    reference: Reference
    metrics: Mapping[str, Any]
    card: str


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; ``folder`` is created, files of an earlier one are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_weights_of(checkpoint.parts), folder / WEIGHTS_FILE)
    adapter = checkpoint.parts.adapter
    if adapter is None:
        shutil.rmtree(folder / ADAPTER_FOLDER, ignore_errors=True)
    else:
        adapter.save(folder / ADAPTER_FOLDER, checkpoint.config.training.encoder.model)
    save_reference(folder, checkpoint.reference)

    texts = {
        METRICS_FILE: json.dumps(checkpoint.metrics, indent=2) + "\n",
        CARD_FILE: checkpoint.card,
        CONFIG_FILE: checkpoint.config.model_dump_json(indent=2) + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


LoadPredictor = Callable[[Path, str], Predictor]
"""A checkpoint's folder and a device (``auto``, ``cpu``, ``cuda``, …) → its predictor."""


def load_checkpoint(folder: Path, device: str = "auto") -> Predictor:
    """Load a checkpoint and its encoder.

    Args:
        folder: See :func:`find_router`.
        device: Where the encoder runs.

    Raises:
        CheckpointError: A part is missing, damaged, of another format, of an unknown algorithm, or does not fit the
            encoder.
    """
    algorithm = read_algorithm(folder)
    if algorithm not in PREDICTORS:
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: training.algorithm: {algorithm!r} is unknown (known: {', '.join(PREDICTORS)}); "
            "import the module that registers it"
        )
    return PREDICTORS[algorithm](folder, device)


def encoded_predictor(load_model: LoadQualityModel) -> LoadPredictor:
    """Loads checkpoints that hold an encoder and a quality model.

    Args:
        load_model: Restores the quality model from its weights.
    """

    def load(folder: Path, device: str = "auto") -> Predictor:
        config = read_config(folder)
        parts = load_parts(folder, config, load_model)
        encoder = load_encoder(config.training.encoder, device, parts.adapter)
        _check_encoder(folder, config, encoder)
        return PerformancePredictor(encoder, parts, config.experts, fingerprint(folder), folder)

    return load


PREDICTORS: dict[str, LoadPredictor] = {
    "performance": encoded_predictor(load_head_ensemble),
    "knn": encoded_predictor(load_neighbours),
    "sw_ranking": encoded_predictor(load_similarity_ranking),
    "mf": encoded_predictor(load_matrix_factorisation),
    "bert": encoded_predictor(load_pair_classifier),
    "causal": encoded_predictor(load_score_tokens),
    "hybrid": encoded_predictor(load_sufficiency),
    "zooter": encoded_predictor(load_distillation),
    "random": encoded_predictor(load_random),
}
"""What a checkpoint is served by, for each ``training.algorithm`` of ``config.json``."""


def _reduce(predictor: PerformancePredictor) -> tuple[Callable[..., Any], tuple[Path]]:
    """Copies, and predictors sent to other processes, load the folder again."""
    return load_checkpoint, (predictor.folder,)


copyreg.pickle(PerformancePredictor, _reduce)


def _check_encoder(folder: Path, config: CheckpointConfig, encoder: Encoder) -> None:
    model = config.training.encoder.model
    if encoder.dim != config.dim:
        raise CheckpointError(
            f"{folder}: trained on vectors of length {config.dim}, but encoder {model!r} gives {encoder.dim}; "
            "use the encoder it was trained with"
        )
    if encoder.fingerprint != config.encoder_fingerprint:
        raise CheckpointError(
            f"{folder}: trained with encoder {config.encoder_fingerprint}, but {model!r} is {encoder.fingerprint}; "
            "restore the encoder or train again"
        )


def fingerprint(folder: Path) -> str:
    """SHA-256 over config and weights, shortened."""
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE, f"{ADAPTER_FOLDER}/{ADAPTER_WEIGHTS}"):
        path = folder / name
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def library_versions() -> dict[str, str]:
    """Versions of the libraries that the numbers depend on."""
    return {name: version(name) for name in ("routoo", "torch", "transformers", "safetensors")}


def load_parts(
    folder: Path, config: CheckpointConfig, load_model: LoadQualityModel
) -> PredictorParts:
    """Everything but the encoder.

    Args:
        folder: The checkpoint's.
        config: Its ``config.json``.
        load_model: Restores the quality model from its weights.

    Raises:
        CheckpointError: The weights are damaged or do not fit ``config.json``.
    """
    adapter = load_adapter(folder, config)
    path = folder / WEIGHTS_FILE
    try:
        weights = load_file(path)
        check_finite(path, weights)
        calibration: Calibration = weights.pop(_CALIBRATION).numpy().copy()
        if calibration.shape != (len(config.experts), 2):
            raise RuntimeError(f"{_CALIBRATION} has shape {calibration.shape}")
        lengths = _pop_lengths(weights, config)
        quality_model = load_model(weights, config)
    except (OSError, SafetensorError, LookupError, RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: does not fit config.json ({reason}); copy the folder again"
        ) from error
    return PredictorParts(quality_model, calibration, lengths, adapter)


def load_adapter(folder: Path, config: CheckpointConfig) -> Adapter | None:
    """The encoder's adapter; ``None`` when the encoder stayed frozen.

    Raises:
        CheckpointError: See :meth:`Adapter.load`.
    """
    if config.training.lora is None:
        return None
    return Adapter.load(folder / ADAPTER_FOLDER)


def _weights_of(parts: PredictorParts) -> Weights:
    weights = {
        **parts.quality_model.weights(),
        _CALIBRATION: torch.from_numpy(parts.calibration),
    }
    if parts.lengths is not None:
        weights[_LENGTH_WEIGHT] = torch.from_numpy(parts.lengths.weight).half()
        weights[_LENGTH_BIAS] = torch.from_numpy(parts.lengths.bias)
        weights[_LENGTH_BOUNDS] = torch.from_numpy(parts.lengths.bounds)
    return weights


def _pop_lengths(weights: Weights, config: CheckpointConfig) -> LengthModel | None:
    """Take the model of the lengths out of the weights, if there is one."""
    if _LENGTH_WEIGHT not in weights:
        return None
    weight = weights.pop(_LENGTH_WEIGHT).float().numpy()
    bias = weights.pop(_LENGTH_BIAS).float().numpy()
    bounds = weights.pop(_LENGTH_BOUNDS).float().numpy()

    experts = len(config.experts)
    shapes = (weight.shape, bias.shape, bounds.shape)
    if shapes != ((config.dim, experts), (experts,), (2, experts)):
        raise RuntimeError(
            f"{_LENGTH_WEIGHT} of shape {weight.shape} is not of {config.dim} dimensions × the experts"
        )
    return LengthModel(weight, bias, bounds)

"""``config.json`` of a checkpoint: what was trained, on which data, with which versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, Field

from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.predictor.adapter import LoraSettings
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.settings import Settings

FORMAT = 1
CONFIG_FILE = "config.json"

AlgorithmSettings = TypeVar("AlgorithmSettings", bound=Settings)


class TrainingTable(Settings):
    """How a checkpoint was trained.

    Attributes:
        algorithm: What is served, a name in ``routoo_core.predictor.checkpoint.PREDICTORS``.
        encoder: The query encoder.
        lora: How the encoder was trained too; ``None`` when it stayed frozen.

    The algorithm's own settings are further keys; :meth:`settings_of` reads them.
    """

    model_config = ConfigDict(extra="allow")

    algorithm: str
    encoder: EncoderSettings
    lora: LoraSettings | None = None

    def settings_of(self, kind: type[AlgorithmSettings]) -> AlgorithmSettings:
        """Those of the further keys that are fields of ``kind``.

        Raises:
            CheckpointError: A field is out of range.
        """
        further = self.model_extra or {}
        values = {name: further[name] for name in kind.model_fields if name in further}
        try:
            return kind.read(f"{CONFIG_FILE}: training", values)
        except ConfigurationError as error:
            raise CheckpointError(str(error)) from error


class CheckpointConfig(Settings):
    """``config.json``.

    Attributes:
        format: Version of the files.
        training: How it was trained.
        dim: Length of the encoder's vectors.
        experts: One for each column of the prediction.
        encoder_fingerprint: Of the encoder it was trained with.
        data_fingerprint: Of the outcomes it was trained on.
        versions: Of the libraries that trained it.
    """

    format: int = FORMAT
    training: TrainingTable
    dim: int = Field(ge=1)
    experts: tuple[str, ...] = Field(min_length=1)
    encoder_fingerprint: str
    data_fingerprint: str
    versions: dict[str, str]


def read_config(folder: Path) -> CheckpointConfig:
    """Read and check ``config.json``.

    Raises:
        CheckpointError: The file is missing, damaged or of another format, or a field is missing or out of range.
    """
    path = folder / CONFIG_FILE
    try:
        return CheckpointConfig.read(str(path), _read_json(path))
    except ConfigurationError as error:
        raise CheckpointError(str(error)) from error


def read_algorithm(folder: Path) -> str:
    """The algorithm that a checkpoint was trained by; nothing else of ``config.json`` is checked.

    Raises:
        CheckpointError: The file is missing, damaged or of another format, or names no algorithm.
    """
    path = folder / CONFIG_FILE
    training = _read_json(path).get("training")
    algorithm = training.get("algorithm") if isinstance(training, dict) else None
    if not isinstance(algorithm, str):
        raise CheckpointError(f"{path}: training.algorithm: missing; copy the folder again")
    return algorithm


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); copy the folder again") from error

    version = values.get("format") if isinstance(values, dict) else None
    if version != FORMAT:
        raise CheckpointError(
            f"{path}: format: {version!r}, this Routoo reads {FORMAT}; train again or change version"
        )
    checked: dict[str, Any] = values
    return checked

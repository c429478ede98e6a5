"""``config.json`` of a checkpoint: what was trained, on which data, with which versions."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, Field

from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.predictor.adapter import LoraSettings
from routoo_core.predictor.checkpoint_folder import (
    CONFIG_FILE,
    FORMAT,
    GENERAL,
    read_algorithm_name,
    read_config_values,
)
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.settings import Settings

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
        """An algorithm's settings: the further keys that are fields of ``kind``.

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
    if read_algorithm_name(folder) == GENERAL:
        raise CheckpointError(
            f"{folder}: is a general router, which has no encoder; this command needs one that 'routoo train' wrote"
        )
    try:
        return CheckpointConfig.read(str(path), read_config_values(folder))
    except ConfigurationError as error:
        raise CheckpointError(str(error)) from error


def read_algorithm(folder: Path) -> str:
    """The algorithm that a checkpoint was trained by; nothing else of ``config.json`` is checked.

    Raises:
        CheckpointError: The file is missing, damaged or of another format, or names no algorithm.
    """
    algorithm = read_algorithm_name(folder)
    if algorithm is None:
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: training.algorithm: missing; copy the folder again"
        )
    return algorithm

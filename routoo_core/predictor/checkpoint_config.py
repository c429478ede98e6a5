"""``config.json`` of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.settings import Settings
from routoo_core.training.settings import TrainingConfig

FORMAT = 1


class CheckpointConfig(Settings):
    """``config.json``: what was trained, on what, with what."""

    format: int = FORMAT
    training: TrainingConfig
    dim: int = Field(ge=1)
    experts: tuple[str, ...] = Field(min_length=1)
    encoder_fingerprint: str
    data_fingerprint: str
    versions: dict[str, str]


def read_config(folder: Path) -> CheckpointConfig:
    """Read and check ``config.json``.

    Raises:
        CheckpointError: See :func:`load_checkpoint`.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); copy the folder again") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else None
        raise CheckpointError(
            f"{path}: format: {found!r}, this Routoo reads {FORMAT}; train again or change version"
        )
    try:
        return CheckpointConfig.read(str(path), values)
    except ConfigurationError as error:
        raise CheckpointError(str(error)) from error

"""Weights that were read from a file, before anything is computed with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from routoo_core.errors import CheckpointError


def check_finite(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that are no numbers or infinite: every prediction would be.

    Args:
        path: The file they are from, for the error.
        weights: By name.

    Raises:
        CheckpointError: Some are; the message names the first.
    """
    for name, weight in weights.items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise CheckpointError(
                f"{path}: {name}: holds values that are no finite numbers; copy the folder again, or train anew"
            )

"""The options of commands that predict for many prompts, on this machine or on a Ray cluster."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from routoo_core.assignment.on_ray import RayPredictor
from routoo_core.assignment.predictions import PredictorLoader
from routoo_core.errors import ConfigurationError
from routoo_core.loading import load_predictor

RayOption = Annotated[
    bool,
    typer.Option(
        "--ray",
        help="Predict on the Ray cluster of RAY_ADDRESS, or on one started on this machine.",
    ),
]
RayGpusOption = Annotated[
    float,
    typer.Option(min=0, help="With --ray: GPUs for each copy of the router, such as 0.25."),
]


def predictor_loader(on_ray: bool, gpus: float) -> PredictorLoader:
    """How a router is loaded.

    Args:
        on_ray: Whether many prompts are predicted on Ray.
        gpus: For each copy of the router there.

    Raises:
        ConfigurationError: GPUs are named without Ray.
    """
    if on_ray:
        return partial(RayPredictor, gpus=gpus)
    if gpus:
        raise ConfigurationError("--ray-gpus: is for --ray; give both, or neither")
    return load_predictor

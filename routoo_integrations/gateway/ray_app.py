"""The gateway on Ray Serve: replicas that callers reach, and replicas that predict for them.

``serve run routoo_integrations.gateway.ray_app:app config=/srv/routoo.toml``

Their numbers are set apart, in ``[gateway.ray]`` of routoo.toml. Accounts are kept in Redis, since replicas may be on
different machines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from starlette.types import ASGIApp

from routoo_core.budget.redis import RedisLedger
from routoo_core.errors import ConfigurationError, MissingDependency, PredictionFailed
from routoo_core.predictor.base import Predictor
from routoo_core.router import Router
from routoo_core.threads import off_loop
from routoo_integrations.building import read_router
from routoo_integrations.gateway.connections import check_provider
from routoo_integrations.gateway.predictor_elsewhere import (
    PredictorDescription,
    PredictorElsewhere,
    answer_prompts,
)
from routoo_integrations.gateway.served import ServedRouter, read_settings

try:
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException
    from ray.serve.handle import DeploymentHandle
except ImportError as error:
    raise MissingDependency(error.name or "ray", "ray", "serve the router on Ray") from error

PREDICTORS = "predictors"
INGRESS = "ingress"
_CALLS = 512
"""Calls that one replica answers at once; streams last for minutes. More of them wait at Ray's proxy."""
_PREDICTIONS = 64
"""Questions that one predictor replica has at once: it puts them into common passes."""
_PREDICTION_TIMEOUT_S = 60.0


def app(arguments: Mapping[str, str]) -> serve.Application:
    """The application of a routoo.toml, for ``serve run`` and ``serve deploy``.

    Args:
        arguments: ``config``, the path of routoo.toml: the same on each machine.

    Raises:
        ConfigurationError: The file or an argument is wrong, the ledger is not in Redis, or there is no key.
    """
    path = _config_of(arguments)
    router = read_router(path, check_provider)
    if not isinstance(router.ledger, RedisLedger):
        raise ConfigurationError(
            f"{path}: budget.ledger: replicas on Ray share their accounts in Redis; write 'redis://HOST:6379/0'"
        )
    settings = read_settings(path)
    service = ServedRouter(_without_predictor(router), path.parent, path, settings)
    keys = service.keys()
    if keys is None or not keys.has_usable_keys:
        raise ConfigurationError(
            f"{path.parent}: no key is in use, and other machines may reach Ray's proxy; make one with "
            "'routoo key create NAME --limit 5.00'"
        )
    service = replace(service, has_keys=True)
    ray = settings.ray
    resources = {"num_cpus": ray.predictor_cpus, "num_gpus": ray.predictor_gpus}
    predictors = serve.deployment(
        PredictorReplica,
        name=PREDICTORS,
        num_replicas=ray.predictor_replicas,
        ray_actor_options=resources,
        max_ongoing_requests=_PREDICTIONS,
    )
    ingress = serve.deployment(
        serve.ingress()(IngressReplica),
        name=INGRESS,
        num_replicas=ray.ingress_replicas,
        max_ongoing_requests=_CALLS,
    )
    return ingress.bind(service, predictors.bind(str(path)))


class PredictorReplica:
    """Predicts for all ingress replicas.

    Args:
        config: The path of routoo.toml.
    """

    def __init__(self, config: str) -> None:
        self._predictor: Predictor = read_router(config, check_provider).predictor

    async def answer(self, prompts: list[str]) -> bytes:
        """The forecast of prompts, as bytes."""
        return await off_loop(lambda: answer_prompts(self._predictor, prompts))


class IngressReplica:
    """Serves callers: everything but the predictor is here.

    Args:
        service: What it serves, over a predictor elsewhere.
        predictors: The replicas that predict, which are deployed with it; :class:`ReplicaLine` leads to them.
    """

    def __init__(self, service: ServedRouter, predictors: DeploymentHandle) -> None:
        self._gateway = service.gateway()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._gateway.app()


class ReplicaLine:
    """The way to the predictor replicas of the application that this process is a replica of."""

    @cached_property
    def _handle(self) -> DeploymentHandle:
        return serve.get_deployment_handle(PREDICTORS)

    def ask(self, prompts: Sequence[str]) -> bytes:
        """What one of the replicas answers.

        Raises:
            PredictionFailed: None answers in time.
        """
        response = self._handle.answer.remote(list(prompts))
        try:
            answer: bytes = response.result(timeout_s=_PREDICTION_TIMEOUT_S)
        except (RayError, RayServeException, TimeoutError) as error:
            name = type(error).__name__
            raise PredictionFailed(f"{name}: no predictor replica answers") from error
        return answer

    def __reduce__(self) -> tuple[type[ReplicaLine], tuple[()]]:
        return type(self), ()


def _config_of(arguments: Mapping[str, str]) -> Path:
    surplus = sorted(set(arguments) - {"config"})
    if surplus or not arguments.get("config"):
        name = surplus[0] if surplus else "config"
        raise ConfigurationError(
            f"{name}: give config=PATH, the path of routoo.toml, and nothing else"
        )
    return Path(arguments["config"]).absolute()


def _without_predictor(router: Router) -> Router:
    """The same router over the predictor replicas; several threads may ask these at once."""
    elsewhere = PredictorElsewhere(PredictorDescription.of(router.predictor), ReplicaLine())
    return Router.from_parts(replace(router.parts, predictor=elsewhere))

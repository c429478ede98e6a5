"""``[gateway]`` in routoo.toml: what the gateway does beyond routing calls."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from routoo_core.options import RoutooToml
from routoo_core.settings import Settings
from routoo_integrations.gateway.stored_responses import DEFAULT_ACCOUNT_MB

DAY_S = 24 * 3600.0


class ResponseSettings(Settings):
    """``[gateway.responses]``: responses that later calls may go on from.

    Attributes:
        keep_days: Days after which a response is forgotten that no call has gone on from.
        account_mb: Megabytes that each account may store.
    """

    keep_days: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    account_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] = DEFAULT_ACCOUNT_MB

    @property
    def keep_s(self) -> float:
        """The same in seconds."""
        return self.keep_days * DAY_S


class RaySettings(Settings):
    """``[gateway.ray]``: how many replicas serve and predict on Ray Serve, and what each one takes of a machine.

    Attributes:
        ingress_replicas: Processes that callers reach; they call the experts.
        predictor_replicas: Processes that predict.
        predictor_gpus: GPUs for each of these; a fraction where several share one.
        predictor_cpus: CPUs for each of these.
    """

    ingress_replicas: Annotated[int, Field(gt=0)] = 1
    predictor_replicas: Annotated[int, Field(gt=0)] = 1
    predictor_gpus: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    predictor_cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


class GatewaySettings(Settings):
    """Everything that ``[gateway]`` may say.

    Attributes:
        responses: Where it is missing, no responses are stored.
        embeddings: Name → an endpoint for embeddings, as ``gateway/embeddings.py`` reads it.
        ray: For ``gateway/ray_app.py`` alone.
    """

    responses: ResponseSettings | None = None
    embeddings: dict[str, Any] = Field(default_factory=dict)
    ray: RaySettings = Field(default_factory=RaySettings)

    @classmethod
    def of_toml(cls, config: RoutooToml, path: str) -> GatewaySettings:
        """What routoo.toml says of the gateway.

        Raises:
            ConfigurationError: A field is missing, unknown or out of range.
        """
        return cls.read(f"{path}: gateway", config.gateway)

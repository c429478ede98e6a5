"""The clients that reach experts, by provider."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from routoo_core.asking.calls import ExpertClient
from routoo_core.asking.endpoint import EndpointClient
from routoo_core.asking.local_model import LocalModel
from routoo_core.endpoint import AZURE
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert

CLIENTS: dict[str | None, Callable[[Expert], ExpertClient]] = {
    None: EndpointClient,
    "openai": EndpointClient,
    AZURE: EndpointClient,
    "huggingface": LocalModel,
}
"""An expert's ``provider`` → its client. Add an entry to reach experts of another protocol."""


def make_clients(experts: Sequence[Expert]) -> dict[str, ExpertClient]:
    """A client for each expert, by name.

    Raises:
        ConfigurationError: A provider has no client, or an API key is not in the environment.
    """
    clients: dict[str, ExpertClient] = {}
    for expert in experts:
        expert.check_key()
        if expert.provider not in CLIENTS:
            choices = ", ".join(name for name in CLIENTS if name is not None)
            raise ConfigurationError(
                f"{expert.place}: provider: {expert.provider!r} cannot be scored; choose "
                f"one of {choices}, or give the base_url of an endpoint that speaks OpenAI's "
                "protocol"
            )
        clients[expert.name] = CLIENTS[expert.provider](expert)
    return clients

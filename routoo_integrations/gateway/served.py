"""What a gateway serves: a router and its files, in a form that every serving process can load."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from routoo_core.config import read_config
from routoo_core.router import Router
from routoo_integrations.gateway.activity import ActivityLog, activity_beside
from routoo_integrations.gateway.app import Gateway, GatewayLimits
from routoo_integrations.gateway.authors import ReplyMemory
from routoo_integrations.gateway.embeddings import read_embeddings
from routoo_integrations.gateway.keys import KeyStore
from routoo_integrations.gateway.settings import DAY_S, GatewaySettings, ResponseSettings
from routoo_integrations.gateway.stores import open_keys, open_responses


@dataclass(frozen=True)
class ServedRouter:
    """A router and its files. It can be pickled, so that several processes serve the same router.

    Attributes:
        router: The router.
        folder: The folder that may hold the keys; ``None`` for none.
        path: The path of routoo.toml; ``None`` for none.
        settings: The gateway's own settings.
        has_keys: Whether there are keys, so that no process serves without them.
    """

    router: Router
    folder: Path | None
    path: Path | None
    settings: GatewaySettings = field(default_factory=GatewaySettings)
    has_keys: bool = False

    def keys(self) -> KeyStore | None:
        """The store of the callers' keys; ``None`` where there is no folder for it."""
        if self.folder is None:
            return None
        return open_keys(self.router.ledger, self.folder, must_exist=self.has_keys)

    def gateway(
        self, limits: GatewayLimits | None = None, replies: ReplyMemory | None = None
    ) -> Gateway:
        """A gateway.

        Args:
            limits: What it takes from a caller.
            replies: Who gave which reply; by default this process's own memory.
        """
        ledger = self.router.ledger
        embeddings = self.settings.embeddings
        return Gateway(
            self.router,
            self.keys(),
            limits,
            activity=ActivityLog(activity_beside(ledger, self.folder)),
            config=self.path,
            replies=replies,
            responses=open_responses(self.settings.responses, ledger, self.folder),
            embeddings=read_embeddings(
                f"{self.path}: gateway.embeddings", embeddings, self.router.pool
            ),
        )


def read_settings(path: Path | None, keep_responses_s: float | None = None) -> GatewaySettings:
    """What routoo.toml says of the gateway; an option says otherwise.

    Args:
        path: routoo.toml; ``None`` for none.
        keep_responses_s: For how long responses are stored; ``None`` as in the file.

    Raises:
        ConfigurationError: A field is missing, unknown or out of range.
    """
    settings = GatewaySettings()
    if path is not None:
        settings = GatewaySettings.of_toml(read_config(path), str(path))
    if keep_responses_s is None:
        return settings
    in_file = {} if settings.responses is None else settings.responses.model_dump()
    days = keep_responses_s / DAY_S
    responses = ResponseSettings.read("store-responses", {**in_file, "keep_days": days})
    return settings.model_copy(update={"responses": responses})

"""Which routoo.toml a command reads, and which account pays for what it asks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import STARTER, open_account, read_config
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Pool
from routoo_core.options import RoutooToml
from routoo_integrations.cli.terminal import print_note

DEMO_FOLDER = Path("routoo-demo")

INCOMPLETE = 3
"""Exit code: something is missing, and the same command goes on where it was."""


@dataclass(frozen=True)
class ConfigurationFile:
    """The configuration that a command reads.

    Attributes:
        path: A routoo.toml.
        ledger: The ledger to use instead of the one that the file names; ``None`` for the file's.
        is_built_in: Whether it is the demo's, because there is no other.
    """

    path: Path
    ledger: str | None = None
    is_built_in: bool = False


def find_configuration(option: Path | None) -> ConfigurationFile:
    """The file named by ``--config``, by $ROUTOO_CONFIG, or the first of the usual places; else the built-in one."""
    if option is not None:
        return ConfigurationFile(option)

    variable = os.environ.get("ROUTOO_CONFIG")
    if variable:
        return ConfigurationFile(Path(variable))

    for path in (Path("routoo.toml"), DEMO_FOLDER / "routoo.toml"):
        if path.is_file():
            return ConfigurationFile(path)

    print_note("No routoo.toml here: using the built-in demo pool with an empty account.")
    return ConfigurationFile(STARTER / "routoo.toml", ledger="memory://", is_built_in=True)


def read_configured_account(option: Path | None) -> tuple[Budget, Ledger]:
    """The configured budget and its ledger, to look into: no file is made where there is none yet."""
    configuration = find_configuration(option)
    config = read_config(configuration.path)
    ledger = ledger_to_read(configuration, config)
    return open_account(configuration.path, config, ledger)


def ledger_to_read(configuration: ConfigurationFile, config: RoutooToml) -> str | None:
    """The address of the ledger to look into: an empty one in memory where the file is not there yet."""
    url = configuration.ledger or config.budget.ledger
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and not (configuration.path.parent / rest.removeprefix("/")).exists():
        return "memory://"
    return configuration.ledger


def open_configured_account(option: Path | None) -> tuple[Budget, Ledger]:
    """The configured budget and its ledger."""
    configuration = find_configuration(option)
    config = read_config(configuration.path)
    return open_account(configuration.path, config, configuration.ledger)


@dataclass(frozen=True)
class Payment:
    """Who pays for answers, as the options say.

    Attributes:
        limit: USD that all answers may cost together; ``None`` where a routoo.toml pays, or all experts are free.
        config: A routoo.toml whose account pays instead.
        answers: The file of answers; an account of its own lies beside it.
    """

    limit: str | None
    config: Path | None
    answers: Path

    def account(self, pool: Pool) -> tuple[Budget, Ledger]:
        """The account of routoo.toml, or one beside the answers that never resets.

        Args:
            pool: The experts that will be asked.

        Raises:
            ConfigurationError: Both are named, or nobody is although an expert costs money.
        """
        if self.limit is not None and self.config is not None:
            raise ConfigurationError("pass either --budget or --config, not both")
        if self.config is not None:
            return open_account(self.config, read_config(self.config))

        if self.limit is None:
            for expert in pool:
                if expert.maximum_cost(1, 1):
                    raise ConfigurationError(
                        "--budget: pass how many USD the answers may cost, or pass a routoo.toml with --config"
                    )
        settings = {"account": "score", "limit": self.limit, "period": "run", "run_id": "score"}
        budget = Budget.read("--budget", settings)
        ledger = SqliteLedger(self.answers.with_name(f"{self.answers.stem}.ledger.db"))
        return budget, ledger

"""``routoo init``: write both configuration files for the providers whose keys are at hand."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from routoo_core.budget.account import Budget
from routoo_core.catalogue.providers import ENDPOINTS, GATEWAYS
from routoo_core.catalogue.store import open_catalogue
from routoo_core.errors import ConfigurationError
from routoo_core.pool_proposal import ProposedExpert, propose_pool, providers_with_keys
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_integrations.cli.outputs import CommandFiles, OverwriteOption
from routoo_integrations.cli.terminal import out, print_line, print_warning

_THOUSAND = 1000
_FAST_ROUTER = "general-fast"
_GPU_ROUTER = "general"


def init_command(
    provider: Annotated[
        list[str] | None,
        typer.Option(
            help="openai, anthropic, google, mistral, …; repeatable. Default: those with keys."
        ),
    ] = None,
    limit: Annotated[str, typer.Option(help="USD that may be spent in each period.")] = "5.00",
    period: Annotated[str, typer.Option(help="hour, day or month.")] = "day",
    router: Annotated[
        str | None,
        typer.Option(
            help="general-fast, general (needs PyTorch), or a folder. Default: general where there is a GPU."
        ),
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Where the two files go.")] = Path(),
    overwrite: OverwriteOption = False,
) -> None:
    """Write routoo.toml and experts.toml: a small pool of today's models for the providers you have keys of.

    The keys stay in the environment; only their names are written. Nobody is called.

    Example: [bold]routoo init --provider openai --provider anthropic --limit 10[/bold]
    """
    config = folder / "routoo.toml"
    pool_file = folder / "experts.toml"
    CommandFiles({"routoo.toml": config, "experts.toml": pool_file}).check(overwrite)
    Budget.read("--limit", {"account": "default", "limit": limit, "period": period})
    router = router or _default_router()
    find_router(router)
    providers = provider or _ask_for_providers()
    proposal = propose_pool(providers, open_catalogue())

    folder.mkdir(parents=True, exist_ok=True)
    pool_file.write_text(_experts_toml(proposal), encoding="utf-8")
    config.write_text(_routoo_toml(router, limit, period), encoding="utf-8")
    out.print(_proposal_table(proposal))
    print_line(f"Wrote {pool_file} and {config}.")
    for name in dict.fromkeys(providers):
        if name not in providers_with_keys():
            print_warning(f"{ENDPOINTS[name].key} is not set; export it before the first call.")
    print_line("Next: routoo experts --check, then routoo route 'a prompt of yours'")


def _ask_for_providers() -> list[str]:
    """The providers with keys; at a terminal each is asked for.

    Raises:
        ConfigurationError: There is no key, and nobody to ask.
    """
    names = [name for name in providers_with_keys() if name not in GATEWAYS]
    if sys.stdin.isatty():
        names = [
            name for name in names if typer.confirm(f"Use {ENDPOINTS[name].title}?", default=True)
        ]
    if not names:
        variables = ", ".join(ENDPOINTS[name].key for name in ENDPOINTS if name not in GATEWAYS)
        raise ConfigurationError(
            f"--provider: no API key is set ({variables}); export one, or choose a provider: "
            "routoo init --provider openai"
        )
    return names


def _experts_toml(proposal: Sequence[ProposedExpert]) -> str:
    """A table for each expert; everything else is looked up."""
    lines = [
        "# A model's name is a whole entry: address, key variable, prices, window and limits are looked up.",
        "# Each can be set here: base_url, api_key_env, input_usd_per_1m, context_window … 'routoo experts' shows all.",
        "",
    ]
    for one in proposal:
        expert = one.expert
        lines.append(f'[experts."{expert.name}"]')
        lines.append(
            f"# ${expert.input_usd_per_1m:f} in, ${expert.output_usd_per_1m:f} out per million tokens; "
            f"key in ${expert.key_variable}"
        )
        lines.append("")
    return "\n".join(lines)


def _default_router() -> str:
    """``general`` where there are a GPU and PyTorch to use it, else ``general-fast``."""
    has_gpu = shutil.which("nvidia-smi") is not None
    has_pytorch = find_spec("torch") is not None and find_spec("transformers") is not None
    return _GPU_ROUTER if has_gpu and has_pytorch else _FAST_ROUTER


def _routoo_toml(router: str, limit: str, period: str) -> str:
    return f"""router = "{router}"       # knows every model of the catalogue; or a folder 'routoo train' wrote
experts = "experts.toml"
policy = "match_best"         # the best expert's quality for as little as possible; also "paced", "save", "best"

[budget]
account = "default"
limit = "{limit}"                # USD for each period
period = "{period}"
ledger = "sqlite:///routoo.db"
"""


def _proposal_table(proposal: Sequence[ProposedExpert]) -> Table:
    table = Table(
        "expert",
        "$/M in",
        "$/M out",
        "window",
        "ability",
        "best at",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for one in proposal:
        expert = one.expert
        best = ", ".join(one.ability.best_skills(2)).replace("_", " ")
        table.add_row(
            expert.name,
            f"{expert.input_usd_per_1m:f}",
            f"{expert.output_usd_per_1m:f}",
            f"{expert.context_window / _THOUSAND:.0f}k",
            f"{one.ability.mean.mean():+.1f} ± {one.ability.deviation.mean():.1f}",
            best,
        )
    return table

"""Finding a checkpoint's folder and reading which experts it knows, without loading it or PyTorch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from routoo_core.errors import CheckpointError
from routoo_core.text import parse_json

ROUTERS = Path(__file__).parent.parent / "routers"
"""The shipped checkpoints, a folder each."""

FORMAT = 1
GENERAL = "general"
"""The algorithm of routers that predict for any expert."""
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "head.safetensors"
REFERENCE_FILE = "reference.safetensors"
METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"
_REQUIRED_FILES = (CONFIG_FILE, WEIGHTS_FILE, REFERENCE_FILE, METRICS_FILE)


def find_router(name: str | Path, beside: Path | None = None) -> Path:
    """The checkpoint's folder: of a shipped name, or the folder itself (relative ones also ``beside`` a file).

    Raises:
        CheckpointError: Neither a shipped name nor a folder that holds a checkpoint.
    """
    router_names = sorted(path.parent.name for path in ROUTERS.glob(f"*/{CONFIG_FILE}"))
    if str(name) in router_names:
        return ROUTERS / str(name)

    for folder in ((beside or Path()) / name, Path(name)):
        if folder.is_dir():
            _check_files(folder)
            return folder
    raise CheckpointError(
        f"router {str(name)!r} is neither a folder nor a shipped router ({', '.join(router_names)})"
    )


def _check_files(folder: Path) -> None:
    missing = [file for file in _REQUIRED_FILES if not (folder / file).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder}: {', '.join(missing)} missing; copy the whole folder 'routoo train' wrote"
        )


def name_of(folder: Path) -> str:
    """What ``find_router`` finds a checkpoint's folder by, on this machine; a shipped one by its name on any."""
    if folder.parent == ROUTERS:
        return folder.name
    return str(folder.resolve())


def folders_by_name(
    folders: Sequence[Path], reserved: frozenset[str] = frozenset()
) -> dict[str, Path]:
    """Folders by their own names; those of one name, or of a reserved one, by their whole paths."""
    counts = Counter(folder.name for folder in {folder.resolve() for folder in folders})
    by_name = {}
    for folder in folders:
        own_name = folder.resolve().name
        is_clear = counts[own_name] == 1 and own_name not in reserved
        by_name[own_name if is_clear else name_of(folder)] = folder
    return by_name


def read_config_values(folder: Path) -> dict[str, Any]:
    """What ``config.json`` holds, of this format; nothing in it is checked.

    Raises:
        CheckpointError: The file is missing, damaged or of another format.
    """
    path = folder / CONFIG_FILE
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); copy the folder again") from error

    version = values.get("format") if isinstance(values, dict) else None
    if version != FORMAT:
        raise CheckpointError(
            f"{path}: format: {version!r}, this Routoo reads {FORMAT}; train again or change version"
        )
    config: dict[str, Any] = values
    return config


def read_experts(folder: Path) -> tuple[str, ...] | None:
    """The experts that a checkpoint knows; ``None`` where ``config.json`` does not list them.

    Raises:
        CheckpointError: The file is missing, damaged or of another format.
    """
    experts = read_config_values(folder).get("experts")
    if not isinstance(experts, list):
        return None
    return tuple(str(name) for name in experts)


def read_algorithm_name(folder: Path) -> str | None:
    """The algorithm that a checkpoint was trained by; ``None`` where ``config.json`` does not say.

    Raises:
        CheckpointError: The file is missing, damaged or of another format.
    """
    training = read_config_values(folder).get("training")
    algorithm = training.get("algorithm") if isinstance(training, dict) else None
    return algorithm if isinstance(algorithm, str) else None

"""What a router's folder holds; saved whole, loaded only if it matches. No pickle anywhere.

``config.json`` encoder, head, experts, data fingerprint, versions · ``head.safetensors`` heads, calibration and
lengths · ``adapter/`` LoRA in peft's format, when the encoder was trained · ``reference.safetensors`` quality predicted
for the held-out prompts, by the router and by simple ones, observed score, and fingerprints of all prompts seen (no
texts) ·
``metrics.json`` held-out figures beside baselines · ``README.md`` the model card.
"""

from __future__ import annotations

import copyreg
import hashlib
import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from routoo_core import embedded
from routoo_core.errors import CheckpointError
from routoo_core.predictor import adapter as adapters
from routoo_core.predictor.adapter import Adapter
from routoo_core.predictor.calibration import Calibration
from routoo_core.predictor.checkpoint_config import CheckpointConfig, read_config
from routoo_core.predictor.encoder import EMBEDDED, Encoder
from routoo_core.predictor.lengths import LengthModel
from routoo_core.predictor.performance import PerformancePredictor
from routoo_core.predictor.quality_model import SCORERS, Scorer
from routoo_core.predictor.reference import Reference, save_reference

ROUTERS = Path(__file__).parent.parent / "routers"
_FILES = ("config.json", "head.safetensors", "reference.safetensors", "metrics.json")
_LENGTH_WEIGHT, _LENGTH_BIAS, _LENGTH_BOUNDS = "length.weight", "length.bias", "length.bounds"


@dataclass(frozen=True)
class Learnt:
    """Everything training found.

    Attributes:
        scorer: Vector → quality.
        calibration: Applied to the quality.
        lengths: Vector → tokens of the answers; ``None`` when no lengths were observed.
        adapter: The encoder's; ``None`` when it stayed frozen.
    """

    scorer: Scorer
    calibration: Calibration
    lengths: LengthModel | None = None
    adapter: Adapter | None = None


def find_router(name: str | Path, beside: Path | None = None) -> Path:
    """The folder of a shipped router's name, or the folder itself (relative ones also ``beside`` a file).

    Raises:
        CheckpointError: Neither a shipped name nor a folder that holds a checkpoint.
    """
    shipped = sorted(path.parent.name for path in ROUTERS.glob("*/config.json"))
    if str(name) in shipped:
        return ROUTERS / str(name)
    folders = [(beside or Path()) / name, Path(name)]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise CheckpointError(
            f"router {str(name)!r} is neither a folder nor a shipped router ({', '.join(shipped)})"
        )
    if missing := [file for file in _FILES if not (folder / file).is_file()]:
        raise CheckpointError(
            f"{folder}: {', '.join(missing)} missing; copy the whole folder 'routoo train' wrote"
        )
    return folder


def save_checkpoint(
    folder: Path,
    config: CheckpointConfig,
    learnt: Learnt,
    reference: Reference,
    metrics: dict[str, Any],
    card: str,
) -> None:
    """Write a checkpoint; ``folder`` is created, files of an earlier one are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {**learnt.scorer.weights(), "calibration": torch.from_numpy(learnt.calibration)}
    if learnt.lengths:
        weights[_LENGTH_WEIGHT] = torch.from_numpy(learnt.lengths.weight).half()
        weights[_LENGTH_BIAS] = torch.from_numpy(learnt.lengths.bias)
        weights[_LENGTH_BOUNDS] = torch.from_numpy(learnt.lengths.bounds)
    save_file(weights, folder / "head.safetensors")
    if learnt.adapter:
        learnt.adapter.save(folder / adapters.FOLDER, config.training.encoder.model)
    else:
        shutil.rmtree(folder / adapters.FOLDER, ignore_errors=True)
    save_reference(folder, reference)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "config.json").write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path, device: str = "auto") -> PerformancePredictor:
    """Load a checkpoint and its encoder.

    Raises:
        CheckpointError: Something is missing, malformed, of another format, or does not fit the encoder.
    """
    config = read_config(folder)
    learnt = load_learnt(folder, config)
    encoder = Encoder.load(config.training.encoder, device, adapter=learnt.adapter)
    if encoder.dim != config.dim:
        raise CheckpointError(
            f"{folder}: trained on vectors of length {config.dim}, but encoder {config.training.encoder.model!r} "
            f"gives {encoder.dim}; use the encoder it was trained with"
        )
    if (found := encoder_fingerprint(config.training.encoder.model)) != config.encoder_fingerprint:
        raise CheckpointError(
            f"{folder}: trained with encoder {config.encoder_fingerprint}, but {config.training.encoder.model!r} is "
            f"{found}; restore the encoder or train again"
        )
    return PerformancePredictor(
        encoder,
        learnt.scorer,
        learnt.calibration,
        learnt.lengths,
        config.experts,
        fingerprint(folder),
        folder,
    )


copyreg.pickle(PerformancePredictor, lambda predictor: (load_checkpoint, (predictor.folder,)))


def name_of(folder: Path) -> str:
    """What ``find_router`` finds a checkpoint's folder by, on this machine; a shipped one by its name on any."""
    return folder.name if folder.parent == ROUTERS else str(folder.resolve())


def read_metrics(folder: Path) -> dict[str, Any]:
    """Held-out figures beside baselines, as ``routoo train`` measured them."""
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def fingerprint(folder: Path) -> str:
    """SHA-256 over config and weights, shortened."""
    paths = [
        folder / "config.json",
        folder / "head.safetensors",
        folder / adapters.FOLDER / adapters.WEIGHTS,
    ]
    return hashlib.sha256(
        b"".join(path.read_bytes() for path in paths if path.is_file())
    ).hexdigest()[:16]


def encoder_fingerprint(model: str) -> str:
    """What identifies the encoder's weights: a hash for files, the id for a hub model."""
    if model == EMBEDDED:
        return embedded.GGUF_SHA256[:16]
    if Path(model).is_file():
        with Path(model).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    files = [
        path for name in ("config.json", "tokenizer.json") if (path := Path(model) / name).is_file()
    ]
    if not files:
        return model
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def library_versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {name: version(name) for name in ("routoo", "torch", "transformers", "safetensors")}


def load_learnt(folder: Path, config: CheckpointConfig) -> Learnt:
    """What was learnt, without the encoder.

    Raises:
        CheckpointError: The weights are damaged or do not fit ``config.json``.
    """
    adapter = Adapter.load(folder / adapters.FOLDER) if config.training.lora else None
    path = folder / "head.safetensors"
    try:
        weights = load_file(path)
        calibration: Calibration = weights.pop("calibration").numpy().copy()
        lengths = _lengths(weights, config)
        scorer = SCORERS[config.training.algorithm].load(
            weights, config.training, config.dim, len(config.experts)
        )
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: does not fit config.json ({reason}); copy the folder again"
        ) from error
    return Learnt(scorer, calibration, lengths, adapter)


def _lengths(weights: dict[str, torch.Tensor], config: CheckpointConfig) -> LengthModel | None:
    if _LENGTH_WEIGHT not in weights:
        return None
    names = (_LENGTH_WEIGHT, _LENGTH_BIAS, _LENGTH_BOUNDS)
    weight, bias, bounds = (weights.pop(name).float().numpy() for name in names)
    experts = len(config.experts)
    if (weight.shape, bias.shape, bounds.shape) != (
        (config.dim, experts),
        (experts,),
        (2, experts),
    ):
        raise RuntimeError(
            f"{_LENGTH_WEIGHT} of shape {weight.shape} is not of {config.dim} dimensions × the experts"
        )
    return LengthModel(weight, bias, bounds)

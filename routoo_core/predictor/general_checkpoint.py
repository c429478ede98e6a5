"""The files of a general router: weights, a reference of typical prompts, and what it learnt from."""

from __future__ import annotations

import copyreg
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from routoo_core.errors import CheckpointError
from routoo_core.predictor.checkpoint_folder import (
    CONFIG_FILE,
    REFERENCE_FILE,
    WEIGHTS_FILE,
    read_config_values,
)
from routoo_core.predictor.general import (
    LABEL_ARRAYS,
    AnswerModel,
    GeneralModel,
    LabelTable,
    check_label_names,
)
from routoo_core.predictor.prompt_reader import PromptReader, PromptReading, Reader, check_reader
from routoo_core.predictor.vector_reader import VectorReader, VectorWeights

ENCODER = "encoder"
"""In config.json: the settings of the encoder, where there is one."""
ENCODER_FINGERPRINT = "encoder_fingerprint"

_ANSWER_ARRAYS = ("slope", "ease", "difficulty", "guess")
_READER_ARRAYS = ("idf", "weight", "bucket_scale", "scale", "shape_weight", "bias")
_VECTOR_ARRAYS = ("centre", "unit", "weight", "bias")
_TRAINED = "trained"
_GRADED = "graded"


def save_general(folder: Path, model: GeneralModel) -> None:
    """Write the weights and the reference; ``config.json``, card and metrics are the caller's."""
    arrays: dict[str, NDArray[np.generic]] = {}
    reader = model.reader
    if isinstance(reader, VectorReader):
        arrays |= _named_arrays("vectors", reader.weights, _VECTOR_ARRAYS)
        reader = reader.ngrams
    arrays |= _named_arrays("reader", reader, _READER_ARRAYS)
    arrays |= _named_arrays("answers", model.answers, _ANSWER_ARRAYS)
    arrays |= _named_arrays("labels", model.labels, LABEL_ARRAYS)
    save_file(arrays, folder / WEIGHTS_FILE)

    reference: dict[str, NDArray[np.generic]] = {}
    for name, values in model.reference._asdict().items():
        reference[name] = np.ascontiguousarray(values.astype(np.float16))
    reference[_TRAINED] = np.unique(model.trained)
    if len(model.graded):
        reference[_GRADED] = np.unique(model.graded)
    save_file(reference, folder / REFERENCE_FILE)


def read_trained(folder: Path) -> NDArray[np.uint64]:
    """``question_fingerprint`` of every prompt that a checkpoint learnt from, without loading the rest.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    path = folder / REFERENCE_FILE
    try:
        with safe_open(path, framework="numpy") as tensors:
            fingerprints: NDArray[np.uint64] = tensors.get_tensor(_TRAINED)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); copy the folder again") from error
    return fingerprints


def load_general(folder: Path, device: str = "auto") -> GeneralModel:
    """Load a checkpoint of the general predictor; PyTorch only where it has an encoder.

    Args:
        folder: The checkpoint's.
        device: Where an encoder runs.

    Raises:
        CheckpointError: A part is missing or damaged, or the encoder is another than it was trained with.
        ConfigurationError: The encoder cannot be found.
    """
    config = read_config_values(folder)
    with _naming_damage(folder / WEIGHTS_FILE):
        arrays = load_file(folder / WEIGHTS_FILE)
        ngrams = PromptReader(**_arrays_of(arrays, "reader", _READER_ARRAYS))
        check_reader(ngrams)
        answers = AnswerModel(**_arrays_of(arrays, "answers", _ANSWER_ARRAYS))
        labels = _labels_of(config, arrays)
        reader: Reader = ngrams
        if ENCODER in config:
            weights = VectorWeights(**_arrays_of(arrays, "vectors", _VECTOR_ARRAYS))
            reader = _load_vector_reader(ngrams, weights, folder, device)

    with _naming_damage(folder / REFERENCE_FILE):
        reference = load_file(folder / REFERENCE_FILE)
        training_prompts = reference.pop(_TRAINED).astype(np.uint64)
        graded_calls = reference.pop(_GRADED, np.empty(0)).astype(np.uint64)
        columns = {name: array.astype(np.float32) for name, array in reference.items()}
        readings = PromptReading(**columns)

    return GeneralModel(
        reader=reader,
        answers=answers,
        labels=labels,
        reference=readings,
        trained=training_prompts,
        fingerprint=_fingerprint(folder),
        folder=folder,
        graded=graded_calls,
    )


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    """Read a part of a checkpoint in this block.

    Raises:
        CheckpointError: The part is missing or damaged; the message names the file.
    """
    try:
        yield
    except (OSError, SafetensorError, LookupError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: does not fit config.json ({reason}); copy the folder again"
        ) from error


def _labels_of(config: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> LabelTable:
    """The labels that a config names, with their values.

    Raises:
        ValueError: There are more or fewer values than names; further errors are those of a damaged file.
    """
    names = tuple(str(name) for name in config["labels"])
    check_label_names(names)
    labels = LabelTable(names, **_arrays_of(arrays, "labels", LABEL_ARRAYS))
    if len(labels.constant) != len(names):
        raise ValueError(f"labels.constant has {len(labels.constant)} rows for {len(names)} names")
    return labels


def _load_vector_reader(
    ngrams: PromptReader, weights: VectorWeights, folder: Path, device: str
) -> VectorReader:
    """The reader with its encoder.

    Raises:
        ConfigurationError: The encoder cannot be found, or its settings are wrong.
        ValueError: It is another one than the weights were fitted with.
    """
    from routoo_core.predictor.encoder import EncoderSettings, load_encoder

    config = read_config_values(folder)
    settings = EncoderSettings.read(f"{CONFIG_FILE}: {ENCODER}", config[ENCODER])
    encoder = load_encoder(settings, device)
    weights.check(encoder.dim)
    if encoder.fingerprint != config[ENCODER_FINGERPRINT]:
        raise ValueError(f"the encoder {settings.model!r} is not the one it was trained with")
    return VectorReader(ngrams, weights, encoder, folder)


def _reload(folder: Path) -> Reader:
    return load_general(folder).reader


def _reduce(reader: VectorReader) -> tuple[Callable[..., Reader], tuple[Path]]:
    """Copies, and readers sent to other processes, load the folder again."""
    return _reload, (reader.folder,)


copyreg.pickle(VectorReader, _reduce)  # type: ignore[arg-type]


def _named_arrays(
    group: str, values: object, names: Sequence[str]
) -> dict[str, NDArray[np.generic]]:
    return {f"{group}.{name}": np.ascontiguousarray(getattr(values, name)) for name in names}


def _arrays_of(
    arrays: Mapping[str, NDArray[np.generic]], group: str, names: Sequence[str]
) -> dict[str, Any]:
    return {name: arrays[f"{group}.{name}"] for name in names}


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]

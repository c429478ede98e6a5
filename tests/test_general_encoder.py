"""A general router that reads prompts with a language model's layers too."""

import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from routoo_core import Router
from routoo_core.abilities import describe_names
from routoo_core.catalogue.skills import SKILLS
from routoo_core.errors import CheckpointError
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.predictor.encoder import EncoderSettings, LocalEncoder
from routoo_core.predictor.general_checkpoint import load_general, save_general
from routoo_core.predictor.prompt_reader import (
    DIFFICULTY_OUTPUT,
    KIND_OUTPUTS,
    KINDS,
    OUTPUTS,
)
from routoo_core.predictor.vector_reader import VectorReader, VectorWeights
from routoo_core.request import RoutedRequest
from routoo_core.training.reader_targets import ReaderTargets
from routoo_core.training.vector_reader import fit_vector_weights
from routoo_integrations.cli import app

PROMPTS = ["Prove that there is no largest prime number.", "Write a poem about the sea.", "hi"]
NAMES = ["gpt-5.5", "gpt-5-nano"]


def zero_weights(dim):
    return VectorWeights(
        centre=np.zeros(dim, np.float32),
        unit=np.ones(dim, np.float32),
        weight=np.zeros((dim, OUTPUTS), np.float16),
        bias=np.zeros(OUTPUTS, np.float32),
    )


@pytest.fixture(scope="module")
def settings(tiny_model):
    return EncoderSettings(model=str(tiny_model), layers=(1, 2))


@pytest.fixture(scope="module")
def router_folder(settings, tmp_path_factory):
    """What general-fast says, averaged with random weights on the tiny encoder's vectors."""
    folder = tmp_path_factory.mktemp("general") / "router"
    shutil.copytree(find_router("general-fast"), folder)
    encoder = LocalEncoder.load(settings)
    config = json.loads((folder / "config.json").read_text())
    config["encoder"] = settings.model_dump(mode="json", exclude_none=True)
    config["encoder_fingerprint"] = encoder.fingerprint
    (folder / "config.json").write_text(json.dumps(config))

    model = load_general(find_router("general-fast"))
    random = np.random.default_rng(0)
    weight = random.normal(size=(encoder.dim, OUTPUTS)).astype(np.float16)
    weights = replace(zero_weights(encoder.dim), weight=weight)
    save_general(
        folder, replace(model, reader=VectorReader(model.reader, weights, encoder, folder))
    )
    return folder


def write_configuration(folder, router):
    lines = [f'router = "{router}"', 'experts = "experts.toml"', "[budget]", 'limit = "5"']
    (folder / "routoo.toml").write_text("\n".join([*lines, 'ledger = "memory://"', ""]))
    (folder / "experts.toml").write_text("\n".join(f'[experts."{name}"]' for name in NAMES) + "\n")
    return folder / "routoo.toml"


def test_both_readers_count_the_same(router_folder):
    reader = load_general(router_folder).reader
    by_ngrams = reader.ngrams.outputs(PROMPTS).values
    by_vectors = reader.weights.outputs(reader.encoder.encode(PROMPTS))
    expected = (by_ngrams + by_vectors) / 2
    np.testing.assert_allclose(
        reader.read(PROMPTS).difficulty, expected[:, DIFFICULTY_OUTPUT], rtol=1e-5, atol=1e-6
    )


def test_a_prompt_is_read_alike_alone_and_among_others(router_folder):
    model = load_general(router_folder)
    predictor = model.bind(describe_names(NAMES, model.labels))
    together = predictor.predict(PROMPTS)
    alone = np.concatenate([predictor.predict([prompt]) for prompt in PROMPTS])
    np.testing.assert_allclose(together, alone, atol=2e-3)


def test_calls_of_a_router_with_an_encoder_are_gathered_into_batches(router_folder, tmp_path):
    router = Router.from_toml(write_configuration(tmp_path, router_folder))
    assert isinstance(router.predictor, BatchingPredictor)
    decision = router.decide(RoutedRequest.from_text(PROMPTS[0]))
    assert {candidate.expert.name for candidate in decision.candidates} == set(NAMES)


def test_the_command_says_the_kind(router_folder, tmp_path):
    config = write_configuration(tmp_path, router_folder)
    result = CliRunner().invoke(app, ["route", "--config", str(config), PROMPTS[0]])
    assert result.exit_code == 0, result.output
    assert "Kind:" in result.output


def test_a_copy_for_another_process_loads_the_folder_again(router_folder):
    model = load_general(router_folder)
    predictor = model.bind(describe_names(NAMES, model.labels))
    copy = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(copy.predict(PROMPTS), predictor.predict(PROMPTS))


def test_another_encoder_than_it_was_trained_with_is_refused(router_folder, tmp_path):
    folder = tmp_path / "router"
    shutil.copytree(router_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["encoder_fingerprint"] = "0123456789abcdef"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="is not the one it was trained with"):
        load_general(folder)


def test_another_number_of_layers_than_it_was_trained_with_is_refused(router_folder, tmp_path):
    folder = tmp_path / "router"
    shutil.copytree(router_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["encoder"]["layers"] = [1]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"vectors\.weight .* is not 32 numbers"):
        load_general(folder)


def test_planted_weights_are_recovered():
    random = np.random.default_rng(0)
    texts = 4000
    dim = 12
    vectors = random.normal(2.0, 3.0, (texts, dim)).astype(np.float32)
    planted = random.normal(size=dim).astype(np.float32)
    difficulty = (vectors - 2.0) @ planted / 10 + 0.5
    kind = (vectors[:, 0] > 2.0).astype(int)
    values = np.full((texts, OUTPUTS), np.nan, np.float32)
    values[:, DIFFICULTY_OUTPUT] = difficulty
    values[:, KIND_OUTPUTS] = np.eye(KINDS)[kind]
    ones = np.ones(texts, np.float32)
    targets = ReaderTargets(values, ones, ones, np.arange(texts))
    is_taught = np.arange(texts) < texts // 2

    weights = fit_vector_weights(vectors, targets, is_taught)

    outputs = weights.outputs(vectors[~is_taught])
    error = outputs[:, DIFFICULTY_OUTPUT] - difficulty[~is_taught]
    assert np.abs(error).max() < 0.02
    kinds = outputs[:, KIND_OUTPUTS].argmax(axis=1)
    assert (kinds == kind[~is_taught]).mean() > 0.97
    assert len(SKILLS) == KINDS

"""A router is trained, saved, loaded, and refused when something does not match."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from routoo_core.errors import CheckpointError
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.checkpoint import find_router, load_checkpoint
from routoo_core.predictor.checkpoint_folder import folders_by_name
from routoo_core.predictor.reference import read_reference

SUM, GREETING = "what is 31 + 44 ?", "hello there, dear friend number 1234"


@pytest.fixture
def copy(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "copy")


def test_a_trained_router_knows_who_is_good_at_what(checkpoint):
    predictor = load_checkpoint(checkpoint, device="cpu")
    assert isinstance(predictor, Predictor)
    sums, greetings = predictor.predict([SUM, GREETING])
    assert predictor.experts == ("calculator", "talker")
    assert sums[0] > 0.8 > 0.2 > sums[1]
    assert greetings[1] > 0.8 > 0.2 > greetings[0]


def test_predictions_are_float32_one_row_a_prompt_and_repeatable(checkpoint):
    predictor = load_checkpoint(checkpoint)
    first = predictor.predict([SUM, GREETING, SUM])
    assert (first.dtype, first.shape) == (np.float32, (3, 2))
    np.testing.assert_array_equal(first, load_checkpoint(checkpoint).predict([SUM, GREETING, SUM]))
    assert predictor.predict([]).shape == (0, 2)


def test_metrics_stand_beside_baselines_and_are_in_the_card(checkpoint):
    metrics = json.loads((checkpoint / "metrics.json").read_text())
    assert metrics["auc"] > 0.95
    assert set(metrics["pool"]["routers"]) == {
        "routoo",
        "domain lookup",
        "kNN",
        "printed head",
        "oracle",
        "zero router",
        "random mix",
    }
    routed, single = (metrics["pool"]["routers"][name] for name in ("routoo", "zero router"))
    assert routed["area"] > single["area"]
    assert routed["interval"]["area"][0] <= routed["area"] <= routed["interval"]["area"][1]
    assert "| routoo |" in (checkpoint / "README.md").read_text()


def test_the_reference_holds_held_out_predictions_and_no_texts(checkpoint, toy_outcomes):
    reference = read_reference(checkpoint)
    assert reference.quality.shape == reference.scores.shape == (48, 2)
    saved = b"".join(path.read_bytes() for path in checkpoint.iterdir())
    assert not any(prompt.encode() in saved for prompt in toy_outcomes.prompts)


def test_there_is_no_pickle_in_a_checkpoint(checkpoint):
    assert {path.suffix for path in checkpoint.iterdir()} == {".json", ".safetensors", ".md"}


def test_a_name_that_is_neither_shipped_nor_a_folder_is_refused():
    with pytest.raises(
        CheckpointError,
        match=r"'general-slow' is neither a folder nor a shipped router \(.*general-fast",
    ):
        find_router("general-slow")


def test_the_shipped_router_is_found_and_whole():
    assert len(read_reference(find_router("zeroeval")).experts) == 57


def test_a_missing_file_is_named(copy):
    (copy / "head.safetensors").unlink()
    with pytest.raises(CheckpointError, match="head.safetensors missing"):
        find_router(copy)


def edit(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=2), "format: 2, this Routoo reads 1"),
        (lambda c: c.pop("experts"), "config.json: experts: missing"),
        (lambda c: c["experts"].append("third"), r"head.safetensors: does not fit config.json"),
        (
            lambda c: c["training"].update(head="bilinear"),
            r"head.safetensors: does not fit config.json",
        ),
        (lambda c: c["training"]["encoder"].update(layers=[1]), "vectors of length 64.* gives 32"),
        (lambda c: c.update(encoder_fingerprint="other"), "trained with encoder other"),
    ],
)
def test_a_checkpoint_that_does_not_match_is_refused_and_the_mismatch_named(copy, change, message):
    edit(copy, change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(copy)


def test_damaged_weights_are_refused(copy):
    path = copy / "head.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"does not fit config.json"):
        load_checkpoint(copy)


def test_incomplete_weights_are_refused(copy):
    path = copy / "head.safetensors"
    weights = {name: value.clone() for name, value in load_file(path).items() if name != "0.expert"}
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=r"does not fit config.json .*expert"):
        load_checkpoint(copy)


def test_routers_go_by_their_folders_own_names_where_these_differ(tmp_path):
    first = tmp_path / "a" / "mine"
    second = tmp_path / "b" / "mine"
    other = tmp_path / "other"
    assert folders_by_name([first, other]) == {"mine": first, "other": other}
    assert folders_by_name([first, first]) == {"mine": first}
    assert folders_by_name([other], frozenset({"other"})) == {str(other): other}
    assert folders_by_name([first, second, other]) == {
        str(first): first,
        str(second): second,
        "other": other,
    }

"""The encoder is trained together with the heads; what is saved is what peft reads; a killed run ends the same."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.predictor.adapter import Adapter
from routoo_core.predictor.checkpoint import load_checkpoint
from routoo_core.predictor.encoder import EncoderSettings, LocalEncoder
from routoo_core.progress import SILENT
from routoo_core.training import fine_tuning
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.fine_tuning import fine_tune, rate
from routoo_core.training.head_ensemble import fit_head_ensemble
from routoo_core.training.lora import FineTuning
from routoo_core.training.run import train_router
from routoo_core.training.settings import TrainingConfig

TEXTS = ["what is 31 + 44 ?", "hello there, dear friend number 1234"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))


def config(tiny_model, heads=None, **lora):
    lora = {
        "first_layer": 2,
        "rank": 4,
        "epochs": 2,
        "learning_rate": 1e-2,
        "matrices": ("q_proj", "v_proj"),
        **lora,
    }
    encoder = {"model": str(tiny_model), "layers": (1, 3)}
    heads = {"width": 8, "members": 2, "epochs": 3, **(heads or {})}
    return TrainingConfig(encoder=encoder, open_questions=False, lora=lora, **heads)


def load(settings, adapter=None):
    return LocalEncoder.load(settings.encoder, device="cpu", dtype="float32", adapter=adapter)


def tuned(tiny_model, outcomes, saved, progress=lambda _: None, **lora):
    settings = config(tiny_model, **lora)
    data = EncodedOutcomes(outcomes, load(settings).encode(outcomes.prompts))
    ensemble = fit_head_ensemble(data, settings.algorithm_settings, settings.seed)
    before = ensemble.quality(data.vectors)
    plan = FineTuning(
        settings.encoder, settings.lora, settings.algorithm_settings, settings.seed, saved
    )
    adapter = fine_tune(load(settings), ensemble, data, plan, progress)
    return settings, adapter, ensemble, before


def loss(quality, outcomes):
    dev = outcomes.rows("dev")
    q, s = quality[dev], outcomes.scores[dev]
    return -np.nanmean(s * np.log(q) + (1 - s) * np.log(1 - q))


@pytest.mark.parametrize(
    "lora", [{}, {"first_layer": 1}, {"accumulate": 3, "batch_size": 8}, {"checkpointing": True}]
)
def test_training_the_encoder_too_predicts_held_out_prompts_better(
    tiny_model, toy_outcomes, tmp_path, lora
):
    settings, adapter, ensemble, before = tuned(
        tiny_model, toy_outcomes, tmp_path / "run.safetensors", **lora
    )
    after = ensemble.quality(load(settings, adapter).encode(toy_outcomes.prompts))
    assert loss(after, toy_outcomes) < loss(before, toy_outcomes) - 0.01
    assert not (tmp_path / "run.safetensors").exists()


def test_only_the_layers_and_matrices_asked_for_are_adapted(tiny_model, toy_outcomes, tmp_path):
    _, adapter, *_ = tuned(tiny_model, toy_outcomes, tmp_path / "run", first_layer=3, epochs=1)
    assert adapter.places == ["layers.2.self_attn.q_proj", "layers.2.self_attn.v_proj"]


def test_peft_reads_a_saved_adapter_and_merges_it_to_the_same(tiny_model, toy_outcomes, tmp_path):
    from peft import PeftModel
    from transformers import AutoModel

    settings, adapter, *_ = tuned(tiny_model, toy_outcomes, tmp_path / "run", epochs=1)
    adapter.save(tmp_path / "adapter", settings.encoder.model)
    ours = load(settings, Adapter.load(tmp_path / "adapter"))
    theirs = PeftModel.from_pretrained(
        AutoModel.from_pretrained(tiny_model), tmp_path / "adapter"
    ).merge_and_unload()
    for name, value in theirs.state_dict().items():
        if name != "norm.weight":  # an inner layer's vectors come before it
            torch.testing.assert_close(ours.model.state_dict()[name], value, atol=1e-6, rtol=0)
    plain = load(settings).encode(TEXTS)
    assert np.abs(ours.encode(TEXTS) - plain).max() > 1e-3


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_and_ends_the_same_to_the_bit(
    tiny_model, toy_outcomes, tmp_path, monkeypatch
):
    monkeypatch.setattr(fine_tuning, "SAVE_EVERY", 2)
    saved, whole = (
        tmp_path / "run.safetensors",
        tuned(tiny_model, toy_outcomes, tmp_path / "other.safetensors"),
    )

    def kill(line):
        if "step 9/" in line:
            raise Killed

    with pytest.raises(Killed):
        tuned(tiny_model, toy_outcomes, saved, kill)
    assert saved.is_file()
    lines = []
    resumed = tuned(tiny_model, toy_outcomes, saved, lines.append)
    assert "step 9/" in next(line for line in lines if "step" in line)
    for name, value in whole[1].weights.items():
        torch.testing.assert_close(resumed[1].weights[name], value, atol=0, rtol=0)
    for a, b in zip(whole[2].heads, resumed[2].heads, strict=True):
        assert all(
            torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items()
        )


def test_the_learning_rate_rises_then_falls_to_nothing():
    rates = [rate(step, 100) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01


def test_a_router_with_an_adapter_is_saved_and_served_as_measured(
    tiny_model, toy_outcomes, tmp_path
):
    settings = config(tiny_model, heads={"epochs": 25, "learning_rate": 1e-2})
    metrics = train_router(toy_outcomes, settings, tmp_path / "r", {}, SILENT)
    assert {p.name for p in (tmp_path / "r" / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    predictor = load_checkpoint(tmp_path / "r", device="cpu")
    sums, greetings = predictor.predict(TEXTS)
    assert sums[0] > sums[1]
    assert greetings[1] > greetings[0]
    assert metrics.auc > 0.9
    assert "LoRA from layer 2 up" in (tmp_path / "r" / "README.md").read_text()
    (tmp_path / "r" / "adapter" / "adapter_model.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="adapter"):
        load_checkpoint(tmp_path / "r")


def test_an_adapter_of_another_model_is_refused(tiny_model):
    other = {
        "layers.7.q_proj.lora_A.weight": torch.zeros(1, 32),
        "layers.7.q_proj.lora_B.weight": torch.zeros(32, 1),
    }
    with pytest.raises(CheckpointError, match="layers.7.q_proj does not fit"):
        LocalEncoder.load(
            EncoderSettings(model=str(tiny_model), layers=(3,)), adapter=Adapter(1, 1.0, other)
        )


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"matrices": ("query",)}, "no matrix query in layer 2 or above; the encoder has .*q_proj"),
        ({"first_layer": 9}, "above"),
    ],
)
def test_what_cannot_be_adapted_is_refused(tiny_model, toy_outcomes, tmp_path, lora, message):
    with pytest.raises(ConfigurationError, match=message):
        tuned(tiny_model, toy_outcomes, tmp_path / "run", **lora)


@pytest.mark.slow
def test_accelerate_trains_one_router_in_two_processes(tiny_model, toy_outcomes, tmp_path):
    frame = {
        "prompt_id": toy_outcomes.prompt_ids,
        "prompt": toy_outcomes.prompts,
        "split": toy_outcomes.splits,
    }
    parquet.write_table(pa.table({k: list(v) for k, v in frame.items()}), tmp_path / "p.parquet")
    pairs = [
        (prompt_id, model, float(score))
        for prompt_id, row in zip(toy_outcomes.prompt_ids, toy_outcomes.scores, strict=True)
        for model, score in zip(toy_outcomes.experts, row, strict=True)
        if not np.isnan(score)
    ]
    columns = dict(
        zip(("prompt_id", "model", "score"), map(list, zip(*pairs, strict=True)), strict=True)
    )
    parquet.write_table(pa.table(columns), tmp_path / "o.parquet")
    (tmp_path / "train.toml").write_text(
        f'width = 8\nmembers = 1\nepochs = 5\nlearning_rate = 1e-2\n[encoder]\nmodel = "{tiny_model}"\nlayers = [3]\n'
        "[lora]\nfirst_layer = 2\nrank = 4\nepochs = 2\nlearning_rate = 1e-2\n"
    )
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    command += [
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "-m",
        "routoo_core",
        "train",
        "--prompts",
        "p.parquet",
    ]
    command += ["--outcomes", "o.parquet", "--config", "train.toml", "--out", "router"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("mean AUC") == 1
    sums, greetings = load_checkpoint(tmp_path / "router", device="cpu").predict(TEXTS)
    assert sums[0] > sums[1]
    assert greetings[1] > greetings[0]

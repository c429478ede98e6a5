"""``routoo train``: presets, several tables at once, vectors that a killed run need not compute again."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from typer.testing import CliRunner

from routoo_core import embedded
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.expert_table import ExpertTable
from routoo_core.outcomes import Outcomes, join_outcomes, read_outcomes
from routoo_core.predictor.checkpoint import load_checkpoint
from routoo_core.predictor.encoder import EncoderSettings, LocalEncoder
from routoo_core.progress import SILENT
from routoo_core.tables import write_table
from routoo_core.training import vectors
from routoo_core.training.run import train_router
from routoo_core.training.settings import PRESETS, preset
from routoo_core.training.vectors import encode_cached
from routoo_integrations.cli import app


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROUTOO_CACHE", str(tmp_path / "cache"))


def test_the_papers_preset_is_the_papers():
    paper = preset("paper")
    heads = paper.algorithm_settings
    assert (paper.encoder.model, paper.encoder.layers, paper.encoder.pooling) == (
        "mistralai/Mistral-7B-v0.1",
        (),
        "last",
    )
    assert (heads.head, heads.levels, heads.members) == ("difference", 2, 1)
    lora = paper.lora
    assert (lora.rank, lora.alpha, lora.dropout, lora.first_layer) == (1024, 16, 0.05, 1)
    assert lora.matrices == ("q_proj", "k_proj", "v_proj")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_whole(name):
    assert preset(name).encoder


def test_a_file_changes_single_fields_of_a_preset():
    changed = preset("paper", changes={"encoder": {"model": "mine"}, "lora": {"rank": 8}})
    assert (changed.encoder.model, changed.encoder.pooling) == ("mine", "last")
    assert (changed.lora.rank, changed.lora.dropout, changed.algorithm_settings.head) == (
        8,
        0.05,
        "difference",
    )


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("papre", {}, "preset: 'papre' is unknown; choose one of default"),
        ("lora", {"lora": {"rnak": 8}}, "t.toml: lora: .*rnak: unknown key"),
        ("lora", {"algorithm": "knn"}, "t.toml: lora: 'knn' has no heads"),
        ("lora", {"encoder": {"layers": [4]}}, "lora.first_layer: 13 lies above"),
        ("default", {"encoder": {"layers": [4, 2]}}, "does not rise"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_field(name, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        preset(name, "t.toml", changes)


def test_joined_tables_hold_all_prompts_and_experts_and_impute_nothing(toy_outcomes):
    other = toy_outcomes.select(["talker"])
    ids = tuple(f"x{i}" for i in other.prompt_ids)
    other = Outcomes(
        replace(other.prompt_table, ids=ids), ExpertTable(ids, ("third",), other.scores)
    )
    both = join_outcomes([toy_outcomes, other])
    assert both.experts == ("calculator", "talker", "third")
    assert both.scores.shape == (480, 3)
    np.testing.assert_array_equal(both.scores[:240, :2], toy_outcomes.scores)
    np.testing.assert_array_equal(both.scores[240:, 2], toy_outcomes.scores[:, 1])
    assert np.isnan(both.scores[:240, 2]).all()
    assert np.isnan(both.scores[240:, :2]).all()
    with pytest.raises(OutcomesError, match="'p0' is in two tables"):
        join_outcomes([toy_outcomes, toy_outcomes])


def write(folder, name, table, experts):
    columns = {
        "prompt_id": table.prompt_ids,
        "prompt": table.prompts,
        "domain": table.domains,
        "split": table.splits,
    }
    ids = [f"{name}-{prompt_id}" for prompt_id in columns["prompt_id"]]
    csv.write_csv(
        pa.table({**{k: list(v) for k, v in columns.items()}, "prompt_id": ids}),
        folder / f"{name}.p.csv",
    )
    rows = [
        (
            ids[row],
            expert,
            float(table.scores[row, table.experts.index(expert)]),
            40 if "what" in text else 400,
        )
        for row, text in enumerate(table.prompts)
        for expert in experts
        if not np.isnan(table.scores[row, table.experts.index(expert)])
    ]
    names = ("prompt_id", "model", "score", "completion_chars")
    csv.write_csv(
        pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))),
        folder / f"{name}.o.csv",
    )


def test_several_tables_train_one_router_that_also_learns_lengths(
    tmp_path, tiny_model, toy_outcomes, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "one", toy_outcomes, ["calculator"])
    write(tmp_path, "two", toy_outcomes, ["talker"])
    (tmp_path / "train.toml").write_text(
        f'width = 8\nmembers = 1\nepochs = 20\nlearning_rate = 0.01\n[encoder]\nmodel = "{tiny_model}"\nlayers = [2]\n'
    )
    command = [
        "train",
        "--config",
        "train.toml",
        "--out",
        "both",
        "--prompts",
        "one.p.csv",
        "--outcomes",
        "one.o.csv",
    ]
    done = CliRunner().invoke(app, [*command, "--prompts", "two.p.csv", "--outcomes", "two.o.csv"])
    assert done.exit_code == 0, done.output
    predictor = load_checkpoint(tmp_path / "both", device="cpu")
    assert predictor.experts == ("calculator", "talker")
    forecast = predictor.forecast(["what is 31 + 44 ?", "hello there, dear friend number 1234"])
    quality = forecast.quality
    lengths = forecast.lengths
    assert quality[0, 0] > quality[0, 1]
    assert quality[1, 1] > quality[1, 0]
    assert (lengths[0] < 30).all()  # 40 characters are 10 tokens
    assert (lengths[1] > 60).all()
    assert "Lengths of the answers" in (tmp_path / "both" / "README.md").read_text()
    refused = CliRunner().invoke(app, [*command, "--overwrite", "--prompts", "two.p.csv"])
    assert "1 tables of outcomes for 2 of prompts" in str(refused.exception)


def test_prompts_whose_ids_are_numbers_train_a_router(tmp_path, tiny_model, toy_outcomes):
    numbers = range(1, len(toy_outcomes.prompts) + 1)
    observed = toy_outcomes.select(["calculator"])
    write_table(
        tmp_path / "p.csv",
        {"prompt_id": numbers, "prompt": observed.prompts, "split": observed.splits},
    )
    write_table(
        tmp_path / "o.csv",
        {"prompt_id": numbers, "model": ["7"] * len(numbers), "score": observed.scores[:, 0]},
    )
    table = read_outcomes(tmp_path / "p.csv", tmp_path / "o.csv")
    settings = preset(
        "default",
        changes={"encoder": {"model": str(tiny_model), "layers": [2]}, "width": 8, "epochs": 1},
    )

    train_router(table, settings, tmp_path / "router", {"7": 1.0}, SILENT)

    assert load_checkpoint(tmp_path / "router", device="cpu").experts == ("7",)


def test_vectors_computed_before_a_kill_are_not_computed_again(tiny_model, monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_PROMPTS", 2)
    prompts, settings = (
        ("a", "bb", "c c", "dd d", "eee"),
        EncoderSettings(model=str(tiny_model), layers=(2,)),
    )
    encode, calls = LocalEncoder.encode, []

    def killed(self, block, **options):
        calls.append(block)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(self, block, **options)

    monkeypatch.setattr(LocalEncoder, "encode", killed)
    with pytest.raises(KeyboardInterrupt):
        encode_cached(prompts, settings, SILENT)
    found = encode_cached(prompts, settings, SILENT)
    assert calls == [("a", "bb"), ("c c", "dd d"), ("c c", "dd d"), ("eee",)]
    alone = encode(LocalEncoder.load(settings), prompts)
    np.testing.assert_allclose(found, alone, rtol=1e-2, atol=1e-2)
    assert not list((embedded.cache_folder() / "vectors").glob("*.partial"))

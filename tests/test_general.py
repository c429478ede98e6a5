"""The general router: any prompt, any model by its name alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from routoo_core import Pool, Router
from routoo_core.abilities import ability_of, describe_names, describe_pool
from routoo_core.catalogue.providers import ENDPOINTS, GATEWAYS
from routoo_core.catalogue.skills import SKILL_NUMBER, SKILLS
from routoo_core.catalogue.store import open_catalogue
from routoo_core.errors import CheckpointError, ConfigurationError
from routoo_core.loading import is_general, load_predictor
from routoo_core.pool_proposal import propose_pool
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.predictor.general_checkpoint import load_general
from routoo_core.predictor.ngrams import BUCKETS, SHAPES, ngrams, shorten, text_shape
from routoo_core.record import DecisionRecord
from routoo_core.request import RoutedRequest
from routoo_integrations.cli import app

ROOT = Path(__file__).parent.parent
CODE = "Write a Python function that merges two sorted lists, and a unit test for it."
PROOF = "Prove that there is no largest prime number."
POEM = "Write a short poem about the sea in winter."
PROMPTS = [CODE, PROOF, POEM]
NAMES = ["gpt-5.5", "claude-opus-5", "gpt-5-nano", "gpt-4o-mini"]


@pytest.fixture(scope="module")
def model():
    return load_general(find_router("general-fast"))


def pool_of(tables):
    return Pool.read("experts.toml", tables)


def write_configuration(folder, experts, router="general-fast"):
    lines = [f'router = "{router}"', 'experts = "experts.toml"', "[budget]", 'limit = "5"']
    (folder / "routoo.toml").write_text("\n".join([*lines, 'ledger = "memory://"', ""]))
    (folder / "experts.toml").write_text(
        "\n".join(f'[experts."{name}"]' for name in experts) + "\n"
    )
    return folder / "routoo.toml"


def test_a_models_name_is_a_whole_entry(tmp_path):
    router = Router.from_toml(write_configuration(tmp_path, NAMES))
    decision = router.decide(RoutedRequest.from_text(CODE))
    assert {candidate.expert.name for candidate in decision.candidates} == set(NAMES)
    expert = router.pool["claude-opus-5"]
    assert (expert.provider, expert.key_variable) == ("anthropic", "ANTHROPIC_API_KEY")
    assert expert.context_window == 1_000_000
    assert expert.output_usd_per_1m == 25


def test_an_abler_model_is_predicted_to_answer_better(model):
    predictor = model.bind(describe_names(NAMES, model.labels))
    quality = predictor.predict(PROMPTS)
    assert quality.shape == (3, 4)
    assert ((quality > 0) & (quality < 1)).all()
    assert (quality[:, 0] > quality[:, 2]).all()  # gpt-5.5 over gpt-5-nano


def test_prompts_are_told_apart_by_kind(model):
    kinds = model.reader.read(PROMPTS).kinds
    assert [SKILLS[number] for number in kinds.argmax(axis=1)] == ["code", "maths", "writing"]
    np.testing.assert_allclose(kinds.sum(axis=1), 1, rtol=1e-5)


def test_the_kind_of_english_prompts_is_told(model):
    """Of prompts that were written independently of those it learnt kinds from."""
    lines = (
        (ROOT / "benchmarks/general/blind_prompts.jsonl").read_text(encoding="utf-8").splitlines()
    )
    rows = [json.loads(line) for line in lines]
    english = [row for row in rows if row["language"] == "en"]
    kinds = model.reader.read([row["prompt"] for row in english]).kinds
    told = [SKILLS[number] for number in kinds.argmax(axis=1)]
    right = [kind == row["kind"] for kind, row in zip(told, english, strict=True)]
    assert np.mean(right) >= 0.9
    assert not [
        row
        for row, sure, is_right in zip(english, kinds.max(axis=1), right, strict=True)
        if sure > 0.9 and not is_right
    ]


def test_one_prompt_at_a_time_says_the_same_as_all_at_once(model):
    predictor = model.bind(describe_names(NAMES, model.labels))
    together = predictor.predict(PROMPTS)
    one_by_one = np.concatenate([predictor.predict([prompt]) for prompt in PROMPTS])
    np.testing.assert_allclose(together, one_by_one, rtol=1e-5)


@pytest.mark.parametrize(
    "prompt", ["", " ", "?", "\ud800", "\x00", "🙂" * 3000, "ا" * 20_000, "1" * 50_000]
)
def test_odd_text_is_predicted_too(model, prompt):
    quality = model.bind(describe_names(NAMES, model.labels)).predict([prompt])
    assert np.isfinite(quality).all()


def test_models_that_reason_are_expected_to_write_more(model):
    predictor = model.bind(describe_names(["gpt-5.5", "gpt-4o"], model.labels))
    lengths = predictor.forecast([PROOF]).lengths
    assert lengths[0, 0] > 2 * lengths[0, 1]


def test_a_more_doubtful_ability_pulls_the_quality_to_the_middle(model):
    (sure,) = describe_names(["gpt-5.5"], model.labels)
    doubtful = type(sure)(
        "doubtful",
        type(sure.ability)(sure.ability.mean, sure.ability.deviation * 8),
        (),
        sure.log_length,
    )
    quality = model.bind([sure, doubtful]).predict([CODE])[0]
    assert 0.5 < quality[1] < quality[0]


def test_an_unknown_model_is_refused_with_near_names_and_three_ways(tmp_path):
    tables = {
        "my-llm": {
            "base_url": "http://localhost:1/v1",
            "input_usd_per_1m": 1,
            "output_usd_per_1m": 2,
        }
    }
    model = load_general(find_router("general-fast"))
    with pytest.raises(ConfigurationError) as refused:
        describe_pool(pool_of(tables), model)
    message = str(refused.value)
    assert "does not know 'my-llm'" in message
    assert "like =" in message and "scores =" in message and "ability =" in message


OWN = {"base_url": "http://localhost:1/v1", "input_usd_per_1m": 1, "output_usd_per_1m": 2}


def test_a_model_may_be_like_another():
    pool = pool_of({"my-llm": {**OWN, "like": "gpt-5-mini"}})
    catalogue = open_catalogue()
    ability = ability_of(pool["my-llm"], catalogue)
    np.testing.assert_array_equal(ability.mean, catalogue.ability("gpt-5-mini").mean)
    assert "like gpt-5-mini" in ability.origin


def test_like_an_unknown_model_is_refused():
    pool = pool_of({"my-llm": {**OWN, "like": "gpt-5-minni"}})
    with pytest.raises(ConfigurationError, match="like: the catalogue does not know 'gpt-5-minni'"):
        ability_of(pool["my-llm"], open_catalogue())


def test_ones_own_scores_say_how_able_a_model_is():
    catalogue = open_catalogue()
    weak = pool_of({"my-llm": {**OWN, "scores": {"LiveBench-2026-06-25/Coding": 0.5}}})
    strong = pool_of({"my-llm": {**OWN, "scores": {"LiveBench-2026-06-25/Coding": 0.85}}})
    assert ability_of(strong["my-llm"], catalogue).of("code") > ability_of(
        weak["my-llm"], catalogue
    ).of("code")
    assert ability_of(strong["my-llm"], catalogue).origin == "scores of my-llm"


def test_a_score_in_an_unknown_benchmark_is_refused():
    pool = pool_of({"my-llm": {**OWN, "scores": {"LiveBench/Coding": 0.5}}})
    with pytest.raises(
        ConfigurationError, match="no benchmark of the catalogue; near names: .*LiveBench"
    ):
        ability_of(pool["my-llm"], open_catalogue())


def test_an_ability_may_be_stated_whole_or_by_skill():
    catalogue = open_catalogue()
    whole = ability_of(pool_of({"m": {**OWN, "ability": 1.5}})["m"], catalogue)
    assert (whole.mean == 1.5).all()
    partly = ability_of(pool_of({"gpt-5-mini": {"ability": {"law": 2.0}}})["gpt-5-mini"], catalogue)
    assert partly.of("law") == 2.0
    assert partly.of("code") == catalogue.ability("gpt-5-mini").of("code")
    with pytest.raises(ConfigurationError, match="'lawn' is no skill"):
        pool_of({"m": {**OWN, "ability": {"lawn": 1.0}}})


def test_what_a_table_says_counts_before_what_is_looked_up():
    expert = pool_of(
        {
            "gpt-5-mini": {
                "base_url": "http://localhost:1/v1",
                "context_window": 5000,
                "max_output_tokens": 100,
            }
        }
    )["gpt-5-mini"]
    assert (expert.base_url, expert.context_window) == ("http://localhost:1/v1", 5000)
    assert expert.key_variable is None


def test_a_short_window_bounds_the_reply_that_is_looked_up():
    expert = pool_of({"gpt-5-mini": {"context_window": 5000}})["gpt-5-mini"]
    assert expert.max_output_tokens == 5000


def test_what_was_looked_up_is_not_written_down():
    expert = pool_of({"gpt-5-mini": {}})["gpt-5-mini"]
    values = expert.model_dump(exclude_none=True)
    assert "context_window" not in values
    assert "input_usd_per_1m" not in values
    assert pool_of({"gpt-5-mini": values | {"name": "gpt-5-mini"}})["gpt-5-mini"] == expert


def test_labels_of_a_table_are_used_under_the_tables_names(model):
    (described,) = describe_names(["gpt-4o(2024-05)"], model.labels)
    assert described.label_names == ("gpt-4o(2024-05)",)


def test_typical_prompts_are_kept_for_policies_that_learn(model):
    predictor = model.bind(describe_names(NAMES, model.labels))
    table = predictor.reference_table()
    assert table.experts == tuple(NAMES)
    assert len(table) > 500
    kinds = np.bincount(model.reference.kinds.argmax(axis=1), minlength=len(SKILLS))
    assert kinds[SKILL_NUMBER["writing"]] > 10


def test_another_pool_has_another_fingerprint(model):
    first = model.bind(describe_names(NAMES, model.labels))
    second = model.bind(describe_names(NAMES[:2], model.labels))
    assert first.fingerprint != second.fingerprint


def test_neither_pytorch_nor_a_network_is_needed(tmp_path):
    write_configuration(tmp_path, NAMES)
    program = (
        "import sys, socket\n"
        "def refuse(*arguments): raise OSError('no network')\n"
        "socket.socket.connect = refuse\n"
        "from routoo_core import Router\n"
        "router = Router.from_toml('routoo.toml')\n"
        "from routoo_core.request import RoutedRequest\n"
        f"router.decide(RoutedRequest.from_text({CODE!r}))\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def copy_router(folder):
    copy = folder / "router"
    shutil.copytree(find_router("general-fast"), copy)
    return copy


def test_a_damaged_checkpoint_is_refused_with_a_remedy(tmp_path):
    copy = copy_router(tmp_path)
    (copy / "head.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(CheckpointError, match=r"head\.safetensors: does not fit config\.json"):
        load_general(copy)


def test_commands_for_other_routers_say_what_they_need(tmp_path):
    assert is_general(find_router("general-fast"))
    (tmp_path / "p.csv").write_text("prompt_id,prompt\n1,Hello\n")
    result = CliRunner().invoke(
        app,
        [
            "suggest-prompts",
            "--router",
            "general-fast",
            "--prompts",
            str(tmp_path / "p.csv"),
            "--n",
            "1",
            "--out",
            str(tmp_path / "o.csv"),
        ],
    )
    assert "is a general router, which has no encoder" in str(result.exception)


def test_predict_takes_names_or_a_pool(tmp_path):
    (tmp_path / "p.csv").write_text("prompt_id,prompt\n1,Hello\n")
    command = ["predict", "--router", "general-fast", "--prompts", str(tmp_path / "p.csv")]
    named = CliRunner().invoke(
        app,
        [
            *command,
            "--experts",
            "gpt-5.5",
            "--experts",
            "gpt-5-nano",
            "--out",
            str(tmp_path / "o.csv"),
        ],
    )
    assert named.exit_code == 0, named.output
    assert (tmp_path / "o.csv").read_text().count("\n") == 3
    unnamed = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "o2.csv")])
    assert "name them by --experts" in str(unnamed.exception)


def test_a_table_can_be_evaluated_with_it(tmp_path):
    prompts = ["prompt_id,prompt,split"]
    outcomes = ["prompt_id,model,score"]
    for number in range(40):
        prompts.append(
            f"{number},What is {number} plus {number}?,{'dev' if number % 2 else 'train'}"
        )
        outcomes += [f"{number},gpt-5-nano,{number % 3 % 2}", f"{number},gpt-5.5,1"]
    (tmp_path / "p.csv").write_text("\n".join(prompts) + "\n")
    (tmp_path / "o.csv").write_text("\n".join(outcomes) + "\n")
    (tmp_path / "c.csv").write_text(
        "model,input_usd_per_1m,output_usd_per_1m\ngpt-5-nano,0.05,0.4\ngpt-5.5,5,30\n"
    )
    result = CliRunner().invoke(
        app,
        ["evaluate", "--router", "general-fast", "--prompts", str(tmp_path / "p.csv"), "--outcomes", str(tmp_path / "o.csv"),
         "--prices", str(tmp_path / "c.csv"), "--out", str(tmp_path / "report")],
    )  # fmt: skip
    assert result.exit_code == 0, result.output + str(result.exception)
    assert (tmp_path / "report" / "index.html").is_file()


def test_a_predictor_loads_for_a_pool_of_any_models():
    predictor = load_predictor(find_router("general-fast"), pool_of({"gpt-5.5": {}, "glm-4.6": {}}))
    assert predictor.experts == ("gpt-5.5", "glm-4.6")


# Labels


def write_labels(folder, name, score_of):
    """A table of sums and of poems, each scored by what it asks for."""
    prompts = ["prompt_id,prompt"]
    outcomes = ["prompt_id,model,score,completion_tokens"]
    for number in range(60):
        is_sum = number % 2 == 0
        text = (
            f"What is {number} plus {number + 7}?"
            if is_sum
            else f"Write a poem about {number} roses."
        )
        prompts.append(f"{number},{text}")
        outcomes.append(f"{number},{name},{score_of(is_sum)},40")
    (folder / "p.csv").write_text("\n".join(prompts) + "\n")
    (folder / "o.csv").write_text("\n".join(outcomes) + "\n")
    return ["--prompts", str(folder / "p.csv"), "--outcomes", str(folder / "o.csv")]


def teach(folder, name, score_of, *options, router="general-fast", out="taught"):
    command = ["add-expert", "--router", router, *write_labels(folder, name, score_of)]
    return CliRunner().invoke(app, [*command, "--name", name, "--out", str(folder / out), *options])


def test_labels_sharpen_what_the_catalogue_says(tmp_path, model):
    result = teach(tmp_path, "gpt-4.1-nano", lambda is_sum: 0.0 if is_sum else 1.0)
    assert result.exit_code == 0, result.output + str(result.exception)
    assert "learnt from 60 labels" in result.output
    taught = load_general(tmp_path / "taught")
    sums, poem = "What is 12 plus 19?", "Write a poem about 12 roses."
    before = model.bind(describe_names(["gpt-4.1-nano"], model.labels)).predict([sums, poem])[:, 0]
    after = taught.bind(describe_names(["gpt-4.1-nano"], taught.labels)).predict([sums, poem])[:, 0]
    assert after[0] < before[0]
    assert after[1] > before[1]


def test_what_is_predicted_for_the_others_stays_as_it_is(tmp_path, model):
    teach(tmp_path, "my-llm", lambda is_sum: 1.0)
    taught = load_general(tmp_path / "taught")
    names = ["gpt-5.5", "gpt-4o(2024-05)"]
    before = model.bind(describe_names(names, model.labels)).predict(PROMPTS)
    after = taught.bind(describe_names(names, taught.labels)).predict(PROMPTS)
    np.testing.assert_array_equal(before, after)


def test_a_model_nobody_knows_is_known_by_its_labels(tmp_path):
    teach(tmp_path, "my-llm", lambda is_sum: 1.0)
    taught = load_general(tmp_path / "taught")
    tables = {
        "my-llm": {
            "base_url": "http://localhost:1/v1",
            "input_usd_per_1m": 1,
            "output_usd_per_1m": 2,
        }
    }
    (described,) = describe_pool(pool_of(tables), taught)
    assert described.label_names == ("my-llm",)
    assert "(added from 60 labels)" in (tmp_path / "taught" / "README.md").read_text()


def test_labels_start_from_the_prior_that_is_named(tmp_path):
    teach(tmp_path, "weak", lambda is_sum: 1.0, "--prior", "gpt-3.5-turbo", out="a")
    teach(tmp_path, "strong", lambda is_sum: 1.0, "--prior", "gpt-5.5", out="b")
    qualities = {}
    for name, out in (("weak", "a"), ("strong", "b")):
        taught = load_general(tmp_path / out)
        qualities[name] = taught.bind(describe_names([name], taught.labels)).predict([CODE])[0, 0]
    assert qualities["strong"] > qualities["weak"]
    refused = teach(tmp_path, "x", lambda is_sum: 1.0, "--prior", "gpt-5.55", out="c")
    assert "prior: the catalogue does not know 'gpt-5.55'" in str(refused.exception)
    assert not (tmp_path / "c").exists()


def test_labels_under_a_name_that_has_some_are_refused(tmp_path):
    teach(tmp_path, "my-llm", lambda is_sum: 1.0)
    again = teach(
        tmp_path, "my-llm", lambda is_sum: 1.0, router=str(tmp_path / "taught"), out="again"
    )
    assert "has labels of 'my-llm' already" in str(again.exception)


def test_it_is_said_what_was_read_of_a_prompt(tmp_path):
    path = write_configuration(tmp_path, NAMES)
    router = Router.from_toml(path)
    code = router.decide(RoutedRequest.from_text(CODE)).prompt
    assert code.kinds[0][0] == "code"
    assert code.difficulty is not None
    poem = router.decide(RoutedRequest.from_text(POEM)).prompt
    assert poem.difficulty is None
    assert "how hard such prompts are is not known" in poem.explain()
    shown = CliRunner().invoke(app, ["route", CODE, "--config", str(path)])
    assert "Kind: writing and reading code" in shown.output


def test_a_record_says_the_kind_and_the_doubt_and_no_word_of_the_prompt(tmp_path):
    router = Router.from_toml(write_configuration(tmp_path, NAMES))
    record = router.decide(RoutedRequest.from_text(POEM)).record()
    assert max(record.prompt.kinds, key=record.prompt.kinds.get) == "writing"
    assert record.prompt.difficulty is None
    doubts = {candidate.expert: candidate.deviation for candidate in record.candidates}
    assert doubts["gpt-5.5"] > 0.1
    written = json.loads(json.dumps(record.to_dict()))
    assert DecisionRecord.from_dict(written) == record
    assert "winter" not in json.dumps(written)


# Features


def test_ngrams_do_not_depend_on_case_or_digits():
    first = ngrams("Add 17 and 25")
    second = ngrams("ADD 98 AND 76")
    np.testing.assert_array_equal(first.buckets, second.buckets)
    assert first.buckets.max() < BUCKETS
    assert (np.diff(first.buckets) > 0).all()


def test_a_long_text_is_read_at_its_start_and_its_end():
    text = "a" * 9000 + "the question?"
    assert len(shorten(text)) < 9000
    assert shorten(text).endswith("the question?")


def test_the_shape_tells_options_code_and_questions():
    options = text_shape("Which?\nA. one\nB. two\nC. three")
    assert options.shape == (SHAPES,)
    assert (options[7], options[8]) == (1, 0)
    many = text_shape("Which?\n" + "\n".join(f"{letter}. x" for letter in "ABCDEFGHIJ"))
    assert (many[7], many[8]) == (0, 1)


# routoo init


def invoke_init(tmp_path, monkeypatch, *arguments, keys=("OPENAI_API_KEY", "ANTHROPIC_API_KEY")):
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "MISTRAL_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    for variable in keys:
        monkeypatch.setenv(variable, "sk-secret-of-a-test")
    return CliRunner().invoke(app, ["init", "--out", str(tmp_path), *arguments])


def test_init_writes_a_pool_for_the_keys_at_hand_and_the_first_call_is_routed(
    tmp_path, monkeypatch
):
    result = invoke_init(tmp_path, monkeypatch, "--limit", "2.50")
    assert result.exit_code == 0, result.output + str(result.exception)
    assert "routoo experts --check" in result.output
    text = (tmp_path / "experts.toml").read_text() + (tmp_path / "routoo.toml").read_text()
    assert "sk-secret" not in text + result.output
    pool = Pool.from_toml(tmp_path / "experts.toml")
    assert {expert.key_variable for expert in pool} == {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"}
    prices = [expert.output_usd_per_1m for expert in pool]
    assert max(prices) > 5 * min(prices)
    routed = CliRunner().invoke(app, ["route", CODE, "--config", str(tmp_path / "routoo.toml")])
    assert routed.exit_code == 0, routed.output + str(routed.exception)
    assert "would be asked" in routed.output


def test_init_takes_providers_without_keys_and_says_what_to_export(tmp_path, monkeypatch):
    result = invoke_init(tmp_path, monkeypatch, "--provider", "google", keys=())
    assert result.exit_code == 0
    assert "GOOGLE_API_KEY is not set" in result.output


def test_init_without_keys_and_providers_says_what_to_do(tmp_path, monkeypatch):
    result = invoke_init(tmp_path, monkeypatch, keys=())
    assert "routoo init --provider openai" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_init_replaces_nothing_unless_asked(tmp_path, monkeypatch):
    (tmp_path / "routoo.toml").write_text("mine")
    refused = invoke_init(tmp_path, monkeypatch)
    assert refused.exit_code != 0
    assert (tmp_path / "routoo.toml").read_text() == "mine"
    assert invoke_init(tmp_path, monkeypatch, "--overwrite").exit_code == 0


def test_init_refuses_a_limit_that_is_none(tmp_path, monkeypatch):
    result = invoke_init(tmp_path, monkeypatch, "--limit", "five")
    assert "--limit" in str(result.exception)
    assert not (tmp_path / "routoo.toml").exists()


def test_a_proposed_pool_rises_in_price_and_ability():
    proposed = propose_pool(["openai"], open_catalogue())
    prices = [one.expert.output_usd_per_1m for one in proposed]
    abilities = [float(one.ability.mean.mean()) for one in proposed]
    assert 2 <= len(proposed) <= 3
    assert prices == sorted(prices)
    assert abilities == sorted(abilities)


@pytest.mark.parametrize("provider", [name for name in ENDPOINTS if name not in GATEWAYS])
def test_each_provider_has_a_pool_that_its_own_key_opens(provider):
    """Also a maker of open models, whose weights others serve too."""
    for one in propose_pool([provider], open_catalogue()):
        assert one.expert.key_variable == ENDPOINTS[provider].key


def test_an_unknown_provider_is_refused():
    with pytest.raises(ConfigurationError, match="provider 'acme': choose of openai"):
        propose_pool(["acme"], open_catalogue())


def test_experts_shows_abilities_and_where_they_are_from(tmp_path):
    path = write_configuration(tmp_path, NAMES)
    shown = CliRunner().invoke(app, ["experts", "--config", str(path)])
    assert shown.exit_code == 0, shown.output + str(shown.exception)
    assert "ability" in shown.output
    as_json = CliRunner().invoke(app, ["experts", "--config", str(path), "--json"])
    assert '"origin": "catalogue: gpt-5-5"' in as_json.output
    assert Path(path).is_file()

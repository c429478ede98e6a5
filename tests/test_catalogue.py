"""The catalogue: models by any spelling of their name, abilities on one scale, scores added by hand."""

import csv
import sqlite3

import numpy as np
import pytest
from typer.testing import CliRunner

from routoo_core.catalogue.building import build_catalogue, log_odds, read_models, read_scores
from routoo_core.catalogue.entries import ModelFacts, PublishedScore
from routoo_core.catalogue.names import looser_keys, read_effort, read_model_name
from routoo_core.catalogue.providers import endpoint_settings
from routoo_core.catalogue.skills import RULES, SKILL_NUMBER, SKILLS, skills_of
from routoo_core.catalogue.store import (
    SHIPPED,
    Catalogue,
    open_catalogue,
    own_catalogue_path,
    write_catalogue,
)
from routoo_core.errors import ConfigurationError
from routoo_integrations.cli import app


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def scores_of(benchmark, values, category="", kind="published (third party)"):
    """A column of scores: model → value."""
    return [
        PublishedScore(
            key,
            "default",
            benchmark,
            category,
            kind,
            value,
            "0..1",
            benchmark.lower(),
            "2026-01",
            "test",
        )
        for key, value in values.items()
    ]


MODELS = {f"model-{number}": 0.15 + 0.08 * number for number in range(10)}


@pytest.mark.parametrize(
    ("name", "key", "effort"),
    [
        ("gpt-5.5", "gpt-5-5", "default"),
        ("openai/gpt-5-mini", "gpt-5-mini", "default"),
        ("openrouter/openai/gpt-5.4 (high)", "gpt-5-4", "high"),
        ("anthropic/claude-haiku-4.5", "claude-haiku-4-5", "default"),
        ("claude-opus-4-5@20251101", "claude-opus-4-5", "default"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5", "default"),
        ("claude-3-7-sonnet-(32k-thinking-tokens)", "claude-3-7-sonnet", "high"),
        ("claude-3.5-sonnet", "claude-3-5-sonnet", "default"),
        ("models/gemini-2.5-pro", "gemini-2-5-pro", "default"),
        ("Meta-Llama-3_1-70B-Instruct", "llama-3-1-70b-instruct", "default"),
        (
            "accounts/fireworks/models/llama-v3p1-405b-instruct",
            "llama-3-1-405b-instruct",
            "default",
        ),
        ("deepseek/deepseek-chat-v3.1:free", "deepseek-chat-v3-1", "default"),
        ("gpt-4o-2024-08-06", "gpt-4o", "default"),
        ("qwen3-max", "qwen3-max", "default"),
        ("grok-4-fast-non-reasoning", "grok-4-fast", "none"),
        ("gpt-5.2-xhigh", "gpt-5-2", "xhigh"),
    ],
)
def test_a_name_is_read_however_it_is_written(name, key, effort):
    assert read_model_name(name) == (key, effort)


def test_a_key_is_loosened_from_near_to_far():
    assert looser_keys("gemini-1-5-pro-preview-0409") == ["gemini-1-5-pro-0409", "gemini-1-5-pro"]
    assert looser_keys("llama-3-1-8b-instruct") == ["llama-3-1-8b"]
    assert looser_keys("gpt-4o") == []


def test_efforts_are_read_from_leaderboards_words():
    assert read_effort("thinking-64k-low-effort") == "low"
    assert read_effort("non-reasoning") == "none"
    assert read_effort("harness 001") == "default"


def test_every_rule_names_skills_that_exist():
    for rule in RULES:
        assert set(rule.skills.split()) <= set(SKILLS), rule


def test_a_benchmark_speaks_of_its_skill_or_of_none():
    assert skills_of("LiveBench-2026-06-25", "Coding") == ("code",)
    assert skills_of("DocVQA", None) == ()
    assert "law" in skills_of("MMLU", "5-shot")


@pytest.mark.parametrize(
    "name",
    [
        "gpt-5.5",
        "claude-opus-5",
        "anthropic/claude-haiku-4.5",
        "openrouter/anthropic/claude-sonnet-4.5",
        "gemini-3.5-flash",
        "gpt-5-mini",
        "gpt-5-nano-2025-08-07",
        "gpt-4.1",
        "openai/gpt-4o",
        "gpt-4o-mini-2024-07-18",
        "o3",
        "o4-mini",
        "claude-sonnet-4-5-20250929",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "eu.anthropic.claude-opus-4-5-20251101-v1:0",
        "claude-3-5-haiku-20241022",
        "claude-3-haiku",
        "gemini-2.5-pro",
        "models/gemini-2.5-flash",
        "google/gemini-2.0-flash",
        "gemini/gemini-3-pro",
        "mistral-large-latest",
        "mistral/mistral-medium-3",
        "deepseek-chat",
        "deepseek/deepseek-v3.2",
        "deepseek-r1",
        "kimi-k2.6",
        "moonshotai/kimi-k2",
        "glm-4.6",
        "openrouter/z-ai/glm-5",
        "qwen3-max",
        "qwen/qwen3-235b-a22b",
        "grok-4.5",
        "x-ai/grok-4-fast",
        "meta-llama/llama-3.3-70b-instruct",
        "groq/llama-3.3-70b-versatile",
        "llama-4-maverick",
        "command-a",
        "gpt-5.4-high",
        "gpt-oss-120b",
    ],
)
def test_todays_models_are_in_the_catalogue_that_ships(name):
    catalogue = Catalogue(SHIPPED)
    assert catalogue.find(name) is not None
    ability = catalogue.ability(name)
    assert ability.mean.shape == (len(SKILLS),)
    assert (ability.deviation > 0).all()


def test_an_open_model_is_not_called_where_its_maker_does_not_serve_it():
    catalogue = Catalogue(SHIPPED)
    assert endpoint_settings("gpt-oss-120b", catalogue.find("gpt-oss-120b")) == {}
    at_groq = endpoint_settings("groq/openai/gpt-oss-120b", catalogue.find("gpt-oss-120b"))
    assert at_groq["base_url"] == "https://api.groq.com/openai/v1"


def test_an_unknown_model_is_not_found_but_has_near_names():
    catalogue = Catalogue(SHIPPED)
    assert catalogue.find("my-own-llm") is None
    assert catalogue.ability("my-own-llm") is None
    assert "claude-opus-5" in catalogue.nearest_names("claude-opuss-5")


def test_more_effort_is_abler_in_mathematics():
    catalogue = Catalogue(SHIPPED)
    low = catalogue.ability("gpt-5.5", "none").of("maths")
    high = catalogue.ability("gpt-5.5", "high").of("maths")
    assert high > low


def test_every_shipped_score_names_its_source():
    for score in Catalogue(SHIPPED).all_scores():
        assert score.source
        assert skills_of(score.benchmark, score.category)


def test_abilities_order_models_as_their_scores_do():
    scores = scores_of("AIME 2025", MODELS) + scores_of("LiveCodeBench", MODELS)
    content = build_catalogue([], scores)
    maths = [content.abilities[key, "default"].of("maths") for key in MODELS]
    assert maths == sorted(maths)


def test_benchmarks_of_different_hardness_are_put_on_one_scale():
    """The easy and the hard benchmark share some models; who only took the hard one is not thought weak."""
    easy = scores_of("GSM8K", {key: min(0.97, value + 0.3) for key, value in MODELS.items()})
    hard = scores_of("AIME 2025", {key: max(0.02, value - 0.15) for key, value in MODELS.items()})
    only_hard = scores_of("AIME 2025", {"newcomer": MODELS["model-9"] - 0.15})
    content = build_catalogue([], easy + hard + only_hard)
    newcomer = content.abilities["newcomer", "default"]
    assert newcomer.of("maths") > content.abilities["model-6", "default"].of("maths")


def test_a_skill_without_scores_is_inferred_with_more_doubt():
    content = build_catalogue(
        [], scores_of("AIME 2025", MODELS) + scores_of("LiveCodeBench", MODELS)
    )
    ability = content.abilities["model-9", "default"]
    assert ability.of("writing") > 0
    assert ability.deviation[SKILL_NUMBER["writing"]] > ability.deviation[SKILL_NUMBER["maths"]]


def test_a_model_without_scores_is_as_its_price_and_date_say():
    facts = [
        ModelFacts(key, key, release="2025-06", output_usd_per_1m=float(np.exp(6 * value)))
        for key, value in MODELS.items()
    ]
    facts.append(ModelFacts("dear", "dear", release="2025-06", output_usd_per_1m=200.0))
    facts.append(ModelFacts("cheap", "cheap", release="2025-06", output_usd_per_1m=2.0))
    content = build_catalogue(facts, scores_of("AIME 2025", MODELS))
    dear = content.abilities["dear", "default"]
    assert dear.of("maths") > content.abilities["cheap", "default"].of("maths")
    assert dear.scores == 0
    assert (
        dear.deviation.mean()
        > content.abilities["model-5", "default"].deviation[SKILL_NUMBER["maths"]]
    )


def test_elo_and_shares_have_one_link():
    assert log_odds(0.5, "0..1") == 0
    assert log_odds(1200.0, "elo") == 0
    assert log_odds(1.0, "0..1") == log_odds(0.99, "0..1")  # the last per cent says little
    assert log_odds(1600.0, "elo") == pytest.approx(np.log(10))


def test_a_catalogue_is_read_back_as_it_was_written(tmp_path):
    content = build_catalogue(
        [ModelFacts("model-0", "Model 0", provider="acme", context_window=8000, is_open=True)],
        scores_of("AIME 2025", MODELS),
    )
    write_catalogue(tmp_path / "c.sqlite", content)
    catalogue = Catalogue(tmp_path / "c.sqlite")
    assert catalogue.find("Model_0") == content.models[0]
    assert len(catalogue.scores("model-3")) == 1
    np.testing.assert_allclose(catalogue.scale().covariance, content.scale.covariance, rtol=1e-5)
    stored = catalogue.ability("model-3")
    np.testing.assert_allclose(stored.mean, content.abilities["model-3", "default"].mean, atol=2e-3)


def test_a_damaged_catalogue_is_refused_with_a_remedy(tmp_path):
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Catalogue(path)
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="format 99"):
        Catalogue(path)


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_bad_scores_are_refused_by_file_and_row(tmp_path):
    path = write_csv(tmp_path / "s.csv", [{"model": "m", "benchmark": "AIME 2025", "score": 1.5}])
    with pytest.raises(ConfigurationError, match=r"s\.csv: row 1: score 1\.5 is not between"):
        read_scores(path)
    path = write_csv(tmp_path / "t.csv", [{"model": "m", "benchmark": "", "score": 0.5}])
    with pytest.raises(ConfigurationError, match=r"row 1: benchmark is missing"):
        read_scores(path)


def test_facts_of_several_names_of_a_model_are_merged(tmp_path):
    rows = [
        {
            "model": "m-2025-01-01",
            "base_model": "m",
            "context_window": "",
            "release_month": "2025-01",
        },
        {"model": "m", "base_model": "m", "context_window": "8000", "release_month": ""},
    ]
    (facts,) = read_models(write_csv(tmp_path / "m.csv", rows))
    assert (facts.key, facts.context_window, facts.release) == ("m", 8000, "2025-01")


def test_scores_of_ones_own_are_added_and_what_ships_stays(tmp_path, monkeypatch, run):
    shipped = SHIPPED.read_bytes()
    monkeypatch.setenv("ROUTOO_CATALOGUE", str(tmp_path / "own.sqlite"))
    path = write_csv(
        tmp_path / "s.csv",
        [
            {
                "model": "my-own-llm",
                "benchmark": "LiveBench-2026-06-25",
                "category": "Coding",
                "score": 0.9,
            }
        ],
    )
    result = run("catalogue", "update", "--from", str(path))
    assert result.exit_code == 0, result.output
    assert "1 of 1 new scores used" in result.output
    assert own_catalogue_path().is_file()
    assert open_catalogue().ability("my-own-llm").of("code") > 0.5
    assert SHIPPED.read_bytes() == shipped


def test_a_model_is_shown_with_sources(run):
    result = run("catalogue", "show", "gpt-5-mini")
    assert result.exit_code == 0
    assert "writing and reading code" in result.output
    assert "(published (third party), 2026" in result.output


def test_an_unknown_model_is_refused_with_near_names(run):
    result = run("catalogue", "show", "gpt-5-minni")
    assert "gpt-5-mini" in str(result.exception)


def test_benchmarks_are_listed(run):
    assert "LiveBench-2026-06-25/Coding" in run("catalogue", "benchmarks").output

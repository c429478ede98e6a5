"""A reply's name of a model is compared with the name that was asked, however providers write it."""

import pytest

from routoo_core.model_names import same_model


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("gpt-4", "gpt-4-0613"),
        ("gpt-3.5-turbo", "gpt-3.5-turbo-0125"),
        ("gpt-3.5-turbo", "gpt-35-turbo"),
        ("gpt-4-turbo", "gpt-4-turbo-2024-04-09"),
        ("gpt-4-turbo-preview", "gpt-4-0125-preview"),
        ("o1", "o1-2024-12-17"),
        ("gpt-5-mini", "gpt-5-mini-2025-08-07"),
        ("gpt-5.2", "gpt-5.2-20251211"),
        ("openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("openai/gpt-4o-mini:nitro", "openai/gpt-4o-mini"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
        ("anthropic/claude-3.5-sonnet", "claude-3-5-sonnet-20241022"),
        ("claude-sonnet-4-0", "claude-sonnet-4-20250514"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4-20250514"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet"),
        ("claude-3-5-sonnet-v2@20241022", "claude-3-5-sonnet-20241022"),
        ("us.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.meta.llama3-3-70b-instruct-v1:0",
            "meta.llama3-3-70b-instruct-v1:0",
        ),
        ("openai.gpt-oss-120b-1:0", "gpt-oss-120b"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("publishers/google/models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("gemini-2.0-flash", "gemini-2.0-flash-001"),
        ("gemini-2.5-flash-preview", "gemini-2.5-flash-preview-05-20"),
        ("mistral-large-latest", "mistral-large-2411"),
        ("command-r-plus", "command-r-plus-08-2024"),
        ("grok-4", "grok-4-0709"),
        ("accounts/fireworks/models/llama-v3p1-8b-instruct", "llama-v3.1-8b-instruct"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-r1"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct"),
        ("llama3:latest", "llama3"),
        ("gpt-4o", None),
        ("gpt-4o", ""),
    ],
)
def test_an_alias_and_its_spellings_are_the_same_model(asked, answered):
    assert same_model(asked, answered)
    if answered:
        assert same_model(answered, asked)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4o-mini-2024-07-18"),
        ("gpt-4", "gpt-4-turbo"),
        ("gpt-4", "gpt-4.1"),
        ("gpt-4", "gpt-4o"),
        ("gpt-4", "gpt-4-32k"),
        ("gpt-4", "gpt-4-0125-preview"),
        ("o1", "o1-mini"),
        ("o1", "o1-pro"),
        ("gpt-5", "gpt-5-chat-latest"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
        ("gpt-4o-mini", "ft:gpt-4o-mini-2024-07-18:acme::abc"),
        ("claude-3-5-sonnet-latest", "claude-3-7-sonnet-20250219"),
        ("claude-sonnet-4", "claude-sonnet-4-5"),
        ("claude-opus-4-20250514", "claude-sonnet-4-20250514"),
        ("gemini-2.5-flash", "gemini-2.5-flash-lite"),
        ("gemini-2.5-flash", "gemini-2.5-pro"),
        ("deepseek-v3", "deepseek-v3.1"),
        ("deepseek-v2", "deepseek-v3"),
        ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1"),
        ("llama-3.1-8b-instant", "llama-3.1-70b-versatile"),
        ("llama2-70b-4096", "llama2-70b"),
        ("meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("openrouter/auto", "openai/gpt-4o"),
    ],
)
def test_another_size_or_generation_is_another_model(asked, answered):
    assert not same_model(asked, answered)
    assert not same_model(answered, asked)

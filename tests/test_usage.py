"""What a provider reports is read in one place, whatever its form."""

from types import SimpleNamespace

import pytest
from langchain_core.messages import AIMessage
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from openai.types import CompletionUsage
from openai.types.completion_usage import PromptTokensDetails

from routoo_core import Expert, Usage
from routoo_core.usage import read_usage

OPENAI = {"prompt_tokens": 5, "completion_tokens": 2}
CACHED = {**OPENAI, "prompt_tokens_details": {"cached_tokens": 4}}
ANTHROPIC = {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 3}
GOOGLE = {"prompt_token_count": 5, "candidates_token_count": 2, "cached_content_token_count": 1}


@pytest.mark.parametrize(
    ("report", "usage"),
    [
        (OPENAI, Usage(5, 2)),
        (CACHED, Usage(5, 2, 4)),
        ({**OPENAI, "prompt_tokens_details": None}, Usage(5, 2)),
        ({**OPENAI, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(5, 2, 5)),
        ({"input_tokens": 5, "output_tokens": 2}, Usage(5, 2)),
        (
            {"input_tokens": 5, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}},
            Usage(5, 2, 4),
        ),
        (
            {"input_tokens": 5, "output_tokens": 2, "input_token_details": {"cache_read": 4}},
            Usage(5, 2, 4),
        ),
        (ANTHROPIC, Usage(8, 2, 3)),
        (
            {**ANTHROPIC, "cache_creation_input_tokens": 10},
            Usage(18, 2, 3, cache_write_tokens=10),
        ),
        (
            {**ANTHROPIC, "cache_read_input_tokens": None, "cache_creation_input_tokens": 10},
            Usage(15, 2, 0, cache_write_tokens=10),
        ),
        (GOOGLE, Usage(5, 2, 1)),
        ({"prompt_eval_count": 5, "eval_count": 2}, Usage(5, 2)),
    ],
)
def test_every_form_is_read_from_a_report_and_from_a_reply_that_holds_it(report, usage):
    assert read_usage(report) == usage
    assert read_usage(SimpleNamespace(**report)) == usage
    assert read_usage({"usage": report}) == usage
    assert read_usage(SimpleNamespace(usage_metadata=report)) == usage
    assert read_usage(CompletionResponse(text="", raw={"usage": report})) == usage


def test_openais_own_objects_are_read():
    details = PromptTokensDetails(cached_tokens=4)
    report = CompletionUsage(
        prompt_tokens=5, completion_tokens=2, total_tokens=7, prompt_tokens_details=details
    )
    assert read_usage(report) == Usage(5, 2, 4)
    assert read_usage(SimpleNamespace(usage=report)) == Usage(5, 2, 4)


def test_a_langchain_message_is_read():
    metadata = {
        "input_tokens": 5,
        "output_tokens": 2,
        "total_tokens": 7,
        "input_token_details": {"cache_read": 4},
    }
    assert read_usage(AIMessage("hello", usage_metadata=metadata)) == Usage(5, 2, 4)
    assert read_usage(AIMessage("hello")) is None


def test_the_raw_reply_of_a_llama_index_response_counts_more_than_what_stands_beside_it():
    response = ChatResponse(
        message=ChatMessage("hello"),
        raw={"usage": CACHED},
        additional_kwargs={"prompt_tokens": 50, "completion_tokens": 20},
    )
    assert read_usage(response) == Usage(5, 2, 4)
    response.raw = None
    assert read_usage(response) == Usage(50, 20)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        {},
        "text",
        {"usage": None},
        {"usage": {}},
        {"prompt_tokens": None},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": "many", "completion_tokens": True},
    ],
)
def test_where_nothing_is_reported_there_is_no_usage(reply):
    assert read_usage(reply) is None


def priced(**prices):
    return Expert(name="x", model="x", input_usd_per_1m=10, output_usd_per_1m=20, **prices)


PARTS = Usage(
    1000,
    500,
    cached_tokens=100,
    cache_write_tokens=200,
    audio_input_tokens=300,
    reasoning_tokens=50,
    audio_output_tokens=150,
)


def test_a_kind_of_token_without_a_price_of_its_own_costs_what_its_total_costs():
    assert priced().cost(PARTS) == priced().cost(Usage(1000, 500)) == 20_000_000


@pytest.mark.parametrize(
    ("price", "nano"),
    [
        ({"cached_usd_per_1m": 1}, 20_000_000 - 100 * 9_000),
        ({"cache_write_usd_per_1m": 12.5}, 20_000_000 + 200 * 2_500),
        ({"audio_input_usd_per_1m": 40}, 20_000_000 + 300 * 30_000),
        ({"reasoning_usd_per_1m": 0}, 20_000_000 - 50 * 20_000),
        ({"audio_output_usd_per_1m": 80}, 20_000_000 + 150 * 60_000),
    ],
)
def test_a_kind_of_token_with_a_price_of_its_own_is_billed_at_it(price, nano):
    assert priced(**price).cost(PARTS) == nano

"""A list price is that of the host that is called, at that hour, for a prompt of that length and of that kind."""

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import ROUND_CEILING, Decimal, localcontext
from fractions import Fraction
from math import ceil
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from hypothesis import given
from hypothesis import strategies as st
from ways import LANGCHAIN_WAYS, LLAMA_INDEX_WAYS, record_of

from routoo_core import Expert, Pool, Usage
from routoo_core.errors import UnknownPrice
from routoo_core.hosts import Address, provider_of_address
from routoo_core.list_prices import ListPrices, find_list_prices, price_of_model
from routoo_core.money import to_nano_usd
from routoo_core.prices import TokenPrices
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

GROQ = "https://api.groq.com/openai/v1"
BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com"
OPENROUTER = "https://openrouter.ai/api/v1"
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 26, tzinfo=UTC)


def list_cost(usage, model, url, moment):
    """What genai-prices itself says, nano-USD rounded up."""
    tokens = ListUsage(**usage)
    price = calc_price(
        tokens, model_ref=model, provider_api_url=url, genai_request_timestamp=moment
    )
    return int((price.total_price * 10**9).to_integral_value(rounding=ROUND_CEILING))


# By host


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("deepseek-r1-distill-llama-70b", GROQ),
        ("llama-3.3-70b-versatile", GROQ),
        ("openai/gpt-oss-120b", GROQ),
        ("gpt-oss-120b", "https://api.cerebras.ai/v1"),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "https://api.together.xyz/v1"),
        ("openai/gpt-4o-mini", OPENROUTER),
        ("anthropic/claude-sonnet-4", OPENROUTER),
        ("accounts/fireworks/models/gpt-oss-120b", "https://api.fireworks.ai/inference/v1"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", BEDROCK),
        ("eu.amazon.nova-pro-v1:0", BEDROCK),
        ("claude-sonnet-4@20250514", "https://us-east5-aiplatform.googleapis.com/v1"),
        ("gpt-4o", "https://mine.openai.azure.com/"),
        ("deepseek-v4-pro", "https://api.deepseek.com/beta"),
        ("mistral-large-2411", "https://api.mistral.ai/v1"),
        ("sonar-pro", "https://api.perplexity.ai"),
    ],
)
def test_a_model_costs_what_the_host_that_is_called_asks_for_it(model, url):
    usage = {"input_tokens": 1000, "output_tokens": 100}
    expert = Expert(name="x", model=model, base_url=url)
    cost = expert.cost(Usage(1000, 100), at=NOON)
    assert cost == list_cost(usage, model, url, NOON)


@pytest.mark.parametrize(
    ("other", "url"),
    [
        ("https://eu.api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://us.api.openai.com/v1", "https://api.openai.com/v1"),
        ("HTTPS://API.OpenAI.com:443/v1/", "https://api.openai.com/v1"),
        ("api.openai.com/v1", "https://api.openai.com/v1"),
    ],
)
def test_an_address_is_known_however_it_is_written(other, url):
    assert find_list_prices("gpt-4o", Address(other)) == ListPrices("gpt-4o", "openai")
    assert find_list_prices("gpt-4o", Address(url)) == ListPrices("gpt-4o", "openai")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.together.ai/v1", "together"),
        ("https://eu-west-1.api.x.ai/v1", "x-ai"),
        ("https://bedrock-runtime-fips.us-east-1.amazonaws.com", "aws"),
        ("https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com", "aws"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "google"),
        ("https://api.moonshot.cn/v1", "moonshotai"),
        ("https://api.groq.com.example.org/v1", None),
        ("https://example.org/api.groq.com/v1", None),
        ("https://example.org/x.googleapis.com/v1", None),
        ("http://127.0.0.1:8000/v1", None),
        ("http://litellm.mine:4000", None),
        ("https://[broken", None),
    ],
)
def test_a_host_is_known_by_its_whole_name(url, host):
    assert provider_of_address(url, get_snapshot().providers) == host


@pytest.mark.parametrize(
    ("provider", "model", "host"),
    [
        ("anthropic", "claude-sonnet-4-20250514", "anthropic"),
        ("google_genai", "models/gemini-2.5-flash", "google"),
        ("google_vertexai", "publishers/google/models/gemini-2.5-flash", "google"),
        ("google_anthropic_vertex", "claude-sonnet-4@20250514", "google"),
        ("bedrock_converse", "us.anthropic.claude-sonnet-4-20250514-v1:0", "aws"),
        ("bedrock", "amazon.nova-lite-v1:0", "aws"),
        ("azure_openai", "gpt-4o", "azure"),
        ("azure_ai", "gpt-4o", "azure"),
        ("mistralai", "mistral-large-2411", "mistral"),
        ("xai", "grok-4.20", "x-ai"),
        ("groq", "llama-3.3-70b-versatile", "groq"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "together"),
        ("fireworks", "accounts/fireworks/models/gpt-oss-120b", "fireworks"),
        ("openrouter", "openai/gpt-4o-mini", "openrouter"),
        ("perplexity", "sonar", "perplexity"),
        ("cohere", "command-r-plus", "cohere"),
        ("deepseek", "deepseek-chat", "deepseek"),
        ("openai", "gpt-4o", "openai"),
    ],
)
def test_without_an_address_the_provider_is_the_host(provider, model, host):
    assert find_list_prices(model, Address(provider=provider)) == ListPrices(model, host)


def test_at_hugging_face_the_provider_stands_in_the_name():
    router = Address("https://router.huggingface.co/v1")
    prices = find_list_prices("openai/gpt-oss-120b:groq", router)
    direct = find_list_prices(
        "openai/gpt-oss-120b", Address("https://router.huggingface.co/groq/openai/v1")
    )
    assert prices.host == direct.host == "huggingface_groq"
    assert prices.at(NOON) == direct.at(NOON)
    with pytest.raises(UnknownPrice, match="known at huggingface"):
        find_list_prices("openai/gpt-oss-120b", router)


def test_a_host_never_gets_the_price_of_another():
    message = r"model 'gpt-4o': no list price is known at groq \(api.groq.com\); give input_usd"
    with pytest.raises(UnknownPrice, match=message):
        Expert(name="x", model="gpt-4o", base_url="https://me:secret@api.groq.com/openai/v1")
    with pytest.raises(UnknownPrice, match="known at anthropic; give"):
        Expert(name="x", model="gpt-4o", provider="anthropic")


def test_a_password_in_an_address_is_not_repeated():
    with pytest.raises(UnknownPrice) as caught:
        Expert(name="x", model="gpt-4o", base_url="https://me:secret@api.groq.com/openai/v1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", [Address(), Address("http://127.0.0.1:4000"), None])
def test_behind_a_gateway_a_model_is_looked_up_by_its_name(address):
    assert find_list_prices("gpt-4o", address) == ListPrices("gpt-4o")


def test_behind_a_gateway_the_provider_is_asked_first():
    gateway = Address("http://127.0.0.1:4000", "groq")
    assert find_list_prices("llama-3.3-70b-versatile", gateway).host == "groq"
    assert find_list_prices("gpt-4o", gateway).host is None


def test_a_client_says_where_it_calls():
    from langchain_anthropic import ChatAnthropic
    from langchain_openai import AzureChatOpenAI, ChatOpenAI
    from llama_index.llms.openai import OpenAI

    keys = {"api_key": "none"}
    groq = ChatOpenAI(model="llama-3.3-70b-versatile", base_url=GROQ, **keys)
    azure = AzureChatOpenAI(
        azure_deployment="gpt-4o",
        azure_endpoint="https://mine.openai.azure.com/",
        api_version="2024-10-21",
        **keys,
    )
    clients = {
        "groq": (groq.bind(stop=["."]), "llama-3.3-70b-versatile"),
        "azure": (azure, "gpt-4o"),
        "openai": (ChatOpenAI(model="gpt-4o", **keys), "gpt-4o"),
        "anthropic": (ChatAnthropic(model="claude-3-5-haiku-latest", **keys), "claude-3-5-haiku"),
        "openrouter": (OpenAI(api_base=OPENROUTER, **keys), "openai/gpt-4o-mini"),
    }
    for host, (client, model) in clients.items():
        expert = Expert(name=host, model=model, client=client)
        assert find_list_prices(model, expert.address) == ListPrices(model, host)


# By hour and date


@pytest.mark.parametrize(
    ("moment", "is_peak"),
    [
        (MIDNIGHT, False),
        (MIDNIGHT + timedelta(hours=1), True),
        (MIDNIGHT + timedelta(hours=3, minutes=59, seconds=59.9), True),
        (MIDNIGHT + timedelta(hours=4), False),
        ((MIDNIGHT + timedelta(hours=7)).timestamp(), True),
        (datetime(2026, 11, 25, 22, tzinfo=timezone(timedelta(hours=-5))), True),
    ],
)
def test_a_call_costs_the_price_of_its_hour(moment, is_peak):
    expert = Expert(name="x", model="deepseek-v4-pro", provider="deepseek")
    assert expert.cost(Usage(1000, 0), at=moment) == (1_320_000 if is_peak else 660_000)


def test_the_hold_takes_the_dearest_hour_whenever_it_is_made():
    prices = find_list_prices("deepseek-v4-pro")
    for hour in range(24):
        dearest = prices.dearest(1000, MIDNIGHT + timedelta(hours=hour))
        assert dearest.input_usd_per_1m == Decimal("1.32")


def test_an_hour_that_the_clock_repeats_has_two_prices_only_if_the_list_says_so():
    prices = find_list_prices("deepseek-v4-pro")
    berlin = ZoneInfo("Europe/Berlin")
    repeated = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
    assert prices.at(repeated).input_usd_per_1m == Decimal("0.66")  # 00:30 UTC
    assert prices.at(repeated.replace(fold=1)).input_usd_per_1m == Decimal("1.32")  # 01:30 UTC


TOMORROW = (MIDNIGHT + timedelta(days=1)).date()
NIGHT = TimeOfDateConstraint(time(22, 30, tzinfo=UTC), time(2, 0, tzinfo=UTC))


@pytest.fixture
def own_list():
    """Installs a list of one model: dearer from tomorrow on, and at night, when long prompts cost more."""

    def install(input_usd="1"):
        by_length = TieredPrices(base=Decimal(9), tiers=[Tier(start=100, price=Decimal(20))])
        today = ModelPrice(input_mtok=Decimal(input_usd), output_mtok=Decimal(10))
        later = ModelPrice(input_mtok=Decimal(5), output_mtok=Decimal(10))
        at_night = ModelPrice(input_mtok=by_length, output_mtok=Decimal(4))
        prices = [
            ConditionalPrice(prices=today),
            ConditionalPrice(StartDateConstraint(TOMORROW), prices=later),
            ConditionalPrice(NIGHT, prices=at_night),
        ]
        model = ModelInfo(id="m", match=ClauseEquals("m"), prices=prices)
        pattern = r"https://api\.mine\.example"
        provider = Provider(id="mine", name="Mine", api_pattern=pattern, models=[model])
        set_custom_snapshot(DataSnapshot(providers=[provider], from_auto_update=False))

    yield install
    set_custom_snapshot(None)


MINE = Address("https://api.mine.example/v1")


def test_the_hold_knows_a_price_that_begins_within_a_day(own_list):
    own_list()
    prices = find_list_prices("m", MINE)
    a_day_before = MIDNIGHT - timedelta(hours=12)
    assert prices.dearest(50, a_day_before).input_usd_per_1m == 9  # the night's
    assert prices.dearest(50, a_day_before).output_usd_per_1m == 10
    assert prices.at(NOON).input_usd_per_1m == 1
    assert prices.at(NOON + timedelta(days=1)).input_usd_per_1m == 5


def test_the_hold_takes_only_the_tiers_that_the_prompt_can_reach(own_list):
    own_list()
    prices = find_list_prices("m", MINE)
    assert prices.dearest(100, NOON).input_usd_per_1m == 9
    assert prices.dearest(101, NOON).input_usd_per_1m == 20


def test_a_process_that_runs_for_weeks_has_the_price_of_today(own_list):
    own_list("1")
    expert = Expert(name="m", model="m", base_url=MINE.base_url)
    assert expert.cost(Usage(1, 0), at=NOON) == 1000
    own_list("3")
    assert expert.cost(Usage(1, 0), at=NOON) == 3000


def test_a_model_that_a_newer_list_drops_keeps_its_last_price(own_list):
    own_list("1")
    expert = Expert(name="m", model="m", base_url=MINE.base_url)
    set_custom_snapshot(DataSnapshot(providers=[], from_auto_update=False))
    assert expert.cost(Usage(1, 0), at=NOON) == 1000
    assert expert.maximum_cost(1, 0) == 9000


def test_a_process_with_another_list_takes_the_price_that_the_expert_brings():
    expert = Expert(name="x", model="gpt-4o")
    code = (
        "import pickle, sys\n"
        "from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot\n"
        "from routoo_core import Usage\n"
        "set_custom_snapshot(DataSnapshot(providers=[], from_auto_update=False))\n"
        "expert = pickle.load(sys.stdin.buffer)\n"
        "print(expert.cost(Usage(1000, 0)), expert.maximum_cost(1000, 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(expert), capture_output=True, check=True
    )
    assert done.stdout.split() == [b"2500000", b"2500000"]


# By length


def test_a_prompt_is_priced_by_the_tier_it_reached_and_held_by_the_one_it_can_reach():
    expert = Expert(name="x", model="gemini-2.5-pro")
    assert expert.input_usd_per_1m == Decimal("1.25")
    assert expert.cost(Usage(200_000, 10)) == 200_000 * 1250 + 10 * 10_000
    assert expert.cost(Usage(200_001, 10)) == 200_001 * 2500 + 10 * 15_000
    assert expert.maximum_cost(1000, 10) < expert.maximum_cost(200_001, 10) * 1000 / 200_001


# By kind


def test_cache_writes_have_their_own_prices():
    expert = Expert(name="x", model="claude-sonnet-4-20250514")
    assert expert.cost(Usage(30_000, 0, cache_write_tokens=30_000)) == 30_000 * 3750
    an_hour = Usage(30_000, 0, cache_write_tokens=30_000, cache_write_1h_tokens=10_000)
    assert expert.cost(an_hour) == 20_000 * 3750 + 10_000 * 6000


def test_writes_kept_for_an_hour_are_derived_where_the_list_has_only_those_of_five_minutes():
    claude = "us.anthropic.claude-sonnet-4-20250514-v1:0"
    expert = Expert(name="x", model=claude, provider="bedrock_converse")
    assert expert.cache_write_usd_per_1m == Decimal("3.75")
    assert expert.cache_write_1h_usd_per_1m == 6


def test_a_price_for_each_call_is_held_and_booked():
    expert = Expert(name="x", model="sonar", provider="perplexity")
    assert expert.usd_per_call == Decimal("0.012")
    assert expert.cost(Usage(1000, 100)) == 12_000_000 + 1_100_000
    assert expert.maximum_cost(0, 0) == 12_000_000
    assert expert.affordable_tokens(12_000_999, 0) == 0
    assert expert.affordable_tokens(12_001_000, 0) == 1


def test_reasoning_has_the_price_that_the_list_gives_it():
    expert = Expert(name="x", model="sonar-deep-research", provider="perplexity")
    assert expert.cost(Usage(0, 100, reasoning_tokens=60)) == 60 * 3000 + 40 * 8000


PRICES = TokenPrices(
    input_usd_per_1m=4,
    output_usd_per_1m=16,
    cached_usd_per_1m="0.4",
    cache_write_usd_per_1m=5,
    cache_write_1h_usd_per_1m=8,
    audio_input_usd_per_1m=32,
    cached_audio_usd_per_1m="0.8",
    reasoning_usd_per_1m=20,
    audio_output_usd_per_1m=64,
    image_output_usd_per_1m=40,
)
COUNTS = st.integers(-5, 300_000)
USAGES = st.builds(Usage, *[COUNTS] * 10)


def test_a_token_of_two_kinds_is_priced_once():
    usage = Usage(100, 0, cached_tokens=60, audio_input_tokens=50, cached_audio_tokens=30)
    assert PRICES.cost(usage) == 30 * 800 + 30 * 400 + 20 * 32_000 + 20 * 4000


def test_audio_that_has_no_room_beside_the_cache_was_read_from_it():
    assert PRICES.cost(Usage(100, 0, cached_tokens=80, audio_input_tokens=50)) == (
        30 * 800 + 50 * 400 + 20 * 32_000
    )


def test_cached_audio_without_a_price_of_its_own_costs_the_dearer_of_its_kinds():
    prices = PRICES.model_copy(update={"cached_audio_usd_per_1m": None})
    usage = Usage(10, 0, cached_tokens=10, audio_input_tokens=10, cached_audio_tokens=10)
    assert prices.cost(usage) == 10 * 32_000


def test_the_parts_of_a_reply_are_priced_each():
    usage = Usage(0, 100, reasoning_tokens=10, audio_output_tokens=20, image_output_tokens=30)
    assert PRICES.cost(usage) == 10 * 20_000 + 20 * 64_000 + 30 * 40_000 + 40 * 16_000


def test_parts_that_exceed_their_total_are_cut():
    assert PRICES.cost(Usage(10, 0, cached_tokens=500)) == 10 * 400
    assert PRICES.cost(Usage(10, 0, 20, cache_write_tokens=6)) == 6 * 5000 + 4 * 400
    assert PRICES.cost(Usage(0, 10, reasoning_tokens=500)) == 10 * 20_000
    assert PRICES.cost(Usage(-10, -10, 5, 5)) == 0


@given(USAGES)
def test_no_usage_costs_less_than_nothing_or_more_than_the_most(usage):
    prompt_tokens = max(0, usage.prompt_tokens)
    completion_tokens = max(0, usage.completion_tokens)
    assert 0 <= PRICES.cost(usage) <= PRICES.maximum_cost(prompt_tokens, completion_tokens)


@given(
    USAGES,
    st.integers(0, 10**12),
    st.sampled_from(
        ["gemini-2.5-pro", "deepseek-v4-pro", "claude-sonnet-4-5", "gpt-realtime", "gpt-5.6-sol"]
    ),
)
def test_what_is_affordable_never_costs_more_than_is_there(usage, nano_usd, model):
    expert = Expert(name="x", model=model)
    prompt_tokens = max(0, usage.prompt_tokens)
    affordable = expert.affordable_tokens(nano_usd, prompt_tokens)
    assert affordable <= expert.max_output_tokens
    if affordable > 0:
        longest = replace(usage, prompt_tokens=prompt_tokens, completion_tokens=affordable)
        assert expert.cost(longest) <= nano_usd


def test_money_is_exact_whatever_precision_the_program_works_with():
    prices = TokenPrices(input_usd_per_1m="1.23456789", output_usd_per_1m="0.000001")
    with localcontext(prec=3):
        cost = prices.cost(Usage(987_654_321, 1))
    nano_usd = Fraction(123_456_789 * 987_654_321, 10**5) + Fraction(1, 1000)
    assert cost == ceil(nano_usd)


# What people set


def test_prices_that_somebody_set_are_flat_and_win():
    expert = Expert(name="x", model="deepseek-v4-pro", input_usd_per_1m=1, output_usd_per_1m=2)
    for hour in (0, 2):
        assert expert.cost(Usage(1000, 0), at=MIDNIGHT + timedelta(hours=hour)) == 1_000_000


def test_a_price_of_one_kind_stands_beside_those_that_are_looked_up():
    expert = Expert(name="x", model="gemini-2.5-pro", cached_usd_per_1m="0.01")
    assert expert.cached_usd_per_1m == Decimal("0.01")
    assert expert.cost(Usage(1000, 0, cached_tokens=1000)) == 10_000
    assert expert.cost(Usage(300_000, 0, cached_tokens=300_000)) == 3_000_000
    assert expert.cost(Usage(300_000, 0)) == 300_000 * 2500


def test_a_price_that_a_copy_changes_wins():
    expert = Expert(name="x", model="gpt-4o")
    dearer = expert.model_copy(update={"input_usd_per_1m": Decimal(100)})
    assert dearer.cost(Usage(1000, 1000)) == 100_000_000 + 10_000_000
    assert dearer.maximum_cost(1000, 1000) >= dearer.cost(Usage(1000, 1000))


def test_copies_and_pickles_keep_looking_the_price_up():
    expert = Expert(name="x", model="deepseek-v4-pro")
    copies = (
        expert.model_copy(update={"name": "y"}),
        expert.model_copy(deep=True),
        pickle.loads(pickle.dumps(expert)),
        Expert(**expert.model_dump()),
        Expert.model_validate_json(expert.model_dump_json()),
    )
    for copy in copies:
        costs = [copy.cost(Usage(1000, 0), at=MIDNIGHT + timedelta(hours=h)) for h in (0, 2)]
        assert costs == [660_000, 1_320_000]


def test_what_is_written_down_is_what_was_set():
    expert = Expert(name="x", model="gpt-4o", cached_usd_per_1m=1)
    written = expert.model_dump(exclude_none=True)
    assert written["cached_usd_per_1m"] == 1
    assert "input_usd_per_1m" not in written
    priced = Expert(name="x", model="m", input_usd_per_1m=1, output_usd_per_1m=2)
    assert priced.model_dump()["input_usd_per_1m"] == 1


def test_the_page_on_prices_shows_experts_that_have_one(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "prices.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```toml\n(.*?)```", page, re.S)
    (tmp_path / "experts.toml").write_text(block)
    groq, claude, mine = Pool.from_toml(tmp_path / "experts.toml")
    assert groq.cost(Usage(1000, 0)) == 590_000
    assert claude.cost(Usage(1000, 0, cached_tokens=1000)) == 250_000
    assert mine.cost(Usage(1000, 0)) == 200_000
    for name in TokenPrices.model_fields:
        assert f"`{name}`" in page


# Another model


def test_another_model_costs_what_this_host_asks_for_it():
    openai = Expert(name="x", model="gpt-4o-mini", base_url="https://api.openai.com/v1")
    other = price_of_model("gpt-4o-2024-08-06", openai.address)
    assert other.cost(Usage(1000, 0)) == 2_500_000
    assert price_of_model("nobody-knows-this", openai.address) is None
    assert price_of_model("claude-sonnet-4-5", openai.address) is None


# Over HTTP


@pytest.fixture
def one_expert(endpoint):
    """Makes a model of either framework over one expert that is served here and priced by its name."""

    def make(kind, model, **reply):
        endpoint.replies[model] = Reply("Four.", **reply)
        expert = Expert(name="m", model=model, base_url=endpoint.base_url, context_window=1_000_000)
        return kind(FakePredictor({"m": 1.0}), {"m": expert}, policy="best")

    return make


EIGHT_AND_TWO = {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}


def settled(reply):
    return to_nano_usd(record_of(reply)["settled_usd"])


both_frameworks = pytest.mark.parametrize(
    ("kind", "ways"), [(RoutooChatModel, LANGCHAIN_WAYS), (RoutooLLM, LLAMA_INDEX_WAYS)]
)
every_way = pytest.mark.parametrize("way", ["whole", "async", "streamed", "async streamed"])


@both_frameworks
@every_way
@pytest.mark.parametrize(
    ("prompt_tokens", "nano_usd"), [(200_000, 200_000 * 1250), (200_001, 200_001 * 2500)]
)
async def test_a_call_is_booked_in_the_tier_that_its_prompt_reached(
    one_expert, kind, ways, way, prompt_tokens, nano_usd
):
    total = prompt_tokens + 2
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 2, "total_tokens": total}
    model = one_expert(kind, "gemini-2.5-pro", usage=usage)
    reply = await ways[way](model, "2 + 2?")
    tier_output = 10_000 if prompt_tokens <= 200_000 else 15_000
    assert settled(reply) == nano_usd + 2 * tier_output


@both_frameworks
async def test_a_call_is_held_at_the_dearest_hour_and_booked_at_its_own(one_expert, kind, ways):
    model = one_expert(kind, "deepseek-v4-pro", usage=EIGHT_AND_TWO)
    before = datetime.now(UTC)
    reply = await ways["whole"](model, "2 + 2?")
    after = datetime.now(UTC)

    prices = find_list_prices("deepseek-v4-pro")
    possible = {prices.cost(Usage(8, 2), moment) for moment in (before, after)}
    assert settled(reply) in possible
    held = to_nano_usd(record_of(reply)["held_usd"])
    assert held >= prices.dearest(8, before).maximum_cost(8, 4096)


@both_frameworks
async def test_cached_tokens_are_booked_at_the_price_that_the_list_has_for_them(
    one_expert, kind, ways
):
    details = {"prompt_tokens_details": {"cached_tokens": 600}}
    usage = {"prompt_tokens": 1000, "completion_tokens": 2, "total_tokens": 1002, **details}
    model = one_expert(kind, "gpt-4o", usage=usage)
    reply = await ways["whole"](model, "2 + 2?")
    assert settled(reply) == 400 * 2500 + 600 * 1250 + 2 * 10_000

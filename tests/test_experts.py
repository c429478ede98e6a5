"""Experts have a price and a name of their own, or they are refused before anything runs."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_core import Expert, Pool, Usage
from routoo_core.errors import ConfigurationError, UnknownPrice
from routoo_core.money import decimal_usd, to_nano_usd

PRICED = {"input_usd_per_1m": "0.075", "output_usd_per_1m": "0.3"}


def expert(**settings):
    return Expert(**{"name": "x", "model": "x", **PRICED, **settings})


def test_cost_is_exact_and_rounded_up_to_the_nano_dollar():
    assert expert().cost(Usage(1000, 100)) == 75_000 + 30_000
    assert expert(input_usd_per_1m="0.0137").cost(Usage(1, 0)) == 14


def test_cached_tokens_are_billed_at_their_own_price():
    cheaper = expert(input_usd_per_1m=10, cached_usd_per_1m=1)
    assert cheaper.cost(Usage(1000, 0, cached_tokens=400)) == 600 * 10_000 + 400 * 1_000


@given(st.integers(0, 10**12), st.integers(0, 10_000), st.decimals("0.01", 100, places=3))
def test_what_is_affordable_never_costs_more_than_is_there(nano, prompt_tokens, price):
    one = expert(output_usd_per_1m=price)
    tokens = one.affordable_tokens(nano, prompt_tokens)
    assert tokens <= one.max_output_tokens
    if tokens > 0:
        assert one.cost(Usage(prompt_tokens, tokens)) <= nano


def test_a_price_left_out_is_looked_up():
    found = Expert(name="mini", model="gpt-4o-mini")
    assert found.input_usd_per_1m == Decimal("0.15")
    assert found.output_usd_per_1m == Decimal("0.6")


def test_an_unknown_price_is_refused():
    with pytest.raises(UnknownPrice, match="no list price is known; give input_usd_per_1m"):
        Expert(name="mine", model="my-own-model")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("experts = 3", "name each expert in a table"),
        ("[experts]\na = 3", "experts.a: write it as a table"),
        ("[experts.a", "is not valid TOML"),
        ('[experts.a]\nmodel = "gpt-4o"\ninput_usd_per_1m = 1', "experts.a: give both"),
        (
            '[experts.a]\nmodel = "nobody-knows-this"',
            "experts.a: model 'nobody-knows-this': no list price",
        ),
        ('[experts.a]\nmodel = "gpt-4o"\nwindow = 1', "experts.a: window: unknown key"),
        (
            '[experts.a]\nmodel = "gpt-4o"\ncontext_window = -1',
            "experts.a: context_window: .*greater than 0",
        ),
        (
            '[experts.a]\nmodel = "gpt-4o"\ncapabilities = ["magic"]',
            r"experts.a: capabilities.*'tools'",
        ),
    ],
)
def test_a_mistake_in_experts_toml_is_named_by_file_expert_and_field(tmp_path, toml, message):
    path = tmp_path / "experts.toml"
    path.write_text(toml)
    with pytest.raises(ConfigurationError, match=message) as caught:
        Pool.from_toml(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="nowhere.toml: cannot be read"):
        Pool.from_toml(tmp_path / "nowhere.toml")


def test_a_key_written_into_the_file_is_refused_without_being_repeated(tmp_path):
    path = tmp_path / "experts.toml"
    path.write_text('[experts.a]\nmodel = "gpt-4o"\napi_key = "sk-very-secret"')
    with pytest.raises(ConfigurationError, match="api_key: keys are not written here") as caught:
        Pool.from_toml(path)
    assert "sk-very-secret" not in str(caught.value)


def test_keys_are_read_from_the_environment_and_never_shown(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    one = expert(api_key_env="SOME_KEY")
    assert one.api_key() == "sk-very-secret"
    assert "sk-very-secret" not in repr(one) + one.model_dump_json()


def test_two_experts_of_one_name_are_refused():
    with pytest.raises(ConfigurationError, match="x is listed twice"):
        Pool([expert(), expert()])


def test_money_is_parsed_and_written_exactly():
    assert to_nano_usd("5.00") == 5 * 10**9
    assert decimal_usd(1_234_567) == "0.001234567"
    for bad in ("five", "-1", "NaN", "Infinity"):
        with pytest.raises(ConfigurationError, match="is not an amount of USD"):
            to_nano_usd(bad)


def test_an_expert_that_has_priced_a_call_is_still_the_same():
    used = expert()
    assert used.cost(Usage(1000, 100)) > 0
    assert used == expert()
    assert used.model_dump() == expert().model_dump()
    assert repr(used) == repr(expert())
    assert Expert(**used.model_dump()) == used


def test_a_copy_with_another_price_costs_that_price():
    used = expert(input_usd_per_1m=1)
    assert used.cost(Usage(1000, 0)) == 1_000_000
    assert (
        used.model_copy(update={"input_usd_per_1m": Decimal(2)}).cost(Usage(1000, 0)) == 2_000_000
    )
    assert used.model_copy(update={"name": "y"}).cost(Usage(1000, 0)) == 1_000_000

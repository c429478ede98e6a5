"""A price list is read from a CSV or from experts.toml, and gives one figure a model for work offline."""

import pytest

from routoo_core.errors import ConfigurationError
from routoo_core.price_list import read_price_list

HEADER = "model,input_usd_per_1m,output_usd_per_1m,pool,billions_of_parameters\n"
PRICES = HEADER + "small,1,3,open,7\nlarge,5,15,mix,\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text(PRICES)
    return path


def test_a_price_per_million_tokens_is_the_mean_of_input_and_output(path):
    assert read_price_list(path).per_million() == {"small": 2.0, "large": 10.0}


def test_a_price_per_call_is_of_so_many_tokens(path):
    assert read_price_list(path).per_call(500) == {"small": 0.001, "large": 0.005}


def test_sizes_are_of_those_models_that_have_one(path):
    assert read_price_list(path).sizes == {"small": 7.0}


def test_pools_and_models_narrow_the_list(path):
    assert read_price_list(path, pools=["mix"]).models == ("large",)
    assert read_price_list(path, models=["small", "other"]).models == ("small",)
    with pytest.raises(ConfigurationError, match=r"prices.csv: no row fits \(pools \['mix'\]\)"):
        read_price_list(path, pools=["mix"], models=["small"])


def test_experts_toml_is_a_price_list(tmp_path):
    path = tmp_path / "experts.toml"
    path.write_text("[experts.mine]\ninput_usd_per_1m = 1\noutput_usd_per_1m = 2\n")
    prices = read_price_list(path)
    assert (prices.input_usd_per_1m, prices.output_usd_per_1m) == ({"mine": 1.0}, {"mine": 2.0})
    assert prices.per_million() == {"mine": 1.5}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "small,cheap,3,open,7",
            "row 1: could not convert string to float: 'cheap'; needs columns",
        ),
        ("small,1,3,open,big", "row 1: billions_of_parameters: could not convert"),
    ],
)
def test_a_bad_row_is_named_by_file_and_number(tmp_path, row, message):
    (tmp_path / "prices.csv").write_text(HEADER + row + "\n")
    with pytest.raises(ConfigurationError, match=message):
        read_price_list(tmp_path / "prices.csv")

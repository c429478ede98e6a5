"""Budgets, their periods, and how much of a call's cost is held."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_core import Budget
from routoo_core.budget.ledger import FAIR_SHARE_DIVISOR, amount_to_hold
from routoo_core.errors import ConfigurationError


def test_an_account_cannot_be_within_itself():
    with pytest.raises(ConfigurationError, match="ann < team < ann"):
        Budget(account="ann", within=Budget(account="team", within=Budget(account="ann")))


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_grant_lies_between_minimum_and_maximum_and_never_above_what_is_there(
    available, low, high
):
    minimum, maximum = sorted((low, high))
    granted = amount_to_hold(available, minimum, maximum)
    if available < minimum:
        assert granted is None
    else:
        assert minimum <= granted <= min(maximum, available)
        assert granted <= max(minimum, available // FAIR_SHARE_DIVISOR)


@pytest.mark.parametrize(
    ("period", "timezone", "start", "end"),
    [
        ("hour", "UTC", "2023-11-14T22:00:00+00:00", "2023-11-14T23:00:00+00:00"),
        ("day", "UTC", "2023-11-14T00:00:00+00:00", "2023-11-15T00:00:00+00:00"),
        ("day", "Asia/Tokyo", "2023-11-15T00:00:00+09:00", "2023-11-15T15:00:00+00:00"),
        ("month", "UTC", "2023-11-01T00:00:00+00:00", "2023-12-01T00:00:00+00:00"),
    ],
)
def test_periods_begin_and_end_in_the_accounts_time_zone(period, timezone, start, end):
    window = Budget(limit="1", period=period, timezone=timezone).window(1_700_000_000)
    assert (window.key, window.resets) == (start, end)


def test_a_day_that_clocks_change_in_has_its_true_length():
    window = Budget(limit="1", timezone="Europe/Berlin").window(1_698_570_000)  # 29 October 2023
    assert window.end - window.start == 25 * 3600


@pytest.mark.parametrize(
    ("field", "value"), [("limit", "-1"), ("period", "week"), ("timezone", "Mars/Olympus")]
)
def test_a_bad_budget_names_its_field(field, value):
    with pytest.raises(ConfigurationError, match=f"Budget: {field}"):
        Budget(**{"limit": "1", field: value})


@pytest.mark.parametrize("wrong", [{"period": "run"}, {"carry_over": True}])
def test_what_cannot_roll_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="rolling: a r"):
        Budget(limit="1", rolling=True, **wrong)

"""What every ledger must do; one suite over all of them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo_core import Budget, Pool, RoutedRequest
from routoo_core.budget.period import RETENTION_S, ROLLING_SPAN_S, SLOTS_PER_PERIOD
from routoo_core.budget.redis import RedisLedger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import build_router
from routoo_core.errors import BudgetExceeded, HeldShareExceeded, InvalidRequest, LedgerError
from routoo_core.testing import FakePredictor, ManualClock

LIMIT = 1_000_000  # nano-USD, the limit of most budgets here
DAY = 86_400


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def ledger(request, tmp_path, clock):
    if request.param == "redis":
        opened = RedisLedger(request.getfixturevalue("redis_url"), ttl=60, clock=clock)
    else:
        opened = SqliteLedger(
            ":memory:" if request.param == "memory" else tmp_path / "ledger.db", ttl=60, clock=clock
        )
    yield opened
    opened.close()


def open_store(request, store, clock):
    """A ledger for one example of a property; in Redis it finds the accounts of earlier ones."""
    if store == "redis":
        return RedisLedger(request.getfixturevalue("redis_server"), ttl=600, clock=clock)
    return SqliteLedger(ttl=600, clock=clock)


@pytest.fixture
def budget():
    return Budget(limit="0.001", period="day")


@pytest.fixture
def rolling():
    return Budget(limit="0.001", period="day", rolling=True)


def hold(ledger, budget, amount, **options):
    return ledger.reserve(budget, minimum=amount, maximum=amount, **options)


def test_a_new_account_has_everything_left(ledger, budget):
    state = ledger.state(budget)
    assert (state.limit, state.spent, state.held, state.calls, state.available) == (
        LIMIT,
        0,
        0,
        0,
        LIMIT,
    )


def test_held_money_is_not_available_and_settling_frees_the_rest(ledger, budget):
    held = hold(ledger, budget, 600_000)
    assert ledger.state(budget).available == 400_000
    state = ledger.settle(held, 123_456)
    assert (state.spent, state.held, state.calls, state.available) == (
        123_456,
        0,
        1,
        LIMIT - 123_456,
    )


def test_a_released_hold_costs_nothing_and_counts_no_call(ledger, budget):
    state = ledger.release(hold(ledger, budget, 600_000))
    assert (state.spent, state.held, state.calls) == (0, 0, 0)


def test_a_refused_hold_changes_nothing_and_names_the_numbers(ledger, budget):
    ledger.settle(hold(ledger, budget, 900_000), 900_000)
    with pytest.raises(
        BudgetExceeded, match=r"limit \$0.001000, spent \$0.000900.*needs \$0.000200"
    ) as caught:
        hold(ledger, budget, 200_000)
    assert (caught.value.limit, caught.value.spent, caught.value.needed) == (
        LIMIT,
        900_000,
        200_000,
    )
    assert ledger.state(budget).held == 0


def test_a_bill_above_the_hold_is_booked_whole_and_marked(ledger, budget):
    state = ledger.settle(hold(ledger, budget, 100), 150)
    assert (state.spent, state.overshoot) == (150, 50)


def test_a_call_that_costs_nothing_is_held_settled_released_and_expires_like_any_other(
    ledger, budget, clock
):
    assert ledger.settle(hold(ledger, budget, 0), 0).calls == 1
    assert ledger.release(hold(ledger, budget, 0)).calls == 1
    hold(ledger, budget, 0)
    clock.advance(61)
    state = ledger.state(budget)
    assert (state.spent, state.held) == (0, 0)


def test_a_hold_is_closed_once(ledger, budget):
    held = hold(ledger, budget, 100)
    ledger.settle(held, 40)
    for close in (lambda: ledger.settle(held, 40), lambda: ledger.release(held)):
        with pytest.raises(LedgerError, match="each hold can be settled only once"):
            close()
    assert ledger.state(budget).spent == 40


def test_without_a_limit_everything_is_booked_and_nothing_refused(ledger):
    free = Budget(limit=None)
    state = ledger.settle(hold(ledger, free, 10**15), 10**15)
    assert state.spent == 10**15
    assert state.available is None


def test_an_unenforced_hold_is_booked_beyond_the_limit(ledger, budget):
    state = ledger.settle(hold(ledger, budget, 5 * LIMIT, enforce=False), 4 * LIMIT)
    assert state.spent == 4 * LIMIT
    assert state.available == 0


def test_a_hold_that_nobody_settles_is_booked_whole(ledger, budget, clock):
    hold(ledger, budget, 600_000)
    clock.advance(61)
    state = ledger.state(budget)
    assert (state.held, state.spent) == (0, 600_000)


@pytest.mark.parametrize("is_booked", [False, True])
def test_a_settle_that_comes_late_corrects_what_was_booked(ledger, budget, clock, is_booked):
    held = hold(ledger, budget, 600_000)
    clock.advance(61)
    if is_booked:  # by the next hold of anybody
        ledger.release(hold(ledger, budget, 0))
    assert (ledger.state(budget).held, ledger.state(budget).spent) == (0, 600_000)
    state = ledger.settle(held, 100_000)
    assert (state.held, state.spent, state.calls) == (0, 100_000, 1)


@pytest.mark.parametrize("is_booked", [False, True])
def test_a_release_that_comes_late_takes_it_back(ledger, budget, clock, is_booked):
    held = hold(ledger, budget, 600_000)
    clock.advance(61)
    if is_booked:
        ledger.release(hold(ledger, budget, 0))
    state = ledger.release(held)
    assert (state.held, state.spent, state.calls) == (0, 0, 0)


def test_a_new_period_starts_afresh_and_a_call_in_flight_is_booked_where_it_was_held(
    ledger, budget, clock
):
    held = hold(ledger, budget, 600_000)
    before = ledger.state(budget).window
    clock.advance(before.end - clock() + 1)
    ledger.ttl = 10**9
    assert ledger.state(budget).available == LIMIT
    assert ledger.settle(held, 500_000).window == before
    assert ledger.state(budget).spent == 0


def test_a_limit_lowered_below_what_is_spent_refuses_and_loses_nothing(ledger, budget):
    ledger.settle(hold(ledger, budget, 900_000), 900_000)
    lowered = budget.model_copy(update={"limit": budget.limit / 2})
    state = ledger.state(lowered)
    assert (state.spent, state.available) == (900_000, 0)
    with pytest.raises(BudgetExceeded):
        hold(ledger, lowered, 1)


def test_a_clock_going_backwards_frees_no_money_twice(ledger, budget, clock):
    ledger.settle(hold(ledger, budget, 900_000), 900_000)
    clock.advance(-3600)
    assert ledger.state(budget).spent == 900_000


@pytest.mark.parametrize("name", ["team/ann: 5 €", 'Zoë "团队" \\', "two\nlines", "🙂"])
def test_an_account_may_have_any_name(ledger, name):
    budget = Budget(account=name, limit="0.001", period="hour", rolling=True)
    state = ledger.settle(hold(ledger, budget, 100), 100)
    assert (state.account, state.spent) == (name, 100)
    assert ledger.state(budget) == ledger.accounts()[0] == state
    assert ledger.history(name)[0].account == name
    assert ledger.arrivals(name)[0].calls == 1


def rows(ledger):
    """All that a ledger's store holds."""
    if isinstance(ledger, SqliteLedger):
        return list(ledger._connection.iterdump())
    store = ledger._redis
    contents = {}
    for key in store.scan_iter():
        read = {"string": store.get, "hash": store.hgetall}.get(store.type(key))
        if read is None:
            contents[key] = store.sort(key, alpha=True), store.pttl(key) > 0
        else:
            contents[key] = read(key), store.pttl(key) > 0
    return contents


def test_asking_for_states_accounts_and_history_changes_nothing(ledger, clock):
    team = Budget(account="team", limit="0.002", period="hour", rolling=True)
    ann = Budget(account="ann", limit="0.001", period="day", carry_over=True, within=team)
    new = Budget(account="new", limit="0.001", period="month")

    def read_everything():
        states = [ledger.state(budget) for budget in (ann, team, new)]
        return states, ledger.accounts(), ledger.history(), ledger.arrivals("ann")

    ledger.settle(hold(ledger, ann, 300_000), 200_000)
    hold(ledger, ann, 100_000)
    for wait in (1, 60, 3600, DAY, 40 * DAY):  # the hold expires, then slots and days pass unused
        clock.advance(wait)
        before = rows(ledger)
        answer = read_everything()
        assert read_everything() == answer
        assert rows(ledger) == before
    assert [state.account for state in ledger.accounts()] == ["ann", "team"]
    assert ledger.state(ann).limit == 2 * LIMIT


def test_asking_an_empty_ledger_leaves_it_empty(ledger, budget, rolling):
    before = rows(ledger)
    for _ in range(3):
        ledger.state(budget)
        ledger.state(rolling)
    assert rows(ledger) == before
    assert ledger.accounts() == ledger.history() == []


def test_decisions_leave_no_account_in_the_ledger(ledger, endpoint):
    team = Budget(account="team", limit="1", period="day", rolling=True)
    router = build_router(
        Pool([endpoint.expert("cheap"), endpoint.expert("dear")]),
        router=FakePredictor({"cheap": 0.4, "dear": 0.8}),
        policy="paced",
        budget=Budget(account="ann", limit="1", period="month", within=team),
        ledger=ledger,
    )
    before = rows(ledger)
    for _ in range(3):
        router.decide(RoutedRequest.from_text("hello"))
    assert rows(ledger) == before
    assert ledger.accounts() == []


def test_an_account_cannot_pay_within_itself(ledger):
    team = Budget(account="team", limit="1.00")
    twice = Budget(account="ann", limit="1.00", within=team).model_copy(update={"account": "team"})
    with pytest.raises(InvalidRequest, match=r"'team' cannot pay within itself \(team < team\)"):
        hold(ledger, twice, 100)
    assert ledger.accounts() == []


def test_a_failing_store_is_a_ledger_error(tmp_path):
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.close()
    with pytest.raises(LedgerError, match=r"ledger.db failed \(.*closed"):
        hold(ledger, Budget(limit="1.00"), 100)


def test_a_refused_hold_opens_no_account(ledger, budget):
    with pytest.raises(BudgetExceeded):
        hold(ledger, budget, LIMIT + 1)
    assert ledger.accounts() == ledger.history() == []


@pytest.mark.parametrize("store", ["sqlite", "redis"])
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        [
            {"period": "hour", "rolling": True},
            {"period": "day", "carry_over": True},
            {"period": "day", "timezone": "Asia/Tokyo"},
            {"period": "hour", "carry_over": True},
            {"period": "run"},
        ]
    ),
    st.lists(
        st.tuples(
            st.sampled_from("rsxa"),
            st.integers(1, 10),
            st.sampled_from([1, 61, 900, 3600, 7200, DAY, 2 * DAY]),
        ),
        max_size=20,
    ),
)
def test_a_state_is_what_the_next_hold_finds(request, store, options, steps):
    clock = ManualClock()
    budget = Budget(account=uuid4().hex, limit="0.001", **options)
    ledger = open_store(request, store, clock)
    holds = []
    for step, amount, wait in steps:
        if step == "r":
            with suppress(BudgetExceeded):
                holds.append(hold(ledger, budget, amount * LIMIT // 10))
        elif step == "a":
            clock.advance(wait)
            before = ledger.state(budget)
            ledger.release(hold(ledger, budget, 0))  # opens the window, books what has expired
            assert ledger.state(budget) == before
        elif step == "s" and holds:
            ledger.settle(holds.pop(0), amount * LIMIT // 20)
        elif holds:
            ledger.release(holds.pop(0))


def test_accounts_are_kept_apart_and_listed_by_name(ledger, budget):
    other = budget.model_copy(update={"account": "alice"})
    ledger.settle(hold(ledger, budget, 100), 100)
    ledger.settle(hold(ledger, other, 200), 200)
    assert [(state.account, state.spent) for state in ledger.accounts()] == [
        ("alice", 200),
        ("default", 100),
    ]


def test_what_a_period_leaves_is_carried_over_up_to_one_limit(ledger, clock):
    budget = Budget(limit="0.001", period="day", carry_over=True)
    ledger.settle(hold(ledger, budget, 300_000), 300_000)
    clock.advance(DAY)
    assert ledger.state(budget).limit == LIMIT + 700_000
    ledger.settle(hold(ledger, budget, 1_500_000), 1_500_000)
    assert ledger.state(budget).available == 200_000
    clock.advance(DAY)
    assert ledger.state(budget).limit == LIMIT + 200_000
    for _ in range(5):
        clock.advance(DAY)
        ledger.state(budget)
    assert ledger.state(budget).limit == 2 * LIMIT  # not five days' worth


def test_a_period_in_which_nobody_called_leaves_its_whole_limit(ledger, clock):
    budget = Budget(limit="0.001", period="day", carry_over=True)
    ledger.settle(hold(ledger, budget, 900_000), 900_000)
    clock.advance(DAY)
    assert ledger.state(budget).limit == LIMIT + 100_000
    clock.advance(DAY)
    assert ledger.state(budget).limit == 2 * LIMIT
    state = ledger.settle(hold(ledger, budget, 1_900_000), 1_900_000)
    assert (state.limit, state.available) == (2 * LIMIT, 100_000)


def test_a_run_starts_with_its_first_call(ledger, clock):
    budget = Budget(limit="0.001", period="run")
    start = clock()
    ledger.release(hold(ledger, budget, 100))
    clock.advance(10)
    state = ledger.settle(hold(ledger, budget, 100), 100)
    assert state.window.start == ledger.state(budget).window.start == start
    assert ledger.accounts()[0].window.start == ledger.history()[0].window.start == start


def test_a_new_account_carries_nothing_over(ledger, clock):
    budget = Budget(limit="0.001", period="day", carry_over=True)
    assert ledger.state(budget).limit == LIMIT
    clock.advance(3 * DAY)
    assert ledger.state(budget).limit == LIMIT


def test_what_is_held_when_a_period_ends_is_not_carried_over(ledger, clock):
    budget = Budget(limit="0.001", period="day", carry_over=True)
    clock.advance(DAY - clock() % DAY - 10)
    held = hold(ledger, budget, 400_000)
    clock.advance(20)
    assert ledger.state(budget).limit == LIMIT + 600_000
    ledger.settle(held, 400_000)
    assert ledger.state(budget).limit == LIMIT + 600_000
    assert ledger.history()[0].spent == 400_000


def test_without_carry_over_every_period_starts_with_its_limit(ledger, budget, clock):
    ledger.state(budget)
    clock.advance(DAY)
    assert ledger.state(budget).limit == LIMIT


@pytest.fixture
def nested():
    """A user within a team within an organisation; the team is the tightest."""
    firm = Budget(account="firm", limit="0.002", period="month")
    team = Budget(account="team", limit="0.0005", period="day", within=firm)
    return Budget(account="ann", limit="0.001", period="hour", within=team)


def test_a_call_is_held_and_booked_in_every_account_it_is_within(ledger, nested):
    held = hold(ledger, nested, 300_000)
    assert [ledger.state(account).held for account in nested.chain] == [300_000] * 3
    state = ledger.settle(held, 310_000)
    assert (state.account, state.spent, state.overshoot) == ("ann", 310_000, 10_000)
    for account in nested.chain:
        state = ledger.state(account)
        assert (state.spent, state.held, state.calls, state.overshoot) == (310_000, 0, 1, 10_000)
    ledger.release(hold(ledger, nested, 100_000))
    assert [ledger.state(account).spent for account in nested.chain] == [310_000] * 3


def test_the_tightest_account_binds_and_is_named_and_nothing_is_held_anywhere(ledger, nested):
    ledger.settle(hold(ledger, nested, 300_000), 300_000)
    with pytest.raises(BudgetExceeded, match="account 'team'") as caught:
        hold(ledger, nested, 250_000)
    assert (caught.value.account, caught.value.limit, caught.value.spent) == (
        "team",
        500_000,
        300_000,
    )
    assert [ledger.state(account).held for account in nested.chain] == [0] * 3
    colleague = Budget(account="bob", limit=None, period="hour", within=nested.within)
    with pytest.raises(BudgetExceeded, match="account 'team'"):
        hold(ledger, colleague, 250_000)
    assert hold(ledger, colleague, 200_000).amount == 200_000
    assert ledger.reserve(nested, minimum=900_000, maximum=900_000, enforce=False).amount == 900_000


def test_an_account_with_an_unlimited_parent_keeps_its_own_limit(ledger):
    ann = Budget(account="ann", limit="0.001", within=Budget(account="team"))
    with pytest.raises(BudgetExceeded, match="account 'ann'"):
        hold(ledger, ann, 2_000_000)
    eve = Budget(account="eve", within=Budget(account="team"))
    assert hold(ledger, eve, 2_000_000).amount == 2_000_000


def test_a_dead_process_is_booked_in_every_account(ledger, nested, clock):
    held = hold(ledger, nested, 300_000)
    clock.advance(61)
    assert [
        (ledger.state(account).spent, ledger.state(account).held) for account in nested.chain
    ] == [(300_000, 0)] * 3
    ledger.settle(held, 100_000)
    assert [ledger.state(account).spent for account in nested.chain] == [100_000] * 3


def test_the_open_calls_of_an_account_leave_room_for_the_others(ledger):
    firm = Budget(account="firm", limit="0.001", period="month")
    ann = Budget(account="ann", limit="0.001", period="month", within=firm, held_share=0.5)
    bob = ann.for_account("bob")
    first = hold(ledger, ann, 400_000)
    with pytest.raises(
        HeldShareExceeded, match=r"'ann' may reserve at most \$0\.000500 at once"
    ) as caught:
        hold(ledger, ann, 200_000)
    assert (caught.value.account, caught.value.held) == ("ann", 400_000)
    other = hold(ledger, bob, 400_000)
    assert ledger.reserve(ann, minimum=10, maximum=400_000).amount <= 100_000
    ledger.settle(first, 400_000)
    with pytest.raises(HeldShareExceeded):
        hold(ledger, bob, 1)  # half of what is left is less than it holds
    ledger.settle(other, 100_000)
    assert hold(ledger, bob, 200_000).amount == 200_000


def test_an_account_without_others_has_no_share_to_keep_to(ledger):
    budget = Budget(limit="0.001", period="month", held_share=0.1)
    assert hold(ledger, budget, 900_000).amount == 900_000


def test_the_history_holds_every_window_of_every_account_oldest_first(ledger, clock):
    ann, bob = (Budget(account=name, limit="1", period="day") for name in ("ann", "bob"))
    for day in range(3):
        ledger.settle(hold(ledger, bob, 100), 10 + day)
        if day:
            ledger.settle(hold(ledger, ann, 100), 20 + day)
        clock.advance(86_400)
    states = ledger.history()
    assert [(state.account, state.spent) for state in states] == [
        ("ann", 21),
        ("ann", 22),
        ("bob", 10),
        ("bob", 11),
        ("bob", 12),
    ]
    assert [state.window.start for state in states[2:]] == sorted(
        state.window.start for state in states[2:]
    )
    assert ledger.history("ann") == states[:2]
    assert ledger.history("nobody") == []


def test_a_ledger_remembers_in_which_hours_calls_came_for_five_weeks(ledger, nested, clock):
    hour = clock.now = clock() // 3600 * 3600
    for calls in (2, 0, 3):
        for _ in range(calls):
            ledger.settle(hold(ledger, nested, 10), 10)
        ledger.release(hold(ledger, nested, 10))  # no call
        clock.advance(3600)
    assert [ledger.arrivals(account.account) for account in nested.chain] == [
        [(hour, 2), (hour + 7200, 3)]
    ] * 3
    assert ledger.arrivals("nobody") == []
    clock.now = hour + RETENTION_S + 3600
    ledger.settle(hold(ledger, nested, 10), 10)
    assert ledger.arrivals("team") == [(hour + 7200, 3), (clock(), 1)]


def test_sixty_four_threads_never_hold_or_spend_more_than_the_limit(ledger, budget):
    start = threading.Barrier(64)
    totals = []

    def call(i):
        start.wait()
        try:
            held = hold(ledger, budget, 70_000)
        except BudgetExceeded:
            return 0
        state = ledger.state(budget)
        totals.append(state.spent + state.held)
        ledger.settle(held, 60_000 + i)
        return 60_000 + i

    with ThreadPoolExecutor(64) as threads:
        spent = sum(threads.map(call, range(64)))
    state = ledger.state(budget)
    assert state.spent == spent > 0
    assert state.held == 0
    assert max(totals) <= LIMIT


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("rsx"), st.integers(1, 400_000)), max_size=40))
def test_spent_and_held_never_exceed_the_limit_whatever_the_order(steps):
    """Random reserve / settle (within the hold) / release sequences against plain arithmetic."""
    ledger = SqliteLedger()
    budget = Budget(limit="0.001")
    spent = 0
    holds = []
    for step, amount in steps:
        if step == "r":
            try:
                holds.append(hold(ledger, budget, amount))
            except BudgetExceeded:
                assert spent + sum(h.amount for h in holds) + amount > LIMIT
        elif holds and step == "s":
            held = holds.pop()
            cost = min(amount, held.amount)
            spent += cost
            ledger.settle(held, cost)
        elif holds:
            ledger.release(holds.pop(0))
        state = ledger.state(budget)
        assert (state.spent, state.held) == (spent, sum(h.amount for h in holds))
        assert state.spent + state.held <= LIMIT


def test_a_rolling_limit_holds_over_any_day_and_frees_itself_as_calls_grow_older(
    ledger, rolling, clock
):
    clock.now = clock.now // 1440 * 1440  # where a slot begins
    for amount in (300_000, 700_000):
        ledger.settle(hold(ledger, rolling, amount), amount)
        clock.advance(DAY / 2)
    midnight = ledger.state(rolling)
    assert (midnight.spent, midnight.calls, midnight.available) == (LIMIT, 2, 0)
    assert (midnight.window.start, midnight.window.end) == (clock() - DAY, None)
    clock.advance(1440)
    assert (ledger.state(rolling).spent, ledger.state(rolling).calls) == (700_000, 1)
    clock.advance(DAY / 2 - 1440)
    assert ledger.state(rolling).available == 300_000
    clock.advance(1440)
    assert ledger.state(rolling).available == LIMIT


def test_a_refusal_says_when_a_rolling_period_has_freed_enough(ledger, rolling, clock):
    clock.now = clock.now // 1440 * 1440
    for amount in (200_000, 300_000, 400_000):
        ledger.settle(hold(ledger, rolling, amount), amount)
        clock.advance(3600)
    with pytest.raises(
        BudgetExceeded,
        match="Spending leaves the rolling period as it ages; enough is available at",
    ) as caught:
        hold(ledger, rolling, 600_000)
    assert caught.value.resets is None
    assert datetime.fromisoformat(caught.value.frees).timestamp() == pytest.approx(
        clock() + DAY - 7200, abs=1440
    )
    clock.now = datetime.fromisoformat(caught.value.frees).timestamp()
    hold(ledger, rolling, 600_000)
    with pytest.raises(BudgetExceeded, match="It does not reset; raise the limit"):
        hold(ledger, rolling, LIMIT + 1)


def test_everything_that_reads_shows_the_sum_of_a_rolling_period_and_the_history_its_slots(
    ledger, rolling, clock
):
    clock.now = clock.now // 1440 * 1440
    first = hold(ledger, rolling, 100_000)
    second = hold(ledger, rolling, 200_000)
    clock.advance(1440)
    assert ledger.settle(first, 150_000).spent == 150_000
    assert ledger.release(second).spent == 150_000
    state = ledger.settle(hold(ledger, rolling, 50_000), 50_000)
    assert (state.spent, state.held, state.calls, state.overshoot) == (200_000, 0, 2, 50_000)
    assert ledger.state(rolling) == ledger.accounts()[0] == state
    assert [(slot.spent, slot.calls) for slot in ledger.history()] == [(150_000, 1), (50_000, 1)]
    assert [slot.window.end - slot.window.start for slot in ledger.history()] == [1440, 1440]
    clock.advance(10 * DAY)
    assert [(state.spent, state.available) for state in ledger.accounts()] == [(0, LIMIT)]


def test_a_rolling_period_survives_a_clock_going_backwards_and_a_lowered_limit(
    ledger, rolling, clock
):
    ledger.settle(hold(ledger, rolling, 900_000), 900_000)
    clock.advance(-3 * 3600)
    assert ledger.state(rolling).spent == 900_000
    lowered = rolling.model_copy(update={"limit": rolling.limit / 2})
    assert (ledger.state(lowered).limit, ledger.state(lowered).available) == (LIMIT // 2, 0)
    with pytest.raises(BudgetExceeded) as caught:
        hold(ledger, lowered, 1)
    assert caught.value.limit == LIMIT // 2


def test_a_hold_counts_while_it_is_open_even_beyond_a_rolling_hour(ledger, clock):
    ledger.ttl = 3 * 3600
    budget = Budget(limit="0.001", period="hour", rolling=True)
    held = hold(ledger, budget, 900_000)
    clock.advance(2 * 3600)
    assert ledger.state(budget).held == 900_000
    assert ledger.settle(held, 800_000).spent == 0  # it was held two hours ago
    held = hold(ledger, budget, 600_000)
    clock.advance(3 * 3600)
    assert (ledger.state(budget).spent, ledger.state(budget).held) == (0, 0)
    assert ledger.history()[-1].spent == 600_000  # where it was held
    ledger.settle(held, 100_000)
    assert ledger.history()[-1].spent == 100_000


def test_accounts_that_roll_and_accounts_that_do_not_nest(ledger, clock):
    clock.now = clock.now // DAY * DAY
    team = Budget(account="team", limit="0.001", period="day", rolling=True)
    ann = Budget(account="ann", limit="0.0006", period="day", within=team)
    clock.advance(DAY - 3600)
    ledger.settle(hold(ledger, ann, 600_000), 600_000)
    clock.advance(7200)  # another day for Ann, the same 24 hours for the team
    with pytest.raises(BudgetExceeded, match="account 'team'.*enough is available at"):
        hold(ledger, ann, 500_000)
    assert ledger.state(ann).held == 0
    ledger.settle(hold(ledger, ann, 400_000), 400_000)
    assert [(state.account, state.spent) for state in ledger.accounts()] == [
        ("ann", 400_000),
        ("team", LIMIT),
    ]
    with pytest.raises(BudgetExceeded, match="account 'team'"):
        hold(ledger, ann, 1)


def test_what_a_rolling_period_had_left_is_not_carried_over_when_it_stops_rolling(
    ledger, rolling, clock
):
    ledger.settle(hold(ledger, rolling, 300_000), 300_000)
    clock.advance(DAY)
    carrying = rolling.model_copy(update={"rolling": False, "carry_over": True})
    assert ledger.state(carrying).limit == LIMIT
    ledger.release(hold(ledger, carrying, 1))
    assert ledger.accounts()[0].window == carrying.window(clock())
    assert ledger.accounts()[0].limit == LIMIT


@pytest.mark.parametrize("store", ["sqlite", "redis"])
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["hour", "day", "month"]),
    st.lists(
        st.tuples(st.sampled_from("rrsxa"), st.integers(1, 10), st.sampled_from([1, 59, 60, 119])),
        max_size=40,
    ),
)
def test_no_interval_of_a_rolling_period_ever_holds_or_spends_more_than_the_limit(
    request, store, period, steps
):
    clock = ManualClock()
    budget = Budget(account=uuid4().hex, limit="0.001", period=period, rolling=True)
    ledger = open_store(request, store, clock)
    span = ROLLING_SPAN_S[period]
    amounts = {}  # by reservation: when it was held, and what it may still cost or did cost
    holds = []
    for step, tenths, wait in steps:
        amount = tenths * LIMIT // 10
        if step == "r":
            with suppress(BudgetExceeded):
                held = ledger.reserve(budget, minimum=amount, maximum=amount)
                holds.append(held)
                amounts[held.id] = (clock(), amount)
        elif step == "a":
            clock.advance(wait * span / 120)
        elif holds:
            held = holds.pop(0)
            held_at, _ = amounts[held.id]
            cost = min(amount, held.amount) if step == "s" else 0
            try:
                _ = ledger.settle(held, cost) if step == "s" else ledger.release(held)
                amounts[held.id] = (held_at, cost)
            except LedgerError:  # too late: what was booked when it expired stays
                assert clock() > held_at + RETENTION_S
        recent = sum(amount for held_at, amount in amounts.values() if held_at > clock() - span)
        state = ledger.state(budget)
        assert recent <= state.spent + state.held <= LIMIT


def test_slots_are_forgotten_after_five_weeks_the_limit_holds_and_periods_that_stand_still_stay(
    ledger, clock
):
    width = ROLLING_SPAN_S["month"] / SLOTS_PER_PERIOD
    clock.now = clock.now // DAY * DAY
    month = Budget(account="team", limit="0.00061", period="month", rolling=True)  # 61 calls
    day = Budget(account="ann", period="day", within=month)
    for _ in range(400):
        ledger.settle(hold(ledger, day, 10_000), 10_000)
        clock.advance(width)
    clock.advance(-width)
    slots = ledger.history("team")
    assert slots[0].window.start == clock() - RETENTION_S
    assert [slot.spent for slot in slots] == [10_000] * 71
    assert len(ledger.history("ann")) == 200
    assert ledger.state(month).spent == 610_000
    with pytest.raises(BudgetExceeded, match="account 'team'"):
        hold(ledger, day, 1)


def test_a_slot_stays_while_it_holds_money_and_while_it_is_the_last_of_its_period(
    ledger, rolling, clock
):
    ledger.ttl = 2 * RETENTION_S
    open_for_long = hold(ledger, rolling, 500)
    clock.advance(DAY)
    ledger.settle(hold(ledger, rolling, 100), 100)
    clock.advance(DAY)
    ledger.settle(hold(ledger, rolling, 200), 200)
    clock.advance(RETENTION_S + DAY)
    standing = rolling.model_copy(update={"rolling": False})
    ledger.settle(hold(ledger, standing, 300), 300)
    assert [(state.spent, state.held) for state in ledger.history()] == [
        (0, 500),
        (200, 0),
        (300, 0),
    ]
    assert ledger.settle(open_for_long, 400).window.span == DAY
    assert [(state.spent, state.held) for state in ledger.history()][1:] == [(200, 0), (300, 0)]


def test_a_settle_that_comes_after_its_slot_is_forgotten_still_corrects_the_accounts_it_is_within(
    ledger, rolling, clock
):
    ledger.ttl = 2 * DAY
    clock.now = clock.now // DAY * DAY
    team = Budget(account="team", limit="1", period="month")
    budget = rolling.model_copy(update={"within": team})
    late = hold(ledger, budget, 100)
    clock.advance(3 * DAY)
    assert ledger.state(budget).spent == 0
    clock.advance(33 * DAY)
    ledger.settle(hold(ledger, budget, 1), 1)
    assert ledger.settle(late, 70).spent == 1
    assert [state.spent for state in ledger.history("team")] == [70, 1]

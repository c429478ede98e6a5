"""λ follows the budget: money lasts, is used, and nobody needs to know the traffic."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from routoo_core import Budget, Expert, Pool, RoutedRequest, Usage
from routoo_core.budget.account import AccountState
from routoo_core.budget.outlook import Standing, learn_profile, learning_ends, outlook
from routoo_core.budget.pacing import LAMBDAS, RECENT_CALLS, Paced, Traffic, served_by_lambda
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.candidates import Candidate
from routoo_core.config import build_router
from routoo_core.errors import BudgetExceeded
from routoo_core.selector import Best, Lagrangian, PolicyContext
from routoo_core.testing import FakePredictor, ManualClock

DAY = 86_400


def context(candidates, *budgets):
    """What a policy looks at: these candidates, paid by accounts that have spent nothing."""
    standings = [Standing(budget, at(budget, 0.0)) for budget in budgets]
    return PolicyContext(tuple(candidates), lambda: standings)


def at(budget, now, calls=0, spent=0):
    return AccountState(budget.account, budget.window(now), now, budget.limit_nano, spent, 0, calls)


def test_a_run_is_shared_evenly_among_the_calls_still_expected():
    budget = Budget(limit="1.00", period="run", expected_calls=10)
    ahead = outlook(budget, at(budget, 0.0, calls=6, spent=200_000_000))
    assert (ahead.calls, ahead.allowance) == (4, pytest.approx(0.2))


def test_when_more_calls_come_than_expected_spending_slows_instead_of_stopping():
    budget = Budget(limit="1.00", period="run", expected_calls=10)
    ahead = outlook(budget, at(budget, 0.0, calls=40, spent=600_000_000))
    assert ahead.allowance == pytest.approx(0.1)


def test_the_traffic_seen_replaces_the_traffic_expected():
    budget = Budget(limit="1.00", period="day", expected_calls=100)
    start = 1_700_006_400 // DAY * DAY
    assert outlook(budget, at(budget, start)).calls == pytest.approx(100)
    busy = outlook(budget, at(budget, start + DAY / 2, calls=5000))
    assert busy.calls == pytest.approx(5000, rel=0.05)


def usual(profile, begin, end):
    """Calls a profile expects between two moments."""
    return float(np.diff(profile.until(np.array([begin, end], dtype=float)))[0])


def evenly(start, days, calls):
    """Arrivals of so many calls a day."""
    return [(start + day * DAY + hour * 3600, calls // 24) for day in days for hour in range(24)]


def test_earlier_periods_say_how_many_calls_are_still_to_come():
    budget = Budget(limit="1.00", period="day", expected_calls=100)
    start = 1_700_006_400 // DAY * DAY
    arrivals = evenly(start, [-2], 960) + evenly(start, [-1], 1440)
    profile = learn_profile(arrivals, budget, start)
    assert usual(profile, start, start + DAY) == pytest.approx(1200)
    assert usual(learn_profile(arrivals, budget, start - DAY), start, start + DAY) == pytest.approx(
        960
    )
    assert (
        learn_profile([], budget, start) is learn_profile(arrivals, budget, start - 2 * DAY) is None
    )
    assert learn_profile(arrivals, Budget(limit="1", period="run"), start) is None
    quiet = at(budget, start + DAY / 2, calls=200)
    assert outlook(budget, quiet).calls == pytest.approx(200, rel=0.05)
    assert (
        750 < outlook(budget, quiet, profile).calls < 1000
    )  # of the 400 that have not come, most are late
    busy = at(budget, start + DAY / 2, calls=3000)
    assert outlook(budget, busy, profile).calls == pytest.approx(3000, rel=0.05)


def test_a_day_is_learnt_by_the_hour_of_its_time_zone_and_the_last_seven_days_count():
    budget = Budget(limit="1.00", period="day", timezone="Asia/Tokyo")
    start = learning_ends(budget, 1_700_006_400)
    old = [(start - 8 * DAY + hour * 3600, 10**6) for hour in range(24)]
    mornings = [(start - day * DAY + 9 * 3600, 240) for day in range(1, 8)]
    profile = learn_profile(old + mornings, budget, start)
    assert usual(profile, start + 9 * 3600, start + 10 * 3600) == pytest.approx(0.9 * 240 + 1)
    assert usual(profile, start, start + 9 * 3600) == pytest.approx(9)  # a tenth is spread evenly
    assert usual(profile, start - DAY / 2, start + DAY / 2) == pytest.approx(240)
    night = at(budget, start + 3 * 3600, calls=3)
    assert outlook(budget, night, profile).calls == pytest.approx(237, rel=0.02)
    evening = at(budget, start + 20 * 3600, calls=236)
    assert outlook(budget, evening, profile).calls == pytest.approx(4, rel=0.1)


def test_a_month_is_learnt_by_the_hour_of_the_week_once_it_has_seen_two():
    budget, monday = Budget(limit="1.00", period="month"), 1_699_833_600
    weekdays = [day for day in range(-35, 0) if day % 7 < 5]
    profile = learn_profile(evenly(monday, weekdays, 240), budget, monday)
    assert usual(profile, monday, monday + 5 * DAY) == pytest.approx(5 * 240, rel=0.05)
    assert usual(profile, monday + 5 * DAY, monday + 7 * DAY) == pytest.approx(
        2 * 0.1 * 240 * 5 / 7
    )
    young = learn_profile(evenly(monday, weekdays[-5:], 240), budget, monday)
    assert usual(young, monday + 5 * DAY, monday + 6 * DAY) == pytest.approx(240 * 5 / 7)


def test_an_hour_is_learnt_from_the_last_seven():
    budget, start = Budget(limit="1.00", period="hour"), 1_700_006_400
    arrivals = [(start - hour * 3600, 100) for hour in range(1, 4)] + [(start, 7)]
    assert learning_ends(budget, start + 100) == start
    assert usual(learn_profile(arrivals, budget, start), start, start + 3600) == pytest.approx(100)


def test_a_router_learns_from_its_ledger_what_is_usual_and_asks_it_once_a_day(endpoint):
    class Asked(SqliteLedger):
        asked = 0

        def arrivals(self, account):
            self.asked += 1
            return super().arrivals(account)

    clock = ManualClock(1_700_006_400 // DAY * DAY)
    pool, ledger = Pool([endpoint.expert("cheap")]), Asked(clock=clock)
    budget = Budget(limit="1", period="day", expected_calls=7)
    router = build_router(
        pool, router=FakePredictor({"cheap": 0.4}), policy="paced", budget=budget, ledger=ledger
    )
    for calls in (30, 50, 1):
        for _ in range(calls):
            for attempt in router.attempts(RoutedRequest.from_text("hello", max_tokens=8)):
                with attempt:
                    attempt.settle(Usage(5, 5))
        clock.advance(DAY)
    assert ledger.asked == 3
    assert usual(router._standings.of(budget).usual, clock(), clock() + DAY) == pytest.approx(27)
    clock.advance(-DAY)
    assert usual(router._standings.of(budget).usual, clock(), clock() + DAY) == pytest.approx(40)


@pytest.mark.parametrize("rolling", [False, True])
def test_traffic_of_office_hours_is_paced_well_from_its_second_day(endpoint, rolling):
    midnight, random = 1_700_006_400 // DAY * DAY, np.random.default_rng(1)
    days = [np.sort(midnight + day * DAY + 3600 * random.uniform(9, 18, 300)) for day in range(3)]
    budget = Budget(limit="0.3", period="day", rolling=rolling, expected_calls=1000)

    def before(ledger):
        for now in np.concatenate(days[:2]):
            ledger.clock.now = now
            ledger.settle(ledger.reserve(budget, minimum=0, maximum=0), 0)

    night = midnight + 2 * DAY + 3600 * np.array([3.0, 3.1])
    served = stream(endpoint, np.concatenate([night, days[2]]), budget, before)
    assert all(expert for *_, expert in served)
    at_night, *thirds = (
        sum(usd for at, usd, _ in served if begin <= (at - midnight - 2 * DAY) / 3600 < end)
        for begin, end in ((0, 9), (9, 12), (12, 15), (15, 18))
    )
    assert at_night < 0.01
    assert all(0.07 <= usd <= 0.13 for usd in thirds)
    assert 0.9 * 0.3 <= at_night + sum(thirds) <= 0.3


def test_at_the_periods_end_what_is_left_may_be_spent():
    budget = Budget(limit="1.00", period="day", expected_calls=100)
    start = 1_700_006_400 // DAY * DAY
    assert outlook(budget, at(budget, start + DAY - 1, calls=90)).calls == 1


@given(
    arrays(np.float64, (6, 4), elements=st.floats(0, 1)),
    arrays(np.float64, (6, 4), elements=st.floats(1e-6, 1)),
)
def test_a_higher_price_never_spends_more(quality, cost):
    quality = quality.round(3)  # a difference that λ of next to nothing does not outweigh
    spending, _ = served_by_lambda(quality, cost)
    assert (np.diff(spending) <= 1e-12).all()
    is_best = quality >= quality.max(axis=1, keepdims=True)
    cost_of_best = np.where(is_best, cost, np.inf).min(axis=1)  # of the cheapest of equals
    cheapest = (quality - LAMBDAS[-1] * cost).argmax(1)
    assert spending[0] == pytest.approx(cost_of_best.sum(), rel=1e-6)
    assert spending[-1] == pytest.approx(cost[np.arange(6), cheapest].sum())


@given(
    arrays(np.float64, 5, elements=st.floats(0, 1)),
    arrays(np.float64, 5, elements=st.floats(1e-6, 1)),
)
def test_ample_money_takes_the_cheapest_of_those_that_are_as_good_as_the_best(quality, cost):
    quality = quality.round(3)
    tied = quality >= quality.max() - 0.01
    for rule in (Best(), Lagrangian(1e-9, tie=0.01)):
        chosen = int(np.argmax(rule(quality, cost) - 1e-9 * cost))
        assert tied[chosen]
        assert cost[chosen] == cost[tied].min()


def run(endpoint, calls, limit, seed=0, expected=None, sort=False):
    """Serve ``calls`` prompts whose gain from the dear expert varies; returns spend and mean true quality."""
    random = np.random.default_rng(seed)
    gains = random.random(calls) * 0.5
    gains = np.sort(gains) if sort else gains
    predictor = FakePredictor({"cheap": 0.4, "dear": lambda text: 0.4 + float(text.split()[-1])})
    pool = Pool(
        [
            endpoint.expert("cheap", expected_output_tokens=100),
            endpoint.expert(
                "dear", input_usd_per_1m=20, output_usd_per_1m=20, expected_output_tokens=100
            ),
        ]
    )
    budget = Budget(limit=limit, period="run", expected_calls=expected or calls)
    router = build_router(
        pool,
        router=predictor,
        policy="paced",
        budget=budget,
        ledger=SqliteLedger(clock=ManualClock()),
    )
    chosen = []
    for gain in gains:
        request = RoutedRequest.from_text(f"a question whose gain is {gain}", max_tokens=100)
        try:
            for attempt in router.attempts(request):
                with attempt:
                    attempt.settle(Usage(request.prompt_tokens, 100))
            chosen.append(attempt.expert.name == "dear")
        except BudgetExceeded:
            chosen.append(None)
    return gains, chosen, router.ledger.state(budget)


def test_a_paced_budget_is_used_on_the_prompts_that_gain_most(endpoint):
    gains, chosen, state = run(endpoint, calls=300, limit="0.25")
    dear = np.array([c is True for c in chosen])
    assert None not in chosen
    assert 0.9 * state.limit <= state.spent <= state.limit
    best = np.sort(gains)[-dear.sum() :].sum()
    assert gains[dear].sum() >= 0.95 * best


def test_a_budget_that_is_ample_buys_the_best_and_one_that_is_short_the_cheapest(endpoint):
    gains, dear, _ = run(endpoint, calls=40, limit="1.0")
    assert dear == (gains > 0.01).tolist()  # where it gains less, both count as equally good
    assert not any(c is True for c in run(endpoint, calls=40, limit="0.006")[1])


def test_when_traffic_doubles_nobody_is_left_without_an_answer_at_once(endpoint):
    _, chosen, state = run(endpoint, calls=200, limit="0.1", expected=100)
    assert chosen[:110].count(None) == 0
    assert state.spent <= state.limit


def stream(endpoint, times, budget, before=lambda ledger: None):
    """Serve a call at each of ``times``, whose gain varies; returns (time, USD booked, which expert) of each."""
    random, clock = np.random.default_rng(0), ManualClock(times[0])
    pool = Pool(
        [
            endpoint.expert("cheap", expected_output_tokens=100),
            endpoint.expert(
                "dear", input_usd_per_1m=20, output_usd_per_1m=20, expected_output_tokens=100
            ),
        ]
    )
    predictor = FakePredictor({"cheap": 0.4, "dear": lambda text: 0.4 + float(text.split()[-1])})
    ledger = SqliteLedger(clock=clock)
    before(ledger)
    router = build_router(pool, router=predictor, policy="paced", budget=budget, ledger=ledger)
    served = []
    for now in times:
        clock.now = now
        request = RoutedRequest.from_text(
            f"a question whose gain is {random.random() * 0.5}", max_tokens=100
        )
        try:
            for attempt in router.attempts(request):
                with attempt:
                    attempt.settle(Usage(request.prompt_tokens, 100))
            served.append(
                (now, float(attempt.record().to_dict()["settled_usd"]), attempt.expert.name)
            )
        except BudgetExceeded:
            served.append((now, 0.0, None))
    return served


@pytest.mark.slow
@pytest.mark.parametrize("expected", [100, 400, 1600])
def test_a_steady_stream_spends_a_rolling_limit_steadily(endpoint, expected):
    start = 1_700_006_400
    budget = Budget(limit="0.3", period="hour", rolling=True, expected_calls=expected)
    served = stream(endpoint, start + np.arange(1600) * 9.0, budget)
    spent = [
        sum(usd for at, usd, _ in served if start + k * 900 <= at < start + (k + 1) * 900)
        for k in range(16)
    ]
    assert all(expert for *_, expert in served)
    assert all(0.6 <= usd / 0.075 <= 1.2 for usd in spent)
    assert sum(spent[4:]) >= 0.9 * 12 * 0.075


def test_after_a_burst_a_rolling_limit_is_stretched_until_money_frees_itself():
    budget, now = Budget(limit="1", period="hour", rolling=True), 1_700_006_400
    early, late = (
        (now + 600.0, 500_000_000),
        (now + 3000.0, 400_000_000),
    )  # spent 50 and 10 minutes ago
    frees = ((now + 60.0, 0), early, late, (now + 3600.0, 0))
    state = replace(at(budget, now, calls=600, spent=900_000_000), refills=frees)
    burst = replace(
        state, refills=((now + 60.0, 0), (now + 3000.0, 900_000_000), (now + 3600.0, 0))
    )
    rate = (
        outlook(budget, state).calls / 600
    )  # a second; the first ten minutes bind: 0.1 USD, then 0.5 more
    assert outlook(budget, state).allowance == pytest.approx(0.1 / (rate * 600), rel=0.01)
    assert outlook(budget, burst).allowance == pytest.approx(
        0.1 / outlook(budget, burst).calls, rel=0.1
    )
    assert outlook(budget, burst).allowance < outlook(budget, state).allowance
    calm = replace(state, spent=0, refills=((now + 60.0, 0), (now + 3600.0, 0)))
    assert outlook(budget, calm).allowance == pytest.approx(
        1 / outlook(budget, calm).calls
    )  # not at once


def test_a_reference_stands_in_until_traffic_is_seen():
    """The first call already knows what typical prompts are like."""

    def candidate(name, quality, cost):
        return Candidate(
            Expert(name=name, model=name, input_usd_per_1m=1, output_usd_per_1m=1),
            quality,
            cost,
            cost,
        )

    reference = np.column_stack([np.full(100, 0.4), np.linspace(0.4, 0.9, 100)]).astype(np.float32)
    budget = Budget(limit="0.010", period="run", expected_calls=100)
    paced = Paced(reference, ("cheap", "dear"))
    weak, strong = (
        [candidate("cheap", 0.4, 10_000), candidate("dear", q, 1_000_000)] for q in (0.5, 0.9)
    )
    price = paced.rule(context(weak, budget)).lambda_
    assert 0.1 / 990e-6 < price < 0.5 / 990e-6
    assert paced.rule(context(strong, budget)).lambda_ == pytest.approx(price, rel=0.1)


def test_calls_with_other_candidates_are_paced_by_one_price():
    """Every second call is offered a plan as well; what it costs is money that the others cannot have."""
    names = ("cheap", "dear", "plan")
    costs = {"cheap": 10_000, "dear": 1_000_000, "plan": 3_000_000}
    rng = np.random.default_rng(0)
    reference = np.column_stack(
        [np.full(300, 0.4), rng.uniform(0.4, 0.8, 300), rng.uniform(0.5, 1.0, 300)]
    ).astype(np.float32)
    budget = Budget(limit="1", period="run", expected_calls=1000)
    paced = Paced(reference, names)

    def call(offered):
        row = reference[rng.integers(300)]
        candidates = []
        for name, quality in zip(offered, row, strict=False):
            expert = Expert(name=name, model=name, input_usd_per_1m=1, output_usd_per_1m=1)
            candidates.append(Candidate(expert, float(quality), costs[name], costs[name]))
        return context(candidates, budget)

    for number in range(400):
        paced.observe(call(names[: 2 + number % 2]))
    prices = [paced.rule(call(offered)).lambda_ for offered in (names[:2], names)]
    assert prices[0] == pytest.approx(prices[1], rel=0.05)
    assert prices[0] > 0


def test_candidates_that_no_recent_call_had_are_forgotten():
    asked = []

    def typical_quality(names):
        asked.append(names)
        return np.full((1, len(names)), 0.5, np.float32)

    traffic = Traffic(typical_quality)
    call_values = np.zeros((2, len(LAMBDAS)))
    traffic.add(("old",), call_values, np.ones(1))
    for _ in range(RECENT_CALLS - 1):
        traffic.add(("new",), call_values, np.ones(1))
    traffic.means_with(("old",), call_values, np.ones(1))
    assert asked == [("old",), ("new",)]
    traffic.add(("new",), call_values, np.ones(1))
    traffic.add(("old",), call_values, np.ones(1))
    assert asked == [("old",), ("new",), ("old",)]


def test_the_account_that_can_afford_least_sets_the_price():
    from routoo_core import Expert
    from routoo_core.candidates import Candidate

    experts = [
        Expert(name=n, model=n, input_usd_per_1m=1, output_usd_per_1m=1) for n in ("cheap", "dear")
    ]
    reference = np.column_stack([np.full(100, 0.4), np.linspace(0.4, 0.9, 100)]).astype(np.float32)
    team = Budget(account="team", limit="0.010", period="run", expected_calls=100)
    ample = Budget(account="ann", limit="1", period="run", expected_calls=100, within=team)
    unlimited = Budget(account="bob", within=team)
    call = [
        Candidate(experts[0], 0.4, 10_000, 10_000),
        Candidate(experts[1], 0.6, 1_000_000, 1_000_000),
    ]

    def price(*budgets):
        return Paced(reference, ("cheap", "dear")).rule(context(call, *budgets)).lambda_

    assert price(ample) == 0
    assert price(*ample.chain) == price(*unlimited.chain) == price(team) > 0

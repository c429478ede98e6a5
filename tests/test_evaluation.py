"""Figures read off a quality–cost curve, and metrics of predictions, against cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from routoo_core.evaluation.plots import Point, plot_curve
from routoo_core.measures.curve import ALPHAS, LAMBDAS, Curve, serve, sweep
from routoo_core.measures.figures import (
    Baseline,
    bootstrap_weights,
    curve_metrics,
    measure_baseline,
    pool_figures,
)
from routoo_core.measures.metrics import auc, expected_calibration_error
from routoo_core.measures.simple_routers import blind_routers
from routoo_core.price_list import read_price_list


def test_the_hull_mixes_policies_and_drops_what_is_dominated():
    curve = Curve(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.2, 0.3, 0.8, 0.7]))
    assert curve.at(2.0) == pytest.approx(0.5)  # halfway between (1, .2) and (3, .8)
    assert curve.at(9.0) == pytest.approx(0.8)


def test_area_half_and_match_of_a_straight_line():
    curve = Curve(np.array([1.0, 5.0]), np.array([0.4, 0.8]))
    found = curve_metrics(
        curve,
        Baseline(
            best_quality=0.6,
            best_cost=4.0,
            cheapest_cost=1.0,
            cheapest_quality=0.4,
            dearest_cost=4.0,
        ),
    )
    assert found.area == pytest.approx(0.4 + 0.1 * 1.5, abs=1e-6)
    assert found.half == pytest.approx(0.5 / 0.6)
    assert found.match == pytest.approx(3.0 / 4.0)
    assert found.apgr == pytest.approx(0.15 / 0.2, abs=1e-5)
    assert found.cpt50 == pytest.approx(
        1 / 3
    )  # 0.5 is bought at 2.0, a third of the way from 1.0 to 4.0


def test_routellms_figures_of_mixing_two_experts_at_random_are_one_half():
    line = Curve(np.array([1.0, 11.0]), np.array([0.4, 0.8]))
    found = curve_metrics(
        line,
        Baseline(
            best_quality=0.8,
            best_cost=11.0,
            cheapest_cost=1.0,
            cheapest_quality=0.4,
            dearest_cost=11.0,
        ),
    )
    assert (found.apgr, found.cpt50) == (pytest.approx(0.5, abs=1e-6), pytest.approx(0.5))
    flat = curve_metrics(
        line,
        Baseline(
            best_quality=0.4,
            best_cost=1.0,
            cheapest_cost=1.0,
            cheapest_quality=0.4,
            dearest_cost=11.0,
        ),
    )
    assert np.isnan(flat.apgr)
    assert np.isnan(flat.cpt50)


def test_a_quality_never_reached_has_no_cost():
    assert Curve(np.array([1.0]), np.array([0.4])).cost_of(0.5) == float("inf")


scores = arrays(np.float64, (15, 3), elements=st.sampled_from([0.0, 1.0]))
predicted = arrays(np.float64, (15, 3), elements=st.floats(0, 1))


@settings(deadline=None)
@given(predicted, scores)
def test_no_router_beats_the_oracle_nor_costs_less_than_the_cheapest(quality, observed):
    cost = np.array([1.0, 2.0, 10.0])
    curve = serve(quality, observed, cost, sweep(cost)).curve()
    oracle = serve(observed, observed, cost, sweep(cost)).curve()
    grid = np.linspace(1.0, 10.0, 30)
    assert (oracle.at(grid) >= curve.at(grid) - 1e-9).all()
    assert curve.cost.min() >= 1.0
    costs, qualities = curve.vertices()
    assert (np.diff(costs) > 0).all()
    assert (np.diff(qualities) > 0).all()


@settings(deadline=None)
@given(
    arrays(np.float64, 20, elements=st.sampled_from([0.1, 0.4, 0.4, 0.8])),
    arrays(np.float64, 20, elements=st.sampled_from([0.0, 1.0])),
)
def test_auc_is_the_share_of_pairs_ranked_right_with_ties_half(quality, observed):
    wins, losses = quality[observed == 1], quality[observed == 0]
    if not len(wins) or not len(losses):
        assert np.isnan(auc(quality, observed))
        return
    pairs = (wins[:, None] > losses).mean() + (wins[:, None] == losses).mean() / 2
    assert auc(quality, observed) == pytest.approx(pairs)


def test_calibration_error_is_zero_for_honest_and_large_for_boastful_predictions():
    random = np.random.default_rng(0)
    quality = random.random(20_000)
    observed = (random.random(20_000) < quality).astype(float)
    assert expected_calibration_error(quality, observed) < 0.02
    assert expected_calibration_error(np.ones(100), np.zeros(100)) == 1


def test_prices_are_averaged_over_input_and_output_and_bad_rows_named(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("model,input_usd_per_1m,output_usd_per_1m,pool\na,1,3,open\nb,5,15,mix\n")
    assert read_price_list(path).per_million() == {"a": 2, "b": 10}
    assert read_price_list(path, pools=["open"]).per_million() == {"a": 2}
    path.write_text("model,input_usd_per_1m,output_usd_per_1m\na,cheap,3\n")
    with pytest.raises(ValueError, match="row 1: could not convert string to float"):
        read_price_list(path)


def test_the_curve_is_drawn_to_a_png(tmp_path):
    curve = Curve(np.array([1e-4, 1e-3]), np.array([0.4, 0.8]))
    picture = tmp_path / "deep" / "curve.png"
    plot_curve(
        picture, curve, {"a": (1e-4, 0.4), "b": (1e-3, 0.7)}, Point("here", 5e-4, 0.6), "title"
    )
    assert picture.read_bytes().startswith(b"\x89PNG")


def defined(points, cost):
    """The best mix of two points, or one alone, whose mean cost is at most ``cost``: what a hull is."""
    return max(
        [q for c, q in points if c <= cost]
        + [
            q + (cost - c) / (d - c) * (r - q)
            for c, q in points
            for d, r in points
            if c <= cost < d
        ],
        default=0.0,
    )


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(2, 40), st.integers(0, 20)), max_size=6),
    st.integers(0, 10),
    st.integers(10, 20),
    st.integers(2, 40),
)
def test_curve_area_apgr_and_cpt_are_what_their_definitions_say(others, least, most, dearest):
    """Computed again from the definitions: mixes of two points, and exact integrals between their costs."""
    points = [
        (1.0, least / 20),
        (float(dearest), most / 20),
        *((float(c), q / 20) for c, q in others),
    ]
    curve = Curve(*np.array(points).T)
    anchor = Baseline(most / 20, float(dearest), 1.0, least / 20, dearest_cost=50.0)
    found = curve_metrics(curve, anchor)
    corners = sorted({1.0, float(dearest), *(c for c, _ in points if c < dearest)})
    values = [defined(points, c) for c in corners]
    area = sum(
        (b - a) * (u + v) / 2
        for a, b, u, v in zip(corners, corners[1:], values, values[1:], strict=False)
    )
    area /= dearest - 1
    assert found.area == pytest.approx(area, abs=1e-6)
    for cost in np.linspace(1, dearest, 7):
        assert curve.at(cost) == pytest.approx(defined(points, cost), abs=1e-6)
    if most > least:
        assert found.apgr == pytest.approx((area - least / 20) / ((most - least) / 20), abs=1e-6)
        halfway, low, high = (least + most) / 40, 1.0, float(dearest)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if defined(points, middle) >= halfway else (middle, high)
        reached = 1.0 if defined(points, 1.0) >= halfway else high
        assert found.cpt50 == pytest.approx((reached - 1) / (dearest - 1), abs=1e-6)


def served_by_hand(quality, observed, cost):
    """(cost, score) of each rule, prompt by prompt: s - λc with λ in units of 1 / dearest, and s / c^α."""
    wishes = [lambda s, c, price=price: s - price / max(cost) * c for price in LAMBDAS]
    wishes += [lambda s, c, alpha=alpha: s / c**alpha for alpha in ALPHAS]
    points = []
    for wish in wishes:
        chosen = [
            max(range(len(cost)), key=lambda k, row=row: wish(row[k], cost[k])) for row in quality
        ]
        scored = [row[k] for row, k in zip(observed, chosen, strict=True)]
        points.append((sum(cost[k] for k in chosen) / len(chosen), sum(scored) / len(scored)))
    return points


@settings(max_examples=25, deadline=None)
@given(
    arrays(np.float64, (6, 3), elements=st.sampled_from([0.05, 0.3, 0.35, 0.6, 0.9])),
    arrays(np.float64, (6, 3), elements=st.sampled_from([0.0, 0.5, 1.0])),
)
def test_figures_of_a_router_are_those_of_its_calls_counted_one_by_one(quality, observed):
    cost = [1.0, 3.0, 8.0]
    points = served_by_hand(quality.tolist(), observed.tolist(), cost)
    found = curve_metrics(
        serve(quality, observed, np.array(cost), sweep(np.array(cost))).curve(),
        measure_baseline(observed, np.array(cost)),
    )
    means = observed.mean(axis=0)
    best = max(range(3), key=lambda k: (means[k], -cost[k]))
    corners = sorted({1.0, cost[best], *(c for c, _ in points if c < cost[best])})
    values = [defined(points, c) for c in corners]
    area = sum(
        (b - a) * (u + v) / 2
        for a, b, u, v in zip(corners, corners[1:], values, values[1:], strict=False)
    )
    area = area / (cost[best] - 1) if best else values[0]
    assert found.area == pytest.approx(area, abs=1e-6)
    assert found.gain == pytest.approx(defined(points, cost[best]) - means[best], abs=1e-6)
    if means[best] > means[0]:
        assert found.apgr == pytest.approx((area - means[0]) / (means[best] - means[0]), abs=1e-6)


def test_blind_routers_are_a_line_and_a_hull():
    observed = np.array(
        [[0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 1, 0]], dtype=float
    )  # means 1/4, 3/4, 3/4
    cost = np.array([1.0, 2.0, 5.0])
    found = pool_figures(
        "abc", blind_routers(observed, cost), observed, cost, bootstrap_weights(4)
    ).routers
    assert (
        found["random mix"].metrics.area == found["zero router"].metrics.area == pytest.approx(0.5)
    )  # 2 is the best: as good as 5
    dearer = np.array([1.0, 2.0, 1.5])
    found = pool_figures(
        "abc", blind_routers(observed, dearer), observed, dearer, bootstrap_weights(4)
    ).routers
    assert found["zero router"].metrics.aiq == pytest.approx((0.5 * 0.5 + 0.75 * 0.5) / 1)


def test_where_the_best_expert_is_the_cheapest_there_is_no_gap_to_recover():
    observed, cost = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 2.0])
    found = curve_metrics(
        serve(observed, observed, cost, sweep(cost)).curve(), measure_baseline(observed, cost)
    )
    assert (found.area, found.match) == (1.0, 1.0)
    assert np.isnan([found.apgr, found.cpt50, found.cpt80]).all()

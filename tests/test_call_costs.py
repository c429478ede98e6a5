"""What calls cost in an evaluation: as paid, by tokens, or by the paper's averaged prices."""

import numpy as np
import pytest

from routoo_core.errors import OutcomesError
from routoo_core.measures.call_costs import measured_costs, paper_costs
from routoo_core.measures.curve import serve
from routoo_core.outcomes import read_outcomes
from routoo_core.prices import PriceList
from routoo_core.selector import Best, Cheapest
from routoo_core.tokens import count_tokens

PROMPTS = "prompt_id,prompt,split\na,What is two plus two?,dev\nb,Name the capital of France,dev\n"
PRICES = PriceList({"dear": 10.0, "cheap": 1.0}, {"dear": 30.0, "cheap": 2.0})


@pytest.fixture
def read(tmp_path):
    def outcomes(text):
        (tmp_path / "p.csv").write_text(PROMPTS)
        (tmp_path / "o.csv").write_text(text)
        return read_outcomes(tmp_path / "p.csv", tmp_path / "o.csv").select(PRICES.models)

    return outcomes


def prompt_tokens():
    return np.array([count_tokens(line.split(",")[1]) for line in PROMPTS.splitlines()[1:]])


def test_what_was_paid_comes_before_what_tokens_would_cost(read):
    costs = measured_costs(
        read(
            "prompt_id,model,score,completion_tokens,cost_usd\n"
            "a,dear,1,100,0.005\na,cheap,0,50,\nb,dear,1,,\nb,cheap,1,70,0\n"
        ),
        PRICES,
    )
    first, second = prompt_tokens()
    assert costs.unit == "USD per 1,000 calls"
    assert costs.paid[0, 0] == pytest.approx(5.0)
    assert costs.paid[0, 1] == pytest.approx(1000 * (first * 1.0 + 50 * 2.0) / 1e6)
    mean_length = 100  # of the one answer whose length is known
    assert costs.paid[1, 0] == pytest.approx(1000 * (second * 10.0 + mean_length * 30.0) / 1e6)
    assert costs.paid[1, 1] == 0.0
    assert costs.expected == pytest.approx(costs.paid.mean(axis=0))


def test_without_lengths_every_answer_counts_as_a_usual_one(read):
    costs = measured_costs(
        read("prompt_id,model,score\na,dear,1\na,cheap,0\nb,dear,1\nb,cheap,1\n"), PRICES
    )
    first, _ = prompt_tokens()
    assert costs.paid[0, 0] == pytest.approx(1000 * (first * 10.0 + 300 * 30.0) / 1e6)


def test_the_papers_prices_are_averaged_and_the_same_for_every_call(read):
    costs = paper_costs(
        read("prompt_id,model,score,cost_usd\na,dear,1,9\na,cheap,0,9\nb,dear,1,9\nb,cheap,1,9\n"),
        PRICES,
    )
    assert costs.unit == "USD per million tokens"
    assert costs.paid.tolist() == [[20.0, 1.5], [20.0, 1.5]]


def test_a_router_goes_by_what_it_can_expect_and_pays_what_it_costs():
    quality = np.array([[0.9, 0.1], [0.9, 0.1]])
    paid = np.array([[3.0, 9.0], [5.0, 1.0]])
    served = serve(quality, quality, np.array([4.0, 5.0]), [Best(), Cheapest()], paid)
    assert served.choices.tolist() == [[0, 0], [0, 0]]
    assert served.cost.tolist() == [[3.0, 5.0], [3.0, 5.0]]


def test_a_cost_below_nothing_is_refused(read):
    with pytest.raises(OutcomesError, match="row 1: cost_usd -1"):
        read("prompt_id,model,score,cost_usd\na,dear,1,-1\n")

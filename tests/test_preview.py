"""What is said of a call beforehand is what becomes of it."""

from dataclasses import replace

import pytest

from routoo_core import Budget, Pool, RoutedRequest
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import build_router
from routoo_core.errors import BudgetExceeded
from routoo_core.failures import read_failure
from routoo_core.request import Turn
from routoo_core.testing import FakePredictor

QUALITY = {"good": 0.9, "cheap": 0.5}
REQUEST = RoutedRequest("Hello there, who are you?", 10, 40)
REQUESTS = {
    "new": REQUEST,
    "of a conversation": replace(REQUEST, previous=Turn("good", open_tool_call=True, tokens=8)),
}
LIMITS = ("0.00001", "0.001", "0.0013", "0.003", "0.004", "0.03", "0.1", "10", None)


def router_of_two(endpoint, limit, ledger, **account):
    """``good`` usually writes 100 tokens for 0.001 USD, ``cheap`` the same for a twentieth of that."""
    experts = []
    for name, usd in (("good", "10"), ("cheap", "0.5")):
        experts.append(
            endpoint.expert(
                name,
                input_usd_per_1m="0.1",
                output_usd_per_1m=usd,
                expected_output_tokens=100,
                max_output_tokens=4000,
            )
        )
    budget = Budget(limit=limit, period="run", **account)
    return build_router(
        Pool(experts),
        router=FakePredictor(QUALITY),
        policy="best",
        budget=budget,
        ledger=ledger,
    )


class TooManyCalls(Exception):
    status_code = 429


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("cooling", [(), ("good",), ("good", "cheap")])
@pytest.mark.parametrize("kind", REQUESTS)
def test_a_preview_names_whom_the_call_goes_to_and_what_it_holds(endpoint, kind, cooling, limit):
    router = router_of_two(endpoint, limit, SqliteLedger())
    for name in cooling:
        router.cooldowns.note_call(name)
        router.cooldowns.note_failure(name, read_failure(TooManyCalls()))
    request = REQUESTS[kind]

    preview = router.preview(request)
    try:
        attempt = router.attempts(request).start_next()
    except BudgetExceeded:
        assert preview.first is None
        return
    assert preview.first.candidate.expert is attempt.expert
    assert preview.first.hold == router.ledger.state(router.budget).held
    assert preview.first.reply_limit == attempt.reply_limit


@pytest.mark.parametrize("share", [0.001, 0.02, 0.2, 1.0])
def test_a_preview_heeds_the_share_that_an_account_may_hold(endpoint, share):
    team = Budget(account="team", limit="0.05", period="run")
    router = router_of_two(
        endpoint, None, SqliteLedger(), account="ann", within=team, held_share=share
    )
    preview = router.preview(REQUEST)
    try:
        attempt = router.attempts(REQUEST).start_next()
    except BudgetExceeded:
        assert preview.first is None
        return
    assert preview.first.candidate.expert is attempt.expert
    assert preview.first.hold == router.ledger.state(router.budget).held

"""Calls that come from outside: what they may set, whose money they may spend, and what they see of others."""

import pytest
from eight_ways import WAYS, answer, model_for
from langchain_core.caches import InMemoryCache
from ways import record_of

from routoo_core import Budget
from routoo_core.budget.account import Budget as AccountBudget
from routoo_core.errors import ConfigurationError, InvalidRequest
from routoo_integrations.call_settings import routoo_settings
from routoo_integrations.langchain import RoutooChatModel

IN_EVERY_WAY = pytest.mark.parametrize("way", WAYS)
SETTINGS = {
    "account": {"routoo_account": "mallory"},
    "policy": {"routoo_policy": "cheapest"},
    "expert": {"routoo_expert": "cheap"},
    "expert by its model": {"model": "cheap"},
    "max_cost": {"routoo_max_cost": "0.001"},
}


@IN_EVERY_WAY
@pytest.mark.parametrize("kind", SETTINGS)
async def test_a_call_sets_nothing_that_its_router_does_not_allow(endpoint, make_router, way, kind):
    others = {"account", "policy", "expert", "max_cost"} - {kind.split()[0]}
    router = make_router(overrides=others)
    with pytest.raises(InvalidRequest, match="lets a call set"):
        await answer(way, model_for(way, router), "What is 2 + 2?", **SETTINGS[kind])
    assert endpoint.bills == []


@IN_EVERY_WAY
@pytest.mark.parametrize("kind", SETTINGS)
async def test_a_call_sets_what_its_router_allows(make_router, way, kind):
    router = make_router(overrides=[kind.split()[0]])
    _, record = await answer(way, model_for(way, router), "What is 2 + 2?", **SETTINGS[kind])
    assert record["settled_usd"]


def test_a_config_from_outside_is_held_to_what_is_allowed(make_router):
    model = RoutooChatModel(make_router(overrides=()))
    with pytest.raises(InvalidRequest, match="lets a call set nothing"):
        model.invoke("What is 2 + 2?", {"configurable": {"routoo_account": "mallory"}})


@IN_EVERY_WAY
async def test_the_programs_own_block_sets_what_a_call_may_not(make_router, way):
    router = make_router(overrides=())
    with routoo_settings(account="alice"):
        _, record = await answer(way, model_for(way, router), "What is 2 + 2?")
    assert record["account"] == "alice"


@IN_EVERY_WAY
async def test_an_account_of_none_is_the_models_own(make_router, way):
    model = model_for(way, make_router(), account="alice")
    _, record = await answer(way, model, "What is 2 + 2?", routoo_account=None)
    assert record["account"] == "alice"


@IN_EVERY_WAY
async def test_only_accounts_of_the_template_can_pay(make_router, endpoint, way):
    router = make_router()
    router.budget = Budget(limit="0.01", accounts=("tenant-*",))
    model = model_for(way, router)
    _, record = await answer(way, model, "What is 2 + 2?", routoo_account="tenant-7")
    assert record["account"] == "tenant-7"
    bills = len(endpoint.bills)
    with pytest.raises(InvalidRequest, match=r"name one like tenant-\*"):
        await answer(way, model, "What is 2 + 2?", routoo_account="mallory")
    assert len(endpoint.bills) == bills


def test_an_unknown_override_is_refused(make_router):
    with pytest.raises(ConfigurationError, match="overrides: 'limit' is unknown"):
        make_router(overrides={"limit"})


def test_what_is_allowed_is_written_down(make_router):
    router = make_router(overrides={"policy"})
    assert router.parts.overrides == {"policy"}
    budget = AccountBudget(limit="1", accounts=["a-*"])
    assert AccountBudget.read("here", budget.model_dump()).accounts == ("a-*",)


def test_a_cached_reply_shows_nobodys_account(make_router):
    cache = InMemoryCache()
    model = RoutooChatModel(make_router(), cache=cache)
    with routoo_settings(account="alice"):
        model.invoke("What is 2 + 2?")
    with routoo_settings(account="bob"):
        record = record_of(model.invoke("What is 2 + 2?"))
    assert record["cached"]
    shown = [record[name] for name in ("account", "spent_usd", "remaining_usd")]
    assert shown == [None, None, None]

"""A siege: three experts behind a provider that does anything, by threads and by asyncio, on a limit that binds."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from eight_ways import answer, answer_sync, model_for, price_of
from odd_provider import OddProvider, tag_of

from routoo_core import Budget, Pool
from routoo_core.config import build_router
from routoo_core.errors import RoutooError
from routoo_core.testing import FakeEndpoint, FakePredictor

CALLS = 250
AT_ONCE = 8
PRICES = {"cheap": (1, 2), "middle": (3, 9), "dear": (10, 30)}
QUALITIES = {"cheap": 0.4, "middle": 0.7, "dear": 0.9}
LIMIT_USD = "0.5"
TIMEOUT_S = 4.0
"""Longer than a busy machine halts a process: a reply that comes too late is booked as an estimate."""
WAYS = {
    ("langchain", "threads"): ("langchain whole", "langchain streamed"),
    ("langchain", "asyncio"): ("langchain async", "langchain async streamed"),
    ("llama_index", "threads"): ("llama_index whole", "llama_index streamed"),
    ("llama_index", "asyncio"): ("llama_index async", "llama_index async streamed"),
}


class Siege:
    """One router under fire.

    Attributes:
        endpoint: Where all three experts are.
        provider: What it answers.
        router: Over the three; each call pays from an account of its own, all within one limit.
    """

    def __init__(self, endpoint, seed, ledger):
        self.endpoint = endpoint
        self.provider = OddProvider(seed)
        experts = []
        for name, (input_usd, output_usd) in PRICES.items():
            endpoint.replies[name] = self.provider
            expert = endpoint.expert(
                name,
                input_usd_per_1m=input_usd,
                output_usd_per_1m=output_usd,
                cached_usd_per_1m=input_usd / 4,
                max_output_tokens=256,
                context_window=2048,
                timeout_s=TIMEOUT_S,
            )
            experts.append(expert)
        self.company = Budget(account="company", limit=LIMIT_USD)
        self.budget = Budget(account="caller", within=self.company)
        self.router = build_router(
            Pool(experts),
            router=FakePredictor(QUALITIES),
            budget=self.budget,
            ledger=ledger,
            policy="best",
        )

    def prompt(self, tag):
        return f"This is call-{tag}: " + "please say something. " * (tag % 7)

    def account(self, tag):
        return self.budget.for_account(f"account-{tag}")

    def booked(self, tag):
        state = self.router.ledger.state(self.account(tag))
        assert state.held == 0, f"call {tag} left a hold"
        return state.spent

    def bills(self):
        """Tag → the bills of its call."""
        by_tag = {}
        for bill in self.endpoint.bills:
            by_tag.setdefault(tag_of(bill.request), []).append(bill)
        return by_tag

    def price(self, bill):
        return price_of(bill.tokens, self.router.pool[bill.model])


def set_account(framework, tag):
    return {"routoo_account": f"account-{tag}"}


def fire_in_threads(siege, framework):
    ways = WAYS[framework, "threads"]
    models = {way: model_for(way, siege.router) for way in ways}

    def ask(tag):
        way = ways[tag % len(ways)]
        try:
            return answer_sync(way, models[way], siege.prompt(tag), **set_account(framework, tag))
        except Exception as error:  # noqa: BLE001
            return error

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(ask, range(CALLS)))


def fire_in_a_loop(siege, framework):
    ways = WAYS[framework, "asyncio"]

    async def fire():
        models = {way: model_for(way, siege.router) for way in ways}
        gate = asyncio.Semaphore(AT_ONCE)

        async def ask(tag):
            way = ways[tag % len(ways)]
            async with gate:
                try:
                    return await answer(
                        way, models[way], siege.prompt(tag), **set_account(framework, tag)
                    )
                except Exception as error:  # noqa: BLE001
                    return error

        return await asyncio.gather(*(ask(tag) for tag in range(CALLS)))

    return asyncio.run(fire())


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("concurrency", ["threads", "asyncio"])
@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
def test_the_limit_holds_and_all_is_booked_whatever_the_provider_does(
    framework, concurrency, store, tmp_path
):
    ledger = "memory://" if store == "memory" else f"sqlite:///{tmp_path / 'ledger.db'}"
    fire = fire_in_threads if concurrency == "threads" else fire_in_a_loop
    with FakeEndpoint() as endpoint:
        siege = Siege(endpoint, f"{framework} {concurrency} {store}", ledger)
        endings = fire(siege, framework)

    problems = list(untyped_ends(endings))
    problems += misbooked_calls(siege, endings)
    assert problems == []
    company = siege.router.ledger.state(siege.company)
    assert company.held == 0
    billed = sum(siege.price(bill) for bill in endpoint.bills)
    assert billed <= company.limit
    assert company.spent <= company.limit
    answered = sum(isinstance(ending, tuple) for ending in endings)
    assert answered > CALLS / 2


def untyped_ends(endings):
    """Calls that ended neither with a reply nor with an error of ours."""
    for tag, ending in enumerate(endings):
        if isinstance(ending, tuple):
            text, record = ending
            if not text.strip() or not record["expert"]:
                yield f"call {tag}: an empty reply of {record['expert']}"
        elif not isinstance(ending, RoutooError):
            yield f"call {tag}: {type(ending).__name__}: {ending}"


def misbooked_calls(siege, endings):
    """Calls booked otherwise than billed where the usage was told, or at less where it can be bounded."""
    bills_of = siege.bills()
    for tag, ending in enumerate(endings):
        bills = bills_of.get(tag, [])
        booked = siege.booked(tag)
        billed = sum(siege.price(bill) for bill in bills)
        odds = [siege.provider.drawn[bill.model, tag] for bill in bills]
        if all(odd.is_told for odd in odds):
            if booked != billed:
                yield f"call {tag}: booked {booked}, billed {billed}, {replies(odds)}: {ending!r}"
        elif booked < billed and not any(odd.hides_reasoning for odd in odds):
            yield f"call {tag}: booked {booked} of {billed}, {replies(odds)}: {ending!r}"


def replies(odds):
    return [odd.reply for odd in odds]

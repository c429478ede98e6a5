"""One call in each of the eight ways of the two frameworks, and how it ended."""

import math
from dataclasses import dataclass
from decimal import Decimal

from ways import LANGCHAIN_WAYS, LLAMA_INDEX_WAYS, record_of

from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

QUESTION = "What is two plus two?"
_METHODS = {"langchain": LANGCHAIN_WAYS, "llama_index": LLAMA_INDEX_WAYS}
WHOLE = ("langchain whole", "langchain async", "llama_index whole", "llama_index async")
STREAMED = (
    "langchain streamed",
    "langchain async streamed",
    "llama_index streamed",
    "llama_index async streamed",
)
WAYS = WHOLE + STREAMED
NANO_PER_MICRO_USD = 1000


@dataclass(frozen=True)
class Ending:
    """How a call ended: with a text and the record of its decision, or with an error, and what it was booked as."""

    text: str | None
    record: dict | None
    error: Exception | None
    booked: int
    held: int

    @property
    def expert(self):
        return self.record["expert"]


def model_for(way, router, **settings):
    framework = way.split()[0]
    kind = RoutooChatModel if framework == "langchain" else RoutooLLM
    return kind(router, **{"max_tokens": 100, **settings})


async def call(way, router, prompt=QUESTION, **settings):
    """Make one call of a router that has made none; never raises what the call raises."""
    model = model_for(way, router, **settings)
    text = record = error = None
    try:
        text, record = await answer(way, model, prompt)
    except Exception as raised:  # noqa: BLE001
        error = raised
    state = router.ledger.state(router.budget)
    return Ending(text, record, error, state.spent, state.held)


async def answer(way, model, prompt, /, **keywords):
    """The text of the reply and its decision record."""
    framework, _, method = way.partition(" ")
    reply = await _METHODS[framework][method](model, prompt, **keywords)
    text = reply.text if framework == "langchain" else reply.message.content
    return text or "", record_of(reply)


def answer_sync(way, model, prompt, /, **keywords):
    """The same of a way that is not async, without an event loop."""
    coroutine = answer(way, model, prompt, **keywords)
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError(f"{way} waits")


def price_of(tokens, expert):
    """Nano-USD of the tokens that an endpoint billed, from the prices that the expert's settings state."""
    settings = expert.model_dump()

    def price(kind, total):
        stated = settings.get(f"{kind}_usd_per_1m")
        return settings[f"{total}_usd_per_1m"] if stated is None else stated

    writes = tokens.cache_write_tokens
    parts_of_input = {
        "cached": tokens.cached_tokens,
        "cache_write": writes - tokens.cache_write_1h_tokens,
        "cache_write_1h": tokens.cache_write_1h_tokens,
        "audio_input": tokens.audio_input_tokens,
    }
    parts_of_output = {
        "reasoning": tokens.reasoning_tokens,
        "audio_output": tokens.audio_output_tokens,
    }
    micro_usd = Decimal(0)
    for total, all_tokens, parts in (
        ("input", tokens.prompt_tokens, parts_of_input),
        ("output", tokens.completion_tokens, parts_of_output),
    ):
        micro_usd += settings[f"{total}_usd_per_1m"] * (all_tokens - sum(parts.values()))
        for kind, count in parts.items():
            micro_usd += price(kind, total) * count
    return math.ceil(micro_usd * NANO_PER_MICRO_USD)


def billed(endpoint, router):
    """Nano-USD of everything that an endpoint billed to a router's experts."""
    total = 0
    for bill in endpoint.bills:
        [expert] = [expert for expert in router.pool if expert.model == bill.model]
        total += price_of(bill.tokens, expert)
    return total

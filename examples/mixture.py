"""Two proposals and one final answer made of them: what a mixture costs beside a single call."""

import time

from routoo_core import Budget, Pool
from routoo_core.plans import Mixture
from routoo_core.testing import FakeEndpoint, FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel

EXPERTS = ("gpt-5-nano", "gemini-2.5-flash-lite", "gpt-5-mini")
POOL = Pool.read("pool", {name: {} for name in EXPERTS})
PLAN = Mixture(name="mixture", experts=EXPERTS[:2], aggregator=EXPERTS[2])
QUALITY = FakePredictor({EXPERTS[0]: 0.5, EXPERTS[1]: 0.5, EXPERTS[2]: 0.7, "mixture": 0.8})
REPLIES = {
    EXPERTS[0]: "The sea is blue because water absorbs red light.",
    EXPERTS[1]: "The sea mirrors the sky.",
    EXPERTS[2]: "Water absorbs red light, and the surface mirrors the sky.",
}

with FakeEndpoint() as endpoint:
    experts = {}
    for expert in POOL:
        here = {"base_url": endpoint.base_url, "api_key_env": None, "provider": None}
        experts[expert.name] = expert.model_copy(update=here)
        endpoint.replies[expert.model] = Reply(REPLIES[expert.name], delay_s=0.05)
    for choice in ("mixture", EXPERTS[2]):
        model = RoutooChatModel(
            QUALITY, experts, budget=Budget(limit="0.10", period="run"), plans=[PLAN]
        )
        started = time.perf_counter()
        reply = model.invoke("Why is the sea blue?", routoo_expert=choice, max_tokens=200)
        seconds = time.perf_counter() - started
        record = reply.response_metadata["routoo"]
        asked = len(record["attempts"])
        print(f"{choice:10} {asked} calls  {record['total_usd']} USD  {seconds:.2f} s")
        print(f"           {reply.text}")

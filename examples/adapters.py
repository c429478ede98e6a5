"""Sixteen tuned adapters of one small model behind one server: who answers what, and what a swap costs."""

import time
from typing import Any

from routoo_core import Budget, Pool
from routoo_core.latency import LatencyRule
from routoo_core.testing import FakeEndpoint, Reply
from routoo_integrations.langchain import RoutooChatModel

SKILLS = {
    "sql": {"data": 0.95},
    "law": {"law": 0.95},
    "medicine": {"medicine": 0.95},
    "python": {"code": 0.95},
    "sums": {"maths": 0.95},
    "letters": {"writing": 0.97},
    "german": {"languages": 0.97},
    "business": {"business": 0.95},
    "history": {"humanities": 0.95},
    "physics": {"science": 0.95},
    "minutes": {"summaries": 0.98},
    "puzzles": {"reasoning": 0.95},
    "psychology": {"society": 0.95},
    "trivia": {"facts": 0.95},
    "forms": {"instructions": 0.95},
    "support": {"chat": 0.95},
}
PROMPTS = (
    "Write a SQL query that counts the orders of each customer in the table orders(id, customer, total).",
    "Write a Python function that merges two sorted lists, with a docstring and tests.",
    "Which antibiotic is given first for uncomplicated cystitis in pregnancy, and why?",
    "Under contract law, when does an offer lapse, and who has to prove it?",
)
SWAP_S = 0.05

with FakeEndpoint() as server:  # in the place of vLLM with --enable-lora
    loaded = {"model": ""}

    def answer(body: dict[str, Any]) -> Reply:
        """What the server does: it swaps weights where another adapter was used last."""
        swap_s = SWAP_S if body["model"] != loaded["model"] else 0.0
        loaded["model"] = body["model"]
        return Reply(f"answered by {body['model']}", delay_s=swap_s)

    adapters = {name: {"skills": skills} for name, skills in SKILLS.items()}
    base = {
        "model": "small-8b",
        "base_url": server.base_url,
        "input_usd_per_1m": 0.05,
        "output_usd_per_1m": 0.10,
        "ability": -0.5,
        "swap_s": SWAP_S,
        "adapters": adapters,
    }
    pool = Pool.read("pool", {"small": base})
    for expert in pool:
        server.replies[expert.model] = answer
    model = RoutooChatModel(
        "general-fast",
        pool,
        policy="best",
        budget=Budget(limit="0.10", period="run"),
        latency=LatencyRule(quality_per_s=0.02),
        max_tokens=60,
    )
    print(f"{len(pool)} experts at one server")
    for prompt in PROMPTS:
        for _ in range(2):
            started = time.perf_counter()
            reply = model.invoke(prompt)
            seconds = time.perf_counter() - started
            record = reply.response_metadata["routoo"]
            print(
                f"{record['expert']:16} {record['settled_usd']} USD  {seconds:.2f} s  {prompt[:48]}"
            )

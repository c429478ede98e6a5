"""A call, its exact repeat, and the same question in other words: what each costs, and how long it takes."""

import statistics
import time

from routoo_core import Budget, Pool
from routoo_core.answer_cache.rule import CacheRule
from routoo_core.testing import FakeEndpoint, Reply
from routoo_integrations.langchain import RoutooChatModel

FIRST = "How do I undo the last commit in git without losing changes?"
SAME = "How can I undo the last commit in git without losing changes?"
ANSWER = "Run `git reset --soft HEAD~1`. " + "It moves the branch back and keeps your files. " * 20
DELAY_S = {"gpt-5.5": 0.8, "gpt-5-nano": 0.3}
POOL = Pool.read("pool", {"gpt-5.5": {}, "gpt-5-nano": {}})

with FakeEndpoint() as endpoint:  # in the place of the provider; its replies take a while
    experts = {}
    for expert in POOL:
        endpoint.replies[expert.model] = Reply(ANSWER, delay_s=DELAY_S[expert.name])
        here = {"base_url": endpoint.base_url, "api_key_env": None}
        experts[expert.name] = expert.model_copy(update=here)
    model = RoutooChatModel(
        "general-fast",
        experts,
        policy="best",
        budget=Budget(limit="1.00", period="run"),
        answer_cache=CacheRule(rewrite_with="gpt-5-nano"),
        max_tokens=400,
    )
    model.invoke("Hello there, how are you?")  # what a program does once is not measured
    for name, question in (("a call", FIRST), ("the same again", FIRST), ("in other words", SAME)):
        started = time.perf_counter()
        record = model.invoke(question).response_metadata["routoo"]
        seconds = time.perf_counter() - started
        source = "the cache" if record["cached"] else record["expert"]
        print(f"{name:16} {source:12} {record['total_usd']} USD  {seconds:.3f} s")

    times = []
    for _ in range(200):
        started = time.perf_counter()
        model.invoke(FIRST)
        times.append(time.perf_counter() - started)
    print(f"median of 200 repeats: {1e3 * statistics.median(times):.2f} ms, 0 USD")

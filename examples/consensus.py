"""Two cheap experts that agree, and a dear one where they do not: what a plan costs beside the dear one alone."""

import time

from routoo_core import Budget, Pool
from routoo_core.plans import Consensus
from routoo_core.testing import FakeEndpoint, FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel

QUESTIONS = {
    "How many legs do two spiders have? Reply with the number.": ("16", "16", "16"),
    "How many legs do three ants have? Reply with the number.": ("18", "18", "18"),
    "How many wings do five bees have? Reply with the number.": ("10", "20", "20"),
}
"""Question → what each of the three experts says; the last one is right."""
EXPERTS = ("gpt-5-nano", "gemini-2.5-flash-lite", "gpt-5.5")
POOL = Pool.read("pool", {name: {} for name in EXPERTS})
PLAN = Consensus(name="pair", experts=EXPERTS[:2], then=EXPERTS[2], shares=(1, 1, 0.3))
QUALITY = FakePredictor({EXPERTS[0]: 0.7, EXPERTS[1]: 0.7, EXPERTS[2]: 0.9, "pair": 0.9})


def reply_of(place: int, body: dict) -> Reply:
    """What one of the stand-ins says to a question."""
    question = body["messages"][0]["content"]
    return Reply(f"It is {QUESTIONS[question][place]}.", delay_s=0.05)


with FakeEndpoint() as endpoint:
    experts = {}
    for place, expert in enumerate(POOL):
        here = {"base_url": endpoint.base_url, "api_key_env": None, "provider": None}
        experts[expert.name] = expert.model_copy(update=here)
        endpoint.replies[expert.model] = lambda body, place=place: reply_of(place, body)
    for choice in ("pair", EXPERTS[2]):
        model = RoutooChatModel(
            QUALITY, experts, budget=Budget(limit="0.10", period="run"), plans=[PLAN]
        )
        correct = 0
        started = time.perf_counter()
        for question, answers in QUESTIONS.items():
            reply = model.invoke(question, routoo_expert=choice)
            correct += answers[2] in reply.text
        seconds = (time.perf_counter() - started) / len(QUESTIONS)
        spent = model.router.ledger.state(model.router.budget).spent / 1e9
        print(f"{choice:10} {correct} of 3 correct  {spent:.6f} USD  {seconds:.2f} s a call")

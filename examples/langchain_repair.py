"""A tool call whose JSON breaks off: what its repair costs, beside the single call that gives no object."""

import time

from langchain_core.exceptions import OutputParserException
from pydantic import BaseModel

from routoo_core import Budget, Pool
from routoo_core.calling.checks import CheckRule
from routoo_core.testing import FakeEndpoint, Reply
from routoo_integrations.langchain import RoutooChatModel


class Person(BaseModel):
    name: str
    age: int


POOL = Pool.read("pool", {"gpt-5.5": {}, "gpt-5-nano": {}})
BROKEN = {"name": "Person", "arguments": '{"name": "Anna", "age"'}
WHOLE = {"name": "Person", "arguments": {"name": "Anna", "age": 41}}
REPLIES = (
    Reply("", tool_calls=[BROKEN], prompt_tokens=60),
    Reply("", tool_calls=[WHOLE], prompt_tokens=150),
)

with FakeEndpoint() as endpoint:  # a provider whose first reply is broken
    experts = {}
    for expert in POOL:
        here = {"base_url": endpoint.base_url, "api_key_env": None}
        experts[expert.name] = expert.model_copy(update=here)
    for is_checked in (False, True):
        replies = iter(REPLIES)
        for expert in POOL:
            endpoint.replies[expert.model] = lambda body, replies=replies: next(replies)
        model = RoutooChatModel(
            "general-fast",
            experts,
            budget=Budget(limit="0.10", period="run"),
            checks=CheckRule(form=is_checked),
            max_tokens=60,
        )
        started = time.perf_counter()
        try:
            found = model.with_structured_output(Person).invoke("Anna is forty-one.")
        except OutputParserException:
            found = None
        seconds = time.perf_counter() - started
        spent = model.router.ledger.state(model.router.budget).spent / 1e9
        print(f"checked: {is_checked!s:5}  {found!r:30}  {spent:.6f} USD  {seconds:.2f} s")

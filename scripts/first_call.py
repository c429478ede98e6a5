"""One routed call in the environment that runs this: python scripts/first_call.py

It needs nothing but an installed ``routoo[langchain]``: the experts are played by an HTTP server on loopback.
"""

import sys
import time

started = time.perf_counter()
import routoo_core  # noqa: E402

imported_ms = 1000 * (time.perf_counter() - started)

from routoo_core import Budget  # noqa: E402
from routoo_core.testing import FakeEndpoint, Reply  # noqa: E402
from routoo_integrations.langchain import RoutooChatModel  # noqa: E402

with FakeEndpoint() as endpoint:
    experts = {}
    for name in ("gpt-5-nano", "gpt-5.5"):
        endpoint.replies[name] = Reply("No, it is 7 times 13.")
        experts[name] = endpoint.expert(name, context_window=8192)
    budget = Budget(limit="0.01", period="run", expected_calls=10)
    model = RoutooChatModel("general-fast", experts, budget=budget, max_tokens=60)
    reply = model.invoke("Is 91 a prime number?")
    record = reply.response_metadata["routoo"]

assert reply.text == "No, it is 7 times 13.", reply
assert record["expert"] in experts, record
assert "torch" not in sys.modules, "the default router loaded PyTorch"
print(
    f"Python {sys.version.split()[0]}, routoo {routoo_core.__version__}: {record['expert']} answered for "
    f"{record['settled_usd']} USD; import routoo_core took {imported_ms:.0f} ms"
)

"""Generated inputs: each is accepted or ends in an error of ours, and costs nothing unless it was sent.

A few seconds here; ``make fuzz`` tries as many as it is told.
"""

import json
import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from llama_index.core.llms import ChatMessage

from routoo_core import Budget, Pool
from routoo_core.config import build_router, read_config
from routoo_core.errors import RoutooError
from routoo_core.monitoring.logged_calls import read_logged_calls
from routoo_core.outcomes import read_outcomes
from routoo_core.record import DecisionRecord
from routoo_core.testing import FakeEndpoint, FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

EXAMPLES = os.environ.get("ROUTOO_FUZZ_EXAMPLES")
fuzzed = settings(
    max_examples=int(EXAMPLES or 40),
    derandomize=EXAMPLES is None,  # the same inputs in every run of the tests
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "",
            "nan",
            "inf",
            "-1",
            "1e999",
            "9" * 5000,
            "٣",
            "\x00",
            "\ud800",
            "a" * 2000,
            "=1+1",
            "Europe",
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.sampled_from([0, -1, 2**63, 10**400, 1e308])
)
VALUES = st.recursive(
    st.one_of(st.none(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)
BUDGET_FIELDS = st.sampled_from(
    [
        "account",
        "limit",
        "period",
        "timezone",
        "expected_calls",
        "rolling",
        "carry_over",
        "accounts",
        "within",
        "hold_ttl_s",
        "ledger",
        "unknown",
    ]
)
EXPERT_FIELDS = st.sampled_from(
    [
        "model",
        "provider",
        "base_url",
        "api_key_env",
        "timeout_s",
        "max_retries",
        "capabilities",
        "context_window",
        "max_output_tokens",
        "input_usd_per_1m",
        "output_usd_per_1m",
        "usd_per_call",
        "cached_usd_per_1m",
        "answers_as",
        "pass_through",
        "strict_model",
        "router_name",
        "unknown",
    ]
)


def ours_or_nothing(attempt):
    """Whether an attempt went well; an error of ours is as good, any other is a fault."""
    try:
        attempt()
    except RoutooError:
        return False
    return True


@fuzzed
@given(st.dictionaries(BUDGET_FIELDS, VALUES, max_size=5))
def test_any_budget_is_read_or_refused(values):
    ours_or_nothing(lambda: Budget.read("here", values))


@fuzzed
@given(st.dictionaries(EXPERT_FIELDS, VALUES, max_size=6))
def test_any_expert_is_read_or_refused(values):
    ours_or_nothing(lambda: Pool.read("here", {"a": values}))


@fuzzed
@given(st.one_of(st.binary(max_size=200), TEXTS.map(lambda text: text.encode("utf-8", "replace"))))
def test_any_file_of_settings_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "routoo.toml"
    path.write_bytes(content)
    ours_or_nothing(lambda: read_config(path))


CELLS = st.one_of(TEXTS, NUMBERS.map(str)).map(lambda text: text.replace("\ud800", "?"))
ROWS = st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=6)


@fuzzed
@given(
    st.lists(st.sampled_from(["prompt_id", "model", "score", "completion_tokens"]), max_size=5),
    ROWS,
)
def test_any_table_is_read_or_refused(tmp_path_factory, header, rows):
    folder = tmp_path_factory.getbasetemp()
    (folder / "p.csv").write_text("prompt_id,prompt\na,hello\n", encoding="utf-8")
    lines = [",".join(header), *[",".join(row) for row in rows]]
    (folder / "o.csv").write_text("\n".join(lines), encoding="utf-8")
    ours_or_nothing(lambda: read_outcomes(folder / "p.csv", folder / "o.csv"))


@fuzzed
@given(st.lists(st.one_of(VALUES.map(lambda value: json.dumps(value)), TEXTS), max_size=4))
def test_any_log_is_read_or_refused(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "calls.jsonl"
    path.write_text("\n".join(lines).replace("\ud800", "?"), encoding="utf-8")
    ours_or_nothing(lambda: list(read_logged_calls([path])))


RECORD_FIELDS = st.sampled_from(
    ["version", "expert", "model", "policy", "candidates", "account", "settled_usd", "attempts"]
)


@fuzzed
@given(st.dictionaries(RECORD_FIELDS, VALUES, max_size=6))
def test_any_record_is_read_or_refused(values):
    ours_or_nothing(lambda: DecisionRecord.from_dict(values))


# Calls


@pytest.fixture(scope="module")
def provider():
    with FakeEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def models(provider):
    def router():
        experts = [
            provider.expert("cheap", timeout_s=5),
            provider.expert("dear", timeout_s=5, capabilities={"tools"}),
        ]
        predictor = FakePredictor({"cheap": 0.4, "dear": 0.9})
        return build_router(
            Pool(experts), router=predictor, budget=Budget(limit="1000000"), policy="best"
        )

    return {"langchain": RoutooChatModel(router()), "llama_index": RoutooLLM(router())}


def check_charges(model, provider, call):
    """A call that sent nothing costs nothing, and none leaves a hold."""
    ledger = model.router.ledger
    budget = model.router.budget
    spent = ledger.state(budget).spent
    requests = len(provider.requests)
    ours_or_nothing(call)
    state = ledger.state(budget)
    assert state.held == 0
    if len(provider.requests) == requests:
        assert state.spent == spent


OVERRIDES = st.dictionaries(
    st.sampled_from(
        [
            "routoo_account",
            "routoo_policy",
            "routoo_expert",
            "routoo_max_cost",
            "routoo_probes",
            "routoo_x",
            "model",
            "max_tokens",
            "n",
            "temperature",
            "stop",
            "seed",
            "extra_body",
            "response_format",
        ]
    ),
    VALUES,
    max_size=3,
)


@fuzzed
@given(OVERRIDES)
def test_any_override_is_taken_or_refused(models, provider, keywords):
    model = models["langchain"]
    check_charges(model, provider, lambda: model.invoke("hi", **keywords))


BLOCKS = st.lists(
    st.one_of(
        TEXTS,
        st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "image_url", "file", "x"])},
            optional={
                "text": TEXTS,
                "image_url": VALUES,
                "file": VALUES,
                "source": VALUES,
            },
        ),
    ),
    max_size=3,
)
CONTENTS = st.one_of(TEXTS, BLOCKS)
KINDS = st.sampled_from([HumanMessage, AIMessage, SystemMessage])


@st.composite
def langchain_messages(draw):
    messages = []
    for _ in range(draw(st.integers(0, 4))):
        content = draw(CONTENTS)
        if draw(st.booleans()):
            messages.append(draw(KINDS)(content))
        else:
            messages.append(ToolMessage(content, tool_call_id=draw(TEXTS)))
    return messages


@fuzzed
@given(langchain_messages())
def test_any_conversation_of_langchain_is_answered_or_refused(models, provider, messages):
    model = models["langchain"]
    check_charges(model, provider, lambda: model.invoke(messages))


ROLES = st.sampled_from(["user", "assistant", "system", "tool"])


@fuzzed
@given(st.lists(st.builds(ChatMessage, role=ROLES, content=TEXTS), max_size=4))
def test_any_conversation_of_llama_index_is_answered_or_refused(models, provider, messages):
    model = models["llama_index"]
    check_charges(model, provider, lambda: model.chat(messages))


REPLIES = st.one_of(
    st.builds(lambda body: Reply(body=body), VALUES),
    st.builds(lambda body: Reply(body={"choices": body}), VALUES),
    st.builds(lambda usage: Reply(usage=usage), VALUES),
    st.builds(lambda error: Reply(status=400, error={"message": error}), TEXTS),
    st.builds(lambda text: Reply(text.replace("\ud800", "?")), TEXTS),
    st.builds(lambda body: Reply(body=body, content_type="text/html"), st.binary(max_size=60)),
)


@fuzzed
@given(REPLIES, st.sampled_from(["langchain", "llama_index"]))
def test_any_reply_is_read_or_replaced(models, provider, reply, framework):
    model = models[framework]
    provider.replies["dear"] = reply
    try:
        if framework == "langchain":
            check_charges(model, provider, lambda: model.invoke("hi"))
        else:
            check_charges(model, provider, lambda: model.complete("hi"))
    finally:
        del provider.replies["dear"]

"""The demo's calls through LangChain: one by one, streamed, in a batch, and until the budget is spent."""

from __future__ import annotations

from decimal import Decimal
from itertools import cycle, islice
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig

from routoo_core.errors import BudgetExceeded
from routoo_core.record import DecisionRecord
from routoo_core.router import Router
from routoo_integrations.demo import prompts
from routoo_integrations.demo.transcript import Demo, DemoCall
from routoo_integrations.langchain import RoutooChatModel

SYSTEM_PROMPT = "Answer briefly and to the point."
MAX_MORE_CALLS = 40

Chain = Runnable[dict[str, str], str]
"""``{"question": …}`` → the reply."""


class RecordListener(BaseCallbackHandler):
    """Keeps the decision record of a call made somewhere inside a chain."""

    record: DecisionRecord | None = None

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """Read the record of the reply."""
        generation = response.generations[0][0]
        if isinstance(generation, ChatGeneration):
            values = generation.message.response_metadata["routoo"]
            self.record = DecisionRecord.from_dict(values)

    def config(self) -> RunnableConfig:
        """The configuration that makes a chain call this listener."""
        return {"callbacks": [self]}


def make_chain(router: Router, max_tokens: int) -> Chain:
    """A prompt template, the routed chat model, and its text."""
    template = ChatPromptTemplate.from_messages(
        [("system", SYSTEM_PROMPT), ("human", "{question}")]
    )
    model = RoutooChatModel(router, max_tokens=max_tokens)
    return template | model | StrOutputParser()


def make_chain_calls(demo: Demo, chain: Chain) -> None:
    """Make calls one by one, one that is streamed, and a concurrent batch."""
    for text in prompts.CHAIN:
        _invoke(demo, chain, text)
    _stream(demo, chain, prompts.STREAMED)
    _run_batch(demo, chain)


def make_more_calls(demo: Demo, chain: Chain) -> None:
    """Make calls until the budget is spent: the choices turn cheaper, then a call is refused."""
    demo.console.rule("[dim]more calls than the budget was planned for[/dim]", style="dim")
    for text in islice(cycle(prompts.MORE), MAX_MORE_CALLS):
        _invoke(demo, chain, text)
        if demo.calls[-1].record is None:
            return


def _invoke(demo: Demo, chain: Chain, text: str) -> None:
    listener = RecordListener()
    try:
        chain.invoke({"question": text}, config=listener.config())
    except BudgetExceeded:
        demo.add(DemoCall("LangChain", text, None))
    else:
        demo.add(DemoCall("LangChain", text, listener.record))


def _stream(demo: Demo, chain: Chain, text: str) -> None:
    listener = RecordListener()
    for _ in chain.stream({"question": text}, config=listener.config()):
        pass
    demo.add(DemoCall("… streamed", text, listener.record))


def _run_batch(demo: Demo, chain: Chain) -> None:
    """Make calls at the same time, and show them in the order in which they were settled."""
    listeners = [RecordListener() for _ in prompts.BATCH]
    questions = [{"question": text} for text in prompts.BATCH]
    chain.batch(questions, config=[listener.config() for listener in listeners])

    calls = []
    for text, listener in zip(prompts.BATCH, listeners, strict=True):
        calls.append(DemoCall("… batch", text, listener.record))
    for call in sorted(calls, key=_spent_after):
        demo.add(call)


def _spent_after(call: DemoCall) -> Decimal:
    """What the account had spent when a call was settled, USD."""
    if call.record is None:
        return Decimal(0)
    return Decimal(call.record.spent_usd or 0)

"""The demo's calls through LlamaIndex: a query engine over the guide's pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import BaseEventHandler

from routoo_core.errors import BudgetExceeded
from routoo_core.record import DecisionRecord
from routoo_core.router import Router
from routoo_integrations.demo import prompts
from routoo_integrations.demo.embedding import WordEmbedding
from routoo_integrations.demo.transcript import Demo, DemoCall
from routoo_integrations.llama_index import RoutooDecisionEvent, RoutooLLM

DOCUMENTS = Path(__file__).parent / "documents"


def make_query_engine(router: Router, max_tokens: int) -> BaseQueryEngine:
    """A query engine that finds a page by the words it shares with the question."""
    documents = []
    for page in sorted(DOCUMENTS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        documents.append(Document(text=text))
    index = VectorStoreIndex.from_documents(documents, embed_model=WordEmbedding())
    llm = RoutooLLM(router, max_tokens=max_tokens)
    return index.as_query_engine(llm=llm, similarity_top_k=1)


def make_query_calls(demo: Demo, engine: BaseQueryEngine) -> None:
    """Ask questions that the pages answer."""
    with _decision_records() as records:
        for text in prompts.RETRIEVAL:
            try:
                engine.query(text)
            except BudgetExceeded:
                demo.add(DemoCall("LlamaIndex", text, None))
            else:
                demo.add(DemoCall("LlamaIndex", text, records[-1]))


@contextmanager
def _decision_records() -> Iterator[list[DecisionRecord]]:
    """The decision records of LlamaIndex calls made inside the block, from its instrumentation."""
    records: list[DecisionRecord] = []

    class RecordHandler(BaseEventHandler):
        def handle(self, event: Any, **_: Any) -> None:
            if isinstance(event, RoutooDecisionEvent):
                records.append(DecisionRecord.from_dict(event.record))

    handler = RecordHandler()
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(handler)
    try:
        yield records
    finally:
        dispatcher.event_handlers.remove(handler)

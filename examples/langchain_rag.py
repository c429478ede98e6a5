"""A LangChain RAG chain over this repository's guide: python examples/langchain_rag.py."""

import re
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from routoo_core import Budget, Pool
from routoo_core.config import STARTER
from routoo_core.local_endpoint import LocalEndpoint
from routoo_integrations.langchain import RoutooChatModel

GUIDE = Path(__file__).parent.parent / "routoo_integrations" / "demo" / "documents"
PROMPT = ChatPromptTemplate.from_template(
    "Answer the question from the context.\n\nContext:\n{context}\n\nQuestion: {question}\nAnswer:"
)


def paragraphs() -> list[Document]:
    texts = [
        (page.name, text)
        for page in sorted(GUIDE.glob("*.md"))
        for text in page.read_text().split("\n\n")
    ]
    return [Document(text, metadata={"page": name}) for name, text in texts]


def words(text: str) -> set[str]:
    return {word[:5] for word in re.findall(r"\w{4,}", text.lower())}


def best_two(question: str) -> str:
    """The two paragraphs that share most words with the question; put your vector store here."""
    ranked = sorted(
        paragraphs(), key=lambda d: len(words(question) & words(d.page_content)), reverse=True
    )
    return "\n\n".join(document.page_content for document in ranked[:2])


with LocalEndpoint() as endpoint:  # without it, experts.toml's own endpoints and keys are used
    pool = Pool(
        endpoint.stand_in_for(expert) for expert in Pool.from_toml(STARTER / "experts.toml")
    )
    budget = Budget(limit="0.01", period="run", expected_calls=5)
    model = RoutooChatModel("general-fast", pool, budget=budget, max_tokens=60)
    given = {"context": RunnableLambda(best_two), "question": RunnablePassthrough()}
    chain = given | PROMPT | model
    for question in ("What happens to a hold whose process died?", "Where are API keys kept?"):
        reply = chain.invoke(question)  # routed on the question; the context counts as cost
        decision = reply.response_metadata["routoo"]
        print(f"{question}\n  {StrOutputParser().invoke(reply)}")
        print(
            f"  {decision['expert']}, {decision['settled_usd']} USD, {decision['remaining_usd']} USD left"
        )

"""An evaluation run of a LlamaIndex query engine, answered and judged under one budget:
python examples/llama_index_evaluation.py.

The local stand-in answers for the experts, so judge the bookkeeping, not the verdicts.
"""

import asyncio
from pathlib import Path

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.evaluation import (
    BatchEvalRunner,
    RelevancyEvaluator,
    SemanticSimilarityEvaluator,
)

from routoo_core import Budget, Pool, Router
from routoo_core.config import STARTER, build_router
from routoo_core.local_endpoint import LocalEndpoint
from routoo_integrations.demo.embedding import WordEmbedding
from routoo_integrations.llama_index import RoutooLLM, routoo_settings

DOCUMENTS = Path(__file__).parent.parent / "routoo_integrations" / "demo" / "documents"
REFERENCES = {
    "What happens to a hold whose process died?": "It is booked at its estimate after fifteen minutes.",
    "Where are API keys kept?": "API keys are kept in the environment.",
}


async def main(router: Router) -> None:
    llm = RoutooLLM(router, max_tokens=60)
    embedding = WordEmbedding()
    pages = [
        Document(text=page.read_text(encoding="utf-8")) for page in sorted(DOCUMENTS.glob("*.md"))
    ]
    engine = VectorStoreIndex.from_documents(pages, embed_model=embedding).as_query_engine(
        llm=llm, similarity_top_k=1
    )
    with routoo_settings(account="answers"):
        answers = [await engine.aquery(question) for question in REFERENCES]
    judges = {
        "relevancy": RelevancyEvaluator(llm=llm),
        "similarity": SemanticSimilarityEvaluator(embed_model=embedding, similarity_threshold=0.5),
    }
    with routoo_settings(account="judge", policy="best"):
        results = await BatchEvalRunner(judges, workers=2).aevaluate_responses(
            queries=list(REFERENCES), responses=answers, reference=list(REFERENCES.values())
        )
    for place, question in enumerate(REFERENCES):
        print(f"{question}\n  {answers[place]}")
        for name, verdicts in results.items():
            print(
                f"  {name}: {'passes' if verdicts[place].passing else 'fails'}, {verdicts[place].score}"
            )
    for account in ("answers", "judge"):
        spent = router.ledger.state(router.budget.model_copy(update={"account": account})).spent
        print(f"{account}: {spent / 1e9:.6f} USD")


if __name__ == "__main__":
    with LocalEndpoint() as endpoint:  # without it, experts.toml's own endpoints and keys are used
        pool = Pool(
            endpoint.stand_in_for(expert) for expert in Pool.from_toml(STARTER / "experts.toml")
        )
        budget = Budget(limit="0.01", period="run", expected_calls=10)
        asyncio.run(main(build_router(pool, router="general-fast", budget=budget)))

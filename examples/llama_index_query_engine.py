"""A LlamaIndex query engine over this repository's guide: python examples/llama_index_query_engine.py."""

from pathlib import Path

from llama_index.core import Document, VectorStoreIndex

from routoo_core import Budget, Pool, Router
from routoo_core.config import STARTER, build_router
from routoo_core.local_endpoint import LocalEndpoint
from routoo_integrations.demo.embedding import WordEmbedding
from routoo_integrations.llama_index import RoutooLLM

ROOT = Path(__file__).parent.parent

with LocalEndpoint() as endpoint:  # without it, experts.toml's own endpoints and keys are used
    pool = Pool(
        endpoint.stand_in_for(expert) for expert in Pool.from_toml(STARTER / "experts.toml")
    )
    router: Router = build_router(
        pool, router="general-fast", budget=Budget(limit="0.01", period="run", expected_calls=5)
    )
    pages = sorted((ROOT / "routoo_integrations" / "demo" / "documents").glob("*.md"))
    index = VectorStoreIndex.from_documents(
        [
            Document(text=page.read_text(encoding="utf-8"), metadata={"page": page.name})
            for page in pages
        ],
        embed_model=WordEmbedding(),
    )
    engine = index.as_query_engine(llm=RoutooLLM(router, max_tokens=80), similarity_top_k=1)
    for question in ("What happens to a hold whose process died?", "Where are API keys kept?"):
        response = engine.query(question)
        print(f"{question}\n  {response}\n  from {response.source_nodes[0].metadata['page']}")
    print(f"spent: {router.ledger.state(router.budget).spent / 1e9:.6f} USD")

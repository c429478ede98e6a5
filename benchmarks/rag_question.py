"""Whether the question decides, not the context around it: python benchmarks/rag_question.py --prompts mmlu.parquet
--prices pools.csv --pool frontier

Held-out MMLU questions, bare and in LlamaIndex's default question-answering template with 2,000 tokens of other MMLU
questions as context; the shipped ``mmlu`` router chooses for both. Nobody is called.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.prompts.default_prompt_selectors import DEFAULT_TEXT_QA_PROMPT_SEL
from rich.console import Console
from rich.table import Table

from routoo_core import Expert, RoutedRequest
from routoo_core.predictor.checkpoint import find_router
from routoo_core.predictor.checkpoint_config import read_config
from routoo_core.price_list import read_price_list
from routoo_core.request import Overrides
from routoo_core.selector import Best, PreferenceRule, Ratio
from routoo_core.tokens import count_tokens
from routoo_integrations.llama_index import RoutooLLM

CONTEXT_TOKENS = 2000
ROWS = {
    "as a query engine fills the template": (None, True),
    "the same prompt as plain text": (None, False),
    "for comparison: all of the prompt is read": (lambda text: text, False),
}
POLICIES = {"best": Best(), "ratio, α = 0.1": Ratio(0.1), "ratio, α = 0.02": Ratio(0.02)}


def filled(llm: RoutooLLM, question: str, context: str, by_engine: bool) -> list[ChatMessage]:
    """The messages of a retrieval prompt."""
    values = {"query_str": question, "context_str": context}
    if by_engine:
        return llm._get_messages(DEFAULT_TEXT_QA_PROMPT_SEL, **values)
    return DEFAULT_TEXT_QA_PROMPT_SEL.format_messages(llm=llm, **values)


def context_of(texts: list[str], seed: int) -> str:
    """Unrelated passages, 2,000 tokens of them."""
    passages, size, shuffled = list[str](), 0, random.Random(seed)
    while size < CONTEXT_TOKENS:
        passages.append(shuffled.choice(texts))
        size += count_tokens(passages[-1])
    return "\n\n".join(passages)


def main() -> None:
    """Print the share of questions for which the choice is the bare question's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--prompts", type=Path, required=True, help="Parquet with the columns prompt and split"
    )
    parser.add_argument("--prices", type=Path, required=True)
    parser.add_argument("--pool", default="frontier")
    parser.add_argument("--n", type=int, default=300)
    args = parser.parse_args()
    known = read_config(find_router("mmlu")).experts
    prices = read_price_list(args.prices, [args.pool], known).per_million()
    experts = {name: expert(name, price) for name, price in prices.items()}
    held_out = [
        row["prompt"] for row in pq.read_table(args.prompts).to_pylist() if row["split"] != "train"
    ]
    questions = random.Random(0).sample(held_out, args.n)
    shown = Table("prompt", "read as it is", *(f"same choice: {name}" for name in POLICIES))
    for name, (question_of, by_engine) in ROWS.items():
        llm = RoutooLLM("mmlu", experts, policy="best", question_of=question_of)
        some = questions if question_of is None else questions[: args.n // 5]
        read, pairs = 0, {policy: [] for policy in POLICIES}
        for seed, question in enumerate(some):
            bare = RoutedRequest.from_text(question)
            wrapped = llm.routed(filled(llm, question, context_of(held_out, seed), by_engine), {})
            read += wrapped.text == question.strip()
            for policy, found in pairs.items():
                found.append(
                    (chosen(llm, bare, POLICIES[policy]), chosen(llm, wrapped, POLICIES[policy]))
                )
        shares = [sum(a == b for a, b in found) / len(some) for found in pairs.values()]
        shown.add_row(
            f"{name} ({len(some)})",
            f"{read / len(some):.1%}",
            *(f"{share:.1%}" for share in shares),
        )
        commonest = [
            Counter(a for a, _ in found).most_common(1)[0][1] / len(some)
            for found in pairs.values()
        ]
    shown.add_row(
        "share of the bare questions' commonest choice",
        "",
        *(f"{share:.1%}" for share in commonest),
    )
    Console().print(shown)


def expert(name: str, price: float) -> Expert:
    """An expert that is never called."""
    prices = {"input_usd_per_1m": price, "output_usd_per_1m": price}
    return Expert(name=name, model=name, client=MockLLM(), context_window=128_000, **prices)


def chosen(llm: RoutooLLM, request: RoutedRequest, policy: PreferenceRule) -> str:
    """The expert that would be called first."""
    decision = llm.router.decide(replace(request, overrides=Overrides(policy=policy)))
    return decision.candidates[0].expert.name


if __name__ == "__main__":
    main()

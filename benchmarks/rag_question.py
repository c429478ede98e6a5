"""Whether the question decides, not the context around it: python benchmarks/rag_question.py --prompts mmlu.parquet
--prices pools.csv --pool frontier

Held-out MMLU questions, bare and in LlamaIndex's default question-answering template with 2,000 tokens of other MMLU
questions as context; the router ``general-fast`` chooses for both. Nobody is called.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.prompts.default_prompt_selectors import DEFAULT_TEXT_QA_PROMPT_SEL
from rich.console import Console
from rich.table import Table

from routoo_core import Expert, RoutedRequest
from routoo_core.price_list import read_price_list
from routoo_core.request import Overrides
from routoo_core.selector import Best, PreferenceRule, Ratio
from routoo_core.tokens import count_tokens
from routoo_integrations.llama_index import RoutooLLM

CONTEXT_TOKENS = 2000
READ_ALL_SHARE = 5
"""The comparison that reads all of the prompt is made on one question of so many: long prompts take long."""

RULES: dict[str, PreferenceRule] = {
    "best": Best(),
    "ratio, α = 0.1": Ratio(0.1),
    "ratio, α = 0.02": Ratio(0.02),
}


@dataclass(frozen=True)
class PromptForm:
    """How a retrieval prompt reaches the router.

    Attributes:
        name: The row of the table.
        by_engine: Whether LlamaIndex's own method fills the template, as in a query engine.
        read_all: Whether the router reads all of the prompt instead of the question.
    """

    name: str
    by_engine: bool
    read_all: bool = False


PROMPT_FORMS = (
    PromptForm("as a query engine fills the template", by_engine=True),
    PromptForm("the same prompt as plain text", by_engine=False),
    PromptForm("for comparison: all of the prompt is read", by_engine=False, read_all=True),
)


@dataclass(frozen=True)
class Choices:
    """The first choice for each question under one rule: bare, and in the retrieval prompt."""

    bare: Sequence[str]
    wrapped: Sequence[str]

    @property
    def agreement(self) -> float:
        """Share of the questions for which both are the same."""
        same = [bare == wrapped for bare, wrapped in zip(self.bare, self.wrapped, strict=True)]
        return sum(same) / len(same)

    @property
    def commonest_share(self) -> float:
        """Share of the questions that the commonest choice for bare ones gets."""
        ((_, count),) = Counter(self.bare).most_common(1)
        return count / len(self.bare)


@dataclass(frozen=True)
class Measurement:
    """What one form of prompt does to the choices.

    Attributes:
        questions: How many were asked.
        read_share: Share of the prompts of which the router read exactly the question.
        choices: Name of a rule → its choices.
    """

    questions: int
    read_share: float
    choices: dict[str, Choices]


def measure(
    form: PromptForm, llm: RoutooLLM, questions: list[str], texts: list[str]
) -> Measurement:
    """Route each question bare and in a retrieval prompt, under every rule."""
    requests = []
    read_exactly = 0
    for seed, question in enumerate(questions):
        messages = fill_template(llm, question, make_context(texts, seed), form.by_engine)
        bare = RoutedRequest.from_text(question)
        wrapped = llm.routed_request(messages, {})
        requests.append((bare, wrapped))
        if wrapped.text == question.strip():
            read_exactly += 1

    choices = {}
    for name, rule in RULES.items():
        bare_choices = [first_choice(llm, bare, rule) for bare, _ in requests]
        wrapped_choices = [first_choice(llm, wrapped, rule) for _, wrapped in requests]
        choices[name] = Choices(bare_choices, wrapped_choices)
    return Measurement(len(questions), read_exactly / len(questions), choices)


def fill_template(
    llm: RoutooLLM, question: str, context: str, by_engine: bool
) -> list[ChatMessage]:
    """The messages of a retrieval prompt."""
    values = {"query_str": question, "context_str": context}
    if by_engine:
        return llm._get_messages(DEFAULT_TEXT_QA_PROMPT_SEL, **values)
    return DEFAULT_TEXT_QA_PROMPT_SEL.format_messages(llm=llm, **values)


def make_context(texts: list[str], seed: int) -> str:
    """Unrelated passages, 2,000 tokens of them."""
    random_text = random.Random(seed)
    passages = []
    tokens = 0
    while tokens < CONTEXT_TOKENS:
        passage = random_text.choice(texts)
        passages.append(passage)
        tokens += count_tokens(passage)
    return "\n\n".join(passages)


def first_choice(llm: RoutooLLM, request: RoutedRequest, rule: PreferenceRule) -> str:
    """The expert that would be called first."""
    decision = llm.router.decide(replace(request, overrides=Overrides(policy=rule)))
    return decision.candidates[0].expert.name


def uncalled_expert(name: str, usd_per_1m: float) -> Expert:
    """An expert that is never called."""
    return Expert(
        name=name,
        model=name,
        client=MockLLM(),
        context_window=128_000,
        input_usd_per_1m=usd_per_1m,
        output_usd_per_1m=usd_per_1m,
    )


def read_held_out(path: Path) -> list[str]:
    """The prompts of a table that are not for training."""
    rows = pq.read_table(path).to_pylist()
    return [row["prompt"] for row in rows if row["split"] != "train"]


def read_experts(prices: Path, pool: str) -> dict[str, Expert]:
    """The experts of a pool."""
    price_list = read_price_list(prices, [pool])
    experts = {}
    for name, usd_per_1m in price_list.per_million().items():
        experts[name] = uncalled_expert(name, usd_per_1m)
    return experts


def main() -> None:
    """Print the share of questions for which the choice is the bare question's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--prompts", type=Path, required=True, help="Parquet with the columns prompt and split"
    )
    parser.add_argument("--prices", type=Path, required=True)
    parser.add_argument("--pool", default="frontier")
    parser.add_argument("--n", type=int, default=300)
    arguments = parser.parse_args()

    experts = read_experts(arguments.prices, arguments.pool)
    texts = read_held_out(arguments.prompts)
    questions = random.Random(0).sample(texts, arguments.n)

    table = Table("prompt", "read as it is", *(f"same choice: {name}" for name in RULES))
    for form in PROMPT_FORMS:
        question_of = None
        sample = questions
        if form.read_all:
            question_of = str
            sample = questions[: arguments.n // READ_ALL_SHARE]
        llm = RoutooLLM("general-fast", experts, policy="best", question_of=question_of)
        measurement = measure(form, llm, sample, texts)

        agreements = [f"{choices.agreement:.1%}" for choices in measurement.choices.values()]
        label = f"{form.name} ({measurement.questions})"
        table.add_row(label, f"{measurement.read_share:.1%}", *agreements)

    commonest = [f"{choices.commonest_share:.1%}" for choices in measurement.choices.values()]
    table.add_row("share of the bare questions' commonest choice", "", *commonest)
    Console().print(table)


if __name__ == "__main__":
    main()

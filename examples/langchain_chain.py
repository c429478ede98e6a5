"""A LangChain chain over two experts and a budget, answered by the local stand-in."""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from routoo_core import Budget, Expert
from routoo_core.local_endpoint import LocalEndpoint
from routoo_integrations.langchain import RoutooChatModel

EXPERTS = {
    "gpt-4o": Expert(
        name="gpt-4o",
        model="gpt-4o-2024-05-13",
        router_name="gpt-4o(2024-05)",
        context_window=128_000,
    ),
    "phi-3-mini": Expert(
        name="phi-3-mini",
        model="microsoft/Phi-3-mini-4k-instruct",
        router_name="Phi-3-mini-4k-instruct",
        input_usd_per_1m="0.1",
        output_usd_per_1m="0.1",
    ),
}

with (
    LocalEndpoint() as endpoint
):  # leave this out, and give base_url and api_key_env, to call the experts themselves
    experts = {name: endpoint.stand_in_for(expert) for name, expert in EXPERTS.items()}
    budget = Budget(limit="0.01", period="run", expected_calls=10)
    model = RoutooChatModel("mmlu-pro", experts, budget=budget, max_tokens=60)
    chain = (
        ChatPromptTemplate.from_template("Answer in one sentence: {question}")
        | model
        | StrOutputParser()
    )
    for question in ("What is 17 + 26?", "How many real roots does x^4 - 5x^2 + 4 = 0 have?"):
        print(question)
        for piece in chain.stream({"question": question}):
            print(piece, end="", flush=True)
        print(f"\n  spent so far: {model.router.ledger.state(budget).spent / 1e9:.6f} USD\n")

"""A LangChain chain over two experts and a budget, answered by the local stand-in."""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from routoo_core import Budget, Pool
from routoo_core.local_endpoint import LocalEndpoint
from routoo_integrations.langchain import RoutooChatModel

POOL = Pool.read("pool", {"gpt-5.5": {}, "gpt-5-nano": {}})  # a name is a whole entry

with (
    LocalEndpoint() as endpoint
):  # without it, and with OPENAI_API_KEY set, the experts themselves are called
    experts = {expert.name: endpoint.stand_in_for(expert) for expert in POOL}
    budget = Budget(limit="0.01", period="run", expected_calls=10)
    model = RoutooChatModel("general-fast", experts, budget=budget, max_tokens=60)
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

"""RoutooLLM where LlamaIndex's users are: engines, chats, agents, extraction, evaluation."""

import json

import pytest
from llama_index.core import (
    Document,
    PropertyGraphIndex,
    Settings,
    SummaryIndex,
    VectorStoreIndex,
    get_response_synthesizer,
)
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.evaluation import (
    CorrectnessEvaluator,
    FaithfulnessEvaluator,
    RelevancyEvaluator,
)
from llama_index.core.extractors import QuestionsAnsweredExtractor, TitleExtractor
from llama_index.core.indices.property_graph import SimpleLLMPathExtractor
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import Memory
from llama_index.core.query_engine import RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import TextNode
from llama_index.core.selectors import LLMSingleSelector, PydanticSingleSelector
from llama_index.core.tools import FunctionTool, QueryEngineTool
from llama_index.core.workflow import Context
from llama_index_suite import TOOLS, Listener

from routoo_core import Budget
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.demo.embedding import WordEmbedding
from routoo_integrations.llama_index import RoutooLLM, RoutooSelector, routoo_settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LlamaIndex's own

ANSWER = "The answer is four."
QUESTION = "What is two plus two, please?"
FACTS = [Document(text="Two plus two is four. " * 20), Document(text="Bern is the capital. " * 20)]
MODES = [
    "compact",
    "refine",
    "tree_summarize",
    "simple_summarize",
    "accumulate",
    "compact_accumulate",
]


@pytest.fixture
def counter():
    """Engines take the callback manager of the settings."""
    handler = TokenCountingHandler(tokenizer=str.split)
    Settings.callback_manager = CallbackManager([handler])
    yield handler
    Settings._callback_manager = None


@pytest.fixture
def llm(endpoint, counter):
    """The dear expert is the better one for what speaks of numbers."""
    settings = {"context_window": 8192, "max_output_tokens": 256, "capabilities": {"tools"}}
    experts = {
        "cheap": endpoint.expert("cheap", **settings),
        "dear": endpoint.expert("dear", input_usd_per_1m=10, output_usd_per_1m=30, **settings),
    }
    quality = FakePredictor({"cheap": 0.5, "dear": lambda text: 0.9 if "two" in text else 0.1})
    budget = Budget(limit="1")
    manager = Settings.callback_manager
    return RoutooLLM(
        quality, experts, policy="best", budget=budget, max_tokens=100, callback_manager=manager
    )


def tell(endpoint, reply):
    endpoint.replies = dict.fromkeys(("cheap", "dear"), reply)


def asked(endpoint):
    return [body["model"] for body in endpoint.requests]


def check_the_books(llm, endpoint, counter):
    """Each call was counted once, and is in the ledger for its usage times its price."""
    prices = {"cheap": (1_000, 1_000), "dear": (10_000, 30_000)}
    counted = [
        (event.prompt_token_count, event.completion_token_count)
        for event in counter.llm_token_counts
    ]
    assert len(counted) == len(endpoint.requests) > 0
    models = asked(endpoint)
    state = llm.router.ledger.state(llm.router.budget)
    if len(set(models)) == 1:
        prompt, completion = prices[models[0]]
        assert state.spent == sum(p * prompt + c * completion for p, c in counted)
    assert (state.held, state.calls) == (0, len(models))


class TestQueryEngines:
    @pytest.fixture
    def index(self):
        return SummaryIndex.from_documents(FACTS)

    @pytest.mark.parametrize("mode", MODES)
    async def test_the_question_decides_in_every_response_mode(
        self, llm, endpoint, counter, index, mode
    ):
        engine = index.as_query_engine(llm=llm, response_mode=ResponseMode(mode))
        assert ANSWER in str(engine.query(QUESTION))
        assert ANSWER in str(await engine.aquery(QUESTION))
        assert set(llm.router.predictor.prompts) == {QUESTION}
        assert set(asked(endpoint)) == {"dear"}
        check_the_books(llm, endpoint, counter)

    @pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize"])
    async def test_answers_stream(self, llm, endpoint, counter, index, mode):
        engine = index.as_query_engine(llm=llm, response_mode=ResponseMode(mode), streaming=True)
        assert "".join(engine.query(QUESTION).response_gen) == ANSWER
        tokens = (await engine.aquery(QUESTION)).response_gen
        assert "".join([token async for token in tokens]) == ANSWER
        assert set(llm.router.predictor.prompts) == {QUESTION}
        check_the_books(llm, endpoint, counter)

    def test_it_may_be_everybodys_llm(self, llm, index):
        try:
            Settings.llm = llm
            assert str(index.as_query_engine().query(QUESTION)) == ANSWER
        finally:
            Settings._llm = None

    def test_answers_may_be_filtered_by_structure(self, llm, endpoint, index):
        tell(endpoint, Reply("", tool_calls=[{"name": "StructuredRefineResponse", "arguments": {
            "answer": "four", "query_satisfied": True}}]))  # fmt: skip
        filtering = get_response_synthesizer(
            llm=llm, response_mode=ResponseMode.REFINE, structured_answer_filtering=True
        )
        engine = index.as_query_engine(llm=llm, response_synthesizer=filtering)
        assert str(engine.query(QUESTION)) == "four"

    async def test_a_question_is_divided_among_engines(self, llm, endpoint, index):
        from llama_index.core.question_gen import LLMQuestionGenerator

        parts = json.dumps(
            {"items": [{"sub_question": "What is two plus two?", "tool_name": "facts"}]}
        )
        tell(
            endpoint,
            lambda body: Reply(parts if "sub-questions" in str(body["messages"]) else ANSWER),
        )
        tool = QueryEngineTool.from_defaults(
            index.as_query_engine(llm=llm), name="facts", description="Facts."
        )
        engine = SubQuestionQueryEngine.from_defaults(
            [tool],
            llm=llm,
            question_gen=LLMQuestionGenerator.from_defaults(llm),
            response_synthesizer=index.as_query_engine(llm=llm)._response_synthesizer,
            verbose=False,
        )
        assert str(engine.query(QUESTION)) == ANSWER
        assert str(await engine.aquery(QUESTION)) == ANSWER
        assert set(llm.router.predictor.prompts) <= {QUESTION, "What is two plus two?", parts}

    @pytest.mark.parametrize("kind", ["text", "object", "predictor"])
    async def test_a_question_is_sent_to_an_engine(self, llm, endpoint, index, kind):
        chosen = {"name": "SingleSelection", "arguments": {"index": 2, "reason": "numbers"}}
        text = json.dumps([{"choice": 2, "reason": "numbers"}])

        def reply(body):
            if body.get("tools"):
                return Reply("", tool_calls=[chosen])
            return Reply(text if "choices" in str(body["messages"]) else ANSWER)

        tell(endpoint, reply)
        selector = {
            "text": lambda: LLMSingleSelector.from_defaults(llm=llm),
            "object": lambda: PydanticSingleSelector.from_defaults(llm=llm),
            "predictor": lambda: RoutooSelector(llm.router),
        }[kind]()
        engines = [
            QueryEngineTool.from_defaults(
                index.as_query_engine(llm=llm), name=name, description=f"The {name} one."
            )
            for name in ("cheap", "dear")
        ]
        engine = RouterQueryEngine(selector=selector, query_engine_tools=engines, llm=llm)
        for response in (engine.query(QUESTION), await engine.aquery(QUESTION)):
            assert str(response) == ANSWER
            assert response.metadata["selector_result"].ind == 1
        assert set(llm.router.predictor.prompts) == {QUESTION}


class TestChatEngines:
    @pytest.mark.parametrize(
        "mode", ["simple", "context", "condense_question", "condense_plus_context"]
    )
    async def test_a_conversation_is_routed_on_what_is_asked(self, llm, endpoint, counter, mode):
        index = VectorStoreIndex.from_documents(FACTS, embed_model=WordEmbedding())
        given = {} if mode == "simple" else {"similarity_top_k": 1}
        engine = index.as_chat_engine(chat_mode=mode, llm=llm, **given)
        later = "What would be two plus two hundred, then?"
        assert str(engine.chat(QUESTION)) == ANSWER
        assert str(await engine.achat(later)) == ANSWER
        assert "".join(engine.stream_chat(QUESTION).response_gen) == ANSWER
        stream = await engine.astream_chat(later)
        assert "".join([token async for token in stream.async_response_gen()]) == ANSWER
        assert set(llm.router.predictor.prompts) <= {QUESTION, later, ANSWER}
        check_the_books(llm, endpoint, counter)


def loop(body):
    """Calls the tools once, then answers."""
    if body["messages"][-1]["role"] == "tool":
        return Reply()
    return Reply("", tool_calls=[{"name": "add", "arguments": {"a": 2, "b": 2}}])


class TestAgents:
    @pytest.mark.parametrize("streaming", [True, False])
    async def test_a_function_agents_loop_stays_with_its_expert(
        self, llm, endpoint, counter, streaming
    ):
        tell(endpoint, loop)
        memory = Memory.from_defaults()
        agent = FunctionAgent(tools=TOOLS, llm=llm, streaming=streaming)
        output = await agent.run(QUESTION, memory=memory)
        assert str(output) == ANSWER
        assert [call.tool_output.raw_output for call in output.tool_calls] == [4]
        assert output.response.additional_kwargs["routoo"]["expert"] == "dear"
        assert [
            m.additional_kwargs["routoo"]["expert"] for m in memory.get() if m.role == "assistant"
        ] == ["dear"] * 2
        assert asked(endpoint) == ["dear", "dear"]
        check_the_books(llm, endpoint, counter)

    async def test_the_loop_stays_even_where_its_result_would_go_elsewhere(self, llm, endpoint):
        tell(endpoint, loop)
        await FunctionAgent(tools=TOOLS, llm=llm).run("Add three and four for me, will you?")
        assert asked(endpoint) == ["cheap", "cheap"]

    async def test_a_react_agent_is_routed_on_the_question_in_every_step(self, llm, endpoint):
        step = 'Thought: I need a tool.\nAction: add\nAction Input: {"a": 2, "b": 2}'

        def reply(body):
            done = "Observation:" in body["messages"][-1]["content"]
            return Reply("Thought: I can answer.\nAnswer: four" if done else step)

        tell(endpoint, reply)
        output = await ReActAgent(tools=TOOLS, llm=llm, streaming=False).run(QUESTION)
        assert "four" in str(output)
        assert set(llm.router.predictor.prompts) == {QUESTION}

    async def test_agents_hand_off(self, llm, endpoint):
        def reply(body):
            offered = {tool["function"]["name"] for tool in body.get("tools", [])}
            if "handoff" in offered and "add" not in offered:
                hand = {"to_agent": "adder", "reason": "numbers"}
                return Reply("", tool_calls=[{"name": "handoff", "arguments": hand}])
            return loop(body) if str(body["messages"]).count('"a"') == 0 else Reply()

        tell(endpoint, reply)
        first = FunctionAgent(
            name="first", description="Greets.", llm=llm, can_handoff_to=["adder"]
        )
        adder = FunctionAgent(name="adder", description="Adds.", llm=llm, tools=[TOOLS[0]])
        output = await AgentWorkflow(agents=[first, adder], root_agent="first").run(QUESTION)
        assert (str(output), output.current_agent_name) == (ANSWER, "adder")
        assert set(asked(endpoint)) == {"dear"}

    async def test_accounts_and_policies_are_a_runs_own(self, llm, endpoint):
        tell(endpoint, loop)
        agent = FunctionAgent(tools=TOOLS, llm=llm)
        ctx = Context(agent)
        with Listener() as listener:
            with routoo_settings(account="alice", policy="cheapest"):
                running = agent.run(QUESTION, ctx=ctx)
            await running  # the run keeps what was set where it began
        assert [event.record["account"] for event in listener.named("RoutooDecisionEvent")] == [
            "alice",
            "alice",
        ]
        await agent.run(QUESTION, ctx=ctx)
        assert asked(endpoint) == ["cheap", "cheap", "dear", "dear"]
        alice = llm.router.budget.model_copy(update={"account": "alice"})
        assert llm.router.ledger.state(alice).calls == 2

    async def test_an_agents_answer_may_be_an_object(self, llm, endpoint):
        from llama_index_suite import BERN, Place

        def reply(body):
            named = [tool["function"]["name"] for tool in body.get("tools", [])]
            if "Place" in named:
                return Reply("", tool_calls=[{"name": "Place", "arguments": BERN.model_dump()}])
            return Reply()

        tell(endpoint, reply)
        output = await FunctionAgent(tools=TOOLS, llm=llm, output_cls=Place).run(QUESTION)
        assert output.get_pydantic_model(Place) == BERN


class TestExtraction:
    async def test_extractors_ask(self, llm, endpoint, counter):
        nodes = [TextNode(text="Two plus two is four.")]
        for extractor in (
            TitleExtractor(llm=llm, nodes=1),
            QuestionsAnsweredExtractor(llm=llm, questions=1),
        ):
            (found,) = await extractor.aextract(nodes)
            assert list(found.values()) == [ANSWER]
        check_the_books(llm, endpoint, counter)

    def test_a_property_graph_is_drawn(self, llm, endpoint):
        tell(endpoint, Reply("(Bern, is capital of, Switzerland)"))
        extractor = SimpleLLMPathExtractor(llm=llm, num_workers=1)
        index = PropertyGraphIndex.from_documents(
            FACTS,
            llm=llm,
            kg_extractors=[extractor],
            embed_model=WordEmbedding(),
            show_progress=False,
        )
        relations = {
            str(triplet[1].label)
            for triplet in index.property_graph_store.get_triplets(["Bern", "bern"])
        }
        assert relations
        assert len(endpoint.requests) == len(FACTS)


class TestEvaluation:
    async def test_evaluators_judge(self, llm, endpoint, counter):
        tell(endpoint, Reply("YES"))
        given = {"query": QUESTION, "response": ANSWER, "contexts": ["Two plus two is four."]}
        for evaluator in (FaithfulnessEvaluator(llm=llm), RelevancyEvaluator(llm=llm)):
            assert evaluator.evaluate(**given).passing
            assert (await evaluator.aevaluate(**given)).passing
        check_the_books(llm, endpoint, counter)

    def test_correctness_is_scored(self, llm, endpoint):
        tell(endpoint, Reply("4.5\nIt is right."))
        result = CorrectnessEvaluator(llm=llm).evaluate(
            query=QUESTION, response=ANSWER, reference="Four."
        )
        assert result.score == 4.5
        assert llm.router.predictor.prompts == [QUESTION]


def test_a_tool_is_a_function_with_a_context_too(llm, endpoint):
    tell(endpoint, Reply("", tool_calls=[{"name": "greet", "arguments": {}}]))
    tool = FunctionTool.from_defaults(lambda: "hello", name="greet", description="Greets.")
    assert llm.predict_and_call([tool], chat_history=[ChatMessage(QUESTION)]).response == "hello"

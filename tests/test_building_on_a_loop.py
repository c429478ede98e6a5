"""Building a model inside a coroutine waits for nothing, and neither does asking it."""

from contextlib import contextmanager

import pytest
from blockbuster import BlockingError, blockbuster_ctx
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from llama_index.core.llms import ChatMessage, MockLLM

from routoo_core import Expert
from routoo_core.budget.account import Budget
from routoo_core.tokens import count_tokens
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

QUESTION = "What is two plus two, please?"


@contextmanager
def nothing_may_block():
    """Raises where anything on the event loop blocks."""
    with blockbuster_ctx():
        yield


def pool(client, predictor):
    expert = Expert(name="m", model="m", client=client, input_usd_per_1m=1, output_usd_per_1m=1)
    return {"router": predictor, "experts": {"m": expert}, "budget": Budget(limit="1")}


@pytest.fixture
def predictor():
    from routoo_core.testing import FakePredictor

    return FakePredictor({"m": 1})


async def test_a_chat_model_is_built_and_asked(predictor):
    with nothing_may_block():
        fake = GenericFakeChatModel(messages=iter([AIMessage("Four.")] * 2))
        model = RoutooChatModel(**pool(fake, predictor), max_tokens=50)
        assert (await model.ainvoke(QUESTION)).text == "Four."
        chunks = [chunk async for chunk in model.astream(QUESTION)]
    assert "".join(chunk.text for chunk in chunks) == "Four."
    assert model.router.ledger.state(model.router.budget).calls == 2


async def test_an_llm_is_built_and_asked(predictor):
    messages = [ChatMessage(role="user", content=QUESTION)]
    with nothing_may_block():
        llm = RoutooLLM(**pool(MockLLM(), predictor), max_tokens=50)
        assert (await llm.achat(messages)).message.content
        pieces = [piece async for piece in await llm.astream_chat(messages)]
    assert pieces
    assert llm.router.ledger.state(llm.router.budget).calls == 2


async def test_the_watch_notices_what_blocks(tmp_path):
    with nothing_may_block(), pytest.raises(BlockingError):
        (tmp_path / "file").write_text(str(count_tokens(QUESTION)))

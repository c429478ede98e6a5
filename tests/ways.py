"""The four ways of a call in each framework: whole and streamed, sync and async."""

from llama_index.core.llms import ChatMessage


async def _invoke(model, prompt, /, **keywords):
    return model.invoke(prompt, **keywords)


async def _ainvoke(model, prompt, /, **keywords):
    return await model.ainvoke(prompt, **keywords)


async def _stream(model, prompt, /, **keywords):
    return _sum(list(model.stream(prompt, **keywords)))


async def _astream(model, prompt, /, **keywords):
    return _sum([chunk async for chunk in model.astream(prompt, **keywords)])


def _sum(chunks):
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


def _chat_messages(prompt):
    return [ChatMessage(role="user", content=prompt)] if isinstance(prompt, str) else prompt


async def _chat(llm, prompt, /, **keywords):
    return llm.chat(_chat_messages(prompt), **keywords)


async def _achat(llm, prompt, /, **keywords):
    return await llm.achat(_chat_messages(prompt), **keywords)


async def _stream_chat(llm, prompt, /, **keywords):
    return list(llm.stream_chat(_chat_messages(prompt), **keywords))[-1]


async def _astream_chat(llm, prompt, /, **keywords):
    pieces = await llm.astream_chat(_chat_messages(prompt), **keywords)
    return [piece async for piece in pieces][-1]


LANGCHAIN_WAYS = {
    "whole": _invoke,
    "async": _ainvoke,
    "streamed": _stream,
    "async streamed": _astream,
}
"""Way → a coroutine function that asks a LangChain model in that way; of a stream, its chunks added up."""
LLAMA_INDEX_WAYS = {
    "whole": _chat,
    "async": _achat,
    "streamed": _stream_chat,
    "async streamed": _astream_chat,
}
"""Way → a coroutine function that asks a LlamaIndex LLM in that way; of a stream, its last piece."""


def record_of(reply):
    """The decision record of a reply of either framework."""
    if hasattr(reply, "response_metadata"):
        return reply.response_metadata["routoo"]
    return reply.additional_kwargs["routoo"]

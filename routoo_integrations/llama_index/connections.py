"""A LlamaIndex LLM with connections of its own, for one process or one event loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llama_index.core.llms import LLM

from routoo_core.lifetimes import PerLoop, PerProcess
from routoo_integrations.connections import is_a, reconnect

_OPENAI_LLMS = ("OpenAI", "OpenAIResponses")


class LLMConnections:
    """The LLM of an expert for the process and the event loop that call it.

    LlamaIndex's OpenAI client is one for all loops; the connections of an earlier loop fail.

    Args:
        llm: The LLM, with the connections of this process.
        rebuild: Builds another one like it; ``None`` for an object that was given.
    """

    def __init__(self, llm: LLM, rebuild: Callable[[], LLM] | None) -> None:
        self._llm = llm
        self._rebuild = rebuild
        self._of_process = PerProcess(self._connect_process, llm)
        self._of_loop = PerLoop(self._connect_loop, _close_llm)

    def of_process(self) -> LLM:
        """The LLM for a synchronous call."""
        return self._of_process.get()

    def of_loop(self) -> LLM:
        """The LLM for a call in the running event loop."""
        return self._of_loop.get().llm

    def _connect_process(self) -> LLM:
        """An LLM for a forked child, which must not write into its parent's connections."""
        if is_a(self._llm, *_OPENAI_LLMS):
            copy: LLM = _copy_connected(self._llm, "_client", "_http_client")
            return copy
        return self._rebuild() if self._rebuild is not None else self._llm

    def _connect_loop(self) -> _LoopLLM:
        llm = self.of_process()
        if is_a(llm, *_OPENAI_LLMS):
            copy = _copy_connected(llm, "_aclient", "_async_http_client")
            return _LoopLLM(copy, is_own=copy is not llm)
        if self._rebuild is not None:
            return _LoopLLM(self._rebuild(), is_own=True)
        return _LoopLLM(llm, is_own=False)


@dataclass(frozen=True, slots=True)
class _LoopLLM:
    """An LLM of one event loop, and whether its connections are that loop's alone."""

    llm: LLM
    is_own: bool


async def _close_llm(loop_llm: _LoopLLM) -> None:
    client = getattr(loop_llm.llm, "_aclient", None)
    if loop_llm.is_own and client is not None:
        await client.close()


def without_retries(llm: LLM) -> LLM:
    """A copy of an LLM that asks once: each try is paid, so it is the driver's to make; one that asks once itself."""
    if not getattr(llm, "max_retries", 0):
        return llm
    copy = llm.model_copy(update={"max_retries": 0})
    for name in ("_client", "_aclient"):
        client = getattr(copy, name, None)
        if client is not None and hasattr(client, "copy"):
            setattr(copy, name, client.copy(max_retries=0))
    return copy


def _copy_connected(llm: Any, client_name: str, http_client_name: str) -> Any:
    """A copy of an LLM whose client opens its own connections; the same one if the HTTP client is its owner's.

    Args:
        llm: An OpenAI LLM of LlamaIndex.
        client_name: Its private attribute for the client, which is ``None`` until the first call.
        http_client_name: That for an HTTP client given by its owner.
    """
    if getattr(llm, http_client_name, None) is not None:
        return llm
    client = getattr(llm, client_name, None)
    if client is not None:
        new_client = reconnect(client)
        if new_client is client:
            return llm
        client = new_client
    copy = llm.model_copy()
    setattr(copy, client_name, client)
    return copy

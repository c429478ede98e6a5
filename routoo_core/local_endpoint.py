"""The stand-in expert: SmolLM2-135M behind a real OpenAI-compatible endpoint on loopback, inside this process."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from routoo_core import embedded
from routoo_core.errors import MissingDependency
from routoo_core.experts import Expert

CONTEXT_WINDOW = 2048
"""Tokens of prompt and reply together, of each slot."""


class LocalEndpoint:
    """Serves the embedded weights on 127.0.0.1 while the ``with`` block runs; it ends with this process.

    ::

        with LocalEndpoint() as endpoint:
            expert = endpoint.stand_in_for(pool["gpt-4o"])

    Args:
        slots: Calls answered at the same time.
        threads: Computing threads; more than the free cores makes llama.cpp many times slower.
        gguf: Another file than the embedded weights'.

    Raises:
        MissingDependency: ``xllamacpp`` is not installed.
    """

    def __init__(self, slots: int = 4, threads: int = 1, gguf: Path | None = None) -> None:
        self._slots = slots
        self._threads = threads
        self._gguf = gguf
        self._server: Any = None

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"{self._server.listening_address}/v1"

    def stand_in_for(self, expert: Expert) -> Expert:
        """``expert`` with its own name and prices, but answered here: the weights are not that expert's."""
        window = min(expert.context_window, CONTEXT_WINDOW)
        changes = {
            "base_url": self.base_url,
            "model": embedded.MODEL,
            "router_name": expert.predicted_as,
            "api_key_env": None,
            "context_window": window,
            "max_output_tokens": min(expert.max_output_tokens, window),
        }
        return expert.model_copy(update=changes)

    def __enter__(self) -> Self:
        try:
            import xllamacpp
        except ImportError as error:
            raise MissingDependency(
                "xllamacpp", "local", "serve the local stand-in expert"
            ) from error

        params = xllamacpp.CommonParams()
        params.model.path = str(self._gguf or embedded.gguf_file())
        params.model_alias = {embedded.MODEL}
        params.hostnames = ["127.0.0.1"]
        params.port = 0  # any that is free
        params.n_ctx = CONTEXT_WINDOW * self._slots
        params.n_parallel = self._slots
        params.cpuparams.n_threads = self._threads
        params.cpuparams_batch.n_threads = self._threads
        params.verbosity = -1
        self._server = xllamacpp.Server(params)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server = None

"""The stand-in expert: SmolLM2-135M behind a real OpenAI-compatible endpoint on loopback, inside this process."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from routoo_core import embedded
from routoo_core.errors import MissingDependency
from routoo_core.experts import Expert

CONTEXT_WINDOW = 2048  # of each slot


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
        self._slots, self._threads, self._gguf = slots, threads, gguf
        self._server: Any = None

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"{self._server.listening_address}/v1"

    def stand_in_for(self, expert: Expert) -> Expert:
        """``expert`` with its own name and prices, but answered here: the weights are not that expert's."""
        window = min(expert.context_window, CONTEXT_WINDOW)
        here = {"base_url": self.base_url, "model": embedded.MODEL, "api_key_env": None}
        limits = {
            "context_window": window,
            "max_output_tokens": min(expert.max_output_tokens, window),
        }
        return expert.model_copy(update={**here, **limits})

    def __enter__(self) -> Self:
        try:
            import xllamacpp
        except ImportError as error:
            raise MissingDependency(
                "xllamacpp", "local", "serve the local stand-in expert"
            ) from error
        params = xllamacpp.CommonParams()
        params.model.path, params.model_alias = (
            str(self._gguf or embedded.gguf_file()),
            {embedded.MODEL},
        )
        params.hostnames, params.port = ["127.0.0.1"], 0
        params.n_ctx, params.n_parallel = CONTEXT_WINDOW * self._slots, self._slots
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        params.verbosity = -1
        self._server = xllamacpp.Server(params)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server = None

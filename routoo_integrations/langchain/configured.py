"""Settings of one call that come in its config, which LangChain keeps from ``_generate``: they become its arguments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableConfig, ensure_config


def configured_settings(config: RunnableConfig | None) -> dict[str, Any]:
    """What a config, or that of the chain or graph that runs, sets for a call."""
    configurable = ensure_config(config).get("configurable") or {}
    return {name: value for name, value in configurable.items() if name.startswith("routoo_")}


class ConfiguredChatModel(BaseChatModel):
    """A chat model that takes what :func:`configured_settings` reads in its config beside a call's own arguments."""

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """The whole reply."""
        return super().invoke(input, config, **{**configured_settings(config), **kwargs})

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """:meth:`invoke`, async."""
        return await super().ainvoke(input, config, **{**configured_settings(config), **kwargs})

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """The reply in chunks; the last one carries the decision record."""
        return super().stream(input, config, **{**configured_settings(config), **kwargs})

    def astream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """:meth:`stream`, async."""
        return super().astream(input, config, **{**configured_settings(config), **kwargs})

    def stream_events(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """LangChain's stream of events."""
        return super().stream_events(input, config, **{**configured_settings(config), **kwargs})

    def astream_events(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """:meth:`stream_events`, async."""
        return super().astream_events(input, config, **{**configured_settings(config), **kwargs})

"""Models that do not ask again by themselves: each try is paid, so it is the driver's to make, to hold and to book."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable
from langchain_core.runnables.retry import RunnableRetry

from routoo_integrations.connections import is_a
from routoo_integrations.langchain.connections import with_client, with_parts


def without_retries(model: Any) -> Any:
    """A copy of a model, or of a runnable that holds models, which asks once; the same one if it does so already.

    The connections stay shared. Models of other packages ask once if they have a field ``max_retries`` that they read
    with each call.
    """
    if isinstance(model, RunnableRetry):
        return without_retries(model.bound)
    if is_a(model, "BaseChatOpenAI"):
        return _openai_without_retries(model)
    if is_a(model, "ChatAnthropic"):
        copy = with_client(model, "_client", model._client.copy(max_retries=0))
        return with_client(copy, "_async_client", model._async_client.copy(max_retries=0))
    if "max_retries" in getattr(type(model), "model_fields", {}):
        tries = 1 if is_a(model, "ChatGoogleGenerativeAI") else 0  # Google's counts the first
        return model.model_copy(update={"max_retries": tries})
    if isinstance(model, Runnable):
        return with_parts(model, without_retries)
    return model


def retries_of(model: Any) -> int | None:
    """The number of retries that is set on a model; ``None`` where none is set."""
    if isinstance(model, RunnableRetry):
        return max(0, model.max_attempt_number - 1)
    retries = getattr(model, "max_retries", None)
    if isinstance(retries, int) and "max_retries" in getattr(model, "model_fields_set", ()):
        return retries
    return None


def _openai_without_retries(model: Any) -> Any:
    changes: dict[str, Any] = {}
    client = model.root_client
    if client is not None:
        client = client.copy(max_retries=0)
        changes.update(root_client=client, client=client.chat.completions)
    async_client = model.root_async_client
    if async_client is not None:
        async_client = async_client.copy(max_retries=0)
        changes.update(root_async_client=async_client, async_client=async_client.chat.completions)
    return model.model_copy(update=changes)

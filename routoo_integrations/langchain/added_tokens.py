"""What a client adds to every prompt by itself, so that it can be held for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import BaseOutputParser
from langchain_core.prompts import BasePromptTemplate
from langchain_core.prompts.chat import BaseChatPromptTemplate
from langchain_core.runnables import RunnableBinding, RunnableSequence
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.runnables.retry import RunnableRetry

from routoo_core.arguments import unpriced_arguments
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert
from routoo_core.tokens import bound_tokens
from routoo_integrations.langchain.runnables import RunnableChatModel, unwrap_bindings

_PROMPT_ARGUMENTS = frozenset({"functions", "response_format", "tools"})
"""Arguments that count as prompt."""


def check_added_tokens(expert: Expert) -> None:
    """Refuse an expert whose client adds tokens to every prompt that nothing would be held for.

    Raises:
        ConfigurationError: It does.
    """
    if expert.client is None or expert.is_free or "added_prompt_tokens" in expert.model_fields_set:
        return
    tokens = added_prompt_tokens(expert.client)
    if tokens is None:
        raise ConfigurationError(
            f"{expert.place}: added_prompt_tokens: set it to the most tokens that the {type(expert.client).__name__} "
            "adds to a prompt, since nobody else can know; 0 if it adds none"
        )
    if tokens > 0:
        raise ConfigurationError(
            f"{expert.place}: added_prompt_tokens: its client adds up to {tokens} tokens to every prompt; set it to "
            f"{tokens}, or bind less to the model"
        )


def added_prompt_tokens(client: Any) -> int | None:
    """The most tokens that a client adds to every prompt; ``None`` where only its owner can say.

    Those are what is bound to a model or set in it, such as tools, and the templates of a chain.
    """
    if isinstance(client, RunnableSequence):
        steps = [added_prompt_tokens(step) for step in client.steps]
        return None if None in steps else sum(step or 0 for step in steps)
    if isinstance(client, BasePromptTemplate):
        return bound_tokens(_template_text(client))
    if isinstance(client, BaseOutputParser):
        return 0
    if isinstance(client, RunnableWithFallbacks):
        models = [added_prompt_tokens(model) for model in (client.runnable, *client.fallbacks)]
        return None if None in models else max(tokens or 0 for tokens in models)
    if isinstance(client, RunnableRetry):
        return added_prompt_tokens(client.bound)
    if not isinstance(client, BaseChatModel | RunnableBinding):
        return None
    model, bound = unwrap_bindings(client)
    if isinstance(model, RunnableChatModel):
        return None
    arguments = {**bound}
    for field in ("model_kwargs", "extra_body"):
        arguments.update(getattr(model, field, None) or {})
    return _tokens_of(arguments)


def _template_text(template: BasePromptTemplate[Any]) -> str:
    """Everything that a template says by itself."""
    if isinstance(template, BaseChatPromptTemplate):
        values = json.dumps(template.partial_variables, default=str)
        return f"{template.pretty_repr()}{values}"
    return json.dumps(template.model_dump(exclude={"metadata", "tags"}), default=str)


def _tokens_of(arguments: Mapping[str, Any]) -> int:
    """The most tokens that arguments add to a prompt."""
    names = unpriced_arguments(arguments) | (_PROMPT_ARGUMENTS & set(arguments))
    tokens = 0
    for name in sorted(names):
        value = arguments.get(name)
        if value is not None and not isinstance(value, int | float):
            tokens += bound_tokens(json.dumps(value, default=str))
    return tokens

"""Structured output: what is bound to a model so that its replies have a form, and what reads them."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Literal, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_function, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from routoo_core.experts import Pool

Method = Literal["function_calling", "json_schema", "json_mode"]


def usual_method(pool: Pool) -> Method:
    """A schema or a tool, whichever more experts of a pool can do."""
    can = [sum(need in expert.capabilities for expert in pool) for need in ("json_schema", "tools")]
    return "json_schema" if can[0] >= can[1] else "function_calling"


def structured(
    model: BaseChatModel,
    schema: dict[str, Any] | type | None,
    method: Method,
    include_raw: bool,
    strict: bool | None,
    kwargs: dict[str, Any],
) -> Runnable[LanguageModelInput, Any]:
    """A model whose replies have the form of ``schema``; see ``RoutooChatModel.with_structured_output``.

    Raises:
        ValueError: Unknown method, or no schema for a method that needs one.
    """
    if schema is None and method != "json_mode":
        raise ValueError(
            f"schema: needed for method {method!r}; give one, or use method='json_mode'"
        )
    traced = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
    if method == "function_calling":
        name = convert_to_openai_tool(cast("type", schema))["function"]["name"]
        bound = model.bind_tools(
            [cast("type", schema)],
            tool_choice=name,
            strict=strict,
            ls_structured_output_format=traced,
            **kwargs,
        )
    elif method in {"json_schema", "json_mode"}:
        form = _response_format(cast("type", schema), method, strict)
        bound = model.bind(response_format=form, ls_structured_output_format=traced, **kwargs)
    else:
        raise ValueError(f"method: {method!r} is none of function_calling, json_schema, json_mode")
    parser = _parser(schema, method)
    if not include_raw:
        return bound | parser
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _response_format(schema: type, method: Method, strict: bool | None) -> dict[str, Any]:
    if method == "json_mode":
        return {"type": "json_object"}
    function = convert_to_openai_function(schema, strict=strict)
    return {
        "type": "json_schema",
        "json_schema": {"schema": function.pop("parameters"), **function},
    }


def _parser(schema: Any, method: Method) -> BaseOutputParser[Any]:
    pydantic = isinstance(schema, type) and is_basemodel_subclass(schema)
    if method != "function_calling":
        return PydanticOutputParser(pydantic_object=schema) if pydantic else JsonOutputParser()
    if pydantic:
        return PydanticToolsParser(tools=[schema], first_tool_only=True)
    name = convert_to_openai_tool(schema)["function"]["name"]
    return JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)

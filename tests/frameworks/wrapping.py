"""A plugin for pytest: every chat model and LLM that a framework's own tests build is wrapped in ours.

``pytest -p wrapping`` with this folder on the path. The tests then see a ``RoutooChatModel`` or a ``RoutooLLM`` over a
pool of the one model that they built. The decision record is left off, since tests compare whole messages. A fake that
answers in ``invoke`` or ``with_structured_output`` itself does so still: experts are asked by ``_generate``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from blockbuster import BlockBuster
from langchain_core.language_models import BaseChatModel
from llama_index.core.llms import LLM

from routoo_core import Expert
from routoo_core.limits import CAPABILITIES
from routoo_core.testing import FakePredictor
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.langchain import calls as langchain_calls
from routoo_integrations.langchain import reading as langchain_reading
from routoo_integrations.llama_index import RoutooLLM
from routoo_integrations.llama_index import calls as llama_index_calls
from routoo_integrations.llama_index import reading as llama_index_reading
from routoo_integrations.llama_index.clients import describe_llm

_FAKES = (
    "tests.",
    "langchain_core.language_models.fake",
    "llama_index.core.llms.mock",
    "unit_tests",
)
"""How the modules begin whose models are wrapped: those of tests, and the frameworks' fakes."""
_CHAT_MODEL_FIELDS = (
    "cache",
    "callbacks",
    "custom_get_token_ids",
    "disable_streaming",
    "metadata",
    "name",
    "output_version",
    "tags",
    "verbose",
)
"""What a model is told of LangChain's own; the model around it does that now."""
_LLM_FIELDS = (
    "callback_manager",
    "completion_to_prompt",
    "messages_to_prompt",
    "output_parser",
    "pydantic_program_mode",
    "query_wrapper_prompt",
    "rate_limiter",
    "system_prompt",
)
_OPERATIONS_OF_LEDGERS = {"arrivals", "cooldowns", "release", "reserve", "settle", "state"}
_WINDOW = 10_000_000
_STATE = threading.local()


class _ShowsInner:
    """Fields that ours does not have are those of the model inside."""

    def _inner(self) -> Any:
        return self.__dict__["router"].pool["m"].client

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "router" not in self.__dict__:
                raise
            return getattr(self._inner(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name in type(self).model_fields:
            super().__setattr__(name, value)
        else:
            setattr(self._inner(), name, value)


class WrappedChatModel(_ShowsInner, RoutooChatModel):
    """Our chat model around one of a test's."""

    def with_structured_output(self, schema: Any = None, **kwargs: Any) -> Any:
        """By a tool, as LangChain's default does it, unless the fake has answers of its own."""
        inner = self._inner()
        if type(inner).with_structured_output is not BaseChatModel.with_structured_output:
            return inner.with_structured_output(schema, **kwargs)
        kwargs.setdefault("method", "function_calling")
        return super().with_structured_output(schema, **kwargs)


class WrappedLLM(_ShowsInner, RoutooLLM):
    """Our LLM around one of a test's."""


@contextmanager
def _building_ours() -> Iterator[None]:
    _STATE.is_ours = True
    try:
        yield
    finally:
        _STATE.is_ours = False


def _wrapped(model: Any) -> Any:
    """Ours around a model of a test; any other object as it is."""
    if getattr(_STATE, "is_ours", False) or not type(model).__module__.startswith(_FAKES):
        return model
    kind = type(model)
    with _building_ours():
        if isinstance(model, BaseChatModel) and kind.invoke is BaseChatModel.invoke:
            pool = _pool(model, set(CAPABILITIES))
            fields = _fields_set(model, _CHAT_MODEL_FIELDS)
            fields["profile"] = model.profile or {}  # tests rely on what fakes do not say
            return WrappedChatModel(*pool, max_retries=0, **fields)
        if isinstance(model, LLM):
            pool = _pool(model, set(CAPABILITIES) - {"tools"} | describe_llm(model)["capabilities"])
            return WrappedLLM(*pool, max_retries=0, **_fields_set(model, _LLM_FIELDS))
    return model


def _pool(model: Any, capabilities: set[str]) -> tuple[FakePredictor, dict[str, Expert]]:
    """A pool of one expert, which can do all this."""
    expert = Expert(
        name="m",
        model="m",
        client=model,
        input_usd_per_1m=0,
        output_usd_per_1m=0,
        context_window=_WINDOW,
        max_output_tokens=_WINDOW // 2,
        capabilities=capabilities,
    )
    return FakePredictor({"m": 1}), {"m": expert}


def _fields_set(model: Any, names: tuple[str, ...]) -> dict[str, Any]:
    fields = {}
    for name in names:
        value = getattr(model, name)
        if name in model.model_fields_set and value is not None:
            fields[name] = value
    return fields


def _leave_off_records() -> None:
    def unmarked(reply: Any, *_: Any) -> None:
        return None

    langchain_calls.stamp_generation = unmarked
    langchain_reading.stamp_generation = unmarked
    llama_index_calls.stamp_response = unmarked
    llama_index_reading.stamp_response = unmarked
    llama_index_reading.mark_response = unmarked


def _let_accounts_in_memory_be_used() -> None:
    """Let tests that ask on an event loop without awaiting do so: SQLite in memory is no input or output."""
    build: Any = BlockBuster.__init__

    def build_with_exception(self: BlockBuster, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        for name, function in self.functions.items():
            if name.startswith("sqlite3."):
                function.can_block_in("routoo_core/budget/sqlite.py", _OPERATIONS_OF_LEDGERS)

    BlockBuster.__init__ = build_with_exception


def pytest_configure() -> None:
    """Have each class of models build ours."""
    metaclass: Any = type(BaseChatModel)
    build = metaclass.__call__

    def build_wrapped(kind: type, *args: Any, **kwargs: Any) -> Any:
        return _wrapped(build(kind, *args, **kwargs))

    metaclass.__call__ = build_wrapped
    _leave_off_records()
    _let_accounts_in_memory_be_used()

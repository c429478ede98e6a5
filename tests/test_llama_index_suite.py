"""LlamaIndex's own LLM and RoutooLLM, over experts of several classes, behave alike."""

from typing import Any

import openai
import pytest
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike
from llama_index_suite import (
    ANSWER,
    QUESTION,
    TOOLS,
    LLMBehaviour,
    StructuredBehaviour,
    called,
    text_of,
)

from routoo_core import Budget, Expert
from routoo_core.testing import FakePredictor
from routoo_integrations.llama_index import RoutooLLM

USAGE = {"stream_options": {"include_usage": True}}


class PlainLLM(CustomLLM):
    """An LLM of another class: it completes, and knows nothing of tools."""

    model: str
    api_base: str

    @property
    def metadata(self):
        return LLMMetadata(context_window=2048, num_output=256, model_name=self.model)

    @llm_completion_callback()
    def complete(self, prompt, formatted=False, **kwargs: Any):
        client = openai.OpenAI(api_key="x", base_url=self.api_base, max_retries=0)
        message = [{"role": "user", "content": prompt}]
        reply = client.chat.completions.create(model=self.model, messages=message, **kwargs)
        return CompletionResponse(text=reply.choices[0].message.content, raw=reply)

    @llm_completion_callback()
    def stream_complete(self, prompt, formatted=False, **kwargs: Any):
        raise NotImplementedError


def priced(name, llm, **settings):
    prices = {"input_usd_per_1m": 1, "output_usd_per_1m": 1}
    return Expert(
        name=name,
        model=name,
        client=llm,
        context_window=2048,
        max_output_tokens=256,
        **prices,
        **settings,
    )


def native(endpoint, model="gpt-4o-mini", **settings):
    return OpenAI(
        model,
        api_key="x",
        api_base=endpoint.base_url,
        max_retries=0,
        additional_kwargs=USAGE,
        strict=False,
        **settings,
    )


class TestOpenAILike(LLMBehaviour):
    """LlamaIndex's own."""

    def make_llm(self, endpoint):
        return OpenAILike(
            "first",
            api_base=endpoint.base_url,
            api_key="x",
            is_chat_model=True,
            is_function_calling_model=True,
            max_retries=0,
            additional_kwargs=USAGE,
        )


class OverExperts:
    takes_over = True

    def experts(self, endpoint):
        raise NotImplementedError

    def make_llm(self, endpoint):
        experts = {expert.name: expert for expert in self.experts(endpoint)}
        quality = FakePredictor({name: 1 - place / 10 for place, name in enumerate(experts)})
        return RoutooLLM(quality, experts, policy="best", budget=Budget(limit="1"), max_tokens=50)


class TestRoutooOverRegistryEntries(OverExperts, LLMBehaviour):
    def experts(self, endpoint):
        for name in ("first", "second"):
            yield endpoint.expert(
                name, context_window=2048, max_output_tokens=256, capabilities={"tools"}
            )


class TestRoutooOverSchemas(OverExperts, StructuredBehaviour):
    """Experts that can do both: objects come by schema."""

    def experts(self, endpoint):
        yield endpoint.expert(
            "first",
            context_window=2048,
            max_output_tokens=256,
            capabilities={"json_schema", "tools"},
        )
        yield endpoint.expert(
            "second",
            context_window=2048,
            max_output_tokens=256,
            capabilities={"json_schema", "tools"},
        )


class TestRoutooOverObjects(OverExperts, LLMBehaviour):
    """An object of LlamaIndex's OpenAI with a limit of its own, and one built from settings."""

    def tell(self, endpoint, reply):
        super().tell(endpoint, reply)
        endpoint.replies["gpt-4o-mini"] = reply

    def make_llm(self, endpoint):
        endpoint.replies = _Aliased(endpoint.replies)
        return super().make_llm(endpoint)

    def experts(self, endpoint):
        yield priced("first", native(endpoint, max_tokens=64), capabilities={"tools"})
        yield endpoint.expert(
            "second", context_window=2048, max_output_tokens=256, capabilities={"tools"}
        )


class _Aliased(dict):
    """What is told to "first" goes for the model behind it."""

    def get(self, model, default=None):
        return super().get("first" if model == "gpt-4o-mini" else model, default)


@pytest.mark.parametrize("way", ["chat", "achat", "complete", "acomplete"])
async def test_an_llm_that_takes_no_tools_answers_until_tools_are_needed(endpoint, way):
    experts = {
        "plain": priced("plain", PlainLLM(model="plain", api_base=endpoint.base_url)),
        "second": endpoint.expert("second", capabilities={"tools"}),
    }
    llm = RoutooLLM(
        FakePredictor({"plain": 1, "second": 0}), experts, policy="best", budget=Budget(limit="1")
    )
    response = (await called(llm, way))[-1]
    assert (text_of(response), response.additional_kwargs["routoo"]["expert"]) == (ANSWER, "plain")
    assert llm.chat_with_tools(TOOLS, QUESTION).additional_kwargs["routoo"]["expert"] == "second"

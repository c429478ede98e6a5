"""LlamaIndex's completion models: a pool of them completes texts as each of them would by itself."""

import pytest
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.openai_like import OpenAILike

from routoo_core import Expert
from routoo_core.testing import FakePredictor
from routoo_integrations.llama_index import RoutooLLM

QUESTION = "What is two plus two, please?"


def in_brackets(prompt):
    return f"[{prompt}]"


def shouted(prompt):
    return prompt.upper()


class EchoLLM(CustomLLM):
    """Completes every text by saying it again."""

    @property
    def metadata(self):
        return LLMMetadata(context_window=2048, num_output=256, model_name="echo")

    def complete(self, prompt, formatted=False, **kwargs):
        if not formatted:
            prompt = self.completion_to_prompt(prompt)
        return CompletionResponse(text=prompt)

    def stream_complete(self, prompt, formatted=False, **kwargs):
        response = self.complete(prompt, formatted, **kwargs)
        response.delta = response.text
        yield response


def routed(*llms, **keywords):
    names = [f"m{place}" for place in range(len(llms))]
    experts = {}
    for name, llm in zip(names, llms, strict=True):
        experts[name] = Expert(
            name=name, model=name, client=llm, input_usd_per_1m=1, output_usd_per_1m=1
        )
    predictor = FakePredictor({name: 1 - place / 10 for place, name in enumerate(names)})
    return RoutooLLM(predictor, experts, policy="best", **keywords)


async def answers(llm):
    """What it makes of a question in every way there is."""
    template = PromptTemplate("{question}")
    return [
        llm.complete(QUESTION).text,
        llm.complete(QUESTION, formatted=True).text,
        (await llm.acomplete(QUESTION)).text,
        list(llm.stream_complete(QUESTION))[-1].text,
        llm.predict(template, question=QUESTION),
        await llm.apredict(template, question=QUESTION),
        "".join(llm.stream(template, question=QUESTION)),
    ]


@pytest.mark.parametrize(
    "settings",
    [{}, {"completion_to_prompt": in_brackets}, {"system_prompt": "Be brief."}],
    ids=["plain", "formatted", "with a system prompt"],
)
async def test_a_pool_of_completion_models_answers_as_one(settings):
    bare = EchoLLM(**settings)
    own = {name: value for name, value in settings.items() if name == "system_prompt"}
    llm = routed(bare, EchoLLM(**settings), **own)
    assert not llm.metadata.is_chat_model
    assert await answers(llm) == await answers(bare)


async def test_the_formats_own_to_the_pool_come_before_those_of_its_models():
    llm = routed(EchoLLM(completion_to_prompt=in_brackets), completion_to_prompt=shouted)
    expected = await answers(EchoLLM(completion_to_prompt=shouted))
    assert await answers(llm) == expected


def test_models_that_differ_are_sent_messages_and_format_them_each_in_its_own_way():
    llm = routed(EchoLLM(completion_to_prompt=in_brackets), EchoLLM(completion_to_prompt=shouted))
    assert llm.metadata.is_chat_model
    assert llm.complete(QUESTION).text == in_brackets(QUESTION)
    assert llm.complete(QUESTION, model="m1").text == shouted(QUESTION)


def test_a_pool_with_a_chat_model_chats():
    chat_model = OpenAILike(model="m", api_key="x", is_chat_model=True)
    assert routed(EchoLLM(), chat_model).metadata.is_chat_model


def test_an_llm_without_a_limit_says_so_as_others_do():
    assert routed(EchoLLM()).metadata.num_output == -1
    assert routed(EchoLLM(), max_tokens=50).metadata.num_output == 50

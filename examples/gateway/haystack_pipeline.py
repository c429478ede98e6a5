"""Haystack over the gateway: pip install haystack-ai; routoo serve; python haystack_pipeline.py"""

import os

from haystack import Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.utils import Secret

generator = OpenAIChatGenerator(
    model="routoo",
    api_base_url=os.environ.get("ROUTOO_URL", "http://127.0.0.1:8484") + "/v1",
    api_key=Secret.from_token(os.environ.get("ROUTOO_KEY", "any")),
)
pipeline = Pipeline()
template = [ChatMessage.from_user("Answer in one sentence: {{ question }}")]
pipeline.add_component("prompt", ChatPromptBuilder(template=template, required_variables="*"))
pipeline.add_component("llm", generator)
pipeline.connect("prompt.prompt", "llm.messages")
reply = pipeline.run({"prompt": {"question": "How many people live in Zurich?"}})
print(reply["llm"]["replies"][0].text)

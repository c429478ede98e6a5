"""Anthropic's SDK over the gateway, tools and a stream: pip install anthropic; routoo serve; python anthropic_sdk.py"""

import os

from anthropic import Anthropic

client = Anthropic(
    base_url=os.environ.get("ROUTOO_URL", "http://127.0.0.1:8484"),
    api_key=os.environ.get("ROUTOO_KEY", "any"),
)
PEOPLE = {"Zurich": 436_000}
TOOL = {
    "name": "population",
    "description": "How many people live in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}

messages = [{"role": "user", "content": "How many people live in Zurich?"}]
reply = client.messages.create(model="routoo", max_tokens=300, messages=messages, tools=[TOOL])
results = []
for block in reply.content:
    if block.type == "tool_use":
        people = PEOPLE[block.input["city"]]
        results.append({"type": "tool_result", "tool_use_id": block.id, "content": str(people)})
messages.append({"role": "assistant", "content": reply.content})
messages.append({"role": "user", "content": results})

with client.messages.stream(
    model="routoo", max_tokens=300, messages=messages, tools=[TOOL]
) as stream:
    for text in stream.text_stream:
        print(text, end="")
print()

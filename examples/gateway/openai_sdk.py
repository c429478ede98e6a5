"""OpenAI's SDK over the gateway, tools and a stream: pip install openai; routoo serve; python openai_sdk.py"""

import json
import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("ROUTOO_URL", "http://127.0.0.1:8484") + "/v1",
    api_key=os.environ.get("ROUTOO_KEY", "any"),
)
PEOPLE = {"Zurich": 436_000}
TOOL = {
    "type": "function",
    "function": {
        "name": "population",
        "description": "How many people live in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}

messages = [{"role": "user", "content": "How many people live in Zurich?"}]
reply = client.chat.completions.create(model="routoo", messages=messages, tools=[TOOL])
message = reply.choices[0].message
messages.append(message.to_dict())
for call in message.tool_calls or ():
    people = PEOPLE[json.loads(call.function.arguments)["city"]]
    messages.append({"role": "tool", "tool_call_id": call.id, "content": str(people)})

# The ids of the tool calls say who began the loop, and the same expert ends it.
with client.chat.completions.stream(model="routoo", messages=messages, tools=[TOOL]) as stream:
    for event in stream:
        if event.type == "content.delta":
            print(event.delta, end="")
print()

"""AutoGen over the gateway: pip install autogen-agentchat autogen-ext[openai]; routoo serve; python autogen_chat.py"""

import asyncio
import os

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import ModelFamily, ModelInfo
from autogen_ext.models.openai import OpenAIChatCompletionClient

client = OpenAIChatCompletionClient(
    model="routoo",
    base_url=os.environ.get("ROUTOO_URL", "http://127.0.0.1:8484") + "/v1",
    api_key=os.environ.get("ROUTOO_KEY", "any"),
    model_info=ModelInfo(
        vision=False,
        function_calling=True,
        json_output=True,
        family=ModelFamily.UNKNOWN,
        structured_output=True,
    ),
)


async def population(city: str) -> int:
    """How many people live in a city."""
    return {"Zurich": 436_000}[city]


async def main() -> None:
    agent = AssistantAgent(
        "geographer", model_client=client, tools=[population], reflect_on_tool_use=True
    )
    result = await agent.run(task="How many people live in Zurich?")
    print(result.messages[-1].to_text())
    await client.close()


asyncio.run(main())

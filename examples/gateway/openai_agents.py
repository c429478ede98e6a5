"""OpenAI's Agents SDK over the gateway: pip install openai-agents; routoo serve; python openai_agents.py"""

import asyncio
import os

from agents import (
    Agent,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

client = AsyncOpenAI(
    base_url=os.environ.get("ROUTOO_URL", "http://127.0.0.1:8484") + "/v1",
    api_key=os.environ.get("ROUTOO_KEY", "any"),
)
set_tracing_disabled(True)  # traces go to OpenAI's own servers


@function_tool
def population(city: str) -> int:
    """How many people live in a city."""
    return {"Zurich": 436_000}[city]


agent = Agent(
    name="Geographer",
    instructions="Look things up; do not guess.",
    model=OpenAIResponsesModel(model="routoo", openai_client=client),
    tools=[population],
)


async def main() -> None:
    result = Runner.run_streamed(agent, "How many people live in Zurich?")
    async for _ in result.stream_events():
        pass
    print(result.final_output)


asyncio.run(main())

"""pydantic-ai over the gateway: pip install 'pydantic-ai-slim[openai]'; routoo serve; python pydantic_ai_agent.py"""

import os

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(
    base_url=os.environ.get("ROUTOO_URL", "http://127.0.0.1:8484") + "/v1",
    api_key=os.environ.get("ROUTOO_KEY", "any"),
)
agent = Agent(
    OpenAIChatModel("routoo", provider=provider), instructions="Look things up; do not guess."
)


@agent.tool_plain
def population(city: str) -> int:
    """How many people live in a city."""
    return {"Zurich": 436_000}[city]


print(agent.run_sync("How many people live in Zurich?").output)

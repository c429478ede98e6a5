"""smolagents over the gateway: pip install 'smolagents[openai]'; routoo serve; python smolagents_agent.py"""

import os

from smolagents import OpenAIServerModel, ToolCallingAgent, tool


@tool
def population(city: str) -> int:
    """How many people live in a city.

    Args:
        city: Its name.
    """
    return {"Zurich": 436_000}[city]


model = OpenAIServerModel(
    model_id="routoo",
    api_base=os.environ.get("ROUTOO_URL", "http://127.0.0.1:8484") + "/v1",
    api_key=os.environ.get("ROUTOO_KEY", "any"),
)
agent = ToolCallingAgent(tools=[population], model=model, max_steps=4)
print(agent.run("How many people live in Zurich?"))

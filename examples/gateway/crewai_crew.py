"""CrewAI over the gateway: pip install crewai; routoo serve; python crewai_crew.py"""

import os

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool

os.environ.setdefault("CREWAI_TRACING_ENABLED", "false")
llm = LLM(
    model="openai/routoo",
    base_url=os.environ.get("ROUTOO_URL", "http://127.0.0.1:8484") + "/v1",
    api_key=os.environ.get("ROUTOO_KEY", "any"),
)


@tool("population")
def population(city: str) -> int:
    """How many people live in a city."""
    return {"Zurich": 436_000}[city]


geographer = Agent(
    role="Geographer",
    goal="Look things up; do not guess.",
    backstory="Knows where figures are kept.",
    llm=llm,
    tools=[population],
)
task = Task(
    description="How many people live in Zurich?",
    expected_output="One sentence.",
    agent=geographer,
)
print(Crew(agents=[geographer], tasks=[task]).kickoff().raw)

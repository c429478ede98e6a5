"""DSPy over the gateway: pip install dspy; routoo serve; python dspy_program.py"""

import os

import dspy

model = dspy.LM(
    "openai/routoo",
    api_base=os.environ.get("ROUTOO_URL", "http://127.0.0.1:8484") + "/v1",
    api_key=os.environ.get("ROUTOO_KEY", "any"),
    cache=False,
)
dspy.configure(lm=model)
print(dspy.Predict("question -> answer")(question="How many people live in Zurich?").answer)

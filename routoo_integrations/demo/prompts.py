"""What the demo asks: (kind, prompt), of visibly different kinds and difficulty."""

CHAIN = (
    ("small talk", "Hi there! How is your day going?"),
    ("arithmetic", "What is 17 + 26?"),
    ("logic", "If every bloop is a razzy and no razzy is a lazzy, can a bloop be a lazzy? Explain in one sentence."),
    ("law", "A tenant stops paying rent because the heating has failed for two months in winter. Under the implied "
            "warranty of habitability, is the landlord entitled to evict at once?"),
    ("medicine", "A 54-year-old smoker has painless haematuria and weight loss. Which single investigation comes "
                 "first, and why?"),
    ("history", "Which treaty ended the Thirty Years' War, and in which year was it signed?"),
    ("physics", "A 2 kg block slides down a frictionless incline of 30 degrees and length 5 m from rest. How fast is "
                "it at the bottom?"),
    ("chemistry", "Which gas is released when calcium carbonate reacts with dilute hydrochloric acid?"),
)  # fmt: skip

STREAMED = (
    "code",
    "Write a Python function that returns the n-th Fibonacci number without recursion.",
)

BATCH = (
    ("algebra", "How many distinct real roots does x^4 - 5x^2 + 4 = 0 have?"),
    (
        "economics",
        "If the price of a normal good's close substitute rises, what happens to the demand for the good?",
    ),
    (
        "psychology",
        "Which schedule of reinforcement makes a behaviour most resistant to extinction?",
    ),
    ("geography", "Name the capital of Australia."),
)

RETRIEVAL = (
    ("retrieval", "What happens when a stream breaks off before the reply is complete?"),
    ("retrieval", "Where does Routoo look up an expert's price when it is not given?"),
    ("retrieval", "Why does no other expert take over after the first streamed piece?"),
)

MORE = (
    (
        "statistics",
        "A fair die is rolled until a six appears. What is the expected number of rolls?",
    ),
    ("philosophy", "According to Kant, what makes a maxim fit to become a universal law?"),
    ("biology", "Which organelle carries out oxidative phosphorylation in a eukaryotic cell?"),
    (
        "engineering",
        "Why must an op-amp integrator have a large resistor across its feedback capacitor in practice?",
    ),
    (
        "business",
        "A firm has fixed costs of 12,000 and earns 8 per unit. How many units must it sell to break even?",
    ),
    ("law", "When may a court pierce the corporate veil of a subsidiary?"),
    (
        "mathematics",
        "Let G be a group of order 15. Prove or disprove that G is cyclic, in two sentences.",
    ),
    ("small talk", "Tell me something nice about Mondays."),
)

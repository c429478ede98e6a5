"""The demo's prompts, of many kinds and difficulties. The router itself tells the kind of each."""

CHAIN = (
    "Hi there! How is your day going?",
    "What is 17 + 26?",
    "Prove that the square root of 2 is irrational.",
    "Write a Python function that merges two sorted lists without using sort.",
    "Which treaty ended the Thirty Years' War, and in which year was it signed?",
    "A tenant stops paying rent because the heating has failed for two months in winter. Under the implied warranty of "
    "habitability, is the landlord entitled to evict at once?",
    "A 54-year-old smoker has painless haematuria and weight loss. Which single investigation comes first, and why?",
    "Write a short poem about the first snow in a harbour town.",
    "Translate into French: The meeting has been moved to Thursday at nine.",
    "Summarise in one sentence: The council voted on Tuesday to close the old bridge to cars. Pedestrians and cyclists "
    "may still use it. Repairs begin in spring and will take about two years.",
)  # fmt: skip

STREAMED = "Three friends finish a race. Ana is not first, Ben is not last and Cem is behind Ana. Who came second?"

BATCH = (
    "Write an SQL query that returns the three customers with the highest total order value.",
    "Which schedule of reinforcement makes a behaviour most resistant to extinction?",
    "If the price of a close substitute rises, what happens to the demand for a normal good?",
    "Wie lautet die Ableitung von x^3 - 2x, und wo ist sie null?",
)

RETRIEVAL = (
    "What happens when a stream breaks off before the reply is complete?",
    "Where does Routoo look up an expert's price when it is not given?",
    "Why does no other expert take over after the first streamed piece?",
)

MORE = (
    "A fair die is rolled until a six appears. What is the expected number of rolls?",
    "The test suite fails since the last commit. Find the cause in the repository and open a pull request.",
    "According to Kant, what makes a maxim fit to become a universal law?",
    "Name the capital of Australia.",
    "List three uses of a brick. Use exactly two words for each.",
    "Which organelle carries out oxidative phosphorylation in a eukaryotic cell?",
    "Remind me tomorrow at eight to call the dentist.",
    "Is every group of order 15 cyclic? Prove it or give a counterexample.",
    "A firm has fixed costs of 12,000 and earns 8 per unit. How many units must it sell to break even?",
    "Tell me something nice about Mondays.",
)

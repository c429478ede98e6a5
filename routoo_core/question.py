"""The question inside a retrieval prompt: what a router should read instead of the pasted context."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetrievalShape:
    """A prompt around a question, recognised by fixed texts in it.

    The texts are searched for as they are: a regular expression with as many gaps could take minutes on a long
    context.

    Attributes:
        mark: Stands somewhere in every prompt of this shape.
        before: Stands right before the question.
        after: Stands right after the question.
        question_first: The question comes before the context, so ``before`` is its first occurrence; else its last.
        at_end: ``after`` ends the prompt.
    """

    mark: str
    before: str
    after: str = ""
    question_first: bool = False
    at_end: bool = True

    def question_in(self, text: str) -> str:
        """The question; empty where the text has another shape."""
        if self.mark not in text or self.before not in text:
            return ""
        if self.question_first:
            _, _, rest = text.partition(self.before)
        else:
            _, _, rest = text.rpartition(self.before)

        rest = rest.rstrip()
        if self.at_end:
            if not rest.endswith(self.after):
                return ""
            return rest.removesuffix(self.after).strip()

        question_text, separator, _ = rest.partition(self.after)
        return question_text.strip() if separator else ""


LLAMA_INDEX_SHAPES = (
    # Refining an answer from a table, then answering from one.
    RetrievalShape(
        mark="------",
        before="response to the following task: ",
        after="\nWe have provided",
        at_end=False,
    ),
    RetrievalShape(mark="------", before="response to the following task: "),
    # Answering, summarising and citing.
    RetrievalShape(mark="------", before="\nQuery: ", after="\nAnswer:"),
    # Refining an answer, in two wordings.
    RetrievalShape(
        mark="\nWe have provided",
        before="query is as follows: ",
        after="\nWe have provided",
        question_first=True,
        at_end=False,
    ),
    RetrievalShape(
        mark="\nOriginal Answer:", before="\nQuery: ", after="\nOriginal Answer:", at_end=False
    ),
    # Choosing among summaries, one or several.
    RetrievalShape(mark="------", before="relevant to the question: '", after="'\n", at_end=False),
    RetrievalShape(mark="------", before="relevant to the question: '", after="'"),
    # Writing SQL, for two databases, and a JSON path.
    RetrievalShape(mark="Only use tables listed below", before="\nQuestion: ", after="\nSQLQuery:"),
    RetrievalShape(mark="Table schema:", before="\nQuestion: ", after="\nSQLQuery:"),
    RetrievalShape(mark="JSON Path", before="\nTask: ", after="\nResponse:"),
    # Choosing documents.
    RetrievalShape(
        mark="A list of documents is shown below", before="\nQuestion: ", after="\nAnswer:"
    ),
    # Extracting keywords.
    RetrievalShape(
        mark="A question is provided below",
        before="------\n",
        after="\n------",
        question_first=True,
        at_end=False,
    ),
    # Ranking passages.
    RetrievalShape(
        mark="\nRank the ", before="Search Query: ", after=". \nRank the ", at_end=False
    ),
    # Writing a hypothetical passage (HyDE).
    RetrievalShape(
        mark="write a passage to answer the question",
        before="key details as possible.\n",
        after='Passage:"""',
        question_first=True,
    ),
    # Rewriting a follow-up as a question of its own.
    RetrievalShape(
        mark="<Standalone question>",
        before="<Follow Up Message>\n",
        after="<Standalone question>",
    ),
    # Splitting a question into several.
    RetrievalShape(mark="<Output>", before="<User Question>\n", after="<Output>"),
)

LANGCHAIN_SHAPES = (
    # Rewriting a follow-up as a question of its own.
    RetrievalShape(
        mark="Standalone question:", before="Follow Up Input: ", after="Standalone question:"
    ),
    # Answering, with the question before the context or after it; much is written by hand like this.
    RetrievalShape(
        mark="\nContext:",
        before="\nQuestion: ",
        after="\nContext:",
        question_first=True,
        at_end=False,
    ),
    RetrievalShape(mark="\nHelpful Answer:", before="\nQuestion: ", after="\nHelpful Answer:"),
    RetrievalShape(mark="ontext:", before="\nQuestion: ", after="\nAnswer:"),
    RetrievalShape(mark="ontext:", before="\nQuestion: "),
    RetrievalShape(mark="Context information", before="answer the question: "),
)

SHAPES = LLAMA_INDEX_SHAPES + LANGCHAIN_SHAPES
"""Tried in this order; the first that finds a question decides."""


def question(text: str) -> str:
    """The question of a retrieval prompt in LlamaIndex's or LangChain's usual shapes, else the text itself."""
    for shape in SHAPES:
        question_text = shape.question_in(text)
        if question_text:
            return question_text
    return text

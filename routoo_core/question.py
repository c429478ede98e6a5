"""The question inside a retrieval prompt."""

from __future__ import annotations

from typing import NamedTuple


class _Shape(NamedTuple):
    """A prompt around a question, known by what stands in it.

    Searched for plainly: on a long context, a regular expression with as many gaps could take minutes.

    Attributes:
        mark: Stands somewhere in every prompt of this shape.
        before: Stands right before the question: its last occurrence, or the first where the question ``leads``.
        after: Stands right after it.
        leads: The question comes before the context.
        ends: ``after`` is the end of the prompt.
    """

    mark: str
    before: str
    after: str = ""
    leads: bool = False
    ends: bool = True

    def question_in(self, text: str) -> str:
        """The question, or nothing where the text has another shape."""
        if self.mark not in text or self.before not in text:
            return ""
        found = (text.partition(self.before) if self.leads else text.rpartition(self.before))[
            2
        ].rstrip()
        if self.ends:
            return found.removesuffix(self.after).strip() if found.endswith(self.after) else ""
        found, closed, _ = found.partition(self.after)
        return found.strip() if closed else ""


_SHAPES = (
    # LlamaIndex: tables; answer, summarize, cite; refine, in two wordings; choose; SQL; keywords; rank; rewrite; split
    _Shape("------", "response to the following task: ", "\nWe have provided", ends=False),
    _Shape("------", "response to the following task: "),
    _Shape("------", "\nQuery: ", "\nAnswer:"),
    _Shape(
        "\nWe have provided", "query is as follows: ", "\nWe have provided", leads=True, ends=False
    ),
    _Shape("\nOriginal Answer:", "\nQuery: ", "\nOriginal Answer:", ends=False),
    _Shape("------", "relevant to the question: '", "'\n", ends=False),
    _Shape("------", "relevant to the question: '", "'"),
    _Shape("Only use tables listed below", "\nQuestion: ", "\nSQLQuery:"),
    _Shape("Table schema:", "\nQuestion: ", "\nSQLQuery:"),
    _Shape("JSON Path", "\nTask: ", "\nResponse:"),
    _Shape("A list of documents is shown below", "\nQuestion: ", "\nAnswer:"),
    _Shape("A question is provided below", "------\n", "\n------", leads=True, ends=False),
    _Shape("\nRank the ", "Search Query: ", ". \nRank the ", ends=False),
    _Shape(
        "write a passage to answer the question",
        "key details as possible.\n",
        'Passage:"""',
        leads=True,
    ),
    _Shape("<Standalone question>", "<Follow Up Message>\n", "<Standalone question>"),
    _Shape("<Output>", "<User Question>\n", "<Output>"),
    # LangChain, and much that is written by hand
    _Shape("Standalone question:", "Follow Up Input: ", "Standalone question:"),
    _Shape("\nContext:", "\nQuestion: ", "\nContext:", leads=True, ends=False),
    _Shape("\nHelpful Answer:", "\nQuestion: ", "\nHelpful Answer:"),
    _Shape("ontext:", "\nQuestion: ", "\nAnswer:"),
    _Shape("ontext:", "\nQuestion: "),
    _Shape("Context information", "answer the question: "),
)


def question(text: str) -> str:
    """The question of a retrieval prompt in LlamaIndex's or LangChain's usual shapes, else the text itself."""
    return next(filter(None, (shape.question_in(text) for shape in _SHAPES)), text)

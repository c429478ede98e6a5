"""How plainly the README and the pages read: python scripts/readability.py

Flesch's reading ease (Flesch 1948): 206.835 - 1.015 · words a sentence - 84.6 · syllables a word. Syllables come from
hyphenation or from groups of vowels, whichever finds more. Prose alone counts: no code, tables or headings. A name in
backticks counts as one short word.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from pyphen import Pyphen

ROOT = Path(__file__).parent.parent
EASE = 55
"""The least reading ease of a page."""
LENGTH = 18
"""The most words a sentence may have on average."""
VOWELS = re.compile(r"[aeiouy]+")


@dataclass(frozen=True)
class Readability:
    """What the prose of a page comes to.

    Attributes:
        words: How many words it has.
        sentence_words: Words of a sentence, on average.
        ease: Flesch's reading ease, about 0 to 100; the higher the plainer.
    """

    words: int
    sentence_words: float
    ease: float

    def is_plain(self) -> bool:
        """Whether a page meets both bars."""
        return self.ease >= EASE and self.sentence_words <= LENGTH


def prose_of(markdown: str) -> str:
    """The sentences of a page, one paragraph or list item a line."""
    text = re.sub(r"^---\n.*?\n---\n", "", markdown, flags=re.S)
    text = re.sub(r"^ *(`{3,4}).*?^ *\1`*$", "\n", text, flags=re.S | re.M)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    paragraphs = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text):
        block = block.strip()
        is_prose = not re.match(r"#|\||:::|!\[|    ", block)
        if block and is_prose:
            paragraphs.append(" ".join(block.split()))
    return "\n".join(_plain(paragraph) for paragraph in paragraphs)


def _plain(paragraph: str) -> str:
    """A paragraph without Markdown; what stands in backticks counts as one short word."""
    paragraph = re.sub(r"^(?:[-*]|\d+\.) ", "", paragraph)
    paragraph = re.sub(r"!\[[^]]*\]\([^)]*\)(?:\{[^}]*\})?", "", paragraph)
    paragraph = re.sub(r"`[^`]+`", "it", paragraph)
    paragraph = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", paragraph)
    return re.sub(r"[*_]", "", paragraph)


def sentences_of(prose: str) -> list[list[str]]:
    """The words of each sentence; a paragraph, a list item and a full stop end one, a colon or semicolon does not."""
    sentences = []
    for line in prose.splitlines():
        for sentence in re.split(r"(?<=[.!?])\s+", line):
            words = re.findall(r"[A-Za-zÀ-ÿ]+(?:['’-][A-Za-zÀ-ÿ]+)*", sentence)
            if words:
                sentences.append(words)
    return sentences


def syllables_of(word: str, hyphenation: Pyphen) -> int:
    """Syllables of a word: by hyphenation, and by its groups of vowels where that finds fewer breaks."""
    word = word.lower()
    groups = VOWELS.findall(word)
    silent = word.endswith("e") and not word.endswith(("le", "ee")) and len(groups) > 1
    return max(1, len(hyphenation.positions(word)) + 1, len(groups) - silent)


def measure(markdown: str) -> Readability:
    """The readability of a page in Markdown."""
    hyphenation = Pyphen(lang="en_US")
    sentences = sentences_of(prose_of(markdown))
    words = [word for sentence in sentences for word in sentence]
    if not words:
        return Readability(0, 0.0, 100.0)
    syllables = sum(syllables_of(word, hyphenation) for word in words)
    sentence_words = len(words) / len(sentences)
    ease = 206.835 - 1.015 * sentence_words - 84.6 * syllables / len(words)
    return Readability(len(words), sentence_words, ease)


def pages() -> list[Path]:
    """The README and every page of the site that is written by hand."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> None:
    failed = False
    print("words  a sentence   ease  page")
    for path in pages():
        figures = measure(path.read_text(encoding="utf-8"))
        failed = failed or not figures.is_plain()
        mark = "" if figures.is_plain() else "  <- too hard"
        name = path.relative_to(ROOT)
        print(
            f"{figures.words:5d} {figures.sentence_words:11.1f} {figures.ease:6.1f}  {name}{mark}"
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()

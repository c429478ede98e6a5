"""What a question asks, read from its words: enough to see that two questions differ.

Two questions can be alike and ask for different things: another number, unit, name, language or direction, a negation,
*when* instead of *where*. Vectors do not see that. So a question is taken apart, and what must agree is compared word
by word. The words are English; in a text of another language every word counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_STOPPED = """
a an the this that these those there here it its is are was were be been being am do does did
done doing will would shall may might i me we us you of in on at for with as and so if then to
just also please kindly hello hi hey thanks thank tell show give explain describe define me
could can what which whats question answer exactly actually basically way ways s d ll ve re m t
"""
_DENYING = """
no not never none nobody nothing nor neither without except excluding unless cannot lacks
lacking avoid avoiding stop prevent
"""
_DIRECTING = """
to into from than before after over under above below against by between towards since until
"""
_HAVING = """
have has had having
"""
_OWNING = """
my mine your yours his her hers our ours their theirs
"""
_FRAMING = """
how when where who whom whose why year date day place person reason reasons number many much
come steps step method procedure would should must ought shall
"""
_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+(?:[.,:/]\d+)*|[+%$€£°<>=*/^#-]")
_NUMBER = re.compile(r"\d")
_SENTENCE_END = frozenset(".!?:\n")
_NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
        ]
    )
}
_NEGATIONS = frozenset(_DENYING.split())
_STOP_WORDS = frozenset(_STOPPED.split())
"""Words that may differ between two ways of asking for the same."""
_DIRECTIONS = frozenset(_DIRECTING.split())
"""Words that say which way round something is asked; all but *to* must stand in both questions."""
_PASSIVE = re.compile(
    r"\b(?:was|were|is|are|be|been|being|gets?|got)\s+(?:not\s+|never\s+)?\w+(?:ed|en|wn|lt|ht|ld|und)\b"
)
_TENSES = {
    "past": frozenset({"was", "were", "did", "had"}),
    "present": frozenset({"is", "are", "am", "does", "do", "has", "have"}),
    "future": frozenset({"will"}),
}
"""What a question is about by its auxiliary verbs."""
_BEING = frozenset({"am", "is", "are", "was", "were"})
_DOING = frozenset({"do", "does", "did"})
_PROGRESSIVE = re.compile(r"\w{3}ing\b")
_MODALS = {
    "can": "can",
    "could": "can",
    "should": "should",
    "must": "should",
    "ought": "should",
    "may": "can",
}
_SYNONYMS = {
    word: group.split()[0]
    for group in (
        "fix repair mend",
        "buy purchase",
        "big large",
        "begin start commence",
        "end finish",
        "quick fast",
        "car automobile",
        "film movie",
        "doctor physician",
        "kid child children",
        "error bug",
        "remove delete",
        "create build construct",
        "invent invented invention inventor",
        "discover discovered discovery discoverer",
        "write wrote written author",
        "compute calculate",
        "cook prepare",
        "grow cultivate",
        "difference differ different",
        "capital capitals",
        "height tall high",
        "distance far",
        "length long",
        "weight weigh heavy",
        "age old",
        "price cost costs",
        "population inhabitants people",
        "boil boils boiling",
        "freeze freezes freezing",
        "method procedure technique",
        "sort sorting",
        "clean wash",
        "paint painted painter",
        "founded founder",
        "translate translation translated",
        "cure treat treatment",
        "reset restore",
        "advantage benefit pro",
        "drawback disadvantage downside con",
        "maximum max",
        "minimum min",
        "percent percentage",
        "kilometre kilometer km",
        "metre meter",
        "centimetre centimeter cm",
        "kilogram kg kilo",
        "gram gramme g",
        "litre liter",
        "celsius centigrade",
        "colour color",
        "centre center",
        "usa america",
        "uk britain",
        "summary summarise summarize summarised",
        "list lists",
        "born birth",
        "die died death",
    )
    for word in group.split()
}
_QUESTION_KINDS = (
    ("what", re.compile(r"\bhow (?:big|deep|far|fast|heavy|high|large|old|tall|wide)\b")),
    ("count", re.compile(r"\bhow many\b|\bnumber of\b")),
    ("amount", re.compile(r"\bhow much\b")),
    (
        "time",
        re.compile(r"\bwhen\b|\b(?:what|which|in what|in which) (?:year|date|day|century|time)\b"),
    ),
    ("span", re.compile(r"\bhow long\b|\bhow much time\b")),
    ("place", re.compile(r"\bwhere\b|\b(?:in|what|which) (?:place|location)\b")),
    ("person", re.compile(r"\bwho\b|\bwhose\b|\bwhom\b|\b(?:what|which) person\b")),
    ("reason", re.compile(r"\bwhy\b|\breasons?\b|\bhow come\b|\bwhat makes\b|\bwhat causes\b")),
    (
        "manner",
        re.compile(
            r"\bhow (?:do|does|did|can|could|should|would|to|is|are|might)\b|\b(?:ways?|steps?|method|procedure) "
            r"(?:to|of|for)\b|\bhow\b"
        ),
    ),
    (
        "choice",
        re.compile(
            r"^(?:is|are|was|were|do|does|did|can|could|should|must|may|will|would|has|have)\b"
        ),
    ),
)
"""Kinds of questions by their words, the first that fits; any other asks what something is."""
_COURTESY = re.compile(
    r"^(?:(?:hi|hello|hey|please|kindly|so|tell me|let me know|would you say|(?:can|could) you (?:tell|show|help) me|"
    r"i(?: want| would like| need|['’]d like) to know|do you know)\b[,: ]*)+",
    re.IGNORECASE,
)
_FRONTED = re.compile(
    r"^((?:at|by|during|every|for|from|in|on|under|with)\b(?:[^,?!]|,\d){1,80}), +(.*?)[?.!]*$",
    re.IGNORECASE | re.DOTALL,
)
_ENTITY_CASE = re.compile(r"^(?:[A-Z][^\W\d_]*|[^\W\d_]*[a-z][A-Z][^\W\d_]*)(?:['’]s)?$")
_POSSESSIVE = re.compile(r"['’]s$")


@dataclass(frozen=True, slots=True)
class Wording:
    """What a question asks.

    Attributes:
        text: The question in lower case, without courtesy.
        kind: What it wants to know: ``time``, ``place``, ``person``, …; ``what`` for anything else.
        tenses: Those of its auxiliary verbs.
        verbs: Whether it asks what something is, or what it does.
        numbers: In order, as written.
        signs: Signs such as ``+`` and ``%``, in order.
        negations: How many words deny something.
        modal: Of a question for yes or no, whether it asks what can or what should be.
        entities: Stems of names.
        words: Stems of all words that matter, in order, names and numbers too.
        directions: Each word of a direction with the next word that matters.
        turns: Words of a direction, and whether something is had, or done to what is asked about.
        owners: Whose things it asks for.
    """

    text: str
    kind: str
    tenses: frozenset[str]
    verbs: frozenset[str]
    numbers: tuple[str, ...]
    signs: tuple[str, ...]
    negations: int
    modal: str
    entities: frozenset[str]
    words: tuple[str, ...]
    directions: frozenset[tuple[str, str]]
    turns: frozenset[str]
    owners: frozenset[str]

    @classmethod
    def of(cls, text: str) -> Wording:
        """Take a question apart."""
        usual = _in_usual_order(text)
        parts = _Parts(_kind_of(usual))
        for token in _tokens(usual):
            parts.add(token)
        return parts.wording(usual.lower())


class _Parts:
    """Sorts the words of a question.

    Args:
        kind: Of the question.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._numbers: list[str] = []
        self._signs: list[str] = []
        self._negations = 0
        self._modal = ""
        self._entities: set[str] = set()
        self._words: list[str] = []
        self._directions: set[tuple[str, str]] = set()
        self._pending: list[str] = []
        self._turns: set[str] = set()
        self._owners: set[str] = set()
        self._tenses: set[str] = set()
        self._verbs: set[str] = set()

    def add(self, token: _Token) -> None:
        """Add the next one."""
        word = token.word
        self._note_small_word(word)
        if _NUMBER.search(word) or word in _NUMBER_WORDS:
            number = _NUMBER_WORDS.get(word, word.replace(",", ""))
            self._numbers.append(number)
            self._add_stem(number)
        elif not word[0].isalpha():
            self._signs.append(word)
        elif word in _OWNERS:
            self._owners.add(word)
        elif word in _DIRECTIONS:
            self._pending.append(word)
            if word not in _STOP_WORDS:
                self._turns.add(word)
        elif word in _HAVE:
            self._turns.add("have")
        elif word not in _STOP_WORDS and word not in _FRAMES:
            stem = stem_of(word)
            if token.is_name:
                self._entities.add(stem)
            self._add_stem(stem)

    def wording(self, text: str) -> Wording:
        """All of them.

        Args:
            text: The question in lower case.
        """
        turns = self._turns | {f"{word} at the end" for word in self._pending}
        if _PASSIVE.search(text):
            turns.add("passive")
        verbs = self._verbs
        if "be" in verbs and _PROGRESSIVE.search(text):
            verbs = (verbs - {"be"}) | {"do"}  # what it is doing
        return Wording(
            text=text,
            kind=self._kind,
            tenses=frozenset(self._tenses),
            verbs=frozenset(verbs),
            numbers=tuple(self._numbers),
            signs=tuple(self._signs),
            negations=self._negations,
            modal=self._modal,
            entities=frozenset(self._entities),
            words=tuple(self._words),
            directions=frozenset(self._directions),
            turns=frozenset(turns),
            owners=frozenset(self._owners),
        )

    def _note_small_word(self, word: str) -> None:
        """Note what a word says of the whole question."""
        if word in _MODALS and not self._modal and self._kind == "choice":
            self._modal = _MODALS[word]
        if word in _NEGATIONS or word.endswith(("n't", "n’t")):
            self._negations += 1
        if word in _BEING:
            self._verbs.add("be")
        elif word in _DOING:
            self._verbs.add("do")
        for tense, verbs in _TENSES.items():
            if word in verbs or word.removesuffix("n't") in verbs:
                self._tenses.add(tense)

    def _add_stem(self, stem: str) -> None:
        for word in self._pending:
            self._directions.add((word, stem))
        self._pending.clear()
        self._words.append(stem)


_HAVE = frozenset(_HAVING.split())
_OWNERS = frozenset(_OWNING.split())
_FRAMES = frozenset(_FRAMING.split())
"""Words that the kind of a question stands for."""
_FEWEST_WORDS = 2
"""Fewer words that matter say too little to tell questions apart."""


def difference(first: Wording, second: Wording) -> str | None:
    """In what two questions ask for different things; ``None`` where nothing tells them apart."""
    if first.text == second.text:
        return None
    if first.kind != second.kind:
        return "what is asked"
    if first.numbers != second.numbers or first.signs != second.signs:
        return "a number"
    if first.negations != second.negations:
        return "a negation"
    if first.owners != second.owners or first.modal != second.modal:
        return "whose or whether"
    if _contradict(first.tenses, second.tenses):
        return "the tense"
    if _contradict(first.verbs, second.verbs):
        return "what is asked"
    if set(first.words) != set(second.words):
        return "a name" if first.entities != second.entities else "a word"
    if first.turns != second.turns or not _point_alike(first, second):
        return "the direction"
    if first.words != second.words:
        return "the order"
    return None if len(first.words) >= _FEWEST_WORDS else "too few words"


def _contradict(first: frozenset[str], second: frozenset[str]) -> bool:
    """Whether both say something, and nothing of it in common."""
    return bool(first and second) and first.isdisjoint(second)


def _point_alike(first: Wording, second: Wording) -> bool:
    """Whether no word of a direction points to another thing in each."""
    of_first = _targets(first.directions)
    of_second = _targets(second.directions)
    for word in of_first.keys() & of_second.keys():
        if not (of_first[word] <= of_second[word] or of_second[word] <= of_first[word]):
            return False
    return True


def _targets(directions: frozenset[tuple[str, str]]) -> dict[str, set[str]]:
    """Word of a direction → what it points to."""
    targets: dict[str, set[str]] = {}
    for word, target in directions:
        targets.setdefault(word, set()).add(target)
    return targets


def stem_of(word: str) -> str:
    """A word without its ending, or the one that stands for it.

    >>> stem_of("lists"), stem_of("purchased"), stem_of("cities")
    ('list', 'buy', 'city')
    """
    if word in _SYNONYMS:
        return _SYNONYMS[word]
    for ending, replacement in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) + len(replacement) >= _SHORTEST_STEM:
            stem = word[: len(word) - len(ending)] + replacement
            if ending in {"ing", "ed"} and len(stem) > _SHORTEST_STEM and stem[-1] == stem[-2]:
                stem = stem[:-1]
            return _SYNONYMS.get(stem, _SYNONYMS.get(f"{stem}e", stem))
    return word


_SHORTEST_STEM = 3
_ENDINGS = (
    ("ies", "y"),
    ("sses", "ss"),
    ("ing", ""),
    ("ed", ""),
    ("es", "e"),
    ("ss", "ss"),
    ("us", "us"),
    ("s", ""),
)


@dataclass(frozen=True, slots=True)
class _Token:
    """A word, in lower case, and whether it is written as a name."""

    word: str
    is_name: bool


def _tokens(text: str) -> Iterator[_Token]:
    """The words, numbers and signs of a text."""
    begins = True
    last_end = 0
    for match in _TOKEN.finditer(text):
        between = text[last_end : match.start()]
        begins = begins or any(sign in _SENTENCE_END for sign in between)
        last_end = match.end()
        raw = _POSSESSIVE.sub("", match.group())
        is_name = bool(_ENTITY_CASE.match(raw)) and not begins
        is_name = is_name or (len(raw) > 1 and raw.isupper() and raw.isalpha())
        begins = False
        yield _Token(raw.lower(), is_name and raw != "I")


def _in_usual_order(text: str) -> str:
    """A question without its opening courtesy, a phrase of place or time that it begins with put behind it."""
    text = _COURTESY.sub("", text.strip())
    match = _FRONTED.match(text)
    return text if match is None else f"{match[2]} {match[1]}"


def _kind_of(text: str) -> str:
    lower_case = text.lower().strip()
    for kind, words in _QUESTION_KINDS:
        if words.search(lower_case):
            return kind
    return "what"


def find_difference(first: str, second: str) -> str | None:
    """In what two questions ask for different things; ``None`` where nothing tells them apart."""
    return difference(Wording.of(first), Wording.of(second))

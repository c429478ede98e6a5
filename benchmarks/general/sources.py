"""The tables that the general router learns from, as its training wants them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from kind_prompts import make_prompts
from kind_words import FOREIGN_WORDS, WORDS

from routoo_core.catalogue.building import build_catalogue, read_models, read_scores
from routoo_core.catalogue.entries import PublishedScore
from routoo_core.catalogue.skills import SKILLS, skills_of
from routoo_core.catalogue.store import Catalogue, CatalogueContent, write_catalogue
from routoo_core.training.general_corpus import GeneralSource, KindExample

TABLES = (
    "mmlu_pro",
    "zeroeval",
    "helm_mmlu",
    "routellm",
    "livecodebench",
    "bfcl_v1",
    "shaberi_gpt41",
)
TASTE_SOURCE = "mmlu_pro"
"""Complete for 33 different experts, so that their differences can be told from luck."""

_TABLES_IN_SOURCES = (
    "shared/data/mmlu_pro",
    "shared/data/zeroeval",
    "shared/data/helm_mmlu",
    "shared/data/routellm",
    "livecodebench.outcomes",
    "bfcl_v1.outcomes",
    "shaberi_gpt41.outcomes",
)
"""In the source of a score that was computed from one of the tables."""
WRITTEN_PROMPTS = (
    Path(__file__).parent / "prompts_en.jsonl",
    Path(__file__).parent / "prompts_other_languages.jsonl",
)
ENGLISH_SAMPLES = 150
FOREIGN_SAMPLES = 40

_LETTERS_PER_TOKEN = 4.0
_KIND_OF_BENCHMARK = {
    "gsm": "maths",
    "gsm8k": "maths",
    "math-l5": "maths",
    "numersense-v2": "maths",
    "crux": "code",
    "zebra-grid": "reasoning",
    "livecodebench-codegen": "code",
    "bfcl-v1": "tools",
}
_ASK = "\nAnswer:"
"""At the end of one table's prompts; nobody types it."""


@dataclass(frozen=True)
class SourceTable:
    """A source, with the side of the split of each of its prompts."""

    source: GeneralSource
    splits: np.ndarray

    def part(self, split: str | None) -> GeneralSource:
        """The prompts of one side; all for ``None``."""
        if split is None:
            return self.source
        rows = np.flatnonzero(self.splits == split)
        return take(self.source, rows)


def take(source: GeneralSource, rows: np.ndarray) -> GeneralSource:
    """Some prompts of a source."""
    return replace(
        source,
        texts=[source.texts[row] for row in rows],
        kinds=[source.kinds[row] for row in rows],
        languages=[source.languages[row] for row in rows],
        scores=source.scores[rows],
        lengths=source.lengths[rows],
    )


def is_of_tables(score: PublishedScore) -> bool:
    """Whether a score was computed from one of the tables here: labels say the same, and better."""
    return score.kind.startswith("computed") and any(
        name in score.source for name in _TABLES_IN_SOURCES
    )


def make_catalogue(
    data: Path, keep: Callable[[PublishedScore], bool] = lambda score: True
) -> CatalogueContent:
    """The catalogue that ships: of everything published, without what was computed from the tables."""
    scores = read_scores(data / "catalogue.parquet")
    models = read_models(data / "models.parquet")
    return build_catalogue(models, scores, lambda score: not is_of_tables(score) and keep(score))


def kind_examples() -> list[KindExample]:
    """Prompts written for this project, and a few words of a kind's vocabulary at a time."""
    examples = [KindExample(text, kind, language) for text, kind, language in make_prompts()]
    for path in WRITTEN_PROMPTS:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            examples.append(KindExample(row["prompt"], row["kind"], row["language"]))
    random = np.random.default_rng(1)
    for language, words_of_kind in {"en": WORDS, **FOREIGN_WORDS}.items():
        for kind, text in words_of_kind.items():
            words = text.split()
            count = ENGLISH_SAMPLES if language == "en" else FOREIGN_SAMPLES
            for _ in range(count):
                examples.append(KindExample(_sample_words(words, random), kind, language))
    return examples


def _sample_words(words: list[str], random: np.random.Generator) -> str:
    """One to three words, in a row or from anywhere."""
    count = int(random.integers(1, 4))
    if random.random() < 0.5:
        start = int(random.integers(0, max(1, len(words) - count)))
        return " ".join(words[start : start + count])
    return " ".join(random.choice(words, count))


def read_sources(
    data: Path, catalogue: Catalogue, names: Sequence[str] = TABLES
) -> list[SourceTable]:
    """Read the tables."""
    return [_read_source(data, name, catalogue) for name in names]


def _read_source(data: Path, name: str, catalogue: Catalogue) -> SourceTable:
    prompts = pq.read_table(data / f"{name}.prompts.parquet").to_pylist()
    outcomes = pq.read_table(data / f"{name}.outcomes.parquet").to_pydict()
    experts = sorted(set(outcomes["model"]))
    row_of_prompt = {row["prompt_id"]: number for number, row in enumerate(prompts)}
    column_of_expert = {expert: number for number, expert in enumerate(experts)}
    scores = np.full((len(prompts), len(experts)), np.nan, np.float32)
    lengths = np.full_like(scores, np.nan)
    tokens = outcomes.get("completion_tokens")
    letters = outcomes.get("completion_chars")
    for number, prompt_id in enumerate(outcomes["prompt_id"]):
        if prompt_id not in row_of_prompt:
            continue
        cell = (row_of_prompt[prompt_id], column_of_expert[outcomes["model"][number]])
        scores[cell] = outcomes["score"][number]
        if tokens and tokens[number]:
            lengths[cell] = tokens[number]
        elif letters and letters[number]:
            lengths[cell] = letters[number] / _LETTERS_PER_TOKEN

    source = GeneralSource(
        name=name,
        texts=[row["prompt"].removesuffix(_ASK) for row in prompts],
        kinds=[_kind_of(name, row.get("benchmark"), row.get("domain")) for row in prompts],
        experts=experts,
        scores=scores,
        lengths=lengths,
        abilities=np.stack([ability_of(catalogue, expert) for expert in experts]),
        languages=["ja" if name.startswith("shaberi") else "en"] * len(prompts),
    )
    return SourceTable(source, np.array([row["split"] for row in prompts]))


def ability_of(catalogue: Catalogue, expert: str) -> np.ndarray:
    """By the catalogue; that of a middling model where it is not there."""
    ability = catalogue.ability(expert)
    return np.zeros(len(SKILLS), np.float32) if ability is None else ability.mean


def _kind_of(source: str, benchmark: str | None, domain: str | None) -> str | None:
    if benchmark in _KIND_OF_BENCHMARK:
        return _KIND_OF_BENCHMARK[benchmark]
    family = "MMLU-Pro" if source == "mmlu_pro" else "MMLU (HELM)"
    if source.startswith("shaberi") or domain is None:
        return None
    return skills_of(family, domain)[0]


def open_content(content: CatalogueContent, folder: Path) -> Catalogue:
    """A catalogue in a file of its own."""
    path = folder / "catalogue.sqlite"
    write_catalogue(path, content)
    return Catalogue(path)

"""Train the general routers that ship.

    python benchmarks/general/train.py --data TABLES --out general-fast
    python benchmarks/general/train.py --data TABLES --out general --encoder embedded:smollm2-135m-instruct

Writes the catalogue first (without what was computed from the tables), then fits on the 'train' prompts, and
measures on the 'dev' prompts: with the labels of each expert, and with none at all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measures import SourceFigures, measure
from sources import TABLES, TASTE_SOURCE, SourceTable, kind_examples, make_catalogue, read_sources
from vectors import LAYERS, VectorFile, reader_of

from routoo_core.abilities import describe_names, unknown_ability
from routoo_core.catalogue.skills import SKILLS
from routoo_core.catalogue.store import SHIPPED, Catalogue, write_catalogue
from routoo_core.predictor.checkpoint_folder import (
    CARD_FILE,
    CONFIG_FILE,
    FORMAT,
    GENERAL,
    METRICS_FILE,
    find_router,
)
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.predictor.general import DescribedExpert, GeneralModel, PromptReading
from routoo_core.predictor.general_checkpoint import (
    ENCODER,
    ENCODER_FINGERPRINT,
    load_general,
    save_general,
)
from routoo_core.predictor.vector_reader import VectorReader
from routoo_core.text import question_fingerprints
from routoo_core.training.general import GeneralFit, fit_general

LOOKED_AT = Path(__file__).parent / "test_prompts.txt"
BLIND = Path(__file__).parent / "blind_prompts.jsonl"
SURE = 0.7
REFERENCE_PROMPTS_OF_KIND = 50
CARD = """# {name}

Predicts how well any expert would answer any prompt. {reading}
The catalogue says how able an expert is in that kind, and labels of {labels} experts sharpen it.

Trained on the `train` prompts of {tables}, on prompts of every kind written for this project, and on the catalogue's
scores. `metrics.json` has the figures on the `dev` prompts, which it has not seen.

Difficulty is unknown for kinds that no table has (writing, chat, summaries, agentic code, instructions, tables,
languages). There the prediction is the catalogue's ability. Made by `python benchmarks/general/train.py`.
"""
BY_NGRAMS = """Hashed n-grams say what kind a prompt is and how hard. No PyTorch, no download, a fraction of a
millisecond a prompt."""
BY_VECTORS = """The layers of a small language model ({model}) and hashed n-grams say together what kind a prompt is
and how hard. It needs PyTorch and some tens of milliseconds on a CPU."""


def main() -> None:
    """Build, fit, save and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--catalogue", type=Path, default=SHIPPED)
    parser.add_argument("--encoder", help="a model whose vectors are read too")
    parser.add_argument("--vectors", type=Path, default=Path("vectors.npz"), help="kept vectors")
    parser.add_argument("--measure-only", action="store_true", help="of the router in --out")
    options = parser.parse_args()

    if not options.measure_only:
        write_catalogue(options.catalogue, make_catalogue(options.data))
    vectors = None
    if options.encoder:
        settings = EncoderSettings(model=options.encoder, layers=LAYERS)
        vectors = VectorFile(options.vectors, settings)
    catalogue = Catalogue(options.catalogue)
    sources = read_sources(options.data, catalogue)
    if not options.measure_only:
        print("fitting", end="", flush=True)
        parts = [table.part("train") for table in sources]
        examples = kind_examples()
        fit = fit_general(
            parts,
            examples,
            TASTE_SOURCE,
            None if vectors is None else vectors.encode,
            lambda step: print(".", end="", flush=True),
        )
        print()
        texts = [text for part in parts for text in part.texts]
        save(options.out, fit, vectors, texts)
    model = load_general(find_router(options.out))
    if vectors is not None and isinstance(model.reader, VectorReader):
        model = replace(model, reader=replace(model.reader, encoder=vectors))
    figures = {
        "labels": measure_all(model, sources, catalogue, options.data, labelled=True),
        "no labels": measure_all(model, sources, catalogue, options.data, labelled=False),
    }
    report(options.out, model, figures)


def save(folder: Path, fit: GeneralFit, vectors: VectorFile | None, texts: Sequence[str]) -> None:
    """Write the checkpoint's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, object] = {
        "format": FORMAT,
        "training": {"algorithm": GENERAL, "tables": list(TABLES)},
        "skills": list(SKILLS),
        "labels": list(fit.labels.names),
    }
    reading = BY_NGRAMS
    if vectors is not None:
        reading = BY_VECTORS.format(model=vectors.settings.model)
        config[ENCODER] = vectors.settings.model_dump(mode="json", exclude_none=True)
        config[ENCODER_FINGERPRINT] = vectors.fingerprint
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    card = CARD.format(
        name=folder.name,
        reading=reading,
        labels=len(fit.labels.names),
        tables=", ".join(TABLES),
    )
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    (folder / METRICS_FILE).write_text("{}\n", encoding="utf-8")
    model = GeneralModel(
        reader=reader_of(fit, vectors),
        answers=fit.answers,
        labels=fit.labels,
        reference=typical_prompts(fit.reading),
        trained=question_fingerprints(texts),
        fingerprint="",
        folder=folder,
    )
    save_general(folder, model)


def typical_prompts(reading: PromptReading) -> PromptReading:
    """The same number of prompts of each kind."""
    random = np.random.default_rng(0)
    kinds = reading.kinds.argmax(axis=1)
    rows = []
    for kind in range(len(SKILLS)):
        rows.append(random.permutation(np.flatnonzero(kinds == kind))[:REFERENCE_PROMPTS_OF_KIND])
    chosen = random.permutation(np.concatenate(rows))
    return PromptReading(*(values[chosen] for values in reading))


def measure_all(
    model: GeneralModel,
    sources: Sequence[SourceTable],
    catalogue: Catalogue,
    data: Path,
    labelled: bool,
) -> list[SourceFigures]:
    """The figures of every source on its held-out prompts."""
    figures = []
    for table in sources:
        held_out = table.part("dev")
        if labelled:
            experts = describe_names(held_out.experts, model.labels, catalogue)
        else:
            experts = [
                DescribedExpert(name, catalogue.ability(name) or unknown_ability())
                for name in held_out.experts
            ]
        quality = model.bind(experts).predict(held_out.texts)
        found = measure(held_out.name, list(held_out.experts), quality, held_out.scores, data)
        print("labels   " if labelled else "no labels", found, flush=True)
        figures.append(found)
    return figures


def report(folder: Path, model: GeneralModel, figures: dict[str, list[SourceFigures]]) -> None:
    """Write ``metrics.json``, and say which prompts were surely taken for another kind."""
    metrics = {}
    for name, rows in figures.items():
        metrics[name] = {
            row.source: {
                "auc": _rounded(row.auc),
                "ece": _rounded(row.calibration_error),
                "area_half_match": [[_rounded(value) for value in pool] for pool in row.areas],
            }
            for row in rows
        }
    metrics["kinds"] = {
        "looked_at": kinds_told(model, read_looked_at()),
        "blind": kinds_told(model, read_blind()),
    }
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


class LabelledPrompt(NamedTuple):
    """A prompt whose kind and language are known."""

    text: str
    kind: str
    language: str


def read_looked_at() -> list[LabelledPrompt]:
    """The prompts whose errors were looked at while the training prompts were written."""
    prompts = []
    for line in LOOKED_AT.read_text(encoding="utf-8").splitlines():
        kind, language, text = line.replace("\\n", "\n").split(" ", 2)
        prompts.append(LabelledPrompt(text, kind, language))
    return prompts


def read_blind() -> list[LabelledPrompt]:
    """The prompts that were written independently of the training prompts."""
    prompts = []
    for line in BLIND.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompts.append(LabelledPrompt(row["prompt"], row["kind"], row["language"]))
    return prompts


def kinds_told(model: GeneralModel, prompts: Sequence[LabelledPrompt]) -> dict[str, list[int]]:
    """How many are told right, and of how many: of all, of English ones and of the others."""
    reading = model.reader.read([prompt.text for prompt in prompts])
    right = []
    for prompt, kinds in zip(prompts, reading.kinds, strict=True):
        told = SKILLS[int(kinds.argmax())]
        right.append(told == prompt.kind)
        if told != prompt.kind and kinds.max() > SURE:
            print(
                f"surely wrong: {prompt.kind} -> {told} {kinds.max():.2f} ({prompt.language}) {prompt.text[:60]!r}"
            )
    is_right = np.array(right)
    is_english = np.array([prompt.language == "en" for prompt in prompts])
    counts = {}
    for name, chosen in (
        ("all", is_english | True),
        ("English", is_english),
        ("others", ~is_english),
    ):
        counts[name] = [int(is_right[chosen].sum()), int(chosen.sum())]
    print(f"kinds: {counts}")
    return counts


def _rounded(value: float) -> float | None:
    return None if not np.isfinite(value) else round(float(value), 4)


if __name__ == "__main__":
    main()

"""``routoo evaluate --stress``: does a router keep its mind when only the wording of a question changes?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routoo_core.assignment.predictions import predict_all
from routoo_core.errors import OutcomesError
from routoo_core.measures.curve import Array
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.base import Predictor
from routoo_core.progress import Progress
from routoo_core.prompts import read_prompts
from routoo_core.selector import Lagrangian

GADGET_WORDS, GADGET_TRIES = 6, 12
_CHOICE = re.compile(r"^(\(?[A-Z][.):]) (.+)$", re.M)
_TYPO_SHARE = 0.1  # of the words of four letters and more
_TERMS = """
theorem integral proof jurisdiction enzyme quantum recursion plaintiff equilibrium isotope syntax dividend axiom ligand
covariance tort oxidation compiler manifold subpoena allele entropy kernel liability Fourier
"""
_VOCABULARY = tuple(_TERMS.split())

Rewrite = Callable[[str, np.random.Generator], str]


def typos(text: str, random: np.random.Generator) -> str:
    """Two neighbouring letters change places in a tenth of the longer words."""

    def swapped(found: re.Match[str]) -> str:
        word = found[0]
        if random.random() >= _TYPO_SHARE:
            return word
        at = int(random.integers(1, len(word) - 2))
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    return re.sub(r"[A-Za-z]{4,}", swapped, text)


def other_order(text: str, random: np.random.Generator) -> str:
    """The lettered choices in another order, under the same letters; a text without choices stays."""
    choices = [found[2] for found in _CHOICE.finditer(text)]
    shuffled = iter([choices[place] for place in random.permutation(len(choices))])
    return _CHOICE.sub(lambda found: f"{found[1]} {next(shuffled)}", text)


def rephrased(text: str, random: np.random.Generator) -> str:
    """The same question inside a polite one."""
    frames = (
        "Could you help me with this? {}",
        "I was asked the following, what do you think?\n{}",
        "{}\nThank you!",
    )
    return frames[int(random.integers(len(frames)))].format(text)


def noise_before(text: str, random: np.random.Generator) -> str:
    """A sentence about something else in front."""
    return f"(Message {random.integers(10_000)}, sent from my phone; sorry for the delay.)\n{text}"


def noise_after(text: str, random: np.random.Generator) -> str:
    """A sentence about something else behind."""
    return f"{text}\n(By the way, the meeting is at {random.integers(1, 12)} o'clock.)"


REWRITES: Mapping[str, Rewrite] = {
    "typos": typos,
    "order of the choices": other_order,
    "politeness around it": rephrased,
    "noise before": noise_before,
    "noise after": noise_after,
}


def stress(
    predictor: Predictor,
    prompts: Sequence[str],
    pool: list[str],
    cost: Array,
    price: float,
    progress: Progress,
    seed: int = 0,
    paraphrases: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """How often another wording changes who is asked, at a fixed λ.

    Besides the rewrites, a *gadget*: words behind the prompt, found by random search over the router's own predictions,
    that push it towards the dearest expert (as in the attacks on RouteLLM's routers, arXiv 2501.01818).

    Args:
        predictor: The router's.
        prompts: The prompts.
        pool: Experts, columns of the predictor.
        cost: USD per million tokens of each.
        price: λ, quality per USD per million tokens.
        progress: Where progress goes.
        seed: Of the rewrites and the search.
        paraphrases: Prompt → the same in other words, as one more way.

    Returns:
        For each way: ``prompts`` how many it changed, of these ``flips`` the share that goes to another expert,
        ``upgrades`` to a dearer one, ``cost`` their mean cost in relation to that of the same as they are (0, 0 and 1
        where it changed none; ``None`` where they were free and are so no more).
    """
    random = np.random.default_rng(seed)
    columns = [predictor.experts.index(name) for name in pool]
    policy, dearest = Lagrangian(price), int(cost.argmax())

    def preferences(texts: Sequence[str]) -> Array:
        quality = predict_all(predictor, texts, progress)[:, columns].astype(np.float64)
        return policy(quality, np.broadcast_to(cost, quality.shape)).astype(np.float64)

    before = preferences(prompts).argmax(axis=1)

    def compared(way: str, texts: Sequence[str]) -> dict[str, Any]:
        changed = [place for place, prompt in enumerate(prompts) if texts[place] != prompt]
        if not changed:
            return {"way": way, "prompts": 0, "flips": 0.0, "upgrades": 0.0, "cost": 1.0}
        was, after = (
            before[changed],
            preferences([texts[place] for place in changed]).argmax(axis=1),
        )
        return {
            "way": way,
            "prompts": len(after),
            "flips": float((after != was).mean()),
            "upgrades": float((cost[after] > cost[was]).mean()),
            "cost": _relative(float(cost[after].mean()), float(cost[was].mean())),
        }

    ways = dict(REWRITES)
    if paraphrases:
        ways["paraphrase"] = lambda text, random: paraphrases.get(text, text)
    found = [
        compared(way, [rewrite(text, random) for text in prompts]) for way, rewrite in ways.items()
    ]
    best, gadgets = np.full(len(prompts), -np.inf), [""] * len(prompts)
    for _ in range(GADGET_TRIES):
        tried = [_changed(gadget, random) for gadget in gadgets]
        wish = preferences(
            [f"{text}\n{gadget}" for text, gadget in zip(prompts, tried, strict=True)]
        )
        lead = wish[:, dearest] - np.delete(wish, dearest, axis=1).max(axis=1, initial=-np.inf)
        for place in np.flatnonzero(lead > best):
            best[place], gadgets[place] = lead[place], tried[place]
    attacked = [f"{text}\n{gadget}" for text, gadget in zip(prompts, gadgets, strict=True)]
    return [*found, compared("a gadget searched for each prompt", attacked)]


def _relative(after: float, before: float) -> float | None:
    if after == before:
        return 1.0
    return after / before if before > 0 else None


def read_paraphrases(path: Path, table: Outcomes, split: str = "dev") -> dict[str, str]:
    """Prompts of a table in other words, by ``prompt_id`` as text; those that are not measured are passed over.

    Args:
        path: Parquet or CSV: ``prompt_id, prompt``, as ``routoo data paraphrase`` writes them.
        table: Of the experts of the pool; prompts that were observed with all of them are measured.
        split: Whose prompts are measured.

    Raises:
        OutcomesError: A prompt that the table does not have, or none that is measured.
    """
    reworded = read_prompts(path)
    known = set(table.prompt_ids)
    for row, prompt_id in enumerate(reworded.ids, start=1):
        if prompt_id not in known:
            raise OutcomesError(
                f"{path}: row {row}: prompt_id {prompt_id!r} is not in the table of prompts; have these very prompts "
                "said in other words by routoo data paraphrase"
            )
    measured = {
        table.prompt_ids[row] for row in table.rows(split) if not np.isnan(table.scores[row]).any()
    }
    if not measured.intersection(reworded.ids):
        raise OutcomesError(
            f"{path}: row 1: prompt_id {reworded.ids[0]!r}, and all others, are no {split!r} prompts observed with every expert "
            "of the pool; have such prompts said in other words by routoo data paraphrase"
        )
    return {
        prompt_id: text
        for prompt_id, text in zip(reworded.ids, reworded.texts, strict=True)
        if prompt_id in measured
    }


def _changed(gadget: str, random: np.random.Generator) -> str:
    """A gadget with one word replaced; a first one of random words."""
    words = gadget.split() or list(random.choice(_VOCABULARY, GADGET_WORDS))
    words[int(random.integers(len(words)))] = str(random.choice(_VOCABULARY))
    return " ".join(words)

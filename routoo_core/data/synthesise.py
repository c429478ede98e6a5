"""``routoo data synthesise``: an expert writes more prompts like the ones there are (paper §4.2, Appendix B).

Seeds with choices make multiple-choice questions as in the paper; seeds without make prompts of one's own domain, from
as few as a handful (in-domain augmentation, as RouteLLM's).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from routoo_core.asking.calls import Chat, NoAnswer
from routoo_core.data.seeds import Seed, SyntheticPrompt, parse_reply
from routoo_core.data.writing import Writer, WrittenPrompts, count_missing
from routoo_core.settings import Settings
from routoo_core.text import words_of

_TOKENS_EACH = 160  # that a written question may take, with its choices
_TOKENS_AROUND = 100


class SynthesisSettings(Settings):
    """Settings of the synthesis of prompts.

    Attributes:
        requests: Number of requests to the expert.
        each: Number of prompts that one request asks for.
        seeds: Number of examples in a request; each request draws its own.
        temperature: 0–2.
        seed: Another one draws other examples.
    """

    requests: Annotated[int, Field(ge=1)] = 20
    each: Annotated[int, Field(ge=1)] = 10
    seeds: Annotated[int, Field(ge=1)] = 5
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    seed: int = 0


SYNTHESIS_PRESETS = {
    "default": SynthesisSettings(),
    "paper": SynthesisSettings(requests=200, each=100),
}


@dataclass(frozen=True)
class SynthesisRequest:
    """One request for new prompts.

    Attributes:
        call: What the expert is asked.
        subject: What the prompts are about; empty for anything.
    """

    call: Chat = field(repr=False)
    subject: str


def synthesise_prompts(
    seeds: Sequence[Seed], settings: SynthesisSettings, writer: Writer
) -> WrittenPrompts:
    """Ask an expert for all requests; what it answered before is not asked again.

    The new prompts have ``prompt_id, prompt, benchmark, domain``, and ``choices, answer`` where the seeds have them.
    Pieces of another form are dropped as ``malformed``, those with the words of a seed or of an earlier one as
    ``repeated``.

    Args:
        seeds: The prompts that the new ones are to be like.
        settings: How much, and how.
        writer: Who writes.
    """
    max_tokens = writer.expert.max_output_tokens
    requests = [
        synthesis_request(seeds, number, settings, max_tokens)
        for number in range(settings.requests)
    ]
    answers = writer.ask_all([request.call for request in requests])

    unique = _UniquePrompts(seeds)
    for request, answer in zip(requests, answers, strict=True):
        if isinstance(answer, NoAnswer):
            continue
        for prompt in parse_reply(answer.text, len(seeds[0].choices)):
            unique.add(prompt, request.subject)
    return WrittenPrompts(
        unique.rows, unique.drop_counts, count_missing(answers), writer.asker.spent
    )


def synthesis_request(
    seeds: Sequence[Seed], number: int, settings: SynthesisSettings, max_tokens: int
) -> SynthesisRequest:
    """The request of a number, always the same for the same settings.

    The seeds shown are of one subject, where they have one and it has enough of them.

    Args:
        seeds: To draw from.
        number: From 0.
        settings: How much is asked for, and how.
        max_tokens: The most that the expert can write.
    """
    draw = random.Random(f"{settings.seed}-{number}")  # noqa: S311
    subject = draw.choice(seeds).domain
    candidates = [seed for seed in seeds if seed.domain == subject]
    if len(candidates) < settings.seeds:
        subject = ""
        candidates = list(seeds)
    count = min(settings.seeds, len(candidates))
    samples = draw.sample(candidates, count)

    each = settings.each
    parts = [
        f"{_instructions(samples[0], each, subject)} "
        f"This is set {number + 1} of {settings.requests}; make it unlike the others.",
        "Samples:",
        *[seed.format() for seed in samples],
        f"Write just the {each}, in the form of the samples.",
    ]
    message = ("user", "\n\n".join(parts))
    limit = min(max_tokens, _TOKENS_EACH * each + _TOKENS_AROUND)
    call = Chat((message,), limit, settings.temperature)
    return SynthesisRequest(call, subject)


def _instructions(sample: Seed, each: int, subject: str) -> str:
    about = f" on {subject.replace('_', ' ')}" if subject else ""
    if sample.choices:
        return (
            f"Make up {each} difficult multiple-choice questions{about} of the kind shown in the samples. Each has "
            f"{len(sample.choices)} choices, one of them right, and does not repeat a sample."
        )
    return (
        f"Below are prompts{about} that people send to an application. Make up {each} more that they might send: as "
        "various in topic, length and difficulty as the samples, and repeating none."
    )


class _UniquePrompts:
    """New prompts, each once.

    Args:
        seeds: Prompts that are not to be repeated.
    """

    def __init__(self, seeds: Sequence[Seed]) -> None:
        self.rows: list[dict[str, object]] = []
        self.drop_counts = {"malformed": 0, "repeated": 0}
        self._words = set()
        for seed in seeds:
            self._words.add(_join_words(seed.prompt))

    def add(self, prompt: SyntheticPrompt | None, subject: str) -> None:
        """Keep a prompt, or count why it is dropped."""
        if prompt is None:
            self.drop_counts["malformed"] += 1
            return
        words = _join_words(prompt.prompt)
        if words in self._words:
            self.drop_counts["repeated"] += 1
            return

        self._words.add(words)
        digest = hashlib.sha256(words.encode()).hexdigest()
        labels = {
            "prompt_id": f"synthetic-{digest[:12]}",
            "benchmark": "synthetic",
            "domain": subject,
        }
        self.rows.append({**labels, **prompt.to_dict()})


def _join_words(prompt: str) -> str:
    """The words of a prompt; the text itself where it has no words."""
    words = " ".join(words_of(prompt))
    return words or prompt

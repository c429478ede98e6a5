"""The options of ``routoo score`` that say how answers are graded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routoo_core.errors import ConfigurationError
from routoo_core.scoring.graders import GRADERS, Grader, load_custom_grader
from routoo_core.scoring.judge import Judge, PairwiseJudge, Rubric, read_rubric

CUSTOM = "python:module:function"


@dataclass(frozen=True)
class GraderOptions:
    """How answers are graded, as the command line says it.

    Attributes:
        name: A grader's name, ``judge``, or ``python:module:function``.
        max_tokens: Limit on an answer.
        temperature: 0–2; below 0 leaves it to the endpoint.
        normalised: Of ``likelihood``: divide by the choices' length.
        template: Of ``likelihood``: what stands before a choice.
        tolerance: Of ``numeric``: how far off, as a share of the right number.
        judge: Name of the expert that grades.
        rubric: Of ``judge``: a TOML file with levels.
        pairwise: Of ``judge``: compare with the column ``reference``.
        allow_code: Of ``code``: run what the experts write.
    """

    name: str
    max_tokens: int
    temperature: float
    normalised: bool
    template: str | None
    tolerance: float
    judge: str | None
    rubric: Path | None
    pairwise: bool
    allow_code: bool

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            ConfigurationError: Code without ``--allow-code``; a judge without its name, or the other way round.
        """
        if self.name == "code" and not self.allow_code:
            raise ConfigurationError(
                "--grader: code runs what the experts write on this machine, with limits but without a real sandbox; "
                "add --allow-code, best in a container"
            )
        if (self.name == "judge") != (self.judge is not None):
            raise ConfigurationError(
                "--judge: names the expert for --grader judge; give both or neither"
            )

    def grader(self) -> Grader:
        """Build the grader.

        Raises:
            ConfigurationError: There is no such grader, or its rubric or its function cannot be read.
        """
        if self.name == "judge":
            return self._judge()
        if self.name.startswith("python:"):
            return load_custom_grader(self.name, **self._settings())
        if self.name not in GRADERS:
            names = ", ".join((*GRADERS, "judge", CUSTOM))
            raise ConfigurationError(f"--grader: {self.name!r} is unknown; choose one of {names}")
        return GRADERS[self.name](**self._settings())

    def _judge(self) -> Grader:
        rubric = read_rubric(self.rubric) if self.rubric else Rubric()
        if self.pairwise:
            return PairwiseJudge(rubric=rubric, **self._settings())
        return Judge(rubric=rubric, **self._settings())

    def _settings(self) -> dict[str, Any]:
        """The settings that this grader has."""
        settings: dict[str, Any] = {"max_tokens": self.max_tokens, "temperature": None}
        if self.temperature >= 0:
            settings["temperature"] = self.temperature
        if self.name == "likelihood":
            settings["normalised"] = self.normalised
            if self.template:
                settings["template"] = self.template.replace("\\n", "\n")
        if self.name == "numeric":
            settings["tolerance"] = self.tolerance
        return settings

"""The options of ``routoo score`` that say how answers are graded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from routoo_core.errors import ConfigurationError
from routoo_core.sandbox.namespaces import check_sandbox
from routoo_core.scoring.grader import Grader
from routoo_core.scoring.graders import make_grader
from routoo_core.scoring.judge import read_rubric

NormalisedOption = Annotated[
    bool,
    typer.Option("--normalised", help="likelihood: by the choices' length in bytes (acc_norm)."),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(help=r"likelihood: what stands before a choice, such as 'Q: {prompt}\nA:'."),
]
ToleranceOption = Annotated[float, typer.Option(help="numeric: allowed relative error.")]
JudgeOption = Annotated[
    str | None, typer.Option(help="judge: the expert of the same file that grades.")
]
RubricOption = Annotated[
    Path | None, typer.Option(help='judge: TOML with levels = ["worst", …, "best"].')
]
PairwiseOption = Annotated[
    bool, typer.Option("--pairwise", help="judge: beside the column reference, in both orders.")
]
AllowCodeOption = Annotated[
    bool,
    typer.Option("--allow-code", help="code: run the code that experts write, in a sandbox."),
]
UnsafeOption = Annotated[
    bool,
    typer.Option("--unsafe", help="code: run it without a sandbox, with your own permissions."),
]


@dataclass(frozen=True)
class GraderOptions:
    """How answers are graded, as the command line says it.

    Attributes:
        name: A grader's name, ``judge``, or ``python:module:function``.
        max_tokens: Limit on an answer.
        temperature: 0–2; below 0 leaves it to the endpoint.
        normalised: Of ``likelihood``: divide by the choices' length.
        template: Of ``likelihood``: what stands before a choice.
        tolerance: Of ``numeric``: allowed relative error.
        judge: Name of the expert that grades.
        rubric: Of ``judge``: a TOML file with levels.
        pairwise: Of ``judge``: compare with the column ``reference``.
        allow_code: Of ``code``: run what the experts write.
        unsafe: Of ``code``: run it without a sandbox.
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
    unsafe: bool

    def grader(self) -> Grader:
        """Build the grader.

        Raises:
            ConfigurationError: There is no such grader, its rubric or its function cannot be read, or the options do
                not go together.
        """
        name = self.name
        if name == "judge" and self.pairwise:
            name = "pairwise-judge"
        grader = make_grader(name, self._settings())
        self._check(grader)
        return grader

    def _settings(self) -> dict[str, Any]:
        """Settings of any grader by name; each takes those that it has."""
        settings: dict[str, Any] = {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature if self.temperature >= 0 else None,
            "normalised": self.normalised,
            "tolerance": self.tolerance,
            "unsafe": self.unsafe,
        }
        if self.template:
            settings["template"] = self.template.replace("\\n", "\n")
        if self.rubric:
            settings["rubric"] = read_rubric(self.rubric)
        return settings

    def _check(self, grader: Grader) -> None:
        """Refuse options that do not go together."""
        if grader.runs_code and not self.allow_code:
            raise ConfigurationError(
                f"--grader: {self.name} runs what the experts write on this machine; pass --allow-code to allow that"
            )
        if grader.runs_code and not self.unsafe:
            check_sandbox()
        if grader.needs_judge != (self.judge is not None):
            raise ConfigurationError(
                "--judge: works only with --grader judge; pass both or neither"
            )

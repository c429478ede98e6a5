"""The options of ``routoo score`` that read the samples of EleutherAI's lm-eval-harness."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from routoo_core.experts import Expert
from routoo_core.scoring.harness import HarnessSamples, check_harness, read_samples, run_harness

SamplesOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Instead of a grader: samples_*.jsonl of lm_eval --log_samples, or a folder of them."
    ),
]
PromptsTargetOption = Annotated[
    Path | None,
    typer.Option(
        "--prompts-out", help="from-harness: the table of prompts to write, .parquet or .csv."
    ),
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option(
        help='from-harness: run this task first, on the experts of provider = "huggingface" (repeatable).'
    ),
]
HarnessArgumentsOption = Annotated[
    str,
    typer.Option(
        help="from-harness: more of lm_eval's own, such as '--limit 100 --include_path my-tasks'."
    ),
]
MetricOption = Annotated[
    str | None, typer.Option(help="from-harness: the score; by default acc_norm, …")
]
FilterOption = Annotated[
    str | None, typer.Option("--filter", help="from-harness: which, of several.")
]
FieldOption = Annotated[
    str | None, typer.Option(help="from-harness: of a document, what the prompt is.")
]


@dataclass(frozen=True)
class HarnessOptions:
    """What is run and read, as the command line says it.

    Attributes:
        samples: Files of samples, or folders of them; a run writes into the first.
        tasks: Tasks to run first; empty to run none.
        arguments: More arguments of lm_eval's, in one string.
        metric: Which one is the score; ``None`` for the usual ones.
        filter_name: Which of several filters; ``None`` for the only one.
        field: Of a document, what the prompt is.
    """

    samples: Sequence[Path]
    tasks: Sequence[str]
    arguments: str
    metric: str | None
    filter_name: str | None
    field: str | None

    def read(self, experts: Sequence[Expert]) -> HarnessSamples:
        """Run the tasks on the experts, if there are any, and read all samples."""
        if self.tasks:
            check_harness(experts)
        names: dict[str, str] = {}  # what the harness calls a model → the expert's name
        for expert in experts:
            if self.tasks:
                arguments = shlex.split(self.arguments)
                model = run_harness(expert, self.tasks, self.samples[0], arguments)
                names[model] = expert.name
        return read_samples(self.samples, self.metric, self.filter_name, self.field, names)

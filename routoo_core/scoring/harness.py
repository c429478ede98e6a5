"""EleutherAI's evaluation harness: running it, and its logged samples as prompts and outcomes."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from routoo_core.errors import ConfigurationError, MissingDependency, OutcomesError
from routoo_core.experts import Expert
from routoo_core.tables import write_table
from routoo_core.text import parse_json

METRICS = ("acc_norm", "exact_match", "acc", "pass@1")
"""Metrics that are the score by default; the first that a task has."""
FIELDS = ("query", "question", "prompt", "input", "problem", "text")
"""Fields of a task's documents that are the prompt by default, without the examples before it."""
_SAMPLES_NAME = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")


class HarnessPrompt(NamedTuple):
    """A prompt, and the task that it is from."""

    text: str
    task: str


class HarnessOutcome(NamedTuple):
    """A model's score on a prompt, 0–1, and the length of its answer where it wrote one."""

    score: float
    characters: int | None


@dataclass(frozen=True)
class HarnessSamples:
    """Samples of any number of models and tasks.

    Attributes:
        prompts: Prompt id → prompt.
        outcomes: (prompt id, model) → outcome.
    """

    prompts: Mapping[str, HarnessPrompt] = field(repr=False)
    outcomes: Mapping[tuple[str, str], HarnessOutcome] = field(repr=False)

    def write(self, prompts: Path, outcomes: Path) -> None:
        """Write both tables.

        The columns are ``prompt_id, prompt, domain``, and ``prompt_id, model, score,
        completion_chars``.
        """
        import pyarrow as pa

        prompt_columns = {
            "prompt_id": list(self.prompts),
            "prompt": [prompt.text for prompt in self.prompts.values()],
            "domain": [prompt.task for prompt in self.prompts.values()],
        }
        write_table(prompts, prompt_columns)

        characters = [outcome.characters for outcome in self.outcomes.values()]
        outcome_columns = {
            "prompt_id": [prompt_id for prompt_id, _ in self.outcomes],
            "model": [model for _, model in self.outcomes],
            "score": [outcome.score for outcome in self.outcomes.values()],
            "completion_chars": pa.array(characters, type=pa.int64()),
        }
        write_table(outcomes, outcome_columns)


def read_samples(
    paths: Sequence[Path],
    metric: str | None = None,
    filter_name: str | None = None,
    field_name: str | None = None,
    names: Mapping[str, str] | None = None,
) -> HarnessSamples:
    """Read what ``lm_eval --log_samples`` wrote: a folder of ``samples_*.jsonl`` for each model.

    Of several runs of a model on a task the newest counts.

    Args:
        paths: Such files, or folders that contain them at any depth.
        metric: The metric that is the score, 0–1; by default the first of ``METRICS`` that a task
            has.
        filter_name: For tasks that filter answers in several ways; by default the first.
        field_name: The field of a task's documents that is the prompt; by default the first of
            ``FIELDS`` that they have, else what the model was asked, examples included.
        names: The harness's name of a model → its name in the outcomes.

    Raises:
        OutcomesError: A file is something else, or a score is outside 0–1; the message names file
            and line.
    """
    new_names = names or {}
    prompts: dict[str, HarnessPrompt] = {}
    outcomes: dict[tuple[str, str], HarnessOutcome] = {}
    digests: dict[str, str] = {}
    for file in _newest_files(paths):
        model = new_names.get(file.model, file.model)
        reader = _SampleReader(file.task, metric, filter_name, field_name)
        for number, sample in enumerate(reader.read(file.path), start=1):
            digest = digests.setdefault(sample.prompt_id, sample.digest)
            if digest != sample.digest:
                raise OutcomesError(
                    f"{file.path}: sample {number}: document {sample.prompt_id} is another than an "
                    "earlier file's; import runs on the same version of a task"
                )
            prompt = HarnessPrompt(sample.prompt, file.task)
            prompts.setdefault(sample.prompt_id, prompt)
            outcomes[sample.prompt_id, model] = sample.outcome
    return HarnessSamples(prompts, outcomes)


def check_harness(experts: Sequence[Expert]) -> None:
    """Refuse experts that the harness cannot run.

    Raises:
        MissingDependency: ``lm_eval`` is not installed.
        ConfigurationError: An expert has another provider.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingDependency("lm_eval", "harness", "run EleutherAI's evaluation harness")
    for expert in experts:
        if expert.provider != "huggingface":
            raise ConfigurationError(
                f'expert {expert.name!r}: the harness runs experts of provider = "huggingface"'
            )


def run_harness(
    expert: Expert, tasks: Sequence[str], folder: Path, options: Iterable[str] = ()
) -> str:
    """Run the harness on a Hugging Face expert, with its samples logged below ``folder``.

    Args:
        expert: One of ``provider = "huggingface"``.
        tasks: Names of the harness's tasks, or of your own in YAML below an ``--include_path``.
        folder: Where it logs.
        options: Further arguments of ``lm_eval``, such as ``("--limit", "100")``.

    Returns:
        The harness's name of the expert.

    Raises:
        MissingDependency: ``lm_eval`` is not installed.
        ConfigurationError: The expert has another provider, or the harness failed.
    """
    check_harness([expert])
    from routoo_core.predictor.encoder import pretrained

    source, load_options = pretrained(expert.model)
    model_args = [f"pretrained={source}"]
    model_args += [f"{key}={value}" for key, value in load_options.items() if value]
    command = [sys.executable, "-m", "lm_eval", "--model", "hf"]
    command += ["--model_args", ",".join(model_args)]
    command += ["--tasks", ",".join(tasks)]
    command += ["--output_path", str(folder / expert.name), "--log_samples", *options]

    process = subprocess.run(command, stdout=sys.stderr, check=False)  # noqa: S603
    if process.returncode:
        raise ConfigurationError(
            f"lm_eval ended with {process.returncode}; its own message is above"
        )
    return source


# Which files are read


@dataclass(frozen=True)
class _SampleFile:
    path: Path
    model: str
    task: str
    date: str


def _newest_files(paths: Sequence[Path]) -> list[_SampleFile]:
    """The file of the newest run of each model on each task."""
    newest: dict[tuple[str, str], _SampleFile] = {}
    for path in _sample_paths(paths):
        name = _SAMPLES_NAME.fullmatch(path.name)
        if name is None:
            raise OutcomesError(
                f"{path}: is not named samples_<task>_<date>.jsonl, as lm_eval names its samples"
            )
        model = _harness_model_name(path)
        file = _SampleFile(path, model, name["task"], name["date"])
        key = (file.model, file.task)
        earlier = newest.get(key)
        if earlier is None or (earlier.date, earlier.path) < (file.date, file.path):
            newest[key] = file
    return list(newest.values())


def _sample_paths(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(path.rglob("samples_*.jsonl"))
        else:
            files.append(path)
    if not files:
        names = ", ".join(str(path) for path in paths)
        raise OutcomesError(f"{names}: no samples_*.jsonl; run lm_eval with --log_samples")
    return files


def _harness_model_name(path: Path) -> str:
    """The model's name in the results beside the samples, else the folder's name."""
    for results in sorted(path.parent.glob("results_*.json"), reverse=True):
        text = results.read_text(encoding="utf-8")
        name = json.loads(text).get("model_name")
        if name:
            return str(name)
    return path.resolve().parent.name


# What a file says


@dataclass(frozen=True)
class _Sample:
    prompt_id: str
    prompt: str
    digest: str
    outcome: HarnessOutcome


@dataclass(frozen=True)
class _SampleReader:
    """Reads the samples of one task.

    Attributes:
        task: Its name.
        metric: See :func:`read_samples`.
        filter_name: See :func:`read_samples`.
        field_name: See :func:`read_samples`.
    """

    task: str
    metric: str | None
    filter_name: str | None
    field_name: str | None

    def read(self, path: Path) -> Iterator[_Sample]:
        """The samples of one filter, in order."""
        filter_name = self.filter_name
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                sample = parse_json(line)
                filter_name = filter_name or sample.get("filter")
                if sample.get("filter", filter_name) == filter_name:
                    yield self._sample(sample)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                reason = str(error)
                if isinstance(error, KeyError):
                    reason = f"{error.args[0]!r} is missing"
                raise OutcomesError(
                    f"{path}: line {number}: {reason}; is this lm_eval's --log_samples?"
                ) from error

    def _sample(self, sample: Mapping[str, Any]) -> _Sample:
        document = sample["doc"]
        context, argument = _first_request(sample["arguments"])
        prompt = self._prompt_field(document) or str(context)
        score = self._score(sample)

        # A request to write has settings as its second argument; one for a likelihood has a text.
        characters = None
        if isinstance(argument, Mapping):
            characters = len(str(sample["resps"][0][0]))
        digest = sample.get("doc_hash") or json.dumps(document, sort_keys=True)
        return _Sample(
            prompt_id=f"{self.task}-{sample['doc_id']}",
            prompt=prompt,
            digest=str(digest),
            outcome=HarnessOutcome(score, characters),
        )

    def _prompt_field(self, document: Any) -> str | None:
        """The text of the document's field that is the prompt.

        Raises:
            ValueError: The field was named, and the document has no text in it.
        """
        for name in (self.field_name,) if self.field_name else FIELDS:
            text = document.get(name) if isinstance(document, Mapping) else None
            if isinstance(text, str) and text:
                return text
        if self.field_name:
            raise ValueError(f"doc: has no text {self.field_name!r}")
        return None

    def _score(self, sample: Mapping[str, Any]) -> float:
        """The value of the metric that is the score.

        Raises:
            ValueError: There is no such metric, or its value is outside 0–1.
        """
        metrics = (self.metric,) if self.metric else (*METRICS, *sample.get("metrics", ()))
        for name in metrics:
            if name not in sample:
                continue
            score = sample[name]
            if isinstance(score, bool | int | float) and 0 <= score <= 1:
                return float(score)
            raise ValueError(f"{name}: {score!r} is not a number of 0 to 1; name another metric")
        raise ValueError(f"no metric of {', '.join(map(str, metrics))}; name the metric")


def _first_request(arguments: Any) -> tuple[Any, Any]:
    """The two arguments of a sample's first request, in either form that the harness logs."""
    request = arguments["gen_args_0"] if isinstance(arguments, Mapping) else arguments[0]
    if isinstance(request, Mapping):
        return request["arg_0"], request["arg_1"]
    return request[0], request[1]

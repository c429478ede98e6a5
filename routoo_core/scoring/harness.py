"""EleutherAI's evaluation harness: its logged samples as prompts and outcomes; running it for Hugging Face experts."""

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

METRICS = ("acc_norm", "exact_match", "acc", "pass@1")  # looked for in this order
FIELDS = (
    "query",
    "question",
    "prompt",
    "input",
    "problem",
    "text",
)  # of a task's documents, without examples before
_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")


class _Sample(NamedTuple):
    prompt_id: str
    prompt: str
    task: str
    digest: str
    score: float
    characters: int | None


@dataclass
class HarnessSamples:
    """Samples of any number of models and tasks.

    Attributes:
        prompts: Prompt id → (text, task).
        outcomes: (prompt id, model) → (score, characters of the answer or ``None``).
    """

    prompts: dict[str, tuple[str, str]] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], tuple[float, int | None]] = field(default_factory=dict)

    def write(self, prompts: Path, outcomes: Path) -> None:
        """Write both tables: ``prompt_id, prompt, domain`` and ``prompt_id, model, score, completion_chars``."""
        import pyarrow as pa

        texts, tasks = ([pair[i] for pair in self.prompts.values()] for i in (0, 1))
        write_table(prompts, {"prompt_id": list(self.prompts), "prompt": texts, "domain": tasks})
        ids, models = ([pair[i] for pair in self.outcomes] for i in (0, 1))
        scores, sizes = ([found[i] for found in self.outcomes.values()] for i in (0, 1))
        lengths = pa.array(sizes, type=pa.int64())
        write_table(
            outcomes,
            {"prompt_id": ids, "model": models, "score": scores, "completion_chars": lengths},
        )


def read_samples(
    paths: Sequence[Path],
    metric: str | None = None,
    filter_name: str | None = None,
    field_name: str | None = None,
    names: Mapping[str, str] | None = None,
) -> HarnessSamples:
    """Read what ``lm_eval --log_samples`` wrote: ``samples_<task>_<date>.jsonl`` in a folder for each model.

    Of several runs of a model on a task the newest counts.

    Args:
        paths: Such files, or folders that hold them at any depth.
        metric: What is the score, 0–1; by default the first of ``METRICS`` a task has.
        filter_name: Of tasks that filter answers in several ways; by default the first.
        field_name: Of a task's documents, what the prompt is; by default the first of ``FIELDS`` they have, else what
            the model was given, examples and all.
        names: What the harness calls a model → what the outcomes are to call it.

    Raises:
        OutcomesError: A file that is something else, or a score outside 0–1; the message names file and line.
    """
    found = HarnessSamples()
    digests: dict[str, str] = {}
    for path, model, task in _newest(paths):
        for number, sample in enumerate(
            _samples(path, task, metric, filter_name, field_name), start=1
        ):
            if digests.setdefault(sample.prompt_id, sample.digest) != sample.digest:
                raise OutcomesError(
                    f"{path}: sample {number}: document {sample.prompt_id} is another than an earlier file's; import "
                    "runs on the same version of a task"
                )
            found.prompts.setdefault(sample.prompt_id, (sample.prompt, task))
            found.outcomes[sample.prompt_id, (names or {}).get(model, model)] = (
                sample.score,
                sample.characters,
            )
    return found


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
        What the harness calls the expert.

    Raises:
        MissingDependency: ``lm_eval`` is not installed.
        ConfigurationError: The expert is another's, or the harness failed.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingDependency("lm_eval", "harness", "run EleutherAI's evaluation harness")
    if expert.provider != "huggingface":
        raise ConfigurationError(
            f'expert {expert.name!r}: the harness runs experts of provider = "huggingface"'
        )
    from routoo_core.predictor.encoder import pretrained

    source, where = pretrained(expert.model)
    arguments = ",".join(
        f"{key}={value}" for key, value in {"pretrained": source, **where}.items() if value
    )
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "--model",
        "hf",
        "--model_args",
        arguments,
        "--tasks",
        ",".join(tasks),
    ]
    command += ["--output_path", str(folder / expert.name), "--log_samples", *options]
    done = subprocess.run(command, stdout=sys.stderr, check=False)  # noqa: S603
    if done.returncode:
        raise ConfigurationError(f"lm_eval ended with {done.returncode}; its own message is above")
    return source


def _newest(paths: Sequence[Path]) -> list[tuple[Path, str, str]]:
    """(file, model, task) of the newest run of each model and task."""
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("samples_*.jsonl")) if path.is_dir() else [path])
    ]
    if not files:
        raise OutcomesError(
            f"{', '.join(map(str, paths))}: no samples_*.jsonl; run lm_eval with --log_samples"
        )
    newest: dict[tuple[str, str], tuple[str, Path]] = {}
    for file in files:
        named = _SAMPLES.fullmatch(file.name)
        if named is None:
            raise OutcomesError(
                f"{file}: is not named samples_<task>_<date>.jsonl, as lm_eval names its samples"
            )
        key = (_model(file), named["task"])
        newest[key] = max(newest.get(key, ("", file)), (named["date"], file))
    return [(file, model, task) for (model, task), (_, file) in newest.items()]


def _model(file: Path) -> str:
    """What the results beside the samples call the model, else the folder's name."""
    for results in sorted(file.parent.glob("results_*.json"), reverse=True):
        name = json.loads(results.read_text(encoding="utf-8")).get("model_name")
        if name:
            return str(name)
    return file.resolve().parent.name


def _samples(
    path: Path, task: str, metric: str | None, filter_name: str | None, field_name: str | None
) -> Iterator[_Sample]:
    wanted = filter_name
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            logged = json.loads(line)
            wanted = wanted or logged.get("filter")
            if logged.get("filter", wanted) == wanted:
                yield _sample(logged, task, metric, field_name)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise OutcomesError(
                f"{path}: line {number}: {reason}; is this lm_eval's --log_samples?"
            ) from error


def _sample(
    logged: Mapping[str, Any], task: str, metric: str | None, field_name: str | None
) -> _Sample:
    doc, arguments = logged["doc"], logged["arguments"]
    first = arguments["gen_args_0"] if isinstance(arguments, Mapping) else arguments[0]
    context, wanted = (
        (first["arg_0"], first["arg_1"]) if isinstance(first, Mapping) else (first[0], first[1])
    )
    fields = (field_name,) if field_name else FIELDS
    known = [
        doc[name]
        for name in fields
        if isinstance(doc, Mapping) and isinstance(doc.get(name), str) and doc[name]
    ]
    if field_name and not known:
        raise ValueError(f"doc: has no text {field_name!r}")
    score = _score(logged, metric)
    characters = len(str(logged["resps"][0][0])) if _writes(wanted) else None
    digest = str(logged.get("doc_hash") or json.dumps(doc, sort_keys=True))
    return _Sample(
        f"{task}-{logged['doc_id']}",
        known[0] if known else str(context),
        task,
        digest,
        score,
        characters,
    )


def _writes(argument: Any) -> bool:
    """Whether a request's second argument are settings of writing, and not a text whose likelihood is asked."""
    return isinstance(argument, Mapping)


def _score(logged: Mapping[str, Any], metric: str | None) -> float:
    names = (metric,) if metric else (*METRICS, *logged.get("metrics", ()))
    found = next(((name, logged[name]) for name in names if name in logged), None)
    if found is None:
        raise ValueError(f"no metric of {', '.join(map(str, names))}; name one by --metric")
    name, score = found
    if isinstance(score, bool | int | float) and 0 <= score <= 1:
        return float(score)
    raise ValueError(f"{name}: {score!r} is not a number of 0 to 1; name another by --metric")

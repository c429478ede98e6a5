"""Multiple choice by likelihood on the same weights: llama.cpp's endpoint, as packed and in float32, and transformers.

    python benchmarks/scoring.py QUESTIONS.parquet [COUNT]

QUESTIONS has the columns source, split, question, choices, answer. All score the first COUNT (300) questions of
ARC-Challenge's test set with the harness's prompt. Printed are the accuracy of each with a 95 % interval, and how
often it picks what transformers picks.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch
from rich.console import Console

from routoo_core import Budget, Expert, embedded
from routoo_core.asking.answers import AnswerStore
from routoo_core.asking.asker import Asker
from routoo_core.asking.calls import Answer
from routoo_core.asking.clients import make_clients
from routoo_core.asking.direct import direct_router
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.local_endpoint import LocalEndpoint
from routoo_core.scoring.graders import LikeliestChoice
from routoo_core.scoring.rows import GraderRow, right_choice
from routoo_core.scoring.run import score_experts
from routoo_core.scoring.task import ScoringTask
from routoo_integrations.cli.terminal import TerminalProgress

REFERENCE = "transformers"
FREE = {"input_usd_per_1m": 0, "output_usd_per_1m": 0, "max_output_tokens": 512}


@dataclass(frozen=True)
class Measured:
    """The answers of one way to run the model, question by question and choice by choice."""

    answers: Sequence[Sequence[Answer]]
    seconds: float


def read_questions(path: str, count: int) -> list[GraderRow]:
    """The first questions of ARC-Challenge's test set."""
    rows: list[GraderRow] = []
    for question in pq.read_table(path).to_pylist():
        if (question["source"], question["split"]) != ("arc_challenge", "test"):
            continue
        row = {
            "prompt_id": str(len(rows)),
            "prompt": question["question"],
            "choices": json.loads(question["choices"]),
            "answer": int(question["answer"]),
        }
        rows.append(row)
    return rows[:count]


def measure(rows: Sequence[GraderRow], expert: Expert, folder: Path) -> Measured:
    """Ask an expert how likely each choice is."""
    task = ScoringTask(rows, [expert], LikeliestChoice())
    router = direct_router(task.pool, Budget(limit=None), SqliteLedger())
    store = AnswerStore(folder / "answers.db")
    asker = Asker(router, make_clients([expert]), store, concurrency=1)

    started = time.perf_counter()
    result = score_experts(task, asker, TerminalProgress(Console(stderr=True)))
    seconds = time.perf_counter() - started
    assert not result.missing(), result.missing()
    return Measured([pair.answers for pair in result.pairs], seconds)


def unpack(target: Path) -> Path:
    """The embedded GGUF with its tensors in float32: llama.cpp rounds activations to 8 bits beside packed ones."""
    import gguf

    source = gguf.GGUFReader(embedded.gguf_file())
    writer = gguf.GGUFWriter(target, source.fields["general.architecture"].contents())
    for field in source.fields.values():
        written_anyway = {"general.architecture", "general.file_type"}
        if field.name.startswith("GGUF.") or field.name in written_anyway:
            continue
        is_array = field.types[0] == gguf.GGUFValueType.ARRAY
        inner_type = field.types[-1] if is_array else None
        writer.add_key_value(field.name, field.contents(), field.types[0], inner_type)

    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in source.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def measure_all(rows: Sequence[GraderRow]) -> dict[str, Measured]:
    """The same model in llama.cpp with packed and with float32 weights, and in transformers."""
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "endpoint, Q4_1": embedded.gguf_file(),
            "endpoint, float32": unpack(Path(folder) / "f32.gguf"),
        }
        for name, file in files.items():
            with LocalEndpoint(slots=1, gguf=file) as endpoint:
                expert = Expert(
                    name=name,
                    model=embedded.MODEL,
                    base_url=endpoint.base_url,
                    context_window=2048,
                    **FREE,
                )
                measured[name] = measure(rows, expert, Path(folder))

        local = Expert(
            name=REFERENCE,
            provider="huggingface",
            model=str(embedded.gguf_file()),
            context_window=2048,
            **FREE,
        )
        measured[REFERENCE] = measure(rows, local, Path(folder))
    return measured


def describe_picks(
    rows: Sequence[GraderRow], measured: dict[str, Measured], normalised: bool
) -> dict[str, str]:
    """The accuracy of each, and how often it picks what transformers picks."""
    grader = LikeliestChoice(normalised=normalised)
    picks = {}
    for name, run in measured.items():
        pairs = zip(rows, run.answers, strict=True)
        picks[name] = [grader.pick(row, answers) for row, answers in pairs]

    lines = {}
    for name, picked in picks.items():
        right = 0
        same = 0
        for row, pick, reference in zip(rows, picked, picks[REFERENCE], strict=True):
            right += pick == right_choice(row)
            same += pick == reference
        accuracy = right / len(rows)
        margin = 1.96 * (accuracy * (1 - accuracy) / len(rows)) ** 0.5
        lines[name] = f"{accuracy:.3f} ± {margin:.3f}, as {REFERENCE} on {same / len(rows):.2%}"
    return lines


def describe_differences(run: Measured, reference: Measured) -> str:
    """How far log-likelihoods lie from transformers'."""
    differences = []
    for answers, expected in zip(run.answers, reference.answers, strict=True):
        for answer, reference_answer in zip(answers, expected, strict=True):
            differences.append(abs(answer.logprob - reference_answer.logprob))
    mean = sum(differences) / len(differences)
    return f"differ by {mean:.4f}, at most {max(differences):.3f}"


def main(path: str, count: int = 300) -> dict[str, object]:
    """Measure everything."""
    torch.set_num_threads(1)
    rows = read_questions(path, count)
    measured = measure_all(rows)

    seconds = {name: round(run.seconds, 1) for name, run in measured.items()}
    report: dict[str, object] = {"questions": len(rows), "seconds": seconds}
    for normalised, metric in ((False, "acc"), (True, "acc_norm")):
        for name, line in describe_picks(rows, measured, normalised).items():
            report[f"{metric}, {name}"] = line
    for name, run in measured.items():
        if name != REFERENCE:
            line = describe_differences(run, measured[REFERENCE])
            report[f"log-likelihoods, {name}"] = line
    return report


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:])), indent=1, ensure_ascii=False))

"""Multiple choice by likelihood on the same weights: llama.cpp's endpoint, as packed and in float32, and transformers.

    python benchmarks/scoring.py QUESTIONS.parquet [COUNT]

QUESTIONS has the columns source, split, question, choices, answer. All score the first COUNT (300) of
ARC-Challenge's test set with the harness's prompt. Printed are each one's accuracy with a 95 % interval, and how often
it picks what transformers picks.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from rich.console import Console

from routoo_core import Budget, Expert, embedded
from routoo_core.asking.answers import AnswerStore
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.local_endpoint import LocalEndpoint
from routoo_core.scoring.graders import LikeliestChoice
from routoo_core.scoring.rows import right_choice
from routoo_core.scoring.run import ScoringTask, score_experts
from routoo_integrations.cli.terminal import TerminalProgress


def read(path: str, count: int) -> list[dict[str, object]]:
    questions = pq.read_table(path).to_pylist()
    table = [
        row for row in questions if (row["source"], row["split"]) == ("arc_challenge", "test")
    ][:count]
    return [
        {
            "prompt_id": str(i),
            "prompt": r["question"],
            "choices": json.loads(r["choices"]),
            "answer": int(r["answer"]),
        }
        for i, r in enumerate(table)
    ]


def answers(
    rows: list[dict[str, object]], expert: Expert, folder: Path
) -> tuple[list[list[float]], float]:
    """Log-likelihood of each choice of each row, and the seconds it took."""
    store, grader, started = (
        AnswerStore(folder / "answers.db"),
        LikeliestChoice(),
        time.perf_counter(),
    )
    scores = score_experts(
        ScoringTask(rows, [expert], grader),
        Budget(limit=None),
        SqliteLedger(),
        store,
        TerminalProgress(Console(stderr=True)),
        concurrency=1,
    )
    assert not scores.missing(), scores.missing()
    return [pair.answers for pair in scores.pairs], time.perf_counter() - started


def unpacked(target: Path) -> Path:
    """The embedded GGUF with its tensors in float32: llama.cpp rounds activations to 8 bits beside packed ones."""
    import gguf

    source = gguf.GGUFReader(embedded.gguf_file())
    writer = gguf.GGUFWriter(target, source.fields["general.architecture"].contents())
    for field in source.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in {
            "general.architecture",
            "general.file_type",
        }:
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in source.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def main(path: str, count: int = 300) -> dict[str, object]:
    torch.set_num_threads(1)
    rows = read(path, count)
    free = {"input_usd_per_1m": 0, "output_usd_per_1m": 0, "max_output_tokens": 512}
    here = Expert(
        name="transformers",
        provider="huggingface",
        model=str(embedded.gguf_file()),
        context_window=2048,
        **free,
    )
    told = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "endpoint, Q4_1": embedded.gguf_file(),
            "endpoint, float32": unpacked(Path(folder) / "f32.gguf"),
        }
        for name, file in files.items():
            with LocalEndpoint(slots=1, gguf=file) as endpoint:
                there = Expert(
                    name=name,
                    model=embedded.MODEL,
                    base_url=endpoint.base_url,
                    context_window=2048,
                    **free,
                )
                told[name] = answers(rows, there, Path(folder))
        told["transformers"] = answers(rows, here, Path(folder))
    found: dict[str, object] = {
        "questions": len(rows),
        "seconds": {k: round(v[1], 1) for k, v in told.items()},
    }
    for normalised, name in ((False, "acc"), (True, "acc_norm")):
        grader = LikeliestChoice(normalised=normalised)
        picks = {
            k: [grader.pick(row, given) for row, given in zip(rows, v[0], strict=True)]
            for k, v in told.items()
        }
        for way, picked in picks.items():
            p = sum(one == right_choice(row) for one, row in zip(picked, rows, strict=True)) / len(
                rows
            )
            same = sum(a == b for a, b in zip(picked, picks["transformers"], strict=True)) / len(
                rows
            )
            margin = 1.96 * (p * (1 - p) / len(rows)) ** 0.5
            found[f"{name}, {way}"] = f"{p:.3f} ± {margin:.3f}, as transformers on {same:.2%}"
    for way in files:
        differences = [
            abs(a.logprob - b.logprob)
            for x, y in zip(told[way][0], told["transformers"][0], strict=True)
            for a, b in zip(x, y, strict=True)
        ]
        mean = sum(differences) / len(differences)
        found[f"log-likelihoods, {way}"] = f"differ by {mean:.4f}, at most {max(differences):.3f}"
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:])), indent=1, ensure_ascii=False))

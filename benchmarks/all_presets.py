"""Every algorithm on the same prompts, in one report: python benchmarks/all_presets.py DATA TABLE OUT [PRESET …]

Each preset is trained from the command line on hashed n-grams and evaluated on the same held-out prompts by `routoo
evaluate`, which writes OUT/report. DATA holds the tables; TABLE is routellm, mmlu_pro or zeroeval. `bert` and `causal`
read the prompts with their own encoder, which stays frozen, and take hours where there are many experts.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PRESETS = ("default", "knn", "sw-ranking", "mf", "hybrid", "zooter", "random")
SLOW_PRESETS = ("bert", "causal")
NGRAMS = 'encoder = { model = "ngrams:1024" }\n'
FROZEN = """
refit = false
[encoder]
max_tokens = 64
[lora]
epochs = 1
"""
POOLS = {"routellm": ["pair"], "mmlu_pro": ["mix", "frontier"], "zeroeval": []}
ROUTOO = [sys.executable, "-m", "routoo_core"]


def price_options(data: Path, table: str) -> list[str]:
    if not POOLS[table]:
        return ["--prices", str(Path(__file__).parent / "zeroeval_prices.csv")]
    options = ["--prices", str(data / "pools.csv")]
    for pool in POOLS[table]:
        options += ["--pool", pool]
    return options


def main(data: Path, table: str, out: Path, presets: Sequence[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tables = ["--prompts", str(data / f"{table}.prompts.parquet")]
    tables += ["--outcomes", str(data / f"{table}.outcomes.parquet")]
    prices = price_options(data, table)
    routers = []
    for preset in presets:
        config = out / f"{preset}.toml"
        config.write_text(FROZEN if preset in SLOW_PRESETS else NGRAMS, encoding="utf-8")
        folder = out / preset
        command = [*ROUTOO, "train", *tables, *prices, "--preset", preset]
        command += ["--config", str(config), "--out", str(folder), "--overwrite"]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        print(f"{preset}: trained in {time.perf_counter() - started:.0f} s", flush=True)
        routers += ["--router", str(folder)]
    report = [*ROUTOO, "evaluate", *tables, *prices, *routers, "--cost", "paper"]
    report += ["--title", f"{table}: every algorithm", "--out", str(out / "report"), "--overwrite"]
    subprocess.run(report, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:] or PRESETS)

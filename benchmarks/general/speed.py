"""How fast the general router decides: python benchmarks/general/speed.py

Times the reading of a prompt of 150 tokens, a whole decision among nine experts, a look-up in the catalogue, and a new
process up to its first decision.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from routoo_core import Router
from routoo_core.catalogue.store import open_catalogue
from routoo_core.request import RoutedRequest

PROMPT = (
    "A tenant stops paying rent because the heating has failed for two months in winter. The landlord says that "
    "the contract allows no deduction, and threatens to evict at once. What may the tenant do, which notice has to "
    "be given before, and what would a court look at if the landlord did sue? "
) + "Explain each step in plain words, name the usual exceptions, and say where states differ. " * 4
EXPERTS = (
    "gpt-5.5",
    "gpt-5-mini",
    "gpt-5-nano",
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-haiku-4-5",
    "gemini-3.5-flash",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
)
REPEATS = 2000
STARTS = 5
FIRST_DECISION = f"""
import sys
from routoo_core import Router
from routoo_core.request import RoutedRequest
router = Router.from_toml(sys.argv[1])
router.decide(RoutedRequest.from_text({PROMPT!r}))
assert "torch" not in sys.modules
"""


def main() -> None:
    """Print a line for each."""
    with tempfile.TemporaryDirectory() as name:
        path = write_configuration(Path(name))
        router = Router.from_toml(path)
        request = RoutedRequest.from_text(PROMPT)
        print(f"tokens of the prompt: {request.prompt_tokens}")
        show("read a prompt", lambda: router.predictor.predict([PROMPT]))
        show("decide and note the call", lambda: router.start(request))
        catalogue = open_catalogue()
        show(
            "look a model up",
            lambda: catalogue.find("us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        )
        starts = []
        for _ in range(STARTS):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", FIRST_DECISION, str(path)], check=True)
            starts.append(time.perf_counter() - start)
        print(
            f"process start to first decision: median {statistics.median(starts):.2f} s, worst {max(starts):.2f} s"
        )


def write_configuration(folder: Path) -> Path:
    """Both files, for the experts."""
    (folder / "experts.toml").write_text("".join(f'[experts."{name}"]\n' for name in EXPERTS))
    path = folder / "routoo.toml"
    path.write_text('router = "general-fast"\n[budget]\nlimit = "5"\nledger = "memory://"\n')
    return path


def show(title: str, call: Callable[[], object]) -> None:
    """Median and worst of many calls."""
    call()
    durations = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        durations.append((time.perf_counter() - start) * 1e3)
    durations.sort()
    nearly_all = durations[int(0.99 * REPEATS)]
    print(f"{title}: median {statistics.median(durations):.3f} ms, 99 % within {nearly_all:.3f} ms")


if __name__ == "__main__":
    main()

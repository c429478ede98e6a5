"""Several processes under ``accelerate launch``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

ENCODING_TIMEOUT = timedelta(days=1)
"""How long the other processes wait for the one that encodes."""


def is_main_process() -> bool:
    """Whether this is the process that writes: the only one, or the first under ``accelerate launch``."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def main_process_first() -> Iterator[None]:
    """Under ``accelerate launch`` the first process runs the block before the others do."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    from accelerate import PartialState  # type: ignore[import-untyped]

    with PartialState(timeout=ENCODING_TIMEOUT).main_process_first():
        yield

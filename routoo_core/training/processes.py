"""Several processes under ``accelerate launch``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

_PATIENCE = timedelta(days=1)


def is_main_process() -> bool:
    """Whether this is the process that writes: the only one, or the first under ``accelerate launch``."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _main_process_first() -> Iterator[None]:
    """Under ``accelerate launch`` the others wait, and then find the vectors in the cache."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    from accelerate import PartialState  # type: ignore[import-untyped]

    with PartialState(timeout=_PATIENCE).main_process_first():
        yield

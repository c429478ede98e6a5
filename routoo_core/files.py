"""Files that are written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A scratch folder beside the target, so that the last step is an atomic rename."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".staging-") as name:
        yield Path(name)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write in the block; after it, and only if nothing was raised, it takes the place of ``path``."""
    with staging(path.parent) as folder:
        partial = folder / path.name
        yield partial
        partial.replace(path)


@contextmanager
def replacing_all(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """A folder to write files of these names in; after the block, and only if nothing was raised, they are moved."""
    with staging(folder.parent) as scratch:
        yield scratch
        folder.mkdir(exist_ok=True)
        for name in names:
            (scratch / name).replace(folder / name)

"""Packages that only some deployments need, and the extra of ``routoo`` that installs each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from routoo_core.errors import MissingDependency

EXTRAS = {
    "torch": "torch",
    "transformers": "torch",
    "peft": "torch",
    "accelerate": "torch",
    "langchain_core": "langchain",
    "langchain_openai": "langchain",
    "langchain": "langchain",
    "llama_index": "llama-index",
    "xllamacpp": "local",
    "matplotlib": "report",
    "ray": "ray",
}
"""Import name → extra."""


def missing_dependency(error: ModuleNotFoundError, purpose: str) -> MissingDependency | None:
    """The error that names the extra to install, where the missing module belongs to one.

    Args:
        error: What an import raised.
        purpose: What the module is needed for, completing "… is needed to".
    """
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package)
    if extra is None:
        return None
    return MissingDependency(package, extra, purpose)


@contextmanager
def needed_to(purpose: str) -> Iterator[None]:
    """Imports inside the block name the extra to install where their package is missing.

    Args:
        purpose: What the imports are for, completing "… is needed to".

    Raises:
        MissingDependency: A package of an extra is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = missing_dependency(error, purpose)
        if missing is None:
            raise
        raise missing from error

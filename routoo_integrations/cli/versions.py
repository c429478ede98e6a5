"""What ``routoo --version`` prints: the versions that a bug report needs."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from routoo_core import __version__

PACKAGES = (
    "langchain-core",
    "langchain-openai",
    "llama-index-core",
    "llama-index-llms-openai-like",
    "openai",
    "genai-prices",
    "numpy",
    "pydantic",
    "torch",
    "transformers",
    "redis",
    "starlette",
)
"""Packages whose behaviour shows in Routoo's, as the package index names them."""


def version_lines() -> list[str]:
    """A line for Routoo, one for Python and the system, and one for each package that is installed."""
    lines = [f"routoo {__version__}", f"Python {platform.python_version()}, {platform.platform()}"]
    for package in PACKAGES:
        try:
            lines.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package} not installed")
    return lines

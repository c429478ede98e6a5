"""Routoo: one chat model over many, under a running budget.

Importing this package loads neither torch nor a framework; each name is loaded when first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Threads of PyTorch that spin at a barrier slow a prediction tenfold while another program needs one of the cores.
# The OpenMP library reads this once, when PyTorch is loaded; a value of yours stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from routoo_core.budget.account import Budget
    from routoo_core.budget.alerts import AlertRule
    from routoo_core.experts import Expert, Pool
    from routoo_core.request import RoutedRequest
    from routoo_core.router import Router
    from routoo_core.usage import Usage

_HOME = {
    "AlertRule": "routoo_core.budget.alerts",
    "Budget": "routoo_core.budget.account",
    "Expert": "routoo_core.experts",
    "Pool": "routoo_core.experts",
    "Usage": "routoo_core.experts",
    "RoutedRequest": "routoo_core.request",
    "Router": "routoo_core.router",
}

__all__ = [
    "AlertRule",
    "Budget",
    "Expert",
    "Pool",
    "RoutedRequest",
    "Router",
    "Usage",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'routoo_core' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)

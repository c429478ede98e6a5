"""``RoutooLLM``, an LLM that is many, and ``RoutooSelector``, which chooses among engines or tools."""

from __future__ import annotations

from routoo_core.extras import needed_to
from routoo_integrations.call_settings import routoo_settings

with needed_to("use RoutooLLM"):
    from routoo_integrations.llama_index.events import RoutooDecisionEvent
    from routoo_integrations.llama_index.llm import RoutooLLM
    from routoo_integrations.llama_index.selector import RoutooSelector

__all__ = ["RoutooDecisionEvent", "RoutooLLM", "RoutooSelector", "routoo_settings"]

"""``llama_index.llms.routoo``: what the wheel puts where LlamaIndex's users look for an LLM."""

from routoo_integrations.llama_index import (
    RoutooDecisionEvent,
    RoutooLLM,
    RoutooSelector,
    routoo_settings,
)

__all__ = ["RoutooDecisionEvent", "RoutooLLM", "RoutooSelector", "routoo_settings"]

"""``RoutooSelector``: the predictor as a LlamaIndex selector, to choose among query engines or tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import ToolMetadata

from routoo_core.errors import ConfigurationError, NoCapableExpert
from routoo_core.money import format_usd
from routoo_core.request import RoutedRequest
from routoo_core.router import Router
from routoo_core.threads import off_loop
from routoo_integrations.building import read_overrides


class RoutooSelector(BaseSelector):
    """Chooses the engine or tool whose expert is predicted to buy the most; calls and charges nobody.

    ::

        engines = [QueryEngineTool.from_defaults(plain, name="gpt-4o"), QueryEngineTool.from_defaults(deep, name="o3")]
        RouterQueryEngine(selector=RoutooSelector(router), query_engine_tools=engines)

    Args:
        router: Whose predictor, prices and policy decide.
        experts: Choice → name of its expert; a choice goes by its name, or its description where it has none. Choices
            not listed are experts' names themselves.

    Raises:
        ConfigurationError: An expert is not in the router's pool.
    """

    def __init__(self, router: Router, experts: Mapping[str, str] | None = None) -> None:
        self.router, self.experts = router, dict(experts or {})
        for name in self.experts.values():
            router.pool[name]

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        names = [self._expert(choice) for choice in choices]
        request = RoutedRequest.from_text(
            query.query_str, overrides=read_overrides(self.router, {}, None)
        )
        decision = self.router.decide(request)
        best = next((one for one in decision.candidates if one.expert.name in names), None)
        if best is None:
            raise NoCapableExpert({name: ["room for the question"] for name in names})
        cost = format_usd(best.expected_cost)
        reason = f"{best.expert.name}: predicted quality {best.quality:.2f} for {cost} ({decision.policy})"
        return SelectorResult(
            selections=[SingleSelection(index=names.index(best.expert.name), reason=reason)]
        )

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        return await off_loop(lambda: self._select(choices, query))

    def _expert(self, choice: ToolMetadata) -> str:
        called = choice.name or choice.description
        try:
            return self.router.pool[self.experts.get(called, called)].name
        except ConfigurationError as error:
            raise ConfigurationError(
                f"choice {called!r}: {error}; name its expert in RoutooSelector(experts=…)"
            ) from error

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts_dict: PromptDictType) -> None:
        """There are none."""

"""``RoutooSelector``: the predictor as a LlamaIndex selector, to choose among query engines or tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import ToolMetadata

from routoo_core.candidates import Candidate
from routoo_core.errors import ConfigurationError, NoCapableExpert
from routoo_core.money import format_usd
from routoo_core.request import RoutedRequest
from routoo_core.router import Router
from routoo_core.threads import off_loop
from routoo_integrations.call_settings import read_overrides


class RoutooSelector(BaseSelector):
    """Chooses the engine or tool whose expert comes first for the query. No expert is called or charged.

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
        self.router = router
        self.experts = dict(experts or {})
        for name in self.experts.values():
            router.pool[name]  # raises for an expert that is not in the pool

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        names = [self._expert_name(choice) for choice in choices]
        overrides = read_overrides(self.router, {}, None)
        request = RoutedRequest.from_text(query.query_str, overrides=overrides)
        decision = self.router.decide(request)

        for candidate in decision.candidates:
            name = candidate.name
            if name in names:
                reason = f"{_describe_candidate(candidate)} ({decision.policy.name})"
                selection = SingleSelection(index=names.index(name), reason=reason)
                return SelectorResult(selections=[selection])
        raise NoCapableExpert({name: ["room for the question"] for name in names})

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        return await off_loop(lambda: self._select(choices, query))

    def _expert_name(self, choice: ToolMetadata) -> str:
        """The expert of a choice.

        Raises:
            ConfigurationError: It is not in the pool.
        """
        choice_name = choice.name or choice.description
        try:
            return self.router.pool[self.experts.get(choice_name, choice_name)].name
        except ConfigurationError as error:
            raise ConfigurationError(
                f"choice {choice_name!r}: {error}; name its expert in RoutooSelector(experts=…)"
            ) from error

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts_dict: PromptDictType) -> None:
        """There are none."""


def _describe_candidate(candidate: Candidate) -> str:
    cost = format_usd(candidate.expected_cost)
    return f"{candidate.name}: predicted quality {candidate.quality:.2f} for {cost}"

"""A small complementary pool for the providers whose keys are at hand."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from routoo_core.catalogue.entries import Ability, ModelFacts
from routoo_core.catalogue.providers import ENDPOINTS, GATEWAYS, ProviderEndpoint
from routoo_core.catalogue.store import Catalogue
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert, Pool
from routoo_core.hosts import Address
from routoo_core.list_prices import price_of_model

EXPERTS_OF_PROVIDER = 3

_OWN_MODELS = tuple(name for name in ENDPOINTS if name not in GATEWAYS)
_NEWEST_MONTHS = 15
_FEWEST_SCORES = 5
_DEAREST_USD = 60.0
"""Output of a million tokens; what costs more is for those who ask for it."""
_SPECIAL = re.compile(
    r"oss|codex|image|audio|vision|embed|tts|realtime|search|research|chat|multi-agent|code|preview|exp|vl\b|-pro$|:|@|[(]"
)
_FIRST_MONTH = 12


@dataclass(frozen=True, slots=True)
class ProposedExpert:
    """One of the pool.

    Attributes:
        expert: As its name alone describes it.
        facts: Its model in the catalogue.
        ability: Of the model.
    """

    expert: Expert
    facts: ModelFacts
    ability: Ability


def providers_with_keys() -> list[str]:
    """The providers whose usual variable is set in the environment."""
    return [name for name, endpoint in ENDPOINTS.items() if _has_key(endpoint)]


def _has_key(endpoint: ProviderEndpoint) -> bool:
    return bool(os.environ.get(endpoint.key, "").strip())


def propose_pool(providers: Sequence[str], catalogue: Catalogue) -> list[ProposedExpert]:
    """Propose up to three experts of each provider: the ablest, the cheapest that is worth its price, one between.

    Args:
        providers: Names of :data:`~routoo_core.catalogue.providers.ENDPOINTS`.
        catalogue: Where the models are looked up.

    Raises:
        ConfigurationError: A provider is unknown, or the catalogue has no recent model of it with a price.
    """
    models = list(catalogue.models())
    newest = max(_month_number(facts.release) for facts in models if facts.release)
    proposal = []
    for provider in providers:
        if provider not in _OWN_MODELS:
            provider_names = ", ".join(_OWN_MODELS)
            raise ConfigurationError(
                f"provider {provider!r}: choose of {provider_names}, or write experts.toml by hand"
            )
        candidates = []
        for facts in models:
            if facts.provider == provider and _is_candidate(facts, newest):
                candidate = _price(facts, catalogue)
                if candidate is not None:
                    candidates.append(candidate)
        if not candidates:
            raise ConfigurationError(
                f"provider {provider!r}: no recent model of it has a price; write experts.toml by hand"
            )
        proposal += _spread(_worth_their_price(candidates))
    return proposal


def _month_number(release: str | None) -> int:
    year, _, month = (release or "0").partition("-")
    return int(year) * _FIRST_MONTH + int(month or 1)


def _is_candidate(facts: ModelFacts, newest: int) -> bool:
    is_recent = newest - _month_number(facts.release) <= _NEWEST_MONTHS
    is_priced = (
        bool(facts.output_usd_per_1m) and float(facts.output_usd_per_1m or 0) <= _DEAREST_USD
    )
    if not is_recent or not is_priced or _SPECIAL.search(facts.title):
        return False
    return not facts.is_open or _is_sold_by_its_maker(facts)


def _is_sold_by_its_maker(facts: ModelFacts) -> bool:
    """Whether the maker of an open model lists a price for it; others may serve the weights without the maker."""
    endpoint = ENDPOINTS[facts.provider or ""]
    prices = price_of_model(facts.title, Address(endpoint.base_url, endpoint.provider))
    return prices is not None and prices.host is not None


def _price(facts: ModelFacts, catalogue: Catalogue) -> ProposedExpert | None:
    """The expert that the model's name describes; ``None`` where it is little known or has no price."""
    ability = catalogue.ability(facts.key)
    if ability is None or len(catalogue.scores(facts.key)) < _FEWEST_SCORES:
        return None
    try:
        pool = Pool.read("proposal", {facts.title: {}})
    except ConfigurationError:
        return None
    return ProposedExpert(pool.experts[0], facts, ability)


def _worth_their_price(candidates: Sequence[ProposedExpert]) -> list[ProposedExpert]:
    """Those than which none is both cheaper and abler, cheapest first."""
    price_order = sorted(candidates, key=lambda one: (one.expert.output_usd_per_1m, -_overall(one)))
    worth: list[ProposedExpert] = []
    for candidate in price_order:
        if not worth or _overall(candidate) > _overall(worth[-1]):
            worth.append(candidate)
    return worth


def _overall(candidate: ProposedExpert) -> float:
    return float(candidate.ability.mean.mean())


def _spread(candidates: Sequence[ProposedExpert]) -> list[ProposedExpert]:
    """The cheapest, the ablest, and the one in the middle."""
    if len(candidates) <= EXPERTS_OF_PROVIDER:
        return list(candidates)
    return [candidates[0], candidates[len(candidates) // 2], candidates[-1]]

"""The model that answered: a provider may pass a call on to another model, at another price."""

from __future__ import annotations

import logging
import threading

from routoo_core.experts import Expert, Pool
from routoo_core.list_prices import ListPrices, Moment, price_of_model
from routoo_core.model_names import client_model, same_model
from routoo_core.money import NanoUsd
from routoo_core.usage import Usage

_LOGGER = logging.getLogger(__name__)


class AnsweringModels:
    """Computes the cost of a call from the model that its reply names. Thread-safe.

    Args:
        pool: The experts; one of them may be the model that answered for another.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._past_reports: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def is_other(self, expert: Expert, model: str | None) -> bool:
        """Whether a reply names a model that is neither the expert's nor one of its aliases."""
        if model is None or same_model(expert.model, model):
            return False
        if expert.client is not None:
            own_model = client_model(expert.client)
            if own_model is None or same_model(own_model, model):
                return False  # a chain names no model to compare with
        return not any(same_model(alias, model) for alias in expert.answers_as)

    def cost(
        self, expert: Expert, model: str | None, usage: Usage, at: Moment | None = None
    ) -> NanoUsd:
        """What a call cost: at the price of the model that answered, if it is another one and its price is known.

        Args:
            expert: The expert that was called.
            model: The model that the reply names.
            usage: The usage that the reply reports.
            at: When it was answered; by default now.
        """
        if model is None or not self.is_other(expert, model):
            return expert.cost(usage, at)
        prices = self._prices_of(expert, model)
        self._log_once(expert, model, is_priced=prices is not None)
        if prices is None:
            return expert.cost(usage, at)
        cost = prices.cost(usage, at)
        if price_of_model(expert.model, expert.address) is None:
            # The name that was asked may be an alias of what answered, at a price that was agreed upon.
            return max(cost, expert.cost(usage, at))
        return cost

    def _prices_of(self, expert: Expert, model: str) -> Expert | ListPrices | None:
        """What another model costs at this expert's address; ``None`` where that is not known."""
        for neighbour in self._pool:
            if neighbour.address == expert.address and same_model(neighbour.model, model):
                return neighbour
        if expert.is_free:
            return None  # a machine of one's own: whatever answers there is free
        return price_of_model(model, expert.address)

    def _log_once(self, expert: Expert, model: str, is_priced: bool) -> None:
        """Say which model answered; never as an exception, since the call is paid and its reply is the caller's."""
        with self._lock:
            if (expert.name, model) in self._past_reports:
                return
            self._past_reports.add((expert.name, model))
        price = "its own price" if is_priced else "the price of the model that was asked"
        _LOGGER.warning(
            "expert %r: model %r was asked and %r answered, booked at %s. "
            "If both are one model, set answers_as = [%r]; to refuse such replies, set strict_model = true.",
            expert.name,
            expert.model,
            model,
            price,
            model,
        )

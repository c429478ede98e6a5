"""``/v1/decisions``: which expert would answer, and why. No expert is called and nothing is charged."""

from __future__ import annotations

from collections.abc import Mapping

from routoo_core.request import Overrides, RoutedRequest
from routoo_core.router import Router
from routoo_integrations.gateway.authors import Authors
from routoo_integrations.gateway.chat import ChatCompletion
from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.problems import invalid_request
from routoo_integrations.gateway.steering import ROUTER_MODEL


def read_question(parameters: Mapping[str, str]) -> JsonObject:
    """The chat that the parameters of an address ask about.

    Raises:
        CallRefused: There is no text, or a number is none.
    """
    text = parameters.get("text")
    if not text:
        raise invalid_request("text: give the prompt as ?text=…, or post a chat completion's body")
    body: JsonObject = {
        "model": parameters.get("model", ROUTER_MODEL),
        "messages": [{"role": "user", "content": text}],
    }
    limit = parameters.get("max_tokens")
    if limit is not None:
        try:
            body["max_tokens"] = int(limit)
        except ValueError:
            raise invalid_request("max_tokens: give a whole number") from None
    return body


def read_decision_call(body: JsonObject, authors: Authors) -> ChatCompletion:
    """The chat that a body asks about: that of a chat completion, or one with a ``text`` instead of messages.

    Raises:
        CallRefused: It is neither.
    """
    if isinstance(body.get("text"), str) and "messages" not in body:
        rest = {name: value for name, value in body.items() if name != "text"}
        body = {**rest, "messages": [{"role": "user", "content": body["text"]}]}
    return ChatCompletion.read(body, authors)


def explain(router: Router, request: RoutedRequest, overrides: Overrides) -> JsonObject:
    """The decision of a call as JSON: every expert's quality and cost, who is affordable, and a sentence.

    Args:
        router: The router.
        request: The call.
        overrides: What it sets for itself; where a key's account pays, no other account is shown.

    Raises:
        RoutingError: No expert can serve it, or the ledger failed.
    """
    preview = router.preview(request)
    values = preview.to_dict()
    if overrides.payer is not None:
        values["accounts"] = values["accounts"][:1]
    record = preview.decision.record().to_dict()
    return {**record, "why": preview.decision.explain(), "preview": values}

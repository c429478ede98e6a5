"""Names of models: the model that a name stands for, however a provider spells it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_PATH = re.compile(r".*/(?:models|foundation-model|inference-profile)/(.+)")
"""What a provider puts before a name: ``models/``, ``accounts/fireworks/models/``, the ARN of Bedrock."""
BEDROCK_VENDOR = re.compile(
    r"^(?:(?:us|us-gov|eu|apac|jp|au|ca|sa|global|regional)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshotai|moonshot|nvidia|openai|qwen"
    r"|stability|writer|zai)\.(?=[a-z])"
)
"""How Bedrock names models: region and vendor before the name."""
BEDROCK_VERSION = re.compile(r"-v?\d+:\d+(?::\w+)?$")
_CLAUDE_VERSION = re.compile(r"(claude.*)-v\d(?=$|@)")
_VARIANT = re.compile(r":(?!free$|batch$)[a-z][a-z-]*$")
"""How a gateway serves a model: ``:nitro``, ``:online``, ``:latest``; what is free or in a batch has its own price."""
_DECIMAL_POINT = re.compile(r"(?<=\d)[.p](?=\d)")
_SNAPSHOT = re.compile(
    r"[-@]("
    r"20\d\d-[01]\d-[0-3]\d"  # 2024-08-06
    r"|20\d\d[01]\d[0-3]\d"  # 20241022
    r"|[01]\d-20\d\d"  # 08-2024
    r"|[01]\d-[0-3]\d"  # 05-20
    r"|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"  # 0613
    r"|2\d(?:0[1-9]|1[0-2])"  # 2411
    r"|00\d"  # 001
    r"|latest|default"
    r")$"
)
"""The snapshot at the end of a name."""
_ALIASES = {
    "claude-sonnet-4-0": "claude-sonnet-4",
    "claude-opus-4-0": "claude-opus-4",
    "gpt-4-0125-preview": "gpt-4-turbo-preview",
    "gpt-4-1106-preview": "gpt-4-turbo-preview",
}
_ROLLING = ("", "latest", "default")
"""Snapshots of a name that stands for whichever is served today."""


def same_model(request_name: str, reply_name: str | None) -> bool:
    """Whether two names mean the same model: the one a request names and the one its reply names.

    An alias and its snapshots are one model (``gpt-4o``, ``gpt-4o-2024-08-06``), as are the spellings of providers
    (``openai/gpt-4o``, ``us.anthropic.claude-sonnet-4-20250514-v1:0``). Two different snapshots are two models.

    Args:
        request_name: The name in the request.
        reply_name: The name in the reply. ``None`` or an empty name counts as the same model.
    """
    if not reply_name or not reply_name.strip():
        return True
    request_model, request_snapshot = _model_and_snapshot(request_name)
    reply_model, reply_snapshot = _model_and_snapshot(reply_name)
    if request_model != reply_model:
        return False
    if request_snapshot in _ROLLING or reply_snapshot in _ROLLING:
        return True
    return request_snapshot == reply_snapshot


def without_path(name: str) -> str:
    """A name without what a provider's address puts before it, such as ``models/``."""
    match = _PATH.fullmatch(f"/{name}")
    return match[1] if match else name


@lru_cache(maxsize=4096)
def _model_and_snapshot(name: str) -> tuple[str, str]:
    """A model's plain name, and the digits of its snapshot or the word for the latest."""
    name = name.strip().lower()
    if name.startswith("ft:"):
        return name, ""  # somebody's own weights, with a price of their own

    name = name.partition("/versions/")[0]
    name = name.rpartition("/")[2]
    name = BEDROCK_VENDOR.sub("", name)
    name = BEDROCK_VERSION.sub("", name)
    name = _CLAUDE_VERSION.sub(r"\1", name)
    name = _VARIANT.sub("", name)
    name = name.removeprefix("~").replace("gpt-35-", "gpt-3.5-")
    if name.startswith("meta-llama"):
        name = name.removeprefix("meta-")
    if name in _ALIASES:
        return _ALIASES[name], ""

    snapshot = ""
    match = _SNAPSHOT.search(name)
    if match:
        name = name[: match.start()]
        snapshot = match[1].replace("-", "")
    name = _DECIMAL_POINT.sub("-", name)
    return _ALIASES.get(name, name), snapshot


def client_model(client: Any) -> str | None:
    """The name that a native model object gives its model; ``None`` for one that names none, such as a chain."""
    for attribute in ("model_name", "model", "model_id", "deployment_name"):
        name = getattr(client, attribute, None)
        if isinstance(name, str):
            return name
    return None

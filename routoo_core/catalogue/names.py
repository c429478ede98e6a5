"""One name for a model, however people, gateways and leaderboards write it."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, get_args

from routoo_core.model_names import BEDROCK_VENDOR, BEDROCK_VERSION, without_path

Effort = Literal["default", "none", "minimal", "low", "medium", "high", "xhigh"]
"""How much a model reasons before it answers; ``default`` is what its provider does unasked."""
EFFORTS: tuple[Effort, ...] = get_args(Effort)

_BRACKETS = re.compile(r"[-\s]*[(\[]([^)\]]*)[)\]]")
_VENDOR = re.compile(
    r"^(?:openai|anthropic|google|meta(?=-llama)|mistralai|writer|moonshotai|nvidia|microsoft|alibaba|amazon|xai|x-ai"
    r"|deepseek-ai|databricks|cohere|zai-org|parasail|tiiuae|ibm-granite|ibm|minimaxai|together|groq)-(?=[a-z])"
)
_HOST = re.compile(r"@(?![\d-]+$).*$")
_SEPARATORS = re.compile(r"[\s_.:@/,+]+")
_DATE = re.compile(
    r"-(?:20\d\d-?[01]\d-?[0-3]\d|20\d\d-[01]\d|[01]\d-[0-3]\d-20\d\d|[01]\d-20\d\d|[012]\d-[01]\d-[0-3]\d)(?=-|$)"
)
_SHORT_DATE = re.compile(r"-(?:[01]\d[0-3]\d|2[0-9][01]\d|[01]\d-[0-3]\d|00\d)(?=-|$)")
_SERVING = re.compile(
    r"-(?:latest|default|hf|fp8|fp16|bf16|awq|gguf|int4|int8|quantized|free|nitro|online|turbo(?=-free)|maas|hosted"
    r"|diff|whole|udiff|deprecated|prev|w8a8|fc|fc-any|fc-auto|prompt|any|auto|n-1)(?=-|$)"
)
_STAGE = re.compile(r"-(?:preview|exp|experimental|beta)(?=-|$)")
_TUNING = re.compile(r"-(?:instruct|inst|ins|it|chat|turbo|base)(?=-|$)")
_EFFORTS_IN_NAMES: tuple[tuple[re.Pattern[str], Effort], ...] = (
    (re.compile(r"no-?think(?:ing)?|non-?(?:thinking|reasoning)|(?<![a-z])none(?![a-z])"), "none"),
    (re.compile(r"minimal"), "minimal"),
    (re.compile(r"x-?high|(?<![a-z])max(?![a-z])"), "xhigh"),
    (re.compile(r"low"), "low"),
    (re.compile(r"medium"), "medium"),
    (re.compile(r"high|think|reason"), "high"),
)
_EFFORT_ENDING = re.compile(
    r"-(?:(?:(?:thinking|reasoning)-)?(?:auto-)?(?:\d+k-)?(?:none|minimal|low|medium|high|xhigh|max-effort)(?:-effort)?"
    r"|thinking(?:-\d+k)?(?:-tokens)?|\d+k-thinking|no-?think(?:ing)?|think(?:low|high)?|nothink|non-reasoning|reasoning"
    r"|non-thinking)$"
)
_OTHER_SPELLINGS = (
    (re.compile(r"^llama-?(?=\d)"), "llama-"),
    (re.compile(r"^chatgpt-4o"), "gpt-4o"),
    (re.compile(r"^gpt-35"), "gpt-3-5"),
    (re.compile(r"-(?:inst|ins)(?=-|$)"), "-instruct"),
    (re.compile(r"^gemini-(pro|flash|ultra)-(\d)-(\d)"), r"gemini-\2-\3-\1"),
    (re.compile(r"^(claude)-(sonnet|opus|haiku)-(3)-?(\d)?(?=-|$)"), r"\1-\3-\4-\2"),
    (re.compile(r"^gemini-3-0-"), "gemini-3-"),
    (re.compile(r"^(claude-(?:opus|sonnet)-4)-0(?=-|$)"), r"\1"),
    (re.compile(r"^deepseek-v32"), "deepseek-v3-2"),
    (re.compile(r"^command-r\+"), "command-r-plus"),
    (re.compile(r"(?<=llama-)v(\d)p(\d)"), r"\1-\2"),
)


class ModelName(NamedTuple):
    """A name taken apart.

    Attributes:
        key: Letters, digits and hyphens, with the date of its snapshot where it has a short one.
        effort: What the name says of reasoning.
    """

    key: str
    effort: Effort


def read_effort(text: str | None) -> Effort:
    """The effort that a leaderboard's words speak of.

    >>> read_effort("thinking-64k-high-effort"), read_effort("nothink"), read_effort(None)
    ('high', 'none', 'default')
    """
    lower = (text or "").lower()
    if lower.startswith("harness"):
        return "default"
    for pattern, effort in _EFFORTS_IN_NAMES:
        if pattern.search(lower):
            return effort
    return "default"


def read_model_name(name: str) -> ModelName:
    """Take a name apart.

    >>> read_model_name("us.anthropic.claude-opus-4-5-20251101-v1:0")
    ModelName(key='claude-opus-4-5', effort='default')
    >>> read_model_name("openrouter/openai/gpt-5.4 (high)")
    ModelName(key='gpt-5-4', effort='high')
    """
    lower = without_path(name.strip().lower())
    lower = lower.rpartition("/")[2].removeprefix("~")
    lower = BEDROCK_VERSION.sub("", BEDROCK_VENDOR.sub("", lower))
    remarks = " ".join(_BRACKETS.findall(lower))
    lower = _BRACKETS.sub("", lower) + ("" if not _is_date(remarks) else f"-{remarks}")
    lower = _HOST.sub("", lower).replace("command-r+", "command-r-plus")

    key = _SEPARATORS.sub("-", lower).strip("-")
    key = _VENDOR.sub("", key)
    for pattern, replacement in _OTHER_SPELLINGS:
        key = pattern.sub(replacement, key).replace("--", "-").strip("-")
    key = _DATE.sub("", key)
    effort = read_effort(remarks)
    ending = _EFFORT_ENDING.search(key)
    if ending and ending.start() > 0:
        effort = read_effort(ending[0])
        key = key[: ending.start()]
    key = _SERVING.sub("", key)
    return ModelName(key.strip("-"), effort)


def looser_keys(key: str) -> list[str]:
    """Keys to try where a key itself is unknown, from near to far."""
    keys = [key]
    for pattern in (_STAGE, _SHORT_DATE, _TUNING):
        shorter = pattern.sub("", keys[-1])
        if shorter and shorter != keys[-1]:
            keys.append(shorter)
    return keys[1:]


def _is_date(text: str) -> bool:
    return bool(re.fullmatch(r"[\d-]{4,10}", text))

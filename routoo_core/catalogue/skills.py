"""The skills that models are compared in, and which skill each published benchmark measures."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

SKILLS = (
    "science",
    "medicine",
    "law",
    "business",
    "society",
    "humanities",
    "facts",
    "maths",
    "reasoning",
    "code",
    "agentic_code",
    "tools",
    "instructions",
    "data",
    "writing",
    "chat",
    "summaries",
    "languages",
)
"""Every skill, in the order in which arrays hold them."""

SKILL_NUMBER = {skill: number for number, skill in enumerate(SKILLS)}

SKILL_TITLES = {
    "science": "natural sciences and engineering",
    "medicine": "medicine and health",
    "law": "law",
    "business": "business and economics",
    "society": "psychology, politics and society",
    "humanities": "history, philosophy and the arts",
    "facts": "facts and trivia",
    "maths": "mathematics",
    "reasoning": "logic and puzzles",
    "code": "writing and reading code",
    "agentic_code": "work in a code repository",
    "tools": "calling tools",
    "instructions": "exact instructions",
    "data": "tables, SQL and extraction",
    "writing": "stories, letters and editing",
    "chat": "conversation and advice",
    "summaries": "summaries and answers from a text",
    "languages": "translation and other languages",
}
"""A skill → what people call it."""


KNOWLEDGE = "science medicine law business society humanities facts"
"""What an exam over all fields measures, each as much as the others."""


class BenchmarkRule(NamedTuple):
    """Which skills a benchmark measures.

    Attributes:
        benchmark: Its name in lower case, ``*`` for any letters.
        category: The part of it in lower case, ``*`` for any.
        skills: Some of :data:`SKILLS`, blanks between; empty where it measures none of them (images, audio, safety).
    """

    benchmark: str
    category: str
    skills: str


RULES = (
    # Results by domain; a mean over all domains says nothing beside them
    BenchmarkRule("mmlu-pro", "", ""),
    BenchmarkRule("mmlu (helm)", "", ""),
    BenchmarkRule("mmlu-pro", "biology", "science"),
    BenchmarkRule("mmlu-pro", "chemistry", "science"),
    BenchmarkRule("mmlu-pro", "physics", "science"),
    BenchmarkRule("mmlu-pro", "engineering", "science"),
    BenchmarkRule("mmlu-pro", "computer science", "code"),
    BenchmarkRule("mmlu-pro", "health", "medicine"),
    BenchmarkRule("mmlu-pro", "law", "law"),
    BenchmarkRule("mmlu-pro", "business", "business"),
    BenchmarkRule("mmlu-pro", "economics", "business"),
    BenchmarkRule("mmlu-pro", "psychology", "society"),
    BenchmarkRule("mmlu-pro", "history", "humanities"),
    BenchmarkRule("mmlu-pro", "philosophy", "humanities"),
    BenchmarkRule("mmlu-pro", "other", "facts"),
    BenchmarkRule("mmlu-pro", "math", "maths"),
    BenchmarkRule("mmlu (helm)", "*math*", "maths"),
    BenchmarkRule("mmlu (helm)", "*statistics", "maths"),
    BenchmarkRule("mmlu (helm)", "abstract_algebra", "maths"),
    BenchmarkRule("mmlu (helm)", "formal_logic", "reasoning"),
    BenchmarkRule("mmlu (helm)", "logical_fallacies", "reasoning"),
    BenchmarkRule("mmlu (helm)", "*computer*", "code"),
    BenchmarkRule("mmlu (helm)", "machine_learning", "code"),
    BenchmarkRule("mmlu (helm)", "anatomy", "medicine"),
    BenchmarkRule("mmlu (helm)", "*medic*", "medicine"),
    BenchmarkRule("mmlu (helm)", "clinical_knowledge", "medicine"),
    BenchmarkRule("mmlu (helm)", "human_aging", "medicine"),
    BenchmarkRule("mmlu (helm)", "human_sexuality", "medicine"),
    BenchmarkRule("mmlu (helm)", "nutrition", "medicine"),
    BenchmarkRule("mmlu (helm)", "virology", "medicine"),
    BenchmarkRule("mmlu (helm)", "*law*", "law"),
    BenchmarkRule("mmlu (helm)", "jurisprudence", "law"),
    BenchmarkRule("mmlu (helm)", "*economics", "business"),
    BenchmarkRule("mmlu (helm)", "econometrics", "business"),
    BenchmarkRule("mmlu (helm)", "*accounting", "business"),
    BenchmarkRule("mmlu (helm)", "business_ethics", "business"),
    BenchmarkRule("mmlu (helm)", "management", "business"),
    BenchmarkRule("mmlu (helm)", "marketing", "business"),
    BenchmarkRule("mmlu (helm)", "public_relations", "business"),
    BenchmarkRule("mmlu (helm)", "*psychology", "society"),
    BenchmarkRule("mmlu (helm)", "sociology", "society"),
    BenchmarkRule("mmlu (helm)", "*politics", "society"),
    BenchmarkRule("mmlu (helm)", "*geography", "society"),
    BenchmarkRule("mmlu (helm)", "security_studies", "society"),
    BenchmarkRule("mmlu (helm)", "us_foreign_policy", "society"),
    BenchmarkRule("mmlu (helm)", "*history", "humanities"),
    BenchmarkRule("mmlu (helm)", "moral_*", "humanities"),
    BenchmarkRule("mmlu (helm)", "philosophy", "humanities"),
    BenchmarkRule("mmlu (helm)", "world_religions", "humanities"),
    BenchmarkRule("mmlu (helm)", "global_facts", "facts"),
    BenchmarkRule("mmlu (helm)", "miscellaneous", "facts"),
    BenchmarkRule("mmlu (helm)", "*", "science"),
    # Collections with a category for each skill
    BenchmarkRule("livebench-*", "coding", "code"),
    BenchmarkRule("livebench-*", "agentic coding", "agentic_code"),
    BenchmarkRule("livebench-*", "data analysis", "data"),
    BenchmarkRule("livebench-*", "if", "instructions"),
    BenchmarkRule("livebench-*", "mathematics", "maths"),
    BenchmarkRule("livebench-*", "reasoning", "reasoning"),
    BenchmarkRule("livebench-*", "language", "writing"),
    BenchmarkRule("livebench-*", "task:summarize", "summaries"),
    BenchmarkRule("livebench-*", "*", ""),
    BenchmarkRule("openllm-v2", "bbh", "reasoning"),
    BenchmarkRule("openllm-v2", "musr", "reasoning"),
    BenchmarkRule("openllm-v2", "gpqa", "science"),
    BenchmarkRule("openllm-v2", "ifeval", "instructions"),
    BenchmarkRule("openllm-v2", "math level 5", "maths"),
    BenchmarkRule("openllm-v2", "mmlu-pro", KNOWLEDGE),
    BenchmarkRule("openllm-v2", "*", ""),
    BenchmarkRule("zeroeval", "mmlu-redux", KNOWLEDGE),
    BenchmarkRule("zeroeval", "zebra-grid", "reasoning"),
    BenchmarkRule("zeroeval", "crux", "code"),
    BenchmarkRule("zeroeval", "gsm", "maths"),
    BenchmarkRule("zeroeval", "math-l5", "maths"),
    BenchmarkRule("zeroeval", "numersense-v2", "maths"),
    BenchmarkRule("zeroeval", "*", ""),
    BenchmarkRule("pm-llm-benchmark-*", "process querying*", "data"),
    BenchmarkRule("pm-llm-benchmark-*", "process modelling*", "code"),
    BenchmarkRule("pm-llm-benchmark-*", "formal model*", "code"),
    BenchmarkRule("pm-llm-benchmark-*", "causal*", "reasoning"),
    BenchmarkRule("pm-llm-benchmark-*", "queueing*", "maths"),
    BenchmarkRule("pm-llm-benchmark-*", "optimisation", "business"),
    BenchmarkRule("pm-llm-benchmark-*", "redesign*", "business"),
    BenchmarkRule("pm-llm-benchmark-*", "predictive*", "business"),
    BenchmarkRule("pm-llm-benchmark-*", "conformance*", "data"),
    BenchmarkRule("pm-llm-benchmark-*", "*", ""),
    BenchmarkRule("shaberi-ja*", "elyza-tasks-100", "languages"),
    BenchmarkRule("shaberi-ja*", "ja-mt-bench-1shot", "languages"),
    BenchmarkRule("shaberi-ja*", "rakuda-questions", "languages"),
    BenchmarkRule("shaberi-ja*", "tengu_bench", "languages"),
    BenchmarkRule("shaberi-ja*", "*", ""),
    # Tools
    BenchmarkRule("bfcl-v1", "tool calling/*", "tools"),
    BenchmarkRule("bfcl-v1", "*", ""),
    BenchmarkRule("bfcl-v4", "live", "tools"),
    BenchmarkRule("bfcl-v4", "non-live ast", "tools"),
    BenchmarkRule("bfcl-v4", "multi turn", "tools"),
    BenchmarkRule("bfcl-v4", "irrelevance detection", "tools"),
    BenchmarkRule("bfcl-v4", "*", ""),
    BenchmarkRule("bfcl", "*", "tools"),
    BenchmarkRule("tau*", "*pass^4", ""),
    BenchmarkRule("tau*", "*", "tools"),
    BenchmarkRule("gaia", "*", "tools"),
    BenchmarkRule("epoch-hub the_agent_company", "*", "tools"),
    # Work in repositories and terminals
    BenchmarkRule("swe-bench-multimodal", "*", ""),
    BenchmarkRule("swe-bench*", "*", "agentic_code"),
    BenchmarkRule("swe-lancer*", "*", "agentic_code"),
    BenchmarkRule("swe-atlas*", "*", "agentic_code"),
    BenchmarkRule("epoch swe-bench*", "*", "agentic_code"),
    BenchmarkRule("swt-bench", "*", "agentic_code"),
    BenchmarkRule("commit0", "*", "agentic_code"),
    BenchmarkRule("terminal-bench*", "*", "agentic_code"),
    BenchmarkRule("epoch-hub terminal_bench", "*", "agentic_code"),
    BenchmarkRule("epoch-hub gso_bench", "*", "agentic_code"),
    BenchmarkRule("aider*refactor*", "*", "agentic_code"),
    # Code
    BenchmarkRule("aider*", "*", "code"),
    BenchmarkRule("humaneval*", "*", "code"),
    BenchmarkRule("livecodebench*", "*", "code"),
    BenchmarkRule("mbpp*", "*", "code"),
    BenchmarkRule("multipl-e*", "*", "code"),
    BenchmarkRule("epam-airun-js", "*", "code"),
    BenchmarkRule("natural2code", "*", "code"),
    BenchmarkRule("codeforces*", "*", "code"),
    BenchmarkRule("bigcodebench*", "*", "code"),
    BenchmarkRule("epoch-hub weirdml", "*", "code"),
    # Tables and SQL
    BenchmarkRule("scale-sql", "scale-sql/*", "data"),
    BenchmarkRule("scale-sql", "*", ""),
    BenchmarkRule("scale-sql*", "*", "data"),
    BenchmarkRule("bird*", "*", "data"),
    BenchmarkRule("spider*", "*", "data"),
    # Mathematics
    BenchmarkRule("aime*", "*", "maths"),
    BenchmarkRule("epoch math*", "*", "maths"),
    BenchmarkRule("epoch frontiermath*", "*", "maths"),
    BenchmarkRule("epoch otis*", "*", "maths"),
    BenchmarkRule("epoch-hub gsm8k", "*", "maths"),
    BenchmarkRule("gsm8k*", "*", "maths"),
    BenchmarkRule("hiddenmath", "*", "maths"),
    BenchmarkRule("math", "*", "maths"),
    BenchmarkRule("math-500", "*", "maths"),
    BenchmarkRule("math (cot)", "*", "maths"),
    BenchmarkRule("hmmt*", "*", "maths"),
    BenchmarkRule("frontiermath*", "*", "maths"),
    BenchmarkRule("theoremqa", "*", "maths"),
    # Reasoning
    BenchmarkRule("epoch-hub bbh", "*", "reasoning"),
    BenchmarkRule("epoch-hub simple_bench", "*", "reasoning"),
    BenchmarkRule("epoch-hub arc_agi", "*", "reasoning"),
    BenchmarkRule("epoch-hub winogrande", "*", "reasoning"),
    BenchmarkRule("epoch-hub hellaswag", "*", "reasoning"),
    BenchmarkRule("epoch-hub piqa", "*", "reasoning"),
    BenchmarkRule("epoch-hub balrog", "*", "reasoning"),
    BenchmarkRule("misguidedattention*", "*", "reasoning"),
    BenchmarkRule("big-bench*", "*", "reasoning"),
    BenchmarkRule("bbh", "*", "reasoning"),
    BenchmarkRule("hellaswag", "*", "reasoning"),
    BenchmarkRule("winogrande", "*", "reasoning"),
    BenchmarkRule("piqa", "*", "reasoning"),
    BenchmarkRule("musr", "*", "reasoning"),
    BenchmarkRule("zebralogic", "*", "reasoning"),
    # Knowledge
    BenchmarkRule("gpqa*", "*", "science"),
    BenchmarkRule("epoch gpqa*", "*", "science"),
    BenchmarkRule("epoch-hub arc_ai2", "*", "science"),
    BenchmarkRule("epoch-hub openbookqa", "*", "science"),
    BenchmarkRule("arc-c*", "*", "science"),
    BenchmarkRule("humanity's last exam", "*", "science"),
    BenchmarkRule("mmlu", "*", KNOWLEDGE),
    BenchmarkRule("mmlu-pro", "*", KNOWLEDGE),
    BenchmarkRule("mmlu-redux", "*", KNOWLEDGE),
    BenchmarkRule("epoch-hub mmlu", "*", KNOWLEDGE),
    BenchmarkRule("epoch-hub triviaqa", "*", "facts"),
    BenchmarkRule("triviaqa", "*", "facts"),
    BenchmarkRule("simpleqa", "*", "facts"),
    BenchmarkRule("truthfulqa", "*", "facts"),
    BenchmarkRule("natural questions", "*", "facts"),
    BenchmarkRule("agi eval*", "*", KNOWLEDGE),
    # Instructions, writing, chat
    BenchmarkRule("ifeval", "*", "instructions"),
    BenchmarkRule("multi-if", "*", "instructions"),
    BenchmarkRule("multichallenge*", "*", "instructions"),
    BenchmarkRule("eq-bench creative*", "*", "writing"),
    BenchmarkRule("lech-mazur creative*", "*", "writing"),
    BenchmarkRule("epoch-hub lech_mazur_writing", "*", "writing"),
    BenchmarkRule("arena-hard-v2.0", "creative writing*", "writing"),
    BenchmarkRule("arena*hard*", "*", "chat"),
    BenchmarkRule("eq-bench 3", "*", "chat"),
    BenchmarkRule("lmarena-text", "*", "chat"),
    BenchmarkRule("mt-bench", "*", "chat"),
    BenchmarkRule("alpacaeval*", "*", "chat"),
    BenchmarkRule("wild bench", "*", "chat"),
    BenchmarkRule("bullshitbench*", "*", "chat"),
    # Texts at hand
    BenchmarkRule("vectara-hhem*", "answer rate", ""),
    BenchmarkRule("vectara-hhem*", "*", "summaries"),
    BenchmarkRule("epoch-hub fictionlivebench", "*", "summaries"),
    BenchmarkRule("epoch-hub boolq", "*", "summaries"),
    BenchmarkRule("boolq", "*", "summaries"),
    BenchmarkRule("drop", "*", "summaries"),
    BenchmarkRule("squad*", "*", "summaries"),
    BenchmarkRule("facts grounding", "*", "summaries"),
    # Languages
    BenchmarkRule("mgsm", "*", "languages"),
    BenchmarkRule("mmmlu", "*", "languages"),
    BenchmarkRule("global-mmlu*", "*", "languages"),
    BenchmarkRule("wmt*", "*", "languages"),
    BenchmarkRule("c-eval", "*", "languages"),
    BenchmarkRule("cmmlu", "*", "languages"),
    BenchmarkRule("include", "*", "languages"),
    BenchmarkRule("polymath*", "*", "languages"),
    BenchmarkRule("multilingual*", "*", "languages"),
)
"""The first rule that fits counts; a benchmark that none fits is not used."""


def skills_of(benchmark: str, category: str | None) -> tuple[str, ...]:
    """The skills that a published score speaks of, none for what measures something else.

    >>> skills_of("LiveBench-2026-06-25", "Coding"), skills_of("DocVQA", None)
    (('code',), ())
    """
    name = benchmark.lower()
    part = (category or "").lower()
    for rule in RULES:
        if fnmatchcase(name, rule.benchmark) and fnmatchcase(part, rule.category):
            return tuple(rule.skills.split())
    return ()

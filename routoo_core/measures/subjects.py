"""MMLU's 57 subjects in the 17 sub-categories of its authors, which the paper's Figure 3 shows."""

from __future__ import annotations

from collections.abc import Sequence

SUB_CATEGORIES: dict[str, str] = {
    "biology": "college_biology high_school_biology",
    "business": "business_ethics management marketing",
    "chemistry": "college_chemistry high_school_chemistry",
    "computer science": "college_computer_science computer_security high_school_computer_science machine_learning",
    "culture": "human_sexuality sociology",
    "economics": "econometrics high_school_macroeconomics high_school_microeconomics",
    "engineering": "electrical_engineering",
    "geography": "high_school_geography",
    "health": "anatomy clinical_knowledge college_medicine human_aging medical_genetics nutrition "
    "professional_medicine virology",
    "history": "high_school_european_history high_school_us_history high_school_world_history prehistory",
    "law": "international_law jurisprudence professional_law",
    "math": "abstract_algebra college_mathematics elementary_mathematics high_school_mathematics "
    "high_school_statistics",
    "other": "global_facts miscellaneous professional_accounting",
    "philosophy": "formal_logic logical_fallacies moral_disputes moral_scenarios philosophy world_religions",
    "physics": "astronomy college_physics conceptual_physics high_school_physics",
    "politics": "high_school_government_and_politics public_relations security_studies us_foreign_policy",
    "psychology": "high_school_psychology professional_psychology",
}
"""Sub-category → its subjects, separated by spaces."""


def _sub_category_of_subjects() -> dict[str, str]:
    sub_category_of = {}
    for name, subjects in SUB_CATEGORIES.items():
        for subject in subjects.split():
            sub_category_of[subject] = name
    return sub_category_of


_SUB_CATEGORY_OF = _sub_category_of_subjects()


def group_by_sub_category(domains: Sequence[str]) -> list[str]:
    """The sub-category of each domain that is a subject of MMLU, written with spaces or underscores.

    Any other domain stays as it is.
    """
    sub_categories = []
    for domain in domains:
        subject = domain.lower().replace(" ", "_")
        sub_categories.append(_SUB_CATEGORY_OF.get(subject, domain))
    return sub_categories

"""Print the lowest versions that pyproject.toml allows, as pins for pip: python scripts/lowest.py [EXTRA …]

Without an extra, these are the pins of what every deployment needs and of all that ``routoo[all]`` adds. torch is left
out: its builds differ by machine, and constraints.txt pins the one that is tested.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
PINNED_ELSEWHERE = ("torch",)


def requirements_of(extras: list[str], project: dict) -> list[Requirement]:
    """The requirements of some extras; an extra that names others of this project brings theirs."""
    collected = []
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            requirement = Requirement(line)
            if requirement.name == project["name"]:
                collected += requirements_of(sorted(requirement.extras), project)
            else:
                collected.append(requirement)
    return collected


def lowest_pin(requirement: Requirement) -> str:
    """``name==version`` of a requirement's lower bound; stops where it has none."""
    for bound in requirement.specifier:
        if bound.operator == ">=":
            return f"{requirement.name}=={bound.version}"
    sys.exit(f"pyproject.toml: {requirement} has no lower bound; add one with >=")


def main() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = sys.argv[1:]
    if extras:
        requirements = requirements_of(extras, project)
    else:
        requirements = [Requirement(line) for line in project["dependencies"]]
        requirements += requirements_of(["all"], project)

    pins = set()
    for requirement in requirements:
        applies_here = requirement.marker is None or requirement.marker.evaluate()
        if applies_here and requirement.name not in PINNED_ELSEWHERE:
            pins.add(lowest_pin(requirement))
    print("\n".join(sorted(pins)))


if __name__ == "__main__":
    main()

"""The frameworks' own test suites, bare and with every model of theirs wrapped in ours: ``make compat-frameworks``.

A test that passes bare and fails wrapped must stand in ``expected.toml`` with its reason. Suites are fetched by version
into ``.compat/frameworks``; one that cannot be had is skipped, and the run says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from sysconfig import get_paths
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WORK = ROOT / ".compat" / "frameworks"
SECONDS_FOR_A_SUITE = 900
SECONDS_FOR_A_TEST = 60
REQUIREMENTS = (
    "blockbuster",
    "deepagents==0.7.8",
    "fastmcp",
    "freezegun",
    "grandalf",
    "langchain-text-splitters",
    "langgraph-checkpoint-postgres",
    "langgraph-checkpoint-sqlite",
    "psycopg[binary]",
    "pytest-benchmark",
    "pytest-cov",
    "pytest-mock",
    "pytest-socket",
    "pytest-timeout",
    "responses",
    "syrupy",
    "toml",
)
"""What the suites need beside the packages that are installed for our own tests."""


class NotToBeHad(Exception):
    """A suite cannot be fetched here."""


@dataclass(frozen=True)
class Suite:
    """A framework's tests.

    Attributes:
        package: Whose tests; its version here is fetched.
        paths: Tests that call models.
        repository: Where the tests are, for a package whose source distribution has none.
        tag: The repository's tag, with ``{}`` for the version.
        folder: The package's folder in its repository.
    """

    package: str
    paths: tuple[str, ...]
    repository: str | None = None
    tag: str = "{}"
    folder: str = "."


SUITES = (
    Suite("langchain", ("tests/unit_tests/agents",)),
    Suite("langgraph-prebuilt", ("tests",)),
    Suite(
        "langchain-core",
        (
            "tests/unit_tests/language_models",
            "tests/unit_tests/runnables",
            "tests/unit_tests/output_parsers",
        ),
    ),
    Suite(
        "deepagents",
        ("tests/unit_tests",),
        "https://github.com/langchain-ai/deepagents",
        "deepagents=={}",
        "libs/deepagents",
    ),
    Suite(
        "llama-index-core",
        ("tests/llms", "tests/program", "tests/agent", "tests/chat_engine", "tests/query_engine"),
        "https://github.com/run-llama/llama_index",
        "v{}",
        "llama-index-core",
    ),
)


# The suites and where they run


def python_of_suites() -> str:
    """A Python that has our packages and what the suites need."""
    folder = WORK / "venv"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=False)
        (site,) = folder.glob("lib/python3*/site-packages")
        (site / "ours.pth").write_text(get_paths()["purelib"])
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *REQUIREMENTS],
            check=True,
            timeout=SECONDS_FOR_A_SUITE,
        )
    return str(python)


def version_in(python: str, package: str) -> str:
    """The version of a package that this Python imports."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def fetch(suite: Suite, wanted: str) -> Path:
    """The folder of a suite.

    Raises:
        NotToBeHad: No network, or no such version.
    """
    folder = WORK / f"{suite.package}-{wanted}"
    try:
        if suite.repository is None:
            return _fetch_source(suite.package, wanted, folder)
        return _fetch_repository(suite, wanted, folder) / suite.folder
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        raise NotToBeHad(f"{suite.package} {wanted}: {type(error).__name__}") from error


def _fetch_source(package: str, wanted: str, folder: Path) -> Path:
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--dest", str(WORK), f"{package}=={wanted}"]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS_FOR_A_SUITE)
        (archive,) = WORK.glob(f"{package.replace('-', '_')}-{wanted}.tar.gz")
        with tarfile.open(archive) as source:
            source.extractall(folder, filter="data")
    (inside,) = folder.iterdir()
    return inside


def _fetch_repository(suite: Suite, wanted: str, folder: Path) -> Path:
    if not folder.exists():
        command = ["git", "clone", "--quiet", "--depth", "1", "--branch", suite.tag.format(wanted)]
        subprocess.run(
            [*command, str(suite.repository), str(folder)],
            check=True,
            capture_output=True,
            timeout=SECONDS_FOR_A_SUITE,
        )
    return folder


def failures(python: str, folder: Path, paths: Sequence[str], plugins: Sequence[str]) -> set[str]:
    """The tests that fail, as ``file::class::test``."""
    report = WORK / "report.xml"
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *plugins]
    command += ["-o", "addopts=", "-o", "asyncio_default_fixture_loop_scope=function"]
    command += ["--timeout", str(SECONDS_FOR_A_TEST), f"--junitxml={report}", *paths]
    own = f"{ROOT}{os.pathsep}{HERE}"
    environment = {**os.environ, "PYTHONPATH": own, "LANGSMITH_TRACING": "false"}
    subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=SECONDS_FOR_A_SUITE,
        check=False,
    )
    failed = set()
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(f"{case.get('classname')}::{case.get('name')}")
    return failed


# What is expected


def read_expected() -> dict[str, dict[str, str]]:
    """Package → test → why it may fail wrapped."""
    expected: dict[str, dict[str, str]] = {}
    for entry in tomllib.loads((HERE / "expected.toml").read_text())["reason"]:
        tests = expected.setdefault(entry["package"], {})
        for test in entry["tests"]:
            tests[test] = entry["why"]
    return expected


def main() -> int:
    """Run all suites; 1 where a test fails that is not listed."""
    WORK.mkdir(parents=True, exist_ok=True)
    console = Console()
    python = python_of_suites()
    expected = read_expected()
    table = Table("suite", "fail bare", "fail wrapped only", "not listed", "listed, but pass")
    unlisted: list[str] = []
    for suite in SUITES:
        wanted = version_in(python, suite.package)
        try:
            folder = fetch(suite, wanted)
        except NotToBeHad as error:
            table.add_row(
                f"{suite.package} {wanted}", "skipped: its tests cannot be had here", "", "", ""
            )
            console.print(f"skipped: {error}")
            continue
        bare = failures(python, folder, suite.paths, ())
        wrapped = failures(python, folder, suite.paths, ("-p", "wrapping"))
        new = wrapped - bare
        listed = set(expected.get(suite.package, {}))
        unlisted += sorted(new - listed)
        counts = [len(bare), len(new), len(new - listed), len(listed - new)]
        table.add_row(f"{suite.package} {wanted}", *map(str, counts))
    console.print(table)
    for test in unlisted:
        console.print(f"not listed: {test}", markup=False)
    return 1 if unlisted else 0


if __name__ == "__main__":
    sys.exit(main())

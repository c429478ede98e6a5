"""Build wheel and sdist, check them, and route a call on each Python at hand: python scripts/release.py

Leaves both files and a bill of materials (CycloneDX) in ``dist/``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
VERSIONS = ("3.11", "3.12", "3.13")
EXTRA = "langchain"


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command and return what it printed; stop with its output where it fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def interpreters() -> dict[str, str]:
    """Version → an interpreter of it that starts, from PATH or pyenv."""
    usable = {}
    for version in VERSIONS:
        candidates = [shutil.which(f"python{version}")]
        for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")):
            candidates.append(str(path))
        for candidate in candidates:
            if (
                candidate
                and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0
            ):
                usable[version] = candidate
    return usable


def build() -> Path:
    """Build sdist and wheel into an empty ``dist/``, check both, and return the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST)
    (wheel,) = DIST.glob("*.whl")
    (sdist,) = DIST.glob("*.tar.gz")
    print(run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist))
    print(run(Path(sys.executable).parent / "check-wheel-contents", wheel))
    for path in (wheel, sdist):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    return wheel


def folder_size_mb(folder: Path) -> float:
    """Megabytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def try_wheel(python: str, requirement: str, folder: Path) -> Path:
    """Install a requirement into a fresh environment, say how large it is, and return its interpreter."""
    started = time.perf_counter()
    run(python, "-m", "venv", folder)
    interpreter = folder / "bin" / "python"
    before_mb = folder_size_mb(folder)
    run(interpreter, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", requirement)
    size_mb = folder_size_mb(folder) - before_mb
    seconds = time.perf_counter() - started
    extra = requirement.partition("[")[2].partition("]")[0]
    print(
        f"{f'routoo[{extra}]' if extra else 'routoo'}: {size_mb:.0f} MB installed in {seconds:.0f} s"
    )
    return interpreter


def write_bill_of_materials(interpreter: Path, wheel: Path) -> None:
    """Write what the wheel brings into an environment, in CycloneDX's JSON."""
    path = DIST / f"{wheel.name.partition('-py3')[0]}.cdx.json"
    run(
        Path(sys.executable).parent / "cyclonedx-py",
        "environment",
        interpreter,
        "--output-reproducible",
        "--output-file",
        path,
    )
    print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    wheel = build()
    pythons = interpreters()
    missing = [version for version in VERSIONS if version not in pythons]
    if not pythons:
        sys.exit(f"none of Python {', '.join(VERSIONS)} is here; install one of them")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        first = next(iter(pythons.values()))
        bare = try_wheel(first, str(wheel), folder / "bare")
        print(run(bare.parent / "routoo", "--version", cwd=folder))
        for version, python in pythons.items():
            interpreter = try_wheel(python, f"{wheel}[{EXTRA}]", folder / version)
            print(run(interpreter, ROOT / "scripts" / "first_call.py", cwd=folder))
            if python == first:
                write_bill_of_materials(interpreter, wheel)
    if missing:
        print(f"not tried, since it is not here: Python {', '.join(missing)}")


if __name__ == "__main__":
    main()

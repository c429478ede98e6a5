"""Which files a command reads and writes, checked before it works: nothing that is there is replaced unless asked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from routoo_core.errors import ConfigurationError

OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace the files that are there already.")
]

REPORT_FILES = ("index.html", "metrics.json")
"""What ``routoo evaluate`` writes into its folder."""
CHECKPOINT_FILES = (
    "config.json",
    "head.safetensors",
    "reference.safetensors",
    "metrics.json",
    "README.md",
    "adapter",
)
"""What ``routoo train`` and ``routoo add-expert`` write into theirs."""


@dataclass(frozen=True)
class CommandFiles:
    """The files of one run of a command.

    ::

        CommandFiles({"--out": target}, inputs=[prompts]).check(overwrite)

    Attributes:
        outputs: Option → the file that it names; ``None`` where it is not given.
        inputs: Files that are read; ``None`` where an option is not given.
        folders: Option → the folder that it names, and the files that are written into it.
    """

    outputs: Mapping[str, Path | None] = field(default_factory=dict)
    inputs: Iterable[Path | None] = ()
    folders: Mapping[str, tuple[Path, tuple[str, ...]]] = field(default_factory=dict)

    def check(self, overwrite: bool) -> None:
        """Refuse what could not be read or written, and what would be lost.

        Args:
            overwrite: Whether files that are there may be replaced. A file that the command reads never is.

        Raises:
            ConfigurationError: The message names the option and the file.
        """
        inputs = [path for path in self.inputs if path is not None]
        for path in inputs:
            if not path.exists():
                raise ConfigurationError(f"{path}: there is no such file; check the path")

        options: dict[Path, str] = {}
        for option, path in self._files():
            earlier = options.setdefault(path.resolve(), option)
            if earlier != option:
                raise ConfigurationError(
                    f"{option}: {earlier} writes to {path} too; choose another file"
                )
            _check_output(option, path, inputs, overwrite)
        for option, (folder, _) in self.folders.items():
            if folder.exists() and not folder.is_dir():
                raise ConfigurationError(f"{option}: {folder} is a file; choose a folder")

    def _files(self) -> Iterable[tuple[str, Path]]:
        for option, path in self.outputs.items():
            if path is not None:
                yield option, path
        for option, (folder, names) in self.folders.items():
            for name in names:
                yield option, folder / name


def check_answers_file(answers: Path, others: Iterable[Path | None]) -> None:
    """Refuse a file of answers that the command reads or writes as something else.

    Raises:
        ConfigurationError: It is one of the others.
    """
    for path in others:
        if path is not None and _is_same_file(answers, path):
            raise ConfigurationError(
                f"--answers: {answers} is used for something else by this command; choose another file"
            )


def _check_output(option: str, path: Path, inputs: Iterable[Path], overwrite: bool) -> None:
    """Refuse one file that cannot be written, or would replace another."""
    for source in inputs:
        if _is_same_file(path, source):
            raise ConfigurationError(
                f"{option}: {path} is an input of the same command; choose another file"
            )
    if os.path.lexists(path) and not overwrite:
        raise ConfigurationError(
            f"{option}: {path} exists already; choose another file, or replace it with --overwrite"
        )
    folder = _nearest_folder(path)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigurationError(
            f"{option}: {path} cannot be written ({folder}); choose another place"
        )


def _is_same_file(path: Path, other: Path) -> bool:
    """Whether two paths lead to one file, by whatever links."""
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()


def _nearest_folder(path: Path) -> Path:
    """The innermost parent that exists; missing ones are made when the file is written."""
    for parent in path.absolute().parents:
        if parent.exists():
            return parent
    return Path(path.anchor)

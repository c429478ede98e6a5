"""What MkDocs does beside rendering docs/: generated pages, and links to files of the repository.

The command-line reference is read off the commands themselves. ``CHANGELOG.md`` and ``CONTRIBUTING.md`` become pages.
A link from a page to any other file of the repository becomes a page that shows that file.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from routoo_integrations.cli import app
from routoo_integrations.cli.lazy import LazyCommand

ROOT = Path(__file__).parent.parent
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Files outside docs/ that are pages of the site."""
SOURCES = "source"
"""The folder of the site in which files of the repository are shown."""
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)]*)?\))")
LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".md": "markdown",
    ".service": "ini",
    ".ipynb": "json",
}

logger = logging.getLogger("mkdocs.hooks.routoo")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages that the navigation does not name under "More"."""
    named = set(_named_pages(config.nav))
    rest = []
    for path in sorted((ROOT / "docs").rglob("*.md")):
        uri = path.relative_to(ROOT / "docs").as_posix()
        if uri not in named:
            rest.append(uri)
    if rest:
        config.nav.append({"More": rest})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for origin, uri in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / origin)))
    files.append(File.generated(config, "commands.md", content=command_reference()))
    for path in sorted(_linked_files()):
        language = LANGUAGES.get(Path(path).suffix, "text")
        text = (ROOT / path).read_text(encoding="utf-8")
        content = f"---\nsearch:\n  exclude: true\n---\n# {path}\n\n````{language}\n{text}\n````\n"
        files.append(File.generated(config, f"{SOURCES}/{path}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files of the repository point to their pages."""
    uri = page.file.src_uri
    if uri.startswith(f"{SOURCES}/") or uri == "commands.md":
        return markdown
    origin = _origin(uri)

    def rewritten(match: re.Match[str]) -> str:
        target = _page_of(origin, match[2])
        if target is None:
            return match[0]
        return f"{match[1]}{posixpath.relpath(target, posixpath.dirname(uri) or '.')}{match[3]}"

    return LINK.sub(rewritten, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the keyboard reach tables, which scroll where they are wider than the screen."""
    return html.replace("<table>", '<table tabindex="0">')


def _named_pages(nav: Any) -> list[str]:
    """The pages of a navigation, however deep they are in it."""
    if isinstance(nav, str):
        return [nav]
    items = nav.values() if isinstance(nav, dict) else nav
    return [page for item in items for page in _named_pages(item)]


def _origin(uri: str) -> str:
    """The file of the repository that a page is made from."""
    for origin, page in PAGES.items():
        if page == uri:
            return origin
    return f"docs/{uri}"


def _page_of(origin: str, link: str) -> str | None:
    """The page that a link of a file leads to; ``None`` where it is no file of the repository."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in PAGES:
        return PAGES[path]
    if path == "README.md":
        return "index.md"
    if (ROOT / path).is_file():
        return f"{SOURCES}/{path}.md"
    return None


def _linked_files() -> set[str]:
    """Files of the repository outside docs/ that pages link to."""
    origins = [*PAGES]
    for path in (ROOT / "docs").rglob("*.md"):
        origins.append(path.relative_to(ROOT).as_posix())
    linked = set()
    for origin in origins:
        for _, link, _ in LINK.findall((ROOT / origin).read_text(encoding="utf-8")):
            page = _page_of(origin, link)
            if page is not None and page.startswith(f"{SOURCES}/"):
                linked.add(page.removeprefix(f"{SOURCES}/").removesuffix(".md"))
    return linked


def command_reference() -> str:
    """Every command with its arguments and options, in Markdown."""
    lines = [
        "# Command line",
        "",
        "This page is generated from the commands themselves. `routoo COMMAND --help` prints the same.",
    ]
    group: Any = typer.main.get_command(app)
    _describe_group(lines, group, "routoo")
    return "\n".join(lines) + "\n"


def _describe_group(lines: list[str], group: Any, name: str) -> None:
    for command_name, command in group.commands.items():
        full_name = f"{name} {command_name}"
        if hasattr(command, "commands"):
            lines += ["", f"## `{full_name}`", "", _plain(command.help)]
            _describe_group(lines, command, full_name)
            continue
        loaded = command.load() if isinstance(command, LazyCommand) else command
        level = "##" if name == "routoo" else "###"
        lines += ["", f"{level} `{full_name}`", "", _plain(loaded.help)]
        _describe_parameters(lines, loaded.params)


def _describe_parameters(lines: list[str], parameters: list[Any]) -> None:
    rows = []
    for parameter in parameters:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        if parameter.param_type_name == "argument":
            name = f"`{parameter.name.upper()}`"
        else:
            name = ", ".join(
                f"`{option}`" for option in [*parameter.opts, *parameter.secondary_opts]
            )
        text = _plain(getattr(parameter, "help", None) or "").replace("|", "\\|").replace("\n", " ")
        rows.append(
            f"| {name} | {'yes' if parameter.required else ''} | {_default(parameter)} | {text} |"
        )
    if rows:
        lines += ["", "| option | required | default | what it does |", "|---|---|---|---|", *rows]


def _default(parameter: Any) -> str:
    """The default of an option, as it would be typed."""
    default = parameter.default
    is_plain = isinstance(default, str | int | float) and not isinstance(default, bool)
    return f"`{default}`" if is_plain and default != "" else ""


def _plain(help_text: str | None) -> str:
    """A help text without Rich's markup, with what HTML would read escaped."""
    text = re.sub(r"\[/?bold\]", "`", (help_text or "").strip())
    return text.replace("\f", "").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")

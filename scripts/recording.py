"""Record the demo as an animated picture of a terminal: python scripts/recording.py

It runs the demo's own calls with the default router and a real ledger. A loopback server stands in for the experts, so
that nothing is fetched and no key is needed. Writes ``docs/images/demo.svg``.
"""

from __future__ import annotations

import io
import tempfile
from html import escape
from pathlib import Path

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from routoo_core import Budget, Pool
from routoo_core.config import STARTER, build_router
from routoo_core.testing import FakeEndpoint, Reply
from routoo_integrations.demo.run import converse
from routoo_integrations.demo.transcript import WIDTH, Demo

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "demo.svg"
LIMIT = "0.003"
REPLY = Reply("word " * 60, prompt_tokens=40)
"""As long as a usual reply of the demo, which shows no text."""
ROWS = 24
"""Lines of the terminal that are seen at a time."""
SECONDS_A_LINE = 0.45
PAUSE_S = 4.0
LINE_HEIGHT = 18
CHARACTER = 7.83
COLOURS = {1: "#ff8f87", 2: "#8fd18f", 3: "#f0c674", 6: "#7fd6e0"}
"""The number of a terminal's colour → the picture's."""
PLAIN = "#e4e8ee"
DIM = "#98a2b3"
BACKGROUND = "#10171f"


def record() -> str:
    """What the demo prints, with its colours, as a terminal would get it."""
    output = io.StringIO()
    console = Console(file=output, width=WIDTH, force_terminal=True, color_system="standard")
    with FakeEndpoint() as endpoint, tempfile.TemporaryDirectory() as folder:
        experts = []
        for expert in Pool.from_toml(STARTER / "experts.toml"):
            endpoint.replies[expert.model] = REPLY
            address = {"base_url": endpoint.base_url, "api_key_env": None}
            experts.append(expert.model_copy(update=address))
        router = build_router(
            Pool(experts),
            router="general-fast",
            budget=Budget(account="demo", limit=LIMIT, period="run", expected_calls=16),
            ledger="memory://",
        )
        stand_ins = {expert.name: "A_KEY" for expert in experts}
        converse(Demo(router, stand_ins, console), Path(folder))
    return output.getvalue()


def visible_lines(ansi: str) -> list[Text]:
    """The lines that stay on a terminal, without spinners and paths."""
    lines = []
    for line in ansi.splitlines():
        text = Text.from_ansi(line.rpartition("\x1b[2K")[2])
        if "calling …" in text.plain or "Picture:" in text.plain:
            continue
        lines.append(text)
    return lines


def spans(line: Text) -> str:
    """A line in SVG, each stretch of one style a ``tspan`` at its column."""
    console = Console(width=400)
    column = 0
    parts = []
    for segment in line.render(console):
        text = segment.text.rstrip("\n")
        if text.strip():
            colour = _colour(segment)
            weight = ' font-weight="700"' if segment.style and segment.style.bold else ""
            x = round(12 + column * CHARACTER, 1)
            length = round(len(text) * CHARACTER, 1)
            parts.append(
                f'<tspan x="{x}" textLength="{length}" fill="{colour}"{weight}>{escape(text)}</tspan>'
            )
        column += len(text)
    return "".join(parts)


def _colour(segment: Segment) -> str:
    style = segment.style or Style()
    if style.dim:
        return DIM
    if style.color is None or style.color.number is None:
        return PLAIN
    return COLOURS.get(style.color.number, PLAIN)


def animate(lines: list[Text]) -> str:
    """An SVG in which lines appear one after another and scroll up once the terminal is full."""
    total_s = len(lines) * SECONDS_A_LINE + PAUSE_S
    width = round(24 + WIDTH * CHARACTER)
    screen = ROWS * LINE_HEIGHT + 8
    height = screen + 50
    scrolled = []
    for shown in range(len(lines) + 1):
        percent = 100 * shown * SECONDS_A_LINE / total_s
        offset = max(0, shown - ROWS) * LINE_HEIGHT
        scrolled.append(f"{percent:.2f}%{{transform:translateY(-{offset}px)}}")
    last = max(0, len(lines) - ROWS) * LINE_HEIGHT
    rows = []
    for number, line in enumerate(lines):
        y = (number + 1) * LINE_HEIGHT
        delay = number * SECONDS_A_LINE
        start = 100 * delay / total_s
        rows.append(
            f"<g style='animation:r{number} {total_s:.1f}s step-end infinite'>"
            f'<text y="{y}" xml:space="preserve">{spans(line)}</text></g>'
            f"<style>@keyframes r{number}{{0%{{opacity:0}}{start:.2f}%{{opacity:1}}100%{{opacity:1}}}}</style>"
        )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>A terminal runs routoo demo: a row for each routed call, with qualities, the chosen model and its cost</title>
<style>
text{{font:13px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}}
.scroll{{animation:scroll {total_s:.1f}s step-end infinite}}
@keyframes scroll{{{"".join(scrolled)}100%{{transform:translateY(-{last}px)}}}}
@media (prefers-reduced-motion: reduce){{g{{animation:none!important}}.scroll{{transform:translateY(-{last}px)}}}}
</style>
<rect width="{width}" height="{height}" rx="10" fill="{BACKGROUND}"/>
<circle cx="20" cy="18" r="6" fill="#ff5f57"/>
<circle cx="40" cy="18" r="6" fill="#febc2e"/>
<circle cx="60" cy="18" r="6" fill="#28c840"/>
<text x="{width // 2}" y="23" text-anchor="middle" fill="{DIM}">$ routoo demo</text>
<svg y="38" width="{width}" height="{screen}" viewBox="0 0 {width} {screen}"><g class="scroll">
{"".join(rows)}
</g></svg>
</svg>
"""


def main() -> None:
    PICTURE.write_text(animate(visible_lines(record())), encoding="utf-8")


if __name__ == "__main__":
    main()

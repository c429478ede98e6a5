"""Draw the pictures of the pages on concepts: python scripts/drawings.py

Each is a column of boxes, so that it reads on a telephone too. Writes ``docs/images/*.svg``.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDTH = 480
MARGIN = 20
BOX = 74
GAP = 40
STYLE = """
  text { font: 16px system-ui, "DejaVu Sans", sans-serif; fill: #10302d; text-anchor: middle; }
  .title { font-weight: 700; }
  .side { font-size: 14px; fill: #4a4a4a; font-style: italic; }
  rect.box { fill: #e3f3f1; stroke: #0b4f4a; stroke-width: 1.5; }
  rect.choice { fill: #fdf3dc; stroke: #8a5a00; stroke-width: 1.5; }
  path { stroke: #0b4f4a; stroke-width: 2; fill: none; }
"""


@dataclass(frozen=True)
class Step:
    """A box of a drawing.

    Attributes:
        title: Its name.
        text: One line that says what happens there.
        arrow: What stands beside the arrow to the next box.
        choice: Whether something is decided there.
    """

    title: str
    text: str
    arrow: str = ""
    choice: bool = False


ROUTING = (
    Step("Your call", "messages, tools, limits", "the question, not pasted context"),
    Step("Predictor", "a quality from 0 to 1 for each expert", "0.92 · 0.91 · 0.88"),
    Step("Policy", "ranks experts by quality and cost", "best first", choice=True),
    Step("Ledger", "holds the most that the call can cost", "no money: the next, cheaper expert"),
    Step("Expert", "answers; if it fails, the next one does", "text and usage"),
    Step("Ledger", "books the real cost, frees the rest", "reply and decision record"),
    Step("Your code", "gets the reply and who gave it, and why"),
)
MONEY = (
    Step("Limit $50.00", "team, this month", "intern is within team"),
    Step("Limit $2.00", "intern, today", "both must have room"),
    Step("Hold $0.0120", "prompt bytes + reply limit, dearest price", "the call runs", choice=True),
    Step("Book $0.0031", "what the provider reported", "$0.0089 is free again"),
    Step("Left $1.9969", "intern; the team has $49.9969"),
)
QUALITY = (
    Step("Prompt", '"Prove that there is no largest prime."', "words and characters, hashed"),
    Step("Reading", "kind: mathematics · harder than usual", "0.2 ms, no network"),
    Step(
        "Abilities", "18 skills of each model, from published scores", "and labels of yours, if any"
    ),
    Step(
        "Qualities",
        "gpt-5.5 0.93 · gpt-5-mini 0.88 · gpt-5-nano 0.74",
        "beside each price",
        choice=True,
    ),
    Step("Ranking", "the policy weighs quality against cost"),
)


def draw(steps: tuple[Step, ...], description: str) -> str:
    """An SVG of boxes below one another."""
    height = 2 * MARGIN + len(steps) * BOX + (len(steps) - 1) * GAP
    middle = WIDTH // 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(description)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" rx="12" fill="#ffffff"/>',
    ]
    top = MARGIN
    for step in steps:
        kind = "choice" if step.choice else "box"
        width = WIDTH - 2 * MARGIN
        lines.append(
            f'<rect class="{kind}" x="{MARGIN}" y="{top}" width="{width}" height="{BOX}" rx="8"/>'
        )
        lines.append(f'<text class="title" x="{middle}" y="{top + 31}">{escape(step.title)}</text>')
        lines.append(f'<text x="{middle}" y="{top + 54}">{escape(step.text)}</text>')
        top += BOX
        if step is not steps[-1]:
            end = top + GAP - 3
            lines.append(f'<path d="M60 {top + 3} V{end} m-6 -8 l6 8 l6 -8"/>')
            if step.arrow:
                text = escape(step.arrow)
                lines.append(f'<text class="side" x="{middle}" y="{top + 25}">{text}</text>')
            top += GAP
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def main() -> None:
    drawings = {
        "routing.svg": (ROUTING, "The path of a call, from your code to an expert and back"),
        "money.svg": (MONEY, "A call is held against two limits, then its real cost is booked"),
        "quality.svg": (QUALITY, "From a prompt to a predicted quality for each expert"),
    }
    for name, (steps, description) in drawings.items():
        (IMAGES / name).write_text(draw(steps, description), encoding="utf-8")


if __name__ == "__main__":
    main()

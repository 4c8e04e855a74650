"""The picture of a benchmark run: the cost of a request in its parts, as an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from paired import Bar

WIDTH, LEFT, RIGHT, TOP = 860, 172, 96, 84
HEIGHT_OF_BAR, STEP, GAP = 18, 24, 14

COLORS = {
    "framework": ("#8c959f", "#6e7681"),
    "gate": ("#0969da", "#58a6ff"),
    "decision": ("#bc4c00", "#f0883e"),
    "headers": ("#1a7f37", "#56d364"),
}
"""The colour of each part on a light and on a dark page."""

MEANINGS = {
    "framework": "framework: the same page without protection",
    "gate": "gate: the adapter, or the sample's decorator",
    "decision": "decision: about the header's text",
    "headers": "headers: finding the certificate among them",
}


def picture_of(bars: Sequence[Bar]) -> str:
    """Return the picture.

    Args:
        bars: two bars for each framework, first with arrcert, then with the sample.

    Each framework has its own scale, because the costs of their requests differ widely.
    """
    pairs = [bars[index : index + 2] for index in range(0, len(bars), 2)]
    height = TOP + len(pairs) * (2 * STEP + GAP) + 8
    unit = {"us": "microseconds of CPU time"}.get(bars[0].unit, bars[0].unit)
    drawn = [_legend()]
    for number, pair in enumerate(pairs):
        top = TOP + number * (2 * STEP + GAP)
        most = max(sum(bar.parts.values()) for bar in pair)
        for line, bar in enumerate(pair):
            drawn.append(_bar(bar, top + line * STEP, most))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
            f'<title id="title">The cost of a request in its parts, in {unit}</title>',
            f"<style>{_style()}</style>",
            f'<text class="head" x="8" y="22">The cost of a request, in {unit}; each framework has'
            " its own scale</text>",
            *drawn,
            "</svg>",
            "",
        ]
    )


def _style() -> str:
    light = "".join(f".{part}{{fill:{colors[0]}}}" for part, colors in COLORS.items())
    dark = "".join(f".{part}{{fill:{colors[1]}}}" for part, colors in COLORS.items())
    return (
        "text{font:13px system-ui,sans-serif;fill:#1f2328}.head{font-weight:600}"
        f"{light}@media (prefers-color-scheme:dark){{text{{fill:#e6edf3}}{dark}}}"
    )


def _legend() -> str:
    lines = []
    for number, (part, meaning) in enumerate(MEANINGS.items()):
        x, y = 8 + number % 2 * 330, 36 + number // 2 * 20
        lines.append(f'<rect class="{part}" x="{x}" y="{y}" width="12" height="12"/>')
        lines.append(f'<text x="{x + 18}" y="{y + 11}">{escape(meaning)}</text>')
    return "\n".join(lines)


def _bar(bar: Bar, top: int, most: float) -> str:
    scale = (WIDTH - LEFT - RIGHT) / most
    lines = [f'<text x="{LEFT - 8}" y="{top + 14}" text-anchor="end">{escape(bar.label)}</text>']
    x = float(LEFT)
    for part, cost in bar.parts.items():
        width = max(cost, 0) * scale
        lines.append(
            f'<rect class="{part}" x="{x:.1f}" y="{top}" width="{width:.1f}"'
            f' height="{HEIGHT_OF_BAR}"><title>{part}: {_figure(cost, bar.unit)}</title></rect>'
        )
        x += width
    total = _figure(sum(bar.parts.values()), bar.unit)
    lines.append(f'<text x="{x + 6:.1f}" y="{top + 14}">{total}</text>')
    return "\n".join(lines)


def _figure(cost: float, unit: str) -> str:
    return f"{cost:.1f} us" if unit == "us" else f"{cost:,.0f}"

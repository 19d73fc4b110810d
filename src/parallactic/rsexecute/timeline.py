"""The calls of a run as a page that a browser shows without anything else: a table and a drawing."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parallactic.rsexecute.statistics import Made, Statistics

__all__ = ["page"]

_WIDTH, _ROW, _LEFT = 1000.0, 26.0, 80.0
_DRAWN = 20_000
"""So many calls are drawn, the longest; a browser gets slow with more. The table counts all."""

# The Okabe-Ito palette, which the colour-blind can tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; margin-bottom: 2em; }}
th, td {{ padding: 0.2em 0.8em; text-align: right; }}
th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
tr {{ border-bottom: 1px solid #ddd; }}
.mark {{ display: inline-block; width: 1em; height: 1em; }}
svg text {{ font-size: 12px; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<table>
<tr><th></th><th>function</th><th>time (s)</th><th>%</th><th>calls</th><th>cpu (s)</th></tr>
{rows}
</table>
{drawing}
</body>
</html>
"""


def page(statistics: Statistics) -> str:
    """Return the page of the statistics: one row of the drawing for each worker, one bar for each call."""
    names = sorted(
        (name for name in statistics if name != "summary"), key=lambda name: -statistics[name]["time"]
    )
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    rows = [
        f'<tr><td><span class="mark" style="background:{colours[name]}"></span></td><td>{escape(name)}</td>'
        f"<td>{of['time']:.3f}</td><td>{of['fraction']:.2f}</td><td>{of['number_calls']:d}</td>"
        f"<td>{of['cpu']:.3f}</td></tr>"
        for name, of in ((name, statistics[name]) for name in names)
    ]
    s = statistics["summary"]
    summary = (
        f"Processor time {s['total']:.3f} s, wall time {s['duration']:.3f} s, speed-up {s['speedup']:.2f}."
    )
    drawn = sorted(statistics.calls, key=lambda call: -call.wall)[:_DRAWN]
    if len(drawn) < len(statistics.calls):
        summary += f" The {len(drawn)} longest of {len(statistics.calls)} calls are drawn."
    return _PAGE.format(
        title=escape(f"Functions on {statistics.backend}"),
        summary=summary,
        rows="\n".join(rows),
        drawing=_drawing(drawn, statistics.since, s["duration"], colours),
    )


def _drawing(calls: list[Made], since: float, duration: float, colours: dict[str, str]) -> str:
    workers = {worker: row for row, worker in enumerate(sorted({call.worker for call in calls}))}
    height = _ROW * len(workers) + 20
    scale = (_WIDTH - _LEFT) / duration
    parts = [f'<svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" width="100%">']
    parts += [
        f'<text x="0" y="{row * _ROW + 17:.0f}">worker {worker}</text>' for worker, row in workers.items()
    ]
    for call in calls:
        left = _LEFT + (call.started - since) * scale
        label = f"{call.name}: {call.wall:.3f} s at {call.started - since:.3f} s"
        if call.state != "finished":
            label += f", {call.state}"
        parts.append(
            f'<rect x="{left:.2f}" y="{workers[call.worker] * _ROW + 2:.0f}" '
            f'width="{max(call.wall * scale, 0.2):.2f}" height="{_ROW - 4:.0f}" '
            f'fill="{colours[call.name]}"><title>{escape(label)}</title></rect>'
        )
    parts.append(f'<text x="{_LEFT:.0f}" y="{height - 4:.0f}">0 s</text>')
    parts.append(
        f'<text x="{_WIDTH:.0f}" y="{height - 4:.0f}" text-anchor="end">{duration:.2f} s</text></svg>'
    )
    return "\n".join(parts)

"""Plots of a run as SVG: drawn here, with no library and no script, legible in light and in dark.

Rule 1: nothing is told by colour alone. A line has its marker and its dashes, a bar its name. Rule 2: every plot has a
title and a description for those who do not see it, and every point says its figures where a pointer rests on it.
Rule 3: what cannot be drawn, such as nought on a logarithmic axis, is left out, and the plot says so.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from sigbridge_bench import figures
from sigbridge_bench.figures import OURS, Cell, Figures, Key, Measure, Spread, number, plain, spread
from sigbridge_bench.records import Record

# Colours that those who see few colours can tell apart, after Okabe and Ito; darker on white, lighter on black, so that
# each stands out from its ground at 3:1 at least. Marker and dashes belong to the same name.
_LIGHT = ("#0072b2", "#8f5fc7", "#c25000", "#00795a", "#a06a00", "#b0407f", "#3b3f46", "#6b7280")
_DARK = ("#5aaeea", "#bd9cf0", "#ff9457", "#3ccfa2", "#f0bd45", "#ee9acb", "#dfe3e8", "#98a1ae")
_DASHES = ("", "7 3", "2 3", "10 3 2 3", "5 5", "1 4", "12 4", "3 2")
_STYLES_BY_NAME = {
    name: index
    for index, name in enumerate((*OURS[:2], "ws", "grpc-js", "websockets", "peerjs", "grpc.aio", figures.FLOOR))
}

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'


def _colours(ground: str, ink: str, faint: str, colours: Sequence[str]) -> str:
    """Returns the style sheet of a plot in given colours."""
    lines = [
        f".plot .ground{{fill:{ground}}}",
        f".plot text{{fill:{ink}}}",
        f".plot .grid{{stroke:{faint}}}",
        f".plot .axis,.plot .whisker{{stroke:{ink}}}",
        f".plot .halo,.plot .small{{stroke:{ground}}}",
    ]
    for index, colour in enumerate(colours):
        lines.append(f".plot .f{index}{{fill:{colour}}}.plot .l{index}{{stroke:{colour}}}")
    return "\n".join(lines)


STYLE = f"""
.plot text{{font:13px {FONT}}}
.plot .title{{font-size:16px;font-weight:600}}
.plot .small{{font-size:12px;stroke-width:4px;stroke-linejoin:round;paint-order:stroke}}
.plot .halo{{fill:none;stroke-width:4}}
.plot .grid,.plot .axis,.plot .whisker{{fill:none;stroke-width:1}}
.plot .line{{fill:none;stroke-width:2}}
.plot .band{{fill-opacity:.14}}
.plot .second{{fill-opacity:.45}}
{_colours("#ffffff", "#1f2328", "#d8dde3", _LIGHT)}
@media (prefers-color-scheme: dark){{
{_colours("#12161c", "#e6e9ee", "#343b45", _DARK)}
}}
""".strip()
"""The styles of all plots, to be said once in the page or file that has them."""


class Plot(NamedTuple):
    """A drawn plot."""

    name: str
    """Of its file, without `.svg`."""
    section: str
    """The section of the report to which it belongs."""
    title: str
    svg: str
    """The element, without the styles."""

    def file_text(self) -> str:
        """Returns the plot as a file of its own."""
        head, mark, rest = self.svg.partition("</desc>")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{mark}<style>{STYLE}</style>{rest}\n'


class Point(NamedTuple):
    """A point of a line: where it stands, and from where to where the rounds reach."""

    x: float
    y: Spread


class Line(NamedTuple):
    """A line of a panel, by the name that stands in the legend."""

    name: str
    points: Sequence[Point]


class Panel(NamedTuple):
    """One of the fields of a plot that stand side by side with the same axes."""

    title: str
    lines: Sequence[Line]


class Part(NamedTuple):
    """A part of a bar, which lies behind the ones before it."""

    name: str
    value: float


class Bar(NamedTuple):
    """A bar: its name, its parts, and from where to where the rounds reach."""

    name: str
    parts: Sequence[Part]
    least: float
    most: float
    says: str
    """Text at its end."""


class Group(NamedTuple):
    """Bars under a common name."""

    name: str
    bars: Sequence[Bar]


# Axes.


def log_ticks(least: float, most: float) -> list[float]:
    """Ticks of a logarithmic axis that holds both: at 1, 2 and 5 of every decade, or where these are many at 1 alone.

    The first is not above `least` and the last not below `most`, both of which are above nought.
    """
    low, high = math.floor(math.log10(least) + 1e-9), math.ceil(math.log10(most) - 1e-9)
    if high - low <= 3:
        ticks = [10.0**decade * step for decade in range(low - 1, high + 1) for step in (1, 2, 5)]
    else:
        apart = math.ceil((high - low) / 8)
        ticks = [10.0**decade for decade in range(low, high + apart, apart)]
    first = max((at for at, tick in enumerate(ticks) if tick <= least * (1 + 1e-9)), default=0)
    last = min((at for at, tick in enumerate(ticks) if tick >= most * (1 - 1e-9)), default=len(ticks) - 1)
    if first == last:  # all values are one, on a tick
        first, last = max(0, first - 1), min(len(ticks) - 1, last + 1)
    return ticks[first : last + 1]


def linear_ticks(most: float, about: int = 5) -> list[float]:
    """Ticks of an axis from nought, about so many, the last of them not below `most`."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / about
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * decade for factor in (1, 2, 2.5, 5, 10) if factor * decade >= rough * (1 - 1e-9))
    return [step * index for index in range(math.ceil(most / step - 1e-9) + 1)]


class _LogAxis:
    """Places values between two coordinates, logarithmically."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        """Spans an axis, between two positions in pixels, that holds every value above zero."""
        drawable = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
        self.ticks = log_ticks(min(drawable), max(drawable))
        self._start, self._end = start, end
        self._low, self._high = math.log10(self.ticks[0]), math.log10(self.ticks[-1])

    def at(self, value: float) -> float:
        """Returns the coordinate of a value; below the axis, that of its beginning."""
        share = (math.log10(max(value, self.ticks[0])) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)


# Pieces.


def width(text: str, size: float = 13) -> float:
    """Approximate width of a text, in pixels."""
    return sum(0.36 if letter in "ijl.,:;|'()[] ft" else 0.88 if letter in "mwMWµ→%" else 0.6 for letter in text) * size


def clipped(text: str, room: float, size: float = 13) -> str:
    """Returns a text that fits into so many pixels, its end left out where it does not."""
    if width(text, size) <= room:
        return text
    while text and width(f"{text}…", size) > room:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "", room: float | None = None) -> str:
    """Returns the SVG of a text, clipped to the room it has, with the whole of it as a tooltip."""
    shown = text if room is None else clipped(text, room)
    whole = f"<title>{escape(text)}</title>" if shown != text else ""
    classed = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{classed}>{whole}{escape(shown)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def _marker(x: float, y: float, style: int) -> str:
    """Returns the SVG of a point's marker; each style has a shape of its own."""
    shapes = (
        "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0",  # a disc
        "M0 -6L6 0L0 6L-6 0Z",  # a diamond
        "M-4 -4H4V4H-4Z",  # a square
        "M0 -5.5L5.5 4.5H-5.5Z",  # a triangle
        "M0 5.5L5.5 -4.5H-5.5Z",  # one that stands on its head
        "M-5 -2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z",  # a cross
        "M-5.5 -2.5H5.5V2.5H-5.5Z",  # a plank
        "M-2.5 -5.5H2.5V5.5H-2.5Z",  # a post
    )
    return f'<path class="f{style}" transform="translate({x:.1f} {y:.1f})" d="{shapes[style]}"/>'


def _style(name: str, others: Sequence[str]) -> int:
    """Returns a name's style: the same in every plot for names we know, else a free one."""
    if name in _STYLES_BY_NAME:
        return _STYLES_BY_NAME[name]
    unknown = [other for other in others if other not in _STYLES_BY_NAME]
    return (len(_STYLES_BY_NAME) - 1 - unknown.index(name)) % len(_LIGHT)


def _svg(name: str, title: str, says: str, size: tuple[float, float], body: Iterable[str]) -> str:
    """Returns a whole SVG document, with title and description for screen readers."""
    wide, high = size
    box = f'viewBox="0 0 {wide:.0f} {high:.0f}" width="{wide:.0f}" height="{high:.0f}"'
    labels = f'role="img" aria-labelledby="{name}-title {name}-desc"'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" {box} {labels}>',
            f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(says)}</desc>',
            f'<rect class="ground" width="{wide:.0f}" height="{high:.0f}" rx="8"/>',
            _text(16, 28, title, kind="title", room=(wide - 32) * 0.72),
            *body,
            "</svg>",
        )
    )


def _legend(names: Sequence[str], wide: float, top: float) -> tuple[list[str], float]:
    """Returns the SVG of the legend, in as many rows as it takes, and its height."""
    drawn = []
    x, y = 16.0, top
    for name in names:
        shown = clipped(name, 220)
        room = 44 + width(shown) + 18
        if x > 16 and x + room > wide:
            x, y = 16.0, y + 22
        style = _style(name, names)
        drawn.append(f'<path class="line l{style}" stroke-dasharray="{_DASHES[style]}" d="M{x:.1f} {y:.1f}h34"/>')
        drawn += [_marker(x + 17, y, style), _text(x + 42, y + 4.5, name, room=221)]
        x += room
    return drawn, y - top + 22


# Charts.

_WIDE = 900


def line_chart(name: str, title: str, says: str, axes: tuple[str, str], panels: Sequence[Panel]) -> str:
    """Returns the SVG of lines over logarithmic axes, in panels side by side that share both.

    A band shows how far the rounds reach.
    """
    points = [point for panel in panels for line in panel.lines for point in line.points]
    hidden = sum(1 for point in points if not _drawable(point))
    points = [point for point in points if _drawable(point)]
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    body, legend_height = _legend(names, _WIDE - 16, 54)
    top, left, gap, height = 54 + legend_height + 22, 74.0, 60.0, 300.0
    panel_width = (_WIDE - left - 32 - gap * (len(panels) - 1)) / len(panels)
    y_axis = _LogAxis((value for point in points for value in point.y[:3]), top + height, top)
    for index, panel in enumerate(panels):
        start = left + index * (panel_width + gap)
        x_axis = _LogAxis((point.x for point in points), start, start + panel_width)
        body.append(_text(start + panel_width / 2, top - 10, panel.title, anchor="middle", room=panel_width))
        body += _field(x_axis, y_axis, (start, top, panel_width, height), labels=index == 0)
        for line in panel.lines:
            body += _drawn_line(line, _style(line.name, names), x_axis, y_axis)
    bottom = top + height
    body.append(_text(left + (_WIDE - left - 32) / 2, bottom + 44, axes[0], anchor="middle"))
    middle = top + height / 2
    body.append(f'<g transform="rotate(-90 18 {middle:.1f})">{_text(18, middle, axes[1], anchor="middle")}</g>')
    if hidden:
        note = f"Not drawn, because a logarithmic axis has no place for nought: {hidden} of the points."
        body.append(_text(left, bottom + 64, note, kind="small"))
    return _svg(name, title, says, (_WIDE, bottom + (76 if hidden else 58)), body)


def _drawable(point: Point) -> bool:
    return point.x > 0 and point.y.median > 0 and math.isfinite(point.x) and math.isfinite(point.y.most)


def _field(x_axis: _LogAxis, y_axis: _LogAxis, box: tuple[float, float, float, float], *, labels: bool) -> list[str]:
    """Returns the SVG of a panel's grid and of the labels of its ticks, as many as have room."""
    start, top, wide, height = box
    drawn = []
    free_from = -math.inf
    for tick in x_axis.ticks:
        x = x_axis.at(tick)
        drawn.append(_rule(x, top, x, top + height, "grid"))
        label = plain(tick)
        half = width(label) / 2
        if x - half > free_from:
            drawn.append(_text(x, top + height + 20, label, anchor="middle"))
            free_from = x + half + 6
    for tick in y_axis.ticks:
        y = y_axis.at(tick)
        drawn.append(_rule(start, y, start + wide, y, "grid"))
        if labels:
            drawn.append(_text(start - 8, y + 4.5, plain(tick), anchor="end"))
    drawn.append(_rule(start, top + height, start + wide, top + height, "axis"))
    return drawn


def _drawn_line(line: Line, style: int, x_axis: _LogAxis, y_axis: _LogAxis) -> list[str]:
    """Returns the SVG of one line: band from least to most, medians and markers."""
    points = sorted(point for point in line.points if _drawable(point))
    places = [(x_axis.at(point.x), y_axis.at(point.y.median)) for point in points]
    drawn = []
    if len(points) > 1:
        upper = [(x_axis.at(point.x), y_axis.at(point.y.most)) for point in points]
        lower = [(x_axis.at(point.x), y_axis.at(point.y.least)) for point in reversed(points)]
        drawn.append(f'<path class="band f{style}" d="{_path([*upper, *lower])}Z"/>')
        dashes = f' stroke-dasharray="{_DASHES[style]}"' if _DASHES[style] else ""
        drawn.append(f'<path class="line l{style}"{dashes} d="{_path(places)}"/>')
    for point, (x, y) in zip(points, places, strict=True):
        least, most = y_axis.at(point.y.least), y_axis.at(point.y.most)
        whisker = f'<path class="line l{style}" d="M{x:.1f} {least:.1f}V{most:.1f}"/>' if len(points) == 1 else ""
        says = escape(f"{line.name}, {plain(point.x)}: {point.y.text()}")
        drawn.append(f"<g><title>{says}</title>{whisker}{_marker(x, y, style)}</g>")
    return drawn


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def bar_chart(name: str, title: str, says: str, axis: str, groups: Sequence[Group]) -> str:
    """Returns the SVG of horizontal bars from zero, in groups; a whisker shows how far the rounds reach."""
    bars = [bar for group in groups for bar in group.bars]
    names = [bar.name for bar in bars]
    part_names = list(dict.fromkeys(part.name for bar in bars for part in bar.parts if part.name))
    left = min(220.0, max([60.0, *(width(bar_name) for bar_name in names)]) + 28)
    room_for_text = max([40.0, *(width(bar.says, 12) for bar in bars)]) + 20
    start, end = left, max(left + 240, _WIDE - room_for_text)
    ticks = linear_ticks(max([0.0, *(max(bar.most, sum(part.value for part in bar.parts)) for bar in bars)]))
    scale = (end - start) / ticks[-1]
    y = 48.0
    body, rows = [], []
    if part_names:
        legend, y = _part_legend(part_names, y)
        body += legend
    for group in groups:
        rows.append(_text(16, y + 20, group.name, room=_WIDE - 32))
        y += 30
        # The grid stops at a group's name, which it would cross out.
        low, high = y - 2, y + 24 * len(group.bars) - 4
        body += [_rule(start + tick * scale, low, start + tick * scale, high, "grid") for tick in ticks[1:]]
        rows.append(_rule(start, low, start, high, "axis"))
        for bar in group.bars:
            rows += _drawn_bar(bar, _style(bar.name, names), (start, y), scale, left - 28)
            y += 24
        y += 6
    for tick in ticks:
        body.append(_text(start + tick * scale, y + 14, plain(round(tick, 10)), anchor="middle"))
    body += rows
    body.append(_text((start + end) / 2, y + 36, axis, anchor="middle"))
    return _svg(name, title, says, (_WIDE, y + 50), body)


def _part_legend(names: Sequence[str], top: float) -> tuple[list[str], float]:
    """Returns the SVG of a legend of the parts of bars, and the height at which it ends."""
    drawn = []
    x = 16.0
    for index, name in enumerate(names):
        kind = f"f{_STYLES_BY_NAME[figures.FLOOR]}{' second' if index else ''}"
        drawn.append(f'<rect class="{kind}" x="{x:.1f}" y="{top - 4:.1f}" width="22" height="12"/>')
        drawn.append(_text(x + 30, top + 6.5, name))
        x += 30 + width(name) + 24
    return drawn, top + 20


def _drawn_bar(bar: Bar, style: int, place: tuple[float, float], scale: float, name_room: float) -> list[str]:
    """Returns the SVG of one horizontal bar: name, parts, whisker and number."""
    start, y = place
    x = start
    drawn = [_text(start - 8, y + 13, bar.name, anchor="end", room=name_room)]
    rects = []
    for index, part in enumerate(bar.parts):
        long = max(0.0, part.value) * scale
        shade = " second" if index else ""
        if index:  # what is pale must not let the grid through
            rects.append(f'<rect class="ground" x="{x:.1f}" y="{y:.1f}" width="{long:.1f}" height="18"/>')
        rects.append(f'<rect class="f{style}{shade}" x="{x:.1f}" y="{y:.1f}" width="{long:.1f}" height="18"/>')
        x += long
    reach = x
    if bar.most > bar.least:
        low, high = start + bar.least * scale, start + bar.most * scale
        whisker = f"M{low:.1f} {y + 9:.1f}H{high:.1f}M{low:.1f} {y + 5:.1f}v8M{high:.1f} {y + 5:.1f}v8"
        rects += [f'<path class="{kind}" d="{whisker}"/>' for kind in ("halo", "whisker")]
        reach = max(reach, high)
    drawn.append(f"<g><title>{escape(f'{bar.name}: {bar.says}')}</title>{''.join(rects)}</g>")
    drawn.append(_text(reach + 7, y + 13.5, bar.says, kind="small"))
    return drawn


# What is plotted of a run.


def plots(records: Sequence[Record]) -> list[Plot]:
    """Returns the plots of one run, in the order of the report; none of what was not measured.

    Resumable sessions are in the tables only, beside those of which they differ by a few per cent.
    """
    measured = figures.figures(records)
    found = {cell: rounds for cell, rounds in measured.items() if cell.key.server != figures.RESUMABLE}
    return [*_cpu_plots(found), *_latency_plots(found), *_wire_plots(found), *_memory_plots(found)]


def write(records: Sequence[Record], folder: Path) -> list[Path]:
    """Writes the plots of one run into a folder, made if missing; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for plot in plots(records):
        path = folder / f"{plot.name}.svg"
        path.write_text(plot.file_text(), encoding="utf-8")
        written.append(path)
    return written


def _cpu_plots(found: Figures) -> list[Plot]:
    """Returns bar charts of CPU per relay with the most in flight, one per kind of message."""
    drawn = []
    everything = figures.keys(found, figures.CPU)
    for message in dict.fromkeys(key.message for key in everything):
        # The plot shows one setting, the one with most in flight; the tables have the others.
        amounts = max(key.amounts for key in everything if key.message == message)
        keys = [key for key in everything if (key.message, key.amounts) == (message, amounts)]
        with_what = figures.amounts_text(figures.CPU, amounts)
        title = f"Server CPU per relay: {message}, {with_what}"
        drawn.append(_bars_by_way(found, figures.CPU, keys, f"cpu-{message}", "cpu", title, "µs of CPU per relay"))
    return drawn


def _memory_plots(found: Figures) -> list[Plot]:
    """Returns the bar chart of memory per idle session with the most sessions; none if it was not measured."""
    everything = figures.keys(found, figures.MEMORY)
    if not everything:
        return []
    amounts = max(key.amounts for key in everything)
    keys = [key for key in everything if key.amounts == amounts]
    title = f"Memory per idle session, of {figures.amounts_text(figures.MEMORY, amounts)}"
    return [_bars_by_way(found, figures.MEMORY, keys, "memory", "sessions", title, "KiB per session")]


def _bars_by_way(  # prose: the figures, and each word of the plot
    found: Figures, measure: Measure, keys: Sequence[Key], name: str, section: str, title: str, axis: str
) -> Plot:
    """Returns a bar chart of one measure, with a group of bars per pairing or protocol."""
    groups = []
    for way in dict.fromkeys(key.way for key in keys):
        bars = []
        for key in keys:
            if key.way == way:
                shown = Spread.of(found[Cell(measure, key)]).scaled(measure.scale)
                bars.append(Bar(key.server, [Part("", shown.median)], shown.least, shown.most, shown.text()))
        groups.append(Group(figures.way_text(way), bars))
    return Plot(name, section, title, bar_chart(name, title, _in_words(groups, measure.unit), axis, groups))


def _in_words(groups: Sequence[Group], unit: str) -> str:
    said = (f"{group.name}: " + ", ".join(f"{bar.name} {bar.says} {unit}" for bar in group.bars) for group in groups)
    return "Medians, and ranges over the rounds. " + "; ".join(said) + "."


def _wire_plots(found: Figures) -> list[Plot]:
    """Returns bar charts of the bytes on the wire per message, to the server and from it, one per kind of message.

    Each shows the smallest amounts that were measured alone: one group of bars per way, one bar per server.
    """
    drawn = []
    everything = figures.keys(found, figures.BYTES_TO)
    for message in dict.fromkeys(key.message for key in everything):
        amounts = min(key.amounts for key in everything if key.message == message)
        groups: dict[str, list[Bar]] = {}
        for key in everything:
            sides = [spread(found, measure, key) for measure in (figures.BYTES_TO, figures.BYTES_FROM)]
            if (key.message, key.amounts) == (message, amounts) and sides[0] and sides[1]:
                medians = [side.median for side in sides if side]
                parts = [Part("to the server", medians[0]), Part("from the server", medians[1])]
                says = " + ".join(number(median, 4) for median in medians)
                bar = Bar(key.server, parts, sum(medians), sum(medians), says)
                groups.setdefault(figures.way_text(key.way), []).append(bar)
        if groups:
            title = f"Bytes on the wire per message: {message}, {figures.amounts_text(figures.BYTES_TO, amounts)}"
            shown = [Group(way, bars) for way, bars in groups.items()]
            says = "To the server, then from it, acknowledgements included. " + _in_words(shown, "bytes")
            name = f"wire-{message}"
            drawn.append(Plot(name, "wire", title, bar_chart(name, title, says, "bytes per message", shown)))
    return drawn


def _latency_plots(found: Figures) -> list[Plot]:
    """Returns charts of latency against rate, one per kind of message and pairing."""
    drawn = []
    everything = figures.keys(found, figures.P50, order=figures.by_way)
    shown = ((figures.P50, "50th percentile"), (figures.P99, "99th percentile"))
    for message, way in dict.fromkeys((key.message, key.way) for key in everything):
        keys = [key for key in everything if (key.message, key.way) == (message, way)]
        panels = []
        for measure, name in shown:
            lines: dict[str, list[Point]] = {}
            for key in keys:
                of = spread(found, measure, key)
                if of:
                    lines.setdefault(key.server, []).append(Point(key.amounts[0], of.scaled(measure.scale)))
            panels.append(Panel(name, [Line(*line) for line in lines.items()]))
        title = f"Latency against rate: {message}, {figures.way_text(way)}"
        said = (
            f"{panel.title}, {line.name}: "
            + ", ".join(f"{point.y.text()} ms at {plain(point.x)}/s" for point in line.points)
            for panel in panels
            for line in panel.lines
        )
        name = f"latency-{message}-{way}"
        axes = ("planned messages per second, over all pairs", "milliseconds")
        drawn.append(Plot(name, "latency", title, line_chart(name, title, "; ".join(said) + ".", axes, panels)))
    return drawn

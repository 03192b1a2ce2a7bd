"""Curves and bars as inline SVG: no script, readable without colour, and at the width of a phone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matinee.core.pieces import Bars, Lines
from matinee.report.words import decimals, number, percent, percent_digits, plural, safe

MOST_SERIES = 24
MOST_POINTS = 400
MARKED_POINTS = 24
BARS_SHOWN = 20
MOST_BARS = 300
_LARGEST = 1e300  # beyond it the difference of two values is no longer finite

# Series differ by colour, by dash and by marker; the three cycles have lengths without a common factor.
_COLOURS = 7
_DASHES = ("", "7 4", "2 3.5", "10 3 2 3")
_MARKERS = (
    "M{x} {y}m-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0 -7.2 0z",  # circle
    "M{x} {y}m-3.2 -3.2h6.4v6.4h-6.4z",  # square
    "M{x} {y}m0 -4.4l4.2 7.4h-8.4z",  # triangle
    "M{x} {y}m0 -4.8l4.6 4.8l-4.6 4.8l-4.6 -4.8z",  # diamond
    "M{x} {y}m0 4.4l4.2 -7.4h-8.4z",  # triangle on its tip
)

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Values low..high laid on places start..end, with ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> str:
        share = (value - self.low) / (self.high - self.low)
        return f"{self.start + share * (self.end - self.start):.1f}".removesuffix(".0")

    def labels(self) -> Iterator[tuple[float, str]]:
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else abs(self.ticks[0]) if self.ticks else 1.0
        largest = max((abs(tick) for tick in self.ticks), default=1.0)
        for tick in self.ticks:
            yield tick, _tick_label(tick, step, largest)


def _tick_label(tick: float, step: float, largest: float) -> str:
    if tick == 0:
        return "0"
    if largest >= 1e15 or largest < 1e-4:
        digits = f"{tick:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
        return digits.replace("-", "−", 1) if tick < 0 else digits
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if largest >= size:
            return f"{tick / size:.4g}".replace("-", "−") + letter
    places = max(0, math.ceil(-math.log10(step) - 1e-9)) if step > 0 else 0
    if step > 0 and round(step * 10**places, 6) % 1:  # a step of 0.25 needs one place more than its size says
        places += 1
    return f"{tick:,.{min(places, 6)}f}".replace("-", "−")


def _step(span: float, count: int) -> float:
    size = 10.0 ** math.floor(math.log10(span / count))
    return next(size * nice for nice in (1, 2, 2.5, 5, 10) if span / (size * nice) <= count + 1e-9)


def scale(values: Sequence[float], start: float, end: float, count: int, snap: bool) -> Scale:
    """A scale over finite values (none: 0..1); `snap` widens it to whole ticks."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high)) or high - low < 1e-300:
        margin = abs(low) * 0.1 if abs(low) > 1e-290 else 0.5
        if all(float(value).is_integer() for value in values) and abs(low) < 1e9:
            margin = 1.0
        low, high = low - margin, high + margin
    step = _step(high - low, count)
    if not snap and all(float(value).is_integer() for value in values):
        step = max(1.0, math.ceil(step))  # there is no epoch 2.5
    if snap:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Scale(low, high, start, end, tuple(index * step for index in range(first, last + 1)))


def segments(points: Sequence[Point]) -> list[list[Point]]:
    """The runs of finite points, thinned to about MOST_POINTS by keeping the lowest and the highest of each stretch."""
    runs: list[list[Point]] = [[]]
    for x, y in points:
        if abs(x) < _LARGEST and abs(y) < _LARGEST:  # false for NaN too
            runs[-1].append((float(x), float(y)))
        elif runs[-1]:
            runs.append([])
    total = sum(len(run) for run in runs)
    if total > MOST_POINTS:
        runs = [_thinned(run, math.ceil(2 * total / MOST_POINTS)) for run in runs]
    return [run for run in runs if run]


def _thinned(run: Sequence[Point], stretch: int) -> list[Point]:
    kept: set[int] = {0, len(run) - 1} if run else set()
    for start in range(0, len(run), stretch):
        places = range(start, min(start + stretch, len(run)))
        kept.add(min(places, key=lambda place: run[place][1]))
        kept.add(max(places, key=lambda place: run[place][1]))
    return [run[place] for place in sorted(kept)]


def lines(piece: Lines) -> str:
    """Curves on axes, with a legend that shows colour, dash and marker."""
    series = {name: segments(points) for name, points in list(piece.series.items())[:MOST_SERIES]}
    flat = [point for runs in series.values() for run in runs for point in run]
    caption = f"<figcaption>{safe(piece.caption, 1000)}</figcaption>" if piece.caption else ""
    if not flat:
        return f'<figure class="chart">{caption}<p class="nothing">No points to draw.</p></figure>'
    # 560 units wide: at 350 px, a phone, the style sheet enlarges the words so that they stay readable.
    width, height = (440, 420) if piece.diagonal else (560, 300)
    across, up = [x for x, _ in flat], [y for _, y in flat]
    if piece.diagonal:
        across = up = [*across, *up, *([0.0, 1.0] if all(0 <= value <= 1 for value in across + up) else [])]
    horizontal = scale(across, 56, width - 20, 6, snap=piece.diagonal)
    vertical = scale(up, height - 50, 32, 5, snap=True)
    parts = [_axes(horizontal, vertical, piece)]
    if piece.diagonal:
        low, high = max(horizontal.low, vertical.low), min(horizontal.high, vertical.high)
        ends = (horizontal.place(low), vertical.place(low), horizontal.place(high), vertical.place(high))
        parts.append('<line class="diagonal" x1="{}" y1="{}" x2="{}" y2="{}"/>'.format(*ends))
    for index, (name, runs) in enumerate(series.items()):
        parts.append(_curve(index, name, runs, horizontal, vertical))
    label = safe(_summary(piece, series), 2000)
    drawing = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    shape = "chart square" if piece.diagonal else "chart"
    return f'<figure class="{shape}">{caption}{drawing}{_legend(piece, list(series))}</figure>'


def _axes(horizontal: Scale, vertical: Scale, piece: Lines) -> str:
    left, right, bottom, top = horizontal.start, horizontal.end, vertical.start, vertical.end
    parts = ['<g class="axes">']
    for tick, label in vertical.labels():
        y = vertical.place(tick)
        parts.append(f'<line class="grid" x1="{left:g}" x2="{right:g}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="up" x="{left - 8:g}" y="{y}" dy=".35em">{label}</text>')
    parts.append(f'<line class="axis" x1="{left:g}" x2="{right:g}" y1="{bottom:g}" y2="{bottom:g}"/>')
    for tick, label in horizontal.labels():
        x = horizontal.place(tick)
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom:g}" y2="{bottom + 5:g}"/>')
        parts.append(f'<text class="across" x="{x}" y="{bottom + 9:g}" dy=".8em">{label}</text>')
    if piece.y_label:
        parts.append(f'<text class="name" x="4" y="{top - 16:g}">{safe(piece.y_label, 48)}</text>')
    if piece.x_label:
        x_name = safe(piece.x_label, 48)
        parts.append(f'<text class="name end" x="{right:g}" y="{bottom + 44:g}">{x_name}</text>')
    return "".join(parts) + "</g>"


def _curve(index: int, name: str, runs: Sequence[Sequence[Point]], horizontal: Scale, vertical: Scale) -> str:
    dash = _DASHES[index % len(_DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    parts = [f'<g class="series c{index % _COLOURS}">']
    for run in runs:
        if len(run) > 1:
            corners = " ".join(f"{horizontal.place(x)},{vertical.place(y)}" for x, y in run)
            parts.append(f'<polyline points="{corners}"{dashed}/>')
    points = [point for run in runs for point in run]
    every = 1 if len(points) <= MARKED_POINTS else math.ceil(len(points) / 9)
    # Long curves carry a few markers, shifted from series to series so that they do not cover each other.
    chosen = points if every == 1 else points[every * (1 + index % 4) // 5 :: every]
    chosen = [*chosen, *(run[0] for run in runs if len(run) == 1 and run[0] not in chosen)]
    shape = _MARKERS[index % len(_MARKERS)]
    places = decimals(y for _, y in points)
    for x, y in chosen:
        path = shape.format(x=horizontal.place(x), y=vertical.place(y))
        words = f"{safe(name, 60)}: {number(y, places)} at {_tick_label(x, abs(x) % 1 or 1.0, abs(x))}"
        parts.append(f'<path d="{path}"><title>{words}</title></path>')
    return "".join(parts) + "</g>"


def _legend(piece: Lines, names: Sequence[str]) -> str:
    if len(names) == 1 and not piece.diagonal and names[0] == piece.y_label:
        return ""
    items = []
    for index, name in enumerate(names):
        dash = _DASHES[index % len(_DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        marker = _MARKERS[index % len(_MARKERS)].format(x=17, y=7)
        sample = f'<polyline points="0,7 34,7"{dashed}/><path d="{marker}"/>'
        items.append(_legend_item(f"series c{index % _COLOURS}", sample, safe(name, 80)))
    if piece.diagonal:
        items.append(_legend_item("", '<line class="diagonal" x1="0" x2="34" y1="7" y2="7"/>', "y = x"))
    left = len(piece.series) - len(names)
    if left:
        items.append(f"<li>{plural(left, 'more curve')} not drawn</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _legend_item(group: str, sample: str, words: str) -> str:
    drawing = (
        f'<svg width="34" height="14" viewBox="0 0 34 14" aria-hidden="true"><g class="{group}">{sample}</g></svg>'
    )
    return f"<li>{drawing}<bdi>{words}</bdi></li>"


def _summary(piece: Lines, series: dict[str, list[list[Point]]]) -> str:
    """What the drawing says, for a person who cannot see it."""
    axes = f"Line chart of {piece.y_label or 'y'} over {piece.x_label or 'x'}."
    told = []
    for name, runs in list(series.items())[:8]:
        points = [point for run in runs for point in run]
        if not points:
            told.append(f"{name}: no points.")
            continue
        values = [y for _, y in points]
        places = decimals(values)
        low, high, last = (number(value, places) for value in (min(values), max(values), values[-1]))
        told.append(f"{name}: from {number(values[0], places)} to {last}, lowest {low}, highest {high}.")
    return " ".join([f"{piece.caption}.".lstrip("."), axes, *told]).strip()


def bars(piece: Bars) -> str:
    """Bars with whiskers, as a table whose middle column is drawn: the words stay words."""
    count = min(len(piece.names), len(piece.values))
    caption = f"<figcaption>{safe(piece.caption, 1000)}</figcaption>" if piece.caption else ""
    if count == 0:
        return f'<figure class="bars">{caption}<p class="nothing">No bars to draw.</p></figure>'
    shown = range(min(count, MOST_BARS))
    spans = [_interval(piece, place) for place in range(count)]
    reach = [float(value) for value in piece.values[:count] if abs(value) < _LARGEST]
    reach += [end for span in spans if span for end in span]
    low, high = min([0.0, *reach]), max([0.0, *reach])
    if piece.percent:
        high = max(high, 1.0)
    if high == low:
        high = low + 1.0
    places = decimals(reach)
    rows = [_bar(piece, place, spans[place], (low, high, places)) for place in shown]
    longest = max(len(str(name)) for name in piece.names[: len(shown)])
    start = (
        f'<table class="bars" style="--name:{min(max(longest, 6), 28)}ch" aria-label="{safe(piece.caption or "Bars")}">'
    )
    parts = [caption, start, *rows[:BARS_SHOWN], "</table>"]
    if count > BARS_SHOWN:
        more = f"<details><summary>{plural(len(rows) - BARS_SHOWN, 'more bar')}</summary>"
        parts += [more, start, *rows[BARS_SHOWN:], "</table></details>"]
    if count > MOST_BARS:
        parts.append(f'<p class="left-out">The last {count - MOST_BARS:,} of {count:,} bars are left out.</p>')
    return f'<figure class="bars">{"".join(parts)}</figure>'


def _interval(piece: Bars, place: int) -> tuple[float, float] | None:
    span = piece.intervals[place] if place < len(piece.intervals) else None
    if span is None or not all(abs(end) < _LARGEST for end in span):
        return None
    return min(span), max(span)


def _bar(piece: Bars, place: int, span: tuple[float, float] | None, reach: tuple[float, float, int]) -> str:
    low, high, places = reach
    value = float(piece.values[place])
    width = high - low

    def at(position: float) -> str:
        return f"{100 * (position - low) / width:.2f}%"

    drawn = ""
    if abs(value) < _LARGEST:
        size = f"{100 * abs(value) / width:.2f}%"
        drawn = f'<rect class="bar" x="{at(min(value, 0.0))}" y="3" width="{size}" height="12" rx="1.5"/>'
    if low < 0:
        drawn += f'<line class="zero" x1="{at(0)}" x2="{at(0)}" y1="0" y2="18"/>'
    words = percent(value) if piece.percent else number(value, places)
    if span:
        start, end = at(span[0]), at(span[1])
        drawn += f'<line class="whisker" x1="{start}" x2="{end}" y1="9" y2="9"/>'
        drawn += "".join(f'<line class="whisker" x1="{x}" x2="{x}" y1="5" y2="13"/>' for x in (start, end))
        ends = [percent_digits(end) if piece.percent else number(end, places) for end in span]
        dash = " to " if span[0] < 0 else "–"
        words += f' <span class="span">{ends[0]}{dash}{ends[1]}</span>'
    name = safe(piece.names[place], 120)
    return (
        f'<tr><th scope="row"><bdi>{name}</bdi></th><td class="track"><svg width="100%" height="18" '
        f'aria-hidden="true">{drawn}</svg></td><td class="value">{words}</td></tr>'
    )

"""Two kinds of charts as SVG text: grouped bars of ratios, and latency percentile curves."""

import math
from html import escape

COLOURS = {"gyre": "#0b7285", "redis": "#c92a2a", "valkey": "#5f3dc4", "floor": "#868e96",
           "gyre-1-shard": "#0b7285", "gyre-2-shards": "#66d9e8"}
FONT = 'font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="12"'


def colour(name):
    return COLOURS.get(name, "#495057")


def text(x, y, content, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(content)}</text>'


def line(x1, y1, x2, y2, style):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def document(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" {FONT}>\n<rect width="{width}" height="{height}" fill="white"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def legend(names, x, y):
    parts = []
    for name in names:
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour(name)}"/>')
        parts.append(text(x + 16, y, name))
        x += 40 + 8 * len(name)
    return parts


def ratio_bars(title, groups, bounds):
    """Horizontal bars: `groups` is [(label, {server: ratio})], `bounds` {label: bound} draws the budget."""
    servers = list(dict.fromkeys(name for _, bars in groups for name in bars))
    left, right, top, bar, gap = 230, 70, 60, 14, 14
    scale_max = max([1.2] + [value for _, bars in groups for value in bars.values()])
    scale_max = min(scale_max, 4.0) * 1.02
    width = 900
    def place(value):
        return left + min(value, scale_max) / scale_max * (width - left - right)
    parts = [text(20, 24, title, extra='font-size="16"'), *legend(servers, 20, 46)]
    y = top
    for label, bars in groups:
        height = bar * len(bars)
        parts.append(text(left - 8, y + height / 2 + 4, label, "end"))
        for number, (server, value) in enumerate(bars.items()):
            parts.append(f'<rect x="{left}" y="{y + number * bar}" width="{place(value) - left:.1f}" '
                         f'height="{bar - 2}" fill="{colour(server)}"/>')
            parts.append(text(place(value) + 4, y + number * bar + 10, f"{value:.2f}"))
        if label in bounds:
            x = place(bounds[label])
            parts.append(line(x, y - 4, x, y + height + 2, 'stroke="#f08c00" stroke-width="2"'))
        y += height + gap
    parts.insert(0, line(place(1), top - 4, place(1), y, 'stroke="#adb5bd" stroke-dasharray="3 3"'))
    parts.append(text(20, y + 14, "Dashed: equal to Valkey. Orange: the budget. For throughput, longer is better; "
                                  "for the rest, shorter."))
    return document(width, y + 30, parts)


PERCENTILES = [50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99]


def at_percentile(curve, wanted):
    """Latency of the first step of [(percentile, us)] at or above `wanted`."""
    return next((latency for percentile, latency in curve if percentile >= wanted), curve[-1][1])


def latency_curves(title, curves):
    """`curves` is {server: [(percentile, us)]}; both axes are logarithmic, the lower in distance from 100%."""
    width, height, left, right, top, bottom = 900, 460, 70, 30, 60, 50
    points = {name: [(p, at_percentile(curve, p)) for p in PERCENTILES] for name, curve in curves.items()}
    values = [max(value, 1.0) for curve in points.values() for _, value in curve]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    high = max(high, low + 1)
    x_min, x_max = -math.log10(1 - PERCENTILES[0] / 100), -math.log10(1 - PERCENTILES[-1] / 100)
    def x_of(percentile):
        return left + (-math.log10(1 - percentile / 100) - x_min) / (x_max - x_min) * (width - left - right)
    def y_of(value):
        return height - bottom - (math.log10(max(value, 1.0)) - low) / (high - low) * (height - top - bottom)
    parts = [text(20, 24, title, extra='font-size="16"'), *legend(points, 20, 46)]
    for power in range(low, high + 1):
        y = y_of(10 ** power)
        parts.append(line(left, y, width - right, y, 'stroke="#dee2e6"'))
        parts.append(text(left - 6, y + 4, f"{10 ** power:,} us", "end"))
    for percentile in PERCENTILES:
        x = x_of(percentile)
        parts.append(line(x, top, x, height - bottom, 'stroke="#f1f3f5"'))
        parts.append(text(x, height - bottom + 16, f"{percentile}%", "middle"))
    for name, curve in points.items():
        path = " ".join(f"{x_of(p):.1f},{y_of(value):.1f}" for p, value in curve)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour(name)}" stroke-width="2"/>')
    return document(width, height, parts)

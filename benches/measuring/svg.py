"""Pictures: drawn by hand, readable on light and on dark ground, with no font that is not everywhere.

What must hold: every value that is drawn is written as well.
"""
import math
from html import escape

STYLE = """
svg { font-family: system-ui, sans-serif; font-size: 11px; }
text { fill: #24292f; } .quiet { fill: #57606a; } .title { font-size: 13px; font-weight: 600; }
.ours { fill: #1a7f5a; } .peer { fill: #9aa4b0; } .plain { fill: #d0d7de; } .rule { stroke: #d0d7de; }
.line { fill: none; stroke-width: 2; } .linear { fill: none; stroke: #9aa4b0; stroke-dasharray: 3 4; }
.c0 { stroke: #1a7f5a; } .c1 { stroke: #0969da; } .c2 { stroke: #bf5700; } .c3 { stroke: #8250df; } .c4 { stroke: #cf222e; }
.strong { font-weight: 600; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .quiet { fill: #9aa4b0; } .ours { fill: #3fb984; } .peer { fill: #6e7781; }
  .plain { fill: #444c56; } .rule { stroke: #444c56; }
  .c0 { stroke: #3fb984; } .c1 { stroke: #58a6ff; } .c2 { stroke: #f0883e; } .c3 { stroke: #bc8cff; } .c4 { stroke: #ff7b72; }
}
""".strip()


def text(x, y, words, kind="", anchor="start"):
    """A line of text; `kind` is a class of the style."""
    return '<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>' % (x, y, kind, anchor, escape(words))


def bar(x, y, width, height, kind):
    """A bar of at least a pixel, so that it is seen."""
    return '<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="1.5" class="%s"/>' % (x, y, max(1.0, width), height, kind)


def rule(x1, y1, x2, y2):
    """A thin line that parts things."""
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="rule"/>' % (x1, y1, x2, y2)


def path(points, kind):
    """A line through points."""
    return '<polyline points="%s" class="%s"/>' % (" ".join("%.1f,%.1f" % point for point in points), kind)


def document(width, height, title, parts):
    """The picture; `title` is for who does not see it."""
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">' % (
        width,
        height,
        width,
        height,
    )
    return "\n".join([head, "<title>%s</title>" % escape(title), "<style>%s</style>" % STYLE, *parts, "</svg>"]) + "\n"


def seconds(value):
    """Seconds for people, with three digits or so."""
    if value is None:
        return "–"
    return "%.3f" % value if value < 0.1 else "%.2f" % value if value < 10 else "%.1f" % value if value < 100 else "%.0f" % value


def curves(title, x_name, y_name, series, width=520, height=310):
    """Curves on logarithmic axes: `series` is a list of (name, points). From the first point of each goes a dotted line
    that is exactly linear: a curve that runs beside it costs the same for each."""
    left, right, top, bottom = 62, 164, 48, 40
    points = [point for _, some in series for point in some if point[0] > 0 and point[1] > 0]
    parts = [text(8, 18, title, "title")]
    if not points:
        return document(width, height, title, parts + [text(left, height / 2, "nothing was measured", "quiet")])
    floor = lambda value: math.floor(math.log10(value))
    x_low, x_high = floor(min(x for x, _ in points)), math.ceil(math.log10(max(x for x, _ in points)))
    y_low, y_high = floor(min(y for _, y in points)), math.ceil(math.log10(max(y for _, y in points)))
    x_high, y_high = max(x_high, x_low + 1), max(y_high, y_low + 1)
    across = lambda x: left + (math.log10(x) - x_low) / (x_high - x_low) * (width - left - right)
    down = lambda y: height - bottom - (math.log10(y) - y_low) / (y_high - y_low) * (height - top - bottom)
    for power in range(y_low, y_high + 1):
        parts += [rule(left, down(10.0**power), width - right, down(10.0**power))]
        parts += [text(left - 6, down(10.0**power) + 4, "%g" % 10.0**power, "quiet", "end")]
    for power in range(x_low, x_high + 1):
        parts += [text(across(10.0**power), height - bottom + 16, format(10**power, ","), "quiet", "middle")]
    parts += [text((left + width - right) / 2, height - 6, x_name, "quiet", "middle"), text(left - 6, top - 12, y_name, "quiet", "end")]
    labels = []
    for number, (name, some) in enumerate(series):
        good = sorted(point for point in some if point[0] > 0 and point[1] > 0)
        if not good:
            continue
        (x, y), end = good[0], good[-1][0]
        stop = min(end, x * 10.0**y_high / y)
        parts += [path([(across(x), down(y)), (across(stop), down(y * stop / x))], "linear")]
        parts += [path([(across(x), down(y)) for x, y in good], "line c%d" % (number % 5))]
        labels += [(down(good[-1][1]) + 4, number, "%s %s" % (name, seconds(good[-1][1])))]
    # From the top, each below the one before, in the order of the curves' ends.
    free = 0
    for place, number, label in sorted(labels):
        place = max(place, free)
        free = place + 12
        key = [(width - right + 6, place - 4), (width - right + 18, place - 4)]
        parts += [path(key, "line c%d" % (number % 5)), text(width - right + 23, place, label)]
    return document(width, height, title, parts)

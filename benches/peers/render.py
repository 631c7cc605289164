"""Shows raw results: Markdown tables, and the comparison as a picture.

What must hold: no figure is left out in silence; what was not measured says why; the best is sought among the tools that
deduplicate and encrypt, packstone not among them.
"""
import tools
from corpora import ALL as CORPORA
from measuring import svg

OPERATIONS = {
    "first": "first backup",
    "unchanged": "nothing changed",
    "changed": "the day after",
    "restore": "restore",
    "one file": "one file",
    "list": "list all",
    "check": "check",
    "check all": "check all data",
    "prune": "prune to the last",
}
DRAWN = ["first", "unchanged", "changed", "restore", "check all"]
MIB = 1 << 20


def _present(results):
    """Tools and corpora of which anything was measured, in the order in which they are always told."""
    found = results.of("cost") + results.of("failed") + results.of("lacking")
    names = [name for name in tools.ALL if any(line["tool"] == name for line in found)]
    return names, [corpus for corpus in CORPORA if any(line["corpus"] == corpus for line in found)]


def _is_peer(name):
    return tools.KINDS[name].is_peer


def _value(results, key, **facts):
    """A figure, or in words why there is none."""
    lines = [line for line in (results.last(kind, **facts) for kind in ("cost", "failed", "lacking")) if line]
    if not lines:
        return ""
    newest = max(lines, key=results.lines.index)
    if newest["kind"] == "cost":
        return newest.get(key, "")
    return "failed" if newest["kind"] == "failed" else "–"


def _best(values):
    figures = [value for name, value in values.items() if _is_peer(name) and isinstance(value, (int, float))]
    return min(figures) if figures else None


def _row(title, values, show):
    best = _best(values)
    cells = []
    for name, value in values.items():
        shown = show(value) if isinstance(value, (int, float)) else value
        if best is not None and value == best and _is_peer(name):
            shown = "**%s**" % shown
        cells.append(shown)
    if "packstone" in values:
        ours = values["packstone"]
        is_ratio = isinstance(ours, (int, float)) and best
        cells.append("%.2f" % (ours / best) if is_ratio else "–")
    return "| %s | %s |" % (title, " | ".join(cells))


def _table(title, names, rows, show):
    heads = names + (["packstone / best peer"] if "packstone" in names else [])
    lines = ["", title, "", "| | %s |" % " | ".join(heads), "|---|%s" % ("---:|" * len(heads))]
    lines += [_row(name, values, show) for name, values in rows if any(value != "" for value in values.values())]
    return lines if len(lines) > 5 else []


def _mebibytes(value):
    return "%.1f" % (value / MIB)


def tables(results):
    """Everything, as Markdown."""
    names, corpora = _present(results)
    machine = results.last("machine")
    lines = ["# packstone and its peers", ""]
    if machine:
        lines += ["%s; %s; corpora of size `%s`." % (machine["date"], machine["machine"], machine["size"])]
    lines += ["Medians; the fastest (smallest) peer is bold; tar neither deduplicates nor encrypts.", ""]
    for name in tools.ALL:
        tool = results.last("tool", tool=name)
        if tool:
            said = tool["version"].splitlines()[0] if tool["version"] else "not installed (%s)" % tool["install"]
            lines += ["- %s: %s" % (name, said)]
    for line in results.of("left out"):
        lines += ["- The corpus `%s` is left out: %s." % (line["corpus"], line["reason"])]
    for corpus in corpora:
        facts = results.last("corpus", corpus=corpus) or {"files": 0, "bytes": 0}
        lines += ["", "## %s: %d files, %.0f MiB" % (corpus, facts["files"], facts["bytes"] / MIB)]
        for title, key, show in [
            ("Seconds:", "seconds", svg.seconds),
            ("Seconds of processors:", "cpu_seconds", svg.seconds),
            ("Memory at most, MiB:", "memory_mib", "{:.0f}".format),
        ]:
            rows = [
                (said, {name: _value(results, key, corpus=corpus, operation=operation, tool=name) for name in names})
                for operation, said in OPERATIONS.items()
            ]
            lines += _table(title, names, rows, show)
        rows = [
            ("after the first backup", "first", "repository_bytes"),
            ("added by the day after", "changed", "added_bytes"),
            ("after the prune", "prune", "repository_bytes"),
        ]
        rows = [
            (said, {name: _value(results, key, corpus=corpus, operation=operation, tool=name) for name in names})
            for said, operation, key in rows
        ]
        lines += _table("Repository, MiB:", names, rows, _mebibytes)
        lines += _remarks(results, corpus, names)
    return "\n".join(lines)


def _remarks(results, corpus, names):
    remarks = []
    for name in names:
        restored = results.last("cost", corpus=corpus, operation="restore", tool=name)
        if restored and restored.get("metadata_differences"):
            remarks.append("- %s restored %d paths with other metadata." % (name, restored["metadata_differences"]))
    for line in results.of("failed"):
        if line["corpus"] == corpus and line["tool"] in names:
            remarks.append("- %s, %s: failed: %s" % (line["tool"], line["operation"], line["reason"].splitlines()[0][:200]))
    return ["", *remarks] if remarks else []


def summary(results):
    """One table: packstone, and in brackets the best peer, for each corpus."""
    names, corpora = _present(results)
    machine = results.last("machine") or {"date": "", "machine": "", "size": ""}
    versions, absent = [], []
    for name in names:
        tool = results.last("tool", tool=name)
        versions += [tool["version"].splitlines()[0]] if tool and tool["version"] else []
    for tool in results.of("tool"):
        absent += [] if tool["version"] else ["%s is not installed" % tool["tool"]]
    absent += ["%s is left out: %s" % (line["corpus"], line["reason"]) for line in results.of("left out")]
    told = ["%(date)s, %(machine)s" % machine, ", ".join(versions), *absent]
    lines = ["; ".join(told) + ".", ""]
    heads = []
    for corpus in corpora:
        facts = results.last("corpus", corpus=corpus)
        heads += ["%s, %.0f MiB" % (corpus, facts["bytes"] / MIB) if facts else corpus]
    lines += ["| | %s |" % " | ".join(heads), "|---|%s" % ("---:|" * len(corpora))]
    rows = [(said, operation, "seconds", lambda value: svg.seconds(value) + " s") for operation, said in OPERATIONS.items()]
    rows += [
        ("memory of the first backup", "first", "memory_mib", "{:.0f} MiB".format),
        ("memory of the restore", "restore", "memory_mib", "{:.0f} MiB".format),
        ("repository", "first", "repository_bytes", lambda value: _mebibytes(value) + " MiB"),
        ("added by the day after", "changed", "added_bytes", lambda value: _mebibytes(value) + " MiB"),
    ]
    for title, operation, key, show in rows:
        values = lambda corpus: {name: _value(results, key, corpus=corpus, operation=operation, tool=name) for name in names}
        lines += ["| %s | %s |" % (title, " | ".join(_beside_best(values(corpus), show) for corpus in corpora))]
    return "\n".join(lines)


def _beside_best(values, show):
    """What packstone took, and who of the peers took least; in words why there is no figure."""
    ours = values.pop("packstone", "")
    peers = {name: value for name, value in values.items() if _is_peer(name)}
    figures = {name: value for name, value in peers.items() if isinstance(value, (int, float))}
    failed = ["%s failed" % name for name, value in peers.items() if value == "failed"]
    said = ["%s %s" % (show(figures[best]), best) for best in [min(figures, key=figures.get, default=None)] if best]
    cell = "**%s**" % show(ours) if isinstance(ours, (int, float)) else ours or "–"
    return cell + (" (%s)" % "; ".join(said + failed) if said or failed else "")


def picture(results):
    """Bars: a row for each operation, a column for each corpus, in each the tools; every bar has its seconds."""
    names, corpora = _present(results)
    left, column, line, gap = 190, 170, 13, 26
    row = line * len(names) + gap
    width, top = max(560, left + column * len(corpora)), 56
    machine = results.last("machine") or {"date": "", "machine": ""}
    parts = [svg.text(8, 18, "Seconds; shorter is better", "title"), svg.text(8, 36, "%(date)s, %(machine)s" % machine, "quiet")]
    for number, corpus in enumerate(corpora):
        parts += [svg.text(left + number * column, top, corpus, "strong")]
    for position, operation in enumerate(DRAWN):
        y = top + 12 + position * row
        parts += [svg.rule(8, y, width - 8, y), svg.text(8, y + 14, OPERATIONS[operation], "strong")]
        for place, name in enumerate(names):
            kind = "strong" if name == "packstone" else "quiet"
            parts += [svg.text(left - 8, y + 14 + place * line, name, kind, "end")]
        for number, corpus in enumerate(corpora):
            values = {name: _value(results, "seconds", corpus=corpus, operation=operation, tool=name) for name in names}
            parts += _bars(values, left + number * column, y + 5, column - 62, line)
    height = top + 12 + row * len(DRAWN)
    title = "How long packstone and its peers take"
    return svg.document(width, height, title, parts)


def _bars(values, x, y, width, line):
    most = max([value for value in values.values() if isinstance(value, (int, float))] or [1.0])
    parts = []
    for place, (name, value) in enumerate(values.items()):
        if not isinstance(value, (int, float)):
            parts += [svg.text(x, y + 9 + place * line, value or "–", "quiet")]
            continue
        kind = "ours" if name == "packstone" else "peer" if _is_peer(name) else "plain"
        length = width * value / most
        parts += [svg.bar(x, y + place * line, length, line - 4, kind)]
        label = "strong" if name == "packstone" else "quiet"
        parts += [svg.text(x + length + 4, y + 9 + place * line, svg.seconds(value), label)]
    return parts

"""What all pages share: head, style, switch of colours, tables, facts, commands to copy.

A page is one file. Its policy makes a browser refuse whatever it would load from elsewhere, and
run no script but those that were put into it here. Text is escaped here, unless a parameter is
called `markup` or `body`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

Row = Sequence[str]
ASSETS = Path(__file__).parent / "assets"
# More rows than a browser sorts in the blink of an eye.
MOST_ROWS = 20_000
# Longer texts than this are broken into lines.
LONG = 48
LINE_ENDS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>$style</style>
</head>
<body>
<fieldset class="theme"><legend>Colours</legend>
<label><input type="radio" name="theme" id="auto" checked>auto</label>
<label><input type="radio" name="theme" id="light">light</label>
<label><input type="radio" name="theme" id="dark">dark</label>
</fieldset>
<main>
$body
</main>
$scripts</body>
</html>
""")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number in a table: how it is written, what it is sorted by, what hovering shows."""

    text: str
    value: float | None
    hover: str = ""


Cell = str | Figure


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page that answers a question; `answers` are markup for the page's summary."""

    anchor: str
    question: str
    answers: tuple[str, ...]
    body: str


def page(title: str, body: str, scripts: Sequence[str] = ()) -> str:
    """A whole page in ASCII, so that no server or viewer can read its letters wrongly."""
    codes = [_script(s) for s in scripts]
    allowed = " ".join(f"'sha256-{_hash(code)}'" for code in codes)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    parts = {
        "policy": f"{policy}; script-src {allowed}" if codes else policy,
        "title": _ascii(escape(title)),
        "style": (ASSETS / "page.css").read_text(encoding="ascii"),
        "body": _ascii(body),
        "scripts": "".join(f"<script>{code}</script>\n" for code in codes),
    }
    return PAGE.substitute(parts)


def behaviour() -> str:
    """The script that sorts and filters tables, copies commands and draws charts."""
    return (ASSETS / "page.js").read_text(encoding="ascii")


def _ascii(markup: str) -> str:
    return markup.encode("ascii", "xmlcharrefreplace").decode()


@functools.cache
def _script(code: str) -> str:
    """The same code without what would end it within a page, in ASCII."""
    closed = code.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], closed)


@functools.cache
def _hash(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


# Pieces -----------------------------------------------------------------------------------------


def chart(spec: Mapping[str, Any], caption: str, command: str, label: str) -> str:
    """A figure that the page's script draws, with how it is made again beneath it."""
    data = json.dumps(_drawable(spec), separators=(",", ":"), allow_nan=False)
    safe = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f"""<figure>
<div class="chart" role="group" aria-label="{escape(label)}"></div>
<script type="application/json">{safe}</script>
<figcaption>{escape(caption)}</figcaption>
{again(command)}
</figure>"""


def _drawable(value: Any) -> Any:
    """The same with None for what is infinite or no number (an interval from too few rounds), and
    spaces for what ends a line: the library writes names into expressions, where it may not stand.
    """
    if isinstance(value, Mapping):
        return {_drawable(k): _drawable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_drawable(v) for v in value]
    if isinstance(value, str):
        return LINE_ENDS.sub(" ", value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def navigation(links: Sequence[tuple[str, str]]) -> str:
    """Links to the sections of a page."""
    items = "".join(f'<li><a href="#{name}">{escape(text)}</a></li>' for name, text in links)
    return f'<nav aria-label="Sections"><ul>{items}</ul></nav>'


def again(command: str) -> str:
    """The command that makes a figure again, folded away, to be copied."""
    if not command:
        return ""
    return f"""<details class="command"><summary>The command that makes this again</summary>
<pre><code>{escape(command)}</code></pre><button type="button" hidden>Copy</button></details>"""


def data_table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell]], most: int = MOST_ROWS
) -> str:
    """A table that can be sorted and filtered; only its first `most` rows, which is said."""
    if not rows:
        return ""
    shown = rows[:most]
    numbers = [any(isinstance(r[i], Figure) for r in shown) for i in range(len(head))]
    top = "".join(
        f'<th scope="col" aria-sort="none"{flush(number)}><button type="button">{escape(h)}'
        "</button></th>"
        for h, number in zip(head, numbers, strict=True)
    )
    lines = "\n".join(f"<tr>{''.join(map(_data_cell, row))}</tr>" for row in shown)
    cut = len(rows) - len(shown)
    more = f"; the first {len(shown):,} of {len(rows):,} rows" if cut else ""
    return f"""<div class="data">
<div class="tools" hidden><label>Filter <input type="search" placeholder="words, -not these"
aria-label="Filter: {escape(caption)}"></label><output aria-live="polite"></output></div>
<div class="scroll" tabindex="0" role="region" aria-label="Table: {escape(caption)}">
<table><caption>{escape(caption + more)}</caption>
<thead><tr>{top}</tr></thead>
<tbody>
{lines}
</tbody></table>
</div>
</div>"""


def flush(number: bool) -> str:
    """The class of a cell that holds a number."""
    return ' class="n"' if number else ""


def _data_cell(cell: Cell) -> str:
    if isinstance(cell, str):
        wraps = ' class="long"' if len(cell) > LONG else ""
        return f"<td{wraps}>{escape(cell)}</td>"
    known = cell.value is not None and math.isfinite(cell.value)
    value = f"{cell.value:.10g}" if known else ""
    hover = f' title="{escape(cell.hover)}"' if cell.hover else ""
    return f'<td class="n" data-v="{value}"{hover}>{escape(cell.text)}</td>'


def grouped_table(
    markup_head: Row,
    groups: Iterable[tuple[Row, Iterable[Row]]],
    markup_note: str,
    foot: Iterable[Row] = (),
) -> str:
    """A table in a container of its own, which scrolls where it is too wide; cells are markup.

    Columns of numbers are those whose heading gives a unit in brackets, or is a count.
    """
    numbers = [h.endswith(")") or h == "Count" for h in markup_head]
    lines = ["<thead>", _row(markup_head, numbers, 'th scope="col"'), "</thead>"]
    for opening, rows in groups:
        first = [_row(opening, numbers, 'th scope="rowgroup"')] if opening else []
        body = [_row(r, numbers, 'th scope="row"') for r in rows]
        lines += ["<tbody>", *first, *body, "</tbody>"]
    closing = [_row(r, numbers, 'th scope="row"') for r in foot]
    lines += ["<tfoot>", *closing, "</tfoot>"] if closing else []
    text = "\n".join(lines)
    return f"""<p class="note">{markup_note}</p>
<div class="scroll" tabindex="0" role="region" aria-label="Table: {escape(markup_head[0])}">
<table>
{text}
</table>
</div>"""


def _row(cells: Row, numbers: Sequence[bool], first: str) -> str:
    kind = first if "col" in first else "td"
    tags = [first, *(kind for _ in cells[1:])]
    parts = [
        f"<{tag}{flush(number)}>{cell}</{tag[:2]}>"
        for tag, cell, number in zip(tags, cells, numbers, strict=True)
    ]
    return f"<tr>{''.join(parts)}</tr>"


def facts(found: Mapping[str, Any], caption: str = "") -> str:
    """Names and values, those without a value left out; both are escaped here."""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(k)}</th><td>{escape(str(v))}</td></tr>'
        for k, v in found.items()
        if v != ""
    )
    title = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    return f'<div class="scroll">\n<table class="facts">\n{title}{rows}\n</table>\n</div>'


def cards(figures: Iterable[tuple[str, str, str]]) -> str:
    """The few numbers that matter: what each is called, its value, what it means."""
    shown = "\n".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for label, value, note in figures
    )
    return f'<dl class="figures">\n{shown}\n</dl>'


def environment(described: Any) -> str:
    """Machine and versions, as `profiler.environment.describe` has them; nothing for nothing."""
    whole = mapping(described)
    hardware, packages = (mapping(whole.get(k)) for k in ("hardware", "packages"))
    shown = [
        facts(dict(_plain(k, v) for k, v in hardware.items()), "Hardware and system"),
        facts(packages, "Versions of packages"),
    ]
    return "\n".join(t for t, known in zip(shown, (hardware, packages), strict=True) if known)


def _plain(name: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, Mapping):
        value = ", ".join(f"{k} {v}" for k, v in value.items())
    if name == "memory_bytes" and isinstance(value, int):
        name, value = "memory", f"{value / 2**30:.1f} GiB"
    return name, "unknown" if value is None else value


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping as it is, and an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}

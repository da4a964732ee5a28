"""Page: the shell of every HTML page, and the cells, lists and tables that it is filled with.

A page loads nothing: style, script and pictures are inside, and its content security policy lets nothing else run.
Every text comes from outside and is escaped, once, where it enters the page.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b2129; --faint: #5b6673; --line: #dde2e8;
  --stripe: #f5f7f9; --warn: #8a4b00; --warn-paper: #fff4e0; --warn-line: #f0c478; --bad: #a3161d; }
@media (prefers-color-scheme: dark) { :root { --paper: #0e1116; --ink: #e8ecf1; --faint: #97a2ae;
  --line: #2a313b; --stripe: #151a21; --warn: #ffca7a; --warn-paper: #2a2011; --warn-line: #6a4a16;
  --bad: #ff8a8a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1320px; padding: 24px 20px 48px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 24px; } h2 { margin: 28px 0 8px; font-size: 17px; }
p { margin: 4px 0; } .faint { color: var(--faint); }
.box { margin: 16px 0; padding: 12px 16px; border: 1px solid var(--warn-line); border-radius: 8px;
  background: var(--warn-paper); color: var(--warn); }
.box h2 { margin: 0 0 4px; } .box ul { margin: 0; padding-left: 20px; }
.box.bad { border-color: var(--bad); color: var(--bad); }
img { display: block; width: 100%; height: auto; border-radius: 8px; background: #0e1116; }
.scroll { overflow-x: auto; } table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child, .text { text-align: left; }
tbody tr:nth-child(even) { background: var(--stripe); }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid currentColor; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.low { color: var(--bad); font-weight: 600; } .absent { color: var(--faint); }
i { display: inline-block; width: 12px; height: 12px; margin-right: 8px; border-radius: 3px; vertical-align: -1px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
@media print { .scroll { overflow: visible; } }
"""

_SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0], column = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  const key = row => row.cells[column].dataset.sort;
  const order = (a, b) => key(a) === "" || key(b) === "" ? (key(a) === "") - (key(b) === "") :
    (down ? -1 : 1) * (isNaN(key(a)) || isNaN(key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b));
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...[...body.rows].sort(order));
});
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
<script>{script}</script>
</body>
</html>
"""


def page(title: str, sections: Iterable[str]) -> str:
    """Return a whole page.

    Args:
        title: Plain text.
        sections: HTML of this module's functions; empty ones are left out.
    """
    body = "\n".join(filter(None, sections))
    return _PAGE.format(policy=_policy(), style=_STYLE, script=_SCRIPT, title=escape(title), body=body)


def heading(title: str, parts: Iterable[str] = ()) -> str:
    """Return the heading of a page with a line of facts under it; empty ones are left out."""
    line = " \N{MIDDLE DOT} ".join(escape(part) for part in parts if part)
    return f'<h1>{escape(title)}</h1>\n<p class="faint">{line}</p>'


def box(title: str, items: Iterable[object], *, text: str = "", is_bad: bool = False) -> str:
    """Return a framed list that is read first; nothing where there is neither item nor text."""
    rows = "".join(f"<li>{escape(str(item))}</li>" for item in items)
    if not rows and not text:
        return ""
    kind = "box bad" if is_bad else "box"
    words = f"<p>{escape(text)}</p>" if text else ""
    return f'<section class="{kind}"><h2>{escape(title)}</h2>{words}{f"<ul>{rows}</ul>" if rows else ""}</section>'


def image(png: bytes, description: str) -> str:
    """Return a picture; nothing where there is none."""
    if not png:
        return ""
    data = base64.b64encode(png).decode()
    return f'<p><img src="data:image/png;base64,{data}" alt="{escape(description)}"></p>'


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, note: str = "") -> str:
    """Return a table that sorts by the column whose head is clicked.

    Args:
        title: Its heading.
        columns: The heads.
        rows: Cells, made by ``cell``, ``number`` or ``name_cell``.
        note: A line under it.
    """
    head = "".join(f'<th scope="col"><button type="button">{escape(column)}</button></th>' for column in columns)
    body = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    under = f'\n<p class="faint">{escape(note)}</p>' if note else ""
    return (
        f'<h2>{escape(title)}</h2>\n<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n'
        f"</tbody></table></div>{under}"
    )


def name_cell(name: str, *, colour: tuple[int, int, int] | None = None, is_faint: bool = False) -> str:
    """Return the first cell of a row, with a swatch of a colour where one is given."""
    kind = "text absent" if is_faint else "text"
    red, green, blue = (int(part) for part in colour or (0, 0, 0))
    swatch = f'<i style="background:rgb({red},{green},{blue})"></i>' if colour else ""
    return f'<td class="{kind}" data-sort="{escape(name)}">{swatch}{escape(name)}</td>'


def number(value: float | int | None, form: str, *, low: float | None = None) -> str:
    """Return a cell with a number, marked where it lies below ``low``; an empty cell for None."""
    if value is None:
        return cell("", sort="")
    return cell(format(value, form), sort=value, is_low=low is not None and value < low)


def cell(text: str, *, sort: object, is_low: bool = False) -> str:
    """Return a cell, and what it is sorted by."""
    mark = ' class="low"' if is_low else ""
    return f'<td{mark} data-sort="{escape(str(sort))}">{escape(text)}</td>'


def facts(title: str, pairs: Iterable[tuple[str, object]]) -> str:
    """Return a list of names and values; those without a value are left out."""
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in pairs if value)
    return f"<h2>{escape(title)}</h2>\n<dl>{rows}</dl>" if rows else ""


def _policy() -> str:
    """Return a policy under which nothing is loaded and only the script above runs."""
    script = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'"

"""Report: one self-contained HTML page about one result: picture, table, warnings, and which model made it.

The page loads nothing: style, script and picture are inside, and its content security policy lets nothing else run.
Every text comes from outside and is escaped, once, where it enters the page.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from vesalius.labels.findings import Finding, Findings

LOW_DICE = 0.7
"""Below this a confidence, or a Dice the model was measured at, is marked."""

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

_COLUMNS = (
    "structure",
    "volume, ml",
    "mean",
    "confidence",
    "measured Dice",
    "pieces",
    "at the edge",
    "SNOMED CT",
)


def render_report(findings: Findings, preview_png: bytes, run: Mapping[str, Any]) -> str:
    """Write the page of one result.

    Args:
        findings: What was found.
        preview_png: The picture, as a PNG file's bytes; shown where there is one.
        run: What is known of the run, as ``run.json`` states it. These keys are read, each where it is there:
            ``input`` (name of the scan), ``created`` (when), ``command`` (text or list of words), ``version`` (of
            the program), ``duration_s``, ``unvalidated`` (true, a reason, or a list of reasons) and ``model``, a
            mapping with ``name``, ``version``, ``licence``, ``sha256``, ``provenance``, ``citation``, ``dice``
            (name -> Dice) and ``dice_source``.

    Returns:
        HTML; nothing in it is loaded from elsewhere.
    """
    model = run.get("model") or {}
    body = [
        _heading(findings, run, model),
        _unvalidated(run.get("unvalidated")),
        _warnings(findings.warnings),
        _image(preview_png),
        _table(findings, model.get("dice") or {}, str(model.get("dice_source") or "")),
        _facts("Model", _model_facts(model)),
        _facts("Run", _run_facts(run)),
        '<p class="faint">For research; not a medical device. A person must check every result before use.</p>',
    ]
    return _PAGE.format(
        policy=_policy(), style=_STYLE, script=_SCRIPT, title=_title(run), body="\n".join(filter(None, body))
    )


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


def _policy() -> str:
    """Return a policy under which nothing is loaded and only the script above runs."""
    script = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'"


def _title(run: Mapping[str, Any]) -> str:
    return escape(f"{run['input']}: what was found" if run.get("input") else "What was found")


def _heading(findings: Findings, run: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    looked, found = len(findings.classes), len(findings.found)
    name = " ".join(str(model[key]) for key in ("name", "version") if model.get(key))
    parts = [
        f"{found} of {looked} structures found",
        f"model {name}" if name else "",
        str(run.get("created") or ""),
    ]
    line = " \N{MIDDLE DOT} ".join(escape(part) for part in parts if part)
    return f'<h1>{_title(run)}</h1>\n<p class="faint">{line}</p>'


def _unvalidated(reasons: object) -> str:
    if not reasons:
        return ""
    listed = [reasons] if isinstance(reasons, str) else reasons if isinstance(reasons, Iterable) else []
    return (
        '<section class="box bad"><h2>Unvalidated</h2><p>The model was used outside what it was made for; '
        f"nothing is known about how good this result is.</p>{_list(listed)}</section>"
    )


def _warnings(warnings: Iterable[str]) -> str:
    items = _list(warnings)
    return f'<section class="box"><h2>Look at these</h2>{items}</section>' if items else ""


def _list(items: Iterable[object]) -> str:
    rows = "".join(f"<li>{escape(str(item))}</li>" for item in items)
    return f"<ul>{rows}</ul>" if rows else ""


def _image(preview_png: bytes) -> str:
    if not preview_png:
        return ""
    data = base64.b64encode(preview_png).decode()
    text = "Three planes through the found structures, and all of them from the front; patient's right on the left"
    return f'<p><img src="data:image/png;base64,{data}" alt="{escape(text)}"></p>'


def _table(findings: Findings, dice: Mapping[str, float], dice_source: str) -> str:
    head = "".join(f'<th scope="col"><button type="button">{column}</button></th>' for column in _COLUMNS)
    rows = "\n".join(_row(finding, dice.get(finding.name)) for finding in findings.classes)
    notes = ["Confidence: the Dice the model expects of this result."]
    if dice_source:
        notes.append(f"Measured Dice: {dice_source}.")
    return (
        f'<h2>Structures</h2>\n<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>'
        f'</table></div>\n<p class="faint">{escape(" ".join(notes))}</p>'
    )


def _row(finding: Finding, dice: float | int | None) -> str:
    facts = finding.as_dict()
    red, green, blue = finding.colour
    swatch = f'<i style="background:rgb({int(red)},{int(green)},{int(blue)})"></i>'
    kind = "text" if finding.voxels else "text absent"
    cells = [
        f'<td class="{kind}" data-sort="{escape(finding.name)}">{swatch}{escape(finding.name)}</td>',
        _number(facts["volume_ml"], ".1f") if finding.voxels else _cell("not found", sort=0),
        _number(facts["mean_hu"], ".0f"),
        _number(facts["confidence"], ".2f", low=LOW_DICE),
        _number(dice, ".2f", low=LOW_DICE),
        _number(finding.components, "d"),
        _cell("yes" if finding.touches_border else "", sort=int(finding.touches_border)),
        _cell(finding.snomed or "", sort=finding.snomed or ""),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _number(value: float | int | None, form: str, *, low: float | None = None) -> str:
    if value is None:
        return _cell("", sort="")
    return _cell(format(value, form), sort=value, is_low=low is not None and value < low)


def _cell(text: str, *, sort: object, is_low: bool = False) -> str:
    mark = ' class="low"' if is_low else ""
    return f'<td{mark} data-sort="{escape(str(sort))}">{escape(text)}</td>'


def _model_facts(model: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [(key, model.get(key)) for key in ("name", "version", "licence", "sha256", "provenance", "citation")]


def _run_facts(run: Mapping[str, Any]) -> list[tuple[str, object]]:
    command = run.get("command")
    words = " ".join(map(str, command)) if isinstance(command, list | tuple) else command
    seconds = run.get("duration_s")
    return [
        ("input", run.get("input")),
        ("created", run.get("created")),
        ("command", words),
        ("duration", f"{seconds:.1f} s" if isinstance(seconds, int | float) else None),
        ("vesalius", run.get("version")),
    ]


def _facts(title: str, facts: Iterable[tuple[str, object]]) -> str:
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in facts if value)
    return f"<h2>{title}</h2>\n<dl>{rows}</dl>" if rows else ""

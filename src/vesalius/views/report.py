"""Report: one self-contained HTML page about one result: picture, table, warnings, and which model made it.

The page loads nothing and runs nothing it was given (``page.py``).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vesalius.labels.findings import Finding, Findings
from vesalius.views.page import box, cell, facts, heading, image, name_cell, number, page, table

LOW_DICE = 0.7
"""Below this a confidence, or a Dice the model was measured at, is marked."""

_PICTURE = "Three planes through the found structures, and all of them from the front; patient's right on the left"

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
            the program), ``duration_s``, ``unvalidated`` (true, a reason, or a list of reasons), ``clicks`` (what
            was clicked on -> how many are ``positive`` and ``negative``) and ``model``, a mapping with ``name``,
            ``version``, ``licence``, ``sha256``, ``provenance``, ``citation``, ``dice`` (name -> Dice) and
            ``dice_source``.

    Returns:
        HTML; nothing in it is loaded from elsewhere.
    """
    model = run.get("model") or {}
    title = f"{run['input']}: what was found" if run.get("input") else "What was found"
    return page(
        title,
        [
            heading(title, _line(findings, run, model)),
            _unvalidated(run.get("unvalidated")),
            box("Look at these", findings.warnings),
            image(preview_png, _PICTURE),
            _structures(findings, model.get("dice") or {}, str(model.get("dice_source") or "")),
            facts("Model", _model_facts(model)),
            facts("Run", _run_facts(run)),
            '<p class="faint">For research; not a medical device. A person must check every result before use.</p>',
        ],
    )


def _line(findings: Findings, run: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    name = " ".join(str(model[key]) for key in ("name", "version") if model.get(key))
    return [
        f"{len(findings.found)} of {len(findings.classes)} structures found",
        f"model {name}" if name else "",
        str(run.get("created") or ""),
    ]


def _unvalidated(reasons: object) -> str:
    if not reasons:
        return ""
    listed = [reasons] if isinstance(reasons, str) else reasons if isinstance(reasons, Iterable) else []
    text = "The model was used outside what it was made for; nothing is known about how good this result is."
    return box("Unvalidated", listed, text=text, is_bad=True)


def _structures(findings: Findings, dice: Mapping[str, float], dice_source: str) -> str:
    notes = ["Confidence: the Dice the model expects of this result; empty where too few cases were measured."]
    if dice_source:
        notes.append(f"Measured Dice: {dice_source}.")
    rows = [_row(finding, dice.get(finding.name)) for finding in findings.classes]
    return table("Structures", _COLUMNS, rows, note=" ".join(notes))


def _row(finding: Finding, dice: float | int | None) -> list[str]:
    known = finding.as_dict()
    return [
        name_cell(finding.name, colour=finding.colour, is_faint=not finding.voxels),
        number(known["volume_ml"], ".1f") if finding.voxels else cell("not found", sort=0),
        number(known["mean_hu"], ".0f"),
        number(known["confidence"], ".2f", low=LOW_DICE),
        number(dice, ".2f", low=LOW_DICE),
        number(finding.components, "d"),
        cell("yes" if finding.touches_border else "", sort=int(finding.touches_border)),
        cell(finding.snomed or "", sort=finding.snomed or ""),
    ]


def _model_facts(model: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [(key, model.get(key)) for key in ("name", "version", "licence", "sha256", "provenance", "citation")]


def _run_facts(run: Mapping[str, Any]) -> list[tuple[str, object]]:
    command = run.get("command")
    words = " ".join(map(str, command)) if isinstance(command, list | tuple) else command
    seconds = run.get("duration_s")
    return [
        ("input", run.get("input")),
        ("corrected by clicks", _click_words(run.get("clicks"))),
        ("created", run.get("created")),
        ("command", words),
        ("duration", f"{seconds:.1f} s" if isinstance(seconds, int | float) else None),
        ("vesalius", run.get("version")),
    ]


def _click_words(clicks: object) -> str | None:
    """Return what was clicked on, and how often inside and outside of it."""
    if not isinstance(clicks, Mapping) or not clicks:
        return None
    signs = ((name, count.get("positive", 0), count.get("negative", 0)) for name, count in clicks.items())
    return ", ".join(f"{name} ({inside} inside, {outside} outside)" for name, inside, outside in signs)

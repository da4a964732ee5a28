"""The page of a result says what was found, loads nothing, and runs nothing it was given."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.labels.findings import Finding, Findings
from vesalius.views.report import render_report
from views.page_parser import Page

PNG = b"\x89PNG\r\n\x1a\nnot really"
RUN = {
    "input": "chest.nii.gz",
    "created": "2026-01-02 03:04",
    "command": ["vesalius", "segment", "chest.nii.gz", "-o", "out"],
    "version": "0.1.0",
    "duration_s": 12.34,
    "model": {
        "name": "vesalius-small",
        "version": "1",
        "licence": "Apache-2.0",
        "sha256": "ab" * 32,
        "dice": {"liver": 0.93, "spleen": 0.6},
        "dice_source": "16 scans, human labels",
    },
}
HOSTILE = "<script>alert(1)</script>"


def finding(name: str = "liver", **changes: Any) -> Finding:
    fields: dict[str, Any] = {
        "class_id": 1,
        "name": name,
        "colour": (205, 112, 72),
        "snomed": "10200004",
        "volume_ml": 1500.16,
        "voxels": 42,
        "mean_hu": 61.3,
        "confidence": 0.91,
        "touches_border": False,
        "components": 1,
    }
    return Finding(**(fields | changes))


def page(*classes: Finding, warnings: tuple[str, ...] = (), png: bytes = PNG, **run: Any) -> Page:
    return Page(render_report(Findings(classes, warnings), png, RUN | run))


def test_a_row_states_every_number_of_a_finding():
    cells = page(finding(touches_border=True, components=3)).cells("liver")
    assert cells == {
        "structure": "liver",
        "volume, ml": "1500.2",
        "mean": "61",
        "confidence": "0.91",
        "measured Dice": "0.93",
        "pieces": "3",
        "at the edge": "yes",
        "SNOMED CT": "10200004",
    }


def test_what_is_not_known_is_left_empty():
    cells = page(finding("widget", mean_hu=None, confidence=None, snomed=None)).cells("widget")
    assert [cells[key] for key in ("mean", "confidence", "measured Dice", "SNOMED CT")] == ["", "", "", ""]


def test_what_was_not_found_is_said():
    shown = page(finding(), finding("spleen", voxels=0, mean_hu=None, components=0))
    assert shown.cells("spleen")["volume, ml"] == "not found"
    assert "1 of 2 structures found" in shown.text


def test_low_dice_is_marked_and_high_is_not():
    html = render_report(Findings((finding(confidence=0.69), finding("spleen", confidence=0.7))), PNG, RUN)
    assert re.findall(r'class="low"[^>]*>([\d.]+)<', html) == ["0.69", "0.60"]


def test_columns_sort_by_numbers_not_by_their_text():
    shown = page(finding(volume_ml=1500.16), finding("spleen", volume_ml=9.99), finding("colon", voxels=0))
    assert [row[1] for row in shown.sort[1:]] == ["1500.16", "9.99", "0"]
    assert len([tag for tag, _ in shown.tags if tag == "button"]) == len(shown.rows[0])


def test_model_and_run_are_stated():
    text = page(finding()).text
    for fact in ("vesalius-small", "Apache-2.0", "ab" * 32, "16 scans, human labels", "12.3 s", "chest.nii.gz"):
        assert fact in text
    assert "vesalius segment chest.nii.gz -o out" in text
    assert "not a medical device" in text


def test_clicks_that_corrected_a_result_are_stated():
    clicks = {"liver": {"positive": 2, "negative": 1}, "new:cyst": {"positive": 1, "negative": 0}}
    text = Page(render_report(Findings(()), b"", {"clicks": clicks})).text
    assert "liver (2 inside, 1 outside), new:cyst (1 inside, 0 outside)" in text
    assert "corrected by clicks" not in Page(render_report(Findings(()), b"", {})).text


def test_a_page_can_be_made_of_next_to_nothing():
    shown = Page(render_report(Findings(()), b"", {}))
    assert "0 of 0 structures found" in shown.text
    assert "img" not in [tag for tag, _ in shown.tags]
    assert "Look at these" not in shown.text


def test_warnings_stand_in_a_box_before_the_table():
    text = page(finding(), warnings=("liver: in 9 pieces", "spleen: low confidence")).text
    assert text.index("Look at these") < text.index("liver: in 9 pieces") < text.index("SNOMED")
    assert "Look at these" not in page(finding()).text


@pytest.mark.parametrize("reasons", [True, "spacing 9 mm", ["spacing 9 mm", "an MR image"]])
def test_an_unvalidated_result_is_marked(reasons: object):
    text = page(finding(), unvalidated=reasons).text
    assert "Unvalidated" in text
    for reason in [reasons] if isinstance(reasons, str) else reasons if isinstance(reasons, list) else []:
        assert reason in text


@pytest.mark.parametrize("reasons", [False, None, "", []])
def test_a_validated_result_is_not(reasons: object):
    assert "Unvalidated" not in page(finding(), unvalidated=reasons).text


def test_the_picture_is_inside():
    sources = [attrs["src"] for tag, attrs in page(finding()).tags if tag == "img"]
    assert [base64.b64decode(s.removeprefix("data:image/png;base64,")) for s in sources] == [PNG]


def test_nothing_is_loaded_from_elsewhere():
    shown = page(finding())
    assert not {tag for tag, _ in shown.tags} & {"link", "iframe", "object", "embed", "base", "form", "a"}
    for _, attrs in shown.tags:
        assert not {key for key in attrs if key in ("href", "srcset", "action") or key.startswith("on")}
        assert (attrs.get("src") or "data:").startswith("data:")
    html = render_report(Findings((finding(),)), PNG, RUN)
    assert not re.search(r"https?:|url\(|@import", html)


def test_the_policy_allows_this_script_and_no_other():
    shown = page(finding(HOSTILE), warnings=(HOSTILE,))
    policy = next(a["content"] for t, a in shown.tags if a.get("http-equiv") == "Content-Security-Policy")
    (script,) = shown.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy.split("script-src")[1]


def hostile_everywhere(text: str) -> Page:
    run = {
        "input": text,
        "created": text,
        "command": [text, text],
        "version": text,
        "unvalidated": [text],
        "model": dict.fromkeys(("name", "version", "licence", "sha256", "provenance", "citation"), text)
        | {"dice_source": text, "dice": {text: 0.5}},
    }
    return Page(render_report(Findings((finding(text, snomed=text),), (text,)), PNG, run))


@pytest.mark.parametrize(
    "text", [HOSTILE, '"><img src=x onerror=alert(1)>', "</style><script>", "{body}{0}%s", "'-->]]>", "&lt;b&gt;"]
)
def test_hostile_text_is_shown_and_not_obeyed(text: str):
    shown = hostile_everywhere(text)
    harmless = hostile_everywhere("liver")
    assert [tag for tag, _ in shown.tags] == [tag for tag, _ in harmless.tags]
    assert shown.text.count(text) == harmless.text.count("liver")
    assert shown.scripts == harmless.scripts


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_no_text_changes_the_structure_of_the_page(text: str):
    shown = hostile_everywhere(text)
    assert [tag for tag, _ in shown.tags] == [tag for tag, _ in hostile_everywhere("liver").tags]
    assert text in shown.text

"""What a page is made of escapes whatever it is given, and leaves out what is empty."""

from __future__ import annotations

from vesalius.views.page import box, cell, facts, heading, image, name_cell, number, page, table
from views.page_parser import Page

HOSTILE = "<script>alert(1)</script>\" onload='x'&"


def test_every_part_escapes_its_text() -> None:
    parts = [
        heading(HOSTILE, [HOSTILE]),
        box(HOSTILE, [HOSTILE], text=HOSTILE),
        image(b"png", HOSTILE),
        table(HOSTILE, [HOSTILE], [[name_cell(HOSTILE)], [cell(HOSTILE, sort=HOSTILE)]], note=HOSTILE),
        facts(HOSTILE, [(HOSTILE, HOSTILE)]),
    ]
    for part in parts:
        assert HOSTILE not in part
    seen = Page(page(HOSTILE, parts))
    assert len(seen.scripts) == 1
    assert "alert" not in seen.scripts[0]
    assert seen.text.count(HOSTILE) >= 11
    assert all("onload" not in attributes for _, attributes in seen.tags)


def test_what_is_empty_is_left_out() -> None:
    assert box("Look", []) == ""
    assert "<ul>" not in box("Look", [], text="here")
    assert image(b"", "nothing") == ""
    assert facts("Run", [("input", None), ("created", "")]) == ""
    assert Page(page("T", ["", "<p>one</p>", ""])).text.count("one") == 1


def test_numbers_sort_by_value_and_low_ones_are_marked() -> None:
    assert number(0.123, ".1f", low=0.7) == '<td class="low" data-sort="0.123">0.1</td>'
    assert number(0.9, ".1f", low=0.7) == '<td data-sort="0.9">0.9</td>'
    assert number(None, ".1f") == '<td data-sort=""></td>'


def test_a_swatch_is_shown_where_there_is_a_colour() -> None:
    assert "rgb(1,2,3)" in name_cell("liver", colour=(1, 2, 3))
    assert "<i" not in name_cell("liver")
    assert 'class="text absent"' in name_cell("liver", is_faint=True)

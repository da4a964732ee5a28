"""Hounsfield units: what counts as air is stated in one place."""

from __future__ import annotations

import ast
from pathlib import Path

from vesalius.hounsfield import AIR_HU, BODY_HU, HIGHEST_HU, LOWEST_HU, NEARLY_AIR_HU, OPEN_AIR_HU

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "vesalius"
ELSEWHERE = {
    "checkpoints/catalog.py": "a published window",
    "data/likeness.py": "windows that pictures are published in",
    "data/synthesis.py": "a range that contrasts are drawn from",
    "io/dicom_writer.py": "an intercept, which makes stored values positive",
}
AIRY = {-number for number in (AIR_HU, LOWEST_HU, BODY_HU, OPEN_AIR_HU, NEARLY_AIR_HU)}


def numbers_of_air(file: Path) -> list[int]:
    """Return the lines of a file that write one of the constants as a number."""
    negative = (
        node
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
    )
    return [node.lineno for node in negative if node.operand.value in AIRY]


def test_no_other_file_says_what_air_is() -> None:
    found = {file.relative_to(PACKAGE).as_posix(): numbers_of_air(file) for file in PACKAGE.rglob("*.py")}
    assert len(found.pop("hounsfield.py")) == len(AIRY), "numbers are found where they are"
    assert {name: lines for name, lines in found.items() if lines and name not in ELSEWHERE} == {}
    assert all(found[name] for name in ELSEWHERE), "an exception that is none"


def test_what_is_air_lies_in_order() -> None:
    assert LOWEST_HU < AIR_HU < NEARLY_AIR_HU < OPEN_AIR_HU < BODY_HU < 0 < HIGHEST_HU

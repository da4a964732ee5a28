"""A record of findings becomes JSON as labels.json states it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from typing import Any

from vesalius.labels.findings import Finding, Findings


def finding(**changes: Any) -> Finding:
    fields: dict[str, Any] = {
        "class_id": 1,
        "name": "liver",
        "colour": (205, 112, 72),
        "snomed": "10200004",
        "volume_ml": 1500.12345,
        "voxels": 42,
        "mean_hu": 61.26,
        "confidence": 0.91234,
        "touches_border": False,
        "components": 1,
        "pieces_removed": 2,
        "removed_ml": 3.00049,
    }
    return Finding(**(fields | changes))


def test_keys_are_those_of_labels_json():
    record = json.loads(json.dumps(Findings((finding(),), ("look",)).as_dict(), allow_nan=False))
    assert record == {
        "classes": [
            {
                "id": 1,
                "name": "liver",
                "colour": [205, 112, 72],
                "snomed": "10200004",
                "volume_ml": 1500.123,
                "voxels": 42,
                "mean_hu": 61.3,
                "confidence": 0.912,
                "touches_border": False,
                "components": 1,
                "pieces_removed": 2,
                "removed_ml": 3.0,
            }
        ],
        "warnings": ["look"],
    }


def test_numbers_that_are_not_finite_become_null():
    record = finding(mean_hu=float("nan"), confidence=float("inf")).as_dict()
    assert record["mean_hu"] is None
    assert record["confidence"] is None


def test_a_finding_is_read_as_it_was_written():
    first = finding(mean_hu=None, snomed=None).as_dict()
    assert Finding.of_dict(json.loads(json.dumps(first))).as_dict() == first


def test_found_are_those_with_voxels():
    absent = finding(class_id=2, name="spleen", voxels=0, mean_hu=None, confidence=None)
    assert [f.name for f in Findings((finding(), absent)).found] == ["liver"]

"""A spec reads back as it was written, and what is no spec is refused with an error of ours, whatever it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vesalius.errors import CheckpointError
from vesalius.spec import ModelSpec, VistaArchitecture

SPEC = ModelSpec(name="tiny", architecture=VistaArchitecture(), vocabulary=((1, "liver"),), dice={"liver": 0.9})


def test_a_spec_reads_back_equal() -> None:
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window_hu", [1]),
        ("window_hu", ["a", 2]),
        ("vocabulary", [[1]]),
        ("vocabulary", 5),
        ("dice", "abc"),
        ("spacing_mm", []),
        ("window_size", [100, 128, 128]),
        ("everything", [7]),
        ("architecture", {"kind": "vista3d", "blocks_down": ["a", 1]}),
        ("architecture", {"kind": "something"}),
        ("colour", "red"),
    ],
)
def test_a_wrong_field_is_refused(name: str, value: Any) -> None:
    with pytest.raises(CheckpointError):
        ModelSpec.from_json(json.dumps({**json.loads(SPEC.to_json()), name: value}))


@pytest.mark.parametrize(
    "text", ["", "5", "{", "[" * 100_000, '{"name": "a"}'], ids=["empty", "5", "{", "deep", "bare"]
)
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        ModelSpec.from_json(text)

"""A spec reads back as it was written, and what is no spec is refused with an error of ours, whatever it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vesalius.errors import CheckpointError, NoHeadError
from vesalius.spec import VIT_TOY, ModelSpec, VistaArchitecture, VitArchitecture

SPEC = ModelSpec(name="tiny", architecture=VistaArchitecture(), vocabulary=((1, "liver"),), dice={"liver": 0.9})


BACKBONE = ModelSpec(name="backbone", architecture=VIT_TOY, window_size=(256, 320, 1), normalisation="fixed")


@pytest.mark.parametrize("spec", [SPEC, BACKBONE], ids=["vista3d", "vit"])
def test_a_spec_reads_back_equal(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_a_backbone_is_refused_where_a_head_is_needed_with_the_line_to_type() -> None:
    assert SPEC.vista is SPEC.architecture
    with pytest.raises(NoHeadError, match="vesalius finetune --model backbone"):
        _ = BACKBONE.vista


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window_size", [256, 320, 8]),
        ("window_size", [250, 320, 1]),
        ("mean_std_hu", [1]),
        ("mean_std_hu", [0, 0]),
        ("normalisation", "percentiles"),
        ("mirror_axes", [0]),
        ("architecture", {"kind": "vit", "width": 90}),
        ("architecture", {"kind": "vit", "heads": "many"}),
        ("architecture", {"kind": "vit", "blocks_down": [1, 1]}),
        ("architecture", {"kind": ["vit"]}),
    ],
)
def test_a_wrong_field_of_a_backbone_is_refused(name: str, value: Any) -> None:
    with pytest.raises(CheckpointError):
        ModelSpec.from_json(json.dumps({**json.loads(BACKBONE.to_json()), name: value}))


def test_heads_divide_the_width_and_each_turns_both_axes() -> None:
    with pytest.raises(CheckpointError, match="multiple of four times the heads"):
        VitArchitecture(width=100, heads=10)


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
        ("normalisation", "by eye"),
        ("window_percentiles", [99.5, 0.5]),
        ("window_percentiles", [0.5, 101]),
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

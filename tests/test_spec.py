"""A spec reads back as it was written, and what is no spec is refused with an error of ours, whatever it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vesalius.errors import CheckpointError, NoHeadError
from vesalius.spec import (
    VIT_TOY,
    Depth,
    Fact,
    Lora,
    MedDinoArchitecture,
    ModelSpec,
    PromptedVitArchitecture,
    VistaArchitecture,
    VitArchitecture,
)

SPEC = ModelSpec(name="tiny", architecture=VistaArchitecture(), vocabulary=((1, "liver"),), dice={"liver": 0.9})


BACKBONE = ModelSpec(name="backbone", architecture=VIT_TOY, window_size=(256, 320, 1), normalisation="fixed")

SLICES = {"kind": "meddinov3", "encoder": {"kind": "vit", "patch_size": 8}}
PLANS = (Lora(maps=("out",)), Fact(rank=2), Depth(site="after_mlp"))
SEGMENTER = ModelSpec(
    name="slices",
    architecture=MedDinoArchitecture(encoder=VIT_TOY, taps=(1, 3), adapters=PLANS),
    mirror_axes=(0,),
    click_reach_mm=8.0,
)
PROMPTED = ModelSpec(
    name="prompted", architecture=PromptedVitArchitecture(encoder=VIT_TOY, taps=(3,), adapters=PLANS)
)


@pytest.mark.parametrize("spec", [SPEC, BACKBONE, SEGMENTER, PROMPTED], ids=lambda spec: spec.name)
def test_a_spec_reads_back_equal(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_a_backbone_is_refused_where_a_head_is_needed_with_the_line_to_type() -> None:
    assert SPEC.vista is SPEC.architecture
    SPEC.require_head("spec")
    with pytest.raises(NoHeadError, match="vesalius finetune --model BACKBONE"):
        _ = BACKBONE.vista
    with pytest.raises(NoHeadError, match="vesalius finetune --model '/run one' --data"):
        BACKBONE.require_head(Path("/run one"))


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
        ("architecture", {"kind": "vit", "width": 96.0}),
        ("architecture", {"kind": "vit", "depth": 1500}),
        ("architecture", {"kind": "vit", "width": 2**40}),
        ("architecture", {"kind": "vit", "rope_base": 0}),
        ("architecture", {**SLICES, "decoder": "foo"}),
        ("architecture", {**SLICES, "adapters": [{"kind": "lora", "maps": ["foo"]}]}),
        ("architecture", {**SLICES, "adapters": [{"kind": "depth", "site": "foo"}]}),
        ("architecture", {**SLICES, "adapters": [{"kind": "foo"}]}),
        ("architecture", {**SLICES, "adapters": {"kind": "lora"}}),
        ("architecture", {**SLICES, "encoder": 5}),
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
        ("architecture", {"kind": "vista3d", "blocks_down": [10**9, 1]}),
        ("architecture", {"kind": "vista3d", "blocks_down": [1] * 60}),
        ("architecture", {"kind": "vista3d", "width": True}),
        ("architecture", {"kind": "vista3d", "num_embeddings": -4}),
        ("window_size", [0, 128, 128]),
        ("window_size", [-64, 128, 128]),
        ("orientation", "banana"),
        ("orientation", "RRA"),
        ("modality", "PET"),
        ("name", 5),
        ("regions", "chest"),
        ("mirror_swaps_sides", "no"),
        ("vocabulary", [[-3, "liver"]]),
        ("vocabulary", [[999, "liver"]]),
        ("confidence", {"liver": [1, 2, 3]}),
    ],
)
def test_a_wrong_field_is_refused(name: str, value: Any) -> None:
    with pytest.raises(CheckpointError):
        ModelSpec.from_json(json.dumps({**json.loads(SPEC.to_json()), name: value}))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("modality", "PET", "`modality` as one of CT, MR"),
        ("spacing_mm", [1, 2], "`spacing_mm` as a list of 3 numbers"),
        ("window_size", "large", "`window_size` as a list of 3 whole numbers"),
        ("vocabulary", [[1]], "`vocabulary` as a list of 2 values"),
        ("vocabulary", 5, "`vocabulary` as a list"),
        ("regions", "chest", "`regions` as a list of texts"),
        ("dice", "abc", "`dice` as an object"),
        ("overlap", "half", "`overlap` as a finite number"),
        ("mirror_swaps_sides", "no", "`mirror_swaps_sides` as true or false"),
        ("name", 5, "`name` as a text"),
    ],
)
def test_what_was_expected_is_said_without_names_of_python(name: str, value: Any, said: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        ModelSpec.from_json(json.dumps({**json.loads(SPEC.to_json()), name: value}))
    assert refused.value.expected == f"a model spec with {said}"


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400", "1" + 400 * "0"])
@pytest.mark.parametrize("field", ["mean_std_hu", "spacing_range_mm"])
def test_what_is_no_finite_number_is_refused(field: str, number: str) -> None:
    text = json.dumps({**json.loads(SPEC.to_json()), field: ["the number", 1.0]})
    with pytest.raises(CheckpointError):
        ModelSpec.from_json(text.replace('"the number"', number))


@pytest.mark.parametrize(
    "text", ["", "5", "{", "[" * 100_000, '{"name": "a"}'], ids=["empty", "5", "{", "deep", "bare"]
)
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        ModelSpec.from_json(text)

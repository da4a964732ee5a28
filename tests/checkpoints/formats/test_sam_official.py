"""Segment Anything's files: the official names, every tensor accounted for, and what they are refused for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from parity.seeded_sam import VIT_B, encoder_shapes, prompt_shapes, seeded_sam, toy_shapes, vit_b_shapes
from vesalius.checkpoints.convert import convert_model
from vesalius.checkpoints.formats.sam_official import recognises, spec_of, translate
from vesalius.checkpoints.header import Shape
from vesalius.checkpoints.load import load_any, load_encoder, load_model, load_segmentation_model
from vesalius.checkpoints.probe import GOLDEN_FILE
from vesalius.checkpoints.verify import verify
from vesalius.errors import CheckpointError, NoHeadError, UsageError
from vesalius.evaluation.frozen_features import read_encoder
from vesalius.models.build import build
from vesalius.models.sam import Sam
from vesalius.spec import SAM_BASE, SAM_HUGE, SAM_LARGE, ModelSpec, SamArchitecture


def published(sizes: SamArchitecture) -> dict[str, Shape]:
    """Return name -> shape of a published file, but for the numbers that all three share."""
    several = {"width": sizes.width, "depth": sizes.depth, "heads": sizes.heads}
    return encoder_shapes(**{**VIT_B, **several}, global_blocks=sizes.global_blocks) | prompt_shapes()


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    torch.save(seeded_sam(toy_shapes(10)), tmp_path / "model.pth")
    return tmp_path / "model.pth"


def test_vit_bs_file_has_314_tensors_of_which_183_are_used() -> None:
    shapes = vit_b_shapes()
    assert recognises(shapes)
    translation = translate(shapes)
    assert (len(shapes), len(translation.names), len(translation.dropped)) == (314, 183, 131)
    assert {name.split(".")[0] for name in translation.dropped} == {"prompt_encoder", "mask_decoder"}
    assert not [name for name in translation.dropped if "output_upscaling" in name]
    assert shapes["image_encoder.blocks.0.attn.rel_pos_h"] == (27, 64)
    assert shapes["image_encoder.blocks.11.attn.rel_pos_w"] == (127, 64)


@pytest.mark.parametrize(
    ("number", "sizes", "tensors", "parameters"),
    [
        (0, SAM_BASE, 314, 89_670_912),
        (1, SAM_LARGE, 482, 308_278_272),
        (2, SAM_HUGE, 594, 637_026_048),
    ],
    ids=["b", "l", "h"],
)
def test_the_published_sizes_have_names_and_whoever_made_the_file_is_unknown(
    number: int, sizes: SamArchitecture, tensors: int, parameters: int
) -> None:
    shapes = published(sizes)
    assert len(shapes) == tensors
    translation = translate(shapes)
    spec = spec_of(translation)
    assert spec.name == f"sam-{'blh'[number]}"
    assert (spec.version, spec.licence) == ("unknown", "unknown")
    assert spec.citation.startswith("Network: ")
    assert spec.window_hu == (-1000.0, 1000.0)
    assert spec.window_size == (1024, 1024, 1)
    with torch.device("meta"):
        network = build(translation.architecture)
    assert sum(parameter.numel() for parameter in network.encoder.parameters()) == parameters


def test_a_file_is_loaded_and_what_was_left_out_is_named(toy: Path) -> None:
    loaded = load_any(toy)
    assert isinstance(loaded.network, Sam)
    assert loaded.spec.name == "sam-unnamed"
    assert loaded.report.format == "sam"
    assert (loaded.report.loaded, len(loaded.report.dropped)) == (71, 131)
    assert "131 unused tensors dropped" in loaded.report.summary()
    expected = seeded_sam(toy_shapes(10))["image_encoder.blocks.1.attn.rel_pos_w"]
    assert torch.equal(loaded.network.get_parameter("encoder.blocks.1.attention.column_distances"), expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mask_decoder.output_upscaling.1.bias": None}, "1 missing .mask_decoder.output_upscaling.1.bias"),
        ({"mask_decoder.hf_token.weight": (1, 32)}, "1 unknown .mask_decoder.hf_token.weight"),
        ({"image_encoder.neck.2.weight": (32, 32, 1, 1)}, "1 of a wrong shape .image_encoder.neck.2.weight"),
        ({"image_encoder.blocks.3.attn.rel_pos_h": None}, "unknown .image_encoder.blocks.3"),
        ({"image_encoder.blocks.0.attn.rel_pos_h": (9, 24)}, "distances of shapes"),
        ({"image_encoder.blocks.0.attn.rel_pos_h": (7,)}, "distances of shapes"),
        ({"image_encoder.pos_embed": (10, 48)}, r"positions of shape \[10, 48\]"),
        ({"image_encoder.pos_embed": (1, 10, 10, 9000)}, "positions of shape"),
        ({"image_encoder.patch_embed.proj.weight": ()}, r"a stem of shape \[\]"),
        ({"image_encoder.neck.0.weight": None}, "positions of shape"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Shape | None], said: str) -> None:
    shapes = toy_shapes(10)
    for name, shape in change.items():
        shapes.pop(name, None)
        if shape is not None:
            shapes[name] = shape
    with pytest.raises(CheckpointError, match=said):
        translate(shapes)


def test_it_is_refused_where_something_else_is_asked_for(toy: Path) -> None:
    for load in (load_model, load_segmentation_model):
        with pytest.raises(NoHeadError, match="vesalius curate supervoxels --model"):
            load(toy)
    with pytest.raises(CheckpointError, match="a sam network"):
        load_encoder(toy)
    with pytest.raises(UsageError, match="supervoxels"):
        read_encoder(toy)


def test_a_spec_beside_it_may_ask_for_smaller_images(toy: Path) -> None:
    spec = replace(load_any(toy).spec, name="smaller", window_size=(40, 40, 1))
    toy.with_name("spec.json").write_text(spec.to_json())
    assert load_any(toy).spec == spec == ModelSpec.from_json(spec.to_json())


def test_a_converted_sam_keeps_its_answers_and_is_held_to_them(toy: Path, tmp_path: Path) -> None:
    convert_model(toy, tmp_path / "ours")
    assert (tmp_path / "ours" / GOLDEN_FILE).is_file()
    image = torch.rand(1, 1, 40, 24, generator=torch.Generator().manual_seed(0))
    before, after = load_any(toy), load_any(tmp_path / "ours")
    assert isinstance(before.network, Sam)
    assert isinstance(after.network, Sam)
    assert torch.equal(before.network(image), after.network(image))
    found = verify(tmp_path / "ours")
    assert found.verdict == "incomplete"
    assert "0.0e+00 from the answers kept beside it" in found.checks[-1].detail


@pytest.mark.parametrize(
    "wrong",
    [
        {"heads": 5},
        {"patch_size": 6},
        {"side": 1000},
        {"global_blocks": (2, 12)},
        {"global_blocks": (2, 2)},
        {"neck_width": 12},
        {"pixel_std": (1.0, 0.0, 1.0)},
    ],
)
def test_sizes_that_make_no_network_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="a model spec with"):
        SamArchitecture(**wrong)  # type: ignore[arg-type]

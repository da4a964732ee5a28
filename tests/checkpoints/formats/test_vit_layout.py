"""Foreign layouts of vision transformers: names of the official code, every tensor accounted for, and files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from parity.seeded_vit import meta_shapes, seeded_vit
from vesalius.checkpoints import probe
from vesalius.checkpoints.catalog import DINOV3_SPECS, FLEXICT_SPEC, MEDDINOV3_SPEC
from vesalius.checkpoints.convert import convert_model
from vesalius.checkpoints.formats import dinov3_official, meddinov3_official, timm_vit, transformers_vit
from vesalius.checkpoints.formats.vit_layout import VitLayout, spec_of, translate_encoder
from vesalius.checkpoints.header import Shape, read_header
from vesalius.checkpoints.load import load_encoder, load_model
from vesalius.checkpoints.probe import GOLDEN_FILE
from vesalius.checkpoints.safetensors import read_tensors, write_model, write_tensors
from vesalius.checkpoints.slice_probe import slice_answers, to_transformers
from vesalius.checkpoints.verify import verify
from vesalius.checkpoints.weights import VIT_LAYOUTS, open_weights
from vesalius.errors import CheckpointError, NoHeadError, UsageError
from vesalius.models.build import build
from vesalius.models.vit import Vit
from vesalius.spec import ModelSpec, VitArchitecture

SMALL = {"width": 128, "depth": 2, "heads": 2, "patch": 8}
NAMES = json.loads((Path(__file__).parents[2] / "parity" / "golden" / "vit_names.json").read_text())
PUBLISHED_B = {"width": 768, "depth": 12, "heads": 12, "patch": 16}


def meddinov3_shapes(**sizes: int) -> dict[str, Shape]:
    backbone = {f"backbone.{name}": shape for name, shape in meta_shapes(**sizes, qkv_bias=False).items()}
    heads = {"dino_head.mlp.0.weight": (8, 4), "ibot_head.last_layer.weight": (3, 4)}
    return {**backbone, **heads}


def flexict_shapes(*, width: int = 144, depth: int = 2, heads: int = 2) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for name, shape in meta_shapes(
        width=width, depth=depth, heads=heads, patch=8, channels=1, qkv_bias=False
    ).items():
        renamed = name.replace("patch_embed.", "patch_embed_2D.").replace("rope_embed.", "rope_embed_2D.")
        shapes["backbone." + renamed] = shape
    volumes = {"patch_embed_3D.proj.weight": (width, 1, 8, 8, 8), "patch_embed_3D.proj.bias": (width,)}
    shapes |= {f"backbone.{name}": shape for name, shape in volumes.items()}
    return shapes | {"backbone.rope_embed_3D.periods": (width // heads // 6,), "ibot_head.mlp.0.bias": (2,)}


def recognised(shapes: dict[str, Shape]) -> list[str]:
    return [layout.name for layout in VIT_LAYOUTS if layout.recognises(shapes)]


def test_metas_file_has_188_tensors_of_which_175_are_used() -> None:
    shapes = meta_shapes(**PUBLISHED_B)
    assert len(shapes) == 188
    translation = translate_encoder(dinov3_official.LAYOUT, shapes)
    assert recognised(shapes) == ["dinov3"]
    assert len(translation.dropped) == 13
    assert (spec_of(translation).name, spec_of(translation).licence) == ("dinov3-b", "DINOv3 License")


@pytest.mark.parametrize(("number", "sizes"), [(0, (384, 12, 6)), (1, (768, 12, 12)), (2, (1024, 24, 16))])
def test_the_published_sizes_are_known_by_name(number: int, sizes: tuple[int, int, int]) -> None:
    width, depth, heads = sizes
    translation = translate_encoder(
        dinov3_official.LAYOUT, meta_shapes(width=width, depth=depth, heads=heads, patch=16)
    )
    assert spec_of(translation) == replace(DINOV3_SPECS[number], provenance=spec_of(translation).provenance)


def test_meddinov3s_encoder_has_164_tensors_and_its_spec() -> None:
    shapes = meddinov3_shapes(**PUBLISHED_B)
    assert len([name for name in shapes if name.startswith("backbone.")]) == 164
    translation = translate_encoder(meddinov3_official.LAYOUT, shapes)
    assert recognised(shapes) == ["meddinov3"]
    assert set(translation.dropped) == {
        "backbone.rope_embed.periods",
        "dino_head.mlp.0.weight",
        "ibot_head.last_layer.weight",
    }
    spec = spec_of(translation)
    assert replace(spec, provenance=MEDDINOV3_SPEC.provenance) == MEDDINOV3_SPEC
    assert spec.mean_std_hu == (65.1084213256836, 178.01663208007812)


def test_flexicts_stem_for_slices_is_taken() -> None:
    published = flexict_shapes(width=864, depth=16, heads=12)
    assert len([name for name in published if name.startswith("backbone.")]) == 219
    assert recognised(published) == ["flexict"]
    translation = translate_encoder(meddinov3_official.FLEXICT, published)
    assert translation.architecture == FLEXICT_SPEC.architecture
    assert "backbone.patch_embed_3D.proj.weight" in translation.dropped
    assert spec_of(translation).normalisation == "slice"
    assert spec_of(translation).licence == "CC BY-NC-ND 4.0"


@pytest.mark.parametrize(
    ("library", "layout", "absent"),
    [
        ("timm", timm_vit.LAYOUT, ("mask_token",)),
        ("timm without biases", timm_vit.LAYOUT, ("mask_token",)),
        ("transformers", transformers_vit.LAYOUT, ()),
    ],
)
def test_the_names_are_those_of_the_libraries(library: str, layout: VitLayout, absent: tuple[str, ...]) -> None:
    shapes = {name: tuple(shape) for name, shape in NAMES[library].items()}
    translation = translate_encoder(layout, shapes)
    assert recognised(shapes) == [layout.name]
    assert set(translation.used) == set(shapes)
    assert translation.absent == absent
    assert translation.architecture.qkv_bias == ("without" not in library)


def test_files_that_transformers_4_wrote_are_known() -> None:
    shapes = {name.removeprefix("model."): tuple(shape) for name, shape in NAMES["transformers"].items()}
    assert recognised(shapes) == ["transformers 4"]
    assert translate_encoder(transformers_vit.VERSION_4, shapes).dropped == ()


def test_a_file_without_registers_or_with_another_head_width_is_read() -> None:
    shapes = meta_shapes(width=96, depth=2, heads=3, patch=8, registers=4)
    assert translate_encoder(dinov3_official.LAYOUT, shapes).architecture.heads == 3
    del shapes["storage_tokens"]
    with pytest.raises(CheckpointError, match="storage_tokens"):
        translate_encoder(dinov3_official.LAYOUT, shapes)


Shapes = dict[str, Shape]
FAULTS: dict[str, tuple[Callable[[Shapes], object], str]] = {
    "a tensor missing": (lambda s: s.pop("blocks.1.mlp.fc2.bias"), "1 missing .blocks.1.mlp.fc2.bias"),
    "a tensor nobody knows": (lambda s: s.update({"blocks.0.attn.extra": (3,)}), "1 unknown .blocks.0.attn.extra"),
    "a wrong shape": (
        lambda s: s.update({"blocks.0.ls2.gamma": (64,)}),
        "wrong shape .blocks.0.scale2.gamma",
    ),
    "biases of a wrong shape": (lambda s: s.update({"blocks.0.attn.qkv.bias": (128,)}), "of a wrong shape"),
    "biases without their mask": (lambda s: s.pop("blocks.1.attn.qkv.bias_mask"), "blocks.1.attn.qkv.bias_mask"),
    "a block missing": (
        lambda s: [s.pop(name) for name in list(s) if name.startswith("blocks.0.")],
        "0 blocks",
    ),
    "gated MLPs": (lambda s: s.update({"blocks.0.mlp.w3.weight": (128, 256)}), "unknown"),
    "a flat stem": (lambda s: s.update({"patch_embed.proj.weight": (128, 192)}), "stem"),
    "a vast stem": (lambda s: s.update({"patch_embed.proj.weight": (2**40, 3, 8, 8)}), "stem"),
    "odd periods": (lambda s: s.update({"rope_embed.periods": (7,)}), "stem"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_tensor_must_be_accounted_for(fault: str) -> None:
    shapes = meta_shapes(**SMALL)
    translate_encoder(dinov3_official.LAYOUT, shapes)
    change, said = FAULTS[fault]
    change(shapes)
    with pytest.raises(CheckpointError, match=said):
        translate_encoder(dinov3_official.LAYOUT, shapes)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A small checkpoint as MedDINOv3 saves them, its periods in bf16."""
    state = seeded_vit(meddinov3_shapes(**SMALL))
    state["backbone.rope_embed.periods"] = state["backbone.rope_embed.periods"].bfloat16()
    torch.save({"teacher": state, "iteration": 4999}, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def test_a_teacher_is_loaded_and_what_was_left_out_is_said(teacher: Path) -> None:
    loaded = load_encoder(teacher)
    assert loaded.spec.name == "meddinov3-unnamed"
    assert loaded.spec.licence == "unknown"
    assert loaded.spec.window_hu == (-1000, 1000)
    assert loaded.report.format == "meddinov3"
    assert (loaded.report.wrapper, loaded.report.beside, loaded.report.prefix) == (
        "teacher",
        ("iteration",),
        "backbone.",
    )
    assert loaded.report.loaded == 8 + 2 * 13 - 1
    assert len(loaded.report.dropped) == 3
    assert "3 unused tensors dropped" in loaded.report.summary()
    weights = seeded_vit(meddinov3_shapes(**SMALL))
    state = loaded.network.state_dict()
    assert torch.equal(state["blocks.1.mlp.expand.weight"], weights["backbone.blocks.1.mlp.fc1.weight"])
    assert torch.equal(state["registers"], weights["backbone.storage_tokens"][0])
    assert not any(parameter.is_meta for parameter in loaded.network.parameters())


def test_a_backbone_is_refused_where_a_model_is_asked_for(teacher: Path) -> None:
    with pytest.raises(NoHeadError, match="vesalius finetune --model") as caught:
        load_model(teacher)
    assert caught.value.exit_code == 4


def test_a_model_is_refused_where_a_backbone_is_asked_for(
    tmp_path: Path, tiny_state: dict[str, Tensor], tiny_spec: ModelSpec
) -> None:
    write_model(tmp_path, tiny_state, tiny_spec)
    with pytest.raises(CheckpointError, match="a vista3d network"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_files_of_each_layout_give_the_same_encoder(tmp_path: Path, stored: torch.dtype) -> None:
    state = {name: tensor.to(stored) for name, tensor in seeded_vit(meta_shapes(**SMALL)).items()}
    torch.save(state, tmp_path / "meta.pth")
    ours = load_encoder(tmp_path / "meta.pth").network.state_dict()
    for layout in (transformers_vit.LAYOUT, transformers_vit.VERSION_4, timm_vit.LAYOUT):
        foreign = {}
        for name, tensor in ours.items():
            pieces = layout.pieces(name)
            for piece, part in zip(pieces, tensor.chunk(len(pieces)), strict=True):
                foreign[piece.name] = part.contiguous()
        if layout is timm_vit.LAYOUT:
            del foreign["mask_token"]
        path = tmp_path / f"{layout.name}.safetensors"
        save_file(foreign, path)
        found = load_encoder(path)
        assert found.report.format == layout.name
        assert found.spec.architecture.qkv_bias  # type: ignore[union-attr]
        for name, tensor in found.network.state_dict().items():
            expected = torch.zeros_like(tensor) if name in found.report.missing else ours[name].float()
            assert torch.equal(tensor, expected), name


def test_the_bias_of_the_keys_is_left_out_even_where_it_is_undefined(tmp_path: Path) -> None:
    state = seeded_vit(meta_shapes(**SMALL))
    state["blocks.0.attn.qkv.bias"][128:256] = float("nan")
    torch.save(state, tmp_path / "meta.pth")
    network = load_encoder(tmp_path / "meta.pth").network
    assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())
    bias = network.get_parameter("blocks.0.attention.value_bias")
    assert torch.equal(bias, state["blocks.0.attn.qkv.bias"][256:])


def test_other_periods_are_refused(tmp_path: Path) -> None:
    state = seeded_vit(meta_shapes(**SMALL))
    state["rope_embed.periods"] *= 1.02
    torch.save(state, tmp_path / "meta.pth")
    with pytest.raises(CheckpointError, match="rotary periods"):
        load_encoder(tmp_path / "meta.pth")


def test_periods_of_another_base_are_read_where_a_spec_says_so(tmp_path: Path) -> None:
    state = seeded_vit(meta_shapes(**SMALL))
    periods = state["rope_embed.periods"]
    state["rope_embed.periods"] = 10_000 ** (torch.arange(len(periods)) / len(periods))
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="rope_base"):
        load_encoder(tmp_path / "model.pth")
    sizes = VitArchitecture(width=128, depth=2, heads=2, patch_size=8, qkv_bias=True, rope_base=10_000.0)
    spec = ModelSpec(name="mine", architecture=sizes, window_size=(64, 64, 1))
    (tmp_path / "spec.json").write_text(spec.to_json())
    assert load_encoder(tmp_path / "model.pth").spec == spec


def test_meddinov3s_encoder_alone_is_told_from_metas_by_the_biases_that_it_lacks() -> None:
    shapes = meta_shapes(**PUBLISHED_B, qkv_bias=False)
    assert recognised(shapes) == ["meddinov3 encoder"]
    spec = spec_of(translate_encoder(meddinov3_official.ENCODER, shapes))
    assert replace(spec, provenance=MEDDINOV3_SPEC.provenance) == MEDDINOV3_SPEC


def test_the_files_own_spec_goes_before_what_the_layout_suggests(teacher: Path) -> None:
    architecture = VitArchitecture(width=128, depth=2, heads=2, patch_size=8)
    spec = ModelSpec(name="mine", architecture=architecture, window_size=(64, 64, 1), licence="mine")
    teacher.with_name("spec.json").write_text(spec.to_json())
    assert load_encoder(teacher).spec == spec
    wrong = replace(spec, architecture=replace(architecture, depth=3))
    teacher.with_name("spec.json").write_text(wrong.to_json())
    with pytest.raises(CheckpointError, match="that the spec of mine describes"):
        load_encoder(teacher)


def test_a_converted_backbone_keeps_its_preset_and_its_answers(teacher: Path, tmp_path: Path) -> None:
    convert_model(teacher, tmp_path / "ours")
    before, after = load_encoder(teacher), load_encoder(tmp_path / "ours")
    assert after.report.format == "vesalius"
    assert after.spec == replace(before.spec, provenance=after.spec.provenance)
    assert "converted from model.pth (meddinov3)" in after.spec.provenance
    image = torch.randn(1, 1, 24, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(before.network(image)[0].patches, after.network(image)[0].patches)
    with pytest.raises(NoHeadError):
        convert_model(teacher, tmp_path / "monai", layout="monai")
    with pytest.raises(UsageError):
        convert_model(teacher, tmp_path / "ours")


def test_a_backbone_is_held_to_the_answers_that_its_conversion_kept(teacher: Path, tmp_path: Path) -> None:
    convert_model(teacher, tmp_path / "ours")
    golden = tmp_path / "ours" / GOLDEN_FILE
    header = read_header(golden)
    assert sorted(header.tensors) == ["tokens_0", "tokens_1"]
    found = verify(tmp_path / "ours")
    assert found.verdict != "failed"
    assert "0.0e+00 from the answers kept beside it" in found.checks[-1].detail
    answers = read_tensors(golden, {name: name for name in header.tensors}, header=header)
    answers["tokens_0"][0, 3] *= 1.01
    write_tensors(golden, answers, metadata=header.metadata)
    assert verify(tmp_path / "ours").verdict == "failed"


def test_a_backbone_that_no_other_library_answered_with_is_incomplete(
    teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    found = verify(teacher)
    assert {check.name: check.outcome for check in found.checks}["keys"] == "passed"
    assert found.verdict == "incomplete"
    assert 'pip install "transformers>=5"' in found.checks[-1].detail


def test_a_transformers_that_names_the_blocks_otherwise_is_no_crash(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 4 has DINOv3, too: its blocks are ``layer.0``, those of version 5 ``model.layer.0``."""
    ours = to_transformers(load_encoder(teacher).network.state_dict())

    class Version4(torch.nn.Module):
        def __init__(self, settings: object) -> None:
            super().__init__()

        def state_dict(self) -> dict[str, Tensor]:
            return {name.removeprefix("model."): tensor for name, tensor in ours.items()}

        def load_state_dict(self, weights: dict[str, Tensor], *, strict: bool) -> None:
            assert strict
            if weights.keys() != self.state_dict().keys():
                raise RuntimeError("Missing key(s) in state_dict")

    library = SimpleNamespace(DINOv3ViTModel=Version4, DINOv3ViTConfig=dict, __version__="4.57.1")
    monkeypatch.setitem(sys.modules, "transformers", library)
    found = verify(teacher)
    assert found.verdict == "incomplete"
    assert "transformers 4.57.1, which names tensors otherwise (layer.0." in found.checks[-1].detail
    assert 'pip install "transformers>=5"' in found.checks[-1].detail
    convert_model(teacher, tmp_path / "ours")
    assert "4.57.1" in read_header(tmp_path / "ours" / GOLDEN_FILE).metadata["not_compared"]


@pytest.mark.parametrize(("apart", "verdict"), [(1.0, "sound"), (1.01, "failed")])
def test_a_backbone_that_the_other_library_answers_alike_is_sound(
    teacher: Path, monkeypatch: pytest.MonkeyPatch, apart: float, verdict: str
) -> None:
    """The other library is played here; the test below asks it, where it is installed."""

    def played(network: Vit, taps: tuple[int, ...]) -> dict[str, Tensor]:
        spec = ModelSpec(name="played", architecture=network.architecture, window_size=(8, 8, 1))
        return {name: tensor * apart for name, tensor in slice_answers(network, spec).items()}

    monkeypatch.setattr(probe, "transformers_answers", played)
    assert verify(teacher).verdict == verdict


def test_transformers_answers_as_our_network_does(teacher: Path) -> None:
    pytest.importorskip("transformers")
    assert verify(teacher).verdict == "sound"


def test_our_names_become_those_of_transformers() -> None:
    network = build(VitArchitecture(width=128, depth=4, heads=2, patch_size=8, qkv_bias=True))
    found = {name: list(tensor.shape) for name, tensor in to_transformers(network.state_dict()).items()}
    assert found == NAMES["transformers"]


def test_a_load_in_bf16_keeps_norms_in_fp32(teacher: Path) -> None:
    network = load_encoder(teacher, dtype=torch.bfloat16).network
    kinds = {name: tensor.dtype for name, tensor in network.state_dict().items()}
    assert kinds["blocks.0.attention.qkv.weight"] == kinds["blocks.0.mlp.expand.bias"] == torch.bfloat16
    assert kinds["blocks.0.norm1.weight"] == kinds["blocks.0.scale1.gamma"] == kinds["class_token"] == torch.float32


def test_a_backbone_takes_another_number_of_channels(teacher: Path) -> None:
    loaded = load_encoder(teacher, in_channels=5)
    assert loaded.spec.architecture == loaded.network.architecture
    assert loaded.network.architecture.in_channels == 5
    image = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted = load_encoder(teacher).network(image)[0].patches
    found = loaded.network(image.expand(-1, 5, -1, -1))[0].patches
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert not loaded.network.patch_embedding.projection.weight.requires_grad


def test_only_one_layout_has_the_marks_of_a_file() -> None:
    files = [meta_shapes(**SMALL), meddinov3_shapes(**SMALL), flexict_shapes(), *NAMES.values()]
    assert [len(recognised(shapes)) for shapes in files] == [1] * 6


def test_the_layout_of_a_stranger_is_no_format_we_know(tmp_path: Path) -> None:
    save_file({"cls_token": torch.ones(1, 1, 4), "pos_embed": torch.ones(1, 5, 4)}, tmp_path / "dinov2.safetensors")
    with pytest.raises(CheckpointError, match="a DINOv3 backbone as dinov3, meddinov3"):
        open_weights(tmp_path / "dinov2.safetensors")

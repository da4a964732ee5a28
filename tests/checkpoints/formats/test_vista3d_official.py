"""Both official layouts: names and shapes of the official code, every tensor accounted for, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vesalius.checkpoints.catalog import VISTA3D_SPEC
from vesalius.checkpoints.formats.vista3d_official import (
    Layout,
    convert,
    official_shapes,
    recognises,
    to_official,
    translate,
)
from vesalius.checkpoints.header import Shape, plan_file
from vesalius.checkpoints.probe import TOLERANCE, difference, monai_answers, our_answers
from vesalius.errors import CheckpointError
from vesalius.models.build import build
from vesalius.spec import ModelSpec, VistaArchitecture

PUBLISHED = VistaArchitecture()
SMALL = VistaArchitecture(width=16, blocks_down=(1, 2, 2, 4))
PUBLISHED_BYTES = 871_894_112
"""Size recorded for nvidia/NV-Segment-CT, vista3d_pretrained_model/model.safetensors."""


def _monai_shapes() -> dict[str, Shape]:
    from monai.networks.nets.vista3d import vista3d132

    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in vista3d132().state_dict().items()}


def test_the_names_and_shapes_are_those_of_monais_network() -> None:
    theirs = _monai_shapes()
    assert len(theirs) == 259
    assert official_shapes(PUBLISHED) == theirs
    translation = translate(theirs)
    assert translation.architecture == PUBLISHED
    assert len(translation.names) == 256
    assert len(translation.dropped) == 3


def test_the_research_layout_has_sixteen_tensors_more_and_eight_other_names() -> None:
    # Numbers of the research code, instantiated: 275 tensors, 217,988,695 parameters and 72 values of a buffer.
    research = official_shapes(PUBLISHED, "research")
    assert len(research) == 275
    assert sum(torch.Size(shape).numel() for shape in research.values()) == 217_988_695 + 72
    renamed = {name.replace(".mlp.linear", ".mlp.lin") for name in _monai_shapes()}
    assert renamed < set(research)
    assert len(set(research) - set(_monai_shapes())) == 16 + 8


def test_the_published_file_has_the_recorded_size() -> None:
    shapes = official_shapes(PUBLISHED)
    header = plan_file({f"network.{name}": ("F32", shape) for name, shape in shapes.items()}, {"format": "pt"})
    assert header.file_bytes == PUBLISHED_BYTES
    without = plan_file({name: ("F32", shape) for name, shape in shapes.items()}, {"format": "pt"})
    assert without.file_bytes != PUBLISHED_BYTES


@pytest.mark.parametrize("layout", ["monai", "research"])
@pytest.mark.parametrize("prefix", ["", "network.", "module.", "module.network."])
def test_prefixes_are_stripped_and_said(layout: Layout, prefix: str) -> None:
    shapes = {prefix + name: shape for name, shape in official_shapes(SMALL, layout).items()}
    assert recognises(shapes)
    translation = translate(shapes)
    assert (translation.prefix, translation.layout, translation.architecture) == (prefix, layout, SMALL)
    assert len(translation.dropped) == (3 if layout == "monai" else 19)
    assert set(translation.names) | set(translation.dropped) == set(shapes)


@pytest.mark.parametrize(
    "architecture",
    [
        PUBLISHED,
        SMALL,
        VistaArchitecture(width=6, blocks_down=(2, 1), num_embeddings=7, in_channels=2),
        VistaArchitecture(width=8, blocks_down=(1, 1, 1), point_branch=False),
        VistaArchitecture(width=8, blocks_down=(1, 1, 1), class_branch=False),
    ],
    ids=["published", "small", "odd", "classes only", "clicks only"],
)
def test_the_architecture_is_read_off_the_shapes(architecture: VistaArchitecture) -> None:
    assert translate(official_shapes(architecture)).architecture == architecture


def test_dead_tensors_may_be_absent() -> None:
    shapes = official_shapes(SMALL, "research")
    names = translate(shapes).names
    live = {name: shape for name, shape in shapes.items() if name in names}
    translation = translate(live)
    assert translation.dropped == ()
    assert set(translation.absent) == set(official_shapes(SMALL, translation.layout)) - set(live)


Shapes = dict[str, Shape]
FAULTS: dict[str, tuple[Callable[[Shapes], object], str]] = {
    "a tensor missing": (
        lambda s: s.pop("class_head.mlp.3.bias"),
        "1 missing .class_head.mlp_out.bias|1 missing .class_head.mlp.3.bias",
    ),
    "a tensor nobody knows": (lambda s: s.update({"class_head.extra": (3,)}), "1 unknown .class_head.extra"),
    "a wrong shape": (
        lambda s: s.update({"point_head.mask_tokens.weight": (2, 16)}),
        r"point_head.mask_tokens.weight \[2, 16\] instead of \[1, 16\]",
    ),
    "a dead tensor of a wrong shape": (
        lambda s: s.update({"point_head.mask_downsample.bias": (3,)}),
        "point_head.mask_downsample.bias",
    ),
    "a level missing": (
        lambda s: [s.pop(name) for name in list(s) if ".encoder.layers.2." in name],
        "missing",
    ),
    "half a prefix": (
        lambda s: s.update({"network.class_head.mlp.0.bias": s.pop("class_head.mlp.0.bias")}),
        "unknown",
    ),
    "layouts mixed": (lambda s: s.update({"weight_mapper.0.bias": (64,)}), "linear1"),
    "no first convolution": (lambda s: s.pop("image_encoder.encoder.conv_init.weight"), "conv_init"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_tensor_must_be_accounted_for(fault: str) -> None:
    shapes = official_shapes(SMALL)
    translate(shapes)
    change, said = FAULTS[fault]
    change(shapes)
    with pytest.raises(CheckpointError, match=said):
        translate(shapes)


def test_hostile_sizes_are_refused_before_a_network_is_made() -> None:
    shapes = official_shapes(SMALL)
    shapes["image_encoder.encoder.conv_init.weight"] = (2**40, 1, 3, 3, 3)
    with pytest.raises(CheckpointError):
        translate(shapes)


@pytest.mark.parametrize("layout", ["monai", "research"])
def test_there_and_back_changes_nothing(
    tiny_state: dict[str, Tensor], tiny_spec: ModelSpec, layout: Layout
) -> None:
    official = to_official(tiny_state, layout)
    assert {name: tuple(tensor.shape) for name, tensor in official.items()} == {
        f"network.{name}": shape for name, shape in official_shapes(tiny_spec.architecture, layout).items()
    }
    back, spec = convert(official)
    assert set(back) == set(tiny_state)
    assert all(torch.equal(back[name], tiny_state[name]) for name in back)
    assert spec.architecture == tiny_spec.architecture
    dead = set(official) - set(translate({n: tuple(t.shape) for n, t in official.items()}).names)
    assert all(not official[name].any() for name in dead)


def test_the_spec_of_the_published_sizes_is_the_catalogs() -> None:
    with torch.device("meta"):
        official = to_official(build(PUBLISHED).state_dict())
    _, spec = convert(official)
    assert replace(spec, provenance=VISTA3D_SPEC.provenance) == VISTA3D_SPEC
    assert len(spec.vocabulary) == 132
    assert len(spec.everything) == 117
    with torch.device("meta"):
        small = to_official(build(replace(SMALL, num_embeddings=100)).state_dict())
    _, other = convert(small)
    assert other.name != spec.name
    assert max(other.names) == 99
    assert other.licence == "unknown"


def _swap(official: dict[str, Tensor], one: str, other: str) -> None:
    for name in [name for name in official if one in name]:
        twin = name.replace(one, other)
        official[name], official[twin] = official[twin], official[name]


MUTATIONS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "decoders swapped": lambda s: _swap(s, ".up_layers.", ".up_layers_auto."),
    "positive and negative clicks swapped": lambda s: _swap(s, "point_embeddings.0", "point_embeddings.1"),
    "special and padding tokens swapped": lambda s: _swap(s, "special_class_embed", "not_a_point_embed"),
    "supported and zero-shot swapped": lambda s: _swap(s, "supported_embed", "zeroshot_embed"),
    "class layers swapped": lambda s: _swap(s, "class_head.mlp.0", "class_head.mlp.3"),
    "mapping convolutions swapped": lambda s: _swap(s, "layer.conv1", "layer.conv2"),
    "attention ways swapped": lambda s: _swap(s, "cross_attn_token_to_image", "cross_attn_image_to_token"),
    "query and key swapped": lambda s: _swap(s, "final_attn_token_to_image.q_", "final_attn_token_to_image.k_"),
    "norms swapped": lambda s: _swap(s, "blocks.1.norm1", "blocks.1.norm2"),
    "mask layers swapped": lambda s: _swap(s, "mlps.layers.0", "mlps.layers.2"),
    "a bias dropped": lambda s: s["image_encoder.up_layers_auto.1.head.bias"].zero_(),
}


@pytest.fixture(scope="module")
def ours(tiny_state: dict[str, Tensor], tiny_spec: ModelSpec) -> dict[str, Tensor]:
    """What our network answers with its own weights."""
    network = build(tiny_spec.architecture).eval()
    network.load_state_dict(tiny_state)
    return our_answers(network, tiny_spec)


def test_monais_network_gives_our_answers_with_the_same_weights(
    tiny_state: dict[str, Tensor], tiny_spec: ModelSpec, ours: dict[str, Tensor]
) -> None:
    # Measured 2e-6; the tolerance leaves room for other processors' order of summation.
    assert difference(ours, monai_answers(to_official(tiny_state, prefix=""), tiny_spec)) <= TOLERANCE


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_name_is_seen_in_the_answers(
    tiny_state: dict[str, Tensor], tiny_spec: ModelSpec, ours: dict[str, Tensor], mutation: str
) -> None:
    official = {name: tensor.clone() for name, tensor in to_official(tiny_state, prefix="").items()}
    MUTATIONS[mutation](official)
    assert difference(ours, monai_answers(official, tiny_spec)) > 10 * TOLERANCE

"""Clicks of one window against MONAI's point head, full width, fp32: the way from clicks to logits users run.

Five objects: known, special and zero-shot classes, one to three clicks, so that all labels from -1 to 3 take part.
Tolerance 1e-4 of the largest value (float32 sums in another order, attention that never projects the image, the
last convolution fused with the object's vector). Each named mutation misses the tolerance tenfold.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.networks.nets.vista3d import PointMappingSAM
from torch import Tensor, nn
from torch.nn import functional

from parity.seeded_weights import seeded_tensor
from vesalius.checkpoints.formats.vista3d_official import official_name
from vesalius.geometry.boxes import Box
from vesalius.inference.points import segment_points
from vesalius.models.build import optimise_for_inference
from vesalius.models.point_head import PointHead
from vesalius.models.vista3d import Vista3D
from vesalius.prompts import ClickTarget, ObjectClicks, encode_clicks
from vesalius.prompts.encode import EncodedClicks
from vesalius.spec import VistaArchitecture

TOLERANCE = 1e-4
SIDE = 32
WINDOW = Box((8, 0, 16), (8 + SIDE, SIDE, 16 + SIDE))
SHAPE = (48, SIDE, 64)
PROMPT_CLASS = torch.tensor([3, 23, 600, 57, 133])  # 132 is the last supported
LABELS = torch.tensor([[1, 0, -1], [3, -1, -1], [0, 1, 1], [2, 3, -1], [1, -1, -1]])


class Featured(Vista3D):
    """A network whose features of every window are given."""

    def __init__(self, head: PointHead, features: Tensor) -> None:
        nn.Module.__init__(self)
        self.point_head, self.features = head, features

    def point_features(self, windows: Tensor) -> Tensor:
        assert windows.shape == (1, 1, SIDE, SIDE, SIDE)
        return self.features


@pytest.fixture(scope="module")
def features() -> Tensor:
    return torch.randn(1, 48, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def monai() -> PointMappingSAM:
    head = PointMappingSAM(feature_size=48, last_supported=132).eval().requires_grad_(False)
    head.load_state_dict({n: seeded_tensor(f"point_head.{n}", t) for n, t in head.state_dict().items()})
    return head


@pytest.fixture(scope="module")
def ours(monai: PointMappingSAM, features: Tensor) -> Featured:
    theirs, head = monai.state_dict(), PointHead(48)
    names = {name: official_name(f"point_head.{name}", VistaArchitecture(), "monai") for name in head.state_dict()}
    head.load_state_dict({name: theirs[official.removeprefix("point_head.")] for name, official in names.items()})
    return Featured(optimise_for_inference(head), features)


def objects() -> list[ObjectClicks]:
    """Return clicks that encode to ``LABELS``, in the voxels of the whole grid, on its first and last ones too."""
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(5, 3, 3, generator=generator) * SIDE - 0.5
    points[0, 0], points[2, 1] = 0.0, SIDE - 1.0
    return [
        ObjectClicks(
            target=ClickTarget(label, "it", supported=label <= 132, special=label in (23, 57), layer=None),
            points_ijk=points[row, LABELS[row] >= 0].double().numpy() + np.array(WINDOW.start),
            positive=(LABELS[row][LABELS[row] >= 0] % 2 == 1).numpy(),
        )
        for row, label in enumerate(PROMPT_CLASS.tolist())
    ]


@pytest.fixture(scope="module")
def reference(monai: PointMappingSAM, features: Tensor) -> Tensor:
    encoded = encode_clicks(objects(), WINDOW)
    assert torch.equal(encoded.point_labels, LABELS)
    logits: Tensor = monai(features, encoded.points_ijk, LABELS.clone(), class_vector=PROMPT_CLASS)
    return logits[:, 0]


def ask_ours(ours: Featured) -> Tensor:
    clicks = encode_clicks(objects(), WINDOW)
    with torch.inference_mode():
        image_map = ours.point_head.image_map(ours.features)
        logits: Tensor = ours.point_head.logits(image_map, clicks.points_ijk, clicks.point_labels, clicks.supported)
    return logits[0]


def difference(mine: Tensor, theirs: Tensor) -> float:
    return ((mine - theirs).abs().max() / theirs.abs().max()).item()


def worst(ours: Featured, reference: Tensor) -> float:
    """Return the largest relative difference of any object, so that none hides behind another."""
    return max(difference(mine, theirs) for mine, theirs in zip(ask_ours(ours), reference, strict=True))


def test_point_logits_of_one_window_equal_monais(ours: Featured, reference: Tensor) -> None:
    assert worst(ours, reference) <= TOLERANCE


def test_oblong_windows_equal_monais(ours: Featured, monai: PointMappingSAM) -> None:
    features = torch.randn(1, 48, 12, 40, 20, generator=torch.Generator().manual_seed(2))
    points = torch.rand(5, 3, 3, generator=torch.Generator().manual_seed(3)) * torch.tensor([12.0, 40, 20])
    with torch.inference_mode():
        image_map = ours.point_head.image_map(features)
        mine = ours.point_head.logits(image_map, points, LABELS, PROMPT_CLASS <= 132)
        theirs = monai(features, points, LABELS.clone(), class_vector=PROMPT_CLASS)
    assert difference(mine[0], theirs[:, 0]) <= TOLERANCE


def test_the_way_users_run_gives_monais_answer_for_each_object(
    ours: Featured, monai: PointMappingSAM, features: Tensor
) -> None:
    """Padding is a token and changes the answer: users' objects have none, as MONAI's single one."""
    found = segment_points(ours, torch.zeros(SHAPE), objects(), [WINDOW.start], window_size=(SIDE, SIDE, SIDE))
    for one, clicks, prompt_class in zip(found, objects(), PROMPT_CLASS, strict=True):
        alone = encode_clicks([clicks], WINDOW)
        expected = monai(features, alone.points_ijk, alone.point_labels, class_vector=prompt_class[None])
        assert difference(one.windows[0], expected[0, 0]) <= TOLERANCE


def test_a_new_structure_is_zero_shot_without_being_said_twice(
    ours: Featured, monai: PointMappingSAM, features: Tensor
) -> None:
    """In MONAI an id above 132 is zero-shot only where ``prompt_class`` is given as well; without, it is known."""
    target = ClickTarget(133, "lesion", supported=False, special=False, layer="new")
    clicks = replace(objects()[0], target=target)
    alone = encode_clicks([clicks], WINDOW)
    known, zero_shot = (
        monai(features, alone.points_ijk, alone.point_labels, class_vector=given)[0, 0]
        for given in (None, torch.tensor([133]))
    )
    (found,) = segment_points(ours, torch.zeros(SHAPE), [clicks], [WINDOW.start], window_size=(SIDE, SIDE, SIDE))
    assert difference(found.windows[0], zero_shot) <= TOLERANCE
    assert difference(found.windows[0], known) > 10 * TOLERANCE


def test_the_fused_head_equals_the_convolution_it_replaces(ours: Featured) -> None:
    head, side = ours.point_head, SIDE // 2
    generator = torch.Generator().manual_seed(4)
    vector, view = torch.randn(48, generator=generator), torch.randn(side**3, 48, generator=generator)
    hidden = head.upsample(view.T.reshape(1, 48, side, side, side))
    hidden = functional.gelu(functional.instance_norm(hidden))
    expected = torch.einsum("d,bdijk->bijk", vector, head.mask_conv(hidden))[:, None]
    with torch.inference_mode():
        fused = head._mask(vector, view.split(2 * side**2), torch.empty(1, 48, side, side, side))
    assert difference(fused, expected) <= TOLERANCE


Change = Callable[[EncodedClicks], EncodedClicks]


def one_click_shifted_by_a_voxel(clicks: EncodedClicks) -> EncodedClicks:
    points = clicks.points_ijk.clone()
    points[2, 0, 1] += 1
    return replace(clicks, points_ijk=points)


def axes_swapped(clicks: EncodedClicks) -> EncodedClicks:
    return replace(clicks, points_ijk=clicks.points_ijk.flip(2))


def one_label_swapped(clicks: EncodedClicks) -> EncodedClicks:
    labels = clicks.point_labels.clone()
    labels[0, 0] = 0
    return replace(clicks, point_labels=labels)


def padding_taken_for_a_click(clicks: EncodedClicks) -> EncodedClicks:
    return replace(clicks, point_labels=clicks.point_labels.clamp(min=0))


def special_forgotten(clicks: EncodedClicks) -> EncodedClicks:
    labels = clicks.point_labels
    return replace(clicks, point_labels=torch.where(labels >= 2, labels - 2, labels))


def supported_and_zero_shot_swapped(clicks: EncodedClicks) -> EncodedClicks:
    return replace(clicks, supported=~clicks.supported)


@pytest.mark.parametrize(
    "change",
    [
        one_click_shifted_by_a_voxel,
        axes_swapped,
        one_label_swapped,
        padding_taken_for_a_click,
        special_forgotten,
        supported_and_zero_shot_swapped,
    ],
)
def test_a_fault_in_what_the_head_is_told_is_seen(
    change: Change, ours: Featured, reference: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "encode_clicks", lambda *args, told=encode_clicks: change(told(*args)))
    assert worst(ours, reference) > 10 * TOLERANCE


def image_places_forgotten(head: PointHead, patch: pytest.MonkeyPatch) -> None:
    compare = head.position.compare
    patch.setattr(
        head.position, "compare", lambda *args, **how: (torch.zeros_like(x) for x in compare(*args, **how))
    )


def image_places_transposed(head: PointHead, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(head.position._buffers, "frequencies", head.position.frequencies.flip(0))


def query_bias_forgotten(head: PointHead, patch: pytest.MonkeyPatch) -> None:
    attention = head.transformer.layers[1].image_to_prompt
    patch.setitem(attention.query._parameters, "bias", nn.Parameter(torch.zeros(24)))


def value_bias_forgotten(head: PointHead, patch: pytest.MonkeyPatch) -> None:
    attention = head.transformer.final_attention
    patch.setitem(attention.value._parameters, "bias", nn.Parameter(torch.zeros(24)))


@pytest.mark.parametrize(
    "mutate", [image_places_forgotten, image_places_transposed, query_bias_forgotten, value_bias_forgotten]
)
def test_a_fault_in_attention_is_seen(
    mutate: Callable[[PointHead, pytest.MonkeyPatch], None],
    ours: Featured,
    reference: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutate(ours.point_head, monkeypatch)
    assert worst(ours, reference) > 10 * TOLERANCE

"""The point head's promises to a session: one map, any number of objects, padding that means nothing."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vesalius.models.point_head import PointHead

POINTS = torch.tensor([[[1.0, 2, 3], [9, 9, 9]], [[4, 4, 4], [0, 0, 0]], [[15, 11, 7], [2, 2, 2]]])
LABELS = torch.tensor([[1, 0], [3, -1], [2, 1]])
SUPPORTED = torch.tensor([True, False, True])


@pytest.fixture(scope="module")
def head() -> PointHead:
    torch.manual_seed(0)
    return PointHead(8).requires_grad_(False)


@pytest.fixture(scope="module")
def image_map(head: PointHead) -> Tensor:
    return head.image_map(torch.randn(1, 8, 16, 12, 8, generator=torch.Generator().manual_seed(1)))


def test_objects_do_not_see_each_other(head: PointHead, image_map: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    together = head.logits(image_map, POINTS, LABELS, SUPPORTED)
    alone = head.logits(image_map, POINTS[1:2], LABELS[1:2], SUPPORTED[1:2])
    torch.testing.assert_close(alone, together[:, 1:2])
    monkeypatch.setattr("vesalius.models.point_head.OBJECTS_AT_ONCE", 2)
    torch.testing.assert_close(head.logits(image_map, POINTS, LABELS, SUPPORTED), together)


def test_how_many_planes_go_at_once_changes_nothing(
    head: PointHead, image_map: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = head.logits(image_map, POINTS, LABELS, SUPPORTED)  # all at once, as with gradients
    with torch.no_grad():
        for planes in (1, 3, 8):
            monkeypatch.setattr("vesalius.models.point_head.PLANES_AT_ONCE", planes)
            torch.testing.assert_close(
                head.logits(image_map, POINTS, LABELS, SUPPORTED), expected, rtol=1e-4, atol=1e-4
            )


def test_where_a_padding_click_lies_means_nothing(head: PointHead, image_map: Tensor) -> None:
    moved = POINTS.clone()
    moved[1, 1] = torch.tensor([7.0, 7, 7])
    before = head.logits(image_map, POINTS, LABELS, SUPPORTED)
    assert torch.equal(head.logits(image_map, moved, LABELS, SUPPORTED), before)
    moved[1, 0] += 1
    assert not torch.allclose(head.logits(image_map, moved, LABELS, SUPPORTED)[:, 1], before[:, 1])


def test_the_order_of_clicks_means_nothing(head: PointHead, image_map: Tensor) -> None:
    before = head.logits(image_map, POINTS, LABELS, SUPPORTED)
    torch.testing.assert_close(head.logits(image_map, POINTS.flip(1), LABELS.flip(1), SUPPORTED), before)


def test_no_object_gives_no_logits(head: PointHead, image_map: Tensor) -> None:
    nothing = head.logits(image_map, POINTS[:0], LABELS[:0], SUPPORTED[:0])
    assert nothing.shape == (1, 0, 16, 12, 8)


def test_the_fused_last_convolution_is_the_dot_product(head: PointHead, image_map: Tensor) -> None:
    vector = torch.randn(8)
    view = torch.randn(image_map[0, 0].numel(), 8)
    hidden = view.T.reshape(1, 8, 8, 6, 4)
    hidden = functional.gelu(functional.instance_norm(head.upsample(hidden)))
    expected = torch.einsum("d,bdijk->bijk", vector, head.mask_conv(hidden))[:, None]
    torch.testing.assert_close(head._mask(vector, [view], image_map), expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        slabs = view.split(3 * 6 * 4)
        torch.testing.assert_close(head._mask(vector, slabs, image_map), expected, rtol=1e-4, atol=1e-4)

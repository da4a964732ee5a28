"""Clicks become the tensors of one window: clipped, shifted, padded, special where the class is."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.networks.nets.vista3d import VISTA3D

from vesalius.geometry.boxes import Box
from vesalius.prompts import ClickTarget, ObjectClicks, encode_clicks

WINDOW = Box((4, 0, 10), (12, 8, 18))
LIVER = ClickTarget(1, "liver", supported=True, special=False, layer=None)
TUMOR = ClickTarget(26, "hepatic tumor", supported=True, special=True, layer="tumors")
NEW = ClickTarget(133, "lesion", supported=False, special=False, layer="new")


def clicks(target: ClickTarget, *points: tuple[float, ...], positive: list[bool] | None = None) -> ObjectClicks:
    return ObjectClicks(
        target=target,
        points_ijk=np.array(points, dtype=np.float64).reshape(-1, 3),
        positive=np.array(positive if positive is not None else [True] * len(points), dtype=bool),
    )


def test_clicks_are_shifted_and_padded_to_the_longest() -> None:
    encoded = encode_clicks(
        [
            clicks(LIVER, (4, 0, 10), (11.25, 7, 17), positive=[True, False]),
            clicks(TUMOR, (5, 5, 12), (6, 6, 13), (7, 7, 14), positive=[False, True, True]),
            clicks(NEW, (8, 3, 11)),
        ],
        WINDOW,
    )
    assert encoded.points_ijk.tolist()[0] == [[0, 0, 0], [7.25, 7, 7], [0, 0, 0]]
    assert encoded.point_labels.tolist() == [[1, 0, -1], [2, 3, 3], [1, -1, -1]]
    assert encoded.supported.tolist() == [True, True, False]
    assert encoded.points_ijk.dtype == torch.float32


def test_clicks_outside_the_window_are_left_out() -> None:
    encoded = encode_clicks([clicks(LIVER, (3, 3, 12), (6, 3, 12), (6, 3, 18.6)), clicks(NEW, (0, 0, 0))], WINDOW)
    assert encoded.point_labels.tolist() == [[1], [-1]]


def test_a_click_on_the_first_voxel_counts() -> None:
    """MONAI drops it: a click must lie strictly inside the window there."""
    window = Box((0, 0, 0), (8, 8, 8))
    points, labels = torch.tensor([[[0.0, 3, 3]]]), torch.tensor([[1]])
    _, monais = VISTA3D.update_point_to_patch(None, window.slices, points, labels)
    assert monais is None or monais.tolist() == [[-1]]
    assert encode_clicks([clicks(LIVER, (0, 3, 3))], window).point_labels.tolist() == [[1]]


def test_nothing_clicked_is_no_row() -> None:
    encoded = encode_clicks([], WINDOW)
    assert encoded.points_ijk.shape == (0, 0, 3)


@given(
    st.lists(st.tuples(*[st.integers(-2, 22)] * 3, st.booleans()), max_size=6),
    st.tuples(*[st.integers(0, 6)] * 3),
)
def test_every_click_of_the_window_is_there_once_and_in_order(
    given_clicks: list[tuple], start: tuple[int, int, int]
) -> None:
    window = Box(start, (start[0] + 8, start[1] + 8, start[2] + 8))
    one = clicks(LIVER, *[c[:3] for c in given_clicks], positive=[c[3] for c in given_clicks])
    encoded = encode_clicks([one], window)
    inside = [c for c in given_clicks if all(a <= at < a + 8 for at, a in zip(c, start, strict=False))]
    assert (encoded.points_ijk[0].numpy() + np.asarray(start)).tolist() == [list(c[:3]) for c in inside]
    assert encoded.point_labels[0].tolist() == [int(c[3]) for c in inside]

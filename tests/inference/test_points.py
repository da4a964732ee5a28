"""Clicks over a volume: where windows stand, what they say together, and the defects of MONAI they do not share."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.apps.vista3d.inferer import point_based_window_inferer
from monai.networks.nets.vista3d import VISTA3D
from torch import Tensor

from inference.small_model import small_network, small_spec
from vesalius.geometry.boxes import Box
from vesalius.inference.points import PointLogits, compute_image_map, segment_points, window_starts
from vesalius.models.vista3d import Vista3D
from vesalius.prompts import ClickTarget, ObjectClicks
from vesalius.spec import VistaArchitecture

SHAPE = (40, 28, 24)
SIZE = (16, 16, 16)
LIVER = ClickTarget(1, "liver", supported=True, special=False, layer=None)
TUMOR = ClickTarget(5, "hepatic tumor", supported=True, special=True, layer="tumors")
NEW = ClickTarget(7, "lesion", supported=False, special=False, layer="new")


@pytest.fixture(scope="module")
def network() -> Vista3D:
    architecture = VistaArchitecture(width=8, blocks_down=(1, 1), num_embeddings=8, class_branch=False)
    return small_network(small_spec(architecture=architecture, window_size=SIZE)).requires_grad_(False)


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))


def clicks(target: ClickTarget, *points: Sequence[float], positive: Sequence[bool] | None = None) -> ObjectClicks:
    return ObjectClicks(
        target=target,
        points_ijk=np.array(points, dtype=np.float64).reshape(-1, 3),
        positive=np.array(positive or [True] * len(points), dtype=bool),
    )


def starts(
    *points: Sequence[float], taken: Sequence[tuple[int, int, int]] = ()
) -> tuple[tuple[int, int, int], ...]:
    return window_starts(
        np.array(points, dtype=np.float64).reshape(-1, 3), shape=SHAPE, window_size=SIZE, taken=taken
    )


class TestWindows:
    def test_a_click_stands_in_the_middle_of_its_window(self) -> None:
        assert starts((20, 14, 12)) == ((12, 6, 4),)

    def test_windows_stay_inside_the_grid(self) -> None:
        assert starts((0, 27, 12)) == ((0, 12, 4),)

    def test_clicks_close_together_share_a_window_around_all(self) -> None:
        assert starts((16, 14, 12), (24, 14, 12), (20, 16, 10)) == ((12, 8, 4),)

    def test_clicks_far_apart_have_their_own(self) -> None:
        assert starts((8, 14, 12), (32, 14, 12), (9, 14, 12)) == ((1, 6, 4), (24, 6, 4))

    def test_a_click_inside_the_margin_of_a_taken_window_needs_none(self) -> None:
        assert starts((15, 9, 7), taken=[(12, 6, 4)]) == ()
        assert starts((14, 9, 7), taken=[(12, 6, 4)]) == ((6, 2, 0),)

    def test_where_a_taken_window_ends_with_the_volume_it_serves_up_to_there(self) -> None:
        assert starts((0, 0, 0), taken=[(0, 0, 0)]) == ()
        assert starts((39, 27, 23), (39.5, 27.5, 23.5), taken=[(24, 12, 8)]) == ()

    def test_a_click_outside_the_grid_needs_none(self) -> None:
        assert starts((-1, 5, 5), (5, 5, 24)) == ()

    def test_no_click_needs_no_window(self) -> None:
        assert starts() == ()

    @given(st.lists(st.tuples(*[st.floats(-0.5, side - 0.5, allow_nan=False) for side in SHAPE]), max_size=12))
    def test_every_click_is_served_and_nothing_moves(self, points: list[tuple[float, ...]]) -> None:
        found = starts(*points)
        assert len(found) <= len(points)
        assert all(0 <= a <= n - w for start in found for a, n, w in zip(start, SHAPE, SIZE, strict=True))
        for point in points:
            assert starts(point, taken=found) == ()
        one_by_one: tuple[tuple[int, int, int], ...] = ()
        for point in points:
            before = one_by_one
            one_by_one += starts(point, taken=one_by_one)
            assert one_by_one[: len(before)] == before
            assert len(one_by_one) <= len(before) + 1


def constant(*starts: tuple[int, int, int], value: float = 1.0) -> PointLogits:
    return PointLogits(SHAPE, tuple(starts), tuple(torch.full(SIZE, value) for _ in starts))


@pytest.mark.filterwarnings("ignore:Setting affine")  # MONAI's own
class TestBlending:
    def test_coincident_windows_are_averaged(self) -> None:
        """In MONAI they are summed: three clicks at one place on a network that always says 1 give 3."""
        monais = point_based_window_inferer(
            torch.zeros(1, 1, *SHAPE),
            SIZE,
            lambda window, **_: torch.ones_like(window),
            point_coords=torch.tensor([[[20.0, 14, 12]] * 3]),
            point_labels=torch.ones(1, 3),
        )
        assert monais[0, 0, 20, 14, 12] == 3
        close = constant((12, 6, 4), (13, 6, 4), (12, 7, 5)).blended()
        torch.testing.assert_close(close[3:14, 3:14, 3:14], torch.ones(11, 11, 11))

    def test_the_average_lies_between_and_leans_to_the_nearer_middle(self) -> None:
        two = PointLogits(SHAPE, ((4, 6, 4), (12, 6, 4)), (torch.zeros(SIZE), torch.ones(SIZE)))
        line = two.blended()[:, 8, 8]  # from voxel 4 to 28
        assert line[:8].eq(0).all()
        assert line[16:].eq(1).all()
        assert 0 < line[8] < 0.2
        assert line[12].item() == pytest.approx(0.5)
        assert (line.diff() >= 0).all()

    def test_the_share_falls_smoothly_at_inner_faces_and_not_at_the_volumes_edge(self) -> None:
        share = constant((0, 6, 8)).share(*np.ix_(range(16), range(6, 22), range(8, 24)))
        assert share.shape == SIZE
        assert share[0, 8, 15] == share[13, 8, 2] == 1
        assert 0 < share[15, 8, 8] < 0.2 < share[14, 8, 8] < 0.9
        assert share[15, 0, 0] < share[15, 8, 8]

    def test_between_windows_nothing_is_said(self) -> None:
        """In MONAI voxels that no window covers are NaN."""
        monais = point_based_window_inferer(
            torch.zeros(1, 1, *SHAPE),
            SIZE,
            lambda window, **_: torch.ones_like(window),
            point_coords=torch.tensor([[[8.0, 14, 12]]]),
            point_labels=torch.ones(1, 1),
        )
        assert monais[0, 0, 30, 14, 12].isnan()
        apart = constant((0, 6, 4), (24, 6, 4))
        assert apart.box == Box((0, 6, 4), (40, 22, 20))
        share = apart.share(np.arange(40), np.array([14]), np.array([12]))
        assert share[[0, 8, 13]].min() == 1
        assert share[16:24].max() == 0
        assert apart.blended()[16:24].eq(0).all()
        assert apart.blended().isfinite().all()

    def test_nothing_clicked_is_nothing(self) -> None:
        assert constant().box.is_empty


class TestObjects:
    windows = ((0, 0, 0), (12, 6, 4))

    def segment(self, network: Vista3D, image: Tensor, *objects: ObjectClicks) -> tuple[PointLogits, ...]:
        return segment_points(network, image, objects, self.windows, window_size=SIZE)

    def test_objects_together_are_what_they_are_alone(self, network: Vista3D, image: Tensor) -> None:
        objects = (
            clicks(LIVER, (14, 8, 6), (20, 14, 12), positive=[True, False]),
            clicks(TUMOR, (20, 14, 12)),
            clicks(NEW, (2, 3, 4), (20, 14, 12)),
        )
        together = self.segment(network, image, *objects)
        for one, among in zip(objects, together, strict=True):
            (alone,) = self.segment(network, image, one)
            assert alone.starts == among.starts
            for mine, theirs in zip(alone.windows, among.windows, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
        assert [len(one.starts) for one in together] == [2, 1, 2]

    def test_each_window_s_map_is_made_once_and_only_where_clicks_are(
        self, network: Vista3D, image: Tensor
    ) -> None:
        asked: list[tuple[int, int, int]] = []

        def image_maps(start: tuple[int, int, int]) -> Tensor:
            asked.append(start)
            return compute_image_map(network, image, start, SIZE)

        objects = [clicks(LIVER, (20, 14, 12)), clicks(TUMOR, (21, 14, 12)), clicks(NEW)]
        found = segment_points(network, image, objects, self.windows, window_size=SIZE, image_maps=image_maps)
        assert asked == [(12, 6, 4)]
        expected = self.segment(network, image, *objects)
        assert torch.equal(found[0].windows[0], expected[0].windows[0])
        assert found[2].box.is_empty

    def test_a_window_without_clicks_says_nothing(self, network: Vista3D, image: Tensor) -> None:
        """MONAI gives -9999 there, which poisons the windows it overlaps with."""
        nobody = torch.full((1, 1), -1)
        monais = VISTA3D.forward(
            _WithoutClicks(), image[None, None, :16, :16, :16], point_coords=torch.zeros(1, 1, 3),
            point_labels=nobody, patch_coords=[(slice(None), slice(None), *Box((0, 0, 0), SIZE).slices)],
        )  # fmt: skip
        assert monais.eq(-9999).all()
        (found,) = self.segment(network, image, clicks(LIVER, (14, 8, 6), (20, 14, 12)))
        assert found.starts == self.windows  # (14, 8, 6) lies in both
        (elsewhere,) = self.segment(network, image, clicks(LIVER, (20, 14, 12)))
        assert elsewhere.starts == self.windows[1:]
        assert elsewhere.blended().abs().max() < 1000

    def test_a_click_on_voxel_0_counts(self, network: Vista3D, image: Tensor) -> None:
        """MONAI drops it: a click must lie strictly inside its window there."""
        whole = [slice(None), slice(None), *Box((0, 0, 0), SIZE).slices]
        _, monais = VISTA3D.update_point_to_patch(
            _WithoutClicks(), whole, torch.tensor([[[0.0, 5, 5], [3, 5, 5]]]), torch.tensor([[1, 1]])
        )
        assert monais.tolist() == [[1]]  # the other is gone
        (with_both,) = self.segment(network, image, clicks(LIVER, (0, 5, 5), (3, 5, 5)))
        (without,) = self.segment(network, image, clicks(LIVER, (3, 5, 5)))
        image_map = compute_image_map(network, image, (0, 0, 0), SIZE)
        points = torch.tensor([[[0.0, 5, 5], [3, 5, 5]]])
        expected = network.point_head.logits(image_map, points, torch.tensor([[1, 1]]), torch.tensor([True]))
        torch.testing.assert_close(with_both.windows[0], expected[0, 0], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(without.windows[0], expected[0, 0], atol=1e-2)

    @pytest.mark.parametrize("other", [TUMOR, NEW])
    def test_the_head_is_told_of_special_and_new_classes(
        self, network: Vista3D, image: Tensor, other: ClickTarget
    ) -> None:
        """In MONAI a stale list decides what is special, and an id above 132 counts as known unless said twice."""
        (known,) = self.segment(network, image, clicks(LIVER, (20, 14, 12)))
        (told,) = self.segment(network, image, clicks(other, (20, 14, 12)))
        assert not torch.allclose(known.windows[0], told.windows[0], atol=1e-2)

    def test_nothing_is_nan_even_where_everything_is_air(self, network: Vista3D) -> None:
        air = torch.zeros(SHAPE)
        (found,) = self.segment(network, air, clicks(LIVER, (20, 14, 12)))
        assert found.windows[0].isfinite().all()


class _WithoutClicks(VISTA3D):
    """MONAI's network without its parts, for the code before they are needed."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.NINF_VALUE = -9999
        self.auto_freeze = False

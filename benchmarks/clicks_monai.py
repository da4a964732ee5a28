"""MONAI's side of the click benchmark: ``point_based_window_inferer`` in fp32, as its user would call it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch

import sides
from auto_vs_monai import ROI
from click_places import (
    LIVER,
    Said,
    Voxel,
    around,
    block_clicks,
    block_image,
    block_mask,
    centre,
    reference,
    seconds_of,
    session_clicks,
)

SURE = 8.0
"""The logit of an earlier mask's voxels; minus that outside."""


class MonaiScan:
    """A network and one image on its grid, clicked in the voxels of the image's file.

    Args:
        network: MONAI's VISTA3D.
        image: A NIfTI file.
    """

    def __init__(self, network: Any, image: str | Path) -> None:
        import monai.transforms as mt

        self.network = network
        self._before = mt.Compose(
            [
                mt.LoadImaged("image", image_only=True),
                mt.EnsureChannelFirstd("image"),
                mt.Spacingd("image", pixdim=[1.5] * 3, mode="bilinear"),
                mt.ScaleIntensityRanged("image", -963.8247715525971, 1053.678477684517, 0, 1, clip=True),
                mt.Orientationd("image", axcodes="RAS"),
            ]
        )
        self.image = self._before({"image": str(image)})["image"]
        own = np.asarray(nibabel.load(image).affine)
        self._to_model = np.linalg.inv(np.asarray(self.image.affine)) @ own

    def places(self, voxels: Sequence[Voxel]) -> torch.Tensor:
        """Return voxels of the file as voxels of the image the network sees, ``(1, n, 3)``."""
        points = np.asarray(voxels, dtype=np.float64) @ self._to_model[:3, :3].T + self._to_model[:3, 3]
        return torch.from_numpy(np.round(points)).float()[None]

    def click(self, clicks: Sequence[Said], earlier: Any, **more: Any) -> tuple[float, Any, np.ndarray]:
        """Ask about the newest click; return the seconds, the logits, and the mask on the file's own grid."""
        import monai.transforms as mt
        from monai.apps.vista3d.inferer import point_based_window_inferer

        start = time.perf_counter()
        logits = point_based_window_inferer(
            self.image[None],
            ROI,
            self.network,
            point_coords=self.places([click.voxel for click in clicks]),
            point_labels=torch.tensor([[click.positive for click in clicks]]).int(),
            prompt_class=torch.tensor([[1]]),
            prev_mask=earlier,
            point_start=len(clicks) - 1,
            transpose=True,
            **more,
        )
        result = {"image": self.image, "pred": (logits[0] > 0).float()}
        result = mt.Invertd("pred", transform=self._before, orig_keys="image", nearest_interp=True)(result)
        seconds = time.perf_counter() - start
        return seconds, torch.nan_to_num(logits, nan=-SURE), np.asarray(result["pred"][0]) > 0.5


def monai_side(options: argparse.Namespace) -> dict[str, Any]:
    """Ask MONAI's inferer the four questions, and keep the masks and the logits to be compared."""
    from monai.networks.nets import vista3d132
    from safetensors.torch import load_file

    network = vista3d132(in_channels=1).eval()
    network.load_state_dict(load_file(options.weights))
    scan, middle = MonaiScan(network, options.image), centre(reference(options) == LIVER)
    folder, clicks = Path(options.folder), session_clicks(Path(options.folder))
    answer: dict[str, Any] = {}
    with torch.no_grad():
        network(torch.rand(1, 1, 64, 64, 64), class_vector=torch.tensor([[1]]))
        answer["first_click_s"], _, first = scan.click([Said(middle, True)], None)
        earlier, times = None, list[float]()
        for number in range(1, len(clicks) + 1):
            seconds, earlier, last = scan.click(clicks[:number], earlier)
            times.append(seconds)
        answer |= {
            "later_click_s": statistics.median(times[1:]),
            "session_s": sum(times),
            "session_clicks_s": times,
        }
        answer |= _one_window(options, scan, middle)
        answer["peak_gb"] = sides.peak_gigabytes()
        block = _corrected(network, folder)
    np.savez_compressed(folder / f"masks_{options.side}.npz", first=first, session=last, block=block)
    return answer


def _one_window(options: argparse.Namespace, scan: MonaiScan, middle: Voxel) -> dict[str, float]:
    """Click 1, 5 and 20 objects in one window, and keep the window and the logits of one click in it."""
    shape = scan.image.shape[1:]
    corner = [max(0, min(int(p) - 64, n - 128)) for p, n in zip(scan.places([middle])[0, 0], shape, strict=True)]
    window = scan.image[None][(..., *(slice(a, a + 128) for a in corner))].as_tensor()
    answer = {}
    for count in options.objects:
        points = scan.places(around(middle, count))[0][:, None] - torch.tensor(corner)
        answer[f"{count}_objects_s"] = seconds_of(lambda points=points: _ask_in_fives(scan.network, window, points))
    points = scan.places([middle])[0][:, None] - torch.tensor(corner)
    one = {"point_labels": torch.tensor([[1]]).int(), "prompt_class": torch.tensor([[1]])}
    logits = scan.network(window, point_coords=points, **one)
    torch.save({"window": window, "points": points, "logits": logits}, Path(options.folder) / "monai_window.pt")
    return answer


def _ask_in_fives(network: Any, window: torch.Tensor, points: torch.Tensor) -> None:
    """Ask MONAI's network about zero-shot objects, five at a time (20 took over 19 GB), the image seen once."""
    for some in points.split(5):
        asked = {"point_coords": some, "point_labels": torch.ones(len(some), 1).int()}
        asked["prompt_class"] = torch.full((len(some), 1), 200)  # above every trained class
        network(window, keep_cache=True, **asked)
    network.image_embeddings = None


def _corrected(network: Any, folder: Path) -> np.ndarray:
    """Correct the block's earlier mask by its clicks; return the mask after each of them, ``(n, i, j, k)``.

    The image is seen once (``keep_cache``): the block is one window, wherever the click lies.
    """
    block, clicks = MonaiScan(network, block_image(folder)), block_clicks(folder)
    earlier = torch.from_numpy(np.where(block_mask(folder), SURE, -SURE)).float()[None, None]
    masks = [
        block.click(clicks[:number], earlier.clone(), keep_cache=True)[2] for number in range(1, len(clicks) + 1)
    ]
    network.image_embeddings = None
    return np.stack(masks)

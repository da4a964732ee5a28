"""Clicks on a real CT at full width: ours against MONAI's ``point_based_window_inferer``, as a user waits for them.

Each side is a process of its own, one after the other, with the same name-seeded weights: MONAI in fp32 with
``point_start`` at the newest click and the earlier result as ``prev_mask``, ours by default (bf16 where the
processor has it), through the very ``Session`` users run. A click is timed until the mask stands on the scan's
own grid; loading, and preparing the volume, is not counted. Four questions: the first click in a window, later
clicks in it, ten clicks as a simulated user makes them (in the largest error of balls around the clicks before),
and 1, 5 and 20 objects clicked in one window that was not seen before (MONAI's inferer takes one object: its
network is asked directly). The logits of one click in one window are compared.

    python benchmarks/clicks_vs_monai.py [--image ../shared/data/totalsegmentator-example/example_ct.nii.gz]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch

import sides
from auto_vs_monai import EXAMPLE, ROI, write_weights

SIDES = ("simulate", "monai-fp32", "vesalius")
OBJECTS = (1, 5, 20)
LIVER, FIRST = 5, (5, 1, 2)
"""TotalSegmentator's ids: the session is about the liver; first clicks fall on liver, spleen and right kidney."""
OUR_LATER, SESSION, BALL_MM = 10, 10, 25.0


def main() -> None:
    """Run the sides, compare, print a table, write the JSON."""
    options = parse()
    if options.side:
        torch.set_num_threads(options.threads)
        warnings.simplefilter("ignore")
        run = {"simulate": simulate, "monai-fp32": monai_side, "vesalius": vesalius_side}
        print(json.dumps(run[options.side](options)))
        return
    folder = Path(options.folder or tempfile.mkdtemp(prefix="clicks_vs_monai_"))
    weights = write_weights(folder)
    shared = ["--image", options.image, "--weights", str(weights), "--folder", str(folder)]
    shared += ["--threads", str(options.threads)]
    measured = {side: sides.run_side_once(folder, __file__, side, *shared) for side in SIDES}
    theirs, ours = measured["monai-fp32"], measured["vesalius"]
    both = [what for what, value in theirs.items() if what in ours and isinstance(value, float)]
    rows = [(what, theirs[what], ours[what], ours[what] / theirs[what]) for what in both]
    sides.print_table([["", "monai-fp32 s", "vesalius s", "ratio"], *map(list, rows)])
    ours["20_objects_of_1"] = ours["20_objects_s"] / ours["1_objects_s"]
    agreement = compare(folder)
    print({"20 objects / 1 object, ours": ours["20_objects_of_1"], **agreement})
    ratios = {what.removesuffix("_s"): ratio for what, _, _, ratio in rows}
    record = {"sides": measured, "kept": sides.kept_sides(folder, measured), "ratios": ratios}
    sides.write_result("clicks_vs_monai", {**record, "agreement": agreement, "threads": options.threads})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--image", default=str(EXAMPLE), help="a CT; NAME_seg117.nii.gz beside it says where to click"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", help="where the sides work; by default a new one")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    return parser.parse_args()


def reference(options: argparse.Namespace) -> np.ndarray:
    """Return the label map beside the image: where users would click; what networks say is not measured on it."""
    path = options.image.replace(".nii.gz", "_seg117.nii.gz")
    return np.asanyarray(nibabel.load(path).dataobj).astype(np.uint8)


def centre(mask: np.ndarray) -> tuple[float, float, float]:
    """Return the voxel of a mask nearest to its centroid."""
    voxels = np.argwhere(mask)
    i, j, k = voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))].tolist()
    return i, j, k


def around(voxel: tuple[float, float, float], count: int) -> list[tuple[float, float, float]]:
    """Return places within 12 mm along each axis (4 voxels of the example's 3 mm)."""
    shifts = np.random.default_rng(0).integers(-4, 5, size=(count, 3))
    return [tuple(float(a + b) for a, b in zip(voxel, shift, strict=True)) for shift in shifts]  # type: ignore[misc]


def seconds_of(act: Callable[[], Any]) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def our_sessions(options: argparse.Namespace) -> Callable[[], Any]:
    """Return what opens a session on the image, from nothing; the network has run once."""
    import vesalius
    from vesalius.inference.segmenter import SegmentOptions

    segmenter = vesalius.load(options.weights)
    volume = vesalius.read(options.image)
    with torch.inference_mode():
        segmenter.network.point_features(torch.rand(1, 1, 64, 64, 64))
    return lambda: vesalius.Session(segmenter, volume, options=SegmentOptions(unvalidated=True))


def simulate(options: argparse.Namespace) -> dict[str, Any]:
    """Place the clicks of the session: each in the largest error of balls around the ones before.

    Seeded weights find nothing, so that a user who saw their masks would click in one place for ever.
    """
    from vesalius.evaluation.balls import balls
    from vesalius.io.formats import read
    from vesalius.prompts.simulate import Click, next_click

    grid, truth = read(options.image).grid, reference(options) == LIVER
    rng, clicks = np.random.default_rng(0), list[Click]()
    for _ in range(SESSION):
        click = next_click(truth, balls(clicks, grid, BALL_MM), rng=rng, jitter_mm=3.0, spacing_mm=grid.spacing_mm)
        assert click is not None
        clicks.append(click)
    said = [{"voxel": click.point_ijk, "positive": click.positive} for click in clicks]
    (Path(options.folder) / "clicks.json").write_text(json.dumps(said))
    return {"clicks": len(clicks), "positive": sum(click.positive for click in clicks)}


def vesalius_side(options: argparse.Namespace) -> dict[str, Any]:
    """Ask our session the four questions."""
    import vesalius

    begin, labels = our_sessions(options), reference(options)
    clicks = json.loads((Path(options.folder) / "clicks.json").read_text())

    def click(session: Any, voxel: Any, target: str = "liver", positive: bool = True) -> float:
        def act() -> None:
            session.add(vesalius.PointPrompt(target=target, voxel=tuple(voxel), positive=positive))
            session.predict()

        return seconds_of(act)

    answer: dict[str, Any] = {}
    answer["first_click_s"] = statistics.median(click(begin(), centre(labels == label)) for label in FIRST)
    session, middle = begin(), centre(labels == LIVER)
    click(session, middle)
    later = [click(session, voxel) for voxel in around(middle, OUR_LATER)]
    answer["later_click_s"], answer["later_clicks_s"] = statistics.median(later), later
    session = begin()
    times = [click(session, c["voxel"], positive=c["positive"]) for c in clicks]
    answer |= {"session_s": sum(times), "session_clicks_s": times}
    answer |= {"session_hits": session.image_maps.hits, "session_misses": session.image_maps.misses}
    for count in OBJECTS:
        session = begin()
        for number, voxel in enumerate(around(middle, count)):
            session.add(vesalius.PointPrompt(target=f"new:object {number}", voxel=voxel))
        answer[f"{count}_objects_s"] = seconds_of(session.predict)
    answer["peak_gb"] = sides.peak_gigabytes()
    _save_our_logits(options)
    return answer


def _save_our_logits(options: argparse.Namespace) -> None:
    """Ask our network, as the session loads it, about the window and click that MONAI's side left."""
    import vesalius

    network = vesalius.load(options.weights).network
    left = torch.load(Path(options.folder) / "monai_window.pt")
    with torch.inference_mode():
        logits = network.point_logits(left["window"], left["points"], torch.tensor([[1]]), torch.tensor([True]))
    torch.save(logits.float().clone(), Path(options.folder) / "our_logits.pt")


def monai_side(options: argparse.Namespace) -> dict[str, Any]:
    """Ask MONAI's inferer the four questions."""
    import monai.transforms as mt
    from monai.apps.vista3d.inferer import point_based_window_inferer
    from monai.networks.nets import vista3d132
    from safetensors.torch import load_file

    network = vista3d132(in_channels=1).eval()
    network.load_state_dict(load_file(options.weights))
    before = mt.Compose(
        [
            mt.LoadImaged("image", image_only=True),
            mt.EnsureChannelFirstd("image"),
            mt.Spacingd("image", pixdim=[1.5] * 3, mode="bilinear"),
            mt.ScaleIntensityRanged("image", -963.8247715525971, 1053.678477684517, 0, 1, clip=True),
            mt.Orientationd("image", axcodes="RAS"),
        ]
    )
    data = before({"image": options.image})
    image, labels = data["image"], reference(options)
    to_model = np.linalg.inv(np.asarray(image.affine)) @ np.asarray(nibabel.load(options.image).affine)
    clicks = json.loads((Path(options.folder) / "clicks.json").read_text())

    def places(voxels: list[Any]) -> torch.Tensor:
        points = np.asarray(voxels, dtype=np.float64) @ to_model[:3, :3].T + to_model[:3, 3]
        return torch.from_numpy(np.round(points)).float()[None]

    def click(voxels: list[Any], positive: list[bool], earlier: Any) -> tuple[float, Any]:
        """Ask about the newest click, thresholded and brought back to the scan's own grid."""
        start = time.perf_counter()
        logits = point_based_window_inferer(
            image[None],
            ROI,
            network,
            point_coords=places(voxels),
            point_labels=torch.tensor([positive]).int(),
            prompt_class=torch.tensor([[1]]),
            prev_mask=earlier,
            point_start=len(voxels) - 1,
            transpose=True,
        )
        result = {"image": image, "pred": (logits[0] > 0).float()}
        mt.Invertd("pred", transform=before, orig_keys="image", nearest_interp=True)(result)
        return time.perf_counter() - start, torch.nan_to_num(logits, nan=-10.0)

    answer: dict[str, Any] = {}
    with torch.no_grad():
        network(torch.rand(1, 1, 64, 64, 64), class_vector=torch.tensor([[1]]))
        answer["first_click_s"], earlier = click([centre(labels == LIVER)], [True], None)
        earlier, times = None, []
        for number in range(1, len(clicks) + 1):
            some = clicks[:number]
            seconds, earlier = click([c["voxel"] for c in some], [c["positive"] for c in some], earlier)
            times.append(seconds)
        answer |= {
            "later_click_s": statistics.median(times[1:]),
            "session_s": sum(times),
            "session_clicks_s": times,
        }
        middle = centre(labels == LIVER)
        start = [
            max(0, min(int(p) - 64, n - 128)) for p, n in zip(places([middle])[0, 0], image.shape[1:], strict=True)
        ]
        window = image[None][(..., *(slice(a, a + 128) for a in start))].as_tensor()
        for count in OBJECTS:
            points = places(around(middle, count))[0][:, None] - torch.tensor(start)
            answer[f"{count}_objects_s"] = seconds_of(lambda points=points: _ask_in_fives(network, window, points))
        points = places([middle])[0][:, None] - torch.tensor(start)
        one = {"point_labels": torch.tensor([[1]]).int(), "prompt_class": torch.tensor([[1]])}
        logits = network(window, point_coords=points, **one)
    kept = {"window": window, "points": points, "logits": logits}
    torch.save(kept, Path(options.folder) / "monai_window.pt")
    answer["peak_gb"] = sides.peak_gigabytes()
    return answer


def _ask_in_fives(network: Any, window: torch.Tensor, points: torch.Tensor) -> None:
    """Ask MONAI's network about zero-shot objects, five at a time (20 took over 19 GB), the image seen once."""
    for some in points.split(5):
        asked = {"point_coords": some, "point_labels": torch.ones(len(some), 1).int()}
        asked["prompt_class"] = torch.full((len(some), 1), 200)  # above every trained class
        network(window, keep_cache=True, **asked)
    network.image_embeddings = None


def compare(folder: Path) -> dict[str, float]:
    """Say how far the logits of one click in one window lie apart, and how many have the same sign."""
    theirs = torch.load(folder / "monai_window.pt")["logits"].flatten()
    ours = torch.load(folder / "our_logits.pt").flatten()
    return {
        "difference": ((ours - theirs).abs().max() / theirs.abs().max()).item(),
        "same_sign": ((ours > 0) == (theirs > 0)).float().mean().item(),
        "positive": (theirs > 0).float().mean().item(),
    }


if __name__ == "__main__":
    main()

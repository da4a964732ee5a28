"""Which library changes training windows: milliseconds of each change on a window, ours beside three libraries.

Every side makes the same changes to the same window of a real CT with its labels: one turned and scaled cut (12
degrees about each axis, 0.85 to 1.18; image linear, labels nearest) out of a region of 1.5 times the window, and
noise, blur, scale of intensities, shift, gamma and coarser voxels, each always, on one core; the times are the
processor's, and the sides take turns. `p` is the chain as it would run: each intensity change in one window of
five, the cut always. Sides that are not installed are left out.

The training loop draws windows in several threads at once, each from its own seed. `repeats` tells whether a side
bears that: 600 small windows of noise in one thread and in two are the same.

    python benchmarks/augmentation.py [--window 96] [--times 15]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import requires, version
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sides
from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import resample_linear, resample_points
from vesalius.io.formats import read, read_labels

Change = Callable[[Tensor, int], Tensor]
"""A window [i j k] in 0..1 and a seed to the changed window."""
Cut = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""A region, its labels and a seed to a turned and scaled window of both."""
CHANGES = ("noise", "blur", "scale", "shift", "gamma", "coarser")
SHARE = 0.2


def region(side: int) -> tuple[Tensor, Tensor]:
    """Return a cube of a real CT at 1.5 mm in 0..1, and its labels."""
    folder = sides.SHARED_DATA / "totalsegmentator-example"
    image, labels = read(folder / "example_ct.nii.gz"), read_labels(folder / "example_ct_seg117.nii.gz")
    target = image.grid.respaced((1.5, 1.5, 1.5))
    start = [(n - side) // 2 for n in target.shape]
    shift = np.eye(4)
    shift[:3, 3] = start
    target = Grid((side, side, side), target.affine @ shift)
    fine = resample_linear(image.data[0], image.grid, target)
    drawn = resample_points(labels.data.astype(np.uint8), labels.grid, target, nearest=True)
    return ((fine + 1000) / 2000).clamp(0, 1).contiguous(), torch.from_numpy(drawn)


def vesalius_side(size: int) -> tuple[Cut, Mapping[str, Change]]:
    """Ours: ``transforms.deformation`` and ``transforms.degradation``, in torch."""
    from torch.nn import functional

    from vesalius.transforms.augment import Augmentation
    from vesalius.transforms.deformation import random_map, sample, window_points
    from vesalius.transforms.degradation import coarsened

    config = Augmentation(keep_sharp=0.0)

    def cut(image: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        linear = random_map(config, (1.5, 1.5, 1.5), np.random.default_rng(seed))
        points = window_points(np.array(image.shape) / 2, linear, (size,) * 3)
        return (
            sample(image.numpy(), points, nearest=False, outside=0.0),
            sample(labels.numpy(), points, nearest=True, outside=0.0),
        )

    def noise(image: Tensor, seed: int) -> Tensor:
        rng = np.random.default_rng(seed)
        return image + 0.05 * torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))

    def blur(image: Tensor, _: int) -> Tensor:
        kernel = torch.exp(-0.5 * torch.arange(-4.0, 5.0) ** 2)
        for axis in range(3):
            shape = [1, 1, 1, 1, 1]
            shape[2 + axis] = 9
            padding = [4 if a == axis else 0 for a in range(3)]
            image = functional.conv3d(image[None, None], (kernel / kernel.sum()).view(shape), padding=padding)[0, 0]
        return image

    return cut, {
        "noise": noise,
        "blur": blur,
        "scale": lambda image, _: image * 1.1,
        "shift": lambda image, _: image + 0.1,
        "gamma": lambda image, _: image.clamp(0, 1) ** 1.2,
        "coarser": lambda image, _: coarsened(image, np.array([2.0, 2.0, 2.0])),
    }


def monai_side(size: int) -> tuple[Cut, Mapping[str, Change]]:
    """MONAI's dictionary and array transforms, each seeded."""
    from monai import transforms

    turn = [np.pi / 15] * 3
    cutter = transforms.RandAffined(
        ["image", "label"], prob=1.0, rotate_range=turn, scale_range=[0.18] * 3, spatial_size=(size,) * 3,
        mode=("bilinear", "nearest"), padding_mode="zeros", cache_grid=True,
    )  # fmt: skip

    def cut(image: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        cutter.set_random_state(seed)
        done = cutter({"image": image[None], "label": labels[None]})
        return done["image"][0], done["label"][0]

    made: dict[str, Callable[[], Any]] = {
        "noise": lambda: transforms.RandGaussianNoise(prob=1.0, std=0.05),
        "blur": lambda: transforms.RandGaussianSmooth((1, 1), (1, 1), (1, 1), prob=1.0),
        "scale": lambda: transforms.RandScaleIntensity((0.1, 0.1), prob=1.0),
        "shift": lambda: transforms.RandShiftIntensity((0.1, 0.1), prob=1.0),
        "gamma": lambda: transforms.RandAdjustContrast(prob=1.0, gamma=(1.2, 1.2)),
        "coarser": lambda: transforms.RandSimulateLowResolution(prob=1.0, zoom_range=(0.5, 0.5)),
    }
    return cut, {name: _seeded_monai(make) for name, make in made.items()}


def _seeded_monai(make: Callable[[], Any]) -> Change:
    """Give every window a transform of its own, which holds its own generator."""

    def changed(image: Tensor, seed: int) -> Tensor:
        change = make()
        change.set_random_state(seed)
        result: Tensor = change(image[None])[0]
        return result

    return changed


def torchio_side(size: int) -> tuple[Cut, Mapping[str, Change]]:
    """TorchIO's random transforms; its generator is torch's global one."""
    import SimpleITK
    import torchio

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    move = torchio.RandomAffine(scales=(0.85, 1.18), degrees=12, image_interpolation="linear")
    crop = torchio.CropOrPad(size)

    def cut(image: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(seed)
        subject = torchio.Subject(
            image=torchio.ScalarImage(tensor=image[None]), label=torchio.LabelMap(tensor=labels[None])
        )
        done = crop(move(subject))
        return done["image"].data[0], done["label"].data[0]

    made: dict[str, Any] = {
        "noise": torchio.RandomNoise(std=(0.05, 0.05)),
        "blur": torchio.RandomBlur(std=(1, 1)),
        "scale": torchio.Lambda(lambda image: image * 1.1),
        "shift": torchio.Lambda(lambda image: image + 0.1),
        "gamma": torchio.RandomGamma(log_gamma=(0.18, 0.18)),
        "coarser": torchio.RandomAnisotropy(axes=(0, 1, 2), downsampling=(2, 2)),
    }
    return cut, {name: _seeded_globally(lambda image, f=f: f(image[None])[0]) for name, f in made.items()}


def batchgenerators_side(size: int) -> tuple[Cut, Mapping[str, Change]]:
    """batchgeneratorsv2, as nnU-Net calls it; its generators are NumPy's and torch's global ones."""
    from batchgeneratorsv2.transforms.intensity.brightness import (
        BrightnessAdditiveTransform,
        MultiplicativeBrightnessTransform,
    )
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    turn = float(np.pi / 15)
    cutter = SpatialTransform(
        (size,) * 3, 0, False, p_rotation=1, rotation=(-turn, turn), p_scaling=1, scaling=(0.85, 1.18),
        p_synchronize_scaling_across_axes=1, mode_seg="nearest",
    )  # fmt: skip

    def cut(image: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        np.random.seed(seed)
        torch.manual_seed(seed)
        done = cutter(image=image[None].clone(), segmentation=labels[None].clone())
        return done["image"][0], done["segmentation"][0]

    made: dict[str, Any] = {
        "noise": GaussianNoiseTransform((0.05, 0.05), 1.0, True),
        "blur": GaussianBlurTransform((1.0, 1.0), p_per_channel=1.0, benchmark=False),
        "scale": MultiplicativeBrightnessTransform((1.1, 1.1), True, 1.0),
        "shift": BrightnessAdditiveTransform(0.1, 0.0, False, 1.0),
        "gamma": GammaTransform((1.2, 1.2), 0.0, True, 1.0, 0.0),
        "coarser": SimulateLowResolutionTransform((0.5, 0.5), True, True, None, p_per_channel=1.0),
    }
    return cut, {
        name: _seeded_globally(lambda image, f=f: f(image=image[None].clone())["image"][0])
        for name, f in made.items()
    }


def _seeded_globally(change: Callable[[Tensor], Tensor]) -> Change:
    def changed(image: Tensor, seed: int) -> Tensor:
        np.random.seed(seed)
        torch.manual_seed(seed)
        return change(image)

    return changed


SIDES: Mapping[str, tuple[str, Callable[[int], tuple[Cut, Mapping[str, Change]]]]] = {
    "vesalius": ("vesalius", vesalius_side),
    "monai": ("monai", monai_side),
    "torchio": ("torchio", torchio_side),
    "batchgeneratorsv2": ("batchgeneratorsv2", batchgenerators_side),
}


def repeats(change: Change) -> bool:
    """Say whether two threads that draw windows at once get the same windows whenever they do."""
    small, seeds = torch.zeros(24, 24, 24), [1, 2, 3] * 200
    alone = [change(small, seed).clone() for seed in seeds]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda seed: change(small, seed).clone(), seeds))
    return all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def milliseconds(
    runs: Mapping[tuple[str, str], Callable[[int], object]], times: int
) -> dict[tuple[str, str], float]:
    """Return the median processor time of each run, all taken in turns, after one that is not counted."""
    spent: dict[tuple[str, str], list[float]] = {name: [] for name in runs}
    for seed in range(times + 1):
        for name, run in runs.items():
            begun = time.process_time()
            run(seed)
            spent[name].append(time.process_time() - begun)
    return {name: 1000 * statistics.median(seconds[1:]) for name, seconds in spent.items()}


def main() -> None:
    """Measure every side that is installed, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=96)
    parser.add_argument("--times", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    image, labels = region(options.window * 3 // 2)
    runs: dict[tuple[str, str], Callable[[int], object]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name, (package, make) in SIDES.items():
        if importlib.util.find_spec(package) is None:
            print(f"{name}: not installed")
            continue
        cut, changes = make(options.window)
        window, drawn = cut(image, labels, 0)
        assert tuple(window.shape) == (options.window,) * 3
        assert set(drawn.unique().tolist()) <= set(labels.unique().tolist())
        runs[name, "cut"] = lambda seed, c=cut: c(image, labels, seed)
        window = window.contiguous()
        for kind in CHANGES:
            runs[name, kind] = lambda seed, f=changes[kind], w=window: f(w, seed)
        needs = len([line for line in requires(package) or [] if "extra ==" not in line])
        facts[name] = {"repeats": repeats(changes["noise"]), "version": version(package), "needs": needs}
    spent = milliseconds(runs, options.times)
    measured = {}
    for name, fact in facts.items():
        row = {kind: spent[name, kind] for kind in ("cut", *CHANGES)}
        measured[name] = {**row, "p": row["cut"] + SHARE * sum(row[kind] for kind in CHANGES), **fact}
    columns = list(measured["vesalius"])
    sides.print_table([["side", *columns], *([name, *row.values()] for name, row in measured.items())])
    sides.write_result("augmentation", {**vars(options), "threads": 1, "sides": measured})


if __name__ == "__main__":
    main()

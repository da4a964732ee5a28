"""A small network of slices with seeded weights and its spec, volumes for it, and nnU-Net's loop over them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from vesalius.geometry.affine import axes_between
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.models.build import build
from vesalius.models.meddinov3 import MedDino
from vesalius.spec import MedDinoArchitecture, ModelSpec, VitArchitecture

ENCODER = VitArchitecture(patch_size=4, width=32, depth=2, heads=2, layer_scale=0.5)
ARCHITECTURE = MedDinoArchitecture(encoder=ENCODER, taps=(0, 1), num_classes=4, decoder="primus")


def slice_spec(**changes: object) -> ModelSpec:
    fields: dict[str, object] = {
        "name": "slices",
        "architecture": ARCHITECTURE,
        "spacing_mm": (2.0, 2.0, 0.0),
        "orientation": "PLS",
        "normalisation": "fixed",
        "window_hu": (-1000.0, 1000.0),
        "mean_std_hu": (65.0, 178.0),
        "outside_hu": 65.0,  # nnU-Net fills up with zeros after it has normalised
        "window_size": (16, 16, 1),
        "mirror_axes": (0, 1),
        "vocabulary": ((1, "liver"), (2, "spleen"), (3, "aorta")),
        "everything": (1, 2, 3),
    }
    return ModelSpec(**{**fields, **changes})


def slice_network(spec: ModelSpec, seed: int = 0) -> MedDino:
    network = build(spec.architecture).eval()
    assert isinstance(network, MedDino)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = 1.0 if parameter.ndim < 2 else (parameter[0].numel()) ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale * 1.4)
        noise = torch.randn(4, 1, 32, 32, generator=generator)
        network.decoder.classify.bias -= network(noise).mean(dim=(0, 2, 3))  # so that every class is somewhere
    return network.requires_grad_(False)


def blobs(grid: Grid, seed: int = 0) -> Volume:
    """Return a CT of uneven tissue on any grid; its lowest and its highest slice are air."""
    rng = np.random.default_rng(seed)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    data = np.zeros(grid.shape)
    for wave in rng.normal(0, 0.5, (6, 3)):
        data += 120 * np.sin(voxels @ wave + rng.uniform(0, 6))
    volume = Volume(data.astype(np.int16)[None], grid, "CT")
    volume.reoriented("PLS").data[..., [0, -1]] = -1000  # a view
    return volume


def published_logits(network: MedDino, spec: ModelSpec, volume: Volume, *, tile: bool, mirror: bool) -> Tensor:
    """Return the logits of a whole volume ``[o h w k]`` as nnU-Net's loop gives them, at the model's spacing.

    Written out: a slice, a tile, a reflection at a time, gaussian weights, zeros around; at most a tile's size is
    filled up. Slices are resized here by torch's interpolation, by the size that nnU-Net asks for.
    """
    data = torch.from_numpy(np.ascontiguousarray(volume.reoriented(spec.orientation).data[0])).float()
    grid = volume.grid.reoriented(spec.orientation)
    sizes = [round(n * s / w) for n, s, w in zip(data.shape, grid.spacing_mm, spec.spacing_mm[:2], strict=False)]
    slices = data.permute(2, 0, 1)[:, None]
    slices = torch.nn.functional.interpolate(slices, size=sizes, mode="bilinear")
    slices = (slices.clamp(*spec.window_hu) - spec.mean_std_hu[0]) / spec.mean_std_hu[1]
    multiple = spec.architecture.size_multiple
    padded = [
        max(math.ceil(n / multiple) * multiple, side) for n, side in zip(sizes, spec.window_size, strict=False)
    ]
    before = [(p - n) // 2 for p, n in zip(padded, sizes, strict=True)]
    rows, columns = (slice(b, b + n) for b, n in zip(before, sizes, strict=True))
    whole = torch.zeros(network.architecture.num_classes, *padded, len(slices))
    sides = spec.window_size[:2] if tile else padded
    starts = [_steps(n, side) for n, side in zip(padded, sides, strict=True)]
    importance = _importance(sides)
    for k, image in enumerate(slices):
        canvas, weight = torch.zeros(1, 1, *padded), torch.zeros(padded)
        canvas[0, 0, rows, columns] = image[0]
        for y, x in itertools.product(*starts):
            place = (slice(y, y + sides[0]), slice(x, x + sides[1]))
            part = canvas[:, :, *place]
            logits = network(part)
            if mirror:
                for axes in ((2,), (3,), (2, 3)):
                    logits = logits + network(part.flip(axes)).flip(axes)
                logits = logits / 4
            whole[:, *place, k] += logits[0] * importance
            weight[place] += importance
        whole[..., k] /= weight
    return whole[:, rows, columns]


def published_labels(logits: Tensor, spec: ModelSpec, volume: Volume) -> np.ndarray:
    """Return labels on a volume's own grid out of logits at the model's spacing."""
    shape = volume.grid.reoriented(spec.orientation).shape
    slices = torch.nn.functional.interpolate(logits.permute(3, 0, 1, 2), size=shape[:2], mode="bilinear")
    found = slices.argmax(dim=1).permute(1, 2, 0).numpy().astype(np.uint8)
    order, flips = axes_between(spec.orientation, volume.grid.axis_codes)
    return np.ascontiguousarray(np.flip(found.transpose(order), [a for a in range(3) if flips[a]]))


def _steps(length: int, side: int) -> list[int]:
    count = math.ceil((length - side) / (side / 2)) + 1
    return [round(n * (length - side) / max(count - 1, 1)) for n in range(count)]


def _importance(sides: tuple[int, ...] | list[int]) -> Tensor:
    axes = [torch.exp(-(((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) / 2) for n in sides]
    return 10 * axes[0][:, None] * axes[1]

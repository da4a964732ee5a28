"""A small scan, a small network with both branches, and labels to begin with, for tests of sessions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from inference.small_model import small_network, small_spec
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmenter
from vesalius.prompts.types import PointPrompt

SHAPE = (26, 30, 24)


def scan(shape: tuple[int, int, int] = SHAPE, spacing: float = 3.0) -> Volume:
    data = np.full(shape, -1000, dtype=np.int16)
    body = tuple(slice(n // 6, n - n // 6) for n in shape)
    data[body] = np.random.default_rng(0).normal(40, 120, data[body].shape).astype(np.int16)
    return Volume(data[None], Grid(shape, np.diag([spacing, spacing, spacing, 1.0])), "CT")


def segmenter(**changes: object) -> Segmenter:
    spec = small_spec(window_size=(16, 16, 16))
    spec = replace(spec, architecture=replace(spec.architecture, point_branch=True), **changes)
    network = small_network(spec)
    generator = torch.Generator().manual_seed(1)
    for buffer in network.buffers():  # the frequencies of positions, which no seed of the parameters reaches
        buffer.copy_(torch.randn(buffer.shape, generator=generator))
    return Segmenter(network, spec)


def organs(volume: Volume) -> LabelMap:
    data = np.zeros(volume.grid.shape, dtype=np.uint8)
    data[6:13, 8:20, 6:16] = 1
    data[13:18, 8:20, 6:16] = 2
    tumour = np.zeros_like(data)
    tumour[8:11, 10:13, 8:11] = 5
    return LabelMap(data, volume.grid, {1: "liver", 2: "spleen", 5: "hepatic tumor"}, {"lesions": tumour})


def click(target: str, *voxel: float, positive: bool = True) -> PointPrompt:
    return PointPrompt(target=target, positive=positive, voxel=tuple(float(v) for v in voxel))

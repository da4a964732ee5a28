"""A small network with seeded weights and its spec, for tests that need some model and no particular one."""

from __future__ import annotations

import torch

from vesalius.models.build import build
from vesalius.models.vista3d import Vista3D
from vesalius.spec import ModelSpec, VistaArchitecture

VOCABULARY = (
    (1, "liver"),
    (2, "spleen"),
    (3, "left kidney"),
    (4, "right kidney"),
    (5, "hepatic tumor"),
    (6, "aorta"),
)


def small_spec(**changes: object) -> ModelSpec:
    fields: dict[str, object] = {
        "name": "small",
        "architecture": VistaArchitecture(width=8, blocks_down=(1, 1), num_embeddings=8, point_branch=False),
        "spacing_mm": (3.0, 3.0, 3.0),
        "window_size": (24, 24, 24),
        "vocabulary": VOCABULARY,
        "everything": (1, 2, 3, 4, 6),
    }
    return ModelSpec(**{**fields, **changes})


def small_network(spec: ModelSpec, seed: int = 0) -> Vista3D:
    network = build(spec.architecture).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = 1.0 if parameter.ndim < 2 else (parameter[0].numel()) ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale * 1.4)
    return network


class Threshold(Vista3D):
    """Stands in for a network: one feature is the intensity, the class vector asks for more than 450 HU."""

    @property
    def width(self) -> int:
        return self.architecture.width

    def mapped_features(self, windows: torch.Tensor) -> torch.Tensor:
        ones = torch.ones_like(windows)
        return torch.cat([windows, ones, *[torch.zeros_like(windows)] * (self.width - 2)], dim=1)

    def class_vectors(self, class_ids: torch.Tensor) -> torch.Tensor:
        vector = torch.zeros(len(class_ids), self.width)
        vector[:, 0], vector[:, 1] = 1.0, -0.7
        return vector

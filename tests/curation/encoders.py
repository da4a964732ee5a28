"""Specs of tiny encoders of every kind that features are taken of."""

from __future__ import annotations

from vesalius.spec import MedDinoArchitecture, ModelSpec, VistaArchitecture, VitArchitecture

VIT = VitArchitecture(in_channels=1, patch_size=4, width=24, depth=1, heads=2, registers=1, layer_scale=1.0)
SPECS = {
    "slices": ModelSpec(
        name="vit",
        architecture=VIT,
        spacing_mm=(2.0, 2.0, 0.0),
        orientation="PLS",
        window_size=(16, 16, 1),
        window_hu=(-1000.0, 1000.0),
    ),
    "segmenter of slices": ModelSpec(
        name="meddino",
        architecture=MedDinoArchitecture(encoder=VIT, taps=(0,)),
        spacing_mm=(2.0, 2.0, 0.0),
        orientation="PLS",
        window_size=(16, 16, 1),
        window_hu=(-1000.0, 1000.0),
    ),
    "volumes": ModelSpec(
        name="vista",
        architecture=VistaArchitecture(width=4, blocks_down=(1, 1), num_embeddings=4, point_branch=False),
        spacing_mm=(2.0, 2.0, 2.0),
        window_size=(16, 16, 16),
        window_hu=(-1000.0, 1000.0),
    ),
}

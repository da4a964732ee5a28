"""Specs of tiny encoders of every kind that features are taken of."""

from __future__ import annotations

from vesalius.spec import MedDinoArchitecture, ModelSpec, SamArchitecture, VistaArchitecture, VitArchitecture

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
SAM = ModelSpec(
    name="sam",
    architecture=SamArchitecture(
        patch_size=8, width=24, depth=2, heads=2, side=64, window=3, global_blocks=(1,), neck_width=48
    ),
    spacing_mm=(0.4, 0.4, 0.0),
    orientation="PLS",
    window_size=(64, 64, 1),
    window_hu=(-1000.0, 1000.0),
)

"""The outline of a network: as the network is built, and nothing drawn."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from vesalius.models.build import build
from vesalius.models.outline import outline
from vesalius.spec import (
    VIT_TOY,
    Architecture,
    MedDinoArchitecture,
    PromptedVitArchitecture,
    SamArchitecture,
    VistaArchitecture,
)

TOY = replace(VIT_TOY, in_channels=1, patch_size=4)
ARCHITECTURES: list[Architecture] = [
    VistaArchitecture(width=8, blocks_down=(1, 1), num_embeddings=4, last_supported=3, special_classes=()),
    TOY,
    MedDinoArchitecture(encoder=TOY, taps=(0, 3), num_classes=3),
    PromptedVitArchitecture(encoder=TOY, taps=(0, 3), width=8, num_embeddings=4, last_supported=3),
    SamArchitecture(patch_size=8, width=16, depth=2, heads=2, side=32, window=3, global_blocks=(1,), neck_width=8),
]

IMPORTS_NO_TRACING = """
import sys, torch
from vesalius.checkpoints.load import load_any
load_any("vesalius-small")
assert "torch._dynamo" not in sys.modules, "loading a model imports what traces programs"
with torch.device("meta"):
    torch.nn.Embedding(2, 2)
assert "torch._dynamo" in sys.modules, "the control: filling on the meta device imports it"
"""


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: type(one).__name__)
def test_it_has_the_network_s_tensors_without_numbers(architecture: Architecture) -> None:
    before = torch.get_rng_state()
    state = outline(architecture).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    built = build(architecture).state_dict()
    assert [(name, value.shape, value.dtype) for name, value in state.items()] == [
        (name, value.shape, value.dtype) for name, value in built.items()
    ]
    assert {value.device.type for value in state.values()} == {"meta"}


def test_a_model_is_loaded_without_what_traces_programs() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS_NO_TRACING], check=True)

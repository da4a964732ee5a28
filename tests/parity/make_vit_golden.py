"""Write ``golden/vit.safetensors`` and ``vit_names.json``: what timm and transformers answer for seeded weights.

Both libraries import torchvision, which the processor-only torch of this project cannot have beside it. So this
runs by hand in an environment of its own, and what it writes is kept:

    pip install --no-deps transformers timm huggingface_hub tokenizers regex pyyaml
    pip install --no-deps httpx2 httpcore2 truststore h11 anyio
    python tests/parity/make_vit_golden.py

Weights seeded by Meta's names enter timm through timm's own converter, and transformers through the table below;
the two must agree before anything is written. Then each library's network is seeded by its own names.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib.machinery
import json
import re
import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from safetensors.torch import save_file
from seeded_vit import meta_shapes, seeded_images, seeded_vit
from torch import Tensor, nn

GOLDEN = Path(__file__).parent / "golden"
SMALL = {"width": 128, "depth": 4, "heads": 2, "patch": 8}
FLEXICT = {"width": 144, "depth": 2, "heads": 2, "patch": 8}
"""Heads of 72 channels, as FlexiCT's; one channel."""
BASE = {"width": 768, "depth": 12, "heads": 12, "patch": 16}
SIZES = ((16, 24), (40, 24), (48, 56))
TAPS = (1, 3)
EVERY = 16
"""Of the full width only every sixteenth channel is kept."""

META_TO_TRANSFORMERS = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^storage_tokens$", "embeddings.register_tokens"),
    (r"^mask_token$", "embeddings.mask_token"),
    (r"^patch_embed\.proj", "embeddings.patch_embeddings"),
    (r"^blocks\.", "model.layer."),
    (r"attn\.proj", "attention.o_proj"),
    (r"ls1\.gamma", "layer_scale1.lambda1"),
    (r"ls2\.gamma", "layer_scale2.lambda1"),
    (r"mlp\.fc1", "mlp.up_proj"),
    (r"mlp\.fc2", "mlp.down_proj"),
)


def stub_torchvision() -> None:
    """Stand in for torchvision, of which the networks asked here use nothing, though timm imports it."""

    class Stub(types.ModuleType):
        __path__: list[str] = []  # noqa: RUF012 - what makes a module a package

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (nn.Module,), {}) if name == "FrozenBatchNorm2d" else MagicMock(name=name)

    class Finder:
        def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
            if name.partition(".")[0] != "torchvision":
                return None
            return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

        def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
            return Stub(spec.name)

        def exec_module(self, module: types.ModuleType) -> None:
            """Do nothing."""

    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]


def timm_network(sizes: dict[str, int], *, qkv_bias: bool, eps: float, channels: int = 3) -> nn.Module:
    """Return timm's network, as its registry makes it but for the sizes."""
    from functools import partial

    from timm.layers import LayerNorm
    from timm.models.eva import Eva

    return Eva(
        in_chans=channels,
        patch_size=sizes["patch"],
        embed_dim=sizes["width"],
        depth=sizes["depth"],
        num_heads=sizes["heads"],
        num_classes=0,
        img_size=64,
        dynamic_img_size=True,
        qkv_bias=qkv_bias,
        init_values=1.0,
        rope_type="dinov3",
        rope_temperature=100,
        rope_rotate_half=True,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        num_reg_tokens=4,
        use_fc_norm=False,
        norm_layer=partial(LayerNorm, eps=eps),
    ).eval()


def from_timm(network: Any, image: Tensor, taps: tuple[int, ...]) -> list[Tensor]:
    """Return all tokens of the taps, after the norm."""
    found = network.forward_intermediates(
        image, indices=list(taps), norm=True, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
    )
    return [torch.cat([prefix, patches], dim=1) for patches, prefix in found]


def transformers_network(sizes: dict[str, int], *, qkv_bias: bool, eps: float) -> Any:
    """Return the network of transformers."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    return DINOv3ViTModel(
        DINOv3ViTConfig(
            patch_size=sizes["patch"],
            hidden_size=sizes["width"],
            intermediate_size=4 * sizes["width"],
            num_hidden_layers=sizes["depth"],
            num_attention_heads=sizes["heads"],
            num_register_tokens=4,
            layer_norm_eps=eps,
            query_bias=qkv_bias,
            value_bias=qkv_bias,
        )
    ).eval()


def from_transformers(network: Any, image: Tensor, taps: tuple[int, ...]) -> list[Tensor]:
    """Return all tokens of the taps, after the norm."""
    states = network(image, output_hidden_states=True).hidden_states
    return [network.norm(states[tap + 1]) for tap in taps]


def as_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state in Meta's layout."""
    renamed = {}
    for name, tensor in state.items():
        if name.endswith(("periods", "bias_mask")):
            continue
        for pattern, theirs in META_TO_TRANSFORMERS:
            name = re.sub(pattern, theirs, name)  # noqa: PLW2901 - step by step
        if "attn.qkv" in name:
            for which, part in zip("qkv", tensor.chunk(3), strict=True):
                if not (which == "k" and name.endswith("bias")):
                    renamed[name.replace("attn.qkv", f"attention.{which}_proj")] = part
        else:
            renamed[name] = tensor.reshape(1, 1, -1) if name.endswith("mask_token") else tensor
    return renamed


@torch.no_grad()
def main() -> None:
    """Ask both libraries, compare them, write their answers."""
    import transformers
    from transformers import DINOv3ViTModel  # noqa: F401 - before the stand-in, which it would ask for its version

    stub_torchvision()
    import timm
    from timm.models.eva import checkpoint_filter_fn

    golden: dict[str, Tensor] = {}
    names: dict[str, dict[str, list[int]]] = {}
    worst = 0.0
    cases = [("dinov3", SMALL, True, 1e-5, SIZES, TAPS), ("meddinov3", SMALL, False, 1e-6, SIZES[1:2], TAPS)]
    cases += [("base", BASE, False, 1e-6, ((48, 64),), (2, 5, 8, 11))]
    for case, sizes, qkv_bias, eps, image_sizes, taps in cases:
        state = seeded_vit(meta_shapes(**sizes, qkv_bias=qkv_bias))
        of_timm = timm_network(sizes, qkv_bias=qkv_bias, eps=eps)
        of_timm.load_state_dict(checkpoint_filter_fn(dict(state), of_timm))
        of_transformers = transformers_network(sizes, qkv_bias=qkv_bias, eps=eps)
        of_transformers.load_state_dict(as_transformers(state))
        for height, width in image_sizes:
            image = seeded_images(height, width)
            first, second = from_timm(of_timm, image, taps), from_transformers(of_transformers, image, taps)
            for tap, one, other in zip(taps, first, second, strict=True):
                worst = max(worst, ((one - other).abs().max() / other.abs().max()).item())
                kept = other[..., ::EVERY] if case == "base" else other
                golden[f"{case}/{height}x{width}/{tap}"] = kept.contiguous()
        if case == "dinov3":
            masked = torch.tensor([[True, False, False, True, False, False]])
            answer = of_transformers(seeded_images(16, 24), bool_masked_pos=masked).last_hidden_state
            golden["dinov3/masked"] = answer.contiguous()
            for library, network, ask in (
                ("timm", of_timm, from_timm),
                ("transformers", of_transformers, from_transformers),
            ):
                shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
                network.load_state_dict(seeded_vit(shapes))
                names[library] = {name: list(shape) for name, shape in shapes.items()}
                golden[f"{library}/16x24"] = ask(network, seeded_images(16, 24), (3,))[0].contiguous()
        if case == "meddinov3":
            names["timm without biases"] = {n: list(tensor.shape) for n, tensor in of_timm.state_dict().items()}
    network = timm_network(FLEXICT, qkv_bias=False, eps=1e-6, channels=1)
    state = seeded_vit(meta_shapes(**FLEXICT, channels=1, qkv_bias=False))
    network.load_state_dict(checkpoint_filter_fn(state, network))
    golden["flexict/16x24"] = from_timm(network, seeded_images(16, 24)[:, :1], (1,))[0].contiguous()
    assert worst < 1e-5, f"timm and transformers differ by {worst:.1e}"
    metadata = {"torch": str(torch.__version__), "timm": timm.__version__, "transformers": transformers.__version__}
    GOLDEN.mkdir(exist_ok=True)
    save_file(golden, GOLDEN / "vit.safetensors", metadata={**metadata, "timm_vs_transformers": f"{worst:.1e}"})
    (GOLDEN / "vit_names.json").write_text(json.dumps(names, indent=1) + "\n")


if __name__ == "__main__":
    main()

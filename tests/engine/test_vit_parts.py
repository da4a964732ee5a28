"""Every tensor of a vision transformer has the rate of its layer, and the bare ones no weight decay."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

import pytest

from vesalius.engine.settings import Part
from vesalius.engine.vit_parts import vit_layers, without_decay
from vesalius.errors import UsageError
from vesalius.models.build import build
from vesalius.spec import VitArchitecture

TINY = VitArchitecture(patch_size=4, width=16, depth=2, heads=2)


@pytest.mark.parametrize("architecture", [TINY, replace(TINY, registers=0, qkv_bias=True)], ids=["plain", "biased"])
def test_every_pattern_names_something_and_every_tensor_has_its_layer_s_rate(architecture: VitArchitecture) -> None:
    names = [f"vit.{name}" for name, tensor in build(architecture).named_parameters() if tensor.numel()]
    layers, bare = (
        vit_layers(architecture, prefix="vit.", decay=0.5),
        without_decay(architecture, prefix="vit."),
    )
    assert all(any(fnmatchcase(name, part.names) for name in names) for part in (*layers, *bare))

    def named(name: str, parts: tuple[Part, ...]) -> list[Part]:
        return [part for part in parts if fnmatchcase(name, part.names)]

    for name in names:
        layer = 1 + int(name.split(".")[2]) if ".blocks." in name else 3 if ".norm." in name else 0
        assert [part.rate for part in named(name, layers)] == ([] if layer == 3 else [0.5 ** (3 - layer)]), name
    kept = {name for name in names if not named(name, bare)}
    assert kept == {name for name in names if name.endswith(".weight") and "norm" not in name}


def test_a_decay_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="layer decay"):
        vit_layers(TINY, prefix="", decay=0.0)

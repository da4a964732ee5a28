"""A network in another precision: loaded for who asks, and the one that is held stays."""

from __future__ import annotations

import torch

from inference.small_model import small_network, small_spec
from vesalius.inference.networks import Network, Networks
from vesalius.inference.speed import DTYPES
from vesalius.precision import Precision

SPEC = small_spec()


def network_in(precision: Precision) -> Network:
    return small_network(SPEC).to(DTYPES[precision]).train()


def test_another_precision_is_loaded_for_a_run_and_the_held_network_stays() -> None:
    networks = Networks(held=small_network(SPEC), reload=network_in)
    assert (networks.precision, networks.fallback, networks.device) == ("fp32", "bf16", torch.device("cpu"))
    assert networks.in_precision("fp32") is networks.held
    half = networks.in_precision("bf16")
    assert Networks(held=half).precision == "bf16"
    assert not half.training
    assert networks.half_bytes == sum(weight.nbytes for weight in half.parameters())


def test_what_cannot_be_loaded_again_or_is_small_already_has_no_fallback() -> None:
    alone = Networks(held=small_network(SPEC))
    assert alone.fallback is None
    assert alone.in_precision("bf16") is alone.held
    assert Networks(held=network_in("bf16"), reload=network_in).fallback is None

"""Bricks that several networks are built of."""
# SPDX-License-Identifier: Apache-2.0

from vesalius.models.layers.attention import Attention
from vesalius.models.layers.instance_norm import InstanceNorm
from vesalius.models.layers.position import FourierPosition
from vesalius.models.layers.residual import PostActivationBlock, PreActivationBlock
from vesalius.models.layers.two_way import TwoWayTransformer

__all__ = [
    "Attention",
    "FourierPosition",
    "InstanceNorm",
    "PostActivationBlock",
    "PreActivationBlock",
    "TwoWayTransformer",
]

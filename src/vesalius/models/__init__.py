"""Tensors to tensors: the networks, by the papers' nouns."""
# SPDX-License-Identifier: Apache-2.0

from vesalius.models.adapters import adapt
from vesalius.models.build import build, optimise_for_inference
from vesalius.models.class_head import compare
from vesalius.models.meddinov3 import MedDino
from vesalius.models.sam import Sam
from vesalius.models.vista3d import Vista3D
from vesalius.models.vit import SliceWise, Vit

__all__ = ["MedDino", "Sam", "SliceWise", "Vista3D", "Vit", "adapt", "build", "compare", "optimise_for_inference"]

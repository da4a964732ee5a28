"""The parts a procedural torso is made of: solids, tissues, and the organs drawn with them."""
# SPDX-License-Identifier: Apache-2.0

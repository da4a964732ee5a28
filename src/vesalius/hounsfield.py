"""Hounsfield units: what air is, where a body begins, and what a scanner can say; the one home of these numbers.

Water is 0 and air -1000 by definition of the unit. Where air ends depends on what is looked for: each constant says
which question it answers.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

AIR_HU = -1000.0
"""Air itself: around a body that is drawn, and around a slice that is smaller than a window."""
LOWEST_HU, HIGHEST_HU = -1024.0, 3071.0
"""Ends of the twelve bits in which scanners say it; the low end also stands where there is no scan."""
BODY_HU = -500.0
"""Halfway from air to water. Below it there is only air, around a body and in airways and lungs: a window
without any voxel above it holds nothing to segment."""
OPEN_AIR_HU = -800.0
"""Below it lies the air around a body; lungs, which are denser, mostly do not."""
NEARLY_AIR_HU = -950.0
"""Below it is nothing but air, noise included: no tissue, not even lung."""

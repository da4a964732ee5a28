"""Volumes in which an organ of an adult is found; outside them a person should look.

The limits are wide on purpose: they stand well outside the ranges that radiology textbooks give, so that disease
and build rarely cross them while a half-found or run-over organ does. All of these organs are one piece.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

PLAUSIBLE_ML: dict[str, tuple[float, float]] = {
    "aorta": (20, 700),
    "bladder": (5, 1500),
    "brain": (700, 2000),
    "brainstem": (8, 70),
    "esophagus": (4, 200),
    "gallbladder": (1, 300),
    "heart": (200, 2000),
    "inferior vena cava": (10, 300),
    "larynx": (4, 150),
    "left adrenal gland": (0.5, 40),
    "left kidney": (40, 600),
    "left lung": (300, 5000),
    "left parotid gland": (4, 120),
    "liver": (500, 4500),
    "mandible": (15, 200),
    "pancreas": (15, 300),
    "prostate": (5, 400),
    "right adrenal gland": (0.5, 40),
    "right kidney": (40, 600),
    "right lung": (300, 5500),
    "right parotid gland": (4, 120),
    "spinal cord": (3, 200),
    "spleen": (30, 1800),
    "stomach": (20, 3000),
}
"""Name -> smallest and largest plausible volume in ml."""

"""Lesions: tumours and cysts that grow inside organs, and are labelled only there."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vesalius.data.anatomy.canvas import LABEL_IDS, Canvas
from vesalius.data.anatomy.solids import Number, Vector, ellipsoid, rotation, to_frame
from vesalius.data.anatomy.subject import Subject

_LUNGS = ("left lung upper lobe", "left lung lower lobe", "right lung upper lobe", "right lung middle lobe",
          "right lung lower lobe")  # fmt: skip
_SPINE = (*(name for name in LABEL_IDS if name.startswith("vertebrae ")), "sacrum", "left hip", "right hip")


@dataclass(frozen=True)
class _Kind:
    label: str
    hosts: tuple[str, ...]
    """Organs it may lie in."""
    places: tuple[Vector, ...]
    """Points well inside those organs, mm."""
    spread_mm: Number
    radius_mm: tuple[Number, Number]
    chance: Number
    """That a given place has one."""
    core: str
    """The tissue it is made of."""


_KINDS = (
    _Kind(
        label="hepatic tumor",
        hosts=("liver",),
        places=((90, -10, 40), (70, 35, 50), (95, 20, -5), (45, 20, 62), (75, -20, 20), (5, 55, 60)),
        spread_mm=12,
        radius_mm=(5, 24),
        chance=0.45,
        core="tumour",
    ),
    _Kind(
        label="pancreatic tumor",
        hosts=("pancreas",),
        places=((30, 35, -34), (-20, 40, 4), (-60, 8, 18)),
        spread_mm=3,
        radius_mm=(7, 15),
        chance=0.35,
        core="tumour",
    ),
    _Kind(
        label="lung tumor",
        hosts=_LUNGS,
        places=((80, -30, 190), (75, 40, 140), (-80, -30, 180), (-70, 20, 230), (65, 10, 250), (-85, -40, 110)),
        spread_mm=14,
        radius_mm=(3, 20),
        chance=0.3,
        core="tumour",
    ),
    _Kind(
        label="colon cancer primaries",
        hosts=("colon",),
        places=((99, 8, -80), (30, 74, -58), (-106, -2, -80), (4, -28, -232), (-40, 38, -195)),
        spread_mm=4,
        radius_mm=(11, 20),
        chance=0.25,
        core="bowel wall",
    ),
    _Kind(
        label="bone lesion",
        hosts=_SPINE,
        places=((0, -17, 0), (0, -2, -73), (0, -54, 152), (0, -36, 66), (85, 0, -215), (-100, 10, -140)),
        spread_mm=5,
        radius_mm=(5, 12),
        chance=0.35,
        core="tumour",
    ),
    _Kind(
        label="left kidney cyst",
        hosts=("left kidney",),
        places=((-84, -20, 4), (-72, -8, -56)),
        spread_mm=6,
        radius_mm=(6, 20),
        chance=0.4,
        core="cyst",
    ),
    _Kind(
        label="right kidney cyst",
        hosts=("right kidney",),
        places=((84, -20, -10), (72, -8, -70)),
        spread_mm=6,
        radius_mm=(6, 20),
        chance=0.4,
        core="cyst",
    ),
)


@dataclass(frozen=True)
class _Lesion:
    kind: _Kind
    centre: Vector
    radii: Vector
    turn: np.ndarray
    rim_hu: Number
    core_hu: Number


class Lesions:
    """The lesions of one person."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._lesions = [lesion for kind in _KINDS for lesion in self._grow(subject, hu, kind)]

    @staticmethod
    def _grow(subject: Subject, hu: Mapping[str, float], kind: _Kind) -> list[_Lesion]:
        rng = subject.rng(f"lesions/{kind.label}")
        found = []
        sure = int(rng.integers(len(kind.places)))  # of every kind at least one
        for number, place in enumerate(kind.places):
            is_there = number == sure or rng.random() < kind.chance
            x, y, z = (float(v) for v in np.asarray(place) + np.clip(rng.normal(0, 0.5, 3), -1, 1) * kind.spread_mm)
            radius = float(np.exp(rng.uniform(*np.log(kind.radius_mm))))
            a, b, c = (float(v) for v in radius * np.exp(rng.normal(0, 0.15, 3)))
            turn = rotation(x=rng.uniform(0, 180), y=rng.uniform(0, 180), z=rng.uniform(0, 180))
            core = hu[kind.core] + float(rng.normal(0, 6))
            if kind.label == "bone lesion":
                core = float(rng.choice([40.0, 750.0]))  # lytic or sclerotic
            if is_there:
                found.append(_Lesion(kind, (x, y, z), (a, b, c), turn, core + float(rng.uniform(-5, 25)), core))
        return found

    def draw(self, canvas: Canvas) -> None:
        """Paint every lesion where its host is."""
        for lesion in self._lesions:
            window = canvas.around(lesion.centre, 1.5 * max(lesion.radii) + 4)
            if window is None:
                continue
            frame = to_frame(*canvas.points(window), lesion.centre, lesion.turn)
            distance = ellipsoid(*frame, lesion.radii)
            distance = distance + canvas.bump[window] * np.float32(min(1.6, 0.12 * max(lesion.radii)))
            hosts = np.isin(canvas.labels[window], [LABEL_IDS[host] for host in lesion.kind.hosts])
            distance = np.where(hosts, distance, np.float32(50))
            depth = np.clip(-distance * np.float32(1 / 5), 0, 1)
            hu = canvas.tissue(window, lesion.rim_hu, grain=4, mottle=6)
            hu += depth * np.float32(lesion.core_hu - lesion.rim_hu)
            if lesion.kind.core == "cyst":
                canvas.paint(window, distance, hu, lesion.kind.label)
            else:
                canvas.paint(window, distance, hu)
                canvas.mark(window, distance, lesion.kind.label)

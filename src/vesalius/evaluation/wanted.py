"""What a simulated user wants: the structures of a reference that can be clicked, as masks on the scan's grid."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vesalius.errors import UnknownClassError, UsageError
from vesalius.evaluation.matching import ClassPair, match_classes
from vesalius.evaluation.references import ReferenceCase
from vesalius.evaluation.scores import judged_in, placed_on
from vesalius.geometry.grid import Grid
from vesalius.inference.segmenter import Segmenter
from vesalius.prompts.targets import NEW, resolve_target
from vesalius.shapes import MaskArray

UNNAMED = f"{NEW}unnamed structure"
"""What a click is about on a structure that the model has no name for, or is not told the name of."""


@dataclass(frozen=True)
class Structure:
    """One structure of one case.

    Args:
        case: Name of the case.
        name: As the reference calls it.
        mask: Where it is.
        grid: Whose voxels these are.
    """

    case: str
    name: str
    mask: MaskArray
    grid: Grid


@dataclass(frozen=True)
class Wanted:
    """What is wanted of one case.

    Args:
        case: The scan with its reference.
        targets: Name in the reference -> what a click on it is about.
        skipped: Structures that cannot be clicked -> why.
        judged: Voxels of which the reference says something.
        pairs: The structures' ids in the reference.
    """

    case: ReferenceCase
    targets: Mapping[str, str]
    skipped: Mapping[str, str]
    judged: MaskArray | np.bool_
    pairs: tuple[ClassPair, ...]

    @classmethod
    def of(
        cls, case: ReferenceCase, segmenter: Segmenter, *, classes: Sequence[str] = (), is_new: bool = False
    ) -> Wanted:
        """Say what can be clicked in a case.

        Args:
            case: The scan with its reference.
            segmenter: The model.
            classes: Of these only; none at all means all.
            is_new: Withhold the names from the model.

        Raises:
            GeometryError: If the reference does not lie on the scan's voxels.
        """
        names = {label: name for label, name in case.truth.names.items() if label not in case.unknown}
        pairs = match_classes(names, names, classes=classes).pairs
        found = {pair.name: _target(pair.name, segmenter, is_new=is_new) for pair in pairs}
        truth = placed_on(case.volume.grid, case.truth, case.name)
        judged = judged_in(truth, case.unknown)
        return cls(
            ReferenceCase(name=case.name, volume=case.volume, truth=truth, unknown=case.unknown),
            {name: target for name, (target, why) in found.items() if not why},
            {name: why for name, (_, why) in found.items() if why},
            np.True_ if judged is None else judged,
            tuple(pair for pair in pairs if not found[pair.name][1]),
        )

    def structures(self) -> Iterator[Structure]:
        """Yield them one at a time."""
        truth = self.case.truth
        layers = (truth.data, *truth.overlaps.values())
        for pair in self.pairs:
            mask = np.logical_or.reduce([np.isin(layer, pair.truth) for layer in layers]) & self.judged
            yield Structure(self.case.name, pair.name, np.asarray(mask), self.case.volume.grid)


def _target(name: str, segmenter: Segmenter, *, is_new: bool) -> tuple[str, str]:
    """Return what a click on a structure is about, and why it cannot be clicked (empty where it can)."""
    try:
        target = resolve_target(name, segmenter.vocabulary, segmenter.spec.vista, {})
    except UnknownClassError:
        return UNNAMED, ""
    except UsageError as error:
        return "", error.got
    return (UNNAMED if is_new else target.name), ""

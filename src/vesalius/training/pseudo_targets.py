"""What a window learns from: people's labels, and a model's where people looked for nothing.

Paper: VISTA3D (arXiv:2406.05285, section 3.2; ``scripts/train.py``). There, prompts for drawn classes and for those
that a model found stand side by side, each against its own label map. So here, but in one map: what people drew
wins; a class they looked for is never taken from a model; of the others, a model's word holds for the classes that
it found in the scan, where it was sure. Where it was not, people's word on their own classes still holds, and
nothing is said of the others (UNSURE). Nor is anything said of a class that a model found, inside what people drew
and what may hold it without including it, such as a cyst in a kidney (``prompt_sampling.silent``), nor where the
model was not sure inside an organ that people drew and that includes it (``prompt_sampling.hosts``). What a model
found of a class that people looked for is still part of one that includes it: a trachea beyond people's is airway.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from vesalius.data.case import UNKNOWN, UNSURE, Case
from vesalius.transforms.deformation import rename


def filled(
    drawn: UInt8[Tensor, "i j k"],
    found: UInt8[Tensor, "i j k"],
    claimed: Set[int],
    includes: Mapping[int, Set[int]],
) -> UInt8[Tensor, "i j k"]:
    """Return a window's labels with a model's put where people's leave room.

    Args:
        drawn: Class ids by people, UNKNOWN, 0.
        found: Class ids by a model, UNKNOWN where it was not sure, 0.
        claimed: Class ids that the model is believed in: found in the scan, and not looked for by people.
        includes: Class id -> ids of the classes whose voxels are its own, too: a tumour that a model found in a
            liver that people drew is both; where people looked for tumours, one that a model found in its own
            liver is liver.
    """
    found = rename(found, _believed_names(claimed, includes))
    is_claimed = torch.isin(found, torch.tensor(sorted(claimed), dtype=found.dtype))
    is_free = drawn == 0
    result = torch.where(is_free & is_claimed, found, drawn)
    result[is_free & (found == UNKNOWN)] = UNSURE
    for outer, inner in includes.items():
        if inner & claimed:
            is_inner = torch.isin(found, torch.tensor(sorted(inner & claimed), dtype=found.dtype))
            result = torch.where((drawn == outer) & is_inner, found, result)
    return result


def _believed_names(claimed: Set[int], includes: Mapping[int, Set[int]]) -> dict[int, int]:
    """Return, for classes that a model is not believed in, the narrowest that it is and that includes them."""
    widest_first = sorted(claimed & includes.keys(), key=lambda label: (-len(includes[label]), label))
    return {inner: outer for outer in widest_first for inner in includes[outer] - claimed}


def believed(cases: Sequence[Case], *, pseudo_labels: bool, novel: Set[int]) -> list[Case]:
    """Return the cases as a training is to see them.

    Args:
        cases: All of them.
        pseudo_labels: Whether a model's answers count; without them, scans in which nobody looked for anything are
            left out.
        novel: Classes that nobody, and no model, is to have looked for.
    """
    return [
        replace(
            case,
            annotated=case.annotated - novel,
            pseudo_labels=case.pseudo_labels if pseudo_labels else None,
            disbelieved=case.disbelieved | novel,
        )
        for case in cases
        if case.annotated - novel or (pseudo_labels and set(case.claimed) - novel)
    ]

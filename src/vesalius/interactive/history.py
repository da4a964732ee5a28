"""History: what a session is at each moment, as immutable states, and the way back and forth between them.

A state is a function of the base labels and of the edits that led to it. It holds no image, no labels of the whole
volume and no feature: what a structure's prompts change is kept as packed bits in a box, and labels are composed
from them. So any number of states costs little, and going back restores exactly what was.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vesalius.errors import UsageError
from vesalius.geometry.boxes import Box, Triple
from vesalius.geometry.packed_mask import PackedMask
from vesalius.inference.compose import LabelChange
from vesalius.prompts.types import PointPrompt, Prompt


@dataclass(frozen=True)
class SessionLabel:
    """A structure of the session's labels.

    Args:
        label: Its id in the label map.
        name: Its name there.
        layer: The layer it is written to.
        class_id: What the model calls it; None for a structure the model has no name for.
    """

    label: int
    name: str
    layer: str
    class_id: int | None


@dataclass(frozen=True, eq=False)
class Placed:
    """A prompt where it was given; the same prompt given twice is two.

    Args:
        prompt: What was said.
        labels: Of the structures it is about; several where a class prompt names a group.
        rank: Higher than that of every prompt said before it.
    """

    prompt: Prompt
    labels: tuple[int, ...]
    rank: int

    @property
    def claims(self) -> bool:
        """Whether it wants voxels for its structures; a negative click does not."""
        return not isinstance(self.prompt, PointPrompt) or self.prompt.positive


@dataclass(frozen=True, eq=False)
class AutomaticMask:
    """What the automatic branch says of one structure.

    Args:
        mask: Where it is.
        together: The classes it was segmented together with, itself among them: of two of them one has a voxel.
    """

    mask: PackedMask
    together: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Result:
    """What the prompts of one structure came to.

    Args:
        prompts: From which it was made, in order.
        rank: Its place among the results: one of a higher rank wins where two want a voxel.
        automatic: What the automatic branch says, where a class prompt asked for it.
        change: Against the base labels.
    """

    prompts: tuple[Placed, ...]
    rank: int
    automatic: AutomaticMask | None
    change: LabelChange


@dataclass(frozen=True, eq=False)
class Frozen:
    """A locked structure.

    Args:
        mask: What it is, whatever else changes.
        reach: The box outside which it would have no voxel, were it not locked.
    """

    mask: PackedMask
    reach: Box


@dataclass(frozen=True, eq=False)
class Patch:
    """Labels that were accepted: of one block of one layer, in place of the base's.

    Args:
        layer: Which.
        box: Where; blocks lie on a lattice, and of each there is at most one patch.
        labels: Those that occur in it.
        packed: The labels of the box, uint16, compressed.
    """

    layer: str
    box: Box
    labels: frozenset[int]
    packed: bytes


@dataclass(frozen=True, kw_only=True)
class State:
    """One moment of a session."""

    labels: Mapping[int, SessionLabel]
    """The structures the labels can hold."""
    prompts: Mapping[int, Placed] = field(default_factory=dict)
    """Id -> prompt, in the order in which they were added; one that was moved keeps its place, not its rank."""
    results: Mapping[int, Result] = field(default_factory=dict)
    """Label -> what its prompts came to when they were last predicted."""
    locked: Mapping[int, Frozen] = field(default_factory=dict)
    """Label -> its mask."""
    patches: Mapping[tuple[str, Triple], Patch] = field(default_factory=dict)
    """Layer and first voxel of a block -> what was accepted there."""
    accepted: tuple[Placed, ...] = ()
    """The prompts that led to it."""
    windows: tuple[Triple, ...] = ()
    """Starts of all windows so far, in voxels of the model's grid; they never move."""
    window_of: Mapping[Placed, Triple] = field(default_factory=dict)
    """A click -> the window it is seen in."""

    def prompts_of(self, label: int) -> tuple[Placed, ...]:
        """Return the prompts of one structure, in order."""
        return tuple(placed for placed in self.prompts.values() if label in placed.labels)

    def rank_of(self, label: int) -> int:
        """Return the rank of the last prompt that claims voxels for a structure; of any, where none does."""
        placed = self.prompts_of(label)
        return max((p.rank for p in placed if p.claims), default=max((p.rank for p in placed), default=0))

    def next_rank(self) -> int:
        """Return the rank of the next prompt to be said."""
        placed = [*self.prompts.values(), *(p for result in self.results.values() for p in result.prompts)]
        return max((p.rank for p in placed), default=0) + 1

    def pending(self) -> tuple[int, ...]:
        """Return the structures whose prompts are not those of their result, and which are not locked."""
        asked = dict.fromkeys(label for placed in self.prompts.values() for label in placed.labels)
        made = {label: self.results[label].prompts for label in self.results}
        return tuple(
            label
            for label in [*asked, *(label for label in made if label not in asked)]
            if label not in self.locked and made.get(label, ()) != self.prompts_of(label)
        )


@dataclass(frozen=True, kw_only=True)
class History:
    """The states before, the present one, and those that were undone."""

    present: State
    past: tuple[State, ...] = ()
    future: tuple[State, ...] = ()
    """The next one to redo is the last."""

    def pushed(self, state: State) -> History:
        """Return the history after an edit; what was undone before is forgotten."""
        return History(present=state, past=(*self.past, self.present))

    def undone(self) -> History:
        """Return the history a step back.

        Raises:
            UsageError: If this is the beginning.
        """
        if not self.past:
            raise UsageError(expected="an edit to undo", got="a session at its beginning", do="add a prompt first")
        return History(present=self.past[-1], past=self.past[:-1], future=(*self.future, self.present))

    def redone(self) -> History:
        """Return the history a step forth again.

        Raises:
            UsageError: If nothing was undone.
        """
        if not self.future:
            raise UsageError(
                expected="an undone edit to redo", got="none since the last edit", do="redo follows undo at once"
            )
        return History(present=self.future[-1], past=(*self.past, self.present), future=self.future[:-1])

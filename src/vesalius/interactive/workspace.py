"""Workspace: a history, the labels it shows, and what each edit does to both; one thread, no files."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from vesalius.errors import LockedStructureError, UsageError
from vesalius.geometry.boxes import Box
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.interactive.canvas import Canvas, Drawing
from vesalius.interactive.edits import (
    Accept,
    AddPrompt,
    Lock,
    MovePrompt,
    PromptEdit,
    Redo,
    RemovePrompt,
    Rename,
    Undo,
    Unlock,
)
from vesalius.interactive.history import History, Placed, SessionLabel, State
from vesalius.interactive.naming import find_label, imported_labels, lasting_name, renamed
from vesalius.interactive.prediction import Predictor
from vesalius.interactive.rules import Rules
from vesalius.shapes import LabelArray

QuickEdit = PromptEdit | Lock | Unlock | Rename | Accept | Undo | Redo
"""Every edit but a prediction."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnPrediction:
    """A prediction that is ready to be shown.

    Args:
        history: With it as the present.
        drawing: What changes when it is shown.
        layers: Layer -> the labels of the changed box once it is shown.
    """

    history: History
    drawing: Drawing
    layers: Mapping[str, LabelArray]

    @property
    def box(self) -> Box | None:
        """Around every voxel that changes; None where none does."""
        return self.drawing.box


class Workspace:
    """What a session works on.

    Args:
        segmenter: The model.
        volume: The image.
        labels: To begin with; None is background everywhere.
        options: Of automatic segmentation.
        cache_bytes: Held at most for what the network has said.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        volume: Volume,
        labels: LabelMap | None,
        *,
        options: SegmentOptions,
        cache_bytes: int,
    ) -> None:
        self.rules = Rules(
            grid=volume.grid, vocabulary=segmenter.vocabulary, architecture=segmenter.network.architecture
        )
        self.canvas = Canvas(volume.grid, labels)
        self.predictor = Predictor(segmenter, volume, options=options, cache_bytes=cache_bytes)
        names: Mapping[int, str] = labels.names if labels else {}
        first = imported_labels(names, self.canvas.layers, segmenter.vocabulary)
        self.history = History(present=State(labels=first))

    @property
    def state(self) -> State:
        """The present state, which is the one that is shown."""
        return self.history.present

    def find(self, name: str) -> SessionLabel:
        """Return the structure with a name.

        Raises:
            UnknownClassError: If there is none.
        """
        return find_label(name, self.state.labels, self.rules.vocabulary)

    def lasting_name(self, placed: Placed, state: State) -> str:
        """Return what to call the structure of a click, so that it is found in another session, too."""
        first = (*self.history.past, self.history.present)[0]
        return lasting_name(state.labels[placed.labels[0]], first.labels, self.rules.vocabulary)

    def after(self, edit: QuickEdit) -> History:
        """Return the history after an edit; nothing is changed.

        Raises:
            UsageError: If the edit makes no sense now.
        """
        if isinstance(edit, Undo):
            return self.history.undone()
        if isinstance(edit, Redo):
            return self.history.redone()
        return self.history.pushed(self._state_after(edit))

    def predicted(self, state: State) -> State:
        """Return a state with the results of its pending structures: the slow part, which changes nothing here."""
        return self.predictor.predict(state, state.pending(), lambda entry: self.canvas.base_mask(entry, state))

    def draw(self, history: History) -> Drawing:
        """Return what changes when another history is shown: all of it that can fail; nothing is changed."""
        return self.canvas.draw(self.state, history.present)

    def drawn_prediction(self, predicted: State) -> DrawnPrediction:
        """Return what ``predicted`` gave as the next step of the history, drawn; nothing is changed."""
        history = self.history.pushed(predicted)
        drawing = self.draw(history)
        layers = self.canvas.with_drawing(drawing, predicted)
        return DrawnPrediction(history=history, drawing=drawing, layers=layers)

    def show(self, history: History, drawing: Drawing) -> None:
        """Go to another history, for which something was drawn; whoever interrupts this, it is done."""
        self.history = history
        try:
            self.canvas.put(drawing)
        except BaseException:
            self.canvas.put(drawing)
            raise

    def _state_after(self, edit: PromptEdit | Lock | Unlock | Rename | Accept) -> State:
        match edit:
            case AddPrompt() | RemovePrompt() | MovePrompt():
                return self.rules.after(self.state, edit)
            case Lock():
                return self._locked(edit.name)
            case Unlock():
                return self._unlocked(edit.name)
            case Rename():
                entry = renamed(edit.name, edit.new_name, self.state.labels, self.rules.vocabulary)
                return replace(self.state, labels={**self.state.labels, entry.label: entry})
            case Accept():
                return self._accepted()
            case _:
                assert_never(edit)

    def _locked(self, name: str) -> State:
        entry = self.find(name)
        if entry.label in self.state.locked:
            raise LockedStructureError(
                expected="a structure that is not locked", got=repr(entry.name), do="nothing: it stays as it is"
            )
        frozen = self.canvas.frozen(entry, self.state)
        return replace(self.state, locked={**self.state.locked, entry.label: frozen})

    def _unlocked(self, name: str) -> State:
        entry, locked = self.find(name), dict(self.state.locked)
        if entry.label not in locked:
            raise UsageError(expected="a locked structure", got=repr(entry.name), do="nothing: it may change")
        del locked[entry.label]
        return replace(self.state, locked=locked)

    def _accepted(self) -> State:
        state = self.state
        waiting = [state.labels[label].name for label in state.pending()]
        if waiting:
            raise UsageError(
                expected="to accept what is seen, with nothing left to predict",
                got=f"edits whose effect is not seen yet, of {', '.join(waiting)}",
                do="predict first, or undo them",
            )
        waits = {n: _unseen(placed, state) for n, placed in state.prompts.items()}
        left = {n: placed for n, placed in waits.items() if placed.labels}
        done = [placed for n, placed in state.prompts.items() if placed is not waits[n]]
        return replace(
            state,
            prompts=left,
            results={},
            patches=self.canvas.folded(state),
            accepted=(*state.accepted, *done),
            window_of={placed: start for placed, start in state.window_of.items() if placed in left.values()},
        )


def _unseen(placed: Placed, state: State) -> Placed:
    """Return a prompt for those of its structures alone in which it is not seen, since they are locked."""
    seen = [label for label in placed.labels if label in state.results and placed in state.results[label].prompts]
    if not seen:
        return placed
    return replace(placed, labels=tuple(label for label in placed.labels if label not in seen))
